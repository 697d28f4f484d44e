"""For every rule of the lint, changes that make a bad kernel of the good one."""

from __future__ import annotations

from support.lint_bad_dataflow import BAD_DATAFLOW
from support.lint_kernels import LOOP, PIPELINED, TWICE, in_a_namespace, loop, one_end, twice

# rule, what is replaced, by what, words of the sentence
BAD = [
    (
        "table_reads",
        *twice(
            "    for (int c = 0; c < LANES; ++c) {\n#pragma HLS UNROLL\n        value += TABLE[c][value & 63];\n    }",
            "static const int8_t TABLE[LANES][DEPTH] = {};",
        ),
        "each iteration over c reads TABLE in the same cycle",
    ),
    (
        "table_reads",
        *twice(
            "#pragma HLS ARRAY_PARTITION variable=TABLE complete dim=1\n    for (int c = 0; c < LANES; ++c) {\n"
            "#pragma HLS UNROLL\n        value += TABLE[c / 4][value & 63];\n    }",
            "static const int8_t TABLE[LANES][DEPTH] = {};",
        ),
        "two of these a copy at most",
    ),
    (
        "dual_ports",
        "        sums.write(kept[i]);",
        "#pragma HLS BIND_STORAGE variable=kept type=ram_2p impl=bram\n"
        "        sums.write(kept[i]);\n        sums.write(kept[count - 1 - i]);",
        "kept is read 2 times in a pipelined loop",
    ),
    ("heap", *twice("    int32_t *p = new int32_t[4];\n    delete[] p;"), "new needs a heap"),
    ("heap", *twice("    malloc(4);", 'extern "C" void *malloc(unsigned long);'), "malloc needs a heap"),
    ("heap", *twice("    void *p = ::operator new(4);\n    value = p != 0;"), "operator new needs a heap"),
    ("heap", *twice("    __builtin_alloca(4);"), "__builtin_alloca needs a heap"),
    (
        "recursion",
        *twice(
            "    R r;\n    value = r.go(value);",
            "struct R {\n    int32_t go(int32_t v) {\n#pragma HLS INLINE\n        return go(v);\n    }\n};",
        ),
        "go calls",
    ),
    ("recursion", *twice("    if (value > 9) {\n        return twice(value - 9);\n    }"), "twice calls itself"),
    (
        "recursion",
        TWICE,
        "int32_t twice(int32_t value);\nint32_t other(int32_t v) {\n#pragma HLS INLINE\n    return twice(v);\n}\n"
        "int32_t twice(int32_t v) {\n#pragma HLS INLINE\n    return v > 0 ? other(v - 1) : 0;\n}",
        "by way of",
    ),
    (
        "pointers",
        "struct Word {",
        "struct Chain {\n    const int8_t *next;\n};\nstruct Word {",
        "member next is a pointer",
    ),
    (
        "pointers",
        *twice("    int32_t *p = &value;\n    int32_t **q = &p;\n    **q = 1;"),
        "q is a pointer to a pointer",
    ),
    (
        "pointers",
        *twice("    const int32_t *p[2] = {&value, &value};\n    value = *p[0];"),
        "p is an array of pointers",
    ),
    ("pointers", *twice("    int32_t &other = value;\n    other = 1;"), "other is a second name"),
    ("pointers", *twice("", "typedef int32_t *P;\nvoid f(P *p);"), "p is a pointer to a pointer"),
    (
        "containers",
        *twice("", "namespace std {\ntemplate <class T>\nclass vector {};\n}\nstd::vector<int32_t> make();"),
        "make is a std::vector<int",
    ),
    (
        "containers",
        *twice("    std::vector<int32_t> v;", "namespace std {\ntemplate <class T>\nclass vector {};\n}"),
        "v is a std::vector<int",
    ),
    ("run_time_dispatch", *twice("    try {\n    } catch (...) {\n    }"), "try needs run-time support"),
    ("run_time_dispatch", *twice("    if (value < 0) {\n        throw 1;\n    }"), "throw needs run-time support"),
    ("run_time_dispatch", *twice("", "struct Base {\n    virtual void go() {}\n};"), "go is virtual"),
    (
        "run_time_dispatch",
        *twice("    int32_t (*f)(int32_t) = 0;\n    value = f != 0;"),
        "f is a pointer to a function",
    ),
    ("floating_point", *twice("    float scale = 2;\n    value = scale > 1;"), "scale is floating point"),
    ("floating_point", *twice("    value = static_cast<int32_t>(value * 0.5);"), "an expression is floating point"),
    (
        "floating_point",
        *twice("    Pair<float> pair;", "template <class T>\nstruct Pair {\n    T first;\n};"),
        "pair is floating point",
    ),
    ("array_sizes", *twice("    int32_t a[value];\n    a[0] = value;\n    value = a[0];"), "the size of array a"),
    ("preprocessor", *twice("#ifdef FAST\n    value = 1;\n#endif"), "#ifdef may give"),
    ("preprocessor", *twice("", "#define TWO 2"), "#define may give"),
    ("volatile", *twice("    volatile int32_t v = value;\n    value = v;"), "volatile forbids"),
    ("volatile", *twice("", "int32_t peek(volatile uint32_t *progress);"), "volatile forbids"),
    ("statics", "    Word kept[DEPTH];", "    static Word kept[DEPTH];", "static kept outlives"),
    ("statics", *twice("    static int32_t calls = 0;\n    calls += 1;"), "static calls outlives"),
    (
        "statics",
        *twice("    calls += 1;", "static int32_t calls = 0;"),
        "calls is a variable that every process may use",
    ),
    ("bounded_loops", *loop("while (n > 0)"), "has no counter"),
    ("bounded_loops", *loop("for (;;)"), "must declare one counter"),
    ("bounded_loops", *loop("for (int32_t k = 0; k < n; ++k)"), "the bound n is changed within the loop"),
    ("bounded_loops", *loop("for (int32_t k = 0; k != count; ++k)"), "by <, <=, > or >="),
    ("bounded_loops", *loop("for (int32_t k = 0; k < count; --k)"), "stepped away from its bound"),
    ("bounded_loops", *loop("for (int32_t k = 0; k < count; k += n)"), "of a constant"),
    ("bounded_loops", *loop("for (int32_t k = 0; k < twice(count); ++k)"), "is a call, made again"),
    ("bounded_loops", f"{LOOP}{PIPELINED}", f"{LOOP}{PIPELINED}\n        i += 1;", "the counter i is changed within the loop"),
    (
        "bounded_loops",
        *twice("again:\n    value += 1;\n    if (value < 9) {\n        goto again;\n    }"),
        "goto makes a loop",
    ),
    ("tripcounts", f"{LOOP}\n#pragma HLS LOOP_TRIPCOUNT min=1 max=DEPTH", LOOP, "known only when it runs"),
    (
        "pipelines",
        *twice("    for (int i = 0; i < LANES; ++i) {\n        value += i;\n    }"),
        "lies below this PIPELINE",
    ),
    (
        "pipelines",
        "for (int c = 0; c < LANES; ++c) {\n#pragma HLS UNROLL\n            word.lane[c] = static_cast<int8_t>(word",
        "for (int c = 0; c < LANES; ++c) {\n            word.lane[c] = static_cast<int8_t>(word",
        "lies below this PIPELINE",
    ),
    (
        "pipelines",
        *twice(
            "    value = apply(Slow<2>(), value);",
            "template <int N>\nstruct Slow {\n    int32_t operator()(int32_t v) const {\n"
            "#pragma HLS INLINE\n        for (int i = 0; i < N; ++i) {\n            v += i;\n        }\n"
            "        return v;\n    }\n};\n"
            "template <class F>\nint32_t apply(F f, int32_t v) {\n#pragma HLS INLINE\n    return f(v);\n}",
        ),
        "lies below this PIPELINE",
    ),
    ("unrolls", "PIPELINE II=1\n        memory[i]", "UNROLL\n        memory[i]", "cannot be unrolled"),
    (
        "pragma_spelling",
        "#pragma HLS PIPELINE II=1\n        words",
        "#pragma HLS PIPELIN II=1\n        words",
        "did you mean PIPELINE",
    ),
    ("pragma_spelling", "#pragma HLS DATAFLOW", "#pragma HSL DATAFLOW\n#pragma HLS DATAFLOW", "did you mean HLS"),
    ("pragma_spelling", "variable=words depth=4", "variable=words depth=4 typ=fifo", "did you mean type"),
    ("pragma_spelling", "variable=words depth=4", "variable=words depth=4 type=fifi", "did you mean fifo"),
    (
        "pragma_spelling",
        "mode=m_axi port=from bundle=gmem0",
        "port=from mode=m_axi bundle=gmem0",
        "mode must come first",
    ),
    ("pragma_spelling", "port=count bundle=control", "port=count bundle=control depth=4", "option depth= is not known of mode=s_axilite"),
    ("pragma_spelling", "variable=kept type=inter", "variable=kept type=outer", "did you mean inter"),
    ("pragma_scope", "variable=words depth=4", "variable=words depth=FOUR", "undeclared identifier 'FOUR'"),
    ("pragma_scope", "variable=words depth=4", "variable=words depth=count", "not an integral constant"),
    ("pragma_scope", "variable=words depth=4", "variable=words depth=-DEPTH", "depth is less than 1"),
    (
        "pragma_scope",
        *in_a_namespace("bundle=gmem0 offset=slave depth=DEPTH", "bundle=gmem0 offset=slave depth=WORDS"),
        "undeclared identifier 'WORDS'",
    ),
    ("pragma_spelling", "variable=words depth=4", "variable=words", "option depth= is missing"),
    (
        "pragma_spelling",
        "kept type=inter false",
        "kept type=inter flase\n#pragma HLS DEPENDENCE variable=kept false",
        "flase",
    ),
    ("pragma_spelling", *twice('    _Pragma("HLS INLINE")'), "without _Pragma"),
    ("pragma_place", *twice("#pragma HLS UNROLL"), "UNROLL must stand directly in a loop"),
    ("pragma_place", *twice("#pragma HLS PIPELINE II=1"), "PIPELINE is lost where twice is inlined"),
    ("pragma_place", *twice("", "#pragma HLS INLINE"), "INLINE stands outside any function"),
    ("pragma_place", *twice("#pragma HLS INTERFACE mode=s_axilite port=value"), "directly in the function top"),
    ("pragma_scope", "variable=sums depth=DEPTH/2", "variable=sum depth=DEPTH/2", "undeclared identifier 'sum'"),
    ("pragma_scope", "variable=word.lane", "variable=word.lanes", "no member named 'lanes'"),
    (
        "pragma_scope",
        "    hls::stream<Word> words;\n#pragma HLS STREAM variable=words depth=4\n",
        "#pragma HLS STREAM variable=words depth=4\n    hls::stream<Word> words;\n",
        "undeclared identifier 'words'",
    ),
    (
        "pragma_scope",
        "        Word word;\n#pragma HLS ARRAY_PARTITION variable=word.lane complete\n",
        "        Word word;\n        {\n            Word inner;\n            word = inner;\n        }\n"
        "#pragma HLS ARRAY_PARTITION variable=inner.lane complete\n",
        "undeclared identifier 'inner'",
    ),
    ("pragma_types", "STREAM variable=words depth=4", "STREAM variable=count depth=4", "which count is not"),
    (
        "pragma_types",
        "AGGREGATE variable=table",
        "AGGREGATE variable=table\n#pragma HLS AGGREGATE variable=words",
        "which words is not",
    ),
    (
        "pragma_types",
        "        Word word = words.read();",
        "        Word word = words.read();\n#pragma HLS BIND_OP variable=word op=mul impl=dsp",
        "about an integer, which word is not",
    ),
    (
        "pragma_types",
        "    static const int32_t OFFSET = 3;",
        "#pragma HLS ALLOCATION function instances=fill limit=1\n    static const int32_t OFFSET = 3;",
        "no function fill is called here",
    ),
    (
        "pragma_spelling",
        "    run(from, to, count);",
        "#pragma HLS ALLOCATION instances=run function limit=1\n    run(from, to, count);",
        "function or operation must come first",
    ),
    (
        "lane_arrays",
        "    Word table[DEPTH];\n#pragma HLS AGGREGATE variable=table\n",
        "    Word table[DEPTH];\n",
        "table is an array of structs with lanes",
    ),
    (
        "lane_arrays",
        *twice("    value += TABLE[value].lane[0];", "static const Word TABLE[2] = {{{1, 2, 3, 4}}, {{5, 6, 7, 8}}};"),
        "add #pragma HLS AGGREGATE variable=TABLE to twice",
    ),
    ("chosen_lanes", "table[i].lane[c] + OFFSET", "table[i].lane[i] + OFFSET", "the lane that is taken is known"),
    (
        "chosen_lanes",
        *twice(
            "    Word word = {{1, 2, 3, 4}};\n    value += taken(word, value);",
            "inline int32_t taken(const Word &word, int32_t at) {\n#pragma HLS INLINE\n    return word.lane[at];\n}",
        ),
        "choose among fixed ones",
    ),
    (
        "struct_choices",
        *twice("    Word one = {{1, 2, 3, 4}};\n    Word two = {{5, 6, 7, 8}};\n    value += (value > 4 ? one : two).lane[0];"),
        "?: chooses between the addresses of two structs",
    ),
    (
        "wide_words",
        "    Word kept[DEPTH];",
        "    struct Row {\n        int32_t lane[129];\n    };\n    Row rows[2];\n#pragma HLS AGGREGATE variable=rows\n"
        "    Word kept[DEPTH];",
        "rows is a word of 4128 bits, more than 4096",
    ),
    (
        "wide_words",
        *twice("    hls::stream<Row> rows;", "struct Row {\n    int32_t lane[129];\n};"),
        "an item of rows is a word of 4128 bits",
    ),
    (
        "inlined_helpers",
        "inline int32_t twice(int32_t value) {\n#pragma HLS INLINE\n",
        "inline int32_t twice(int32_t value) {\n",
        "twice is called in a pipelined loop and does not say INLINE",
    ),
    (
        "single_instances",
        "    run(from, to, count);",
        "    run(from, to, count);\n    run(from, to, count);",
        "run is called 2 times in top",
    ),
    ("run_time_division", *twice("    value = value / 3;"), "/ is computed when it runs"),
    ("run_time_division", *twice("    value %= value;"), "%= is computed when it runs"),
    (
        "balanced_chains",
        *twice("    for (int i = 0; i < LANES; ++i) {\n#pragma HLS UNROLL\n        value += value * value;\n    }"),
        "fill has a chain of products",
    ),
    (
        "channel_ends",
        *one_end("words.read();", "Word();\n        if (HAS_WORDS) {\n            word = words.read();\n        }"),
        "channel words has 1 producers and 0 consumers with HAS_WORDS false",
    ),
    (
        "channel_ends",
        *one_end(
            "words.read();", "Word();\n        if (has && !HAS_NONE) {\n            word = words.read();\n        }"
        ),
        "with HAS_NONE false, HAS_WORDS false",
    ),
    (
        "partitions",
        "    Word kept[DEPTH];",
        "    Word kept[DEPTH];\n#pragma HLS ARRAY_PARTITION variable=kept complete",
        "falls into 64 parts",
    ),
    (
        "partitions",
        "    Word kept[DEPTH];",
        "    Word kept[DEPTH];\n#pragma HLS ARRAY_PARTITION variable=kept cyclic factor=32",
        "falls into 32 parts",
    ),
    (
        "partitions",
        "    Word kept[DEPTH];",
        "    Word kept[DEPTH];\n#pragma HLS ARRAY_PARTITION variable=kept type=block factor=(DEPTH-4)/2",
        "falls into 30 parts",
    ),
    (
        "partitions",
        "    Word kept[DEPTH];",
        "    Word kept[DEPTH];\n#pragma HLS ARRAY_PARTITION variable=kept cyclic",
        "number is not known",
    ),
    ("partitions", "variable=word.lane complete", "variable=word.lane complete dim=2", "has 1 dimensions"),
    (
        "aggregates",
        "    Word kept[DEPTH];",
        "    struct Pair {\n        Word words[2];\n    };\n    Pair pairs[2];\n#pragma HLS AGGREGATE variable=pairs\n"
        "    Word kept[DEPTH];",
        "pairs holds structs within a struct (words)",
    ),
    ("unchecked_dependences", '("kept", 4)', '("other", 4)', "claim about kept is not asserted"),
    (
        "interface",
        "#pragma HLS INTERFACE mode=s_axilite port=count bundle=control\n",
        "",
        "port count has no INTERFACE",
    ),
    ("interface", "mode=s_axilite port=count", "mode=s_axilite port=cuont", "port=cuont is no argument of top"),
    ("interface", "#pragma HLS INTERFACE mode=s_axilite port=to bundle=control\n", "", "no s_axilite pragma"),
    ("interface", "#pragma HLS INTERFACE mode=s_axilite port=return bundle=control\n", "", "nothing starts the kernel"),
    (
        "interface",
        "#pragma HLS INTERFACE mode=m_axi port=to bundle=gmem1 offset=slave depth=DEPTH latency=64\n",
        "",
        "port to is read or written as an array",
    ),
    (
        "interface",
        "depth=DEPTH latency=64\n#pragma HLS INTERFACE mode=m_axi port=to",
        "latency=64\n#pragma HLS INTERFACE mode=m_axi port=to",
        "leaves depth to defaults",
    ),
    ("interface", "bundle=gmem1", "bundle=gmem0", "ports from and to share a bundle"),
    *BAD_DATAFLOW,
]
