// Stage: lay the input of a tile out in the buffer, some of its lines at a time.
// Columns that no window uses are dropped, and with few channels several columns
// are folded into a word. Of a map that grows, columns are placed apart, and the
// lines of its next phase between them.
#pragma once

#include "hls_stream.h"
#include "jobs.hpp"
#include "trace.hpp"
#include "words.hpp"

namespace sbfp {

// Columns between two that complete a word, or before the first one.
constexpr int32_t MOST_MISSING =
    LoadJob::MOST_TAPS > LoadJob::MOST_COLUMN_STEP ? LoadJob::MOST_TAPS : LoadJob::MOST_COLUMN_STEP;

// Where the next word of a line goes.
struct Line {
    Place at;
    Place phase;      // where the next phase begins, of a map that grows
    int32_t lines;    // of this one that are left, 0 where nothing grows
    int32_t column;   // that comes next
    int32_t missing;  // columns until the next one that completes a word
    Word window;      // the last `taps` columns, oldest first
};

// One column to the right.
inline Place next_place(Place from) {
#pragma HLS INLINE
    Place one;
    one.row = BANKS == 1 ? 1 : 0;
    one.bank = BANKS == 1 ? 0 : 1;
    return move(from, one);
}

// After a line: to the first column of the next phase where this one ends.
inline void end_line(Line &line, const LoadJob &job) {
#pragma HLS INLINE
    const bool ends = line.lines == 1;
    line.at = choose(ends, line.phase, line.at);
    line.phase = choose(ends, next_place(line.phase), line.phase);
    const int32_t left = line.lines == 0 ? 0 : line.lines - 1;
    line.lines = bounded<LoadJob::MOST_PHASE_LINES>(ends ? job.phase_lines : left);
}

// Shift a column into the window.
inline Word shifted(const LoadJob &job, const Word &window, const Word &column) {
#pragma HLS INLINE
    const Word older = moved_down(window, job.tap_channels);
    Word next = moved_up(column, job.newest);
    for (int c = 0; c < LANES; ++c) {
#pragma HLS UNROLL
        next.lane[c] = c < job.newest ? older.lane[c] : next.lane[c];
    }
    return next;
}

// columns: of every line, padding included. The last one of a line completes a word.
inline void load_tile(const LoadRow &job_row, hls::stream<Word> &columns, Word input[BANKS][BANK_ROWS]) {
#pragma HLS INLINE off
    const LoadJob job = load_job(job_row);
    Line line;
    line.at = job.line_start;
    line.phase = job.next_phase;
    line.lines = job.first_phase_lines;
    line.column = 0;
    line.missing = job.taps - 1;
    line.window = fill<int8_t, LANES>(0);
LOAD_WORDS:
    for (int32_t n = 0; n < job.load_words; n = bounded<LoadJob::MOST_LOAD_WORDS>(n + 1)) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=65536
#pragma HLS PIPELINE II=1
        count(COUNT_LOAD_TILE);
        const bool last = line.column == job.line_columns - 1;
        line.window = shifted(job, line.window, columns.read());
        if (line.missing == 0) {
            input[line.at.bank][line.at.row] = line.window;
            line.at = move(line.at, choose(last, job.next_line, job.next_buffered));
        }
        if (HAS_SPREAD && last) {
            end_line(line, job);
        }
        if (last) {
            line.missing = job.taps - 1;
        } else if (line.missing == 0) {
            line.missing = job.column_step - 1;
        } else {
            line.missing = bounded<MOST_MISSING>(line.missing - 1);
        }
        line.column = last ? 0 : bounded<LoadJob::MOST_LINE_COLUMNS>(line.column + 1);
    }
}

}  // namespace sbfp
