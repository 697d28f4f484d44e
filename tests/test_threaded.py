"""Threaded C simulation: the same bits, and deadlocks reported with the names of process and stream."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support.boards import BOARD
from support.random_graphs import random_artifact
from support.random_inputs import random_input
from support.engines import ENGINES, Engine, engine_options
from support.engines import roomy

from bfp.errors import BfpError
from codegen.simulation.csim import compile_engine, run_testbench, write_golden
from codegen.generate import generate
from codegen.options import EngineOptions
from codegen.lowering.program import build
from codegen.simulation.threaded import threaded_source, write_threaded

ROOT = Path(__file__).parent.parent
HLS = ROOT / "hls"

KERNEL = """
#include <cstdint>
#include <cstdio>
#include "hls_stream.h"

static void produce(const int *from, int count, hls::stream<int> &ones, hls::stream<int> &twos) {
    for (int i = 0; i < count; ++i) {
        ones.write(from[i]);
    }
    for (int i = 0; i < count; ++i) {
        twos.write(2 * from[i]);
    }
}

static void fill(int factor, int table[4]) {
    for (int i = 0; i < 4; ++i) {
        table[i] = factor * i;
    }
}

static void join(int count, hls::stream<int> &ones, hls::stream<int> &twos, const int table[4], int *to) {
    for (int i = 0; i < count; ++i) {
        const int one = ones.read();
        to[i] = one + twos.read() + table[i % 4];
    }
}

static void run(const int *from, int count, int rounds, int *to) {
    for (int round = 0; round < rounds; ++round) {
#pragma HLS DATAFLOW
        hls::stream<int> ones;  // a comment; with a semicolon
#pragma HLS STREAM variable=ones depth=8
        hls::stream<int> twos;
        int table[4];
        produce(from, count, ones, twos);
        fill(round, table);
        join(count, ones, twos, table, to);
    }
}

int main() {
    int from[8], to[8];
    for (int i = 0; i < 8; ++i) {
        from[i] = i;
    }
    run(from, 8, 5, to);
    for (int i = 0; i < 8; ++i) {
        if (to[i] != 3 * i + 4 * (i % 4)) {
            return 1;
        }
    }
    return 0;
}
"""


def run_kernel(folder: Path, text: str) -> subprocess.CompletedProcess:
    source = folder / "kernel.cpp"
    source.write_text(threaded_source(text, "kernel.cpp"))
    flags = ["-std=c++14", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", "-pthread"]
    command = ["g++", *flags, f"-I{HLS / 'csim' / 'threaded'}", str(source), "-o", str(folder / "kernel")]
    subprocess.run(command, check=True)
    return subprocess.run([str(folder / "kernel")], capture_output=True, text=True, timeout=20)


def test_kernel_with_threads(tmp_path):
    result = run_kernel(tmp_path, KERNEL)
    assert (result.returncode, result.stderr) == (0, "")
    for _ in range(20):
        assert subprocess.run([str(tmp_path / "kernel")], timeout=20).returncode == 0


def test_undersized_stream_is_a_deadlock(tmp_path):
    """All of one stream are written before the other: six places are too few for eight items, one being read."""
    result = run_kernel(tmp_path, KERNEL.replace("depth=8", "depth=6"))
    assert result.returncode < 0
    assert "deadlock: " in result.stderr
    assert "process run/produce waits to write stream ones (depth 6, full)" in result.stderr
    assert "process run/join waits to read stream twos (depth 2, empty)" in result.stderr


def test_process_that_reads_too_much_is_a_deadlock(tmp_path):
    result = run_kernel(tmp_path, KERNEL.replace("join(count, ones", "join(count + 1, ones"))
    assert result.returncode < 0
    assert "process run/join waits to read stream ones (depth 8, empty)" in result.stderr


def test_process_that_reads_too_little_is_reported(tmp_path):
    result = run_kernel(
        tmp_path, KERNEL.replace("join(count, ones", "join(count - 1, ones").replace("rounds, to", "1, to")
    )
    assert result.returncode < 0
    assert "deadlock" in result.stderr or "items were written and never read" in result.stderr


def test_array_that_is_not_written_shows(tmp_path):
    """Buffers hold no values of an earlier iteration."""
    result = run_kernel(
        tmp_path, KERNEL.replace("        table[i] = factor * i;", "        if (i > 0) table[i] = factor * i;")
    )
    assert result.returncode == 1


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("        fill(round, table);", "        if (round > 0) {\n            fill(round, table);\n        }", "if"),
        ("        int table[4];", "        int table[4] = {};", "int table.4. = {}"),
        (
            "        fill(round, table);",
            "        fill(round, table);\n        fill(round, table);",
            "table is used by 3 processes",
        ),
        (
            "for (int round = 0; round < rounds; ++round) {",
            "while (rounds-- > 0) {",
            "body of a function or of a for loop",
        ),
    ],
)
def test_region_that_is_not_understood_is_refused(old, new, words):
    assert old in KERNEL
    with pytest.raises(BfpError, match=rf"kernel.cpp:\d+: the threaded simulation cannot take .*{words}"):
        threaded_source(KERNEL.replace(old, new), "kernel.cpp")


def test_only_regions_change(tmp_path):
    """What is not a DATAFLOW region is copied as it is; the engine has one region, a step."""
    engine = write_threaded(HLS, tmp_path)
    for path in HLS.glob("*.hpp"):
        assert "DATAFLOW" in path.read_text() or (tmp_path / path.name).read_text() == path.read_text()
    text = engine.read_text()
    assert (
        text.count("csim::Region csim_region(") == (HLS / "engine.cpp").read_text().count("#pragma HLS DATAFLOW") >= 1
    )
    for name, depth in re.findall(r"#pragma HLS STREAM variable=(\w+) depth=(\w+)", (HLS / "engine.cpp").read_text()):
        assert f'{name}("{name}", {depth});' in text


def check_batch(seeds: range, engine, out: Path) -> None:
    artifacts = [random_artifact(seed, engine.lanes, engine.widest) for seed in seeds]
    program, identity = generate(artifacts, roomy(engine_options(artifacts, engine)), engine.board, out)
    bench, _ = compile_engine(out / "generated", out / "csim", optimise=("-O0",), threaded=True)
    write_golden(out / "golden.bin", program, identity, [random_input(a, s) for a, s in zip(artifacts, seeds)])
    result = run_testbench(bench, out / "deploy" / "weights.bin", out / "golden.bin", out / "result.json")
    assert result["mismatches"] == 0, result["first_mismatch"]
    assert result["layers_compared"] == len(program.layers) >= len(artifacts)


@pytest.mark.parametrize("batch", [0, 1])
def test_engine_with_threads_is_bit_equal(batch, tmp_path):
    check_batch(range(3), ENGINES[batch], tmp_path)


@pytest.mark.heavy
@pytest.mark.parametrize("batch", range(len(ENGINES)))
def test_many_graphs_with_threads(batch, tmp_path):
    check_batch(range(100 + 12 * batch, 112 + 12 * batch), ENGINES[batch], tmp_path)


def changed_engine(folder: Path, monkeypatch, name: str, pattern: str, by: str) -> None:
    """Let the tests build a copy of the engine with one change in the file ``name``."""
    hls = folder / "hls"
    shutil.copytree(HLS, hls)
    source = (hls / name).read_text()
    changed = re.sub(pattern, by, source)
    assert changed != source
    (hls / name).write_text(changed)
    monkeypatch.setattr("codegen.simulation.csim.HLS", hls)


def test_engine_with_the_least_depths(tmp_path, monkeypatch):
    """The engine's processes keep the order of their items, so that one place in each stream must do.

    But for pooled rows, which wait while the map's own row is stored.
    """
    changed_engine(tmp_path, monkeypatch, "engine.cpp", r"(STREAM variable=\w+ depth=)\d+", r"\g<1>1")
    check_batch(range(2), ENGINES[1], tmp_path)


def kept_and_pooled(engine: Engine) -> int:
    """A seed whose network stores a map besides its max pool."""
    for seed in range(100):
        program = build([random_artifact(seed, engine.lanes, engine.widest)], EngineOptions(lanes=engine.lanes), BOARD)
        if any(layer.pool and layer.pool.keeps_map for layer in program.layers):
            return seed
    raise AssertionError("no such network")


def test_a_pooled_row_must_wait_for_the_map_s_own(tmp_path, monkeypatch):
    seed = kept_and_pooled(ENGINES[0])
    check_batch(range(seed, seed + 1), ENGINES[0], tmp_path / "right")
    changed_engine(tmp_path, monkeypatch, "engine.cpp", r"depth=POOLED_QUEUE", "depth=1")
    with pytest.raises(BfpError, match="deadlock: .*process step/fused_pool waits to write stream pooled "):
        check_batch(range(seed, seed + 1), ENGINES[0], tmp_path / "wrong")


def test_engine_with_a_greedy_process_is_a_deadlock(tmp_path, monkeypatch):
    changed_engine(tmp_path, monkeypatch, "store.hpp", r"(= )(packed\.read\(\);)", r"\1\2 \2")
    with pytest.raises(BfpError, match="deadlock: .*process step/store waits to read stream packed .*empty"):
        check_batch(range(2), ENGINES[1], tmp_path)
