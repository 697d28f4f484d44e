"""The published table of static block floating point, measured again: float, 8-bit BFP and the loss.

For whoever has the ImageNet validation set: the published rule, the default
method and online block floating point (for reference) on the same images, the
published figures beside. The images that calibrate are left out of those that
are evaluated.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from bfp.errors import BfpError
from bfp.files import write_json, write_text
from bfp.names import printable
from calib.config import find_network, load_config
from calib.evaluation.sweep.engine import run_points
from calib.evaluation.sweep.points import Point
from calib.options import AUTO, FAN2019, ONLINE
from calib.zoo.weights import SUFFIXES

SCHEMA = 1
NETWORKS = ("resnet50", "inceptionv4", "vgg16", "mobilenet_v2")
SMALL = "_small"  # of the shipped networks that take smaller images, with random weights
BITS = 8
METHODS = {FAN2019: "fan2019 (published rule)", AUTO: "auto (ours)", ONLINE: "online (reference)"}
CALIBRATION_IMAGES = 64
FEWEST = 4  # of which two calibrate: one to judge what the other chose


@dataclass(frozen=True)
class Published:
    """Top-1 in percent and the loss in points, as published; None where it was not."""

    float_top1: float | None
    bfp_top1: float | None
    loss: float


# README of os-hxfan/Static_BFP_CNN, 50,000 validation images; MobileNetV2: Fan et al., FPT 2019, the loss only
PUBLISHED = {
    "resnet50": Published(76.13, 75.758, 0.372),
    "inceptionv4": Published(80.14, 79.866, 0.274),
    "vgg16": Published(71.592, 71.302, 0.29),
    "mobilenet_v2": Published(None, None, 2.1),
}


def reproduce_table(
    images: str,
    folder: Path,
    limit: int | None = None,
    weights: str | None = None,
    networks: tuple[str, ...] = NETWORKS,
    calibration: str | None = None,
    scheduler: str | None = None,
    workers: int | None = None,
) -> tuple[dict, dict[str, str]]:
    """Measure every network by every method; write table.json and table.md to ``folder``.

    images: the labelled set, any source that a network's file may name.
    limit: evaluated images, spread evenly (default: all but those that
    calibrate). weights: None for the published ones, "random", or a folder
    with a file NAME.pth (or .pt, .th, .safetensors, .npz) for each network.
    calibration: another source to calibrate on. Finished measurements are
    kept in ``folder``/points.

    Returns the content of table.json, and what failed, a sentence each by
    network or point. Raises BfpError where the cluster is not usable.
    """
    images, calibration = absolute(images), absolute(calibration)
    points, failures = [], {}
    for network in networks:
        try:
            points += network_points(network, images, limit, weights, calibration)
        except BfpError as error:
            failures[Path(network).stem] = str(error)
    results, failed = run_points(points, folder / "points", "table", scheduler, workers)
    failures |= failed
    measured = {p.name: r for p, r in zip(points, results) if r is not None}
    content = {
        "schema": SCHEMA,
        "mantissa_bits": BITS,
        "images": images,
        "networks": [row(Path(n).stem, measured, failures) for n in networks],
    }
    write_json(folder / "table.json", content)
    write_text(folder / "table.md", markdown(content))
    return content, failures


def absolute(source: str | None) -> str | None:
    """A source that does not depend on the folder of the network's file."""
    return source if source is None or source.startswith("package:") else os.path.abspath(source)


def network_points(
    network: str, images: str, limit: int | None, weights: str | None, calibration: str | None
) -> list[Point]:
    """One point a method. Raises BfpError where images, labels or weights are missing."""
    from calib.user_model import build_module

    path = find_network(network)
    network = path.stem
    replaced = {"evaluation": {"images": images}, **weight_keys(path, network, weights)}
    replaced["calibration"] = calibration_section(path, images, calibration)
    build_module(load_config(path, replaced))  # fetches published weights once, before many ask for them
    points = []
    for method in METHODS:
        bfp = {"method": method, "weights": BITS, "activations": BITS}
        options = load_config(path, {**replaced, "bfp": bfp}).bfp
        groups = (options.weight_group, options.activation_group)
        every = {**replaced, "bfp": bfp}
        points.append(
            Point(f"{network}, {method}", str(path), method, method, (BITS, BITS), groups, every, limit, apart=True)
        )
    return points


def weight_keys(path: Path, network: str, weights: str | None) -> dict:
    """What the file's ``weights`` and ``arguments`` become."""
    if weights is None:
        return {}
    arguments = {**load_config(path).arguments, "pretrained": False}
    if weights != "random":
        found = [p for s in SUFFIXES if (p := Path(weights) / f"{network}{s}").is_file()]
        if not found:
            raise BfpError(
                f"there are no weights {network}.pth (or {', '.join(SUFFIXES[1:])}) in {weights}; "
                "put them there, or leave weights out to download the published ones"
            )
        weights = str(found[0].resolve())
    return {"weights": weights, "arguments": arguments}


def calibration_section(path: Path, images: str, calibration: str | None) -> dict:
    """At most CALIBRATION_IMAGES, evenly spread over ``calibration`` or, without it, over the labelled images."""
    from calib.data.images import open_images
    from calib.user_model import load_classes

    config = load_config(path, {"evaluation": {"images": images}})
    labelled = open_images(config.evaluation, config.input, classes=load_classes(config))
    if labelled.labels is None:
        raise BfpError(
            f"images {images} have no labels; give an ImageFolder, a CSV file, or a folder with a groundtruth.txt"
        )
    count, source = len(labelled), images
    if calibration is not None:
        source = calibration
        count = len(open_images(load_config(path, {"evaluation": {"images": source}}).evaluation, config.input))
        return {"images": source, "stride": max(1, count // CALIBRATION_IMAGES), "limit": CALIBRATION_IMAGES}
    if count < FEWEST:
        raise BfpError(f"{count} images in {images} are too few to calibrate on some of them; give {FEWEST} or more")
    used = max(2, min(CALIBRATION_IMAGES, count // 4))
    return {"images": source, "stride": count // used, "limit": used}


def row(network: str, measured: dict[str, dict], failures: dict[str, str]) -> dict:
    """One network of table.json: accuracies in percent, losses in points."""
    published = PUBLISHED.get(network.removesuffix(SMALL))
    methods, first = {}, None
    for method in METHODS:
        name = f"{network}, {method}"
        found = measured.get(name)
        if found is None:
            methods[method] = {"error": failures.get(name) or failures[network]}
            continue
        first = first or found
        methods[method] = {
            "top1": round(100 * found["top1_bfp"], 3),
            "loss": round(100 * (found["top1_float"] - found["top1_bfp"]), 3),
            "agreement": round(100 * found["agreement"], 3),
            "sqnr_db": found["sqnr_db"],
            "chosen": found["chosen"],
        }
    return {
        "network": network,
        "published": vars(published) if published else None,
        "float_top1": round(100 * first["top1_float"], 3) if first else None,
        "methods": methods,
        "images": first["images"] if first else None,
        "calibration_images": first["calibration_images"] if first else None,
        "weights": first["weights"] if first else None,
        "notes": first["notes"] if first else [],
    }


def escaped(text: str) -> str:
    """A text in Markdown's words, so that no character of it is markup: neither of a table nor of HTML."""
    return re.sub(r"([\\`*\[\]<>|&])", r"\\\1", printable(text))


def markdown(content: dict) -> str:
    """The table for people. Every column says whether it was published or measured here."""

    def figure(value: float | None, digits: int = 2) -> str:
        return "-" if value is None else f"{value:.{digits}f}"

    columns = ["network", "float, published", "float, measured here"]
    columns += ["BFP, published", "loss, published"]
    for words in METHODS.values():
        columns += [f"BFP, {words}, measured here", "loss, measured here"]
    columns += ["images"]
    lines = [
        f"# Top-1 accuracy in float and in {content['mantissa_bits']}-bit block floating point",
        "",
        "Accuracies in percent, losses in points.",
        "",
        "| " + " | ".join(columns) + " |",
        "|" + "---|" * len(columns),
    ]
    for r in content["networks"]:
        published = r["published"] or {}
        cells = [escaped(r["network"]), figure(published.get("float_top1"), 3), figure(r["float_top1"])]
        cells += [figure(published.get("bfp_top1"), 3), figure(published.get("loss"), 3)]
        for method in METHODS:
            m = r["methods"][method]
            cells += ["failed", "-"] if "error" in m else [figure(m["top1"]), figure(m["loss"])]
        cells.append("-" if r["images"] is None else str(r["images"]))
        lines.append("| " + " | ".join(cells) + " |")
    lines += [
        "",
        f"- *measured here*: on images of {escaped(content['images'])}. Those that calibrate are not evaluated: "
        + "; ".join(
            f"{escaped(r['network'])}: {r['calibration_images']} calibrate, {r['images']} are evaluated"
            for r in content["networks"]
            if r["images"] is not None
        )
        + ".",
        "- *published*: README of os-hxfan/Static_BFP_CNN, on the 50,000 images of the ImageNet validation set; for "
        "MobileNetV2 the loss alone, from Fan et al., Static Block Floating-Point Quantization for Convolutional "
        "Neural Networks on FPGA, FPT 2019. The published network keeps sums and average pools in float; everything "
        "measured here is the bit-exact integer path, except for *online*, exponents found at run time, emulated in "
        "float.",
    ]
    for r in content["networks"]:
        if r["weights"] == "random":
            lines.append(f"- {escaped(r['network'])}: random weights, whose accuracy means nothing")
        lines += [f"- {escaped(r['network'])}: {escaped(note)}" for note in r["notes"]]
    for r in content["networks"]:
        reasons = dict.fromkeys(m["error"] for m in r["methods"].values() if "error" in m)
        lines += [f"- {escaped(r['network'])} failed: {escaped(reason)}" for reason in reasons]
    return "\n".join(lines) + "\n"
