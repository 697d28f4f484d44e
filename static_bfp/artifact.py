"""From a module to an artifact, and what an artifact answers."""

from __future__ import annotations

import copy
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Union

import numpy as np
import torch

import bfp.artifact
from bfp import artifact_file, golden
from bfp.errors import BfpError
from bfp.names import NAME_WORDS, is_name, printable, shown
from calib.config import bfp_options
from calib.evaluation.integer_model import IntegerModel, choose_device
from calib.evaluation.outputs import OutputTallies
from calib.evaluation.report.page import IMAGES, layers_content
from calib.frontend.importer import import_module
from calib.judge import Judge
from calib.network import float_model
from calib.network.float_network import FloatNetwork
from calib.options import REFERENCES
from calib.pipeline import recorded
from calib.state import begin
from calib.tasks import task_of
from calib.threads import fixed_threads
from calib.transforms import sequence
from calib.user_metric import UserMetric
from static_bfp.images import Images, batches, check_labels, check_shape, count, first, image_set, maps, shapes

Classes = Union[Sequence[str], Mapping[str, Sequence[str]]]
CALIBRATION = 64  # images that calibrate, where nobody says another number


class Emulation(torch.nn.Module):
    """The engine's answers, bit for bit: normalised images, as ``calibrate`` takes them, to what the network returns.

    Several inputs are given one by one, in order, or by their names; several outputs come as a dict by their names. The
    answers are float64 on the CPU, and have no gradient. ``forward`` raises BfpError for images of other inputs or of
    another shape than the network's, or that are not finite.
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
        check_shape(values, self.artifact.graph)
        if not count(values):
            raise BfpError("there are no images; give at least one")
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
        """The engine's arithmetic as a torch.nn.Module, for batches of images, to what the network returns, in its shapes.

        device: where torch computes, ``cpu``, ``cuda``, or ``auto``: a GPU where there is one. Raises BfpError for
        another device, or one that is not there.
        """
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

        images: as of ``calibrate``, all of them; labels are class indices [N]. task, task_output: as in a network's file;
        without them the output's shape decides, of the first. device: as of ``emulate``. metric: a figure of your own,
        ``metric(output, reference, label)``, of one image after the other (calib.user_metric). Returns what
        evaluation.json holds: images, task, metric, figure, top1_float, top1_bfp (fractions 0..1, None without labels),
        agreement (fraction 0..1), sqnr_db (dB), of several outputs also task_output and outputs, and how the artifact was
        made. Raises BfpError for an artifact that was loaded, which has no float network, for images of other inputs or
        another shape, and for labels that are no class.
        """
        network, start = self.floats(), time.perf_counter()
        graph = network.graph
        judge = judge_of(network, graph.output_named(task_output), task, metric)
        emulation, labels, done = self.emulate(device), [], []
        for values, truth in batches(images):
            check_shape(values, graph)
            reference = float_model.logits(network, torch.from_numpy(maps(values, graph.inputs))).double().numpy()
            done.append((reference, emulation.logits(values)))
            labels.append(truth)
        if not done:
            raise BfpError("there are no images; give at least one")
        if (judge.task.right or judge.metric) and all(truth is not None for truth in labels):
            judge = replace(judge, labels=np.concatenate(labels))
        if judge.task.right:
            check_labels(judge.labels, judge.classes)
        tallies = OutputTallies.of(graph, judge)
        for reference, quantised in done:
            tallies.add(reference, quantised)
        seconds, notes = round(time.perf_counter() - start, 3), (judge.note, tallies.note)
        return evaluation(self.record, tallies.figures(), emulation.model.device.type, notes, seconds)

    def layers(self, images: Images, limit: int = IMAGES) -> dict:
        """How well each layer is represented, over the first ``limit`` images; images: as of ``calibrate``.

        Returns what layers.json holds: worst (names of the layers that lose most, worst first) and layers, each with its
        own_sqnr_db and accumulated_sqnr_db (signal to noise in dB, of the layer alone and of all before it, too), range_used
        and saturation_rate (fractions 0..1), bits, exponents, a histogram. Raises BfpError as ``evaluate`` does.
        """
        network = self.floats()
        values, _ = first(images, limit)
        check_shape(values, network.graph)
        return layers_content(network, self.record, maps(values, network.graph.inputs))

    def floats(self) -> FloatNetwork:
        """The float network. Raises BfpError where there is none."""
        if self.network is None:
            raise BfpError("this artifact was loaded, and has no float network to compare with; calibrate its module")
        return self.network


def evaluation(artifact: bfp.artifact.Artifact, figures: dict, device: str, notes: Sequence[str], seconds: float) -> dict:
    """What evaluation.json holds; figures: as of ``OutputTallies.figures``."""
    made, options = artifact.provenance, artifact.provenance["bfp"]
    return {
        "network": artifact.graph.name,
        **figures,
        "device": device,
        "weights": made["weights"],
        "method": made["method"],
        "weight_bits": options["weights"],
        "activation_bits": options["activations"],
        "calibration_images": made["calibration_images"],
        "artifact": artifact.digest,
        "notes": list(filter(None, notes)),
        "seconds": seconds,
    }


@contextmanager
def as_it_was(module: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """The module, or a copy of it on the CPU where it lies elsewhere; afterwards, what trained is in training again."""
    parts = list(module.modules()) if isinstance(module, torch.nn.Module) else []
    training = [part for part in parts if getattr(part, "training", False)]  # a frozen TorchScript module has no mode
    elsewhere = parts and any(t.device.type == "cuda" for t in (*module.parameters(), *module.buffers()))
    try:
        yield copy.deepcopy(module).cpu() if elsewhere else module
    finally:
        for part in training:
            part.training = True


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

    module: takes one batch of images; stays as it is, in training where it was. images: as the module takes them, an
    array or tensor, float [N, C, H, W] (or [N, C, L], or [N, C, T, H, W] of films), of several inputs a dict of such by
    their names, or an iterable of such batches, alone or with labels [N], as a DataLoader gives them; the first ``limit``
    images are taken. name: of the network. classes: names of the values of the first output; of another one ``{name of the output: names}``. seed: of
    what is drawn. task: as in a network's file, of that output, by whose figure candidates are compared; without it the
    output's shape decides. Further arguments are the keys of a network file's ``[bfp]`` section, such as ``weights=6``
    (mantissa bits) or ``method="max"``. Notes of what the artifact rests on go to stderr. Raises BfpError naming the
    layer for what the engine cannot compute, and for a name, images or options that do not fit.
    """
    if not is_name(name):
        raise BfpError(f"calibrate: name is {shown(name)}; it must be {NAME_WORDS}")
    options = bfp_options(bfp_section, "calibrate")
    if options.method in REFERENCES:
        raise BfpError(f"calibrate: method {options.method!r} finds exponents at run time, so that no artifact can hold them; choose another")
    values, labels = first(images, limit)
    with as_it_was(module) as imported:
        network = import_module(imported, shapes(values), name)
    judged, classes = one_of_outputs(network, classes)
    calibration = image_set(maps(values, network.graph.inputs), labels, seed)
    vector = network.graph.shapes[judged][1:] == (1, 1)
    output = options.output or ("classes" if vector and (classes or labels is not None) else "values")
    state = begin(network, options, calibration.pre, output, classes, seed, judged)
    state = replace(state, judge=judge_of(network, judged, task))
    state = sequence.run(sequence.preparation(options), state, calibration)
    state = sequence.run(sequence.quantisation(options), state, calibration)
    source = {"model": type(module).__qualname__, "arguments": {}, "weights": "model", "seed": seed}
    with TemporaryDirectory() as folder:  # what is written has been proven not to overflow, and has a digest
        made = artifact_file.save(recorded(state, source), Path(folder) / "artifact.npz")
    for note in made.provenance["notes"]:
        print(f"{name}: note: {printable(note)}", file=sys.stderr)
    return Artifact(made, state.network)


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
        raise BfpError(f"calibrate: classes are of {len(classes)} outputs; give those of one")
    name, names = next(iter(classes.items())) if isinstance(classes, Mapping) else (None, classes)
    judged = network.graph.output_named(name)
    total = int(np.prod(network.graph.shapes[judged]))
    if names and len(names) != total:
        raise BfpError(f"calibrate: {len(names)} class names for the {total} values of output {judged}; correct classes")
    return judged, tuple(names)


def load(path: str | Path) -> Artifact:
    """An artifact from its file. Raises BfpError for one that is missing, damaged or of another version."""
    return Artifact(artifact_file.load(Path(path)))
