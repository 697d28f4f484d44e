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

IMAGES = 1024


def peak_gigabytes(path: Path, images: int) -> float:
    """Peak resident memory, GB, of a new process that gathers the statistics of so many images of a network's file."""
    command = [sys.executable, "-m", "calib.benchmark.memory", str(path), str(images)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    if done.returncode:
        raise BfpError(f"gathering the statistics of {images} images of {path} failed with status {done.returncode}")
    return json.loads(done.stdout)["gigabytes"]


def measure(path: Path, images: int = IMAGES) -> dict:
    """Peak memory with few and with many images."""
    few, many = peak_gigabytes(path, 32), peak_gigabytes(path, images)
    return {
        "images": images,
        "gigabytes": many,
        "gigabytes_32_images": few,
        "table": [
            ["peak memory, statistics of 32 images", few, "GB"],
            [f"peak memory, statistics of {images} images", many, "GB (to be below 4)"],
        ],
    }


def main() -> None:
    from calib import pipeline

    config = load_config(sys.argv[1])
    images = int(sys.argv[2])
    config = replace(config, calibration=replace(config.calibration, limit=images))
    statistics = pipeline.gather(pipeline.prepare(config))
    if statistics.images != images:
        raise SystemExit(f"{statistics.images} images, {images} were asked for")
    # kilobytes on Linux
    print(json.dumps({"gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9}))


if __name__ == "__main__":
    main()
