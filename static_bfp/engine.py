"""From an artifact to an engine's sources, their simulation and the model's figures."""

from __future__ import annotations

from pathlib import Path

from bfp import golden
from bfp.files import write_json
from codegen.generate import generate as generate_sources
from codegen.lowering.program import build
from codegen.options import EngineOptions
from codegen.performance.board import DEFAULT_BOARD, load_board
from codegen.performance.estimate import estimate as estimated
from codegen.performance.fitting import check_fit
from codegen.simulation.csim import simulate
from static_bfp.artifact import Artifact
from static_bfp.images import Images, first, maps

SIMULATED = 2  # images, where nobody says another number


def generate(artifact: Artifact, folder: str | Path, board: str = DEFAULT_BOARD, **engine: int) -> dict:
    """Write artifact, C++ sources, weight image and manifest below a folder; returns ``estimate``'s figures.

    board: a name of codegen/boards; further arguments are the keys of a network file's ``[engine]`` section, such as
    ``lanes=8``. Raises BfpError naming the layer that does not fit, or an engine that does, where the board's chip is
    too small.
    """
    folder = Path(folder)
    options, target = EngineOptions.from_dict(engine), load_board(board)
    saved = artifact.save(folder / "artifact.npz")
    check_fit(saved.record, options, target)
    program, _ = generate_sources([saved.record], options, target, folder)
    found = estimated(program, target)
    write_json(folder / "estimate.json", found)
    return found


def csim(
    artifact: Artifact,
    folder: str | Path,
    images: Images,
    limit: int = SIMULATED,
    board: str = DEFAULT_BOARD,
    **engine: int,
) -> dict:
    """Compile the generated engine and compare every stored tensor with the golden model, for the first images.

    Generates into ``folder`` first. Returns what ``csim.json`` holds: images, layers_compared, values_compared,
    mismatches, first_mismatch (a sentence or None), seconds, macs. Raises BfpError where no compiler is found.
    """
    folder = Path(folder)
    saved = artifact.save(folder / "artifact.npz")
    target = load_board(board)
    program, identity = generate_sources([saved.record], EngineOptions.from_dict(engine), target, folder)
    mantissas = golden.quantise_input(saved.record, maps(first(images, limit)[0], saved.record.graph.inputs))
    result = simulate(program, identity, folder, [mantissas])
    found = {"network": saved.record.graph.name, "board": target.name, "kernel": identity, **result}
    write_json(folder / "csim.json", found)
    return found


def estimate(artifact: Artifact, board: str = DEFAULT_BOARD, **engine: int) -> dict:
    """The model's cycles, frames per second, bytes and area on a board: what ``estimate.json`` holds. Nothing is
    measured on hardware."""
    target = load_board(board)
    return estimated(build([artifact.record], EngineOptions.from_dict(engine), target, with_weights=False), target)
