"""Writes report.html and layers.json."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import jinja2
from markupsafe import Markup

from bfp import artifact as artifacts
from bfp.artifact import Artifact
from bfp.errors import BfpError
from bfp.samples import load_samples
from calib.pipeline import Prepared
from calib.report import charts
from calib.report.causes import percent
from calib.report.figures import layer_figures, worst_layers
from calib.report.measure import measure

SCHEMA = 1
IMAGES = 8  # of the kept samples
HERE = Path(__file__).parent
# result file: the task that writes it, the figures that the page shows
RESULTS = {
    "evaluation": ("evaluate", ("images", "top1_float", "top1_bfp", "agreement", "sqnr_db")),
    "csim": ("csim", ("images", "values_compared", "mismatches")),
    "board": ("simulate-board", ("images", "values_compared", "mismatches")),
}


def read_results(folder: Path) -> dict[str, dict | None]:
    """evaluation, csim and board results; None where the file is missing. Raises BfpError for a damaged one."""
    found: dict[str, dict | None] = {}
    for name, (task, keys) in RESULTS.items():
        path = folder / f"{name}.json"
        if not path.is_file():
            found[name] = None
            continue
        try:
            found[name] = json.loads(path.read_text(encoding="utf-8"))
            missing = [k for k in keys if k not in found[name]]
        except (OSError, ValueError, TypeError) as error:
            raise BfpError(f"{path} is damaged ({error}); run `doit {task}` again") from None
        if missing:
            raise BfpError(f"{path} does not say {', '.join(missing)}; run `doit {task}` again")
    return found


def significant(value: object) -> object:
    """Floats to six significant digits, through lists and dicts."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {k: significant(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [significant(v) for v in value]
    return value


def write_whole(path: Path, text: str) -> None:
    """Write under a temporary name, then rename."""
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def write_report(prepared: Prepared, folder: Path, limit: int = IMAGES) -> dict:
    """Measure up to ``limit`` of the kept samples, write ``report.html`` and ``layers.json`` into ``folder``.

    Returns the content of layers.json. Raises BfpError for a missing or
    damaged artifact, sample or result file, or an artifact of another network.
    """
    artifact = artifacts.load(folder / "artifact.npz")
    images = load_samples(folder / "samples.npz").images[:limit]
    results = read_results(folder)
    layers = significant(layer_figures(artifact, prepared.network, measure(prepared.network, artifact, images)))
    content = {
        "schema": SCHEMA,
        "network": artifact.graph.name,
        "artifact": artifact.digest,
        "images": len(images),
        "worst": worst_layers(layers),
        "layers": layers,
    }
    write_whole(folder / "layers.json", json.dumps(content, indent=1, allow_nan=False) + "\n")
    write_whole(folder / "report.html", render(artifact, content, results))
    return content


def render(artifact: Artifact, content: dict, results: dict[str, dict | None]) -> str:
    """The page. content: that of layers.json; results: that of read_results."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, db=decibels, few=few, span=span)
    environment.filters.update(number=charts.short, thousands=thousands)
    by_name = {f["name"]: f for f in content["layers"]}
    text = environment.get_template("page.html.j2").render(
        style=Markup((HERE / "style.css").read_text(encoding="utf-8")),
        network=content["network"],
        images=content["images"],
        layers=content["layers"],
        worst=[by_name[n] for n in content["worst"]],
        results=results,
        tasks={name: task for name, (task, _) in RESULTS.items()},
        stale=[n for n, r in results.items() if r and r.get("artifact", artifact.digest) != artifact.digest],
        artifact=artifact,
        widths=widths(content["layers"]),
        notes=notes(artifact, results),
        overview=overview(content["layers"]),
        histogram=lambda layer: Markup(charts.histogram(layer)),
        criterion=lambda layer, key, label: Markup(charts.criterion(layer, key, label)),
    )
    return re.sub(r"(\d) (%|dB)", "\\1\u00a0\\2", text)  # a number and its unit stay on one line


def notes(artifact: Artifact, results: dict[str, dict | None]) -> list[str]:
    """What was replaced or could not be obeyed, each sentence once."""
    said = [*artifact.provenance.get("replaced", []), *artifact.provenance.get("notes", [])]
    said += (results["evaluation"] or {}).get("notes", [])
    return list(dict.fromkeys(said))


def widths(layers: list[dict]) -> dict[str, list[int]]:
    """The mantissa widths that occur."""
    return {
        "weights": sorted({f["weights"]["bits"] for f in layers if f["weights"]}),
        "activations": sorted({f["bits"] for f in layers}),
    }


def overview(layers: list[dict]) -> dict[str, Markup]:
    """Profiles along the layers, each for a phone and for a desk."""
    names = [f["name"] for f in layers]
    keys = ("own_sqnr_db", "accumulated_sqnr_db", "range_used", "saturation_rate")
    figure = {k: [f[k] for f in layers] for k in keys}
    share = {"low": 0.0, "percent": True}
    plans = {
        "sqnr": ("signal to noise, dB", [("own", figure["own_sqnr_db"]), ("acc", figure["accumulated_sqnr_db"])], {}),
        "range": ("mantissa range used", [("own", figure["range_used"])], share),
        "saturation": ("values saturated", [("sat", figure["saturation_rate"])], share),
    }
    drawn = {}
    for key, (label, series, options) in plans.items():
        both = [
            charts.profile(names, series, label, size, kind=kind, **options)
            for kind, size in (("narrow", (340, 220)), ("wide", (1000, 240)))
        ]
        drawn[key] = Markup("".join(both))
    return drawn


def decibels(value: float | None, remark: str = "") -> str:
    return remark or "undefined" if value is None else f"{value:.1f} dB"


def few(values: list[int], most: int = 8) -> str:
    """A list of numbers, or its range where it is long."""
    if len(set(values)) == 1:
        return str(values[0])
    return ", ".join(map(str, values)) if len(values) <= most else f"{min(values)} to {max(values)}"


def span(pair: list[int] | None) -> str:
    if pair is None:
        return "none"
    return str(pair[0]) if pair[0] == pair[1] else f"{pair[0]} to {pair[1]}"


def thousands(value: int) -> str:
    return f"{value:,}".replace(",", "\u202f")
