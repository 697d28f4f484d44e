"""What the report compares with: the published rule and the plain maximum, measured on the same images.

Both are calibrated like the network itself (same weights, calibration images
and mantissa widths) and evaluated bit-exactly on the same evaluation images.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from bfp import artifact_file
from bfp.errors import BfpError
from bfp.files import write_json
from calib import pipeline
from calib.evaluation import evaluate
from calib.config import NetworkConfig
from calib.network.float_network import FloatNetwork
from calib.data.images import ImageSet
from calib.pipeline import Prepared
from calib.evaluation.report.accuracy import uniform
from calib.observers.statistics import Statistics
from calib.options import FAN2019, BfpOptions, Override
from calib.state import weights_digest
from calib.threads import fixed_threads
from calib.used_files import images_digest, write_record

SCHEMA = 1
GROUP = 64  # input channels that share a weight exponent, as published
RULES = {
    FAN2019: {"weight_method": FAN2019, "unsigned": False},
    "max": {"weight_method": "max", "unsigned": True},
}


def plain_options(options: BfpOptions, method: str) -> BfpOptions:
    """A baseline's rule at the file's mantissa widths: one exponent a feature map, and no correction of any kind.

    Where the file gives a budget, the baseline has that many bits in every layer, rounded up.
    """
    widths = tuple(
        Override(o.layers, weights=o.weights, activations=o.activations)
        for o in options.overrides
        if o.weights is not None or o.activations is not None
    )
    return BfpOptions(
        weights=uniform(options.weights, options.weight_budget),
        activations=uniform(options.activations, options.activation_budget),
        sensitive=options.sensitive,
        max_spread=options.max_spread,
        method=method,
        weight_group=GROUP,
        activation_group=0,
        rounding="nearest",
        bias_correction=False,
        centre=False,
        sort_channels=False,
        equalise="none",
        output="values",
        overrides=widths,
        **RULES[method],
    )


def measure_baselines(config: NetworkConfig, folder: Path, limit: int | None = None) -> dict:
    """Calibrate and evaluate the baselines below ``folder``/baselines; write and return ``folder``/baselines.json.

    limit: only the first so many evaluation images. ``baselines`` holds, per
    method, the content of its evaluation.json, or ``error``, a sentence, where
    the rule cannot quantise this network. What was evaluated before, with the
    same artifact, float weights and images, is not evaluated again. Raises
    BfpError for bad input.
    """
    path = folder / "baselines.json"
    plain = {method: replace(config, bfp=plain_options(config.bfp, method)) for method in RULES}
    prepared = pipeline.prepare(plain[FAN2019])
    key = measuring_key(prepared.network, evaluate.images_to_evaluate(prepared), limit)
    known = known_results(path, key)
    with fixed_threads():
        statistics = pipeline.gather(prepared)  # the published rule needs the most, the maximum is among it
    found = {}
    for method, one in plain.items():
        there = folder / "baselines" / method
        found[method] = measure_one(prepared.under(one), statistics, there, known.get(method), limit)
    content = {"schema": SCHEMA, "network": config.name, "key": key, "baselines": found}
    write_json(path, content, indent=1)
    write_record(folder / "baselines.files.json", prepared.files)
    return content


def measure_one(
    prepared: Prepared, statistics: Statistics, folder: Path, known: dict | None, limit: int | None
) -> dict:
    """One baseline's figures; ``known`` is returned where it belongs to the same artifact."""
    try:
        artifact = pipeline.quantise(prepared, statistics)
    except BfpError as error:
        return {"error": str(error)}
    artifact = artifact_file.save(artifact, folder / "artifact.npz")
    if known is not None and known.get("artifact") == artifact.digest:
        return known
    return evaluate.evaluate(prepared, artifact, folder, limit)


def known_results(path: Path, key: str) -> dict[str, dict]:
    """Figures by method of an earlier run with the same ``key``; none where there is no such (or no readable) file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return content["baselines"] if content["key"] == key and content["schema"] == SCHEMA else {}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def measuring_key(network: FloatNetwork, images: ImageSet, limit: int | None) -> str:
    """All that an evaluation depends on besides the artifact: float weights, images, and how many of them."""
    return f"{weights_digest(network)} {images_digest(images)} {limit or 'all'}"
