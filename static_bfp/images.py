"""Images as users have them in Python, arrays, tensors or loaders of either, as the calibration reads them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch

from bfp.artifact import ARRAY, Preprocessing
from bfp.errors import BfpError
from bfp.graph import Graph
from bfp.names import shown
from calib.data.images import ImageSet, Item
from calib.frontend.inputs import ONLY, InputShapes

Images = "np.ndarray | torch.Tensor | Mapping | Iterable"


def batches(images: Images) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray | None]]:
    """Batches of normalised images, float32 [N, C, H, W], [N, C, L] or [N, C, T, H, W] of each input by name, and labels,
    int64 [N], or None.

    images: one array or tensor, of several inputs a mapping from their names to such, or an iterable of these, or of
    pairs of these and labels, as a DataLoader is; labels that are no class indices count as none. An only input has the
    name ONLY. Raises BfpError for anything else.
    """
    if isinstance(images, (np.ndarray, torch.Tensor, Mapping)):
        images = [images]
    try:
        coming = iter(images)
    except TypeError:
        raise BfpError(f"images are {type(images).__name__}; give an array, a tensor, or a DataLoader") from None
    for batch in coming:
        pair = isinstance(batch, (tuple, list))
        if isinstance(batch, (tuple, list, Mapping)) and not batch:
            raise BfpError("a batch of images is empty; give images, alone or with labels")
        values, labels = (batch[0], batch[1] if len(batch) > 1 else None) if pair else (batch, None)
        named = values if isinstance(values, Mapping) else {ONLY: values}
        found = {name: checked(one) for name, one in named.items()}
        if len({(len(x), *x.shape[2:]) for x in found.values()}) != 1:
            sizes = ", ".join(f"{name} {x.shape}" for name, x in found.items())
            raise BfpError(f"a batch of images has inputs of shape {sizes}; all must be as many, of one height and width")
        yield found, class_indices(labels, count(found))


def checked(values: object) -> np.ndarray:
    """A batch of one input, float32. Raises BfpError for what is none."""
    found = as_array(values)
    if found.ndim not in (3, 4, 5) or not np.issubdtype(found.dtype, np.floating) or not np.isfinite(found).all():
        raise BfpError(
            f"a batch of images is {found.dtype} of shape {found.shape}; it must be finite normalised floats "
            "[N, C, H, W], [N, C, L], or [N, C, T, H, W] of films"
        )
    return found.astype(np.float32)


def class_indices(labels: object, images: int) -> np.ndarray | None:
    """Labels of so many images, int64 [N], of an array [N] or [N, 1] of whole numbers or of float 0 and 1.

    None for everything else that a loader brings beside images: boxes, masks, values of a regression.
    """
    if not isinstance(labels, (np.ndarray, torch.Tensor, list, tuple)) or len(labels) != images:
        return None
    found = as_array(labels)
    if found.shape not in ((images,), (images, 1)):
        return None
    whole = np.issubdtype(found.dtype, np.integer) or found.dtype == bool
    if not whole and not (np.issubdtype(found.dtype, np.floating) and np.isin(found, (0, 1)).all()):
        return None
    return found.reshape(-1).astype(np.int64)


def check_labels(labels: np.ndarray | None, answers: int) -> None:
    """Raise BfpError where a label is no index of so many answers; labels: int64 [N], or None."""
    if labels is not None and not 0 <= labels.min() <= labels.max() < answers:
        wrong = int(labels.min() if labels.min() < 0 else labels.max())
        raise BfpError(f"label {wrong} of the images is no class: the network has {answers}, counted from 0")


def check_shape(values: Mapping[str, np.ndarray], graph: Graph) -> None:
    """Raise BfpError where images, as of ``batches``, are not of the inputs and of the shapes that a network takes."""
    for name, tensor in zip(in_order(values, graph.inputs), graph.inputs):
        found, wanted = values[name].shape[1:], tuple(graph.shapes[tensor])
        if as_map(values[name][:1]).shape[1:] != wanted:
            of = "images have" if len(graph.inputs) == 1 else f"images of the input {name} have"
            raise BfpError(f"{of} the shape {found}; {graph.name} takes {wanted}, channels, rows and columns")


def as_array(values: object) -> np.ndarray:
    """An array of a tensor on any device, or of what NumPy takes. Raises BfpError for a tensor that does not hold its values."""
    if not isinstance(values, torch.Tensor):
        return np.asarray(values)
    if values.is_meta or values.layout != torch.strided:
        raise BfpError(f"images are a {'meta' if values.is_meta else values.layout} tensor; give a dense one that holds values")
    plain = values.detach().cpu()
    return (plain.float() if plain.dtype == torch.bfloat16 else plain).numpy()


def first(images: Images, limit: int) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """At most ``limit`` images and their labels, as of ``batches``.

    Raises BfpError where there are none, or of several shapes, and for a limit that is no number from 1 on.
    """
    if not isinstance(limit, (int, np.integer)) or limit < 1:
        raise BfpError(f"limit is {shown(limit)}; give a whole number of images, at least 1")
    held, labels = [], []
    for values, truth in batches(images):
        held.append(values)
        labels.append(truth)
        if sum(map(count, held)) >= limit:
            break
    if not sum(map(count, held)):
        raise BfpError("there are no images; give at least one")
    if len({tuple(values) for values in held}) > 1:
        raise BfpError("batches of images have inputs of several names; give them the same")
    for name in held[0]:
        shapes = {values[name].shape[1:] for values in held}
        if len(shapes) > 1:
            raise BfpError(f"images have the shapes {sorted(shapes)}; give them one shape")
    known = all(truth is not None for truth in labels)
    whole = {name: np.concatenate([values[name] for values in held])[:limit] for name in held[0]}
    return whole, np.concatenate(labels)[:limit] if known else None


def count(values: dict[str, np.ndarray]) -> int:
    """Images of a batch."""
    return len(next(iter(values.values())))


def shapes(values: dict[str, np.ndarray]) -> InputShapes:
    """The shape of an image, of several inputs by their names, as the importer takes it."""
    found = {name: tuple(x.shape[1:]) for name, x in values.items()}
    return found[ONLY] if list(found) == [ONLY] else found


def in_order(values: Mapping[str, np.ndarray], names: Sequence[str]) -> list[str]:
    """The names of images in the order of a network's inputs; an only one may have any. Raises BfpError where they are others."""
    if len(names) == len(values) == 1:
        return list(values)
    if set(names) != set(values):
        raise BfpError(f"the network takes the inputs {', '.join(names)}, and {', '.join(values)} were given; name them")
    return list(names)


def maps(values: Mapping[str, np.ndarray], names: Sequence[str]) -> np.ndarray:
    """Images as the engine sees them, [N, C, H, W], the channels of all inputs in order; a sequence is a map of one row,
    and of frames [N, C, T, H, W] the map has all channels, frame after frame.

    names: of the inputs, in order. Raises BfpError where the images have others.
    """
    ordered = (values[name] for name in in_order(values, names))
    return np.concatenate([as_map(x) for x in ordered], axis=1)


def as_map(images: np.ndarray) -> np.ndarray:
    """Images of one input, [N, C, H, W], [N, C, L] or [N, C, T, H, W], as maps."""
    if images.ndim == 5:
        count, channels, frames, *size = images.shape
        return images.swapaxes(1, 2).reshape(count, channels * frames, *size)
    return images[:, :, None] if images.ndim == 3 else images


def image_set(images: np.ndarray, labels: np.ndarray | None, seed: int) -> ImageSet:
    """Normalised images [N, C, H, W] as a calibration set."""
    channels, *size = images.shape[1:]
    pre = Preprocessing(tuple(size), (0.0,) * channels, (1.0,) * channels, channels=ARRAY)

    def item(n: int) -> Item:
        pixels = np.ascontiguousarray(images[n].transpose(1, 2, 0))
        return Item(f"image {n}", lambda: pixels, None if labels is None else int(labels[n]))

    return ImageSet(tuple(item(n) for n in range(len(images))), pre, seed=seed)
