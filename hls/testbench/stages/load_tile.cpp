// Test bench of the stage load_tile: a tile's words in, the buffer as the compute stages read it out.
#include "load_tile.hpp"

#include "bench.hpp"
#include "data/load_tile.hpp"

using namespace sbfp;

static Word input[BANKS][BANK_ROWS];

int main() {
    bench::Check check("load_tile");
    for (const Call &call : CALLS) {
        hls::stream<Word> columns;
        bench::put(call.columns, columns);
        bench::put(call.input_before, &input[0][0]);
        load_tile(call.job_row, columns, input);
        check.expect("input", &input[0][0], call.input);
    }
    return check.finish();
}
