"""From an artifact to an engine's sources, their simulation and the model's figures."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from bfp import golden
from bfp.deployment import MANIFEST
from bfp.files import write_json
from bfp.names import printable
from codegen.generate import generate as generate_sources
from codegen.lowering.program import build
from codegen.options import EngineOptions
from codegen.performance.board import DEFAULT_BOARD, load_board
from codegen.performance.estimate import estimate as estimated
from codegen.performance.fitting import check_fit
from codegen.simulation.csim import simulate
from static_bfp.artifact import Artifact
from static_bfp.images import Images, check_shape, first, maps

SIMULATED = 2  # images, where nobody says another number


def generate(artifact: Artifact, folder: str | Path, board: str = DEFAULT_BOARD, **engine: int) -> dict:
    """Write artifact, C++ sources, weight image, manifest and estimate below a folder.

    board: a name of codegen/boards; further arguments are the keys of a network file's ``[engine]`` section, such as
    ``lanes=8`` (input channels a cycle). Returns what deploy/manifest.json holds: the board, the kernel's identity, the
    layers and where each tensor lies, in bytes. Raises BfpError naming the layer that does not fit, or an engine that
    does, where the board's chip is too small; and where files cannot be written.
    """
    folder = Path(folder)
    options, target = EngineOptions.from_dict(engine), load_board(board)
    saved = artifact.save(folder / "artifact.npz")
    warned(check_fit(saved.record, options, target))
    program, _ = generate_sources([saved.record], options, target, folder)
    write_json(folder / "estimate.json", estimated(program, target))
    return json.loads((folder / "deploy" / MANIFEST).read_text(encoding="utf-8"))


def warned(sentences: list[str]) -> None:
    """Print warnings where errors go."""
    for sentence in sentences:
        print(f"warning: {printable(sentence)}", file=sys.stderr)


def csim(
    artifact: Artifact,
    folder: str | Path,
    images: Images,
    limit: int = SIMULATED,
    board: str = DEFAULT_BOARD,
    **engine: int,
) -> dict:
    """Compile the generated engine and compare every stored tensor with the golden model, for the first images.

    Generates into ``folder`` first, for the board and engine given here. images: as of ``calibrate``, the first
    ``limit``. Returns what csim.json holds: images, layers_compared, values_compared, mismatches, first_mismatch (a
    sentence or None), seconds, macs (multiply-accumulates of all images). Raises BfpError where no compiler is found,
    and for a board, options or images that do not fit.
    """
    folder = Path(folder)
    saved = artifact.save(folder / "artifact.npz")
    target = load_board(board)
    program, identity = generate_sources([saved.record], EngineOptions.from_dict(engine), target, folder)
    values, graph = first(images, limit)[0], saved.record.graph
    check_shape(values, graph)
    mantissas = golden.quantise_input(saved.record, maps(values, graph.inputs))
    result = simulate(program, identity, folder, [mantissas])
    found = {"network": saved.record.graph.name, "board": target.name, "kernel": identity, **result}
    write_json(folder / "csim.json", found)
    return found


def estimate(artifact: Artifact, board: str = DEFAULT_BOARD, **engine: int) -> dict:
    """The model's figures of the engine on a board; nothing is measured on hardware.

    board, engine: as of ``generate``. Returns what estimate.json holds: cycles and latency_ms (of one image
    alone), clock_mhz, frames_per_second (in batches of ``batch`` images), mac_efficiency (0..1), ddr_bytes, dsp, bram36,
    lut, the range of each in ranges, and the layers.
    Raises BfpError for a board or options that are not known, and naming the layer that does not fit the engine.
    """
    target = load_board(board)
    return estimated(build([artifact.record], EngineOptions.from_dict(engine), target, with_weights=False), target)
