"""Random networks of one operator each, over everything that it may be given: what its property tests look at.

Every operator has a draw here; one that has none cannot be tested, and is named when this is imported.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import numpy as np
from support.random_addresses import dilated_window, enlarged, interpolated
from support.random_graphs import RandomNetwork
from support.random_pairs import pair
from support.random_tables import ARGUMENTS, drawn_call, table

from bfp.artifact import Artifact
from bfp.functions import FUNCTIONS
from bfp.tables import operator_table

MOST_CHANNELS, MOST_VALUES = 70, 1500  # of an operand: its values are few, so that loops over them are quick
ENDS = (1, MOST_CHANNELS)  # the first draws' channels


class Span(RandomNetwork):
    """The ``number``th draw: two operands of one shape, widths that take turns, few channels and many, odd sizes."""

    def __init__(self, number: int, seed: int, lanes: int, widest: int) -> None:
        self.number, self.turn = number, count(number)
        super().__init__(seed, lanes, widest, inputs=2)
        channels = ENDS[number] if number < len(ENDS) else int(self.rng.integers(1, MOST_CHANNELS + 1))
        most = min(14, MOST_VALUES // channels)
        height = int(self.rng.integers(1, most + 1))
        width = int(self.rng.integers(1, min(14, MOST_VALUES // (channels * height)) + 1))
        for tensor in self.inputs:
            self.shapes[tensor], self.segments[tensor] = (channels, height, width), (0, channels)
            bits = self.width()
            top = int(self.rng.integers(0, 5))  # functions of one value have their bends there
            self.formats[tensor] = self.format((0, channels), top - bits, self.rng.random() < 0.3, bits)

    def width(self) -> int:
        """The next width."""
        return 2 + next(self.turn) % (self.widest - 1)


def convolved(span: Span, depthwise: bool) -> bool:
    """With or without dilation and shortcut."""
    apart = span.rng.random() < 0.3
    windows = (lambda height, width: dilated_window(span.rng, height, width, sees=False)) if apart else None
    return span.conv("drawn", depthwise, windows)


def pooled(span: Span, op: str) -> bool:
    """The largest or the mean of a window; the largest with or without dilation."""
    apart = op == "max_pool" and span.rng.random() < 0.3
    windows = (lambda height, width: dilated_window(span.rng, height, width, sees=True)) if apart else None
    return span.pool("drawn", op, windows)


def joined(span: Span) -> bool:
    """A concatenation of what is there and of what convolutions make of it."""
    for number in range(int(span.rng.integers(0, 3))):
        span.conv(f"branch{number}", False)
    return span.concat("drawn")


def looked_up(span: Span) -> bool:
    """Each function in its turn."""
    names = list(ARGUMENTS)
    return table(span, "drawn", drawn_call(span.rng, names[span.number % len(names)]))


DRAWS: dict[str, Callable[[Span], bool]] = operator_table(
    "property tests",
    {
        "conv": lambda span: convolved(span, False),
        "depthwise": lambda span: convolved(span, True),
        "max_pool": lambda span: pooled(span, "max_pool"),
        "avg_pool": lambda span: pooled(span, "avg_pool"),
        **{op: lambda span, op=op: pair(span, "drawn", op) for op in ("add", "maximum", "minimum", "multiply")},
        "identity": lambda span: span.identity("drawn"),
        "slice_pad": lambda span: span.slice_pad("drawn"),
        "lookup": looked_up,
        "concat": joined,
        **{
            op: lambda span, op=op: enlarged(span, span.rng, "drawn", op)
            for op in ("upsample_nearest", "upsample_bilinear", "depth_to_space", "pad_edge")
        },
        "interpolate": lambda span: interpolated(span, span.rng, "drawn"),
    },
)
TURNS = {"lookup": len(FUNCTIONS)}  # draws until all of its kinds had their turn


def drawn(op: str, number: int, lanes: int, widest: int) -> tuple[Artifact, set[str]]:
    """The ``number``th network of an operator, and its layers whose channels have limits of their own."""
    for attempt in range(100):
        seed = int(np.random.default_rng((number, attempt, *op.encode())).integers(2**32))
        span = Span(number, seed, lanes, widest)
        if DRAWS[op](span) and span.nodes[-1].op == op:
            return span.artifact(), span.scaled
    raise AssertionError(f"no network of operator {op} can be drawn with number {number}")
