"""The project's tasks. `doit list` shows them; `doit TASK:NETWORK` or `doit TASK net=PATH` runs one network.

Shipped networks are calib/networks/*.toml; any other TOML file is named with
``net=``, relative to the folder doit was called from. Results are below
build/NAME/. ``device=cpu`` or ``device=cuda`` says where torch evaluates, ``board=NAME``
for which board code is generated (before the file's ``[engine] board``), ``clock=MHZ``
for which clock of its engine.
"""

import os
import signal
import sys
import threading
from pathlib import Path

if sys.version_info < (3, 11):
    sys.exit(f"error: the tasks' Python is {sys.version_info[0]}.{sys.version_info[1]}, and calibration needs Python 3.11 or newer")

from doit import get_initial_workdir, get_var
from doit.action import CmdAction
from doit.reporter import ConsoleReporter
from doit.tools import Interactive, config_changed

from bfp import BfpError
from bfp.names import printable
from calib.config import SHIPPED, find_network, load_config
from calib.options import ONLINE
from calib.used_files import (
    class_files, image_files, metric_files, module_files, pictures_digest, record_holds, weight_files,
)  # fmt: skip
from codegen.options import EngineOptions
from codegen.performance.board import DEFAULT_BOARD, board_at, load_board
from codegen.render import BENCH_HEADERS, KERNEL_HEADERS
from codegen.vendor.build import is_current
from codegen.vendor.request import FlowOptions

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
ROOT = Path(__file__).parent
BUILD = ROOT / "build"
PYTHON = sys.executable
MAIN_JOB = "efficientnet_lite0"
# `doit csim` alone: every operator, and every family of networks, in about a minute
QUICK = ("efficientnet_lite0", "resnet20", "mobilenet_v2_small", "inceptionv4_small")
CLUSTER = ("scheduler", "workers")  # options that say where the points of a sweep are computed
REFUSED = ("returned 2", "returned 130", "returned False")  # how a task ends that has said in a sentence why


class Reporter(ConsoleReporter):
    """doit's own words, without those below a refusal: the command and its arguments help nobody there."""

    def _write_failure(self, result: dict, write_exception: bool = True) -> None:
        if not result["exception"].get_msg().strip().endswith(REFUSED):
            super()._write_failure(result, write_exception)


DOIT_CONFIG = {"default_tasks": ["csim"], "verbosity": 2, "action_string_formatting": "new", "reporter": Reporter}

BFP = sorted(str(p) for p in (ROOT / "bfp").rglob("*.py"))
# what comes after the artifact does not change it; of that, reports, sweeps and benchmarks change no evaluation
EVALUATION_ROOM = ROOT / "calib" / "evaluation"
CALIB = sorted(str(p) for p in (ROOT / "calib").rglob("*.py") if EVALUATION_ROOM not in p.parents)
CALIB += [str(ROOT / "host" / "image.py")]
EVALUATION = sorted(str(p) for p in [*EVALUATION_ROOM.glob("*.py"), *(EVALUATION_ROOM / "baselines").glob("*.py")])
REPORT = sorted(str(p) for p in (EVALUATION_ROOM / "report").iterdir() if p.is_file())
CODEGEN = sorted(str(p) for p in (ROOT / "codegen").rglob("*") if p.suffix in (".py", ".j2", ".toml"))
HLS = sorted(str(p) for p in (ROOT / "hls").rglob("*") if p.suffix in (".cpp", ".hpp", ".h"))
STAGES = ROOT / "hls" / "testbench" / "stages"  # small networks that have every operator
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
        sys.exit(f"error: {printable(str(error))}")


def networks() -> dict[str, Path]:
    """Shipped networks by name, and the one named by ``net=``."""
    found = {path.stem: path for path in sorted(SHIPPED.glob("*.toml"))}
    user = network_file()
    if user is not None:
        found[configuration(user).name] = user
    return found


def configuration(path: Path):
    """The checked file. Ends doit with one sentence, before any work, where it, its engine or its board is wrong."""
    try:
        config = load_config(path)
    except BfpError as error:
        sys.exit(f"error: {printable(str(error))}")
    try:
        EngineOptions.from_dict(config.engine)
        load_board(config.board or DEFAULT_BOARD)
    except BfpError as error:
        sys.exit(f"error: {printable(f'{path}: {error}')}")
    return config


def named_board() -> str | None:
    """The board named by ``board=``, or None. Ends doit with one sentence where there is none of that name.

    ``doit deploy`` takes a host's name there, too, as long as no board has that name.
    """
    name = get_var("board", None)
    try:
        return name and load_board(name).word
    except BfpError as error:
        if any(word.split(":")[0] == "deploy" for word in sys.argv[1:]) and get_var("host", None) is None:
            return None
        sys.exit(f"error: {printable(str(error))}")


def named_host() -> str | None:
    """Where to deploy: ``host=``, or what ``board=`` names if that is no board."""
    return get_var("host", None) or (None if named_board() else get_var("board", None))


def per_network(make, default: tuple[str, ...] = (), alone=None):
    """One task per network, named after ``make``; the task alone runs ``net=`` or, without it, the default networks.

    alone: makes the task alone where there is neither.
    """
    task, found = make.__name__.replace("_", "-"), networks()
    for name, path in found.items():
        yield {"basename": f"{task}:{name}", **make(name, path)}
    user = network_file()
    chosen = (configuration(user).name,) if user is not None else tuple(n for n in default if n in found)
    doc = make.__doc__.strip().splitlines()[0]
    if chosen:
        yield {"basename": task, "actions": None, "task_dep": [f"{task}:{n}" for n in chosen], "doc": doc}
    elif alone:
        yield {"basename": task, **alone()}
    else:
        sentence = f"name a network: doit {task}:NAME or doit {task} net=PATH; shipped are {', '.join(found)}"
        yield {"basename": task, "actions": [(refuse, [sentence])], "doc": doc}


def refuse(sentence: str) -> bool:
    print(f"error: {sentence}", file=sys.stderr)
    return False


def command(*words: object) -> list[str]:
    return [PYTHON, "-m", *map(str, words)]


def engine_words(path: Path) -> list[str]:
    """The board and the engine's options, for the command line."""
    config = configuration(path)
    board, clock = named_board() or config.board or DEFAULT_BOARD, get_var("clock", None)
    try:
        board_at(board, clock)
    except BfpError as error:
        sys.exit(f"error: {printable(str(error))}")
    at = [] if clock is None else ["--clock", clock]
    return ["--board", board, *at, "--engine", *(f"{k}={v}" for k, v in config.engine.items())]


def sources(config) -> list[str]:
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


def evaluate(name: str, path: Path) -> dict:
    """compare float and bit-exact accuracy over the evaluation images"""
    config, record = configuration(path), BUILD / name / "evaluate.files.json"
    if config.bfp.method == ONLINE:  # a reference without an artifact
        files, current = sources(config), [(same_files, [record])]
    else:
        files = [*image_files(config.calibration, config.evaluation), str(BUILD / name / "artifact.npz")]
        # what is judged by changes no artifact
        files += metric_files(config)
        current = [(same_files, [record])]
    return {
        "actions": [command("calib", "evaluate", path, "--out", BUILD / name, "--device", get_var("device", "auto"))],
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
        "file_dep": [str(path), str(folder / "artifact.npz"), *CODEGEN, *HLS, *BFP],
        "targets": [*map(str, generated), str(folder / "deploy" / "manifest.json")],
        "uptodate": [config_changed(" ".join([*keep, *engine_words(path)]))],
    }


def estimate(name: str, path: Path) -> dict:
    """modelled cycles, frames per second and resources on the board; board=NAME"""
    folder = BUILD / name
    return {
        "actions": [command("codegen", "estimate", folder, *engine_words(path))],
        "file_dep": [str(path), str(folder / "artifact.npz"), *CODEGEN, *BFP],
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
        "file_dep": [str(folder / "artifact.npz"), str(folder / "samples.npz"), *CODEGEN, *HLS, *BFP],
        "targets": [str(folder / "csim.json")],
        "uptodate": [config_changed(" ".join(engine_words(path)))],
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


def from_here(source: str) -> str:
    """A path relative to the folder doit was called from."""
    return source if source.startswith("package:") else os.path.join(get_initial_workdir(), source)


def given(*options: str) -> list[str]:
    """Those of the options that are given as ``option=value``, for the command line."""
    values = {option: get_var(option, None) for option in options}
    return [word for option, value in values.items() if value for word in (f"--{option}", value)]


def sweep(name: str, path: Path) -> dict:
    """accuracy against mantissa width, for groups and methods; scheduler=tcp://HOST:PORT, workers=N"""
    return {
        # points that are done are kept by the command itself
        "actions": [command("calib", "sweep", path, "--out", BUILD / name / "sweep", *given(*CLUSTER))],
        "uptodate": [False],
    }


def ablation(name: str, path: Path) -> dict:
    """what each part of the calibration buys; widths="8,8 5,5", sensitive=8, limit=N, workers=N"""
    words = given("widths", "sensitive", "limit", *CLUSTER)
    return {
        "actions": [command("calib", "ablation", path, "--out", BUILD / name / "ablation", *words)],
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


FLAGS = ("dry_run", "force", "strict", "minimal", "rebuild")  # of the vendor's steps: NAME=1


def flag(name: str) -> bool:
    """Whether a flag is set. Ends doit with one sentence for a value that is neither 1 nor 0."""
    value = get_var(name, None)
    if value not in (None, "0", "1"):
        sys.exit(f"error: {name}={printable(value)} is neither {name}=1 nor {name}=0")
    return value == "1"


def vendor_words(path: Path) -> list[str]:
    """Board, engine and options of the vendor's steps, for the command line."""
    flags = [f"--{name.replace('_', '-')}" for name in FLAGS if flag(name)]
    return [*given("tool", "timeout", "jobs"), *flags, *engine_words(path)]


class ToolAction(CmdAction):
    """A command that ends at Ctrl-C by itself, with all that it started; doit waits for that."""

    def __init__(self, words: list[str]) -> None:
        super().__init__(words, shell=False)

    def execute(self, out=None, err=None):
        if threading.current_thread() is not threading.main_thread():  # doit -n 2 -P thread
            return super().execute(out, err)
        before = signal.signal(signal.SIGINT, lambda *_: None)  # not SIG_IGN, which the command would inherit
        try:
            return super().execute(out, err)
        finally:
            signal.signal(signal.SIGINT, before)


def vendor_step(step: str, name: str, path: Path) -> dict:
    """A step of the vendor's tools. Whether it is up to date, vendor.json says: a dry run changes nothing."""
    return {
        "actions": [ToolAction(command("codegen.vendor", step, BUILD / name, *vendor_words(path)))],
        "task_dep": [f"codegen:{name}"],
        "uptodate": [(vendor_is_current, [step, BUILD / name, engine_words(path)])],
    }


def vendor_is_current(task, values: dict, step: str, folder: Path, words: list[str]) -> bool:
    """Whether a step of the vendor's tools has been done for exactly what is there now."""
    options = FlowOptions(
        get_var("tool", None), force=flag("force"), strict=flag("strict"), minimal=flag("minimal"), rebuild=flag("rebuild")
    )
    board, clock = words[1], words[words.index("--clock") + 1] if "--clock" in words else None
    return not flag("dry_run") and is_current(step, folder, board_at(board, clock), options)


def csynth(name: str, path: Path) -> dict:
    """synthesis with Vitis HLS, its report checked: vendor.json; board=NAME clock=MHZ dry_run=1 tool=NAME force=1"""
    return vendor_step("csynth", name, path)


def cosim(name: str, path: Path) -> dict:
    """the RTL simulated against the golden model, for hangs and wrong bits; dry_run=1 tool=NAME timeout=HOURS"""
    return vendor_step("cosim", name, path)


def small_cosim() -> dict:
    """cosim of a small network with every operator, which is made for it"""
    network = STAGES / "network_8bit.toml"
    folder, engine = BUILD / "cosim_network", engine_words(network)
    return {
        "actions": [
            command("calib", "calibrate", network, "--out", folder),
            command("codegen", "generate", folder, *engine),
            ToolAction(command("codegen.vendor", "cosim", folder, *vendor_words(network))),
        ],
        "uptodate": [False],  # the first two take seconds, and the last is done once for the same inputs
        "doc": small_cosim.__doc__,
    }


def build_bitstream(name: str, path: Path) -> dict:
    """synthesis, implementation and the package for the board; as csynth, and strict=1 minimal=1 rebuild=1 jobs=N"""
    return vendor_step("bitstream", name, path)


def deploy(name: str, path: Path) -> dict:
    """the package onto a board, and its self-test there: host=USER@HOST:PORT, or host=local for a folder, simulated; folder=PATH"""
    host, folder = named_host(), get_var("folder", None)
    if host is None:
        sentence = f"say where the board is: doit deploy:{name} host=USER@HOST, or host=local for a folder of this machine"
        return {"actions": [(refuse, [sentence])]}
    words = command("codegen.deploy", BUILD / name, "--host", host)
    if folder:
        words += ["--folder", from_here(folder) if host == "local" else folder]
    # passwords of ssh and sudo are typed, so that the terminal is the program's own
    return {
        "actions": [Interactive(words, shell=False)],
        "task_dep": [f"estimate:{name}", *([f"csim:{name}"] if host == "local" else [])],
        "uptodate": [False],
    }


def task_networks():
    # each brings its own description
    for make in (calibrate, evaluate, codegen, estimate, explore, csim, simulate_board, baselines, report, sweep,
                 ablation, tensorboard, csynth, cosim, build_bitstream, deploy):  # fmt: skip
        yield from per_network(make, QUICK if make is csim else (), small_cosim if make is cosim else None)


def task_reproduce_table():
    """the published table measured again; images=PATH [limit=N] [weights=FOLDER] [networks=A,B] [calibration=PATH]"""
    name = "reproduce-table"
    images = get_var("images", None)
    if images is None:
        sentence = f"name the labelled images: doit {name} images=PATH (ImageFolder, CSV, or with a groundtruth.txt)"
        return {"basename": name, "actions": [(refuse, [sentence])]}
    words = ["--images", from_here(images), "--out", BUILD / name, *given("limit", "networks", *CLUSTER)]
    for option in ("weights", "calibration"):
        value = get_var(option, None)
        if value:
            words += [f"--{option}", value if (option, value) == ("weights", "random") else from_here(value)]
    return {
        "basename": name,
        "actions": [command("calib", name, *words)],
        "uptodate": [False],
    }


def task_main():
    """the main job: a trained network from PyTorch to a simulated board, with a summary"""
    folder = BUILD / MAIN_JOB
    return {
        "actions": [command("calib.evaluation.report.summary", folder)],
        "task_dep": [f"{t}:{MAIN_JOB}" for t in ("calibrate", "evaluate", "codegen", "csim", "simulate-board", "report")],
        "uptodate": [False],
    }


def task_benchmark():
    """own speed and memory against a reference in the same run: build/benchmark.json and a table"""
    for name, doc in (
        ("exponents", "choosing all exponents of ResNet-50 against the float pass and the published loop"),
        ("golden", "the golden model's images per second on ResNet-50 against torch float32"),
        ("memory", "peak memory of the statistics of 1,024 images of ResNet-50"),
        ("overlap", "many images on a simulated engine of fixed latency, against the slower half alone"),
        ("pictures", "decoding and pixels to the engine's memory, by table against step by step"),
    ):
        action = command("calib.evaluation.benchmark", name, "--out", BUILD / "benchmark.json")
        yield {"name": name, "actions": [action], "uptodate": [False], "doc": doc}
    yield {
        "name": "hls4ml",
        "actions": [command("calib.evaluation.benchmark.hls4ml.comparison")],
        "uptodate": [False],
        "doc": "C simulation of a small CNN against hls4ml's, which gets an environment of its own below build/",
    }
    yield {
        "name": "control",
        "actions": [command("codegen.area", *([BUILD / configuration(network_file()).name] if network_file() else []))],
        "uptodate": [False],
        "doc": "LUTs, DSPs, multiplications and divisions of the engine's control, by clang and Yosys; net=NAME",
    }


def task_survey():
    """how many published networks are taken, from builder to code, a tenth of them simulated: build/survey.json"""
    return {
        "actions": [
            command(
                *("calib.evaluation.benchmark.survey", "--small", "tests/support/user_networks"),
                *("--out", BUILD / "survey.json", *(["--again"] if flag("again") else [])),
            )
        ],
        "uptodate": [False],
    }


def task_lint():
    """the engine's syntax tree against what an HLS compiler can build"""
    return {"actions": [command("codegen.lint")], "file_dep": [*HLS, *CODEGEN, *BFP]}


def task_stage_benches():
    """the test bench of every stage by itself, at four sizes and at 8 and 5 bits, with data recorded from real layers; board=NAME"""
    folders = [BUILD / f"stage_network_{bits}bit" for bits in (8, 5)]
    networks = [STAGES / f"network_{bits}bit.toml" for bits in (8, 5)]
    calibrations = [command("calib", "calibrate", n, "--out", f) for n, f in zip(networks, folders)]
    return {
        "basename": "stage-benches",
        "actions": [*calibrations, command("codegen.simulation.stage_benches", *folders, "--board", named_board() or DEFAULT_BOARD)],
        "file_dep": [str(p) for p in (*networks, STAGES / "network.py")] + [*HLS, *CODEGEN, *CALIB, *BFP],
    }


FUZZERS = [f"tests/test_fuzz_{what}.py" for what in ("files", "inputs", "names", "weights", "writing")] + ["tests/test_scale_invariance.py"]


def task_tests():
    for name, words, doc in (
        ("test", ("-n", "logical", "--maxprocesses", "4", "--dist", "loadfile"), "the default test suite, on up to four cores"),
        ("test_heavy", ("-m", "heavy"), "the tests that take minutes: a thousand random graphs, every shipped network"),
        ("fuzz", ("-m", "heavy", *FUZZERS), "files, inputs, names, weights and disks damaged in thousands of ways; channels rescaled"),
        ("sanitize", ("-m", "", "tests/test_sanitize.py"), "the engine over random graphs, under sanitizers"),
    ):
        yield {"basename": name, "actions": [command("pytest", "-q", *words)], "uptodate": [False], "doc": doc}


def task_full_size():
    """every network at its full size and at 8, 6, 5 and 4 bits: C simulation, every stored tensor; minutes each"""
    results = BUILD / "full_size.json"
    words = command("pytest", "-q", "-m", "heavy", "--durations=0", "tests/test_full_size.py")
    return {
        "basename": "full-size",
        "actions": [
            (results.unlink, [], {"missing_ok": True}),
            CmdAction(words, shell=False, env={**os.environ, "SBFP_FULL_SIZE": str(results)}),
        ],
        "uptodate": [False],
    }
