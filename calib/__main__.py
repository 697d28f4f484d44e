"""``python -m calib calibrate|evaluate|baselines|report|sweep NETWORK --out FOLDER``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bfp.errors import BfpError
from calib.config import ONLINE, find_network, load_config


def parser() -> argparse.ArgumentParser:
    """The command line; NETWORK is a TOML file or the name of a shipped one."""
    top = argparse.ArgumentParser(prog="python -m calib", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    for name, text in (
        ("calibrate", "import a network, choose its exponents, write artifact.npz and samples.npz"),
        ("evaluate", "compare the artifact with the float network, write evaluation.json"),
        ("baselines", "measure the published rule and the plain maximum on the same images, write baselines.json"),
        ("report", "measure every layer on the kept samples, write report.html and layers.json"),
        ("sweep", "measure widths, groups and methods on a Dask cluster, write sweep.json, sweep.csv and sweep.html"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("network", help="a network's .toml file, or the name of a shipped network")
        command.add_argument("--out", type=Path, help="folder of the results (default: build/NAME)")
    for name in ("evaluate", "baselines"):
        commands.choices[name].add_argument("--limit", type=int, help="evaluate on the first LIMIT images only")
    commands.choices["evaluate"].add_argument(
        "--device", default="auto", help="where torch computes: auto (a GPU where there is one), cpu, cuda"
    )
    cluster_arguments(commands.choices["sweep"])
    return top


def cluster_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("--scheduler", help="address of a Dask scheduler, tcp://HOST:PORT (default: this machine)")
    command.add_argument("--workers", type=int, help="processes on this machine (default: one a core)")


def percent(value: float | None) -> str:
    return "unknown" if value is None else f"{100 * value:.2f} %"


def figures(result: dict) -> str:
    """An evaluation in one line."""
    sqnr = "none lost" if result["sqnr_db"] is None else f"{result['sqnr_db']:.1f} dB"
    return (
        f"{result['images']} images, top-1 float {percent(result['top1_float'])}, "
        f"BFP {percent(result['top1_bfp'])}, agreement {percent(result['agreement'])}, SQNR {sqnr}"
    )


def run(arguments: argparse.Namespace) -> None:
    # torch is slow to import: not before the file has been checked
    path = find_network(arguments.network)
    config = load_config(path)
    folder = arguments.out or Path("build") / config.name
    if arguments.command == "sweep":
        from calib.sweep.results import sweep

        if arguments.workers is not None and arguments.workers < 1:
            raise BfpError(f"--workers {arguments.workers} leaves nobody to work; give at least 1")
        content = sweep(path, folder, arguments.scheduler, arguments.workers)
        print(f"{config.name}: {len(content['points'])} points; wrote {folder / 'sweep.html'}, sweep.json and sweep.csv")
        return
    from bfp import artifact as artifacts
    from calib import evaluate, pipeline

    if arguments.command == "calibrate":
        artifact = pipeline.calibrate(config, folder)
        changed = artifact.provenance["adjustments"]
        print(
            f"{config.name}: {len(artifact.graph.nodes)} layers, method {config.bfp.method}, weights "
            f"{artifact.provenance['weights']}, {artifact.provenance['calibration_images']} images; weights of "
            f"{len(changed['weights'])} layers and {len(changed['activations'])} tensors made coarser by limits; "
            f"wrote {folder / 'artifact.npz'}"
        )
        return
    if arguments.command == "report":
        from calib.report import write_report

        content = write_report(pipeline.prepare(config), folder)
        print(f"{config.name}: {len(content['layers'])} layers on {content['images']} images; wrote {folder / 'report.html'}")
        return
    if arguments.limit is not None and arguments.limit < 1:
        raise BfpError(f"--limit {arguments.limit} leaves no image; give at least 1")
    if arguments.command == "baselines":
        from calib.report.baselines import measure_baselines

        for method, r in measure_baselines(config, folder, arguments.limit)["baselines"].items():
            print(f"{config.name}, baseline {method}: {r['error'] if 'error' in r else figures(r)}")
        return
    if config.bfp.method == ONLINE:
        from calib import online

        result = online.evaluate(pipeline.prepare(config), folder, arguments.limit)
    else:
        artifact = artifacts.load(folder / "artifact.npz")
        result = evaluate.evaluate(pipeline.prepare(config), artifact, folder, arguments.limit, arguments.device)
    for note in result["notes"]:
        print(f"{config.name}: note: {note}", file=sys.stderr)
    print(f"{config.name}: {figures(result)}")


def main(argv: list[str] | None = None) -> int:
    """Exit status 0, or 2 after one line on stderr about bad input."""
    arguments = parser().parse_args(argv)
    try:
        run(arguments)
    except BfpError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
