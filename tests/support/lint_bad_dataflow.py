"""For every rule of the lint about dataflow regions, changes that make a bad kernel of the good one."""

from __future__ import annotations

from support.lint_kernels import JOIN

# as in support.lint_bad_kernels
BAD_DATAFLOW = [
    ("dataflow_statements", JOIN, f"    count = count + 1;\n{JOIN}", "holds only declarations and calls"),
    (
        "dataflow_statements",
        JOIN,
        f"    if (count > 0) {{\n    {JOIN}    }}\n{JOIN}",
        "holds only declarations and calls",
    ),
    (
        "dataflow_statements",
        "#pragma HLS AGGREGATE variable=table\n    load",
        "#pragma HLS AGGREGATE variable=table\n    const int32_t n = twice(count);\n    load",
        "n is computed in a dataflow region",
    ),
    ("dataflow_statements", JOIN, "    join(twice(count), words, table, sums);\n", "is computed by a call"),
    ("dataflow_statements", "    load(from", "    twice(count);\n    load(from", "process twice returns a value"),
    (
        "stable_jobs",
        "static void run(const Word",
        "struct Job {\n    int32_t count;\n};\n"
        "static void give(const Job &job, hls::stream<Word> &words, const Word *from) {\n"
        "    load(from, job.count, words);\n}\n"
        "static void take(const Job &job, hls::stream<Word> &words, Word *to) {\n"
        "    store(job.count, words, to);\n}\n"
        "static void both(const Job &job, const Word *from, Word *to) {\n#pragma HLS DATAFLOW\n"
        "    hls::stream<Word> words;\n    give(job, words, from);\n    take(job, words, to);\n}\n"
        "static void run(const Word",
        "job is a struct that 2 processes read",
    ),
    (
        "dataflow_channels",
        "    fill(count, table);\n",
        "    fill(count, table);\n    fill(count, table);\n",
        "has 2 producers",
    ),
    ("dataflow_channels", "    fill(count, table);\n", "", "channel table has no producer"),
    ("dataflow_channels", "    store(count, sums, to);\n", "", "channel sums has 0 consumers"),
    (
        "dataflow_channels",
        f"    load(from, count, words);\n    fill(count, table);\n{JOIN}",
        f"    fill(count, table);\n{JOIN}    load(from, count, words);\n",
        "is read by join before load writes it",
    ),
    (
        "dataflow_channels",
        "        words.write(memory[i]);",
        "        words.write(memory[i]);\n        words.read();",
        "is read and written by",
    ),
    (
        "dataflow_channels",
        "    Word table[DEPTH];\n",
        "    Word table[DEPTH];\n    hls::stream<Word> more;\n    load(from, count, more);\n"
        "    store(count, more, to);\n",
        "is used by process",
    ),
]
