"""``python -m calib.evaluation.benchmark.tools.comparison NETWORK --out FOLDER``: other tools beside this project.

Every tool quantises the same float network after training, with the same calibration images, at each width that it offers
of those asked for, and runs the same evaluation images, none of which calibrate; figures are counted here, against the
same float outputs. A tool that cannot be had, and a row that fails, are named with the reason, and have no figures.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from bfp.errors import BfpError, sentence
from bfp.files import check_folder, write_json, write_text
from bfp.names import printable
from calib import pipeline
from calib.config import NetworkConfig, find_network, load_config
from calib.data.images import ImageSet
from calib.evaluation.benchmark.environments import environment
from calib.evaluation.benchmark.tools import exchange
from calib.evaluation.benchmark.tools.plain import with_plain_convolutions
from calib.evaluation.outputs import OutputTallies
from calib.evaluation.shown import interval_text
from calib.evaluation.sweep.engine import run_points
from calib.evaluation.sweep.modelled import target_of
from calib.evaluation.sweep.points import Point, evaluation_images, width_label
from calib.judge import informed
from calib.network import float_model
from calib.observers.observer import batch_size
from calib.options import AUTO, DSCONV, FAN2019, ONLINE
from calib.pipeline import Prepared
from calib.state import weights_digest
from calib.used_files import images_digest
from calib.user_model import load_classes

SCHEMA = 2
HERE = Path(__file__).parent
ROOT = Path(__file__).resolve().parents[4]
ENVIRONMENTS = Path("build").absolute() / "compare"
TOOLS = {"onnxruntime": "ONNX Runtime", "torchao": "torchao PT2E", "aimet": "AIMET", "brevitas": "Brevitas"}
METHODS = {
    AUTO: "auto",
    "max": "plain maximum",
    FAN2019: "published rule",
    ONLINE: "online block floating point (emulated)",
    DSCONV: "DSConv, blocks of 32 (emulated)",
}
CLOSE = 1e-3  # of the largest output, by which a tool's float network may differ
Pairs = list[tuple[int, int]]


@dataclass(frozen=True)
class Asked:
    """What is compared. limit: evaluation images, evenly spread, None for all. sensitive: below 8 bits ``auto`` has a row
    more, with that width for sensitive layers (see network-files.md); 0 for none."""

    widths: Pairs
    limit: int | None = None
    sensitive: int = 0
    tools: tuple[str, ...] = tuple(TOOLS)
    methods: tuple[str, ...] = tuple(METHODS)


def compare(path: Path, folder: Path, asked: Asked, workers: int | None = None) -> dict:
    """Measure everything; write compare.json and compare.md to ``folder``, and return the former's content.

    What is done is kept there. Raises BfpError for bad input, and for a tool whose float network is another one.
    """
    config = load_config(path)
    prepared = pipeline.prepare(config, adapted=False)
    graph = prepared.network.graph
    if len(graph.outputs) > 1 or len(graph.inputs) > 1:
        raise BfpError(f"{path}: tools are compared on networks of one input and one output; this one has more")
    images = evaluation_images(prepared, asked.limit, apart=True)
    reference = float_outputs(prepared, images)
    rows, refused = own_rows(config, folder, asked, workers)
    key = hashlib.sha256(
        " ".join([weights_digest(prepared.network), images_digest(images), images_digest(prepared.calibration)]).encode()
    ).hexdigest()[:16]
    given = folder / key / "given"
    if asked.tools:
        write_given(prepared, images, asked.widths, given)
    for tool in asked.tools:
        try:
            rows += tool_rows(tool, given, Counted(prepared, images, reference))
        except ToolMissing as error:
            refused[TOOLS[tool]] = str(error)
    for name in ("calibration.npy", "evaluation.npy", "module.pt"):
        (given / name).unlink(missing_ok=True)
    content = {
        "schema": SCHEMA, "network": config.name, "images": len(images), "calibration_images": len(prepared.calibration),
        "weights": prepared.weights, "torch": torch.__version__, "rows": rows, "refused": refused,
    }  # fmt: skip
    write_json(folder / "compare.json", content)
    write_text(folder / "compare.md", markdown(content))
    return content


# -- this project ---------------------------------------------------------------------------


def own_rows(config: NetworkConfig, folder: Path, asked: Asked, workers: int | None) -> tuple[list[dict], dict[str, str]]:
    """This project's rows, and what failed."""
    points = []
    for method in asked.methods:
        for pair in asked.widths:
            points.append(own_point(config, method, pair, asked.limit, METHODS[method]))
            if method == AUTO and asked.sensitive and min(pair) < 8:
                curve = f"{METHODS[method]}, sensitive layers at {asked.sensitive} bits"
                points.append(own_point(config, method, pair, asked.limit, curve, sensitive=asked.sensitive))
    results, refused = run_points(points, folder / "points", "comparison", None, workers)
    rows = [
        {
            "tool": "this project", "version": "", "settings": p.curve, "weights": p.widths[0], "activations": p.widths[1],
            **shown(r), "modelled": r["modelled"],
        }
        for p, r in zip(points, results) if r is not None
    ]  # fmt: skip
    return rows, refused


def own_point(config: NetworkConfig, method: str, pair: tuple[int, int], limit: int | None, curve: str, **more: int) -> Point:
    """A row of this project, its engine modelled on the file's board; more: options of ``[bfp]``."""
    options = {"method": method, "weights": pair[0], "activations": pair[1], **more}
    varied = (method, pair, (0, 0), {"bfp": options}, limit)
    name = f"{curve}, {width_label(pair)} bits"
    return Point(name, str(config.path), curve, *varied, apart=True, target=target_of(config.board, None))


def shown(figures: dict) -> dict:
    """What a row says of an evaluation's figures."""
    return {k: figures[k] for k in ("images", "top1_float", "top1_bfp", "loss_interval", "agreement", "agreement_interval", "sqnr_db")}


def float_outputs(prepared: Prepared, images: ImageSet) -> np.ndarray:
    """The float network's outputs of all images, float64 [N, values]."""
    network = prepared.network
    batches = images.batches(batch_size(network))
    return np.concatenate([float_model.logits(network, torch.from_numpy(b)).double().numpy() for b in batches])


# -- other tools ----------------------------------------------------------------------------


class ToolMissing(BfpError):
    """A tool cannot be had here, or does not run."""


@dataclass(frozen=True)
class Counted:
    """What outputs are counted against: the float network's of the same images."""

    prepared: Prepared
    images: ImageSet
    reference: np.ndarray

    def figures(self, outputs: np.ndarray) -> dict:
        """Of a tool's outputs [N, values]."""
        tallies = OutputTallies.of(self.prepared.network.graph, informed(self.prepared.state.judge, self.images))
        for start in range(0, len(outputs), exchange.BATCH):
            part = slice(start, start + exchange.BATCH)
            tallies.add(self.reference[part], outputs[part].astype(np.float64))
        return shown(tallies.figures())


def write_given(prepared: Prepared, images: ImageSet, widths: Pairs, folder: Path) -> None:
    """Write module and images for the tools. What they compute from it in float is compared later, see ``check_float``."""
    config = prepared.config
    module, _ = pipeline.build(config, prepared.calibration, load_classes(config), [], twice=False)
    calibration, evaluation = (np.concatenate(list(found.batches(exchange.BATCH))) for found in (prepared.calibration, images))
    given = exchange.Given(with_plain_convolutions(module.eval()), calibration, evaluation, tuple(widths))
    exchange.write(folder, given, str(config.path.parent.resolve()))


def tool_rows(tool: str, given: Path, counted: Counted) -> list[dict]:
    """A tool's rows. Raises ToolMissing where it cannot be had, BfpError where its float network is another one."""
    out = given.parent / tool
    try:
        python = environment(ENVIRONMENTS / tool, HERE / "requirements" / f"{tool}.txt")
    except BfpError as error:
        raise ToolMissing(str(error)) from None
    log = given.parent / f"{tool}.log"
    with open(log, "w", encoding="utf-8") as file:
        program = [str(python), str(HERE / f"side_{tool}.py"), str(given), str(out)]
        code = subprocess.run(program, stdout=file, stderr=file, env={**os.environ, "PYTHONPATH": str(ROOT)}).returncode
    if code or not (out / exchange.ROWS).is_file():
        last = (log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["no message"])[-1]
        raise ToolMissing(f"its program stopped with status {code}: {last[:200]}; all of it is in {log}")
    content = json.loads((out / exchange.ROWS).read_text(encoding="utf-8"))
    rows = []
    for row in content["rows"]:
        entry = {"tool": TOOLS[tool], "version": content["version"], **{k: row[k] for k in ("settings", "weights", "activations")}}
        if "error" in row:
            rows.append({**entry, "error": row["error"]})
            continue
        outputs = np.load(out / f"{row['name']}.npy")
        if row["name"] == exchange.FLOAT:
            check_float(TOOLS[tool], outputs, counted.reference)
        else:
            rows.append({**entry, **counted.figures(outputs)})
    return rows


def check_float(tool: str, outputs: np.ndarray, reference: np.ndarray) -> None:
    """Raise BfpError unless a tool has started from the same float network."""
    if outputs.shape != reference.shape or np.abs(outputs - reference).max() > CLOSE * np.abs(reference).max():
        raise BfpError(f"{tool} computes another float network before it quantises; report this, since no figure would be fair")


# -- what people read -----------------------------------------------------------------------


def markdown(content: dict) -> str:
    """A row for each tool and its settings, a column for each pair of widths: see ``cell``."""
    rows = content["rows"]
    pairs = sorted({(r["weights"], r["activations"]) for r in rows}, key=lambda p: (p[0] != p[1], [-n for n in p]))
    lines = ["| tool | " + " | ".join(f"{width_label(p)} bits" for p in pairs) + " |", "|---|" + "---|" * len(pairs)]
    for tool, version, settings in dict.fromkeys((r["tool"], r["version"], r["settings"]) for r in rows):
        found = {(r["weights"], r["activations"]): r for r in rows if (r["tool"], r["settings"]) == (tool, settings)}
        name = settings if not version else f"{tool} {version}, {settings}"
        lines.append(f"| {name} | " + " | ".join(cell(found.get(p)) for p in pairs) + " |")
    failed = {f"{r['tool']}, {r['settings']}": r["error"] for r in rows if "error" in r}
    lines += ["", *(f"- {name}: {reason}" for name, reason in {**content["refused"], **failed}.items())]
    return "\n".join(lines).rstrip() + "\n"


def cell(row: dict | None) -> str:
    """Loss in points, agreement, both with intervals of 95 %, signal to noise, and modelled frames a second where there is an
    artifact; or that there is nothing."""
    if row is None:
        return "-"
    if "error" in row:
        return "failed"
    parts = []
    if row["top1_float"] is not None:
        interval = "" if row["loss_interval"] is None else f" ± {100 * row['loss_interval']:.2f}"
        parts.append(f"{100 * (row['top1_float'] - row['top1_bfp']):+.2f}{interval}")
    if row["agreement"] is not None:
        parts.append(f"{100 * row['agreement']:.1f} %{interval_text(row['agreement_interval'], 1)}")
    parts.append("none lost" if row["sqnr_db"] is None else f"{row['sqnr_db']:.1f} dB")
    modelled = row.get("modelled")
    if modelled is not None:
        frames = modelled.get("frames_per_second")
        parts.append("does not fit" if frames is None else f"{frames['likely']:,.0f} frames/s")
    return ", ".join(parts)


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status, 2 after one line on stderr about bad input."""
    from calib.__main__ import pairs

    parser = argparse.ArgumentParser(prog="python -m calib.evaluation.benchmark.tools.comparison", description=__doc__)
    parser.add_argument("network", help="a network's .toml file, or the name of a shipped network")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--widths", type=pairs, default="8,8 6,6 5,5 4,8 4,4", help="weights,activations: '8,8 5,5'")
    parser.add_argument("--limit", type=int, help="evaluate on LIMIT images, evenly spread (default: all)")
    parser.add_argument(
        "--sensitive", type=int, default=8, help="least width of sensitive layers in another row of auto, below 8 bits; 0: no such row"
    )
    parser.add_argument("--tools", default=",".join(TOOLS), help="names with commas between (default: all)")
    parser.add_argument("--methods", default=",".join(METHODS), help="this project's, with commas between (default: all)")
    parser.add_argument("--workers", type=int, help="processes for this project's rows (default: one a core)")
    arguments = parser.parse_args(argv)
    try:
        check_folder(arguments.out, "--out")
        chosen = {}
        for option, known in (("tools", TOOLS), ("methods", METHODS)):
            chosen[option] = tuple(filter(None, getattr(arguments, option).split(",")))
            for name in chosen[option]:
                if name not in known:
                    raise BfpError(f"--{option} {name} is not known; known are {', '.join(known)}")
        asked = Asked(arguments.widths, arguments.limit, arguments.sensitive, **chosen)
        content = compare(find_network(arguments.network), arguments.out, asked, arguments.workers)
    except (BfpError, OSError, MemoryError) as error:
        print(f"error: {printable(sentence(error))}", file=sys.stderr)
        return 2
    print(markdown(content))
    print(f"{content['network']}: {content['images']} images; wrote {arguments.out / 'compare.md'} and compare.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
