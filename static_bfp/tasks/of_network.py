"""The tasks of one network, from its calibration to its pictures: each a function of its name and its file.

Results are below build/NAME/. Every function's docstring is what ``list`` says of the task.
"""

from __future__ import annotations

from pathlib import Path

from doit import get_var
from doit.tools import config_changed

from bfp.deployment import SAMPLES
from calib.config import NetworkConfig
from calib.options import REFERENCES
from calib.used_files import (
    class_files, image_files, metric_files, module_files, pictures_digest, record_holds, weight_files,
)  # fmt: skip
from calib.together import is_together
from codegen.networks import NETWORKS
from codegen.render import BENCH_HEADERS, KERNEL_HEADERS
from static_bfp.tasks.choice import configuration, engine_words, named_board, references, together
from static_bfp.tasks.place import BFP, BUILD, CALIB, CODEGEN, EVALUATION, EVALUATION_ROOM, HLS, HOST, REPORT
from static_bfp.tasks.place import command, flag, given

CLUSTER = ("scheduler", "workers")  # options that say where an evaluation and the points of a sweep are computed


def sources(config: NetworkConfig) -> list[str]:
    """The files that are known to decide what a network's file gives, before it has been built."""
    files = weight_files(config) + module_files(config) + class_files(config)
    # evaluation images, too: the first of them become the sample images
    return files + image_files(config.calibration, config.evaluation)


def same_pictures(task, values: dict, path: Path) -> bool:
    """Whether the image folders and lists of a network's file hold what they held when the task was last done."""
    found = pictures_digest(configuration(path))
    task.value_savers.append(lambda: {"pictures": found})
    return values.get("pictures") == found


def same_files(task, values: dict, record: Path) -> bool:
    """Whether all that was read to build a network is as it was; it is written down when that is done."""
    return record_holds(record)


def calibrate(name: str, path: Path) -> dict:
    """import the network, choose its exponents, write the artifact"""
    config, record = configuration(path), BUILD / name / "calibrate.files.json"
    return {
        "actions": [command("calib", "calibrate", path, "--out", BUILD / name)],
        "file_dep": [str(path), *sources(config), *CALIB, *BFP],
        "targets": [str(BUILD / name / "artifact.npz"), str(BUILD / name / "samples.npz"), str(record)],
        "uptodate": [config_changed({"weights": config.weights}), (same_pictures, [path]), (same_files, [record])],
    }


def collect(name: str, path: Path) -> dict:
    """put several networks together, for one bitstream"""
    folders = [BUILD / network for network in together(path).networks]
    made = [str(file) for files in references(BUILD / name, path) for file in files]
    return {
        "actions": [command("codegen", "collect", BUILD / name, *folders, "--name", name)],
        "file_dep": [str(path), *(str(folder / file) for folder in folders for file in SAMPLES), *CODEGEN, *BFP],
        "targets": [*made, str(BUILD / name / NETWORKS)],
    }


def artifacts(folder: Path, path: Path) -> list[str]:
    """What is generated from: the artifact, or those of several networks together."""
    return [str(artifact) for artifact, _ in references(folder, path)]


def evaluate(name: str, path: Path) -> dict:
    """compare float and bit-exact accuracy over the evaluation images; scheduler=tcp://HOST:PORT, workers=N"""
    config, record = configuration(path), BUILD / name / "evaluate.files.json"
    if config.bfp.method in REFERENCES:  # a reference without an artifact
        files, current = sources(config), [(same_files, [record])]
    else:
        files = [*image_files(config.calibration, config.evaluation), str(BUILD / name / "artifact.npz")]
        # what is judged by changes no artifact
        files += metric_files(config)
        current = [(same_files, [record])]
    words = ("--device", get_var("device", "auto"), *given(*CLUSTER))  # where it is computed changes no figure
    return {
        "actions": [command("calib", "evaluate", path, "--out", BUILD / name, *words)],
        "file_dep": [str(path), *files, *CALIB, *EVALUATION, *BFP],
        "targets": [str(BUILD / name / "evaluation.json")],
        "uptodate": [(same_pictures, [path]), *current],
    }


def codegen(name: str, path: Path) -> dict:
    """write HLS sources, weight image and deployment manifest for a board; board=NAME keep_bitstream=1"""
    folder, keep = BUILD / name, ["--keep-bitstream"] if flag("keep_bitstream") else []
    generated = [folder / "generated" / header for header in (*KERNEL_HEADERS, *BENCH_HEADERS)]
    return {
        "actions": [command("codegen", "generate", folder, *keep, *engine_words(path))],
        "file_dep": [str(path), *artifacts(folder, path), *CODEGEN, *HLS, *BFP],
        "targets": [*map(str, generated), str(folder / "deploy" / "manifest.json")],
        "uptodate": [config_changed(" ".join([*keep, *engine_words(path)]))],
    }


def estimate(name: str, path: Path) -> dict:
    """modelled cycles, frames per second and resources on the board; board=NAME"""
    folder = BUILD / name
    return {
        "actions": [command("codegen", "estimate", folder, *engine_words(path))],
        "file_dep": [str(path), *artifacts(folder, path), *CODEGEN, *BFP],
        "targets": [str(folder / "estimate.json"), str(folder / "roofline.svg")],
        "uptodate": [config_changed(" ".join(engine_words(path)))],
    }


def explore(name: str, path: Path) -> dict:
    """the engines that fit the board, modelled: Pareto fronts and the best as an [engine] section; board=NAME"""
    folder = BUILD / name
    return {
        "actions": [command("codegen.performance.explore", folder, *engine_words(path))],
        "file_dep": [str(path), str(folder / "artifact.npz"), *CODEGEN, *BFP],
        "targets": [str(folder / "explore.json"), str(folder / "explore.svg")],
        "uptodate": [config_changed(" ".join(engine_words(path)))],
    }


def csim(name: str, path: Path) -> dict:
    """C simulation against the golden model, every stored tensor; board=NAME"""
    folder = BUILD / name
    return {
        "actions": [command("codegen", "csim", folder, *engine_words(path))],
        "task_dep": [f"codegen:{name}"],
        "file_dep": [*(str(file) for files in references(folder, path) for file in files), *CODEGEN, *HLS, *BFP],
        "targets": [str(folder / "csim.json")],
        "uptodate": [config_changed(" ".join(engine_words(path)))],
    }


def simulate_board(name: str, path: Path) -> dict:
    """the board's driver on a simulated board, every stored tensor"""
    folder = BUILD / name
    found, samples = zip(*references(folder, path))
    shown = 5 if not is_together(path) and configuration(path).classes else 0
    return {
        "actions": [
            command(
                *("host", "check", folder / "deploy", "--simulate", folder / "csim" / "libengine.so"),
                *("--artifact", *found, "--samples", *samples, "--out", folder / "board.json", "--show", shown),
            )
        ],
        "task_dep": [f"csim:{name}"],
        "file_dep": [str(folder / "csim.json"), *HOST, *BFP],
        "targets": [str(folder / "board.json")],
    }


def baselines(name: str, path: Path) -> dict:
    """the published rule and the plain maximum, measured on the same images"""
    config, record = configuration(path), BUILD / name / "baselines.files.json"
    own = [*CALIB, *EVALUATION, str(EVALUATION_ROOM / "report" / "baselines.py")]
    return {
        "actions": [command("calib", "baselines", path, "--out", BUILD / name)],
        "file_dep": [str(path), *sources(config), *own, *BFP],
        "targets": [str(BUILD / name / "baselines.json"), str(record)],
        "uptodate": [config_changed({"weights": config.weights}), (same_pictures, [path]), (same_files, [record])],
    }


def report(name: str, path: Path) -> dict:
    """one page about a network: accuracy, layers, simulations"""
    folder = BUILD / name
    results = ("artifact.npz", "samples.npz", "evaluation.json", "baselines.json", "csim.json", "board.json")
    return {
        "actions": [command("calib", "report", path, "--out", folder)],
        "file_dep": [str(folder / f) for f in results] + REPORT,
        "targets": [str(folder / "report.html"), str(folder / "layers.json")],
    }


def sweep(name: str, path: Path) -> dict:
    """accuracy against mantissa width and modelled speed, for groups and methods; board=NAME, scheduler=tcp://HOST:PORT, workers=N"""
    board = named_board()
    words = [*given("clock", *CLUSTER), *(("--board", board) if board else ())]
    return {
        # points that are done are kept by the command itself
        "actions": [command("calib", "sweep", path, "--out", BUILD / name / "sweep", *words)],
        "uptodate": [False],
    }


def ablation(name: str, path: Path) -> dict:
    """what each part of the calibration buys; widths="8,8 5,5", sensitive=8, limit=N, workers=N"""
    words = given("widths", "sensitive", "limit", *CLUSTER)
    return {
        "actions": [command("calib", "ablation", path, "--out", BUILD / name / "ablation", *words)],
        "uptodate": [False],
    }


def compare(name: str, path: Path) -> dict:
    """other tools on the same network and images, in environments of their own; widths="8,8 5,5", limit=N, tools=A,B"""
    words = given("widths", "sensitive", "limit", "tools", "workers")
    program = "calib.evaluation.benchmark.tools.comparison"
    return {
        # what is done is kept by the command itself
        "actions": [command(program, path, "--out", BUILD / name / "compare", *words)],
        "uptodate": [False],
    }


def tensorboard(name: str, path: Path) -> dict:
    """TensorBoard event files of weights and activations, float and quantised"""
    folder = BUILD / name
    return {
        "actions": [command("calib", "tensorboard", path, "--out", folder, *given("limit"))],
        "file_dep": [str(folder / "artifact.npz")],
        "uptodate": [False],
    }
