"""Images as users have them in Python, arrays, tensors or loaders of either, as the calibration reads them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch

from bfp.artifact import ARRAY, Preprocessing
from bfp.errors import BfpError
from bfp.graph import Graph
from calib.data.images import ImageSet, Item

Images = "np.ndarray | torch.Tensor | Iterable"


def batches(images: Images) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Batches of normalised images, float32 [N, C, H, W] or [N, C, L], and their labels, int64 [N], or None.

    images: one array or tensor, or an iterable of such, or of pairs with labels, as a DataLoader is; labels that are no
    class indices count as none. Raises BfpError for anything else.
    """
    if isinstance(images, (np.ndarray, torch.Tensor)):
        images = [images]
    try:
        coming = iter(images)
    except TypeError:
        raise BfpError(f"images are {type(images).__name__}; give an array, a tensor, or a DataLoader") from None
    for batch in coming:
        pair = isinstance(batch, (tuple, list))
        values, labels = (batch[0], batch[1] if len(batch) > 1 else None) if pair else (batch, None)
        found = as_array(values)
        if found.ndim not in (3, 4) or not np.issubdtype(found.dtype, np.floating) or not np.isfinite(found).all():
            raise BfpError(
                f"a batch of images is {found.dtype} of shape {found.shape}; it must be finite normalised floats "
                "[N, C, H, W] or [N, C, L]"
            )
        yield found.astype(np.float32), class_indices(labels, len(found))


def class_indices(labels: object, count: int) -> np.ndarray | None:
    """Labels of so many images, int64 [N], of an array [N] or [N, 1] of whole numbers or of float 0 and 1.

    None for everything else that a loader brings beside images: boxes, masks, values of a regression.
    """
    if not isinstance(labels, (np.ndarray, torch.Tensor, list, tuple)) or len(labels) != count:
        return None
    found = as_array(labels)
    if found.shape not in ((count,), (count, 1)):
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


def check_shape(images: np.ndarray, graph: Graph) -> None:
    """Raise BfpError where images [N, C, H, W], or sequences [N, C, L], are not of the shape that a network takes."""
    wanted, found = tuple(graph.shapes[graph.input]), maps(images).shape[1:]
    if found != wanted:
        raise BfpError(f"images have the shape {images.shape[1:]}; {graph.name} takes {wanted}, channels, rows and columns")


def as_array(values: object) -> np.ndarray:
    """An array of a tensor on any device, or of what NumPy takes."""
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)


def first(images: Images, limit: int) -> tuple[np.ndarray, np.ndarray | None]:
    """At most ``limit`` images and their labels. Raises BfpError where there are none, or of several shapes."""
    held, labels = [], []
    for values, truth in batches(images):
        held.append(values)
        labels.append(truth)
        if sum(map(len, held)) >= limit:
            break
    if not sum(map(len, held)):
        raise BfpError("there are no images; give at least one")
    if len({values.shape[1:] for values in held}) > 1:
        raise BfpError(f"images have the shapes {sorted({values.shape[1:] for values in held})}; give them one shape")
    known = all(truth is not None for truth in labels)
    return np.concatenate(held)[:limit], np.concatenate(labels)[:limit] if known else None


def maps(images: np.ndarray) -> np.ndarray:
    """Images as the engine sees them, [N, C, H, W]: a sequence is a map of one row."""
    return images[:, :, None] if images.ndim == 3 else images


def image_set(images: np.ndarray, labels: np.ndarray | None, seed: int) -> ImageSet:
    """Normalised images [N, C, H, W] as a calibration set."""
    channels, *size = images.shape[1:]
    pre = Preprocessing(tuple(size), (0.0,) * channels, (1.0,) * channels, channels=ARRAY)

    def item(n: int) -> Item:
        pixels = np.ascontiguousarray(images[n].transpose(1, 2, 0))
        return Item(f"image {n}", lambda: pixels, None if labels is None else int(labels[n]))

    return ImageSet(tuple(item(n) for n in range(len(images))), pre, seed=seed)
