"""One JSON file with the figures of all benchmarks, and how they are timed.

The file's top level maps a benchmark's name to an object of its own, whose
``table`` is a list of rows [what, figure, unit]. A benchmark replaces its own
entry and keeps the others.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bfp.errors import BfpError
from bfp.files import write_json

RESULTS = Path("build") / "benchmark.json"


def alternate(functions: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each function, by name, in rounds of one call each, so that a busy machine slows all alike.

    One round before the first is not counted.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for round_ in range(repeats + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            if round_:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(numerator: list[float], denominator: list[float]) -> float:
    """Median of the quotients of the rounds."""
    return float(np.median(np.divide(numerator, denominator)))


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0))


def store(name: str, entry: dict, path: Path) -> None:
    """Put ``entry`` under ``name`` into the results file, whole or not at all. Raises BfpError where it is damaged."""
    content = {}
    if path.is_file():
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise BfpError(f"{path} is damaged ({error}); remove it") from None
    machine = {"cores": cores(), "machine": platform.machine(), "python": platform.python_version()}
    content[name] = {**entry, **machine, "load": round(os.getloadavg()[0], 2)}
    write_json(path, content)


def table(name: str, entry: dict) -> str:
    """The entry's rows as aligned text."""
    width = max(len(row[0]) for row in entry["table"])
    lines = [f"{what:{width}}  {figure:>10.4g} {unit}" for what, figure, unit in entry["table"]]
    return "\n".join([f"{name} (measured on {cores()} cores)", *("  " + line for line in lines)])
