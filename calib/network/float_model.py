"""The float network, executed from the engine's graph in torch float32.

Calibration observes it and evaluation compares with it. Running the graph,
not the original module, also proves that the import preserved the function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import torch

from bfp import host_operators
from bfp.artifact import one_or_all
from bfp.errors import BfpError
from bfp.graph import Graph, Node
from bfp.joined import results
from calib.network.executor import execute
from calib.network.float_network import FloatNetwork
from calib.network.float_ops import ACTIVATE, APPLY, JOIN


@torch.no_grad()
def run(
    network: FloatNetwork,
    images: torch.Tensor,
    keep: Iterable[str] | None = None,
    observe: Callable[[str, torch.Tensor], None] | None = None,
) -> dict[str, torch.Tensor]:
    """All tensors of the network for a batch of normalised images [N, C, H, W], float32.

    Returns [N, C, H, W] by tensor name; with ``keep`` only those named (the
    others are freed after their last use). ``observe(name, tensor)`` sees each
    tensor as it is computed, the input included. Raises BfpError where the
    images have another shape than the network's input.
    """
    graph = network.graph
    expected = graph.image_shape
    if images.ndim != 4 or tuple(images.shape[1:]) != tuple(expected):
        raise BfpError(f"network {graph.name} takes images of shape {expected}, got {tuple(images.shape[1:])}")
    return execute(graph, computing(network), network.entry(images.float()), keep, observe)


def logits(network: FloatNetwork, images: torch.Tensor) -> torch.Tensor:
    """All outputs of the network side by side for a batch [N, C, H, W], flattened to [N, values]."""
    found = run(network, images, keep=network.graph.outputs)
    return side_by_side(network, found)


def side_by_side(network: FloatNetwork, tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """All outputs, each flattened, [N, values], from their tensors [N, C, H, W] by name."""
    outputs = network.graph.outputs
    return torch.cat([tensors[t].flatten(1) * network.output_scales.get(t, 1.0) for t in outputs], dim=1)


def returned(network: FloatNetwork, images: torch.Tensor) -> np.ndarray | dict[str, np.ndarray]:
    """What the network returns for a batch, float64 [N, ...]: what the host computes is done, too.

    Of several results a dict by their names.
    """
    parts = network.graph.output_parts(logits(network, images).cpu().double().numpy())
    each = {t: host_operators.apply(network.hosts.get(t, ()), values) for t, values in parts.items()}
    return one_or_all(results(each, network.joins))


def output_weights(graph: Graph, tensors: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """By how much the squared errors of each output count where those of all are added up.

    An output is worth as much as any other, whatever its unit and its size: its own mean power of an image, in
    tensors [N, C, H, W] by name, is one. Of an only output, errors count as they are.
    """
    if len(graph.outputs) == 1:
        return {graph.outputs[0]: 1.0}
    power = {t: float(tensors[t].double().square().sum()) / len(tensors[t]) for t in graph.outputs}
    return {t: 1.0 / p if p > 0 else 1.0 for t, p in power.items()}


def computing(network: FloatNetwork) -> Callable[[Node, list[torch.Tensor]], torch.Tensor]:
    """``compute`` of this network's nodes, for ``calib.network.executor.execute``."""
    return lambda node, operands: compute(node, network, operands)


def compute(node: Node, network: FloatNetwork, operands: list[torch.Tensor]) -> torch.Tensor:
    """One node's output [N, C', OH, OW] from its operands [N, C, H, W], in their precision (the weights' too).

    Raises BfpError for an operator or an activation that the float model lacks.
    """
    return activate(node, network, accumulate(node, network, operands))


def accumulate(node: Node, network: FloatNetwork, operands: list[torch.Tensor]) -> torch.Tensor:
    """One node's result, joined by its shortcut, before its activation; shapes as of ``compute``."""
    out = APPLY[node.op](node, network, operands)
    return JOIN[node.operator.join](out, operands[1]) if node.shortcut else out


def activate(node: Node, network: FloatNetwork, x: torch.Tensor) -> torch.Tensor:
    """The node's activation of a sum [N, C, H, W], with the limits that its scaled channels have."""
    weights = network.weights.get(node.name)
    return ACTIVATE[node.activation](x, None if weights is None else weights.limit)
