"""How much of a channel's rounding noise reaches the network's output: squared gradients."""

from __future__ import annotations

import numpy as np
import torch

from calib.network import float_model
from calib.network.executor import execute
from calib.network.float_network import FloatNetwork


def noise_gains(network: FloatNetwork, images: torch.Tensor, seed: int = 0) -> dict[str, np.ndarray]:
    """Noise power at the network's output for noise of power one in each channel, float64 [C] by tensor.

    From the gradients of a seeded random projection of the outputs: to first
    order, and summed over the channel's pixels. images: normalised [N, C, H, W].
    """
    graph = network.graph
    signs = np.random.default_rng(seed).integers(0, 2, (len(images), *graph.shapes[graph.output])) * 2 - 1
    gains = {}

    def watched(tensor: str, x: torch.Tensor) -> torch.Tensor:
        def keep(gradient: torch.Tensor) -> None:
            gains[tensor] = gradient.double().square().sum((0, 2, 3)).numpy() / len(images)

        x.register_hook(keep)  # the gradient itself is not kept
        return x

    compute = float_model.computing(network)
    with torch.enable_grad():
        entry = watched(graph.input, network.entry(images).clone().requires_grad_(True))
        out = execute(
            graph,
            lambda node, operands: watched(node.output, compute(node, operands)),
            {graph.input: entry},
            keep=[graph.output],
        )[graph.output]
        (out * torch.from_numpy(signs).float()).sum().backward()
    return gains
