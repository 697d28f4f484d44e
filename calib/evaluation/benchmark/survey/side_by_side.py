"""Several networks at the same time, each in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from calib.evaluation.benchmark.survey.candidates import candidates
from calib.evaluation.benchmark.survey.stages import BOARD, Outcome, examine
from codegen.performance.board import load_board


def examined(names: list[str], small: Path | None, jobs: int) -> Iterator[Outcome]:
    """Outcomes as they come, from so many processes; from this one where that is one."""
    if jobs < 2 or len(names) < 2:
        yield from (examine_one(name, small) for name in names)
        return
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        for done in as_completed([pool.submit(examine_one, name, small) for name in names]):
            yield done.result()


def examine_one(name: str, small: Path | None) -> Outcome:
    """The outcome of the network of this name: builders cannot be sent to another process, names can."""
    candidate = next(c for c in candidates(small) if c.name == name)
    return examine(candidate, load_board(BOARD))[0]
