"""From a module to an artifact, and what an artifact answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Union

import numpy as np
import torch

import bfp.artifact
from bfp import artifact_file, golden
from bfp.errors import BfpError
from calib.config import bfp_options
from calib.evaluation.integer_model import IntegerModel, choose_device
from calib.evaluation.outputs import OutputTallies
from calib.frontend.importer import import_module
from calib.network import float_model
from calib.network.float_network import FloatNetwork
from calib.judge import Judge
from calib.state import begin
from calib.tasks import task_of
from calib.threads import fixed_threads
from calib.transforms import sequence
from calib.user_metric import UserMetric
from static_bfp.images import Images, batches, first, image_set, maps, shapes

Classes = Union[Sequence[str], Mapping[str, Sequence[str]]]
CALIBRATION = 64  # images that calibrate, where nobody says another number


class Emulation(torch.nn.Module):
    """The engine's answers, bit for bit: normalised images float [N, C, H, W] (or [N, C, L]) to what the network returns.

    Several inputs are given one by one, in order, or by their names; several outputs come as a dict by their names. The
    answers are float64 on the CPU, and have no gradient.
    """

    def __init__(self, artifact: bfp.artifact.Artifact, device: str) -> None:
        super().__init__()
        self.artifact, self.model = artifact, IntegerModel(artifact, choose_device(device))

    def forward(self, *images: torch.Tensor, **named: torch.Tensor) -> torch.Tensor | dict[str, torch.Tensor]:
        names = self.artifact.graph.inputs
        if len(images) > len(names) or set(names[: len(images)]) & set(named):
            raise BfpError(f"the network takes the inputs {', '.join(names)}; give each of them once")
        found = self.artifact.returned(self.logits({**dict(zip(names, images)), **named}))
        if isinstance(found, dict):
            return {name: torch.from_numpy(values) for name, values in found.items()}
        return torch.from_numpy(found)

    def logits(self, images: Images) -> np.ndarray:
        """The values of all outputs' tensors side by side, float64 [N, values], before what the host computes.

        images: one batch, as ``calibrate`` takes it.
        """
        (values, _), = batches(images)
        return self.model.logits(golden.quantise_input(self.artifact, maps(values, self.artifact.graph.inputs)))


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

    def evaluate(
        self,
        images: Images,
        task: str | None = None,
        device: str = "auto",
        task_output: str | None = None,
        metric: Callable | None = None,
    ) -> dict:
        """The engine's answers beside the float network's over all images (and labels, where the loader has them).

        task, task_output: as in a network's file; without them the output's shape decides, of the first. metric: a figure
        of your own, ``metric(output, reference, label)``, of one image after the other (calib.user_metric). Returns what
        ``doit evaluate`` finds: images, task, metric, figure, top1_float, top1_bfp (fractions, None without labels),
        agreement, sqnr_db; of several outputs also task_output and outputs. Raises BfpError for an artifact that was
        loaded, which has no float network.
        """
        if self.network is None:
            raise BfpError("this artifact was loaded, and has no float network to compare with; calibrate its module")
        graph = self.network.graph
        judge = judge_of(self.network, graph.output_named(task_output), task, metric)
        emulation, labels, done = self.emulate(device), [], []
        for values, truth in batches(images):
            reference = float_model.logits(self.network, torch.from_numpy(maps(values, graph.inputs))).double().numpy()
            done.append((reference, emulation.logits(values)))
            labels.append(truth)
        if not done:
            raise BfpError("there are no images; give at least one")
        if all(truth is not None for truth in labels):
            judge = replace(judge, labels=np.concatenate(labels))
        tallies = OutputTallies.of(graph, judge)
        for reference, quantised in done:
            tallies.add(reference, quantised)
        return tallies.figures()


@fixed_threads()
def calibrate(
    module: torch.nn.Module,
    images: Images,
    name: str = "network",
    classes: Classes = (),
    limit: int = CALIBRATION,
    seed: int = 0,
    task: str | None = None,
    **bfp_section: object,
) -> Artifact:
    """An artifact of a module, calibrated on normalised images.

    images: an array or tensor [N, C, H, W] (or [N, C, L]), of several inputs a dict of such by their names, or an iterable
    of these, with labels or without, as a DataLoader is; the first ``limit`` are taken. classes: names of the values of
    the first output; of another one ``{name of the output: names}``. task: as in a network's file, of that output, by whose
    figure candidates are compared; without it the output's shape decides. Further arguments are the keys of a
    network file's ``[bfp]`` section, such as ``weights=6`` or ``method="max"``. Raises BfpError naming the layer for
    what the engine cannot compute, and for images or options that do not fit.
    """
    values, labels = first(images, limit)
    network = import_module(module, shapes(values), name)
    calibration = image_set(maps(values, network.graph.inputs), labels, seed)
    options = bfp_options(bfp_section, "calibrate")
    judged, classes = one_of_outputs(network, classes)
    vector = network.graph.shapes[judged][1:] == (1, 1)
    output = options.output or ("classes" if vector and (classes or labels is not None) else "values")
    state = begin(network, options, calibration.pre, output, classes, seed, judged)
    state = replace(state, judge=judge_of(network, judged, task))
    state = sequence.run(sequence.preparation(options), state, calibration)
    state = sequence.run(sequence.quantisation(options), state, calibration)
    return Artifact(state.artifact, state.network)


def judge_of(network: FloatNetwork, output: str, task: str | None, metric: Callable | None = None) -> Judge:
    """How a network's output is judged. Raises BfpError for a task that is not known, that it cannot have, or that needs a file."""
    graph = network.graph
    if task == "detection":
        raise BfpError('task "detection" needs to know what outputs mean; describe the network in a file with [detection]')
    shape, host = graph.shapes[output], network.hosts.get(output, ())
    found, note = task_of(task, graph.image_shape, shape, host)
    own = None if metric is None else UserMetric(named(metric), metric, "metric")
    return Judge(found, shape, note=note, host=host, metric=own, output=output)


def named(function: Callable) -> str:
    """A callable as a network's file names it."""
    return f"{getattr(function, '__module__', type(function).__module__)}:{getattr(function, '__name__', type(function).__name__)}"


def one_of_outputs(network: FloatNetwork, classes: Classes) -> tuple[str, tuple[str, ...]]:
    """The output whose values have these names, the first unless they say another, and the names.

    Raises BfpError for an output that the network does not have, for several, and for another number of names.
    """
    if isinstance(classes, Mapping) and len(classes) != 1:
        raise BfpError(f"classes are of {len(classes)} outputs; give those of one")
    name, names = next(iter(classes.items())) if isinstance(classes, Mapping) else (None, classes)
    judged = network.graph.output_named(name)
    count = int(np.prod(network.graph.shapes[judged]))
    if names and len(names) != count:
        raise BfpError(f"{len(names)} class names for the {count} values of output {judged}; correct classes")
    return judged, tuple(names)


def load(path: str | Path) -> Artifact:
    """An artifact from its file. Raises BfpError for one that is missing, damaged or of another version."""
    return Artifact(artifact_file.load(Path(path)))
