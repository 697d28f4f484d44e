"""The ``[sweep]`` section of a network's file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bfp.format import MAX_BITS, MIN_BITS
from calib.options import AUTO, FAN2019, ONLINE, method_name
from calib.section import Section

LIMIT = 500  # evaluation images of a point, unless the file says otherwise


@dataclass(frozen=True)
class SweepOptions:
    """What ``doit sweep`` measures: every width with every group by every method.

    widths: mantissa widths (weights, activations). groups: channels that share
    an exponent (weight_group, activation_group), 0 for all. limit: evaluation
    images of a point, spread evenly over those there are.
    """

    widths: tuple[tuple[int, int], ...] = ((3, 3), (4, 4), (5, 5), (6, 6), (7, 7), (8, 8), (3, 8), (4, 8))
    groups: tuple[tuple[int, int], ...] = ((64, 0), (16, 16))
    methods: tuple[str, ...] = (FAN2019, "max", AUTO, ONLINE)
    limit: int = LIMIT


def read_sweep(section: Section, methods: tuple[str, ...]) -> SweepOptions:
    """The checked section; ``methods`` are those that may be named. Raises BfpError."""

    def pairs(low: int, high: int | None) -> Callable[[object], tuple[tuple[int, int], ...]]:
        def check(value: object) -> tuple[tuple[int, int], ...]:
            found = [(v, v) if type(v) is int else tuple(v) for v in list(value)]
            for pair in found:
                if len(pair) != 2 or any(type(v) is not int or v < low or (high and v > high) for v in pair):
                    raise ValueError
            return distinct(found)

        return check

    def names(value: object) -> tuple[str, ...]:
        found = [method_name(v) for v in value]
        if isinstance(value, str) or any(v not in methods for v in found):
            raise ValueError
        return distinct(found)

    default = SweepOptions()
    each = "a whole number for both or [weights, activations]"
    options = SweepOptions(
        widths=section.take(
            "widths", default.widths, pairs(MIN_BITS, MAX_BITS), f"an array; each {each}, {MIN_BITS} to {MAX_BITS}"
        ),
        groups=section.take("groups", default.groups, pairs(0, None), f"an array; each {each}, from 0 up"),
        methods=section.take("methods", default.methods, names, f"an array of {', '.join(methods)}"),
        limit=section.integer("limit", default.limit, 1),
    )
    section.done()
    return options


def distinct(values: list) -> tuple:
    """The values in order, each once. Raises ValueError where there are none."""
    if not values:
        raise ValueError
    return tuple(dict.fromkeys(values))
