// Test bench of the stage max_pool_pass.
#include "max_pool.hpp"

#include "bench.hpp"
#include "data/max_pool.hpp"
#include "schedule.hpp"

using namespace sbfp;

static Word input[BANKS][BANK_ROWS];

int main() {
    bench::Check check("max_pool");
    for (const Call &call : CALLS) {
        const Layer &layer = LAYERS[call.layer];
        hls::stream<AccWord> sums;
        bench::put(call.input, &input[0][0]);
        max_pool_pass(layer, call.tile, call.pass, input, sums);
        check.expect("sums", sums, call.sums);
    }
    return check.finish();
}
