"""From a module to an artifact, and what an artifact answers."""

from __future__ import annotations

import copy
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

import bfp.artifact
from bfp import artifact_file, golden
from bfp.errors import BfpError
from bfp.names import NAME_WORDS, is_name, printable, shown
from calib.config import bfp_options
from calib.evaluation.integer_model import IntegerModel, choose_device
from calib.evaluation.report.page import IMAGES, layers_content
from calib.evaluation.tally import Judge, Tally
from calib.tasks import task_of
from calib.frontend.importer import import_module
from calib.network import float_model
from calib.network.float_network import FloatNetwork
from calib.options import ONLINE
from calib.pipeline import recorded
from calib.state import begin
from calib.threads import fixed_threads
from calib.transforms import sequence
from static_bfp.images import Images, batches, check_labels, check_shape, first, image_set, maps

CALIBRATION = 64  # images that calibrate, where nobody says another number


class Emulation(torch.nn.Module):
    """The engine's answers, bit for bit: normalised images float [N, C, H, W] (or [N, C, L]) to what the network returns.

    The answers are float64 on the CPU, and have no gradient. ``forward`` raises BfpError for images of another shape than
    the network's, or that are not finite.
    """

    def __init__(self, artifact: bfp.artifact.Artifact, device: str) -> None:
        super().__init__()
        self.artifact, self.model = artifact, IntegerModel(artifact, choose_device(device))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self.artifact.result.returned(self.logits(images)))

    def logits(self, images: torch.Tensor | np.ndarray) -> np.ndarray:
        """The last stored tensor's values, float64 [N, outputs], before what the host computes."""
        (values, _), = batches(images)
        check_shape(values, self.artifact.graph)
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
        """The engine's arithmetic as a torch.nn.Module, for batches of images [N, C, H, W] or [N, C, L].

        device: where torch computes, ``cpu``, ``cuda``, or ``auto``: a GPU where there is one. Raises BfpError for
        another device, or one that is not there.
        """
        return Emulation(self.record, device)

    def evaluate(self, images: Images, task: str | None = None, device: str = "auto") -> dict:
        """The engine's answers beside the float network's over all images (and labels, where the loader has them).

        images: as of ``calibrate``, all of them; labels are class indices [N]. task: as in a network's file; without it
        the output's shape decides. device: as of ``emulate``. Returns what evaluation.json holds: images, task, metric,
        figure, top1_float, top1_bfp (fractions 0..1, None without labels), agreement (fraction 0..1), sqnr_db (dB) and
        how the artifact was made. Raises BfpError for an artifact that was loaded, which has no float network, for
        images of another shape, and for labels that are no class.
        """
        network, start = self.floats(), time.perf_counter()
        graph = network.graph
        found, note = task_of(task, graph.shapes[graph.input], graph.shapes[graph.output])
        emulation, tally, labels, done = self.emulate(device), Tally(), [], []
        for values, truth in batches(images):
            check_shape(values, graph)
            reference = float_model.logits(network, torch.from_numpy(maps(values))).double().numpy()
            done.append((reference, emulation.logits(values)))
            labels.append(truth)
        if not done:
            raise BfpError("there are no images; give at least one")
        known = found.right is not None and all(truth is not None for truth in labels)
        judge = Judge(found, graph.shapes[graph.output], np.concatenate(labels) if known else None)
        check_labels(judge.labels, found.labels(done[0][0].shape[1]))
        for reference, quantised in done:
            tally.add(judge, reference, quantised)
        seconds = round(time.perf_counter() - start, 3)
        return evaluation(self.record, tally.figures(judge), emulation.model.device.type, note, seconds)

    def layers(self, images: Images, limit: int = IMAGES) -> dict:
        """How well each layer is represented, over the first ``limit`` images; images: as of ``calibrate``.

        Returns what layers.json holds: worst (names of the layers that lose most, worst first) and layers, each with its
        own_sqnr_db and accumulated_sqnr_db (signal to noise in dB, of the layer alone and of all before it, too), range_used
        and saturation_rate (fractions 0..1), bits, exponents, a histogram. Raises BfpError as ``evaluate`` does.
        """
        network = self.floats()
        values, _ = first(images, limit)
        check_shape(values, network.graph)
        return layers_content(network, self.record, maps(values))

    def floats(self) -> FloatNetwork:
        """The float network. Raises BfpError where there is none."""
        if self.network is None:
            raise BfpError("this artifact was loaded, and has no float network to compare with; calibrate its module")
        return self.network


def evaluation(artifact: bfp.artifact.Artifact, figures: dict, device: str, note: str, seconds: float) -> dict:
    """What evaluation.json holds; figures: as of ``Tally.figures``."""
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
        "notes": [note] if note else [],
        "seconds": seconds,
    }


@contextmanager
def as_it_was(module: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """The module, or a copy of it on the CPU where it lies elsewhere; afterwards, what trained is in training again."""
    parts = list(module.modules()) if isinstance(module, torch.nn.Module) else []
    training = [part for part in parts if part.training]
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
    classes: tuple[str, ...] = (),
    limit: int = CALIBRATION,
    seed: int = 0,
    **bfp_section: object,
) -> Artifact:
    """An artifact of a module, calibrated on normalised images.

    module: takes one batch of images; stays as it is, in training where it was. images: as the module takes them, an
    array or tensor, float [N, C, H, W] (or [N, C, L]), or an iterable of such batches, alone or with labels [N], as a
    DataLoader gives them; the first ``limit`` images are taken. name: of the network. classes: names of the outputs.
    seed: of what is drawn. Further arguments are the keys of a network file's ``[bfp]`` section, such as ``weights=6``
    (mantissa bits) or ``method="max"``. Notes of what the artifact rests on go to stderr. Raises BfpError naming the
    layer for what the engine cannot compute, and for a name, images or options that do not fit.
    """
    if not is_name(name):
        raise BfpError(f"calibrate: name is {shown(name)}; it must be {NAME_WORDS}")
    options = bfp_options(bfp_section, "calibrate")
    if options.method == ONLINE:
        raise BfpError(f"calibrate: method {ONLINE!r} finds exponents at run time, so that no artifact can hold them; choose another")
    values, labels = first(images, limit)
    with as_it_was(module) as imported:
        network = import_module(imported, tuple(values.shape[1:]), name)
    outputs = int(np.prod(network.graph.shapes[network.graph.output]))
    if classes and len(classes) != outputs:
        raise BfpError(f"calibrate: {len(classes)} class names for {outputs} outputs; correct classes")
    calibration = image_set(maps(values), labels, seed)
    vector = network.graph.shapes[network.graph.output][1:] == (1, 1)
    output = options.output or ("classes" if vector and (classes or labels is not None) else "values")
    state = begin(network, options, calibration.pre, output, tuple(classes), seed)
    state = sequence.run(sequence.preparation(options), state, calibration)
    state = sequence.run(sequence.quantisation(options), state, calibration)
    source = {"model": type(module).__qualname__, "arguments": {}, "weights": "model", "seed": seed}
    with TemporaryDirectory() as folder:  # what is written has been proven not to overflow, and has a digest
        made = artifact_file.save(recorded(state, source), Path(folder) / "artifact.npz")
    for note in made.provenance["notes"]:
        print(f"{name}: note: {printable(note)}", file=sys.stderr)
    return Artifact(made, state.network)


def load(path: str | Path) -> Artifact:
    """An artifact from its file. Raises BfpError for one that is missing, damaged or of another version."""
    return Artifact(artifact_file.load(Path(path)))
