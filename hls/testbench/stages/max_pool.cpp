// Test bench of the stage max_pool_pass.
#include "max_pool.hpp"

#include "bench.hpp"
#include "data/max_pool.hpp"

using namespace sbfp;

static Word input[BANKS][BANK_ROWS];

int main() {
    bench::Check check("max_pool");
    for (const Call &call : CALLS) {
        hls::stream<AccWord> sums;
        bench::put(call.input, &input[0][0]);
        max_pool_pass(call.where, call.job_row, input, sums);
        check.expect("sums", sums, call.sums);
    }
    return check.finish();
}
