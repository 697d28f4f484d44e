"""The engine's own mends: with any of them taken back, the lint refuses the engine."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

import pytest
from support.boards import BOARD

from codegen.generate import generate
from codegen.lint import RULES, lint, parse
from codegen.lint.__main__ import CHIP_WORDS, QUEUE_WORDS
from codegen.lint.artifacts import smallest_artifact, widest_artifact
from codegen.lint.rules.arithmetic import MEANT, run_time_products
from codegen.lint.run import HLS, TOP
from codegen.options import EngineOptions

# what a mend is taken back by: file, pattern, replacement, rule that refuses it, words of its sentence
TAKEN_BACK = [
    ("engine.cpp", r"depth=sbfp::SIM_FMAP", "depth=SIM_FMAP", "pragma_scope", "undeclared identifier 'SIM_FMAP_WORDS'"),
    *(
        ("engine.cpp", rf"#pragma HLS STABLE variable={job}\n", "", "stable_jobs", f"{job} is a struct that")
        for job in ("where", "load", "weights", "pass")
    ),
    (
        "fetch_tile.hpp",
        r"FETCH_BURSTS>\(n \+ 1\)",
        "FETCH_BURSTS>(n + job.skip)",
        "bounded_loops",
        "the step of n must be ++",
    ),
    (
        "engine.cpp",
        r"#pragma HLS ALLOCATION function instances=step limit=1\n",
        "",
        "single_instances",
        "step is called 4 times in run_step",
    ),
    ("store.hpp", r"HAS_FUSED_POOL && walk.pooled\) {", "walk.pooled) {", "channel_ends", "channel pooled has 0 producers and 1 consumers"),
    ("weights_ahead.hpp", r"check.read\(n, from\);\n", "", "unchecked_dependences", "the claim about ahead is not asserted"),
    ("weights_ahead.hpp", r"ahead\[to\] = beat;", "ahead[to] = beat;\n ahead[from] = beat;", "dual_ports", "ahead is written 2 times"),
    ("weights.hpp", r"if \(HAS_WEIGHT_QUEUE\) \{\n        int32_t", "if (job.depthwise == 0) {\n        int32_t", "channel_ends", "channel weight_beats has 1 producers and 0"),
    ("store.hpp", r"HAS_CHIP_MAPS && job.store_to", "job.store_to", "channel_ends", "channel packed_on_chip has 1 producers and 0"),
    ("fetch_tile.hpp", r"HAS_CHIP_MAPS && job.fetch_from", "job.fetch_from", "channel_ends", "channel tile_on_chip has 0 producers"),
    ("chip_maps.hpp", r"check.read\(n, at\);\n", "", "unchecked_dependences", "the claim about maps is not asserted"),
    ("chip_maps.hpp", r"maps\[at\] = word;", "maps[at] = word;\n maps[at + 1] = word;", "dual_ports", "maps is written 2 times"),
    ("chip_maps.hpp", r"if \(of_tile\) \{", "if (of_tile) {\n fetched.write(maps[at + 1]);", "dual_ports",
     "maps is read 2 times in a pipelined loop"),
    ("engine.cpp", r"memory\[n\] = maps\[n\];", "memory[n] = maps[n];\n memory[n + 1] = maps[n + 1];", "dual_ports", "maps is read 2"),
    ("epilogue.hpp", r"\(HAS_DEPTHWISE \|\| HAS_INTERPOLATE\) && finish", "finish", "channel_ends", "channel biases has 0 producers"),
    ("epilogue.hpp", r"HAS_SHORTCUT && finish", "finish", "channel_ends", "channel shortcut has 0 producers"),
    *(
        ("epilogue.hpp", rf"#pragma HLS AGGREGATE variable={table}\n", "", "lane_arrays", f"{table} is an array")
        for table in ("MAIN_ALIGNMENT", "REQUANTISATION_SHIFT", "SHORTCUT_ALIGNMENT", "CLAMP_HIGH", "USED_LANES")
    ),
    ("epilogue.hpp", r"#pragma HLS ARRAY_PARTITION variable=LOOKUP dim=1 complete\n", "", "table_reads", "LOOKUP in the same cycle"),
    ("epilogue.hpp", r"LOOKUP\[i / 2\]", "LOOKUP[i / 4]", "table_reads", "two of these a copy at most"),
    ("input_pool.hpp", r"#pragma HLS AGGREGATE variable=INPUT_POOL_SHIFT\n", "", "lane_arrays", "INPUT_POOL_SHIFT is"),
    ("input_pool.hpp", r"#pragma HLS AGGREGATE variable=before\n", "", "lane_arrays", "before is an array"),
    ("load_tile.hpp", r"older\.lane\[c\]", "window.lane[c + job.tap_channels]", "chosen_lanes", "the lane that is taken"),
    ("fetch_tile.hpp", r"map<int8_t>\(Choose\{takes\}, word, padding\)", "takes ? word : padding", "struct_choices", "?: chooses"),
    ("window.hpp", r"choose\(wraps, (job\.\w+), ", r"(wraps ? \1 : ", "struct_choices", "the addresses of two structs"),
    ("words.hpp", r"= moved\.lane\[i\]", "= a.lane[first + i]", "chosen_lanes", "choose among fixed ones"),
    ("conv.hpp", r"#pragma HLS EXPRESSION_BALANCE off\n", "", "balanced_chains", "conv_pass has a chain"),
    (
        "products.hpp",
        r"(Sums &sums\) \{\n#pragma HLS INLINE\n)",
        r"\1#pragma HLS EXPRESSION_BALANCE off\n",
        "pragma_place",
        "EXPRESSION_BALANCE is lost where single_products is inlined",
    ),
    ("words.hpp", r"(shift_left\(.*\n)#pragma HLS INLINE\n", r"\1", "inlined_helpers", "shift_left is called"),
    ("place.hpp", r"from.row \+ by.row", "from.row / by.row", "run_time_division", "/ is computed when it runs"),
    ("words.hpp", r"(shift_left\(int32_t value[^{]*\{\n#pragma HLS INLINE\n)", r"\1    value *= value;\n", "run_time_product", "value *= value"),
    ("conv.hpp", r"#pragma HLS DEPENDENCE variable=(\w+) type=inter false", r"#pragma HLS DEPENDENCE variable=\1 type=inter", "pragma_spelling", "true or false is missing"),
]


def test_products_that_are_meant_are_there():
    """The list of functions that multiply has those of the sources, and no others; the control has none."""
    with tempfile.TemporaryDirectory() as folder:
        generate([widest_artifact()], EngineOptions(16, 8, 5, chip_words=CHIP_WORDS, weights_ahead=QUEUE_WORDS[0]), BOARD, Path(folder))
        kernel = parse(HLS / "engine.cpp", [HLS, HLS / "synth", Path(folder, "generated")], TOP)
        assert MEANT == {place for place, _ in run_time_products(kernel)}


@pytest.fixture(scope="module", params=[smallest_artifact, widest_artifact], ids=["smallest", "widest"])
def generated(request, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp(request.param.__name__)
    generate([request.param()], EngineOptions(16, 8, 5, chip_words=CHIP_WORDS, weights_ahead=QUEUE_WORDS[0]), BOARD, folder)
    return folder / "generated"


@pytest.mark.parametrize(
    "file, pattern, replacement, rule, words", TAKEN_BACK, ids=[f"{b[0]}-{b[4]}" for b in TAKEN_BACK]
)
def test_without_the_mend_the_engine_is_refused(file, pattern, replacement, rule, words, generated, tmp_path):
    hls = tmp_path / "hls"
    shutil.copytree(HLS, hls)
    text, count = re.subn(pattern, replacement, (hls / file).read_text(), count=1 if "SIM" not in pattern else 0)
    assert count
    (hls / file).write_text(text)
    found = lint(hls / "engine.cpp", [hls, hls / "synth", generated], rules={rule: RULES[rule]})
    assert any(words in f.sentence for f in found), [str(f) for f in found]
