"""Peak memory of the calibration's statistics, in a process of its own."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from bfp.errors import BfpError
from calib.config import load_config

IMAGES = (32, 1024)


def peaks_gigabytes(path: Path, counts: tuple[int, ...]) -> list[float]:
    """Peak resident memory, GB, of a new process after the statistics of so many images of a network's file, and more.

    counts: ascending, because a process only knows its highest peak so far.
    """
    command = [sys.executable, "-m", "calib.evaluation.benchmark.memory", str(path), *map(str, counts)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3])
    if done.returncode:
        raise BfpError(f"gathering the statistics of images of {path} failed with status {done.returncode}")
    return json.loads(done.stdout)


def measure(path: Path, counts: tuple[int, ...] = IMAGES) -> dict:
    """Peak memory after few and after many images."""
    peaks = peaks_gigabytes(path, counts)
    rows = [[f"peak memory, statistics of {n} images", peak, "GB"] for n, peak in zip(counts, peaks)]
    rows[-1][2] = "GB (to be below 4)"
    return {"images": counts, "gigabytes": peaks, "table": rows}


def main() -> None:
    from calib import pipeline

    config = load_config(sys.argv[1])
    peaks = []
    for images in map(int, sys.argv[2:]):
        limited = replace(config, calibration=replace(config.calibration, limit=images))
        statistics = pipeline.gather(pipeline.prepare(limited))
        if statistics.images != images:
            raise SystemExit(f"{statistics.images} images, {images} were asked for")
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9)  # kilobytes on Linux
    print(json.dumps(peaks))


if __name__ == "__main__":
    main()
