"""Whether a board's chip holds a network's engine, by the model, and if not, which engine it would hold."""

from __future__ import annotations

from dataclasses import asdict

from bfp.artifact import Artifact
from bfp.errors import BfpError
from codegen.lowering.program import build
from codegen.options import EngineOptions
from codegen.performance.board import Board
from codegen.performance.design_space import FILTERS, PIXELS, Explorer, fastest, widths_of
from codegen.performance.resources import ChipTooSmall, area, refuse_what_does_not_fit, warnings

PARTS = (1, 1 / 2, 1 / 4, 1 / 8, 1 / 16)  # of the default buffers


def fitting_engine(artifact: Artifact, asked: EngineOptions, board: Board) -> EngineOptions | None:
    """An engine that fits the board, with the lanes that were asked for or, where none of those fits, fewer.

    A short search: larger arrays are taken to need more of the chip, so that the largest that fits is found by
    bisection, and the fastest of those that were tried is returned; None where not even the smallest fits.
    """
    explorer, widths = Explorer(artifact, board), widths_of(artifact)
    for lanes in (asked.lanes >> n for n in range(asked.lanes.bit_length() - 1)):
        sizes = sorted(((f, p) for f in FILTERS if f <= lanes for p in PIXELS), key=lambda size: size[0] * size[1])
        fits, too_large = 0, len(sizes)
        if not explorer.array(widths, lanes, *sizes[0], PARTS):
            continue
        while too_large - fits > 1:
            middle = (fits + too_large) // 2
            if explorer.array(widths, lanes, *sizes[middle], PARTS):
                fits = middle
            else:
                too_large = middle
        return fastest(explorer.points.values()).options
    return None


def check_fit_together(artifacts: list[Artifact], options: EngineOptions, board: Board) -> list[str]:
    """As ``check_fit``, of one or several networks on one engine; for several no other engine is looked for."""
    if len(artifacts) == 1:
        return check_fit(artifacts[0], options, board)
    program = build(artifacts, options, board, with_weights=False)
    try:
        refuse_what_does_not_fit(program, board)
    except ChipTooSmall as refusal:
        raise BfpError(f"{refusal}; give a smaller engine, or fewer networks") from None
    return warnings(area(program, board), program.title, board)


def check_fit(artifact: Artifact, options: EngineOptions, board: Board) -> list[str]:
    """What the chip may be too small for, a sentence each; empty where even the high ends of all ranges fit.

    Raises BfpError where the board likely cannot hold the engine or its memory, with an engine that would fit.
    """
    program = build([artifact], options, board, with_weights=False)
    try:
        refuse_what_does_not_fit(program, board)
    except ChipTooSmall as refusal:
        found = fitting_engine(artifact, options, board)
        if found is None:
            raise BfpError(f"{refusal}; but no engine that was tried fits this board (modelled)") from None
        asked = asdict(options)
        changes = ", ".join(f"{name} = {value}" for name, value in asdict(found).items() if value != asked[name])
        raise BfpError(f"{refusal}; an engine with {changes} fits (modelled)") from None
    return warnings(area(program, board), artifact.graph.name, board)
