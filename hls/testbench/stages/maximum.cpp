// Test bench of the stage add_pass, for the larger one of two maps.
#include "add.hpp"

#include "bench.hpp"
#include "data/maximum.hpp"
#include "schedule.hpp"

using namespace sbfp;

static Word input[BANKS][BANK_ROWS];

int main() {
    bench::Check check("maximum");
    for (const Call &call : CALLS) {
        const Layer &layer = LAYERS[call.layer];
        hls::stream<AccWord> sums;
        bench::put(call.input, &input[0][0]);
        add_pass(layer, call.tile, call.pass, input, sums);
        check.expect("sums", sums, call.sums);
    }
    return check.finish();
}
