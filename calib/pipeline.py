"""The story of a calibration, from a network's file to its artifact.

``prepare`` builds the module, gives it its weights, imports it, and runs the
passes that keep its function; ``make_artifact`` runs those that quantise it.
calib.transforms.sequence lists both, calib.state is what they hand on.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from bfp import artifact_file, host_operators
from bfp.artifact import Artifact
from bfp.detection import Detection
from bfp.errors import BfpError
from bfp.graph import Shape
from bfp.names import COMMAND, printable
from bfp.samples import Samples, save_samples
from calib import quantisation
from calib.config import WEIGHT_WORDS, NetworkConfig
from calib.data.classes import Classes
from calib.data.depth import depth_note
from calib.data.images import ImageSet, open_images
from calib.detection_options import detector
from calib.formats.layer_options import resolve_options
from calib.frontend.importer import import_module
from calib.judge import Judge
from calib.network import float_model
from calib.network.float_network import FloatNetwork
from calib.observers import observer
from calib.observers.statistics import Statistics
from calib.options import AUTO, REFERENCES, ImageOptions
from calib.state import CalibrationState, begin
from calib.tasks import task_of
from calib.threads import fixed_threads
from calib.transforms import sequence
from calib.used_files import files_read, write_record
from calib.user_metric import UserMetric
from calib.user_model import build_module, load_classes, load_metric, same_weights
from calib.zoo.weights import load_weights

RANDOM_WEIGHT_IMAGES = 32
REBUILD_SECONDS = 5.0  # a model that is built within them is built twice, to see whether its weights stay
SAMPLES = 8  # images kept for simulations and boards


@dataclass(frozen=True)
class Prepared:
    """A network ready to be quantised.

    config: its file. state: where its calibration stands. calibration: its images; evaluation: those that it is
    evaluated on. weights: which were used; notes: what was replaced, one sentence each. files: what was read to build it,
    SHA-256 by path; metric_files: what was read to load the user's metric, if there is one; it is among them.
    """

    config: NetworkConfig
    state: CalibrationState
    calibration: ImageSet
    evaluation: ImageSet
    weights: str
    notes: tuple[str, ...]
    files: Mapping[str, str]
    metric_files: Mapping[str, str]

    @property
    def network(self) -> FloatNetwork:
        """The float network, as the transforms have left it."""
        return self.state.network

    def under(self, config: NetworkConfig) -> Prepared:
        """The same network and images under a file with other ``[bfp]`` options; transforms are not run again."""
        return replace(self, config=config, state=self.state.with_options(config.bfp))


@fixed_threads()
def calibrate(config: NetworkConfig, folder: Path) -> Artifact:
    """Everything from the network's file to ``artifact.npz`` and ``samples.npz`` in ``folder``. Raises BfpError."""
    if config.bfp.method in REFERENCES:
        raise BfpError(
            f"{config.path}: [bfp] method {config.bfp.method!r} finds exponents at run time, so that no artifact can hold them; "
            "it is a reference for evaluate and sweep only, choose another method to calibrate"
        )
    prepared = prepare(config)
    for note in prepared.notes:
        print(f"{config.name}: note: {note}", file=sys.stderr)
    artifact = make_artifact(prepared)
    for note in artifact.provenance["notes"]:
        print(f"{config.name}: note: {note}", file=sys.stderr)
    keep_samples(prepared, folder / "samples.npz")
    write_record(folder / "calibrate.files.json", prepared.files)
    return artifact_file.save(artifact, folder / "artifact.npz")


@fixed_threads()
def prepare(config: NetworkConfig, adapted: bool = True) -> Prepared:
    """Build the module, give it its weights, import it, find its calibration images. Raises BfpError.

    adapted: with the passes of ``sequence.preparation``. Evaluation does
    without, since the function is the same.
    """
    with files_read() as files:
        with files_read() as metric_files:
            metric = load_metric(config)
        classes = load_classes(config)
        calibration = open_images(config.calibration, config.input, config.seed, classes)
        notes = [*config.notes, *calibration.notes]
        module, weights = build(config, calibration, classes, notes, adapted)
    network = import_module(module, config.input_shape, config.name)
    judge = judge_of(config, network, classes.names, metric)
    evaluation = evaluated_images(config, calibration, classes, judge.classes if judge.task.right else None)
    notes += dict.fromkeys(filter(None, map(depth_note, (calibration, evaluation))))
    output = output_kind(config, judge, calibration, evaluation) if adapted else config.bfp.output
    named = classes.names if len(classes.names) == judge.outputs else ()
    state = replace(begin(network, config.bfp, config.input, output, named, config.seed, judge.output), judge=judge)
    if adapted:
        state = sequence.run(sequence.preparation(config.bfp), state, calibration)
    used = weights if weights in WEIGHT_WORDS else Path(weights).name
    return Prepared(config, state, calibration, evaluation, used, tuple(notes), files, metric_files if metric else {})


def judge_of(config: NetworkConfig, network: FloatNetwork, names: tuple[str, ...], metric: UserMetric | None) -> Judge:
    """How the file's network is judged; what is known of images is still to come. Raises BfpError where that cannot be."""
    graph, output = network.graph, network.graph.output_named(config.task_output)
    shape, host = graph.shapes[output], network.hosts.get(output, ())
    task, note = task_of(config.task, graph.image_shape, shape, host)
    words = {"note": note, "host": host, "threshold": config.threshold, "metric": metric, "output": output}
    judge = Judge(task, shape, size=graph.image_shape[1:], **words)
    if config.detection is not None:
        heads = {t: (graph.shapes[t], network.hosts.get(t, ())) for t in graph.outputs}
        judge = replace(judge, detection=detector_of(config, heads, names), heads=heads)
    if names and len(names) not in (judge.outputs, judge.classes):
        kinds = f"{judge.outputs} outputs" if judge.outputs == judge.classes else f"{judge.classes} classes"
        raise BfpError(f"{config.path}: {len(names)} class names for {kinds}; correct classes")
    return judge


def build(
    config: NetworkConfig, calibration: ImageSet, classes: Classes, notes: list[str], twice: bool
) -> tuple[torch.nn.Module, str]:
    """The module with its weights, and which these are; what was replaced is added to ``notes``. Raises BfpError.

    Where random weights need images, what needs none is checked before the first of them is read.
    twice: whether a model that brings its own weights is built once more, to see whether they stay.
    """
    start = time.perf_counter()
    module = build_module(config)
    seconds = time.perf_counter() - start
    weights = config.weights
    if weights not in WEIGHT_WORDS and config.weights_fallback and not Path(weights).is_file():
        notes.append(f"weights {weights} do not exist; used {config.weights_fallback} instead")
        weights = config.weights_fallback
    if twice and weights == "model" and seconds < REBUILD_SECONDS and not same_weights(module, build_module(config)):
        notes.append(
            f"model {config.model} has other weights each time it is built, so that no later run can evaluate what "
            "this one makes; name a file as weights, or seed in the callable"
        )
    images = None
    if weights == "random":
        with suppress(NotImported):
            early = imported_early(module, config)
            judge = judge_of(config, early, classes.names, None)
            evaluated_images(config, calibration, classes, judge.classes if judge.task.right else None)
            resolve_options(early.graph, config.bfp)
        images = config.as_taken(weight_images(calibration))
    notes += load_weights(module, weights, config.seed, images)
    return module, weights


def detector_of(config: NetworkConfig, heads: Mapping[str, tuple[Shape, tuple[str, ...]]], names: tuple[str, ...]) -> Detection:
    """What the outputs of the file's detector mean, all of the same kind; heads: as of Judge. Raises BfpError where they differ."""
    found = set()
    for name, (shape, host) in heads.items():
        where = f"{config.path}: output {name}"
        found.add(detector(config.detection, names, host_operators.check(host, int(np.prod(shape)), where), where))
    if len(found) > 1:
        raise BfpError(f"{config.path}: outputs of the detector have rows of {sorted(d.columns for d in found)} numbers; make them equal")
    return found.pop()


class NotImported(Exception):
    """The module cannot be imported before it has its weights, as one of other types than float32; or not at all."""


def imported_early(module: torch.nn.Module, config: NetworkConfig) -> FloatNetwork:
    """The network of a module whose weights are still to come. Raises NotImported, since that is told when they are there."""
    try:
        return import_module(module, config.input_shape, config.name)
    except BfpError:
        raise NotImported from None


@fixed_threads()
def make_artifact(prepared: Prepared) -> Artifact:
    """The artifact that the file's options ask for, not yet saved. Raises BfpError."""
    passes = sequence.quantisation(prepared.config.bfp)
    return finished(prepared, sequence.run(passes, prepared.state, prepared.calibration))


def gather(prepared: Prepared) -> Statistics:
    """Statistics of all calibration images."""
    return quantisation.gather_statistics(prepared.state, prepared.calibration).statistics


def quantise(prepared: Prepared, statistics: Statistics) -> Artifact:
    """The artifact by the file's one method, without any correction, not yet saved. Raises BfpError."""
    state = replace(prepared.state, statistics=statistics)
    return finished(prepared, quantisation.quantise(state, prepared.calibration))


def finished(prepared: Prepared, state: CalibrationState) -> Artifact:
    """The state's artifact, whose provenance says which weights, images, method and options made it."""
    config = prepared.config
    source = {"model": config.model, "arguments": config.arguments, "weights": prepared.weights, "seed": config.seed}
    return recorded(state, source, prepared.notes)


def recorded(state: CalibrationState, source: dict, replaced: tuple[str, ...] = ()) -> Artifact:
    """The state's artifact, whose provenance says what made it.

    source: model, arguments, weights and seed, as a network's file has them; replaced: what was taken instead.
    """
    artifact = state.artifact
    record = {
        **source,
        "calibration_images": state.statistics.images,
        "method": state.method,
        "bfp": options_used(state),
        "replaced": list(replaced),
        **artifact.provenance,
        "notes": [*state.evidence.notes(), *artifact.provenance["notes"]],
        "ranges": state.evidence.record(),
    }
    if state.sqnr_db:
        figures = {name: round(figure, 2) for name, figure in state.sqnr_db.items()}
        record |= {"method": f"{AUTO}: {state.method}", "held_out": state.held_out, "sqnr_db": figures}
    if state.figures:
        found = {name: float(f"{figure:.6g}") for name, figure in state.figures.items()}
        record |= {"judged_by": state.judge.measure.name, "figures": found}
    return replace(artifact, provenance=record, detection=state.judge.detection)


def options_used(state: CalibrationState) -> dict:
    """The options as a file would give them that asks for just what was done.

    The method is the one that was chosen; the widths that single layers were given are overrides of them, before the
    file's own.
    """
    widths = [{"layers": name, **widths.chosen()} for name, widths in state.widths.items()]
    own = [{option: v for option, v in vars(o).items() if v is not None} for o in state.options.overrides]
    return {**vars(state.options), "method": state.method, "output": state.output, "overrides": widths + own}


def check_artifact(prepared: Prepared, artifact: Artifact) -> None:
    """Raise BfpError where the artifact was made from another network, or says that it was from other float weights."""
    name, path = artifact.graph.name, prepared.config.path
    if artifact.graph != prepared.network.graph:
        raise BfpError(f"the artifact of {name} is not that of {path}; run `{COMMAND} calibrate` again")
    if artifact.float_digest and artifact.float_digest != prepared.state.float_digest:
        raise BfpError(
            f"the artifact of {name} was made from other float weights than {path} gives now; run `{COMMAND} calibrate` "
            "again, and if its model draws other weights each time, name a file as `weights`, or seed in the callable"
        )


def some_images(prepared: Prepared, limit: int) -> np.ndarray:
    """At most ``limit`` of the calibration images, normalised, float32 [N, C, H, W]."""
    return observer.some_images(prepared.network, prepared.calibration, limit)


def weight_images(calibration: ImageSet) -> np.ndarray:
    """What batch norms of random weights are measured on, float32 [RANDOM_WEIGHT_IMAGES, C, H, W].

    Calibration images first. Where they are few, random photographs join them:
    a layer of one pixel a map has no more samples than images, and from two of
    them its statistics would send every other image a thousandfold out of range.
    """
    images = next(calibration.batches(min(RANDOM_WEIGHT_IMAGES, len(calibration))))
    missing = RANDOM_WEIGHT_IMAGES - len(images)
    if not missing:
        return images
    options = ImageOptions(("random",), skip=len(images), limit=missing)
    others = open_images(options, calibration.pre, calibration.seed)
    return np.concatenate([images, next(others.batches(missing))])


def evaluated_images(config: NetworkConfig, calibration: ImageSet, classes: Classes, answers: int | None) -> ImageSet:
    """The file's evaluation images, or its calibration images where it names none, whose labels are not needed.

    answers: how many there are that a label may name, None where labels say nothing. Raises BfpError for other labels.
    """
    if config.evaluation is not None:
        images = open_images(config.evaluation, config.input, config.seed, classes)
        if answers is not None:
            images.check_labels(answers)
        return images
    if answers is None:
        return calibration
    try:
        calibration.check_labels(answers)
        return calibration
    except BfpError as error:
        return calibration.without_labels(f"evaluated without labels: {error}")


def output_kind(config: NetworkConfig, judge: Judge, calibration: ImageSet, evaluation: ImageSet) -> str:
    """Whether the network's outputs are classes: as the file says, or because there are names or labels of classes."""
    if config.bfp.output is not None:
        return config.bfp.output
    if config.task not in (None, "classification"):
        return "values"
    return "classes" if config.classes or calibration.labelled or evaluation.labelled else "values"


def keep_samples(prepared: Prepared, path: Path) -> None:
    """A few preprocessed images with the float network's answers, for simulations and boards."""
    images = prepared.evaluation
    count = min(SAMPLES, len(images))
    batch = next(images.batches(count))
    logits = float_model.logits(prepared.network, torch.from_numpy(batch)).numpy()
    labels = images.labels
    labels = np.full(count, -1) if labels is None else labels[:count]
    names = tuple(printable(images.name(i)) for i in range(count))
    save_samples(Samples(batch, labels, names, logits), path)
