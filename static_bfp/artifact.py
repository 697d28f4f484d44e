"""From a module to an artifact, and what an artifact answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

import bfp.artifact
from bfp import artifact_file, golden
from bfp.errors import BfpError
from calib.config import bfp_options
from calib.evaluation.integer_model import IntegerModel, choose_device
from calib.evaluation.tally import Tally
from calib.frontend.importer import import_module
from calib.network import float_model
from calib.network.float_network import FloatNetwork
from calib.judge import Judge
from calib.state import begin
from calib.tasks import task_of
from calib.threads import fixed_threads
from calib.transforms import sequence
from calib.user_metric import UserMetric
from static_bfp.images import Images, batches, first, image_set, maps

CALIBRATION = 64  # images that calibrate, where nobody says another number


class Emulation(torch.nn.Module):
    """The engine's answers, bit for bit: normalised images float [N, C, H, W] (or [N, C, L]) to what the network returns.

    The answers are float64 on the CPU, and have no gradient.
    """

    def __init__(self, artifact: bfp.artifact.Artifact, device: str) -> None:
        super().__init__()
        self.artifact, self.model = artifact, IntegerModel(artifact, choose_device(device))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self.artifact.result.returned(self.logits(images)))

    def logits(self, images: torch.Tensor | np.ndarray) -> np.ndarray:
        """The last stored tensor's values, float64 [N, outputs], before what the host computes."""
        (values, _), = batches(images)
        return self.model.logits(golden.quantise_input(self.artifact, maps(values)))


@dataclass(frozen=True)
class Artifact:
    """A calibrated network. record: what its file holds; network: the float network that it was made from, None where
    it was loaded."""

    record: bfp.artifact.Artifact
    network: FloatNetwork | None = None

    def save(self, path: str | Path) -> Artifact:
        """Write ``artifact.npz``; returns the artifact with its digest. Raises BfpError where it cannot be written."""
        return Artifact(artifact_file.save(self.record, Path(path)), self.network)

    def emulate(self, device: str = "auto") -> Emulation:
        """The engine's arithmetic as a module; device: ``cpu``, ``cuda``, or ``auto``. Raises BfpError for others."""
        return Emulation(self.record, device)

    def evaluate(self, images: Images, task: str | None = None, device: str = "auto", metric: Callable | None = None) -> dict:
        """The engine's answers beside the float network's over all images (and labels, where the loader has them).

        task: as in a network's file; without it the output's shape decides. metric: a figure of your own,
        ``metric(output, reference, label)``, of one image after the other (calib.user_metric). Returns what
        ``doit evaluate`` finds: images, task, metric, figure, top1_float, top1_bfp (fractions, None without labels),
        agreement, sqnr_db. Raises BfpError for an artifact that was loaded, which has no float network.
        """
        if self.network is None:
            raise BfpError("this artifact was loaded, and has no float network to compare with; calibrate its module")
        judge = judged(self.network, task, metric)
        emulation, tally, labels, done = self.emulate(device), Tally(), [], []
        for values, truth in batches(images):
            reference = float_model.logits(self.network, torch.from_numpy(maps(values))).double().numpy()
            done.append((reference, emulation.logits(values)))
            labels.append(truth)
        if not done:
            raise BfpError("there are no images; give at least one")
        if all(truth is not None for truth in labels):
            judge = replace(judge, labels=np.concatenate(labels))
        for reference, quantised in done:
            tally.add(judge, reference, quantised)
        return tally.figures(judge)


@fixed_threads()
def calibrate(
    module: torch.nn.Module,
    images: Images,
    name: str = "network",
    classes: tuple[str, ...] = (),
    limit: int = CALIBRATION,
    seed: int = 0,
    task: str | None = None,
    **bfp_section: object,
) -> Artifact:
    """An artifact of a module, calibrated on normalised images.

    images: an array or tensor [N, C, H, W] (or [N, C, L]), or an iterable of such, with labels or without, as a
    DataLoader is; the first ``limit`` are taken. classes: names of the outputs. task: as in a network's file, by whose
    figure candidates are compared; without it the output's shape decides. Further arguments are the keys of a
    network file's ``[bfp]`` section, such as ``weights=6`` or ``method="max"``. Raises BfpError naming the layer for
    what the engine cannot compute, and for images or options that do not fit.
    """
    values, labels = first(images, limit)
    network = import_module(module, tuple(values.shape[1:]), name)
    calibration = image_set(maps(values), labels, seed)
    options = bfp_options(bfp_section, "calibrate")
    vector = network.graph.shapes[network.graph.output][1:] == (1, 1)
    output = options.output or ("classes" if vector and (classes or labels is not None) else "values")
    state = begin(network, options, calibration.pre, output, tuple(classes), seed)
    state = replace(state, judge=judged(network, task))
    state = sequence.run(sequence.preparation(options), state, calibration)
    state = sequence.run(sequence.quantisation(options), state, calibration)
    return Artifact(state.artifact, state.network)


def judged(network: FloatNetwork, task: str | None, metric: Callable | None = None) -> Judge:
    """How a network is judged. Raises BfpError for a task that is not known, that its output cannot have, or that needs a file."""
    graph = network.graph
    if task == "detection":
        raise BfpError('task "detection" needs to know what outputs mean; describe the network in a file with [detection]')
    shape = graph.shapes[graph.output]
    found, note = task_of(task, graph.shapes[graph.input], shape, network.host)
    own = None if metric is None else UserMetric(named(metric), metric, "metric")
    return Judge(found, shape, note=note, host=network.host, metric=own)


def named(function: Callable) -> str:
    """A callable as a network's file names it."""
    return f"{getattr(function, '__module__', type(function).__module__)}:{getattr(function, '__name__', type(function).__name__)}"


def load(path: str | Path) -> Artifact:
    """An artifact from its file. Raises BfpError for one that is missing, damaged or of another version."""
    return Artifact(artifact_file.load(Path(path)))
