"""What the engine of a sweep's very artifact would do on a board, by the model of codegen.performance."""

from __future__ import annotations

from bfp.artifact import Artifact
from bfp.errors import BfpError
from codegen.lowering.program import build
from codegen.options import EngineOptions
from codegen.performance.board import DEFAULT_BOARD, Board, board_at
from codegen.performance.estimate import estimate
from codegen.performance.resources import refuse_what_does_not_fit

Target = tuple[str, str | None]  # a board's word, and its engine's clock in MHz, None for the board's own


def target_of(board: str | None, clock: str | None) -> Target:
    """The board that is meant, the default one where none is named. Raises BfpError where there is no such board or clock."""
    named = board or DEFAULT_BOARD
    board_at(named, clock)
    return named, clock


def modelled(artifact: Artifact, engine: dict[str, int], target: Target) -> dict:
    """The artifact's own engine on the board; engine: options by name, as a network's file has them.

    Returns board, clock_mhz, array (lanes and their products), frames_per_second (low, likely, high) and bytes_per_frame,
    or ``refused``, a sentence, where the board cannot hold it.
    """
    board: Board = board_at(*target)
    try:
        program = build([artifact], EngineOptions.from_dict(engine), board, with_weights=False)
        refuse_what_does_not_fit(program, board)
    except BfpError as error:
        return {"refused": str(error)}
    found = estimate(program, board)
    return {
        "board": board.name,
        "clock_mhz": board.clock_mhz,
        "array": found["array"],
        "frames_per_second": found["ranges"]["frames_per_second"],
        "bytes_per_frame": found["ddr_bytes"],
    }
