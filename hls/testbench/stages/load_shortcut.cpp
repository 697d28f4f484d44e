// Test bench of the stage load_shortcut: beats of memory in, mantissas in the order of the sums out.
#include "load_shortcut.hpp"

#include "bench.hpp"
#include "data/load_shortcut.hpp"

using namespace sbfp;

int main() {
    bench::Check check("load_shortcut");
    for (const Call &call : CALLS) {
        hls::stream<Word> fetched;
        hls::stream<Word> shortcut;
        bench::put(call.fetched, fetched);
        load_shortcut(call.job_row, fetched, shortcut);
        check.expect("shortcut", shortcut, call.shortcut);
    }
    return check.finish();
}
