"""The engine under sanitizers, on random graphs: no bad access, shift or overflow; no races between processes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.compilers import CLANG, GCC, NO_CLANG
from support.random_graphs import random_artifact
from support.random_inputs import random_input
from support.engines import ENGINES, engine_options
from support.engines import roomy

from bfp.errors import BfpError
from codegen.simulation.csim import compile_engine, run_testbench, write_golden
from codegen.generate import generate

SANITIZE = ("-O0", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
# clang's sanitizers find more; g++ has the same flags
COMPILER = CLANG or GCC

pytestmark = pytest.mark.skipif(COMPILER is None, reason="neither clang++ nor g++ is on PATH")


def run_sanitized(
    seeds: range, engine, out: Path, change=lambda generated: None, flags: tuple[str, ...] = SANITIZE, threaded=False
) -> dict:
    artifacts = [random_artifact(seed, engine.lanes, engine.widest) for seed in seeds]
    program, identity = generate(artifacts, roomy(engine_options(artifacts, engine)), engine.board, out)
    change(out / "generated")
    bench, _ = compile_engine(out / "generated", out / "csim", COMPILER, flags, threaded)
    write_golden(out / "golden.bin", program, identity, [random_input(a, s) for a, s in zip(artifacts, seeds)])
    return run_testbench(bench, out / "deploy" / "weights.bin", out / "golden.bin", out / "result.json")


def test_engine_is_clean(tmp_path):
    result = run_sanitized(range(4), ENGINES[1], tmp_path)
    assert result["mismatches"] == 0, result["first_mismatch"]


@pytest.mark.skipif(CLANG is None, reason=NO_CLANG)
@pytest.mark.parametrize("batch", [0, 3])
def test_engine_is_clean_under_clang(batch, tmp_path):
    """Other sizes of the array than above, and checked bounds of local arrays."""
    flags = (*SANITIZE, "-fsanitize=local-bounds", "-O1")
    result = run_sanitized(range(4), ENGINES[batch], tmp_path, flags=flags)
    assert result["mismatches"] == 0, result["first_mismatch"]


@pytest.mark.heavy
@pytest.mark.parametrize("batch", range(2 * len(ENGINES)))
def test_engine_is_clean_on_many_graphs(batch, tmp_path):
    result = run_sanitized(range(5000 + 20 * batch, 5020 + 20 * batch), ENGINES[batch % len(ENGINES)], tmp_path)
    assert result["mismatches"] == 0, result["first_mismatch"]


def test_a_buffer_that_is_too_small_is_found(tmp_path):
    """Without the sanitizers this would go unnoticed as often as not."""

    def shrink(generated: Path) -> None:
        path = generated / "config.hpp"
        text = path.read_text()
        words = int(re.search(r"int BANKS = (\d+)", text).group(1))
        path.write_text(re.sub(r"int INPUT_WORDS = \d+", f"int INPUT_WORDS = {words}", text))

    with pytest.raises(BfpError, match="stopped with status .*(out of bounds|AddressSanitizer|overflow)"):
        run_sanitized(range(2), ENGINES[1], tmp_path, shrink)


@pytest.mark.heavy
@pytest.mark.parametrize("batch", range(len(ENGINES)))
def test_processes_do_not_race(batch, tmp_path, monkeypatch):
    """Dataflow processes in threads: what two of them touch goes through a stream or a ping-pong buffer."""
    monkeypatch.setenv("TSAN_OPTIONS", "halt_on_error=1")
    flags = ("-O1", "-g1", "-fsanitize=thread")
    result = run_sanitized(
        range(6000 + 6 * batch, 6006 + 6 * batch), ENGINES[batch], tmp_path, flags=flags, threaded=True
    )
    assert result["mismatches"] == 0, result["first_mismatch"]
