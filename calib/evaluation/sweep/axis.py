"""The axis of a figure in a sweep's pictures: what it shows of a point, in which unit, and from where to where."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from calib.evaluation.report import charts
from calib.measures import DECIBELS, NUMBER, SHARE

FACTORS = {SHARE: 100.0, DECIBELS: 1.0, NUMBER: 1.0}  # of the numbers on an axis
SUFFIXES = {SHARE: " %", DECIBELS: " dB", NUMBER: ""}
TOP = 40  # room for the axis's title, and for the words above the float line


@dataclass(frozen=True)
class Curve:
    """What a picture shows of each point. value(row); unit, see calib.measures; label: of the axis.

    level, level_text: where the float network is and what stands there, None where there is no such place.
    """

    label: str
    unit: str
    value: Callable[[dict], float]
    level: float | None = None
    level_text: str = ""

    def number(self, row: dict) -> float:
        """The value as the axis counts: shares in percent."""
        return self.value(row) * FACTORS[self.unit]


def ends(shown: Curve, numbers: list[float]) -> tuple[float, float, list[float]]:
    """Lowest and highest value of an axis, and its ticks: shares up to all of it, others as far as they reach."""
    if shown.unit == SHARE:
        lowest = min([shown.level, *numbers])
        ticks = charts.nice_ticks(lowest - 2, 100)
        return max(0.0, lowest - 2), max(shown.level, ticks[-1]), [t for t in ticks if t >= 0]
    room = 0.05 * ((max(numbers) - min(numbers)) or abs(numbers[0]) or 1.0)
    low, high = min(numbers) - room, max(numbers) + room
    return low, high, charts.nice_ticks(low, high)
