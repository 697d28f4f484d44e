"""Pictures of what the functions of this package return, for notebooks: each shows itself, and can be saved as SVG."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from bfp.errors import BfpError
from bfp.files import write_text
from bfp.names import shown
from calib.evaluation.report import charts
from codegen.performance.roofline import roofline as roofline_svg

WIDE, NARROW = (860, 270), (430, 270)  # pixels
SAMPLE, LETTER = 40, 7  # of a legend: a line with the space around it, and a letter
SHEET = Path(charts.__file__).with_name("style.css")


@dataclass(frozen=True)
class Picture:
    """A picture as SVG that needs nothing else. width: in a notebook, in pixels."""

    svg: str = field(repr=False)
    description: str
    width: int

    def _repr_html_(self) -> str:
        """As an image, so that its style and the notebook's do not meet."""
        data = base64.b64encode(self.svg.encode()).decode()
        return f'<img width="{self.width}" alt="{escape(self.description)}" src="data:image/svg+xml;base64,{data}"/>'

    def save(self, path: str | Path) -> None:
        """Write the SVG. Raises BfpError where the file cannot be written."""
        write_text(path, self.svg)


def layers(content: dict) -> Picture:
    """Signal to noise in dB along the layers; content: of ``Artifact.layers``."""
    found = content["layers"]
    series = [("own", [f["own_sqnr_db"] for f in found]), ("acc", [f["accumulated_sqnr_db"] for f in found])]
    svg = charts.profile([f["name"] for f in found], series, "signal to noise, dB", WIDE)
    legend = [("own", "the layer alone"), ("acc", "with all before it")]
    return finished(svg, f"{content['network']}: signal to noise of every layer", WIDE, legend)


def values(content: dict, layer: str) -> Picture:
    """How often a layer's output has which magnitude, and where the exponents that may be chosen end; what lies behind
    the chosen one saturates.

    content: of ``Artifact.layers``. Raises BfpError where it has no layer of this name.
    """
    found = {f["name"]: f for f in content["layers"]}
    if layer not in found:
        raise BfpError(f"{content['network']} has no layer {shown(layer)}; give one of {', '.join(found)}")
    svg = charts.histogram(found[layer])
    return finished(svg, f"{content['network']}: values of {layer}", (340, 236), [])


def widths(figures: Mapping[int, dict], key: str = "sqnr_db", label: str = "signal to noise, dB") -> Picture:
    """A figure against mantissa width. figures: by width in bits, each of ``Artifact.evaluate``; key, label: of the figure.

    Raises BfpError where there are none, or one of them is not known.
    """
    points = [(bits, figures[bits][key]) for bits in sorted(figures)]
    if not points or any(value is None for _, value in points):
        raise BfpError(f"{key} is not known of every width; give figures of Artifact.evaluate that have it")
    low, high = (end(value for _, value in points) for end in (min, max))
    room = 0.08 * (high - low) or 1.0
    ticks = charts.nice_ticks(low - room, high + room)
    frame = charts.Frame(NARROW, (points[0][0] - 0.3, points[-1][0] + 0.3), (low - room, high + room))
    frame.axes([(bits, str(bits)) for bits, _ in points], [(t, charts.short(t)) for t in ticks], "mantissa width, bits", label)
    places = [(frame.x(bits), frame.y(value)) for bits, value in points]
    frame.path(places, "series own")
    for (x, y), (bits, value) in zip(places, points):
        frame.dot(x, y, "dot", f"{bits} bits: {charts.short(value)}", 3.5)
    return finished(frame.svg(f"{label} against mantissa width"), f"{label} against mantissa width", NARROW, [])


def roofline(estimate: dict) -> Picture:
    """Every layer's multiply-accumulates a second against those a byte, below what array and memory allow.

    estimate: of ``static_bfp.estimate``; all figures are modelled.
    """
    return Picture(roofline_svg(estimate), f"{estimate['network']}: roofline on {estimate['board']}", 760)


def finished(svg: str, description: str, size: tuple[int, int], legend: list[tuple[str, str]]) -> Picture:
    """A chart of the report with its style, on white, and names of its series at the upper right."""
    width, height = size
    parts, x = [], width - charts.RIGHT - sum(SAMPLE + LETTER * len(words) for _, words in legend)
    for kind, words in legend:
        parts.append(f'<line x1="{x}" y1="8" x2="{x + 22}" y2="8" class="series {kind}"/>')
        parts.append(f'<text x="{x + 28}" y="12" class="label">{escape(words)}</text>')
        x += SAMPLE + LETTER * len(words)
    opening, rest = svg.split(">", 1)
    size_words = f' xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif">'
    white = f'<style>{style()}</style><rect width="{width}" height="{height}" fill="#fff"/>'
    whole = opening + size_words + white + rest.removesuffix("</svg>") + "".join(parts) + "</svg>\n"
    return Picture(whole, description, width)


def style() -> str:
    """The rules for charts of the report's style sheet, with its light colours."""
    sheet = SHEET.read_text(encoding="utf-8")
    colours = dict(re.findall(r"--(\w+): (#\w+);", sheet.split("@media")[0]))
    rules = re.findall(r"svg ([.\w][^{,]*\{[^}]*\})", sheet)
    return re.sub(r"var\(--(\w+)\)", lambda found: colours[found[1]], " ".join(rules)).replace("font-family: inherit", "")
