"""The networks at their full size: C simulation of the complete network, every stored tensor, at 8, 6, 5 and 4 bits.

One image runs through the driver on the simulated board as well, at 8 and 5 bits.
Published weights where a package has them, seeded random ones elsewhere: for
equality it does not matter. `doit full-size` runs this and keeps the figures.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from support.boards import BOARD
from support.stored import stored_values

from bfp.artifact import Artifact
from bfp.artifact_file import save
from bfp.golden import quantise_input
from calib import pipeline
from calib.config import SHIPPED, load_config
from calib.options import BfpOptions
from calib.together import shipped_networks
from calib.pipeline import Prepared
from calib.observers.statistics import Statistics
from codegen.simulation.csim import simulate
from bfp.files import write_json
from codegen.generate import generate
from codegen.options import EngineOptions
from codegen.performance.steps import program_counts
from host.check import check
from host.driver import Accelerator
from host.simulated_board import SimulatedBoard

# name: input shape, unreduced
NETWORKS = {
    "resnet50": (3, 224, 224),
    "vgg16": (3, 224, 224),
    "mobilenet_v2": (3, 224, 224),
    "efficientnet_lite0": (3, 224, 224),
    "inceptionv4": (3, 299, 299),
    "resnet20": (3, 32, 32),
    "efficientnet_lite1": (3, 240, 240),
    "efficientnet_lite2": (3, 260, 260),
    "resnet56": (3, 32, 32),
    "resnet32": (3, 32, 32),
    "resnet44": (3, 32, 32),
    "resnext50": (3, 224, 224),
    "shufflenet_v2": (3, 224, 224),
    "googlenet": (3, 224, 224),
    "inception_v3": (3, 299, 299),
    "densenet121": (3, 224, 224),
    "dncnn": (1, 256, 256),
    "tc_resnet8": (40, 1, 98),
    "mobilenet_v3_large": (3, 224, 224),
    "mobilenet_v3_small": (3, 224, 224),
    "efficientnet_b0": (3, 224, 224),
    "regnet_y_400mf": (3, 224, 224),
    "unet": (3, 256, 256),
    "lraspp": (3, 224, 224),
    "yolo_tiny": (3, 416, 416),
    "espcn": (1, 128, 128),
    "c3d": (48, 112, 112),
    "mtcnn_pnet": (3, 160, 368),
    "mtcnn_rnet": (3, 24, 24),
    "mtcnn_onet": (3, 48, 48),
}
WIDTHS = (8, 6, 5, 4)
# those that gain by maps on chip, with the options that docs/performance.md names
ON_CHIP = {
    "mobilenet_v2": EngineOptions(
        chip_words=18432, input_words=5000, weight_steps=256, fold_input=1, depthwise_pixels=9, weights_ahead=1024
    ),
    "efficientnet_lite0": EngineOptions(chip_words=12288, input_words=4096, weight_steps=256, fold_input=1),
    "mobilenet_v3_large": EngineOptions(
        chip_words=16384, input_words=5118, weight_steps=256, fold_input=1, depthwise_pixels=9, weights_ahead=1024
    ),
    "shufflenet_v2": EngineOptions(chip_words=16384, input_words=5000, fold_input=1),
    "efficientnet_b0": EngineOptions(chip_words=12288, input_words=4096, weight_steps=256, fold_input=1),
}
ON_BOARD = (8, 5)  # of these, the simulated board too
# the quickest method, with groups of a word: every layer aligns
BFP = BfpOptions(method="max", weight_group=16, activation_group=16)
# the figures, where SBFP_FULL_SIZE names a file
RESULTS = os.environ.get("SBFP_FULL_SIZE")

pytestmark = pytest.mark.heavy


@lru_cache(maxsize=1)
def prepared(name: str) -> tuple[Prepared, Statistics]:
    """A network and the statistics of two images, which serve all widths."""
    config = load_config(SHIPPED / f"{name}.toml")
    changes = {"calibration": replace(config.calibration, limit=2, augment=1), "bfp": BFP}
    if config.arguments.get("pretrained"):  # would have to be downloaded
        changes |= {"arguments": {**config.arguments, "pretrained": False}, "weights": "random"}
    ready = pipeline.prepare(replace(config, **changes))
    return ready, pipeline.gather(ready)


def record(name: str, bits: int, weights: str, result: dict, on_board: dict | None) -> None:
    """on_board: what the simulated board gave, where it ran."""
    if RESULTS:
        path = Path(RESULTS)
        found = json.loads(path.read_text()) if path.is_file() else {}
        keys = ("images", "layers_compared", "values_compared", "mismatches", "macs", "seconds", "cpu_seconds")
        board = {} if on_board is None else {"board": {key: on_board[key] for key in ("values_compared", "mismatches")}}
        found[f"{name}/{bits}"] = {"weights": weights, **{key: result[key] for key in keys}, **board}
        write_json(path, found)


def quantised(name: str, bits: int, folder: Path) -> tuple[Prepared, Artifact]:
    """A network with all mantissas of so many bits."""
    ready, statistics = prepared(name)
    bfp = replace(BFP, weights=bits, activations=bits)
    return ready, save(pipeline.quantise(ready.under(replace(ready.config, bfp=bfp)), statistics), folder / "a.npz")


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("name", NETWORKS)
def test_full_size_network_is_bit_equal(name, bits, tmp_path):
    ready, artifact = quantised(name, bits, tmp_path)
    graph = artifact.graph
    assert graph.shapes[graph.input] == NETWORKS[name]
    assert {p.weights.bits for p in artifact.parameters.values() if p.weights} == {bits}
    others = {*graph.inputs, *graph.outputs} | {n.main for n in graph.nodes if n.operator.has_function}
    assert {fmt.bits for t, fmt in artifact.formats.items() if t not in others} == {bits}
    program, identity = generate([artifact], EngineOptions(), BOARD, tmp_path)
    assert program.array.products == (4 if bits <= 5 else 2)
    images = next(ready.calibration.batches(1))
    mantissas = quantise_input(artifact, images)
    assert len(np.unique(mantissas)) > 2**bits / 4
    result = simulate(program, identity, tmp_path, [mantissas])
    assert result["mismatches"] == 0, result["first_mismatch"]
    assert result["layers_compared"] == len(program.layers)
    assert result["values_compared"] >= stored_values(artifact, tmp_path / "deploy")
    on_board = None
    if bits in ON_BOARD:
        deploy = tmp_path / "deploy"
        with Accelerator(deploy, device=SimulatedBoard(tmp_path / "csim" / "libengine.so", deploy)) as accelerator:
            on_board = check(accelerator, artifact, images)
        assert on_board["images"] == 1 and on_board["mismatches"] == 0, on_board["first_mismatch"]
        assert on_board["values_compared"] >= stored_values(artifact, deploy)
    record(name, bits, ready.weights, result, on_board)


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("name", ON_CHIP)
def test_full_size_network_with_maps_on_chip_is_bit_equal(name, bits, tmp_path):
    """All tensors in C simulation, and on the simulated board layer after layer, where what stays on chip is copied."""
    ready, artifact = quantised(name, bits, tmp_path)
    options = replace(ON_CHIP[name], depthwise_pixels=9 if bits > 5 else 0)
    program, identity = generate([artifact], options, BOARD, tmp_path)
    assert any(t.rows for t in program.tensors) and program.tensors[0].fold != (1, 1)
    images = next(ready.calibration.batches(1))
    result = simulate(program, identity, tmp_path, [quantise_input(artifact, images)])
    assert result["mismatches"] == 0, result["first_mismatch"]
    assert result["tensors_compared"] == len(program.tensors)
    assert [x["counts"] for x in result["counts"]] == program_counts(program)
    deploy = tmp_path / "deploy"
    with Accelerator(deploy, device=SimulatedBoard(tmp_path / "csim" / "libengine.so", deploy)) as accelerator:
        checked = check(accelerator, artifact, images, by_layer=True)
        deployment = accelerator.deployment
    assert checked["mismatches"] == 0, checked["first_mismatch"]
    assert checked["tensors_compared"] == len(deployment.tensors) + len(deployment.on_chip) and len(deployment.on_chip) > 10


def test_every_family_is_here():
    """All shipped networks but the reduced ones."""
    shipped = {path.stem for path in shipped_networks()}
    assert set(NETWORKS) == {name for name in shipped if name.removesuffix("_small") not in shipped - {name}}
