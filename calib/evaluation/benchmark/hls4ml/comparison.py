"""``python -m calib.evaluation.benchmark.hls4ml.comparison``: this project's C simulation against hls4ml's, per multiply-accumulate.

One small CNN (small_cnn.py) and the same images go through both. The
two C simulations, each compiled as its project compiles it, run in turns in one
run, and the processor's time is taken, so that other load on the machine does not
count; the fastest turn of each does. What they compute is compared with the float network, and ours also with
the golden model, value by value. hls4ml (from PyPI, exact pins) gets an
environment of its own below build/, which only borrows this one's PyTorch.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np

from bfp import golden
from bfp.artifact import Artifact
from bfp.errors import BfpError, sentence
from bfp.samples import Samples, load_samples
from calib import pipeline
from calib.evaluation.benchmark.environments import environment
from calib.config import load_config
from codegen.simulation.csim import compile_engine, run_testbench, write_golden
from bfp.files import check_folder, write_json
from bfp.names import printable
from codegen.generate import generate
from codegen.options import EngineOptions
from codegen.performance.board import DEFAULT_BOARD, load_board

HERE = Path(__file__).parent
BUILD = Path("build").absolute() / "benchmark"
REQUIREMENTS = HERE / "requirements.txt"
TURNS = 5


class Theirs:
    """hls4ml's C simulation in a process of its own (side.py)."""

    def __init__(self, python: Path, samples: Path, folder: Path) -> None:
        self.log = folder / "hls4ml.log"
        folder.mkdir(parents=True, exist_ok=True)
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [str(python), str(HERE / "side.py"), str(samples), str(folder / "hls4ml")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        self.built = self._answer()

    def _answer(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            last = (self.log.read_text().strip().splitlines() or ["no message"])[-1]
            raise BfpError(f"hls4ml stopped with status {self.process.returncode}: {last}; all of it is in {self.log}")
        return json.loads(line)

    def run(self) -> tuple[float, np.ndarray]:
        """Processor seconds for all sample images, and their outputs [N, classes]."""
        print(file=self.process.stdin, flush=True)
        answer = self._answer()
        return answer["seconds"], np.array(answer["outputs"])

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


class Ours:
    """This project's C simulation: every stored tensor compared with the golden model's on every run."""

    def __init__(self, artifact: Artifact, samples: Samples, folder: Path) -> None:
        self.folder = folder
        program, identity = generate([artifact], EngineOptions(), load_board(DEFAULT_BOARD), folder)
        self.macs = sum(layer.macs for layer in program.layers)
        self.bench, _ = compile_engine(folder / "generated", folder / "csim")
        mantissas = golden.quantise_input(artifact, samples.images)
        write_golden(folder / "golden.bin", program, identity, [mantissas])
        self.outputs = golden.logits(artifact, mantissas)

    def run(self) -> float:
        """Processor seconds for all sample images. Raises BfpError for a single value that differs."""
        result = run_testbench(
            self.bench, self.folder / "deploy" / "weights.bin", self.folder / "golden.bin", self.folder / "result.json"
        )
        if result["mismatches"]:
            raise BfpError(f"the C simulation differs from the golden model: {result['first_mismatch']}")
        return result["cpu_seconds"]


def agreement(outputs: np.ndarray, reference: np.ndarray) -> dict:
    """How near outputs [N, classes] are to the float network's: signal to noise in decibel, and equal first places."""
    noise = float(np.sum((outputs - reference) ** 2))
    signal = float(np.sum(reference.astype(np.float64) ** 2))
    return {
        "sqnr_db": round(10 * float(np.log10(signal / noise)), 1) if noise else None,
        "top1_agreement": float(np.mean(outputs.argmax(1) == reference.argmax(1))),
    }


def summary(macs: int, images: int, ours: list[float], theirs: list[float]) -> dict:
    """Rates of the fastest turns (seconds for ``images`` images of ``macs`` each), and their ratio."""
    rates = {name: macs * images / min(turns) / 1e9 for name, turns in (("static_bfp", ours), ("hls4ml", theirs))}
    return {
        "macs": macs,
        "images": images,
        "turns": len(ours),
        "seconds_per_image": {"static_bfp": min(ours) / images, "hls4ml": min(theirs) / images},
        "gmac_per_second": rates,
        "ratio_per_mac": rates["static_bfp"] / rates["hls4ml"],
    }


def compare(folder: Path) -> dict:
    """Build both sides below ``folder``, run them in turns, and return what hls4ml.json holds."""
    python = environment(folder / "hls4ml-venv", REQUIREMENTS)
    work = folder / "small_cnn"
    artifact = pipeline.calibrate(load_config(HERE / "small_cnn.toml"), work)
    samples = load_samples(work / "samples.npz")
    ours = Ours(artifact, samples, work)
    print("hls4ml compiles its C simulation", file=sys.stderr, flush=True)
    theirs = Theirs(python, work / "samples.npz", work)
    our_turns, their_turns = [], []
    try:
        for turn in range(TURNS):
            their_seconds, their_outputs = theirs.run()
            their_turns.append(their_seconds)
            our_turns.append(ours.run())
            print(f"turn {turn + 1} of {TURNS}", file=sys.stderr, flush=True)
    finally:
        theirs.close()
    return {
        "network": artifact.graph.name,
        **summary(ours.macs, len(samples.images), our_turns, their_turns),
        "agreement": {
            "static_bfp": agreement(ours.outputs, samples.logits),
            "hls4ml": agreement(their_outputs, samples.logits),
        },
        "hls4ml": theirs.built,
        "machine": {"processor": processor(), "threads": 1, "python": platform.python_version()},
    }


def processor() -> str:
    """The processor's name, where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def table(result: dict) -> list[str]:
    """Lines for people."""
    measured = f"(measured, one thread, {result['machine']['processor']})"
    lines = [f"{'C simulation':14} {'s/image':>9} {'GMAC/s':>8} {'SQNR dB':>8}  {measured}"]
    for name in ("static_bfp", "hls4ml"):
        lines.append(
            f"{name:14} {result['seconds_per_image'][name]:9.5f} {result['gmac_per_second'][name]:8.3f} "
            f"{result['agreement'][name]['sqnr_db']:8}"
        )
    return [*lines, f"per multiply-accumulate, static_bfp is {result['ratio_per_mac']:.0f} times as fast"]


def main() -> int:
    """Entry point; returns the exit status, 2 where a side cannot be built or run."""
    try:
        check_folder(BUILD)
        result = compare(BUILD)
        write_json(BUILD / "hls4ml.json", result)
    except (BfpError, OSError) as error:
        print(f"error: {printable(sentence(error))}", file=sys.stderr)
        return 2
    print(*table(result), f"{BUILD / 'hls4ml.json'}", sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
