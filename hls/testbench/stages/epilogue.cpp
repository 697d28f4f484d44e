// Test bench of the stage epilogue: sums and shortcut in, mantissas of the output out.
#include "epilogue.hpp"

#include "bench.hpp"
#include "data/epilogue.hpp"

using namespace sbfp;

int main() {
    bench::Check check("epilogue");
    for (const Call &call : CALLS) {
        hls::stream<AccWord> biases;
        hls::stream<AccWord> sums;
        hls::stream<Word> shortcut;
        hls::stream<Word> results;
        bench::put(call.biases, biases);
        bench::put(call.sums, sums);
        bench::put(call.shortcut, shortcut);
        epilogue(call.where, call.job_row, biases, sums, shortcut, results);
        check.expect("results", results, call.results);
    }
    return check.finish();
}
