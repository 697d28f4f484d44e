"""The kernels keep to the subset of HLS C++ that other HLS compilers take, as far as compilers and text can tell.

Vendor pragmas are removed mechanically, streams have read() and write() only,
and every stage must compile in a translation unit of its own.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from support.boards import BOARD
from support.compilers import EVERY, NO_CLANG

from bfp.errors import BfpError
from codegen.simulation.csim import HLS
from codegen.generate import generate
from codegen.lint.artifacts import smallest_artifact, widest_artifact
from codegen.lint.rules.layout import WIDEST
from codegen.options import EngineOptions
from codegen.render import KERNEL_HEADERS
from codegen.simulation.source_text import blank_comments

STREAM = """
#pragma once
namespace hls {
template <typename T>
class stream {
  public:
    stream();
    void write(const T &item);
    T read();
};
}
"""
HEADERS = sorted([*(path.name for path in HLS.glob("*.hpp")), *KERNEL_HEADERS])
SIZES = [(2, 2, 1), (16, 8, 5)]
LANES_MOST = 64  # of the engine's options
NETWORKS = {"smallest": smallest_artifact, "widest": widest_artifact}


def stripped(text: str) -> str:
    """A source without the vendor's pragmas: whole lines go, and nothing else."""
    return "".join(line for line in text.splitlines(keepends=True) if not re.match(r"\s*#pragma HLS\b", line))


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    """Folders hls/ without pragmas, stream/ with the least stream, and generated/ for each network and size."""
    folder = tmp_path_factory.mktemp("portable")
    for source in [*HLS.glob("*.[ch]pp"), *(HLS / "synth").glob("*.hpp")]:
        target = folder / "hls" / source.name
        target.parent.mkdir(exist_ok=True)
        target.write_text(stripped(source.read_text()))
    (folder / "stream").mkdir()
    (folder / "stream" / "hls_stream.h").write_text(STREAM)
    for size in SIZES:
        for name, network in NETWORKS.items():
            out = folder / name / "x".join(map(str, size))
            generate([network()], EngineOptions(*size), BOARD, out)
            for header in (out / "generated").glob("*.hpp"):
                header.write_text(stripped(header.read_text()))
    return folder


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(
    "compiler, standard, size",
    [
        ("g++", "c++17", SIZES[0]),
        ("clang++", "c++17", SIZES[0]),
        ("clang++", "gnu++17", SIZES[0]),
        ("g++", "c++17", SIZES[1]),
    ],
)
def test_every_header_compiles_by_itself(compiler, standard, size, network, plain, tmp_path):
    if EVERY[compiler] is None:
        pytest.skip(NO_CLANG if compiler == "clang++" else "g++ is not installed")
    generated = plain / network / "x".join(map(str, size)) / "generated"
    include = [f"-I{plain / 'hls'}", f"-I{plain / 'stream'}", f"-I{generated}"]
    flags = [f"-std={standard}", "-fsyntax-only", "-Wall", "-Werror", "-Wno-unused-label", "-Wno-unused-function"]
    # one run of the compiler for all: each header in a unit of its own
    sources = []
    for name in HEADERS:
        sources.append(tmp_path / f"{name}.cpp")
        sources[-1].write_text(f'#include "{name}"\n')
    sources.append(plain / "hls" / "engine.cpp")
    result = subprocess.run([EVERY[compiler], *flags, *include, *map(str, sources)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[:2000]


def test_pragmas_stand_on_lines_of_their_own():
    for path in HLS.glob("*.[ch]pp"):
        text = path.read_text()
        assert "_Pragma" not in text
        rest = stripped(text)
        assert "pragma HLS" not in rest
        # nothing but pragmas went: no continuation lines, no code behind a pragma
        assert rest.count(";") == text.count(";") and rest.count("{") == text.count("{")
        assert not re.search(r"#pragma HLS[^\n]*\\\n", text)


@pytest.mark.parametrize(
    "pattern, what",
    [
        (r"\.\s*(empty|full|size|read_nb|write_nb|capacity)\s*\(", "a stream has read() and write() only"),
        (r"\bstream<[^;>]*>\s+\w+\s*[({]", "a stream has no name and no depth argument"),
        (r"\bsizeof\b", "sizeof differs where arbitrary widths are used"),
        (r"\b(hls_math|hls_vector|ap_axi_sdata|ap_int|ap_fixed)\b", "not in every HLS compiler"),
        (r"\bstream<[^;>]*>\s+\w+\s*\[", "streams come one by one"),
    ],
)
def test_what_the_subset_leaves_out(pattern, what):
    for path in HLS.glob("*.[ch]pp"):
        found = re.search(pattern, blank_comments(path.read_text()))
        assert not found, f"{path.name}: {found.group()}: {what}"


FOUR = {"PRODUCTS": 4, "PIXELS": 10, "READS": 2, "CHAIN": 2, "LARGEST_WEIGHT": 15, "LARGEST_OPERAND": 31}


@pytest.mark.parametrize(
    "changes, refusal",
    [
        ({}, None),
        ({"CHAIN": 16, "LARGEST_WEIGHT": 127, "LARGEST_OPERAND": 127}, "two products do not fit a DSP"),
        ({"CHAIN": 8, "LARGEST_WEIGHT": 127, "LARGEST_OPERAND": 255}, "two products do not fit a DSP"),
        ({"PAIR_BITS": 17}, "two products do not fit a DSP"),
        ({"WEIGHT_PORT_BITS": 25}, "two products do not fit a DSP"),
        (FOUR, None),
        ({**FOUR, "CHAIN": 4}, "four products do not fit a DSP"),
        ({**FOUR, "LARGEST_WEIGHT": 16, "LARGEST_OPERAND": 1}, "four products do not fit a DSP"),
        ({**FOUR, "QUAD_BITS": 10}, "four products do not fit a DSP"),
        ({**FOUR, "WEIGHT_PORT_BITS": 26}, "four products do not fit a DSP"),
        ({**FOUR, "LARGEST_WEIGHT": 7, "LARGEST_OPERAND": 63}, None),
        ({**FOUR, "LARGEST_WEIGHT": 7, "LARGEST_OPERAND": 64}, "four products do not fit a DSP"),
        ({**FOUR, "OPERAND_PORT_BITS": 16}, "four products do not fit a DSP"),
    ],
)
def test_products_that_do_not_fit_are_refused(changes, refusal, plain, tmp_path):
    """The engine's own check of the array that code generation has chosen."""
    generated = plain / "smallest" / "16x8x5" / "generated"
    text = (generated / "config.hpp").read_text()
    for name, value in changes.items():
        text, count = re.subn(rf"(constexpr int {name} =) \d+;", rf"\1 {value};", text)
        assert count == 1, name
    (tmp_path / "config.hpp").write_text(text)
    (tmp_path / "unit.cpp").write_text('#include "products.hpp"\n')
    include = [f"-I{path}" for path in (tmp_path, plain / "hls", generated)]
    command = ["g++", "-std=c++14", "-fsyntax-only", *include, str(tmp_path / "unit.cpp")]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode == 0) == (refusal is None) and (refusal or "") in result.stderr, result.stderr


def test_words_that_the_compiler_does_not_make_are_refused(plain, tmp_path):
    """The engine's own limit, which depends on the lanes alone; the options stay below it."""
    generated = plain / "smallest" / "16x8x5" / "generated"
    text = (generated / "config.hpp").read_text()
    for lanes, pixels, accepted in ((64, 32, True), (128, 1, True), (256, 1, False)):
        changed = re.sub(r"(int LANES =) \d+;", rf"\1 {lanes};", text)
        changed = re.sub(r"(int PIXELS =) \d+;", rf"\1 {pixels};", changed)
        changed = re.sub(r"(int BANKS =) \d+;", r"\1 1;", changed)
        (tmp_path / "config.hpp").write_text(re.sub(r"(int READS =) \d+;", rf"\1 {pixels};", changed))
        (tmp_path / "unit.cpp").write_text('#include "words.hpp"\n')
        include = [f"-I{path}" for path in (tmp_path, plain / "hls", generated)]
        command = ["g++", "-std=c++14", "-fsyntax-only", *include, str(tmp_path / "unit.cpp")]
        result = subprocess.run(command, capture_output=True, text=True)
        assert (result.returncode == 0) == accepted, result.stderr
        assert accepted or "wider than a memory or a channel may be" in result.stderr
    assert LANES_MOST * 32 <= WIDEST
    EngineOptions(lanes=LANES_MOST)
    with pytest.raises(BfpError, match="from 2 to 64"):
        EngineOptions(lanes=2 * LANES_MOST)


def test_a_stage_off_the_subset_would_not_compile(plain, tmp_path):
    """The least stream is what the test above says it is."""
    (tmp_path / "bad.cpp").write_text('#include "hls_stream.h"\nbool f(hls::stream<int> &s) { return s.empty(); }\n')
    command = ["g++", "-std=c++17", "-fsyntax-only", f"-I{plain / 'stream'}", str(tmp_path / "bad.cpp")]
    assert subprocess.run(command, capture_output=True).returncode != 0
