"""What a modelled figure likely is, and the least and the most that it may well be; and the parts that it sums up."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from bfp.errors import BfpError
from bfp.fields import Kind, Place, checked

MOST = 1 << 62  # of any figure


def _read(value: object, place: Place) -> int | float:
    if type(value) not in (int, float) or not 0 <= value <= MOST:
        raise place.refuse(value, FIGURE.words)
    return value


FIGURE = Kind(f"a number from 0 to {MOST}", _read, lambda value: value)  # a whole number stays one


@dataclass(frozen=True)
class Range:
    """A modelled figure: what it likely is, and the least and the most that it may well be."""

    low: int | float = checked(FIGURE)
    likely: int | float = checked(FIGURE)
    high: int | float = checked(FIGURE)

    def __post_init__(self) -> None:
        if not self.low <= self.likely <= self.high:
            raise BfpError(f"a range from {self.low} to {self.high} does not hold its likely figure {self.likely}")

    @staticmethod
    def exactly(figure: int | float) -> Range:
        """A figure that is certain."""
        return Range(figure, figure, figure)

    @staticmethod
    def total(ranges: Iterable[Range]) -> Range:
        """The sum; its ends are those where all are off the same way, as they may be, since one tool makes them all."""
        found = list(ranges)
        return Range(sum(r.low for r in found), sum(r.likely for r in found), sum(r.high for r in found))

    def times(self, count: int) -> Range:
        """So many of them."""
        return Range(count * self.low, count * self.likely, count * self.high)

    def __contains__(self, figure: int | float) -> bool:
        return self.low <= figure <= self.high

    def __str__(self) -> str:
        return f"{self.likely} ({self.low} to {self.high})" if self.low < self.high else f"{self.likely}"


@dataclass(frozen=True)
class Ranges:
    """The ranges of what an estimate says of a program, by the names that the figures bear in estimate.json."""

    cycles: Range
    latency_ms: Range
    frames_per_second: Range
    dsp: Range
    bram36: Range
    lut: Range

    @staticmethod
    def of(estimate: dict) -> Ranges:
        """Those of an estimate, or of an entry of "points" of an exploration."""
        return Ranges(**{name: Range(**ends) for name, ends in estimate["ranges"].items()})


@dataclass(frozen=True)
class Spread:
    """How far what was counted may be off. low, high: as shares of it; reason: why."""

    low: float
    high: float
    reason: str

    def of(self, count: int) -> Range:
        """The range of a count."""
        return Range(math.floor(self.low * count), count, math.ceil(self.high * count))


class Resource(Enum):
    """What a chip has so much of; the values are the words of estimate.json and of a board's file."""

    DSP = "dsp"
    BRAM36 = "bram36"
    LUT = "lut"


@dataclass(frozen=True)
class Part:
    """One modelled part of what is built. reason: why its range is as wide as it is. around: the engine, not in it."""

    name: str
    resource: Resource
    range: Range
    reason: str
    around: bool = False


@dataclass(frozen=True)
class Area:
    """All parts of what is built on a board."""

    parts: tuple[Part, ...]

    def total(self, resource: Resource) -> Range:
        """All of a resource."""
        return Range.total(part.range for part in self.parts if part.resource is resource)

    def engine(self) -> Area:
        """What is in the engine."""
        return Area(tuple(part for part in self.parts if not part.around))

    def of(self, resource: Resource, name: str) -> Range:
        """What a part takes of a resource. Raises KeyError for a part that is not built."""
        found = [part.range for part in self.parts if part.resource is resource and part.name == name]
        if not found:
            raise KeyError(name)
        return Range.total(found)
