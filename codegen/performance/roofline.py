"""A roofline picture of an estimate, as SVG. Everything in it is modelled."""

from __future__ import annotations

import math
from html import escape

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 760, 460, 70, 60, 50, 20
COLOURS = {"compute": "#1b6ca8", "weights": "#c05a00", "feature maps": "#3a7d34"}


def roofline(estimate: dict) -> str:
    """Layers of ``estimate`` (see codegen.performance.estimate): operations per byte against modelled GMAC/s, both logarithmic."""
    peak = estimate["array"]["macs_per_cycle"] * estimate["clock_mhz"] / 1e3
    layers = [layer for layer in estimate["layers"] if layer["macs"] and layer["ddr_bytes"]]
    points = [
        (
            layer["macs"] / layer["ddr_bytes"],
            layer["macs"] / layer["cycles"] * estimate["clock_mhz"] / 1e3,
            layer,
        )
        for layer in layers
    ]
    x0, x1 = 10.0 ** math.floor(math.log10(min([p[0] for p in points] + [1]))), 1000.0
    x1 = max(x1, 10.0 ** math.ceil(math.log10(max([p[0] for p in points] + [1]))))
    y1 = 10.0 ** math.ceil(math.log10(peak * 1.2))
    y0 = min(10.0 ** math.floor(math.log10(min([p[1] for p in points] + [peak]))), y1 / 1000)

    def sx(v: float) -> float:
        return LEFT + (math.log10(v) - math.log10(x0)) / (math.log10(x1) - math.log10(x0)) * (WIDTH - LEFT - RIGHT)

    def sy(v: float) -> float:
        return HEIGHT - BOTTOM - (math.log10(v) - math.log10(y0)) / (math.log10(y1) - math.log10(y0)) * (
            HEIGHT - BOTTOM - TOP
        )

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        'font-size="12"><rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="{LEFT}" y="22" font-size="15" font-weight="bold">{escape(estimate["network"])} on '
        f'{escape(estimate["board"])}, modelled: {estimate["frames_per_second"]} frames/s, '
        f'{100 * estimate["mac_efficiency"]:.0f} % of the array</text>',
    ]
    decade = x0
    while decade <= x1:
        x = sx(decade)
        parts.append(f'<path d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#ddd"/>')
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{decade:g}</text>')
        decade *= 10
    decade = y0
    while decade <= y1:
        y = sy(decade)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{decade:g}</text>')
        decade *= 10
    knee = peak / estimate["memory_gb_s"]
    start = max(x0, y0 / estimate["memory_gb_s"])
    parts.append(
        f'<path d="M{sx(start):.1f} {sy(start * estimate["memory_gb_s"]):.1f}L{sx(knee):.1f} {sy(peak):.1f}'
        f'H{WIDTH - RIGHT}" fill="none" stroke="#222" stroke-width="2"/>'
    )
    parts.append(
        f'<text x="{WIDTH - RIGHT}" y="{sy(peak) - 7:.1f}" text-anchor="end">array: {peak:.0f} GMAC/s; memory: '
        f'{estimate["memory_gb_s"]} GB/s</text>'
    )
    for intensity, rate, layer in points:
        parts.append(
            f'<circle cx="{sx(intensity):.1f}" cy="{sy(rate):.1f}" r="4" fill="{COLOURS[layer["bound"]]}" '
            f'fill-opacity="0.7"><title>{escape(layer["name"])}: {intensity:.1f} MAC/byte, {rate:.1f} GMAC/s, bound by '
            f'{layer["bound"]}</title></circle>'
        )
    for i, (bound, colour) in enumerate(COLOURS.items()):
        x = LEFT + i * 130
        parts.append(f'<circle cx="{x + 6}" cy="{TOP - 12}" r="5" fill="{colour}"/>')
        parts.append(f'<text x="{x + 16}" y="{TOP - 8}">bound by {bound}</text>')
    parts.append(
        f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 18}" text-anchor="middle">multiply-accumulates per byte of '
        "external memory</text>"
    )
    parts.append(
        f'<text x="18" y="{HEIGHT / 2}" transform="rotate(-90 18 {HEIGHT / 2})" text-anchor="middle">GMAC/s '
        "(modelled)</text></svg>"
    )
    return "\n".join(parts) + "\n"
