// Test bench of the stage avg_pool_pass.
#include "avg_pool.hpp"

#include "bench.hpp"
#include "data/avg_pool.hpp"

using namespace sbfp;

static Word input[BANKS][BANK_ROWS];

int main() {
    bench::Check check("avg_pool");
    for (const Call &call : CALLS) {
        hls::stream<AccWord> sums;
        bench::put(call.input, &input[0][0]);
        avg_pool_pass(call.where, call.job_row, input, sums);
        check.expect("sums", sums, call.sums);
    }
    return check.finish();
}
