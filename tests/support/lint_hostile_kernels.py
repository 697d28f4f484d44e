"""More changes that make a bad kernel of the good one: what looks right, and is ignored or taken for something else."""

from __future__ import annotations

from support.lint_kernels import GOOD, LOOP, twice

STREAM = "#pragma HLS STREAM variable=words depth=4\n"
REGION = "#pragma HLS DATAFLOW\n"
LANE = "variable=word.lane complete"
CLAIM = "type=inter false"
FILL = "#pragma HLS UNROLL\n            word.lane[c] = static_cast<int8_t>(twice(i));"
PIPELINE = "#pragma HLS PIPELINE II=1\n        words"
MEMORY = "bundle=gmem0 offset=slave depth=DEPTH latency=64"
RUN = "    run(from, to, count);"
WORD = "struct Word {"
STORE_AND_RUN = GOOD[GOOD.index("static void store(") : GOOD.index('extern "C"')]


def stream(value: str) -> tuple[str, str]:
    return STREAM, f"#pragma HLS STREAM variable=words depth={value}\n"


# rule, what is replaced, by what, words of the sentence
HOSTILE = [
    # values
    ("pragma_scope", *stream("0"), "depth is less than 1"),
    ("pragma_scope", *stream("4.5"), "depth is no whole number"),
    ("pragma_scope", *stream("4000000000"), "depth is more than 2147483647"),
    ("pragma_scope", *stream("depth()"), "undeclared identifier 'depth'"),
    ("pragma_spelling", *stream("1<<2"), "depth=1<<2 is no constant"),
    ("pragma_spelling", *stream(""), "depth= is no constant"),
    ("pragma_spelling", *stream("4;"), "depth=4; is no constant"),
    ("pragma_spelling", *stream("=4"), "depth==4 is no constant"),
    ("pragma_spelling", STREAM, "#pragma HLS STREAM variable=words depth=4 type=pipo\n", "type=pipo is not known"),
    ("pragma_scope", "PIPELINE II=1\n        words", "PIPELINE II=0\n        words", "II is less than 1"),
    ("pragma_spelling", "PIPELINE II=1\n        words", "PIPELINE\n        words", "II= or off is missing"),
    ("pragma_scope", "PIPELINE II=1\n        memory[i]", "UNROLL factor=0\n        memory[i]", "factor is less than 2"),
    ("pragma_scope", "min=1 max=DEPTH\n", "min=DEPTH max=4\n", "min is more than max"),
    ("pragma_scope", MEMORY, MEMORY.replace("DEPTH", "0"), "depth is less than 1"),
    ("pragma_scope", MEMORY, f"{MEMORY} max_read_burst_length=300", "max_read_burst_length is more than 256"),
    ("pragma_scope", "port=count bundle=control", "port=count bundle=control offset=slave", "identifier 'slave'"),
    ("pragma_spelling", "bundle=gmem0 ", "bundle=g.mem ", "bundle=g.mem is not a name"),
    ("pragma_spelling", "port=return bundle=control", "port=return bundle=control register", "register is not known of"),
    # options that exclude each other, or are left to a default
    ("pragma_spelling", LANE, f"{LANE} cyclic factor=2", "complete and cyclic exclude each other"),
    ("pragma_spelling", LANE, f"{LANE} factor=2", "complete and factor exclude each other"),
    ("pragma_spelling", LANE, "variable=word.lane", "complete or block or cyclic or type= is missing"),
    ("pragma_spelling", CLAIM, "type=inter true false", "true and false exclude each other"),
    ("pragma_spelling", CLAIM, f"{CLAIM} distance=3", "false and distance exclude each other"),
    ("pragma_spelling", CLAIM, "type=inter", "true or false is missing"),
    ("pragma_conflicts", STREAM, f"{STREAM}#pragma HLS STREAM variable=words depth=8\n", "STREAM of the same stands in"),
    ("pragma_conflicts", PIPELINE, f"#pragma HLS PIPELINE II=2\n{PIPELINE}", "PIPELINE of the same stands in"),
    ("pragma_conflicts", *twice("#pragma HLS INLINE off"), "INLINE of the same stands in"),
    ("pragma_conflicts", PIPELINE, f"#pragma HLS UNROLL factor=2\n{PIPELINE}", "a loop that is unrolled is no pipeline"),
    (
        "pragma_conflicts",
        REGION,
        f"{REGION}#pragma HLS STABLE variable=count\n#pragma HLS STABLE variable=count\n",
        "STABLE of the same stands in",
    ),
    # places
    (
        "pragma_heads",
        FILL,
        "            word.lane[c] = static_cast<int8_t>(twice(i));\n#pragma HLS UNROLL",
        "UNROLL stands behind a statement",
    ),
    (
        "pragma_heads",
        "#pragma HLS INLINE\n    return 2 * value;",
        "    value += 0;\n#pragma HLS INLINE\n    return 2 * value;",
        "INLINE stands behind a statement",
    ),
    (
        "pragma_place",
        "    static const int32_t OFFSET = 3;",
        "#pragma HLS DEPENDENCE variable=table type=inter false\n    static const int32_t OFFSET = 3;\n"
        '    sbfp::DependenceCheck<DEPTH> also("table", 4);\n    also.write(0, 0);\n    also.read(0, 0);',
        "DEPENDENCE must stand directly in a loop",
    ),
    ("pipelines", FILL, FILL.replace("UNROLL", "UNROLL factor=2"), "with UNROLL and no factor"),
    ("tripcounts", FILL, FILL.replace("UNROLL", "UNROLL\n#pragma HLS LOOP_TRIPCOUNT min=9 max=9"), "is constant; leave"),
    # what they are about
    ("pragma_scope", RUN, f"#pragma HLS ALLOCATION function instances=run limit=0\n{RUN}", "limit is less than 1"),
    ("pragma_types", RUN, f"#pragma HLS ALLOCATION operation instances=mull limit=1\n{RUN}", "did you mean mul"),
    (
        "bound_operations",
        *twice("    int32_t p = value + 2;\n#pragma HLS BIND_OP variable=p op=mul impl=dsp\n    value = p;"),
        "p holds the result of no mul",
    ),
    ("stable_arguments", *twice("#pragma HLS STABLE variable=value"), "twice is no dataflow region"),
    ("stable_arguments", REGION, f"{REGION}#pragma HLS STABLE variable=from\n", "from is memory"),
    (
        "stable_arguments",
        STORE_AND_RUN,
        STORE_AND_RUN
        .replace("static void store(int32_t count,", "static void store(int32_t &count,")
        .replace(REGION, f"{REGION}#pragma HLS STABLE variable=count\n"),
        "count may be written by process store",
    ),
    ("interface", "port=to bundle=control", "port=to bundle=other", "is in another s_axilite bundle"),
    ("interface", "bundle=gmem0 offset=slave", "bundle=gmem0 offset=off", "no register sets its address"),
    # text that is not what it looks like
    ("preprocessor", STREAM, f"%:pragma HLS STREAM variable=words depth=9\n{STREAM}", "'%:' makes of a line"),
    ("preprocessor", STREAM, f"// a note \\\n{STREAM}", "makes of a line what it does not look like"),
    ("preprocessor", *twice('    static const char note[] = R"(/*)";\n    value += note[0];'), "makes of a line"),
    # arithmetic
    (
        "run_time_division",
        WORD,
        "struct Half {\n    int32_t value;\n    Half(int32_t v) : value(v / 3) {\n#pragma HLS INLINE\n    }\n};\nstruct Word {",
        "/ is computed when it runs",
    ),
    ("run_time_division", WORD, f"struct Half {{\n    int32_t whole;\n    int32_t half = whole / 3;\n}};\n{WORD}", "/ is"),
    ("run_time_product", *twice("    value *= value;"), "the product value *= value is computed"),
    ("run_time_product", *twice("    value = value * value;"), "the product value * value is computed"),
    (
        "run_time_product",
        *twice("    value = sq<int32_t>(value);", "template <class T>\nT sq(T a) {\n#pragma HLS INLINE\n    return a * a;\n}"),
        "the product a * a is computed",
    ),
    (
        "balanced_chains",
        *twice("    for (int i = 0; i < LANES; ++i) {\n#pragma HLS UNROLL\n        value = value + value * value;\n    }"),
        "fill has a chain of products",
    ),
    # loops and claims
    ("bounded_loops", LOOP, LOOP.replace("++i", "i += 0"), "of a constant"),
    ("bounded_loops", LOOP, LOOP.replace("++i", "i += -1"), "of a constant"),
    ("unchecked_dependences", "        check.read(i, i);\n", "", "tell it every read and write"),
    # the language
    ("statics", WORD, f"{WORD}\n    static int32_t calls;", "calls is a variable that every process may use"),
    ("pointers", *twice("    int32_t b = 1;\n    const int32_t *p = value > 3 ? &value : &b;\n    value = *p;"), "p may point"),
    ("pointers", *twice("", "inline const int32_t *pick(const int32_t *p) {\n    return p;\n}"), "pick returns a pointer"),
    ("constructs", WORD, f"struct Box {{\n    hls::stream<int32_t> items;\n}};\n{WORD}", "stream items in a struct"),
    ("compiler_warnings", *twice("    int32_t q;\n    switch (value) {\n        case 1:\n            q = 3;\n    }\n    value = q;"), "uninit"),
    ("constructs", *twice("    auto f = [](int32_t v) { return v; };\n    value = f(value);"), "a lambda is not"),
    ("constructs", *twice('    asm("nop");'), "asm is not for kernels"),
    ("constructs", *twice("    value = *reinterpret_cast<const int16_t *>(&value);"), "reinterpret_cast is not"),
    ("constructs", *twice("    value = *(const int16_t *)&value;"), "a cast to a pointer is not"),
    ("constructs", *twice("", "union Either {\n    int32_t whole;\n    int8_t part[4];\n};"), "a union is not"),
    ("constructs", *twice("", "struct Bits {\n    int32_t a : 3;\n};"), "bit-field a is not"),
    ("constructs", *twice("", "inline int32_t many(int32_t a, ...) {\n    return a;\n}"), "many with any number"),
    ("constructs", *twice("    __int128 wide = value;\n    value = wide > 3;"), "wide of 128 bits"),
    ("scalars_first", "    int8_t lane[LANES];\n};", "    int8_t lane[LANES];\n    int32_t more;\n};", "scalar more of Word"),
    ("compiler_warnings", LOOP, LOOP.replace("int32_t i = 0; i < count; ++i", "uint32_t i = count; i >= 0; --i"), "always true"),
    ("compiler_warnings", *twice("    value = value << 32;"), "shift count >= width of type"),
    ("compiler_warnings", *twice("    int32_t other;\n    value += other;"), "uninitialized"),
]
