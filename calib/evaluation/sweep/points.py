"""What a point of a sweep is, and how it is measured."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from bfp.errors import BfpError
from calib.config import NetworkConfig, load_config
from calib.evaluation.cluster import forget_modules, one_job
from calib.options import FAN2019, REFERENCES

# in every picture: the published rule, and the plain maximum
BASELINES = (FAN2019, "max")
WIDTHS = ("layers", "weights", "activations")  # of an override: what holds for the plain methods, too
BUDGETS = ("weight_budget", "activation_budget")
FAN2019_GROUPS = (64, 0)  # of the published method: 64 input channels a weight block, activations whole


@dataclass(frozen=True)
class Point:
    """One measurement: a network's file with some of its sections replaced.

    curve: method and groups, as a legend names them; method, widths (weights,
    activations) and groups (weight_group, activation_group) are what varies.
    replaced: see ``load_config``. limit: evaluation images, None for all.
    apart: leave out the evaluation images that calibrate. target: the board
    (its word and its clock) that the artifact's engine is modelled on, or None.
    """

    name: str
    network: str
    curve: str
    method: str
    widths: tuple[int, int]
    groups: tuple[int, int]
    replaced: dict
    limit: int | None = None
    apart: bool = False
    target: tuple[str, str | None] | None = None

    def job(self) -> dict:
        """What decides the result, in types that JSON knows."""
        return {k: v for k, v in asdict(self).items() if k in ("network", "replaced", "limit", "apart", "target")}


def width_label(widths: tuple[int, int]) -> str:
    """Widths as a legend names them: "5" for both, "4/8" for 4-bit weights and 8-bit activations."""
    return str(widths[0]) if widths[0] == widths[1] else f"{widths[0]}/{widths[1]}"


def group_label(groups: tuple[int, int]) -> str:
    """Groups as a legend names them: "groups 16" for both, "groups 64/all" where tensors have one exponent."""
    words = ["all" if g == 0 else str(g) for g in groups]
    return f"groups {words[0]}" if words[0] == words[1] else f"groups {words[0]}/{words[1]}"


def sweep_points(config: NetworkConfig, target: tuple[str, str | None] | None = None) -> list[Point]:
    """The points of the file's ``[sweep]``, widths innermost, no two alike; target: as of ``Point``.

    ``fan2019``, ``max`` and the references are plain: of the file's ``[bfp]`` they
    keep which layers, inputs and outputs have other widths, and the limit of shifts, but no
    correction; ``fan2019`` has its published groups. The other methods keep the
    rest of the file's ``[bfp]``, but no budget of widths.
    """
    file_options = tomllib.loads(config.path.read_text(encoding="utf-8")).get("bfp", {})
    methods = dict.fromkeys([*BASELINES, *config.sweep.methods])
    points = []
    for method in methods:
        for groups in [FAN2019_GROUPS] if method == FAN2019 else config.sweep.groups:
            for widths in config.sweep.widths:
                options = bfp_options(file_options, method, widths, groups)
                curve = method if method == FAN2019 else f"{method}, {group_label(groups)}"
                name = f"{curve}, {width_label(widths)} bits"
                varied = (method, widths, groups, {"bfp": options}, config.sweep.limit)
                points.append(Point(name, str(config.path), curve, *varied, target=target))
    return points


def bfp_options(file_options: dict, method: str, widths: tuple[int, int], groups: tuple[int, int]) -> dict:
    """The ``[bfp]`` section of a point."""
    chosen = {"method": method, "weights": widths[0], "activations": widths[1]}
    if method != FAN2019:  # whose default groups are the published ones
        chosen |= {"weight_group": groups[0], "activation_group": groups[1]}
    if method not in (*BASELINES, *REFERENCES):
        # a budget would choose the widths that the sweep goes through
        return {**{k: v for k, v in file_options.items() if k not in BUDGETS}, **chosen}
    kept = {k: file_options[k] for k in ("sensitive", "max_spread", "input_bits", "output_bits") if k in file_options}
    layers = [{k: v for k, v in o.items() if k in WIDTHS} for o in file_options.get("override", [])]
    layers = [o for o in layers if len(o) > 1]
    return {**kept, **chosen, **({"override": layers} if layers else {})}


def measure(job: dict, state: str) -> dict:
    """Calibrate and evaluate ``Point.job()``; keys as of ``calib.evaluation.evaluate.compare``, with ``weights`` and
    ``files``, what was read to build the network, SHA-256 by path; with a target ``modelled``, see
    ``calib.evaluation.sweep.modelled``, None where there is no artifact.

    state: a file that lets an interrupted evaluation go on; its removal is up
    to the caller. The result does not depend on the machine's cores:
    everything runs in one thread, and only one job at a time in a process.
    Raises BfpError.
    """
    # the workers import this module on arrival; torch only here
    from calib import pipeline
    from calib.evaluation import evaluate
    from calib.evaluation.baselines import online
    from calib.evaluation.sweep.modelled import modelled

    figures = None
    with one_job():
        config = load_config(job["network"], job["replaced"])
        forget_modules(config)
        prepared = pipeline.prepare(config)
        images = evaluation_images(prepared, job["limit"], job["apart"])
        if config.bfp.method in REFERENCES:
            found = online.compare(prepared, images)
            chosen = config.bfp.method
        else:
            artifact = pipeline.make_artifact(prepared)
            found = evaluate.compare(prepared, artifact, images, state=Path(state))
            chosen = artifact.provenance["method"]
            figures = job["target"] and modelled(artifact, config.engine, job["target"])
    return {
        **found,
        "chosen": chosen,
        "modelled": figures,
        "weights": prepared.weights,
        "calibration_images": len(prepared.calibration),
        "notes": list(dict.fromkeys([*prepared.notes, *images.notes])),
        "files": dict(prepared.files),
    }


def evaluation_images(prepared, limit: int | None, apart: bool):
    """At most ``limit`` of the evaluation images, evenly spread: sets are often ordered by class.

    Without evaluation images, the calibration images. ``apart`` leaves out
    those that calibrate; raises BfpError where none is left.
    """
    from calib.evaluation.evaluate import images_to_evaluate

    images = images_to_evaluate(prepared)
    items = images.items
    if apart:
        used = {item.name for item in prepared.calibration.items}
        items = tuple(item for item in items if item.name not in used)
        if not items:
            raise BfpError(f"{prepared.config.path}: every evaluation image also calibrates; give more images")
    if limit is not None and limit < len(items):
        items = tuple(items[i] for i in np.linspace(0, len(items) - 1, limit).round().astype(int))
    return replace(images, items=items)
