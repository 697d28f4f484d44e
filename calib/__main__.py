"""``python -m calib calibrate|evaluate|baselines|report|tensorboard|sweep|ablation NETWORK --out FOLDER``.

``python -m calib reproduce-table --images PATH`` is of no single network.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bfp.errors import BfpError, sentence
from bfp.files import check_folder
from bfp.names import printable, shown
from calib.config import NetworkConfig, find_network, load_config
from calib.options import REFERENCES


def parser() -> argparse.ArgumentParser:
    """The command line; NETWORK is a TOML file or the name of a shipped one."""
    top = argparse.ArgumentParser(prog="python -m calib", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    for name, text in (
        ("calibrate", "import a network, choose its exponents, write artifact.npz and samples.npz"),
        ("evaluate", "compare the artifact with the float network, here or on a Dask cluster, write evaluation.json"),
        ("baselines", "measure the published rule and the plain maximum on the same images, write baselines.json"),
        ("report", "measure every layer on the kept samples, write report.html and layers.json"),
        ("tensorboard", "write event files of the distributions of weights and activations, float and quantised"),
        ("sweep", "measure widths, groups and methods on a Dask cluster, write sweep.json, sweep.csv and sweep.html"),
        ("ablation", "measure what each part of the calibration buys, write ablation.json and ablation.md"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("network", help="a network's .toml file, or the name of a shipped network")
        command.add_argument("--out", type=Path, help="folder of the results (default: build/NAME)")
    for name in ("evaluate", "baselines"):
        commands.choices[name].add_argument("--limit", type=int, help="evaluate on the first LIMIT images only")
    commands.choices["evaluate"].add_argument(
        "--device", default="auto", help="where torch computes: auto (a GPU where there is one), cpu, cuda"
    )
    events = commands.choices["tensorboard"]
    events.add_argument("--limit", type=int, default=64, help="calibration images (default: 64)")
    text = "measure the published table again, write table.md and table.json"
    table = commands.add_parser("reproduce-table", help=text, description=text)
    table.add_argument("--images", required=True, help="the labelled images: ImageFolder, CSV, or groundtruth.txt")
    table.add_argument("--out", type=Path, default=Path("build") / "reproduce-table", help="folder of the results")
    table.add_argument("--limit", type=int, help="evaluate on LIMIT images, evenly spread (default: all)")
    table.add_argument("--weights", help="'random', or a folder with NAME.pth for each network (default: download)")
    table.add_argument("--networks", help="names with commas between (default: those published)")
    table.add_argument("--calibration", help="other images to calibrate on")
    steps = commands.choices["ablation"]
    steps.add_argument("--widths", type=pairs, default="8,8 6,6 5,5 4,8", help="weights,activations: '8,8 5,5'")
    steps.add_argument("--sensitive", type=int, default=0, help="least width of sensitive layers, below 8 bits")
    steps.add_argument("--limit", type=int, help="evaluate on LIMIT images, evenly spread (default: all)")
    modelled = commands.choices["sweep"]
    modelled.add_argument("--board", help="that engines are modelled on (default: the file's)")
    modelled.add_argument("--clock", metavar="MHZ", help="of these engines (default: the board's)")
    for name in ("evaluate", "sweep", "ablation", "reproduce-table"):
        cluster_arguments(commands.choices[name])
    return top


def pairs(text: str) -> list[tuple[int, int]]:
    """Widths of weights and activations: ``"8,8 5,5"``."""
    try:
        found = [tuple(int(bits) for bits in pair.split(",")) for pair in text.split()]
    except ValueError:
        found = []
    if not found or any(len(pair) != 2 for pair in found):
        raise argparse.ArgumentTypeError(f"{text!r} is not pairs of widths such as '8,8 5,5'")
    return found


def cluster_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("--scheduler", help="address of a Dask scheduler, tcp://HOST:PORT (default: this machine)")
    command.add_argument("--workers", type=int, help="processes on this machine (default: one a core)")


def decibels(value: float | None) -> str:
    return "none lost" if value is None else f"{value:.1f} dB"


def figures(result: dict) -> str:
    """An evaluation in one line: against the ground truth, against the float network by the task's own figure, and the noise."""
    from calib.evaluation.shown import DECIBELS, SHARE, SIDES, TARGETS, figure_text, interval_text, own_text, title_of, truth_of

    truth = truth_of(result)
    if truth is None and result["task"] == "classification":
        truth = "top-1", None, None
    said = [f"{result['images']} images" + ("" if result["task"] == "classification" else f", {result['task']}")]
    if truth is not None:
        said += [f"{truth[0]} float {figure_text(truth[1], SHARE)}", f"BFP {figure_text(truth[2], SHARE)}"]
    if truth is not None and result["loss_interval"] is not None:
        said.append(f"loss {100 * (truth[1] - truth[2]):+.2f} ± {100 * result['loss_interval']:.2f} points")
    if TARGETS + SIDES[0] in result:
        near = [figure_text(result[TARGETS + side], DECIBELS) for side in SIDES]
        said += [f"PSNR to the targets float {near[0]}", f"BFP {near[1]}"]
    if result["agreement"] is not None:
        said.append(f"agreement {figure_text(result['agreement'], SHARE)}{interval_text(result['agreement_interval'])}")
    if result["metric"] != "agreement":
        said.append(f"{title_of(result['metric'])} {own_text(result)}")
    return ", ".join([*said, f"SQNR {decibels(result['sqnr_db'])}"])


def run(arguments: argparse.Namespace) -> None:
    """Do what the command line asks for. Raises BfpError."""
    for option in ("limit", "workers"):
        value = getattr(arguments, option, None)
        if value is not None and value < 1:
            raise BfpError(f"--{option} {value} leaves nothing to do; give at least 1")
    if arguments.command == "reproduce-table":
        check_folder(arguments.out, "--out")
        reproduce(arguments)
        return
    config = load_config(find_network(arguments.network))
    folder = arguments.out or Path("build") / config.name
    check_folder(folder, "--out")
    COMMANDS[arguments.command](config, folder, arguments)


# Each command imports what it needs when it runs: torch is slow, and by then the network's file has been checked.


def calibrate(config: NetworkConfig, folder: Path, arguments: argparse.Namespace) -> None:
    """Choose the exponents and write the artifact; one line that says how."""
    from calib import pipeline

    artifact = pipeline.calibrate(config, folder)
    changed, ranges = artifact.provenance["adjustments"], artifact.provenance["ranges"]
    count = artifact.provenance["calibration_images"]
    for line in judged(ranges, artifact.provenance.get("held_out", 0)):
        print(f"{config.name}: {line}")
    print(
        f"{config.name}: {len(artifact.graph.nodes)} layers, method {config.bfp.method}, weights "
        f"{artifact.provenance['weights']}, {count} image{'s' * (count != 1)}; weights of "
        f"{len(changed['weights'])} layers and {len(changed['activations'])} tensors made coarser by limits; "
        f"wrote {folder / 'artifact.npz'}"
    )


def judged(ranges: dict, held_out: int) -> list[str]:
    """What images held out say, in lines; ranges, held_out: as an artifact's provenance has them."""
    said = []
    if "saturating" in ranges:
        said.append(
            f"the ranges of values were chosen from {ranges['photographs']} images, which give every channel "
            f"{ranges['samples']} values or more; {100 * ranges['saturating']:.2g} % of the values of images held out from "
            "that choice saturate"
        )
    if "output_db" in ranges:
        said.append(
            f"expect about {ranges['output_db']:.1f} dB of signal to noise at the output, as on {held_out} images held out "
            "of the rounding of weights, whose values the ranges saw; others may come out a few dB worse"
        )
    return said


def evaluate(config: NetworkConfig, folder: Path, arguments: argparse.Namespace) -> None:
    """Compare the artifact, or the online reference, with the float network; one line of figures."""
    from bfp import artifact_file
    from calib import pipeline

    spread = arguments.scheduler is not None or arguments.workers is not None
    if config.bfp.method in REFERENCES:
        from calib.evaluation.baselines import online

        if spread:
            raise BfpError(f"{config.path}: the {config.bfp.method} reference is evaluated in one process; leave out scheduler and workers")
        result = online.evaluate(pipeline.prepare(config), folder, arguments.limit)
    else:
        from calib.evaluation import evaluate
        from calib.evaluation.spread import Workers, device_kind
        from calib.evaluation.spread import evaluate as evaluate_spread

        workers = Workers(arguments.scheduler, arguments.workers)
        device_kind(arguments.device, workers)
        artifact = artifact_file.load(folder / "artifact.npz")
        prepared = pipeline.prepare(config, adapted=False)
        words = (arguments.limit, arguments.device)
        if spread:
            result = evaluate_spread(prepared, artifact, folder, workers, *words)
        else:
            result = evaluate.evaluate(prepared, artifact, folder, *words)
    for note in result["notes"]:
        print(f"{config.name}: note: {note}", file=sys.stderr)
    print(f"{config.name}: {figures(result)}")
    for name, one in result.get("outputs", {}).items():
        print(f"{config.name}, output {name}: {one['metric']} {one['figure']:.4g}, SQNR {decibels(one['sqnr_db'])}")


def baselines(config: NetworkConfig, folder: Path, arguments: argparse.Namespace) -> None:
    """Measure the methods that ours is compared with; one line of figures each."""
    from calib.evaluation.report.baselines import measure_baselines

    for method, r in measure_baselines(config, folder, arguments.limit)["baselines"].items():
        print(f"{config.name}, baseline {method}: {r['error'] if 'error' in r else figures(r)}")


def report(config: NetworkConfig, folder: Path, arguments: argparse.Namespace) -> None:
    """Measure every layer and write the report."""
    from calib import pipeline
    from calib.evaluation.report import write_report

    content = write_report(pipeline.prepare(config), folder)
    print(f"{config.name}: {len(content['layers'])} layers on {content['images']} images; wrote {folder / 'report.html'}")


def tensorboard(config: NetworkConfig, folder: Path, arguments: argparse.Namespace) -> None:
    """Write event files of all distributions."""
    from bfp import artifact_file
    from calib import pipeline
    from calib.evaluation.event_files import write_event_files

    artifact, events = artifact_file.load(folder / "artifact.npz"), folder / "tensorboard"
    wrote = write_event_files(pipeline.prepare(config), artifact, events, arguments.limit)
    print(f"{config.name}: {wrote['histograms']} histograms, {wrote['images']} images; wrote {events}")


def sweep(config: NetworkConfig, folder: Path, arguments: argparse.Namespace) -> None:
    """Measure widths, groups and methods, and write the charts."""
    from calib.evaluation.sweep.results import sweep

    where = (arguments.scheduler, arguments.workers, arguments.board, arguments.clock)
    content = sweep(config.path, folder, *where)
    print(f"{config.name}: {len(content['points'])} points; wrote {folder / 'sweep.html'}, .json and .csv")


def ablation(config: NetworkConfig, folder: Path, arguments: argparse.Namespace) -> None:
    """Measure what each part of the calibration buys, and print the table."""
    from calib.evaluation.sweep.ablation import ablation, markdown

    limits = (arguments.sensitive, arguments.limit, arguments.scheduler, arguments.workers)
    print(markdown(ablation(config.path, folder, arguments.widths, *limits)))
    print(f"{config.name}: wrote {folder / 'ablation.md'} and ablation.json")


COMMANDS = {
    "calibrate": calibrate,
    "evaluate": evaluate,
    "baselines": baselines,
    "report": report,
    "tensorboard": tensorboard,
    "sweep": sweep,
    "ablation": ablation,
}


def reproduce(arguments: argparse.Namespace) -> None:
    from calib.evaluation.sweep.reproduce import NETWORKS, markdown, reproduce_table
    from calib.evaluation.sweep.results import complain

    networks = tuple(arguments.networks.split(",")) if arguments.networks else NETWORKS
    folder, words = arguments.out, (arguments.calibration, arguments.scheduler, arguments.workers)
    content, failures = reproduce_table(arguments.images, folder, arguments.limit, arguments.weights, networks, *words)
    print(markdown(content))
    print(f"wrote {folder / 'table.md'} and table.json")
    complain("table", failures)


def complain(words: str) -> int:
    """Say what is wrong; returns the exit status."""
    print(f"error: {printable(words)}", file=sys.stderr)
    return 2


def main(argv: list[str] | None = None) -> int:
    """Exit status 0, 2 after one line on stderr about bad input, or 130 when interrupted."""
    arguments = parser().parse_args(argv)
    try:
        run(arguments)
    except (BfpError, OSError, MemoryError) as error:
        return complain(sentence(error))
    except SystemExit as error:  # of the network's own code, wherever it is called
        return complain(f"the network's own code ends the program (exit status {shown(error.code)}); take that out of it")
    except KeyboardInterrupt:
        kept = "; started again, it goes on with the next batch" if arguments.command == "evaluate" else ""
        print(f"\ninterrupted{kept}", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
