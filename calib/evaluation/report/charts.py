"""Small SVG pictures: histogram with candidates, criterion curves, profiles along the layers.

Coordinates are in CSS pixels of a 340 pixel wide phone column; colours come
from the page's style sheet by class. All numbers are written short.
"""

from __future__ import annotations

import math
from html import escape

DENSE = 0.25  # layers a pixel from which their dots are small
LEFT, RIGHT, TOP, BOTTOM = 66, 10, 26, 36


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round values (1, 2, 5 times a power of ten) from low to high, about ``count`` of them."""
    span = high - low
    if not span > 0:
        return [low]
    step = 10 ** math.floor(math.log10(span / count))
    step *= next(m for m in (1, 2, 5, 10) if span / (step * m) <= count)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]


def short(value: float) -> str:
    """Three significant digits, without needless zeros."""
    if value == 0:
        return "0"
    return f"{value:.3g}".replace("e-0", "e-").replace("e+0", "e")


def share_label(decade: int) -> str:
    """10**decade as a percentage."""
    return f"{short(10.0 ** (decade + 2))} %"


class Frame:
    """A plot area with axes. x and y map data to pixels; y_log: the y axis is in powers of ten."""

    def __init__(
        self, size: tuple[int, int], x: tuple[float, float], y: tuple[float, float], top: int = TOP
    ) -> None:
        self.width, self.height = size
        self.x_range, self.y_range, self.top, self.left = x, y, top, LEFT
        self.parts: list[str] = []

    def x(self, value: float) -> float:
        low, high = self.x_range
        return round(self.left + (value - low) / ((high - low) or 1) * (self.width - self.left - RIGHT), 1)

    def y(self, value: float) -> float:
        low, high = self.y_range
        return round(self.height - BOTTOM - (value - low) / ((high - low) or 1) * (self.height - BOTTOM - self.top), 1)

    def text(self, x: float, y: float, words: str, kind: str = "", anchor: str = "middle") -> None:
        css = f' class="{kind}"' if kind else ""
        place = f'x="{round(x, 1):g}" y="{round(y, 1):g}"'
        self.parts.append(f'<text {place} text-anchor="{anchor}"{css}>{escape(words)}</text>')

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        self.parts.append(f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" class="{kind}"/>')

    def path(self, points: list[tuple[float, float]], kind: str, close: bool = False) -> None:
        if points:
            d = "M" + "L".join(f"{x:g} {y:g}" for x, y in points) + ("Z" if close else "")
            self.parts.append(f'<path d="{d}" class="{kind}"/>')

    def dot(self, x: float, y: float, kind: str, title: str, radius: float = 3) -> None:
        self.parts.append(
            f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" class="{kind}"><title>{escape(title)}</title></circle>'
        )

    def axes(
        self, x_ticks: list[tuple[float, str]], y_ticks: list[tuple[float, str]], x_label: str, y_label: str
    ) -> None:
        foot = self.height - BOTTOM
        for value, words in y_ticks:
            self.line(self.left, self.y(value), self.width - RIGHT, self.y(value), "grid")
            self.text(self.left - 4, self.y(value) + 4, words, anchor="end")
        for value, words in x_ticks:
            self.line(self.x(value), foot, self.x(value), foot + 4, "axis")
            self.text(self.x(value), foot + 16, words)
        self.line(self.left, foot, self.width - RIGHT, foot, "axis")
        self.text((self.left + self.width - RIGHT) / 2, self.height - 4, x_label, "label")
        self.text(2, 12, y_label, "label", "start")

    def svg(self, description: str, kind: str = "") -> str:
        css = f' class="{kind}"' if kind else ""
        return (
            f'<svg viewBox="0 0 {self.width} {self.height}" role="img" aria-label="{escape(description)}"{css}>'
            + "".join(self.parts)
            + "</svg>"
        )


def histogram(layer: dict) -> str:
    """|x| of a layer's output on a logarithmic count axis, with every candidate's saturation limit."""
    bar, counts, zeros = (layer["histogram"][k] for k in ("bar", "counts", "zeros"))
    total = sum(counts) + zeros
    one = layer["blocks"] == 1
    unit = 2.0 ** layer["exponents"][0] if one else 1.0
    marks = [(c["offset"], layer["limit"] * 2.0 ** c["offset"]) for c in layer["candidates"]]
    needed = max((m for o, m in marks if o == 0 or m <= len(counts) * bar), default=0)
    end = max(len(counts) * bar, needed) * 1.03
    lowest = min((c for c in counts if c), default=total) / total if total else 1.0
    floor = min(math.floor(math.log10(lowest)), -1)
    frame = Frame((340, 236), (0, end * unit), (floor, 0), top=58)
    limit = (layer["limit"] + 0.5) * unit
    for kind, keep in (("bars", lambda i: i * bar * unit < limit), ("bars clipped", lambda i: i * bar * unit >= limit)):
        outline = []
        for i, c in enumerate(counts):
            if c and keep(i):
                a, b, h = frame.x(i * bar * unit), frame.x((i + 1) * bar * unit), frame.y(math.log10(c / total))
                outline.append(f"M{a:g} {frame.y(floor):g}V{h:g}H{b:g}V{frame.y(floor):g}Z")
        if outline:
            frame.parts.append(f'<path d="{"".join(outline)}" class="{kind}"/>')
    decades = range(floor, 1, max(1, math.ceil(-floor / 5)))
    frame.axes(
        [(v, short(v)) for v in nice_ticks(0, end * unit)],
        [(d, share_label(d)) for d in decades],
        "|value|" if one else "|value|, in least significant bits of its block",
        "share of all values, each bar",
    )
    for offset, mark in marks:
        if mark > end:
            continue
        x = frame.x(mark * unit)
        frame.line(x, 42 if offset % 2 else 54, x, frame.y(floor), "chosen" if offset == 0 else "rejected")
        words = f"e={layer['exponents'][0] + offset}" if one else f"e{offset:+d}" if offset else "e"
        near_edge = x > frame.width - 40
        frame.text(
            frame.width - RIGHT if near_edge else x, 38 if offset % 2 else 50, words,
            "mark chosen-text" if offset == 0 else "mark", "end" if near_edge else "middle",
        )  # fmt: skip
    return frame.svg(f"Histogram of the activations of {layer['name']} with the saturation limits of the exponents")


def criterion(layer: dict, key: str, label: str) -> str:
    """A criterion (``mse`` or ``kl``) of every candidate exponent, on a logarithmic axis."""
    points = [(c["offset"], c[key]) for c in layer["candidates"]]
    positive = [v for _, v in points if v > 0]
    one = layer["blocks"] == 1
    if not positive:
        return ""
    low, high = math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive)))
    high = max(high, low + 1)
    frame = Frame((340, 186), (points[0][0] - 0.4, points[-1][0] + 0.4), (low, high))
    frame.axes(
        [(o, str(layer["exponents"][0] + o) if one else f"{o:+d}" if o else "chosen") for o, _ in points],
        [(d, short(10.0**d)) for d in range(low, high + 1, max(1, math.ceil((high - low) / 4)))],
        "exponent" if one else "exponents, relative to the chosen ones",
        label,
    )
    frame.path([(frame.x(o), frame.y(math.log10(v))) for o, v in points if v > 0], "series own")
    for o, v in points:
        if v > 0:
            kind = "dot chosen-dot" if o == 0 else "dot"
            frame.dot(frame.x(o), frame.y(math.log10(v)), kind, f"offset {o:+d}: {short(v)}", 5 if o == 0 else 3.5)
    return frame.svg(f"{label} of the candidate exponents of {layer['name']}")


def profile(
    names: list[str], series: list[tuple[str, list[float | None]]], label: str, size: tuple[int, int],
    low: float | None = None, percent: bool = False, kind: str = "",
) -> str:  # fmt: skip
    """Figures along the layers. series: (class, value per layer, None: no point); percent: values are shares."""
    scale = 100.0 if percent else 1.0
    found = [scale * v for _, values in series for v in values if v is not None]
    bottom = low if low is not None else min([0.0, *found])
    highest = max([*found, bottom if percent else bottom + 10])
    ticks = nice_ticks(bottom, highest if highest > bottom else bottom + 1)
    step = ticks[1] - ticks[0] if len(ticks) > 1 else 1.0
    top = max([*found, ticks[-1], bottom + step])
    frame = Frame(size, (0, max(len(names) - 1, 1)), (bottom, top))
    layers = nice_ticks(0, max(len(names) - 1, 1), 6 if size[0] < 500 else 12)
    x_ticks = [(i, f"{i:g}") for i in layers if i == int(i)]
    sign = " %" if percent else ""
    frame.axes(x_ticks, [(t, short(t) + sign) for t in ticks], "layer, in order of execution", label)
    for css, values in series:
        run: list[tuple[float, float]] = []
        dots = []
        for i, v in enumerate([*values, None]):
            if v is None:  # a gap where a layer has no figure
                frame.path(run, f"series {css}")
                run = []
                continue
            run.append((frame.x(i), frame.y(scale * v)))
            dots.append((run[-1], f"{i} {names[i]}: {short(scale * v)}{sign}"))
        for (x, y), title in dots:
            frame.dot(x, y, f"dot {css}", title, 2.2 if len(names) < DENSE * size[0] else 1.2)
    return frame.svg(f"{label} of every layer", kind)
