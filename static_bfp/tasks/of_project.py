"""The tasks as doit finds them: those of every network, and those of the project itself."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from doit import get_var
from doit.action import CmdAction

from bfp.names import COMMAND
from codegen.performance.board import DEFAULT_BOARD
from static_bfp.tasks.choice import check_words, configuration, named_board, network_file, per_network
from static_bfp.tasks.of_board import build_bitstream, cosim, csynth, deploy, small_cosim
from static_bfp.tasks.of_network import CLUSTER, ablation, baselines, calibrate, codegen, collect, compare, csim, estimate, evaluate
from static_bfp.tasks.of_network import explore, report, simulate_board, sweep, tensorboard
from static_bfp.tasks.place import BFP, BUILD, CALIB, CODEGEN, HLS, IN_CHECKOUT, ROOT, STAGES
from static_bfp.tasks.place import command, flag, from_here, given, mark_as_running, refuse

MAIN_JOB = "efficientnet_lite0"
OF_CHECKOUT = "the tests are not installed; run this task with doit in a checkout of the project"
# csim alone: every operator, and every family of networks, in about a minute
QUICK = ("efficientnet_lite0", "resnet20", "mobilenet_v2_small", "inceptionv4_small")


# what is done with several networks together, and how
OF_SEVERAL = {calibrate: collect}
OF_SEVERAL |= {make: make for make in (codegen, estimate, csim, simulate_board, csynth, cosim, build_bitstream, deploy)}


def task_networks() -> Iterator[dict]:
    check_words()
    mark_as_running()
    # each brings its own description
    for make in (calibrate, evaluate, codegen, estimate, explore, csim, simulate_board, baselines, report, sweep,
                 ablation, compare, tensorboard, csynth, cosim, build_bitstream, deploy):  # fmt: skip
        alone = small_cosim if make is cosim else None
        yield from per_network(make, QUICK if make is csim else (), alone, OF_SEVERAL.get(make))


def task_reproduce_table() -> dict:
    """the published table measured again; images=PATH [limit=N] [weights=FOLDER] [networks=A,B] [calibration=PATH]"""
    name = "reproduce-table"
    images = get_var("images", None)
    if images is None:
        sentence = f"name the labelled images: {COMMAND} {name} images=PATH (ImageFolder, CSV, or with a groundtruth.txt)"
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


def task_main() -> dict:
    """the main job: a trained network from PyTorch to a simulated board, with a summary"""
    folder = BUILD / MAIN_JOB
    return {
        "actions": [command("calib.evaluation.report.summary", folder)],
        "task_dep": [f"{t}:{MAIN_JOB}" for t in ("calibrate", "evaluate", "codegen", "csim", "simulate-board", "report")],
        "uptodate": [False],
    }


def task_benchmark() -> Iterator[dict]:
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


def task_survey() -> dict:
    """how many published networks are taken, from builder to code, a tenth of them simulated: build/survey.json"""
    own = ("--small", ROOT / "tests" / "support" / "user_networks") if IN_CHECKOUT else ()
    again = ("--again",) if flag("again") else ()
    return {
        "actions": [command("calib.evaluation.benchmark.survey", *own, "--out", BUILD / "survey.json", *again)],
        "uptodate": [False],
    }


def task_lint() -> dict:
    """the engine's syntax tree against what an HLS compiler can build"""
    return {"actions": [command("codegen.lint")], "file_dep": [*HLS, *CODEGEN, *BFP]}


def task_stage_benches() -> dict:
    """the test bench of every stage by itself, at five sizes and at 8 and 5 bits, with data recorded from real layers; board=NAME"""
    folders = [BUILD / f"stage_network_{bits}bit" for bits in (8, 5)]
    networks = [STAGES / f"network_{bits}bit.toml" for bits in (8, 5)]
    calibrations = [command("calib", "calibrate", n, "--out", f) for n, f in zip(networks, folders)]
    return {
        "basename": "stage-benches",
        "actions": [*calibrations, command("codegen.simulation.stage_benches", *folders, "--board", named_board() or DEFAULT_BOARD)],
        "file_dep": [str(p) for p in (*networks, STAGES / "network.py")] + [*HLS, *CODEGEN, *CALIB, *BFP],
    }


FUZZERS = [f"tests/test_fuzz_{what}.py" for what in ("files", "inputs", "names", "weights", "writing")]
FUZZERS += ["tests/test_scale_invariance.py"]


def task_tests() -> Iterator[dict]:
    for name, words, doc in (
        ("test", ("-n", "logical", "--maxprocesses", "4", "--dist", "loadfile"), "the default test suite, on up to four cores"),
        ("test_heavy", ("-m", "heavy"), "the tests that take minutes: a thousand random graphs, every shipped network"),
        ("fuzz", ("-m", "heavy", *FUZZERS), "files, inputs, names, weights and disks damaged in thousands of ways; channels rescaled"),
        ("sanitize", ("-m", "", "tests/test_sanitize.py"), "the engine over random graphs, under sanitizers"),
    ):
        # the tests start hundreds of processes: none should compile all modules again, whatever the environment says;
        # and where each core has a process of tests, threads in these only wait for each other
        threads = {"OMP_NUM_THREADS": "1"} if "-n" in words else {}
        environment = {**threads, **os.environ, "PYTHONDONTWRITEBYTECODE": ""}
        pytest = CmdAction(command("pytest", "-q", *words), shell=False, env=environment)
        action = pytest if IN_CHECKOUT else (refuse, [OF_CHECKOUT])
        yield {"basename": name, "actions": [action], "uptodate": [False], "doc": doc}


def task_full_size() -> dict:
    """every network at its full size and at 8, 6, 5 and 4 bits: C simulation, every stored tensor; minutes each"""
    if not IN_CHECKOUT:
        return {"basename": "full-size", "actions": [(refuse, [OF_CHECKOUT])]}
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
