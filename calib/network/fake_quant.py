"""The artifact in real numbers: dequantised weights and activations, rounded where the integers are.

A second opinion on the numeric contract. Convolutions run in torch float64
(exact: every sum is an integer multiple of the accumulator's exponent and
below 2**31 of them), six is 6.0, averages are divided, and only then is the
result rounded and saturated. Nothing is shared with bfp.golden.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from bfp import golden
from bfp.artifact import Artifact
from bfp.format import BlockFormat
from bfp.graph import Node
from bfp.parameters import Parameters, clamp_integer
from bfp.activations import ACTIVATIONS
from calib.network.float_model import compute
from calib.network.float_network import FloatNetwork, FloatWeights


SIX = ACTIVATIONS["relu6"].high


@dataclass(frozen=True)
class NodeDifference:
    """Stored mantissas of one node's output against the golden model's.

    values: how many were compared; differing: how many differ; worst: by how
    many least significant bits; allowed: what the contract lets them differ.
    """

    node: str
    op: str
    values: int
    differing: int
    worst: int
    allowed: int

    @property
    def ok(self) -> bool:
        return self.worst <= self.allowed


def real_network(artifact: Artifact) -> FloatNetwork:
    """The artifact's weights and biases as float64 values: mantissa times power of two."""
    weights = {}
    for name, p in artifact.parameters.items():
        if p.weights is None:
            continue
        scale = np.exp2(p.weights.exponents.astype(np.float64))
        per_channel = np.repeat(scale, np.diff(p.weights.splits), axis=1)
        values = p.weights.mantissas.astype(np.float64) * per_channel[:, :, None, None]
        weights[name] = FloatWeights(values, p.bias * np.exp2(p.acc_exponent.astype(np.float64)), scaled_limit(p))
    return FloatNetwork(artifact.graph, weights)


def scaled_limit(p: Parameters) -> np.ndarray | None:
    """Real ReLU6 limits [filters] of a layer whose channels were scaled; None where the limit is six."""
    if p.clamp_high is None or np.array_equal(p.clamp_high, clamp_integer(p.acc_exponent, SIX)):
        return None
    return p.clamp_high * np.exp2(p.acc_exponent.astype(np.float64))


def scales(fmt: BlockFormat) -> torch.Tensor:
    """Value of the least significant bit per channel, float64 [C, 1, 1]."""
    exponents = [e for e, a, b in zip(fmt.exponents, fmt.splits, fmt.splits[1:]) for _ in range(a, b)]
    return torch.exp2(torch.tensor(exponents, dtype=torch.float64))[:, None, None]


def round_to(values: torch.Tensor, fmt: BlockFormat) -> torch.Tensor:
    """The nearest representable values, halves upward, saturated; float64, same shape."""
    lsb = scales(fmt)
    return torch.clamp(torch.floor(values / lsb + 0.5), fmt.low, fmt.high) * lsb


@torch.no_grad()
def compute_node(artifact: Artifact, network: FloatNetwork, node: Node, operands: list[torch.Tensor]) -> torch.Tensor:
    """One node's stored output values, float64, from its operands' values."""
    out = compute(node, network, operands)
    return out if node.op == "concat" else round_to(out, artifact.formats[node.output])


@torch.no_grad()
def run(artifact: Artifact, images: np.ndarray) -> np.ndarray:
    """Output values, float64 [N, outputs], of normalised images [N, C, H, W], all in real numbers."""
    graph, network = artifact.graph, real_network(artifact)
    entry = torch.from_numpy(artifact.preprocessing.scaled(np.asarray(images, np.float64)))
    values = {graph.input: round_to(entry, artifact.formats[graph.input])}
    for node in graph.nodes:
        values[node.output] = compute_node(artifact, network, node, [values[t] for t in node.inputs])
    return artifact.logits(values[graph.output].numpy())


def tolerance(artifact: Artifact, node: Node) -> int:
    """Least significant bits by which the contract's integers may differ from real arithmetic."""
    allowed = 1 if node.op == "avg_pool" else 0
    coarse = artifact.parameters[node.name].acc_exponent
    if node.activation == "relu6" and coarse.max() > 1:
        # 6 = 3 * 2**1 is no integer there: the clamp is off by up to half an accumulator bit
        error = np.exp2(coarse - 1.0 - artifact.formats[node.output].channel_exponents())
        allowed += int(np.ceil(error[coarse > 1].max()))
    return allowed


def check(artifact: Artifact, mantissas: np.ndarray) -> list[NodeDifference]:
    """Compare every node with the golden model, fed with the golden model's own operands.

    mantissas: int [N, C, H, W] of the network's input. An average pool may
    differ by one least significant bit (its reciprocal is fixed-point), a
    ReLU6 on an accumulator coarser than 2**1 by the rounding of its six, all
    else by nothing.
    """
    reference = golden.run(artifact, mantissas)
    network = real_network(artifact)
    report = []
    for node in artifact.graph.nodes:
        operands = [
            torch.from_numpy(reference[t].astype(np.float64)) * scales(artifact.formats[t]) for t in node.inputs
        ]
        values = compute_node(artifact, network, node, operands) / scales(artifact.formats[node.output])
        difference = np.abs(values.numpy() - reference[node.output])
        allowed = 0 if node.op == "concat" else tolerance(artifact, node)
        report.append(
            NodeDifference(
                node.name,
                node.op,
                difference.size,
                int(np.count_nonzero(difference)),
                int(np.ceil(difference.max(initial=0))),
                allowed,
            )
        )
    return report
