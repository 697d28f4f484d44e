"""Images a second of ``run_many`` on a simulated engine of fixed latency, against the slower of its two halves.

The engine does nothing but wait, so that all of the processor is left to decoding and packing, as on a board: it has no
thread, which would take turns of the interpreter, but is said to have ended once its time is over. Its latency is a
multiple of what the host takes for an image.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bfp.artifact import NetworkInput, NetworkOutput, Preprocessing
from bfp.deployed_network import DeployedNetwork
from bfp.deployment import Deployment, write_deployment
from bfp.errors import BfpError
from bfp.format import BlockFormat
from bfp.kernel import Kernel, KernelLayer
from bfp.layout import HOST, PlacedTensor, Segment
from calib.data.images import random_photograph
from host.driver import Accelerator

SIZE, OUTPUTS, LANES = 224, 1000, 16
PRE = Preprocessing((SIZE, SIZE), (123.675, 116.28, 103.53), (58.395, 57.12, 57.375), 256)
PHOTOGRAPH = Preprocessing((375, 500), PRE.mean, PRE.std)  # the size of the JPEGs
PHOTOGRAPHS = 8
RATIOS = (0.5, 0.9, 1.1, 2.0, 4.0)  # the engine's latency, in times of the host's
SECONDS, ROUNDS = 0.5, 9  # of each measurement
WANTED = 0.95
ENGINE = """
#include <stdint.h>
void sbfp_engine(const void *weights, const void *fmap_in, const void *fmap_shortcut, uint8_t *fmap_out,
                 uint32_t begin, uint32_t end, uint32_t *identity_low, uint32_t *identity_high) {
    for (int i = 0; begin != end && i < RESULT_BYTES; ++i) fmap_out[RESULT + i] = ((const uint8_t *)fmap_in)[i] | 1;
    *identity_low = 0x600d600d;
    *identity_high = 0x5eed5eed;
}
"""
IDENTITY = "5eed5eed600d600d"


def measure(seconds: float = SECONDS, rounds: int = ROUNDS, ratios: tuple[float, ...] = RATIOS) -> dict:
    """Images a second of each half alone and of both, in turns; share: of the rate of the slower half.

    The engine alone is started and waited for by the driver, again and again.
    """
    with tempfile.TemporaryDirectory() as folder:
        board = _board(Path(folder))
        files = _photographs(Path(folder))
        with Accelerator(Path(folder) / "deploy", device=board) as accelerator:
            rows = []
            for ratio in ratios:
                shares = [_round(accelerator, board, files, ratio, seconds) for _ in range(rounds)]
                rows += _rows(ratio, np.array(shares))
    return {"seconds": seconds, "rounds": rounds, "table": rows}


def _rows(ratio: float, rounds: np.ndarray) -> list[list]:
    """rounds: of the host, of the engine, of both, images a second, [N, 3]."""
    host, engine, both = np.median(rounds, axis=0)
    share = float(np.median(rounds[:, 2] / rounds[:, :2].min(axis=1)))
    name = f"engine of {ratio:g} times the host's latency: "
    return [
        [f"{name}host alone", host, "images/s"],
        [f"{name}engine alone", engine, "images/s"],
        [f"{name}both", both, "images/s"],
        [f"{name}of the slower half", share, f"(to be at least {WANTED})"],
    ]


def _round(accelerator: Accelerator, board: Any, files: list[Path], ratio: float, seconds: float) -> tuple:
    """Images a second of the host alone, the engine alone, both."""
    board.latency_s = 0.0
    host = _rate(accelerator.run_many(itertools.cycle(files)), seconds)
    board.latency_s = ratio / host
    engine = _rate(_engine_alone(accelerator), seconds)
    return host, engine, _rate(accelerator.run_many(itertools.cycle(files)), seconds)


def _engine_alone(accelerator: Accelerator) -> Iterator[None]:
    while True:
        yield accelerator.run_engine()


def _rate(results: Iterator, seconds: float) -> float:
    """Items a second, once they have begun to flow."""
    for _ in range(4):
        next(results)
    started, count = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        next(results)
        count += 1
    rate = count / (time.perf_counter() - started)
    results.close()
    return rate


def _photographs(folder: Path) -> list[Path]:
    files = [folder / f"{i}.jpg" for i in range(PHOTOGRAPHS)]
    for i, file in enumerate(files):
        random_photograph(PHOTOGRAPH, np.random.default_rng(i)).save(file, "JPEG", quality=90)
    return files


def _board(folder: Path) -> Any:
    """A simulated board with the engine that waits, and its deployment below ``folder``."""
    from calib.evaluation.benchmark.waiting_board import WaitingBoard

    def tensor(name: str, layer: int, shape: tuple[int, int, int], address: int) -> PlacedTensor:
        fmt = BlockFormat(8, True, (0, shape[0]), (-5,))
        return PlacedTensor(name, "(host)" if layer == HOST else "wait", layer, shape, fmt, (Segment(0, shape[0], address),))

    entry = tensor("input", HOST, (3, SIZE, SIZE), 0)
    begin = entry.segment_words(entry.segments[0], LANES)
    result = tensor("output", 0, (OUTPUTS, 1, 1), begin)
    words = result.segment_words(result.segments[0], LANES)
    network = DeployedNetwork(
        name="waiting", artifact_digest="0" * 64, float_digest="", begin=0, end=1, shared=1,
        inputs=(NetworkInput("input", PRE),), outputs=(NetworkOutput("output"),), tensors=(entry, result),
    )  # fmt: skip
    deployment = Deployment(
        name=network.name, identity=IDENTITY, board="simulated", clock_mhz=250.0, lanes=LANES, weights_words=0,
        kernel=Kernel(0, (KernelLayer("wait", False, "0" * 16, "0" * 16),)), fmap_words=begin + words, batch=1, ip="sbfp_engine_0",
        networks=(network,),
    )  # fmt: skip
    write_deployment(deployment, b"", folder / "deploy")
    compiler, library = os.environ.get("CXX") or "g++", folder / "libengine.so"
    if not shutil.which(compiler):
        raise BfpError(f"compiler {compiler} is not on PATH; install g++ or set CXX")
    command = [compiler, "-x", "c", "-", "-O1", "-shared", "-fPIC", "-o", str(library)]
    sizes = [f"-DRESULT={begin * LANES}", f"-DRESULT_BYTES={words * LANES}"]
    subprocess.run([*command, *sizes], input=ENGINE.encode(), check=True)
    return WaitingBoard(library, folder / "deploy")
