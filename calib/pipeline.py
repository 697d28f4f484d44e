"""The calibrator's steps, from a network's file to its artifact."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from bfp import artifact_file
from bfp.artifact import Artifact
from bfp.errors import BfpError
from bfp.names import check_text, printable
from bfp.samples import Samples, save_samples
from calib import auto
from calib.network import float_model
from calib.transforms.sequence import adapt, batch_size, spread, with_variants
from calib.config import AUTO, ONLINE, WEIGHT_WORDS, ImageOptions, NetworkConfig
from calib.network.float_network import FloatNetwork
from calib.data.images import ImageSet, open_images
from calib.frontend.importer import import_module
from calib.progress import Progress
from calib.formats.solver import plan, quantise_network
from calib.reconstruction.layerwise import image_limit, refine
from calib.observers.statistics import Statistics
from calib.threads import fixed_threads
from calib.zoo.weights import load_weights

RANDOM_WEIGHT_IMAGES = 32
REFINE_IMAGES = 256  # with fewer, variants of them help to refine
SAMPLES = 8  # images kept for simulations and boards
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclass(frozen=True)
class Prepared:
    """A network ready for calibration. weights: which were used; notes: what was replaced, one sentence each."""

    config: NetworkConfig
    network: FloatNetwork
    classes: tuple[str, ...]
    calibration: ImageSet
    weights: str
    notes: tuple[str, ...]


def build_module(config: NetworkConfig) -> torch.nn.Module:
    """Call the file's ``module:callable``; a module beside the file is importable. Raises BfpError."""
    name, function = config.model.split(":")
    beside = config.path.parent / name.split(".")[0]
    if (beside.is_dir() or beside.with_suffix(".py").is_file()) and str(config.path.parent) not in sys.path:
        sys.path.insert(0, str(config.path.parent))
    where = f"{config.path}: model {config.model!r}"
    try:
        make = getattr(importlib.import_module(name), function)
        module = make(**config.arguments)
    except BfpError:
        raise
    except Exception as error:  # the user's own code may raise anything
        reason = str(error).strip().split("\n")[0][:200]
        raise BfpError(
            f"{where} with arguments {config.arguments} cannot be built ({type(error).__name__}: {reason}); correct it"
        ) from None
    if not isinstance(module, torch.nn.Module):
        raise BfpError(f"{where} returns {type(module).__name__}; it must return a torch.nn.Module")
    return module.eval()


def load_classes(config: NetworkConfig) -> tuple[str, ...]:
    """Class names, or none. Raises BfpError where the list cannot be read."""
    source = config.classes
    if source is None or isinstance(source, tuple):
        return checked_classes(source or (), config)
    if source == "cifar10":
        return CIFAR10
    if source == "imagenet":
        try:
            from torchvision.models._meta import _IMAGENET_CATEGORIES
        except ImportError:
            raise BfpError('classes = "imagenet" needs the package torchvision; run pip install torchvision') from None
        return tuple(_IMAGENET_CATEGORIES)
    try:
        lines = Path(source).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BfpError(f"{config.path}: class names {source} cannot be read ({error}); give a text file") from None
    return checked_classes(tuple(line.strip() for line in lines if line.strip()), config)


def checked_classes(names: tuple[str, ...], config: NetworkConfig) -> tuple[str, ...]:
    """The names of classes. Raises BfpError for one that is no printable text."""
    for name in names:
        check_text(name, "class name", f"{config.path}: classes")
    return names


@fixed_threads()
def prepare(config: NetworkConfig, adapted: bool = True) -> Prepared:
    """Build the module, give it its weights, import it, find its calibration images. Raises BfpError.

    adapted: with channels scaled and sorted as the file asks (calib.transforms.sequence).
    Evaluation does without, since the function is the same.
    """
    notes = []
    module = build_module(config)
    calibration = open_images(config.calibration, config.input, config.seed)
    notes += calibration.notes
    weights = config.weights
    if weights not in WEIGHT_WORDS and config.weights_fallback and not Path(weights).is_file():
        notes.append(f"weights {weights} do not exist; used {config.weights_fallback} instead")
        weights = config.weights_fallback
    images = None
    if weights == "random":
        images = weight_images(calibration)
    load_weights(module, weights, config.seed, images)
    network = import_module(module, config.input_shape, config.name)
    if adapted:
        config = with_output(config, calibration)
        network, config = adapt(network, config, calibration)
    classes = load_classes(config)
    outputs = int(np.prod(network.graph.shapes[network.graph.output]))
    if classes and len(classes) != outputs:
        raise BfpError(f"{config.path}: {len(classes)} class names for {outputs} outputs; correct classes")
    used = weights if weights in WEIGHT_WORDS else Path(weights).name
    return Prepared(config, network, classes, calibration, used, tuple(notes))


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


def with_output(config: NetworkConfig, calibration: ImageSet) -> NetworkConfig:
    """The file, saying whether its network's outputs are classes."""
    if config.bfp.output is not None:
        return config
    labelled = bool(config.classes) or calibration.labels is not None
    if not labelled and config.evaluation is not None:
        labelled = open_images(config.evaluation, config.input, config.seed).labels is not None
    return replace(config, bfp=replace(config.bfp, output="classes" if labelled else "values"))


def gather(prepared: Prepared) -> Statistics:
    """Statistics of all calibration images."""
    config, network, images = prepared.config, prepared.network, prepared.calibration
    fixed = plan(network.graph, config.bfp, config.input)
    statistics = Statistics(network.graph, fixed.splits, fixed.needs_histogram(), fixed.needs_signed_histogram())
    with Progress(f"{config.name}: statistics of {len(images)} images", len(images)) as progress:
        for batch in images.batches(batch_size(network)):
            float_model.run(network, torch.from_numpy(batch), keep=(), observe=statistics.observe)
            progress.step(len(batch))
    return statistics


def quantise(prepared: Prepared, statistics: Statistics) -> Artifact:
    """The artifact, not yet saved. Its provenance says which weights, images, method and options made it."""
    config = prepared.config
    options = {k: v for k, v in vars(config.bfp).items() if k != "overrides"}
    options["overrides"] = [{k: v for k, v in vars(o).items() if v is not None} for o in config.bfp.overrides]
    provenance = {
        "model": config.model,
        "arguments": config.arguments,
        "weights": prepared.weights,
        "seed": config.seed,
        "calibration_images": statistics.images,
        "method": config.bfp.method,
        "bfp": options,
        "replaced": list(prepared.notes),
    }
    with Progress(f"{config.name}: artifact") as progress:
        return quantise_network(
            prepared.network, statistics, config.bfp, config.input, prepared.classes, provenance, progress.text
        )


def improve(prepared: Prepared, artifact: Artifact, images: np.ndarray | None = None) -> Artifact:
    """The artifact with the weight rounding and bias correction that the options ask for.

    images: normalised ones to do it with, in as many variants as the file asks
    for; by default some of the calibration images.
    """
    config, network = prepared.config, prepared.network
    rounding, bias = config.bfp.rounding == "gptq", config.bfp.bias_correction
    if not (rounding or bias):
        return artifact
    if images is None:
        limit = image_limit(network)
        prepared = replace(prepared, calibration=with_variants(prepared.calibration, min(limit, REFINE_IMAGES)))
        images = some_images(prepared, limit)
    variants = prepared.calibration.augment
    with Progress(f"{config.name}: refining on {len(images)} images") as progress:
        return refine(network, artifact, images, rounding, bias, config.seed, progress.text, variants)


def some_images(prepared: Prepared, limit: int) -> np.ndarray:
    """At most ``limit`` of the calibration images, normalised, float32 [N, C, H, W]."""
    return np.concatenate(list(spread(prepared.calibration, limit).batches(batch_size(prepared.network))))


def pick(prepared: Prepared) -> Artifact:
    """The best of calib.auto's candidates by output noise on held-out calibration images.

    The methods differ in the activations' exponents, and are compared with the
    weights still in float. Then the winner is refined as the options ask on the
    images that are left: where that helps on those held out, it is refined on
    all of them, otherwise kept as it was. The artifact's provenance records
    every candidate's figure.
    """
    config, network = prepared.config, prepared.network
    rest, held = auto.split(some_images(prepared, image_limit(network)))
    reference = float_model.logits(network, torch.from_numpy(held)).double().numpy()
    named = {m: replace(prepared, config=with_method(config, m)) for m in auto.CANDIDATES}
    # one pass serves all: the histograms do not depend on the rule that reads them
    statistics = gather(named[auto.CANDIDATES[1]])
    figures, drafts = {}, {}
    for method, candidate in named.items():
        draft = quantise(candidate, statistics)
        # where channels are scaled their exponents are no method's, and two methods may come to the same
        same = next((m for m, d in drafts.items() if d.formats == draft.formats), None)
        figures[method] = auto.sqnr_db(draft, held, reference, network) if same is None else figures[same]
        drafts[method] = draft
    best = max(figures, key=figures.get)  # the first of equals
    refined = improve(named[best], drafts[best], rest)
    result = {"refined": auto.sqnr_db(refined, held, reference), "plain": auto.sqnr_db(drafts[best], held, reference)}
    artifact = improve(named[best], drafts[best]) if result["refined"] >= result["plain"] else drafts[best]
    record = {
        **artifact.provenance,
        "method": f"{AUTO}: {best}",
        "held_out": len(held),
        "sqnr_db": {name: round(figure, 2) for name, figure in {**figures, **result}.items()},
    }
    return replace(artifact, provenance=record)


def with_method(config: NetworkConfig, method: str, **changes: object) -> NetworkConfig:
    """The same file with another method."""
    return replace(config, bfp=replace(config.bfp, method=method, **changes))


def keep_samples(prepared: Prepared, path: Path) -> None:
    """A few preprocessed images with the float network's answers, for simulations and boards."""
    config = prepared.config
    images = prepared.calibration
    if config.evaluation is not None:
        images = open_images(config.evaluation, config.input, config.seed)
    count = min(SAMPLES, len(images))
    batch = next(images.batches(count))
    logits = float_model.logits(prepared.network, torch.from_numpy(batch)).numpy()
    labels = images.labels
    labels = np.full(count, -1) if labels is None else labels[:count]
    names = tuple(printable(images.name(i)) for i in range(count))
    save_samples(Samples(batch, labels, names, logits), path)


@fixed_threads()
def make_artifact(prepared: Prepared) -> Artifact:
    """The artifact that the file's options ask for, not yet saved. Raises BfpError."""
    if prepared.config.bfp.method == AUTO:
        return pick(prepared)
    return improve(prepared, quantise(prepared, gather(prepared)))


@fixed_threads()
def calibrate(config: NetworkConfig, folder: Path) -> Artifact:
    """Everything from the network's file to ``artifact.npz`` and ``samples.npz`` in ``folder``. Raises BfpError."""
    if config.bfp.method == ONLINE:
        raise BfpError(
            f"{config.path}: [bfp] method {ONLINE!r} finds exponents at run time, so that no artifact can hold them; "
            "it is a reference for evaluate and sweep only, choose another method to calibrate"
        )
    prepared = prepare(config)
    for note in prepared.notes:
        print(f"{config.name}: note: {note}", file=sys.stderr)
    artifact = make_artifact(prepared)
    for note in artifact.provenance["notes"]:
        print(f"{config.name}: note: {note}", file=sys.stderr)
    keep_samples(prepared, folder / "samples.npz")
    return artifact_file.save(artifact, folder / "artifact.npz")
