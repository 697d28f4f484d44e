// Test bench of the stage input_pool: words of the map in, the same or what they are pooled to out.
#include "input_pool.hpp"

#include "bench.hpp"
#include "data/input_pool.hpp"

using namespace sbfp;

int main() {
    bench::Check check("input_pool");
    for (const Call &call : CALLS) {
        hls::stream<Word> unpacked;
        hls::stream<Word> columns;
        bench::put(call.unpacked, unpacked);
        input_pool(call.job_row, unpacked, columns);
        check.expect("columns", columns, call.columns);
    }
    return check.finish();
}
