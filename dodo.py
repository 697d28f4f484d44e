"""The project's tasks. `doit list` shows them; `doit TASK:NETWORK` or `doit TASK net=PATH` runs one network.

Shipped networks are calib/networks/*.toml; any other TOML file is named with
``net=``, relative to the folder doit was called from. Results are below
build/NAME/. ``device=cpu`` or ``device=cuda`` says where torch evaluates.
"""

import json
import os
import sys
from pathlib import Path

from doit import get_initial_workdir, get_var
from doit.tools import config_changed

from bfp import BfpError
from calib.config import SHIPPED, find_network, load_config
from calib.options import ONLINE
from calib.used_files import image_files, module_files, weight_files
from codegen.options import EngineOptions

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
ROOT = Path(__file__).parent
BUILD = ROOT / "build"
PYTHON = sys.executable
MAIN_JOB = "efficientnet_lite0"
# `doit csim` alone: every operator, and every family of networks, in about a minute
QUICK = ("efficientnet_lite0", "resnet20", "mobilenet_v2_small", "inceptionv4_small")
DOIT_CONFIG = {"default_tasks": ["csim"], "verbosity": 2, "action_string_formatting": "new"}

BFP = sorted(str(p) for p in (ROOT / "bfp").rglob("*.py"))
# what comes after the artifact does not change it; of that, reports, sweeps and benchmarks change no evaluation
EVALUATION_ROOM = ROOT / "calib" / "evaluation"
CALIB = sorted(str(p) for p in (ROOT / "calib").rglob("*.py") if EVALUATION_ROOM not in p.parents)
CALIB += [str(ROOT / "host" / "image.py")]
EVALUATION = sorted(str(p) for p in [*EVALUATION_ROOM.glob("*.py"), *(EVALUATION_ROOM / "baselines").glob("*.py")])
REPORT = sorted(str(p) for p in (EVALUATION_ROOM / "report").iterdir() if p.is_file())
CODEGEN = sorted(str(p) for p in (ROOT / "codegen").rglob("*") if p.suffix in (".py", ".j2", ".toml"))
HLS = sorted(str(p) for p in (ROOT / "hls").rglob("*") if p.suffix in (".cpp", ".hpp", ".h"))
HOST = sorted(str(p) for p in (ROOT / "host").glob("*.py"))


def network_file() -> Path | None:
    """The TOML file named by ``net=``, or None. Ends doit with one sentence where there is none."""
    named = get_var("net", None)
    if named is None:
        return None
    path = Path(get_initial_workdir(), named)
    try:
        return find_network(path if path.is_file() else named)
    except BfpError as error:
        sys.exit(f"error: {error}")


def networks() -> dict[str, Path]:
    """Shipped networks by name, and the one named by ``net=``."""
    found = {path.stem: path for path in sorted(SHIPPED.glob("*.toml"))}
    user = network_file()
    if user is not None:
        found[configuration(user).name] = user
    return found


def configuration(path: Path):
    """The checked file. Ends doit with one sentence, before any work, where it or its engine is wrong."""
    try:
        config = load_config(path)
    except BfpError as error:
        sys.exit(f"error: {error}")
    try:
        EngineOptions.from_dict(config.engine)
    except BfpError as error:
        sys.exit(f"error: {path}: {error}")
    return config


def per_network(task: str, make, default: tuple[str, ...] = ()):
    """One task ``task:NAME`` per network; ``task`` alone runs ``net=`` or, without it, the default ones."""
    found = networks()
    for name, path in found.items():
        yield {"basename": f"{task}:{name}", **make(name, path)}
    user = network_file()
    chosen = (configuration(user).name,) if user is not None else tuple(n for n in default if n in found)
    doc = make.__doc__.strip().splitlines()[0]
    if chosen:
        yield {"basename": task, "actions": None, "task_dep": [f"{task}:{n}" for n in chosen], "doc": doc}
    else:
        sentence = f"name a network: doit {task}:NAME or doit {task} net=PATH; shipped are {', '.join(found)}"
        yield {"basename": task, "actions": [(refuse, [sentence])], "doc": doc}


def refuse(sentence: str) -> bool:
    print(f"error: {sentence}", file=sys.stderr)
    return False


def command(*words: object) -> list[str]:
    return [PYTHON, "-m", *map(str, words)]


def engine_words(path: Path) -> list[str]:
    engine = configuration(path).engine
    return ["--engine", *(f"{k}={v}" for k, v in engine.items())] if engine else []


def calibrate(name: str, path: Path) -> dict:
    """import the network, choose its exponents, write the artifact"""
    config = configuration(path)
    # evaluation images, too: the first of them become the sample images
    files = weight_files(config) + module_files(config) + image_files(config.calibration, config.evaluation)
    return {
        "actions": [command("calib", "calibrate", path, "--out", BUILD / name)],
        "file_dep": [str(path), *files, *CALIB, *BFP],
        "targets": [str(BUILD / name / "artifact.npz"), str(BUILD / name / "samples.npz")],
        "uptodate": [config_changed({"weights": config.weights})],
    }


def evaluate(name: str, path: Path) -> dict:
    """compare float and bit-exact accuracy over the evaluation images"""
    config = configuration(path)
    files = image_files(config.calibration, config.evaluation)
    if config.bfp.method == ONLINE:  # a reference without an artifact
        files += weight_files(config) + module_files(config)
    else:
        files.append(str(BUILD / name / "artifact.npz"))
    return {
        "actions": [command("calib", "evaluate", path, "--out", BUILD / name, "--device", get_var("device", "auto"))],
        "file_dep": [str(path), *files, *CALIB, *EVALUATION, *BFP],
        "targets": [str(BUILD / name / "evaluation.json")],
    }


def codegen(name: str, path: Path) -> dict:
    """write HLS sources, weight image and deployment manifest"""
    folder = BUILD / name
    generated = [folder / "generated" / f for f in ("config.hpp", "tables.hpp", "schedule.hpp", "tensors.hpp")]
    return {
        "actions": [command("codegen", "generate", folder, *engine_words(path))],
        "file_dep": [str(path), str(folder / "artifact.npz"), *CODEGEN, *HLS, *BFP],
        "targets": [*map(str, generated), str(folder / "deploy" / "manifest.json")],
    }


def estimate(name: str, path: Path) -> dict:
    """modelled cycles, frames per second and resources on the board"""
    folder = BUILD / name
    return {
        "actions": [command("codegen", "estimate", folder, *engine_words(path))],
        "file_dep": [str(path), str(folder / "artifact.npz"), *CODEGEN, *BFP],
        "targets": [str(folder / "estimate.json"), str(folder / "roofline.svg")],
    }


def explore(name: str, path: Path) -> dict:
    """the engines that fit a board (board=NAME), modelled: Pareto fronts and the best as an [engine] section"""
    folder = BUILD / name
    board = get_var("board", "ultra96v2")
    return {
        "actions": [command("codegen.performance.explore", folder, "--board", board, *engine_words(path))],
        "file_dep": [str(path), str(folder / "artifact.npz"), *CODEGEN, *BFP],
        "targets": [str(folder / "explore.json"), str(folder / "explore.svg")],
        "uptodate": [config_changed({"board": board})],
    }


def csim(name: str, path: Path) -> dict:
    """C simulation against the golden model, every stored tensor"""
    folder = BUILD / name
    return {
        "actions": [command("codegen", "csim", folder, *engine_words(path))],
        "task_dep": [f"codegen:{name}"],
        "file_dep": [str(folder / "artifact.npz"), str(folder / "samples.npz"), *CODEGEN, *HLS, *BFP],
        "targets": [str(folder / "csim.json")],
        "uptodate": [config_changed({"engine": configuration(path).engine})],
    }


def simulate_board(name: str, path: Path) -> dict:
    """the board's driver on a simulated board, every stored tensor"""
    folder = BUILD / name
    return {
        "actions": [
            command(
                *("host", "check", folder / "deploy", "--artifact", folder / "artifact.npz"),
                *("--samples", folder / "samples.npz", "--simulate", folder / "csim" / "libengine.so"),
                *("--out", folder / "board.json", "--show", 5 if configuration(path).classes else 0),
            )
        ],
        "task_dep": [f"csim:{name}"],
        "file_dep": [str(folder / "csim.json"), *HOST, *BFP],
        "targets": [str(folder / "board.json")],
    }


def baselines(name: str, path: Path) -> dict:
    """the published rule and the plain maximum, measured on the same images"""
    return {
        "actions": [command("calib", "baselines", path, "--out", BUILD / name)],
        "file_dep": [*calibrate(name, path)["file_dep"], *EVALUATION, str(EVALUATION_ROOM / "report" / "baselines.py")],
        "targets": [str(BUILD / name / "baselines.json")],
        "uptodate": calibrate(name, path)["uptodate"],
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


def from_here(source: str) -> str:
    """A path relative to the folder doit was called from."""
    return source if source.startswith("package:") else os.path.join(get_initial_workdir(), source)


def cluster_words() -> list[str]:
    """What ``scheduler=`` and ``workers=`` say of where points are computed."""
    given = {option: get_var(option, None) for option in ("scheduler", "workers")}
    return [word for option, value in given.items() if value for word in (f"--{option}", value)]


def sweep(name: str, path: Path) -> dict:
    """accuracy against mantissa width, for groups and methods; scheduler=tcp://HOST:PORT, workers=N"""
    return {
        # points that are done are kept by the command itself
        "actions": [command("calib", "sweep", path, "--out", BUILD / name / "sweep", *cluster_words())],
        "uptodate": [False],
    }


def ablation(name: str, path: Path) -> dict:
    """what each part of the calibration buys; widths="8,8 5,5", sensitive=8, limit=N, workers=N"""
    given = {option: get_var(option, None) for option in ("widths", "sensitive", "limit")}
    words = [word for option, value in given.items() if value for word in (f"--{option}", value)]
    return {
        "actions": [command("calib", "ablation", path, "--out", BUILD / name / "ablation", *words, *cluster_words())],
        "uptodate": [False],
    }


def tensorboard(name: str, path: Path) -> dict:
    """TensorBoard event files of weights and activations, float and quantised"""
    folder = BUILD / name
    limit = ["--limit", get_var("limit")] if get_var("limit", None) else []
    return {
        "actions": [command("calib", "tensorboard", path, "--out", folder, *limit)],
        "file_dep": [str(folder / "artifact.npz")],
        "uptodate": [False],
    }


def build_bitstream(name: str, path: Path) -> dict:
    """synthesise and implement with the vendor's tools, where they are installed"""
    return {
        "actions": [command("codegen", "bitstream", BUILD / name)],
        "task_dep": [f"codegen:{name}"],
    }


def summarise(folder: Path) -> None:
    """Print what the tasks found, and where the files are."""
    read = {name: json.loads((folder / f"{name}.json").read_text()) for name in ("evaluation", "csim", "board")}
    e, c, b = read["evaluation"], read["csim"], read["board"]
    agreement = f"{100 * e['agreement']:.1f} % of {e['images']} images like the float network"
    print(f"\n{folder.name}: {e['weight_bits']}-bit weights, {e['activation_bits']}-bit activations, method {e['method']}")
    print(f"  accuracy         {agreement}, output SQNR {e['sqnr_db']:.1f} dB")
    for what, r in (("C simulation", c), ("simulated board", b)):
        print(f"  {what:16} {r['images']} images, {r['values_compared']} values, {r['mismatches']} mismatches")
    print(f"  C simulation ran at {c['macs'] / c['seconds'] / 1e9:.1f} billion multiply-accumulates a second")
    print(f"  files            {folder}/: artifact.npz, generated/, deploy/, report.html")


def task_calibrate():
    yield from per_network("calibrate", calibrate)


def task_evaluate():
    yield from per_network("evaluate", evaluate)


def task_codegen():
    yield from per_network("codegen", codegen)


def task_estimate():
    yield from per_network("estimate", estimate)


def task_explore():
    yield from per_network("explore", explore)


def task_csim():
    yield from per_network("csim", csim, QUICK)


def task_simulate_board():
    yield from per_network("simulate-board", simulate_board)


def task_baselines():
    yield from per_network("baselines", baselines)


def task_report():
    yield from per_network("report", report)


def task_sweep():
    yield from per_network("sweep", sweep)


def task_ablation():
    yield from per_network("ablation", ablation)


def task_tensorboard():
    yield from per_network("tensorboard", tensorboard)


def task_reproduce_table():
    """the published table measured again; images=PATH [limit=N] [weights=FOLDER] [networks=A,B] [calibration=PATH]"""
    name = "reproduce-table"
    images = get_var("images", None)
    if images is None:
        sentence = f"name the labelled images: doit {name} images=PATH (ImageFolder, CSV, or with a groundtruth.txt)"
        return {"basename": name, "actions": [(refuse, [sentence])]}
    words = ["--images", from_here(images), "--out", BUILD / name]
    for option in ("limit", "networks", "weights", "calibration"):
        value = get_var(option, None)
        if value:
            path = option == "calibration" or option == "weights" and value != "random"
            words += [f"--{option}", from_here(value) if path else value]
    return {
        "basename": name,
        "actions": [command("calib", name, *words, *cluster_words())],
        "uptodate": [False],
    }


def task_build_bitstream():
    yield from per_network("build-bitstream", build_bitstream)


def task_main():
    """the main job: a trained network from PyTorch to a simulated board, with a summary"""
    folder = BUILD / MAIN_JOB
    return {
        "actions": [(summarise, [folder])],
        "task_dep": [f"{t}:{MAIN_JOB}" for t in ("calibrate", "evaluate", "codegen", "csim", "simulate-board", "report")],
        "uptodate": [False],
    }


def task_benchmark():
    """own speed and memory against a reference in the same run: build/benchmark.json and a table"""
    for name, doc in (
        ("exponents", "choosing all exponents of ResNet-50 against the float pass and the published loop"),
        ("golden", "the golden model's images per second on ResNet-50 against torch float32"),
        ("memory", "peak memory of the statistics of 1,024 images of ResNet-50"),
    ):
        yield {
            "name": name,
            "actions": [command("calib.evaluation.benchmark", name, "--out", BUILD / "benchmark.json")],
            "uptodate": [False],
            "doc": doc,
        }
    yield {
        "name": "hls4ml",
        "actions": [command("calib.evaluation.benchmark.hls4ml.comparison")],
        "uptodate": [False],
        "doc": "C simulation of a small CNN against hls4ml's, which gets an environment of its own below build/",
    }


def task_lint():
    """the engine's syntax tree against what an HLS compiler can build"""
    return {"actions": [command("codegen.lint")], "file_dep": [*HLS, *CODEGEN, *BFP]}


def task_stage_benches():
    """the test bench of every stage by itself, at four sizes and at 8 and 5 bits, with data recorded from real layers"""
    stages = ROOT / "hls" / "testbench" / "stages"
    folders = [BUILD / f"stage_network_{bits}bit" for bits in (8, 5)]
    networks = [stages / f"network_{bits}bit.toml" for bits in (8, 5)]
    calibrations = [command("calib", "calibrate", n, "--out", f) for n, f in zip(networks, folders)]
    return {
        "basename": "stage-benches",
        "actions": [*calibrations, command("codegen.simulation.stage_benches", *folders)],
        "file_dep": [str(p) for p in (*networks, stages / "network.py")] + [*HLS, *CODEGEN, *CALIB, *BFP],
    }


def task_sanitize():
    """the engine under address, undefined-behaviour and thread sanitizers, over random graphs"""
    return {"actions": [command("pytest", "-q", "-m", "", "tests/test_sanitize.py")], "uptodate": [False]}


def task_test():
    """the default test suite"""
    return {"actions": [command("pytest", "-q")], "uptodate": [False]}


def task_test_heavy():
    """the tests that take minutes: a thousand random graphs, every shipped network"""
    return {"actions": [command("pytest", "-q", "-m", "heavy")], "uptodate": [False]}


def task_full_size():
    """every network at its full size and at 8, 6, 5 and 4 bits: C simulation, every stored tensor; minutes each"""
    results = BUILD / "full_size.json"
    return {
        "basename": "full-size",
        "actions": [
            (results.unlink, [], {"missing_ok": True}),
            f"SBFP_FULL_SIZE={results} {PYTHON} -m pytest -q -m heavy --durations=0 tests/test_full_size.py",
        ],
        "uptodate": [False],
    }
