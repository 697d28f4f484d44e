"""The test bench as co-simulation runs it: one layer a call, an array for each port."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace

import pytest
from support.boards import BOARD
from support.random_graphs import random_artifact
from support.random_heads import random_classifier

from codegen.generate import generate
from codegen.options import EngineOptions
from codegen.simulation.csim import compile_engine, input_mantissas, write_golden

ENGINE = EngineOptions(lanes=4, filters=2, pixels=2)


@pytest.fixture(scope="module", params=[(2, 1), (7, 1), (7, 2)])
def built(request, tmp_path_factory):
    """A random network, compiled, with the golden data of two images; a classifier with both at once."""
    folder, (seed, batch) = tmp_path_factory.mktemp("bench"), request.param
    artifact = random_artifact(seed, ENGINE.lanes) if batch == 1 else random_classifier(seed, ENGINE.lanes)
    program, identity = generate([artifact], replace(ENGINE, batch=batch), BOARD, folder)
    bench, _ = compile_engine(folder / "generated", folder, optimise=("-O1",))
    write_golden(folder / "golden.bin", program, identity, [input_mantissas(artifact, 2, 0)])
    return folder, bench, program


def run(folder, bench, weights, *more):
    result = folder / "result.json"
    result.unlink(missing_ok=True)
    words = [str(bench), str(weights), str(folder / "golden.bin"), str(result), *more]
    process = subprocess.run(words, capture_output=True, text=True, timeout=120)
    return process, json.loads(result.read_text()) if result.is_file() else None


def test_layers_one_by_one_give_every_tensor(built):
    folder, bench, program = built
    assert len(program.layers) > 3
    process, result = run(folder, bench, folder / "deploy" / "weights.bin", "layers")
    assert process.returncode == 0 and result["mismatches"] == 0 and result["values_compared"] > 100


def test_wrong_weights_show_in_either_way(built, tmp_path):
    """As many wrong values from a spoilt weight, so that layers do pass on what they store."""
    folder, bench, _ = built
    raw = bytearray((folder / "deploy" / "weights.bin").read_bytes())
    for at in range(0, len(raw), 5):
        raw[at] ^= 0x11
    weights = tmp_path / "weights.bin"
    weights.write_bytes(raw)
    (whole, all_at_once), (single, by_layers) = (run(folder, bench, weights, *more) for more in ((), ("layers",)))
    assert whole.returncode == single.returncode == 1
    assert 0 < all_at_once["mismatches"] == by_layers["mismatches"]
    assert all_at_once["first_mismatch"] == by_layers["first_mismatch"]


def test_any_other_word_is_refused(built):
    folder, bench, _ = built
    for more in (("layer",), ("layers", "layers")):
        process, result = run(folder, bench, folder / "deploy" / "weights.bin", *more)
        assert process.returncode == 2 and "usage: testbench WEIGHTS GOLDEN RESULT.json [layers]" in process.stderr
        assert result is None
