"""``python -m host bench``: how many images a second, how long one takes and what it spends its time on, and the power."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bfp.deployment import Deployment
from bfp.errors import BfpError
from bfp.fields import Place, parse
from bfp.files import read_file
from bfp.names import COMMAND
from host.driver import Accelerator
from host.image import denormalise
from host.pixels import COLOURS_OF
from host.power import PowerMeter
from host.progress import Progress

ESTIMATE = "estimate.json"  # beside the deployment's folder, in a build folder as in a package
STEPS = {
    "decode": "decode and resize",
    "pack": "quantise and pack",
    "copy": "caches and memory",
    "engine": "engine",
    "unpack": "unpack the output",
}
PERCENTILES = (50, 95, 99)


def as_given(images: np.ndarray, deployment: Deployment) -> list[np.ndarray]:
    """Samples, float [N, C, H, W], as a user has them: pixels, or where the network takes no pictures as they are."""
    pre = deployment.inputs[0].preprocessing
    pictures = len(deployment.inputs) == 1 and COLOURS_OF.get(pre.channels) == images.shape[1]
    return list(denormalise(images, pre) if pictures else images)


def bench(accelerator: Accelerator, images: list[Any], seconds: float, draft: bool = False) -> dict:
    """Measure for about three times ``seconds``: one image at a time, the engine alone, many images; where the network takes
    several images at once, the engine alone on full batches as well.

    images: of any kind that the accelerator takes, in turn. Returns figures by name, JSON's types only. Raises
    BfpError where there is no image, or no time to measure in.
    """
    if not images or not seconds > 0:
        raise BfpError("nothing can be measured without images and time; give at least one image and some seconds")
    shown, together = itertools.cycle(images), accelerator.deployment.pictures_at_once
    with Progress("bench: part", 3) as progress:
        steps, latency = _one_by_one(accelerator, shown, seconds, draft)
        progress.step(1)
        engine = batches = _timed(accelerator.run_engine, seconds)
        if together > 1:
            batches = _timed(partial(accelerator.run_engine, together), seconds)
        progress.step(2)
        with PowerMeter() as meter:
            rate = _many(accelerator, shown, seconds, draft)
        progress.step(3)
    total = sum(steps.values())
    power = {"note": meter.note} if not meter.watts else {
        "watts": meter.watts, "joules_an_image": {name: watts / rate for name, watts in meter.watts.items()},
    }  # fmt: skip
    return {
        "network": accelerator.deployment.network,
        "images_a_second": rate,
        "engine_images_a_second": together / float(np.mean(batches)),
        "images_at_once": together,
        "latency_ms": _percentiles(latency),
        "engine_latency_ms": _percentiles(engine),
        "steps_ms": {name: 1e3 * value for name, value in steps.items()},
        "steps_share": {name: value / total for name, value in steps.items()},
        "power": power,
        "modelled": modelled(accelerator.folder, accelerator.deployment),
    }


def _one_by_one(accelerator: Accelerator, images: Iterator, seconds: float, draft: bool) -> tuple[dict[str, float], list]:
    """Mean seconds of each step, and the seconds of each image."""
    accelerator.profile(next(images), draft)  # the first pays for what is made once
    found: list[dict[str, float]] = []
    until = time.perf_counter() + seconds
    while not found or time.perf_counter() < until:
        found.append(accelerator.profile(next(images), draft)[1])
    mean = {name: math.fsum(steps[name] for steps in found) / len(found) for name in STEPS}
    return mean, [math.fsum(steps.values()) for steps in found]


def _timed(work: Any, seconds: float) -> list[float]:
    """Seconds of each call, for about so many seconds."""
    found: list[float] = []
    until = time.perf_counter() + seconds
    while not found or time.perf_counter() < until:
        before = time.perf_counter()
        work()
        found.append(time.perf_counter() - before)
    return found


def _many(accelerator: Accelerator, images: Iterator, seconds: float, draft: bool) -> float:
    """Images a second of run_many, from its first result on."""
    results = accelerator.run_many(images, draft=draft)
    next(results)
    started, count = time.perf_counter(), 0
    while not count or time.perf_counter() < started + seconds:
        next(results)
        count += 1
    rate = count / (time.perf_counter() - started)
    results.close()
    return rate


def _percentiles(seconds: list[float]) -> dict[str, float]:
    return {f"p{p}": 1e3 * float(np.percentile(seconds, p)) for p in PERCENTILES} | {"runs": len(seconds)}


def modelled(folder: Path, deployment: Deployment) -> dict:
    """What the model says of the engine, at the clock that it has: images a second, in full batches where there are any; or a
    note, where nothing says it."""
    path = folder.resolve().parent / ESTIMATE
    if not path.exists():
        return {"note": f"there is no {ESTIMATE} beside {folder}; `{COMMAND} estimate` makes it, and `{COMMAND} deploy` takes it along"}
    place = Place(f"estimate {path}", f"deploy it again with `{COMMAND} deploy`")
    data = parse(read_file(path, "estimate", f"deploy it again with `{COMMAND} deploy`"), place)
    cycles = data.get("cycles") if isinstance(data, dict) else None
    if type(cycles) is not int or cycles < 1 or data.get("network") != deployment.name:
        raise place.wrong(f"it is no estimate of {deployment.name}")
    of_batch, own = data.get("batch_cycles"), deployment.only
    if data.get("batch") != deployment.batch or type(of_batch) is not int or of_batch < 1:
        raise place.wrong(f"it is not of batches of {deployment.batch}")
    cycles = of_batch / deployment.batch
    if own.name != deployment.name:  # of several together
        cycles = sum(layer["cycles"] / layer["pictures"] for layer in data["layers"][own.begin : own.end])
    return {"images_a_second": deployment.engine_clock_mhz * 1e6 / cycles, "clock_mhz": deployment.engine_clock_mhz}


def table(result: dict, simulated: bool) -> str:
    """The figures as text; those of a simulated board say so."""
    where = "simulated board" if simulated else "board"
    latency, engine, model = result["latency_ms"], result["engine_latency_ms"], result["modelled"]
    beside = f"{model['images_a_second']:.1f} modelled at {model['clock_mhz']:g} MHz" if "note" not in model else model["note"]
    at_once = f"{result['images_at_once']} at once; " if result["images_at_once"] > 1 else ""
    lines = [
        f"{result['network']}, measured on the {where}",
        f"  many images, end to end   {result['images_a_second']:10.1f} images/s",
        f"  engine alone              {result['engine_images_a_second']:10.1f} images/s ({at_once}{beside})",
        "  one image                 " + _latency(latency),
        "  engine alone              " + _latency(engine),
        "  where one image's time goes:",
    ]
    for name, words in STEPS.items():
        lines.append(f"    {words:20} {result['steps_ms'][name]:10.3f} ms {100 * result['steps_share'][name]:5.1f} %")
    power = result["power"]
    if "note" in power:
        lines.append(f"  power: {power['note']}")
    else:
        for name, watts in power["watts"].items():
            lines.append(f"  rail {name}: {watts:.2f} W, {1e3 * power['joules_an_image'][name]:.2f} mJ an image")
    return "\n".join(lines)


def _latency(figures: dict[str, float]) -> str:
    return ", ".join(f"p{p} {figures[f'p{p}']:.2f} ms" for p in PERCENTILES) + f" ({figures['runs']} runs)"
