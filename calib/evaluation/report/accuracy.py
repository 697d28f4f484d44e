"""The table of accuracy: the float network, the artifact, and the baselines beside it."""

from __future__ import annotations

import math

from bfp.artifact import Artifact
from bfp.names import COMMAND
from calib.evaluation.shown import own_text, truth_of
from calib.measures import AGREEMENT
from calib.options import FAN2019

BASELINES = {FAN2019: "Published rule", "max": "Plain maximum"}
TASK = f"{COMMAND} baselines"


def accuracy_rows(artifact: Artifact, results: dict[str, dict | None]) -> list[dict]:
    """Rows of the table, float first; empty where nothing was evaluated.

    title, method; top1: figure against the ground truth, share or None; points: that less the float network's, in
    points; agreement: share; figure: the task's own as text, empty where that is the agreement; sqnr_db; images; error:
    a sentence in place of the figures. What is not known is None.
    """
    evaluation = results["evaluation"]
    if evaluation is None:
        return []
    truth = truth_of(evaluation)
    rows = [{**row("Float network", "", None, evaluation["images"]), "top1": truth and truth[1]}]
    rows.append(row("This artifact", artifact.provenance.get("method", "not recorded"), evaluation))
    measured = (results["baselines"] or {}).get("baselines", {})
    for method, title in BASELINES.items():
        if method in measured:
            one = measured[method]
            rows.append({**row(title, method, None if "error" in one else one), "error": one.get("error", "")})
    return rows


def row(title: str, method: str, e: dict | None, images: int | None = None) -> dict:
    """One evaluation as a row; e: content of evaluation.json."""
    truth = None if e is None else truth_of(e)
    own = e is not None and e["metric"] != AGREEMENT.name
    return {
        "title": title,
        "method": method,
        "top1": truth and truth[2],
        "points": truth and 100 * (truth[2] - truth[1]),
        "agreement": None if e is None else e["agreement"],
        "figure": own_text(e) if own else "",
        "sqnr_db": None if e is None else e["sqnr_db"],
        "images": images if e is None else e["images"],
        "error": "",
    }


def output_rows(results: dict[str, dict | None]) -> list[dict]:
    """Rows of the table of outputs, none where there is only one: name, metric, figure, agreement, sqnr_db, judged."""
    evaluation = results["evaluation"] or {}
    judged = evaluation.get("task_output")
    return [{"name": name, "judged": name == judged, **figures} for name, figures in evaluation.get("outputs", {}).items()]


def uniform(width: int, budget: float | None) -> int:
    """The mantissa width of a baseline: that of the file, or a budget's, rounded up to whole bits."""
    return width if budget is None else math.ceil(budget)


def expected_widths(artifact: Artifact) -> str:
    """Weights' and activations' width that the baselines of this artifact have."""
    options = artifact.provenance.get("bfp", {})
    widths = [uniform(options.get(k + "s", 8), options.get(k + "_budget")) for k in ("weight", "activation")]
    return " and ".join(map(str, widths))


def comparison_notes(artifact: Artifact, results: dict[str, dict | None], network: str) -> list[str]:
    """Sentences where the rows of the table cannot be compared as they stand."""
    evaluation, baselines = results["evaluation"], results["baselines"]
    if evaluation is None:
        return []
    again = f"run `{TASK}:{network}`"
    if baselines is None:
        return [f"the published rule and the plain maximum are not measured yet; {again}"]
    notes = []
    for method, one in baselines["baselines"].items():
        if "error" in one:
            continue
        title = BASELINES.get(method, method).lower()
        if one["images"] != evaluation["images"]:
            count = f"{one['images']} images, the artifact on {evaluation['images']}"
            notes.append(f"the {title} was measured on {count}; {again} and `{COMMAND} evaluate:{network}` on the same")
        elif (truth_of(one) or (None,))[:2] != (truth_of(evaluation) or (None,))[:2] or one["metric"] != evaluation["metric"]:
            notes.append(f"the {title} was measured on other images or weights, or by another figure, than the artifact; {again} again")
        widths, expected = f"{one.get('weight_bits')} and {one.get('activation_bits')}", expected_widths(artifact)
        if widths != expected:
            notes.append(f"the {title} has weights and activations of {widths} bits, not {expected}; {again} again")
    return notes
