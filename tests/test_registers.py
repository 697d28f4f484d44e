"""What the compiler keeps in local memories: no lanes of a pipelined loop, unless a pragma makes registers of them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support.boards import BOARD
from support.chip_shortcuts import keep_all
from support.random_graphs import random_artifact

from codegen.area.compiled import STRAIGHT, find_clang, missing_clang
from codegen.generate import generate
from codegen.options import EngineOptions

HLS = Path(__file__).parent.parent / "hls"
# items go through a pointer from outside, so that they are no local variables
STREAM = """#pragma once
extern "C" void *somewhere();
namespace hls {
template <typename T>
class stream {
  public:
    stream() : next_(static_cast<T *>(somewhere())) {}
    void write(const T &item) { *next_++ = item; }
    T read() { return *next_++; }

  private:
    T *next_;
};
}
"""
# of registers by ARRAY_PARTITION; and scalars that are handed on, of jobs and their rows
PARTITIONED, SCALARS = {"data", "block", "finished"}, {"where", "load", "weights", "queue", "pass", "job"}
INLINE_OFF = re.compile(r"^((?:static )?(?:inline )?void \w+\([^{}]*\{\n(?:#pragma[^\n]*\n)*?#pragma HLS INLINE off)", re.MULTILINE)

pytestmark = pytest.mark.skipif(bool(missing_clang()), reason=missing_clang())


def kept(hls: Path, generated: Path, folder: Path) -> set[str]:
    """Names of the local variables that clang leaves in memory, loops unrolled and functions inlined.

    A single integer is none of lanes: where two branches end alike, clang may choose between addresses of such.
    """
    shutil.copytree(hls, folder / "hls")
    for path in (folder / "hls").glob("*.?pp"):
        path.write_text(INLINE_OFF.sub(r"__attribute__((noinline)) \1", path.read_text()))
    (folder / "hls_stream.h").write_text(STREAM)
    include = [f"-I{path}" for path in (folder, folder / "hls", folder / "hls" / "synth", generated)]
    command = [find_clang(), "-std=c++14", *STRAIGHT, "-w", "-fno-discard-value-names", *include, "-S", "-emit-llvm"]
    result = subprocess.run(
        [*command, str(folder / "hls" / "engine.cpp"), "-o", "-"], capture_output=True, text=True, check=True
    )
    found = re.findall(r"^ +%([A-Za-z_]+)[\w.]* = alloca (.*)", result.stdout, re.MULTILINE)
    assert found
    return {name for name, kind in found if "hls::stream" not in kind and not re.match(r"i\d+,", kind)}


@pytest.fixture(scope="module")
def generated(tmp_path_factory) -> Path:
    """Engine with every operator, maps, shortcuts and weights on chip, digits of wide mantissas, several parts of a word and several pixels."""
    folder = tmp_path_factory.mktemp("registers")
    artifacts = [random_artifact(seed, 16, widest=5) for seed in range(20)] + [random_artifact(n, 16) for n in (0, 48)]
    with pytest.MonkeyPatch.context() as patch:
        keep_all(patch)
        generate(artifacts, EngineOptions(products=4, chip_words=2000, weights_ahead=500), BOARD, folder)
    assert set(re.findall(r"bool HAS_\w+ = (\w+);", (folder / "generated" / "config.hpp").read_text())) == {"true"}
    return folder / "generated"


def test_no_lanes_lie_in_local_memories(generated, tmp_path):
    assert kept(HLS, generated, tmp_path) <= PARTITIONED | SCALARS


@pytest.mark.parametrize(
    "file, old, new, variables",
    [
        ("fetch_tile.hpp", "map<int8_t>(Choose{takes}, word, padding)", "takes ? word : padding", {"word", "padding"}),
        ("fused_pool.hpp", "map<int8_t>(Choose{row.begins}, in_row, both)", "row.begins ? in_row : both", {"in_row"}),
        ("load_tile.hpp", "older.lane[c]", "window.lane[(c + job.tap_channels) % LANES]", {"line"}),
    ],
)
def test_lanes_in_a_memory_are_seen(file, old, new, variables, generated, tmp_path):
    shutil.copytree(HLS, tmp_path / "before")
    text = (HLS / file).read_text()
    assert old in text
    (tmp_path / "before" / file).write_text(text.replace(old, new))
    assert variables <= kept(tmp_path / "before", generated, tmp_path)
