"""Accuracy against what the engine is modelled to cost: frames a second, and bytes a frame; each with its Pareto front.

A point's figure and its cost belong to the same artifact and the same engine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from calib.evaluation.report import charts
from calib.evaluation.shown import figure_text
from calib.evaluation.sweep.axis import SUFFIXES, TOP, Curve, ends
from calib.evaluation.sweep.points import width_label

LETTER, LINE = 6.8, 12.0  # room of a letter and of a line of a label, in pixels
RADIUS = 3.5
Place = tuple[float, float]
Box = tuple[float, float, float, float]  # left, top, right, bottom
# where a label may stand beside its dot: from there to the right, to the left, or about it
PLACES = (
    *((0.0, -8.0, "middle"), (6.0, -6.0, "start"), (-6.0, -6.0, "end"), (7.0, 4.0, "start"), (-7.0, 4.0, "end")),
    *((6.0, 15.0, "start"), (-6.0, 15.0, "end"), (0.0, 17.0, "middle")),
    *((14.0, -9.0, "start"), (-14.0, -9.0, "end"), (0.0, -21.0, "middle"), (0.0, 30.0, "middle")),
)
STEP = 3.0  # pixels between the places of a line that a label keeps away from


@dataclass(frozen=True)
class Cost:
    """One axis. words: of the axis and of the picture's title; value, low, high: of what is modelled; more: is better."""

    words: str
    title: str
    more: bool
    value: Callable[[dict], float]
    low: Callable[[dict], float]
    high: Callable[[dict], float]


def _frames(end: str) -> Callable[[dict], float]:
    return lambda modelled: modelled["frames_per_second"][end]


def _megabytes(modelled: dict) -> float:
    return modelled["bytes_per_frame"] / 1e6


COSTS = (
    Cost("frames a second, modelled, with range", "frames a second", True, _frames("likely"), _frames("low"), _frames("high")),
    Cost("MB of memory traffic a frame, modelled", "memory traffic", False, _megabytes, _megabytes, _megabytes),
)


def priced(rows: list[dict]) -> list[dict]:
    """The points of which an engine has been modelled."""
    return [r for r in rows if r["modelled"] is not None and "refused" not in r["modelled"]]


def front(rows: list[dict], cost: Cost, shown: Curve) -> list[dict]:
    """The points that no other one beats in the figure without costing more, cheapest first."""
    sign = -1 if cost.more else 1
    found: list[dict] = []
    for row in sorted(rows, key=lambda r: (sign * cost.value(r["modelled"]), -shown.number(r))):
        if not found or shown.number(row) > shown.number(found[-1]):
            found.append(row)
    return found


def chart(rows: list[dict], shown: Curve, cost: Cost, kind: str, size: tuple[int, int], styles: dict) -> str:
    """The figure against one cost, of ``priced`` rows: a dot each, those of the front joined and labelled with their widths."""
    best = front(rows, cost, shown)
    low, high, ticks = ends(shown, [shown.number(r) for r in rows])
    spans = [end(r["modelled"]) for r in rows for end in ((cost.low, cost.high) if r in best else (cost.value,))]
    room = 0.06 * ((max(spans) - min(spans)) or max(spans))
    left, right = max(0.0, min(spans) - room), max(spans) + room
    frame = charts.Frame(size, (left, right), (low, high), TOP)
    frame.axes(
        [(t, f"{t:,.10g}") for t in charts.nice_ticks(left, right, max(4, size[0] // 80))],
        [(t, f"{charts.short(t)}{SUFFIXES[shown.unit]}") for t in ticks],
        cost.words,
        shown.label,
    )
    places = {id(r): (frame.x(cost.value(r["modelled"])), frame.y(shown.number(r))) for r in rows}
    line = [places[id(r)] for r in best]
    if len(line) > 1:
        d = "M" + "L".join(f"{x:g} {y:g}" for x, y in line)
        frame.parts.append(f'<path d="{d}" fill="none" stroke="var(--soft)" stroke-width="1"/>')
    for row in sorted(rows, key=lambda r: r in best):
        dot(frame, row, places[id(row)], shown, cost, styles[row["curve"]][0], row in best)
    bars = [[(frame.x(end(r["modelled"])), places[id(r)][1]) for end in (cost.low, cost.high)] for r in best]
    wanted = [(places[id(r)], width_label((r["weight_bits"], r["activation_bits"]))) for r in best]
    label(frame, wanted, list(places.values()), [line, *bars])
    return frame.svg(f"{shown.label} against {cost.words}", kind)


def dot(
    frame: charts.Frame, row: dict, place: tuple[float, float], shown: Curve, cost: Cost, colour: str, chosen: bool
) -> None:
    """One point; of the front a full one, with the range of its cost."""
    x, y = place
    frames = row["modelled"]["frames_per_second"]
    words = escape(
        f"{row['name']}: {figure_text(shown.value(row), shown.unit)}, {frames['likely']:g} frames/s "
        f"({frames['low']:g} to {frames['high']:g}), {_megabytes(row['modelled']):.3g} MB a frame, modelled"
    )
    if chosen and cost.low(row["modelled"]) < cost.high(row["modelled"]):
        span = f"M{frame.x(cost.low(row['modelled'])):g} {y:g}H{frame.x(cost.high(row['modelled'])):g}"
        frame.parts.append(f'<path d="{span}" fill="none" stroke="{colour}" stroke-width="1.5" stroke-opacity="0.4"/>')
    fill = f'fill="{colour}"' if chosen else f'fill="{colour}" fill-opacity="0.35"'
    frame.parts.append(f'<circle cx="{x:g}" cy="{y:g}" r="{RADIUS + chosen:g}" {fill}><title>{words}</title></circle>')


def label(
    frame: charts.Frame, wanted: list[tuple[Place, str]], dots: list[Place], lines: list[list[Place]]
) -> None:
    """Write each label where it meets no dot, no other label and no border, and no line if that can be.

    One that fits nowhere is left to its dot's title.
    """
    taken = [around(place, RADIUS + 1.5) for place in dots]
    crossed = [around(place, 1.0) for line in lines for place in along(line)]
    inside: Box = (frame.left, charts.TOP - LINE, frame.width - charts.RIGHT, frame.height - charts.BOTTOM)
    for (x, y), words in wanted:
        for avoided in ([*taken, *crossed], taken):
            free = (
                (box, place) for place in PLACES
                if within(box := extent(x + place[0], y + place[1], place[2], words), inside)
                and not any(meets(box, other) for other in avoided)
            )  # fmt: skip
            if found := next(free, None):
                box, (dx, dy, anchor) = found
                taken.append(box)
                frame.text(x + dx, y + dy, words, "chosen-text", anchor)
                break


def around(place: Place, reach: float) -> Box:
    """The square about a place."""
    x, y = place
    return x - reach, y - reach, x + reach, y + reach


def along(line: list[Place]) -> Iterator[Place]:
    """Places on a line, near each other."""
    for (x, y), (to_x, to_y) in pairwise(line):
        steps = max(1, math.ceil(math.hypot(to_x - x, to_y - y) / STEP))
        yield from ((x + (to_x - x) * n / steps, y + (to_y - y) * n / steps) for n in range(steps + 1))


def extent(x: float, y: float, anchor: str, words: str) -> Box:
    """The room that words take which are written at a place."""
    width = LETTER * len(words)
    start = {"start": x, "middle": x - width / 2, "end": x - width}[anchor]
    return start, y - LINE + 2, start + width, y + 2


def within(box: Box, other: Box) -> bool:
    """Whether a box lies in another one."""
    return box[0] >= other[0] and box[1] >= other[1] and box[2] <= other[2] and box[3] <= other[3]


def meets(box: Box, other: Box) -> bool:
    """Whether two boxes have a point in common."""
    return box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3]
