// Stage: lay the input of a tile out in the buffer, some of its lines at a time.
// Columns that no window uses are dropped, and with few channels several columns
// are folded into a word.
#pragma once

#include "hls_stream.h"
#include "jobs.hpp"
#include "trace.hpp"
#include "words.hpp"

namespace sbfp {

// Where the next word of a line goes.
struct Line {
    Place at;
    int32_t missing;  // columns until the first word is complete
    int32_t skip;     // columns until the next one that is used
    Word window;      // the last `taps` columns, oldest first
};

// Shift a column into the window, and store the window if it is one that is used.
inline void feed(const LoadJob &job, Word input[BANKS][BANK_ROWS], Line &line, Word column) {
#pragma HLS INLINE
    Word next = column;
    for (int c = 0; c < LANES; ++c) {
#pragma HLS UNROLL
        const int32_t older = c + job.tap_channels;
        if (c < job.newest) {
            next.lane[c] = line.window.lane[older < LANES ? older : 0];
        } else {
            next.lane[c] = column.lane[c - job.newest];
        }
    }
    line.window = next;
    if (line.missing > 0) {
        line.missing = bounded<LoadJob::MOST_TAPS>(line.missing - 1);
    } else if (line.skip > 0) {
        line.skip = bounded<LoadJob::MOST_COLUMN_STEP>(line.skip - 1);
    } else {
        input[line.at.bank][line.at.row] = line.window;
        line.at = next_place(line.at);
        line.skip = job.column_step - 1;
    }
}

// columns: of every line, padding included.
inline void load_tile(const LoadRow &job_row, hls::stream<Word> &columns, Word input[BANKS][BANK_ROWS]) {
#pragma HLS INLINE off
    const LoadJob job = load_job(job_row);
    Line line;
    line.at = job.line_start;
    line.window = fill<int8_t, LANES>(0);
LOAD_LINES:
    for (int32_t n = 0; n < job.lines; n = bounded<LoadJob::MOST_LINES>(n + 1)) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=4096
        line.missing = job.taps - 1;
        line.skip = 0;
    LOAD_WORDS:
        for (int32_t i = 0; i < job.line_columns; i = bounded<LoadJob::MOST_LINE_COLUMNS>(i + 1)) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=256
#pragma HLS PIPELINE II=1
            count(COUNT_LOAD_TILE);
            feed(job, input, line, columns.read());
        }
        line.at = move(line.at, job.line_gap);
    }
}

}  // namespace sbfp
