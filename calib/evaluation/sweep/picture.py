"""Accuracy against mantissa width, as one self-contained HTML page with its pictures drawn in."""

from __future__ import annotations

from html import escape
from pathlib import Path

import jinja2
from markupsafe import Markup

from calib.evaluation.report import charts
from calib.evaluation.sweep.points import width_label

HERE = Path(__file__).parent
SIZES = {"narrow": (340, 300), "wide": (760, 400)}
TOP = 40  # room for the axis's title, and for the words above the float line
# Okabe and Ito's colours, which the colour-blind can tell apart, and shapes of lines on top
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a8984", "#a07a00")
DASHES = ("none", "6 3", "2 3", "8 3 2 3")


def page(content: dict) -> str:
    """The page of ``calib.evaluation.sweep.results.summary``'s content."""
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), undefined=jinja2.StrictUndefined, autoescape=True, trim_blocks=True
    )
    rows = content["points"]
    done = [r for r in rows if r["agreement"] is not None]
    styles = curve_styles(rows)
    css = (HERE.parent / "report" / "style.css").read_text(encoding="utf-8")
    labelled = bool(done) and all(r["top1_float"] is not None for r in done)
    measures = [("top1_bfp", "top-1 accuracy"), ("agreement", "agreement with float")]
    pictures = [
        (label, [Markup(chart(done, key, label, size, kind, styles)) for kind, size in SIZES.items()])
        for key, label in (measures if labelled else measures[1:])
    ]
    return env.get_template("sweep.html.j2").render(
        content=content, rows=rows, css=Markup(css), styles=styles, labelled=labelled,
        pictures=pictures if done else [], width_label=width_label,
        images=sorted({r["images"] for r in done}), float_top1=float_level(done) if labelled else None,
    )  # fmt: skip


def curve_styles(rows: list[dict]) -> dict[str, tuple[str, str]]:
    """Colour and dashes by curve, in order of appearance."""
    curves = list(dict.fromkeys(r["curve"] for r in rows))
    return {c: (COLOURS[i % len(COLOURS)], DASHES[i // len(COLOURS) % len(DASHES)]) for i, c in enumerate(curves)}


def columns(rows: list[dict]) -> list[tuple[int, int]]:
    """Pairs of widths along the axis: equal ones first, ascending, then the mixed ones."""
    pairs = {(r["weight_bits"], r["activation_bits"]) for r in rows}
    return sorted(pairs, key=lambda p: (p[0] != p[1], p))


def float_level(rows: list[dict]) -> float:
    """The float network's top-1; the same in all points, which evaluate the same images."""
    return rows[0]["top1_float"]


def chart(
    rows: list[dict], key: str, label: str, size: tuple[int, int], kind: str, styles: dict[str, tuple[str, str]]
) -> str:
    """One measure against width: a line a curve through equal widths, dots where weights and activations differ."""
    pairs = columns(rows)
    at = {pair: i for i, pair in enumerate(pairs)}
    level = float_level(rows) if key == "top1_bfp" else 1.0
    lowest = min([level, *(r[key] for r in rows)])
    ticks = charts.nice_ticks(100 * lowest - 2, 100)
    frame = charts.Frame(size, (-0.3, len(pairs) - 0.7), (max(0.0, 100 * lowest - 2), max(100 * level, ticks[-1])), TOP)
    frame.axes(
        [(at[p], width_label(p)) for p in pairs],
        [(t, f"{charts.short(t)} %") for t in ticks if t >= 0],
        "mantissa width, bits",
        label,
    )
    y = frame.y(100 * level)
    frame.line(frame.left, y, frame.width - charts.RIGHT, y, "chosen")
    frame.text(frame.left + 6, y - 4, f"float {100 * level:.1f} %" if key == "top1_bfp" else "float", anchor="start")
    for curve, (colour, dash) in styles.items():
        own = sorted((r for r in rows if r["curve"] == curve), key=lambda r: at[r["weight_bits"], r["activation_bits"]])
        places = [(frame.x(at[r["weight_bits"], r["activation_bits"]]), frame.y(100 * r[key])) for r in own]
        line = [p for p, r in zip(places, own) if r["weight_bits"] == r["activation_bits"]]
        if len(line) > 1:
            d = "M" + "L".join(f"{x:g} {y:g}" for x, y in line)
            frame.parts.append(
                f'<path d="{d}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>'
            )
        for (x, y), r in zip(places, own):
            words = escape(f"{r['name']}: {100 * r[key]:.2f} %")
            frame.parts.append(
                f'<circle cx="{x:g}" cy="{y:g}" r="3.5" fill="{colour}"><title>{words}</title></circle>'
            )
    return frame.svg(f"{label} against mantissa width", kind)
