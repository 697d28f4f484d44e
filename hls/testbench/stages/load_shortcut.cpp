// Test bench of the stage load_shortcut: beats of memory, or of on-chip memory, in, mantissas in the order of the sums out.
#include "load_shortcut.hpp"

#include "bench.hpp"
#include "data/load_shortcut.hpp"

using namespace sbfp;

static Word joined[SHORTCUT_WORDS];

int main() {
    bench::Check check("load_shortcut");
    for (const Call &call : CALLS) {
        hls::stream<Word> fetched;
        hls::stream<Word> shortcut;
        bench::put(call.fetched, fetched);
        bench::put(call.joined, joined);
        load_shortcut(call.job_row, fetched, joined, shortcut);
        check.expect("shortcut", shortcut, call.shortcut);
    }
    return check.finish();
}
