"""Shows a network's tensors on calibration images to an observer.

Passes look at a few of the images, always the same ones, so that the same
images give the same artifact.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import numpy as np
import torch

from calib.data.images import ImageSet
from calib.network import float_model
from calib.network.float_network import FloatNetwork
from calib.progress import Progress

BATCH_VALUES = 1 << 23  # of the largest tensor, in one batch
MAX_BATCH = 32
FEW_IMAGES = 8  # for gradients and sensitivities
MOST_VARIANTS = 4  # of one calibration image, where they are few


class Observer(Protocol):
    """Gathers something of the tensors that it is shown."""

    def observe(self, tensor: str, x: torch.Tensor) -> None:
        """Look at a batch of a tensor, [N, C, H, W], the network's input first; leave it as it is."""


def observe(network: FloatNetwork, images: ImageSet, observer: Observer, what: str) -> None:
    """Show the observer every tensor of the float network, batch by batch. what: for the line of progress."""
    with Progress(f"{network.graph.name}: {what}", len(images)) as progress:
        for batch in images.batches(batch_size(network)):
            float_model.run(network, torch.from_numpy(batch), keep=(), observe=observer.observe)
            progress.step(len(batch))


def batch_size(network: FloatNetwork) -> int:
    """Images at a time, so that the largest tensor of a batch stays within BATCH_VALUES."""
    largest = max(int(np.prod(s)) for s in network.graph.shapes.values())
    return int(np.clip(BATCH_VALUES // largest, 1, MAX_BATCH))


def evenly(images: ImageSet, count: int) -> ImageSet:
    """At most ``count`` of the images, at even distances: sets are often ordered by class."""
    variants = min(images.augment, count)
    items = count // variants
    return replace(images, items=images.items[:: max(len(images.items) // items, 1)][:items], augment=variants)


def with_variants(images: ImageSet, limit: int) -> ImageSet:
    """The same, each image in as many seeded variants (up to MOST_VARIANTS) as ``limit`` has room for."""
    return replace(images, augment=max(images.augment, min(limit // len(images.items), MOST_VARIANTS)))


def few(network: FloatNetwork, images: ImageSet) -> torch.Tensor:
    """A few of the images, normalised, float32 [at most FEW_IMAGES, C, H, W]."""
    chosen = evenly(images, min(FEW_IMAGES, batch_size(network)))
    return torch.from_numpy(next(chosen.batches(FEW_IMAGES)))


def some_images(network: FloatNetwork, images: ImageSet, limit: int) -> np.ndarray:
    """At most ``limit`` of the images, normalised, float32 [N, C, H, W]."""
    return np.concatenate(list(evenly(images, limit).batches(batch_size(network))))
