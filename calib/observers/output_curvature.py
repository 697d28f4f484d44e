"""How the errors of a layer's filters add up at the network's output: second moments of the output's gradients."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from bfp.graph import Node
from calib.network import float_model
from calib.network.executor import execute
from calib.network.float_network import FloatNetwork
from calib.observers.observer import batch_size
from calib.observers.second_moments import gram

PROJECTIONS = 4  # of each image's outputs
MOST_IMAGES = 64


def output_curvatures(
    network: FloatNetwork,
    images: np.ndarray,
    layers: set[str],
    seed: int = 0,
    progress: Callable[[str], None] = lambda text: None,
) -> dict[str, torch.Tensor]:
    """Curvature of the outputs' squared error in the sums of each layer, float64 [filters, filters] by node name.

    An error that is e [filters] at a pixel of the layer's sums, before its activation, costs e^T G e at the network's outputs: to first
    order, in the mean over pixels and images, and up to a factor of the layer. The gradients are those of seeded random
    projections of the outputs, which count as of ``float_model.output_weights``. So few samples of so many filters seem to
    depend on each other where they do not, therefore what lies off the diagonal counts less, the fewer samples there are.
    images: normalised, float32 [N, C, H, W], of which at most MOST_IMAGES, evenly spread, take part. layers: names of nodes that have weights.
    """
    chosen = images[:: -(-len(images) // MOST_IMAGES)]
    rng, size, moments = np.random.default_rng(seed), batch_size(network), {}
    for start in range(0, len(chosen), size):
        progress(f"curvature of the output, image {start + 1} of {len(chosen)}")
        for name, moment in _moments(network, torch.from_numpy(chosen[start : start + size]), layers, rng).items():
            moments[name] = moments.get(name, 0.0) + moment
    return {name: shrunk(moment, PROJECTIONS * len(chosen)) for name, moment in moments.items()}


def shrunk(moment: torch.Tensor, samples: int) -> torch.Tensor:
    """A second moment [F, F] drawn towards its diagonal, the more so the more dimensions it has for its samples."""
    trusted = samples / (samples + len(moment))
    return trusted * moment + (1 - trusted) * torch.diag(moment.diagonal())


def _moments(
    network: FloatNetwork, images: torch.Tensor, layers: set[str], rng: np.random.Generator
) -> dict[str, torch.Tensor]:
    """Sums of g g^T over the gradients g of all pixels of these images, float64 [filters, filters] by node name."""
    graph, sums = network.graph, {}

    def compute(node: Node, operands: list[torch.Tensor]) -> torch.Tensor:
        found = float_model.accumulate(node, network, operands)
        if node.name in layers:
            sums[node.name] = found if found.requires_grad else found.requires_grad_(True)
        return float_model.activate(node, network, found)

    with torch.enable_grad():
        out = execute(graph, compute, network.entry(images), keep=graph.outputs)
        if not sums:  # no layer of the network has weights
            return {}
        weights = float_model.output_weights(graph, {t: x.detach() for t, x in out.items()})
        moments: dict[str, torch.Tensor] = {}
        for _ in range(PROJECTIONS):
            projected = []
            for t in graph.outputs:
                signs = torch.from_numpy(rng.integers(0, 2, (len(images), *graph.shapes[t])) * 2 - 1).float()
                projected.append((out[t] * signs).sum() * weights[t] ** 0.5)
            gradients = torch.autograd.grad(sum(projected), list(sums.values()), retain_graph=True, allow_unused=True)
            for name, gradient in zip(sums, gradients):
                if gradient is not None:
                    moments[name] = moments.get(name, 0.0) + gram(gradient.transpose(0, 1).flatten(1)).double()
    return moments
