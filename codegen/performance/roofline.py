"""A roofline picture of an estimate, as SVG. Everything in it is modelled."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape

from bfp.names import cut
from codegen.performance.ranges import Ranges

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 760, 476, 70, 60, 66, 20
COLOURS = {"compute": "#1b6ca8", "weights": "#c05a00", "feature maps": "#3a7d34"}
MOST_INTENSITY = 1000.0  # that the picture shows at least
MOST_NAME = 60  # characters of a network's name


@dataclass(frozen=True)
class Point:
    """One layer. intensity: multiply-accumulates per byte; rate: GMAC/s; bound: what takes longest."""

    name: str
    intensity: float
    rate: float
    bound: str


@dataclass(frozen=True)
class Axes:
    """Logarithmic axes: the ends of intensity (x) and of rate (y), all of them powers of ten."""

    x0: float
    x1: float
    y0: float
    y1: float

    def x(self, value: float) -> float:
        """Place of an intensity in the picture."""
        share = (math.log10(value) - math.log10(self.x0)) / (math.log10(self.x1) - math.log10(self.x0))
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Place of a rate."""
        share = (math.log10(value) - math.log10(self.y0)) / (math.log10(self.y1) - math.log10(self.y0))
        return HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)


def power_below(value: float) -> float:
    """The power of ten at or below a value."""
    return 10.0 ** math.floor(math.log10(value))


def power_above(value: float) -> float:
    """The power of ten at or above a value."""
    return 10.0 ** math.ceil(math.log10(value))


def points_of(estimate: dict) -> list[Point]:
    """Of the layers that multiply and move bytes."""
    clock = estimate["clock_mhz"]
    return [
        Point(
            layer["name"],
            layer["macs"] / layer["ddr_bytes"],
            layer["macs"] / layer["cycles"] * clock / 1e3,
            layer["bound"],
        )
        for layer in estimate["layers"]
        if layer["macs"] and layer["ddr_bytes"]
    ]


def axes_of(points: list[Point], peak: float) -> Axes:
    """Axes on which all points and the array's peak (GMAC/s) lie."""
    intensities, rates = [p.intensity for p in points] + [1], [p.rate for p in points] + [peak]
    top = power_above(peak * 1.2)
    return Axes(
        power_below(min(intensities)),
        max(MOST_INTENSITY, power_above(max(intensities))),
        min(power_below(min(rates)), top / 1000),
        top,
    )


def grid(axes: Axes) -> list[str]:
    """A line and a number for every power of ten."""
    parts = []
    decade = axes.x0
    while decade <= axes.x1:
        x = axes.x(decade)
        parts.append(f'<path d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#ddd"/>')
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{decade:g}</text>')
        decade *= 10
    decade = axes.y0
    while decade <= axes.y1:
        y = axes.y(decade)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{decade:g}</text>')
        decade *= 10
    return parts


def roof(axes: Axes, peak: float, memory: float) -> list[str]:
    """The bounds of memory (GB/s) and of the array (GMAC/s)."""
    knee, start = peak / memory, max(axes.x0, axes.y0 / memory)
    return [
        f'<path d="M{axes.x(start):.1f} {axes.y(start * memory):.1f}L{axes.x(knee):.1f} {axes.y(peak):.1f}'
        f'H{WIDTH - RIGHT}" fill="none" stroke="#222" stroke-width="2"/>',
        f'<text x="{WIDTH - RIGHT}" y="{axes.y(peak) - 7:.1f}" text-anchor="end">array: {peak:.0f} GMAC/s; memory: '
        f"{memory} GB/s</text>",
    ]


def circles(axes: Axes, points: list[Point]) -> list[str]:
    """The layers, each with its figures as a tooltip."""
    return [
        f'<circle cx="{axes.x(p.intensity):.1f}" cy="{axes.y(p.rate):.1f}" r="4" fill="{COLOURS[p.bound]}" '
        f'fill-opacity="0.7"><title>{escape(p.name)}: {p.intensity:.1f} MAC/byte, {p.rate:.1f} GMAC/s, bound by '
        f"{p.bound}</title></circle>"
        for p in points
    ]


def legend() -> list[str]:
    """What the colours mean, and the axes' names."""
    parts = []
    for i, (bound, colour) in enumerate(COLOURS.items()):
        x = LEFT + i * 150
        parts.append(f'<circle cx="{x + 6}" cy="{TOP - 12}" r="5" fill="{colour}"/>')
        parts.append(f'<text x="{x + 16}" y="{TOP - 8}">bound by {bound}</text>')
    parts.append(
        f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 18}" text-anchor="middle">multiply-accumulates per byte of '
        "external memory</text>"
    )
    parts.append(
        f'<text x="18" y="{HEIGHT / 2}" transform="rotate(-90 18 {HEIGHT / 2})" text-anchor="middle">GMAC/s '
        "(modelled)</text>"
    )
    return parts


def roofline(estimate: dict) -> str:
    """Layers of an estimate (see codegen.performance.estimate): operations per byte against modelled GMAC/s."""
    peak = estimate["array"]["macs_per_cycle"] * estimate["clock_mhz"] / 1e3
    points = points_of(estimate)
    axes, frames = axes_of(points, peak), Ranges.of(estimate).frames_per_second
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        'font-size="12"><rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="{LEFT}" y="20" font-size="15" font-weight="bold">{escape(cut(estimate["network"], MOST_NAME))} on '
        f'{escape(estimate["board"])}, modelled</text>',
        f'<text x="{LEFT}" y="38">{frames} frames/s, {100 * estimate["mac_efficiency"]:.0f} % of the array</text>',
        *grid(axes),
        *roof(axes, peak, estimate["memory_gb_s"]),
        *circles(axes, points),
        *legend(),
    ]
    return "\n".join(parts) + "</svg>\n"
