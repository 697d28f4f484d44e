"""Whether calibration images look to the network like those that it was trained on.

A batch normalisation knows the mean and the deviation that its layer's sums
had in training. Those of the calibration images are compared with them, both
taken for normal distributions: the Kullback-Leibler divergence says in nats
how far they lie apart. Images drawn like those of training come nearer the
more there are, as one over their number; noise stays where it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from bfp.graph import Node
from calib.network import float_model
from calib.network.executor import execute
from calib.network.float_network import FloatNetwork, TrainedSums
from calib.network.float_ops import APPLY

UNLIKE = 0.25  # nats, of one image: a mean 0.7 deviations away, or a deviation of 0.6 or 1.6 times training's
NEGLIGIBLE = 1e-6  # of the layer's largest deviation: channels that training saw do nothing


@dataclass(frozen=True)
class Likeness:
    """images: how many were looked at. divergence: from training, nats; None where no layer knows of training."""

    images: int
    divergence: float | None

    @property
    def bound(self) -> float:
        """Divergence, nats, up to which the images may come from where training's came.

        It falls with the root of the number of images only, because those of one class are no independent draw.
        """
        return UNLIKE / float(np.sqrt(self.images))

    @property
    def alike(self) -> bool:
        """Whether they may; what nobody knows of is taken for alike."""
        return self.divergence is None or self.divergence <= self.bound


UNKNOWN = Likeness(0, None)


@torch.no_grad()
def training_likeness(network: FloatNetwork, images: torch.Tensor) -> Likeness:
    """The median layer's median channel. images: normalised, float32 [N, C, H, W]."""
    graph, found = network.graph, []  # weighted layers are computed twice, for a few images

    def compute(node: Node, operands: list[torch.Tensor]) -> torch.Tensor:
        trained = network.weights[node.name].trained if node.weighted else None
        if trained is not None:
            found.append(_divergence(APPLY[node.op](node, network, operands), trained))
        return float_model.compute(node, network, operands)

    execute(graph, compute, network.entry(images), keep=())
    known = [d for d in found if np.isfinite(d)]
    return Likeness(len(images), float(np.median(known)) if known else None)


def _divergence(sums: torch.Tensor, trained: TrainedSums) -> float:
    """Median over the channels of sums [N, C, H, W], nats; NaN where no channel says anything."""
    live = trained.deviation > NEGLIGIBLE * trained.deviation.max(initial=0)
    sums = sums.double()
    mean, square = (v.mean((0, 2, 3)).numpy()[live] for v in (sums, sums.square()))
    own, variance = np.maximum(square - mean**2, np.finfo(np.float32).tiny), trained.deviation[live] ** 2
    nats = (np.log(variance / own) + (own + (mean - trained.mean[live]) ** 2) / variance - 1) / 2
    return float(np.median(nats)) if live.any() else np.nan
