"""Accuracy against mantissa width, as one self-contained HTML page with its pictures drawn in."""

from __future__ import annotations

from html import escape
from pathlib import Path

import jinja2
from markupsafe import Markup

from calib.evaluation.report import charts
from calib.evaluation.shown import figure_text, own_text, title_of, truth_of, unit_of, words_of
from calib.evaluation.sweep import pareto
from calib.evaluation.sweep.axis import SUFFIXES, TOP, Curve, ends
from calib.evaluation.sweep.points import width_label
from calib.measures import AGREEMENT, SHARE

HERE = Path(__file__).parent
SIZES = {"narrow": (340, 300), "wide": (760, 400)}
TRUTH_LABELS = {"top-1": "top-1 accuracy", "mAP50": "mAP50", "mIoU": "mean IoU with the masks"}
# Okabe and Ito's colours, which the colour-blind can tell apart, and shapes of lines on top
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a8984", "#a07a00")
DASHES = ("none", "6 3", "2 3", "8 3 2 3")


def page(content: dict) -> str:
    """The page of ``calib.evaluation.sweep.results.summary``'s content."""
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), undefined=jinja2.StrictUndefined, autoescape=True, trim_blocks=True
    )
    rows = content["points"]
    done = [r for r in rows if r["figure"] is not None]
    styles = curve_styles(rows)
    css = (HERE.parent / "report" / "style.css").read_text(encoding="utf-8")
    labelled = bool(done) and all(truth_of(r) for r in done)
    drawn = [(one.label, [Markup(chart(done, one, *s, styles)) for s in SIZES.items()]) for one in curves(done, labelled)]
    priced, own = pareto.priced(done), curves(done, labelled)[-1:]
    fronts = [
        (cost.title, [Markup(pareto.chart(priced, one, cost, *s, styles)) for s in SIZES.items()])
        for one in own for cost in pareto.COSTS if priced
    ]  # fmt: skip
    return env.get_template("sweep.html.j2").render(
        content=content, rows=rows, css=Markup(css), styles=styles, labelled=labelled, pictures=drawn, fronts=fronts,
        boards=sorted({f"{r['modelled']['board']} at {r['modelled']['clock_mhz']:g} MHz" for r in priced}), speed=speed_cells,
        width_label=width_label, truth=truth_of(done[0]) if labelled else ("", None, None), truth_of=truth_of,
        own=title_of(done[0]["metric"]) if done else "", words=words_of(done[0]["metric"]) if done else "",
        images=sorted({r["images"] for r in done}), figure_text=figure_text, own_text=own_text,
    )  # fmt: skip


def curves(rows: list[dict], labelled: bool) -> list[Curve]:
    """The pictures: the figure against the ground truth, where there is one, and the task's own; none without rows."""
    if not rows:
        return []
    found, first = [], rows[0]
    if labelled:
        name, level, _ = truth_of(first)  # the float network's is the same in all points, which evaluate the same images
        label = TRUTH_LABELS[name]
        found.append(Curve(label, SHARE, lambda r: truth_of(r)[2], 100 * level, f"float {100 * level:.1f} %"))
    agreement = first["metric"] == AGREEMENT.name
    own = f"{title_of(first['metric'])}{' with float' if agreement else ''}"
    unit = unit_of(first["metric"])
    top = (100.0, "float") if unit == SHARE else (None, "")
    return [*found, Curve(own, unit, lambda r: r["figure"], *top)]


def curve_styles(rows: list[dict]) -> dict[str, tuple[str, str]]:
    """Colour and dashes by curve, in order of appearance."""
    curves = list(dict.fromkeys(r["curve"] for r in rows))
    return {c: (COLOURS[i % len(COLOURS)], DASHES[i // len(COLOURS) % len(DASHES)]) for i, c in enumerate(curves)}


def columns(rows: list[dict]) -> list[tuple[int, int]]:
    """Pairs of widths along the axis: equal ones first, ascending, then the mixed ones."""
    pairs = {(r["weight_bits"], r["activation_bits"]) for r in rows}
    return sorted(pairs, key=lambda p: (p[0] != p[1], p))


def chart(rows: list[dict], shown: Curve, kind: str, size: tuple[int, int], styles: dict[str, tuple[str, str]]) -> str:
    """One figure against width: a line a curve through equal widths, dots where weights and activations differ."""
    pairs = columns(rows)
    at = {pair: i for i, pair in enumerate(pairs)}
    low, high, ticks = ends(shown, [shown.number(r) for r in rows])
    frame = charts.Frame(size, (-0.3, len(pairs) - 0.7), (low, high), TOP)
    frame.axes(
        [(at[p], width_label(p)) for p in pairs],
        [(t, f"{charts.short(t)}{SUFFIXES[shown.unit]}") for t in ticks],
        "mantissa width, bits",
        shown.label,
    )
    if shown.level is not None:
        y = frame.y(shown.level)
        frame.line(frame.left, y, frame.width - charts.RIGHT, y, "chosen")
        frame.text(frame.left + 6, y - 4, shown.level_text, anchor="start")
    for curve, (colour, dash) in styles.items():
        own = sorted((r for r in rows if r["curve"] == curve), key=lambda r: at[r["weight_bits"], r["activation_bits"]])
        places = [(frame.x(at[r["weight_bits"], r["activation_bits"]]), frame.y(shown.number(r))) for r in own]
        line = [p for p, r in zip(places, own) if r["weight_bits"] == r["activation_bits"]]
        if len(line) > 1:
            d = "M" + "L".join(f"{x:g} {y:g}" for x, y in line)
            frame.parts.append(
                f'<path d="{d}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>'
            )
        for (x, y), r in zip(places, own):
            words = escape(f"{r['name']}: {figure_text(shown.value(r), shown.unit)}")
            frame.parts.append(
                f'<circle cx="{x:g}" cy="{y:g}" r="3.5" fill="{colour}"><title>{words}</title></circle>'
            )
    return frame.svg(f"{shown.label} against mantissa width", kind)


def speed_cells(row: dict) -> tuple[str, str]:
    """Frames a second with their range, and MB a frame, as the table shows them; or why they are not there."""
    found = row["modelled"]
    if found is None:
        return "-", "-"
    if "refused" in found:
        return f"refused: {found['refused']}", "-"
    frames = found["frames_per_second"]
    return f"{frames['likely']:.4g} ({frames['low']:.4g} to {frames['high']:.4g})", f"{found['bytes_per_frame'] / 1e6:.3g}"
