"""Writes report.html and layers.json."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import jinja2
import numpy as np
from markupsafe import Markup

from bfp import artifact_file
from bfp.artifact import Artifact
from bfp.errors import BfpError
from bfp.files import write_json, write_text
from bfp.names import COMMAND
from calib.network.float_network import FloatNetwork
from calib.pipeline import Prepared, check_artifact
from calib.evaluation.report import charts
from calib.evaluation.shown import FIGURES, title_of, truth_of, words_of
from calib.evaluation.report.accuracy import accuracy_rows, comparison_notes, output_rows
from calib.evaluation.report.calibration import MOST, calibration_facts, candidate_figures, candidates
from calib.evaluation.report.causes import percent
from calib.evaluation.report.figures import layer_figures, worst_layers
from calib.evaluation.report.measure import measure

SCHEMA = 2
IMAGES = 64  # on which the layers are measured, at most
IMAGE_VALUES = 1 << 28  # of all tensors and images together
HERE = Path(__file__).parent
# result file: the task that writes it, the figures that the page shows
RESULTS = {
    "evaluation": ("evaluate", FIGURES),
    "baselines": ("baselines", ("baselines",)),
    "csim": ("csim", ("images", "values_compared", "mismatches")),
    "board": ("simulate-board", ("images", "values_compared", "mismatches")),
}


def read_results(folder: Path) -> dict[str, dict | None]:
    """Contents of RESULTS by name; None where the file is missing. Raises BfpError for a damaged one."""
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
            raise BfpError(f"{path} is damaged ({error}); run `{COMMAND} {task}` again") from None
        if missing:
            raise BfpError(f"{path} does not say {', '.join(missing)}; run `{COMMAND} {task}` again")
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


def images_to_measure(prepared: Prepared) -> np.ndarray:
    """Images for the layers' figures: normalised float32 [N, C, H, W], evenly spread over the evaluation images.

    Without evaluation images those of the calibration. Fewer than IMAGES for a large network.
    """
    graph, images = prepared.network.graph, prepared.evaluation
    each = sum(int(np.prod(s)) for s in graph.shapes.values())
    count = min(len(images.items), IMAGES, max(1, IMAGE_VALUES // each))
    chosen = np.linspace(0, len(images.items) - 1, count).round().astype(int)
    return next(replace(images, items=tuple(images.items[i] for i in chosen), augment=1).batches(count))


def write_report(prepared: Prepared, folder: Path, images: np.ndarray | None = None) -> dict:
    """Measure the layers, write ``report.html`` and ``layers.json`` into ``folder``.

    images: normalised, float32 [N, C, H, W]; by default those of
    ``images_to_measure``. Returns the content of layers.json. Raises BfpError
    for a missing or damaged artifact or result file, or an artifact of another
    network or of other weights.
    """
    artifact = artifact_file.load(folder / "artifact.npz")
    check_artifact(prepared, artifact)
    results = read_results(folder)
    if images is None:
        images = images_to_measure(prepared)
    content = layers_content(prepared.network, artifact, images)
    write_json(folder / "layers.json", content, indent=1)
    write_text(folder / "report.html", render(artifact, content, results))
    return content


def layers_content(network: FloatNetwork, artifact: Artifact, images: np.ndarray) -> dict:
    """What layers.json holds: the errors, ranges and exponents of every layer over images, float32 [N, C, H, W]."""
    layers = significant(layer_figures(artifact, network, measure(network, artifact, images)))
    return {
        "schema": SCHEMA,
        "network": artifact.graph.name,
        "artifact": artifact.digest,
        "images": len(images),
        "worst": worst_layers(layers),
        "layers": layers,
    }


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
    environment.filters.update(number=charts.short, thousands=thousands, points=points, breakable=breakable)
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
        accuracy=accuracy_rows(artifact, results),
        judged=judged(results["evaluation"]),
        outputs=output_rows(results),
        comparison=comparison_notes(artifact, results, content["network"]),
        facts=calibration_facts(artifact.provenance),
        most=MOST,
        candidates=candidates(artifact.provenance),
        compared=candidate_figures(artifact.provenance),
        artifact=artifact,
        widths=widths(content["layers"]),
        notes=notes(artifact, results),
        overview=overview(content["layers"]),
        histogram=lambda layer: Markup(charts.histogram(layer)),
        criterion=lambda layer, key, label: Markup(charts.criterion(layer, key, label)),
    )
    text = text.replace("&lt; 0.01", "&lt;\u00a00.01")
    return re.sub(r"(\d) (%|dB)", "\\1\u00a0\\2", text)  # a number and its unit stay on one line


def judged(evaluation: dict | None) -> dict[str, str]:
    """Names of the figures of an evaluation: truth: against the ground truth, empty without one; own, words: the task's."""
    if evaluation is None:
        return {}
    truth, metric = truth_of(evaluation), evaluation["metric"]
    return {"truth": truth[0] if truth else "", "own": title_of(metric), "words": words_of(metric)}


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
    """Profiles along the layers, each for a phone and for a desk; ``widths`` only where widths differ."""
    names = [f["name"] for f in layers]
    keys = ("own_sqnr_db", "accumulated_sqnr_db", "range_used", "saturation_rate", "bits")
    figure = {k: [f[k] for f in layers] for k in keys}
    weights = [f["weights"]["bits"] if f["weights"] else None for f in layers]
    share = {"low": 0.0, "percent": True}
    plans = {
        "sqnr": ("signal to noise, dB", [("own", figure["own_sqnr_db"]), ("acc", figure["accumulated_sqnr_db"])], {}),
        "range": ("mantissa range used", [("own", figure["range_used"])], share),
        "saturation": ("values saturated", [("sat", figure["saturation_rate"])], share),
    }
    if any(len(found) > 1 for found in widths(layers).values()):
        plans["widths"] = ("mantissa bits", [("acc", weights), ("own", figure["bits"])], {"low": 0.0})
    drawn = {}
    for key, (label, series, options) in plans.items():
        both = [
            charts.profile(names, series, label, size, kind=kind, **options)
            for kind, size in (("narrow", (340, 230)), ("wide", (1000, 250)))
        ]
        drawn[key] = Markup("".join(both))
    return drawn


def decibels(value: float | None, remark: str = "") -> str:
    return remark or "undefined" if value is None else f"{value:.1f} dB".replace("-", "\u2212")


def breakable(name: str) -> Markup:
    """A dotted name that a narrow column may break behind its dots."""
    return Markup(".<wbr>").join(Markup.escape(part) for part in name.split("."))


def points(value: float) -> str:
    """A difference in percentage points, with its sign; the minus is a real one."""
    return f"{value:+.2f}".replace("-", "\u2212")


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
