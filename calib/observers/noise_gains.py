"""How much of a channel's rounding noise reaches the network's output: squared gradients."""

from __future__ import annotations

import numpy as np
import torch

from calib.network import float_model
from calib.network.executor import execute
from calib.network.float_network import FloatNetwork


def noise_gains(network: FloatNetwork, images: torch.Tensor, seed: int = 0) -> dict[str, np.ndarray]:
    """Noise power at the network's outputs for noise of power one in each channel, float64 [C] by tensor.

    From the gradients of a seeded random projection of the outputs: to first
    order, and summed over the channel's pixels. Outputs count as of ``float_model.output_weights``.
    images: normalised [N, C, H, W].
    """
    graph = network.graph
    rng = np.random.default_rng(seed)
    gains = {}

    def watched(tensor: str, x: torch.Tensor) -> torch.Tensor:
        def keep(gradient: torch.Tensor) -> None:
            gains[tensor] = gradient.double().square().sum((0, 2, 3)).numpy() / len(images)

        x.register_hook(keep)  # the gradient itself is not kept
        return x

    compute = float_model.computing(network)
    with torch.enable_grad():
        entry = {t: watched(t, x.clone().requires_grad_(True)) for t, x in network.entry(images).items()}
        out = execute(
            graph,
            lambda node, operands: watched(node.output, compute(node, operands)),
            entry,
            keep=graph.outputs,
        )
        weights = float_model.output_weights(graph, {t: x.detach() for t, x in out.items()})
        projected = []
        for t in graph.outputs:
            signs = torch.from_numpy(rng.integers(0, 2, (len(images), *graph.shapes[t])) * 2 - 1).float()
            projected.append((out[t] * signs).sum() * weights[t] ** 0.5)
        sum(projected).backward()
    return gains
