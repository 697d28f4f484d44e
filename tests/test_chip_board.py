"""Maps that stay in on-chip memory, seen from a board: verified layer by layer, from copies of that memory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from support.boards import BOARD
from support.chip_shortcuts import keep_all
from support.random_graphs import random_artifact

from bfp.deployment import read_deployment, verify
from bfp.errors import BfpError
from codegen.generate import generate
from codegen.lowering import chip_plan
from codegen.lowering.engine_operators import EngineOperator
from codegen.lowering.layer_fields import MapPlace
from codegen.lowering.schedule import StoredTensor
from codegen.options import EngineOptions
from codegen.simulation.csim import compile_engine
from host.check import check
from host.driver import Accelerator
from host.simulated_board import SimulatedBoard

WORDS = 4000  # of on-chip memory


@pytest.fixture(scope="module", params=["whole", "bands", pytest.param("shortcuts", marks=pytest.mark.heavy)])
def on_board(request, tmp_path_factory):
    """A network with maps on chip, its program, and its deployment with the compiled engine: whole maps, by bands, and read as
    shortcuts, too.
    """
    out, best = tmp_path_factory.mktemp(request.param), chip_plan.best_chains
    artifact = random_artifact(302 if request.param == "shortcuts" else 7, 16)
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "bands":  # every chain that fits
            worse = lambda graph, linked, jobs, words, cycles, first: best(graph, linked, jobs, words, lambda x, _: -len(x), first)  # noqa: E731
            patch.setattr(chip_plan, "best_chains", worse)
        elif request.param == "shortcuts":
            keep_all(patch)
        ahead = 500 if request.param == "bands" else 0  # words of a queue of weights, too
        program, _ = generate([artifact], EngineOptions(chip_words=WORDS, weights_ahead=ahead), BOARD, out)
    assert (request.param != "whole") == any(t.rows for t in program.tensors)
    assert (request.param == "shortcuts") == any(layer.joins_chip for layer in program.layers)
    _, library = compile_engine(out / "generated", out / "csim", optimise=("-O1",))
    return artifact, program, library, out / "deploy"


@contextmanager
def opened(on_board) -> Iterator[tuple[Accelerator, np.ndarray]]:
    """The accelerator, and two images."""
    artifact, _, library, folder = on_board
    with Accelerator(folder, device=SimulatedBoard(library, folder)) as accelerator:
        images = np.random.default_rng(3).normal(size=(2, *artifact.graph.shapes[artifact.graph.inputs[0]]))
        yield accelerator, images.astype(np.float32)


def hidden_tensors(on_board) -> list[StoredTensor]:
    """Those that stay on chip."""
    found = [t for t in on_board[1].tensors if t.placement.place is MapPlace.CHIP and t.label == t.name]
    assert found
    return found


@pytest.mark.parametrize("by_layer", [False, True])
def test_the_simulated_board_verifies_every_tensor(by_layer, on_board):
    """One layer after the other, what stays on chip as well, from a copy of the engine's memory; in one run only the others."""
    artifact = on_board[0]
    with opened(on_board) as (accelerator, images):
        names = {t.name for t in accelerator.deployment.tensors}
        result = check(accelerator, artifact, images, by_layer=by_layer)
    hidden = {t.name for t in hidden_tensors(on_board)}
    assert not hidden & names
    assert result["mismatches"] == 0
    assert result["tensors_compared"] == 2 * (len(names) + len(hidden) * by_layer)


def test_the_first_wrong_layer_is_named_though_its_map_stays_on_chip(on_board):
    artifact, program, *_ = on_board
    weighted = [t for t in hidden_tensors(on_board) if program.layers[t.layer].fields.op is EngineOperator.CONV]
    assert weighted
    for tensor in weighted:
        makers = [rows.layer for rows in tensor.rows] or [tensor.layer]
        with opened(on_board) as (accelerator, images):
            weights = accelerator._opened.weights
            at = program.layers[makers[0]].fields.weights.weight_address  # the bias of its first filters
            weights[at] ^= 0x15
            weights.flush()
            result = check(accelerator, artifact, images[:1], by_layer=True)
            with pytest.raises(BfpError, match="stays in the engine's own memory; look at it layer by layer"):
                accelerator.tensor(tensor.name)
        names = "|".join(re.escape(program.layers[n].name) for n in makers)
        assert re.match(rf"image 0, layer ({names}), tensor {re.escape(tensor.name)}, ", result["first_mismatch"])


def test_what_is_verified_ends_with_a_map_on_chip(on_board):
    artifact = on_board[0]
    last = hidden_tensors(on_board)[0]
    with opened(on_board) as (accelerator, images):
        result = check(accelerator, artifact, images[:1], by_layer=True, until=last.name)
        every = (*accelerator.deployment.tensors, *accelerator.deployment.on_chip)
    assert result["mismatches"] == 0
    assert result["tensors_compared"] == sum(t.layer_index <= last.layer for t in every)


@pytest.mark.parametrize(("damage", "message"), [
    (lambda part: replace(part, first=part.first + 10**3), "rows, and layer .* makes others"),
    (lambda part: replace(part, rows=1, first=0), "no layer makes row"),
    (lambda part: replace(part, segments=tuple(replace(s, address=10**6) for s in part.segments)), "of an arena of"),
    (lambda part: replace(part, layer="nobody"), "comes from 'nobody', and layer"),
])  # fmt: skip
def test_a_manifest_whose_maps_on_chip_lie_elsewhere_is_refused(damage, message, on_board):
    deployment = read_deployment(on_board[3])
    hidden = max(deployment.on_chip, key=lambda t: t.shape[1])
    wrong = replace(hidden, parts=(damage(hidden.parts[0]),))
    others = tuple(wrong if t is hidden else t for t in deployment.on_chip)
    with pytest.raises(BfpError, match=message):
        verify(replace(deployment, networks=(replace(deployment.only, on_chip=others),)))
