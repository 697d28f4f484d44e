"""Several networks at the same time, each in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from calib.evaluation.benchmark.survey.candidates import candidates
from calib.evaluation.benchmark.survey.stages import BOARD, Outcome, examine
from codegen.performance.board import load_board

BEFORE_A_NEW_ONE = 16  # networks that one process examines: what large ones leave behind is memory


def examined(names: list[str], small: Path | None, jobs: int) -> Iterator[Outcome]:
    """Outcomes as they come, from so many processes; from this one where that is one."""
    if jobs < 2 or len(names) < 2:
        yield from (examine_one(name, small) for name in names)
        return
    with get_context("spawn").Pool(jobs, maxtasksperchild=BEFORE_A_NEW_ONE) as pool:
        yield from pool.imap_unordered(partial(examine_one, small=small), names)


def examine_one(name: str, small: Path | None) -> Outcome:
    """The outcome of the network of this name: builders cannot be sent to another process, names can."""
    candidate = next(c for c in candidates(small) if c.name == name)
    return examine(candidate, load_board(BOARD))[0]
