"""The artifact in real numbers: dequantised weights and activations, rounded where the integers are.

In float64 it is a second opinion on the numeric contract. Convolutions are exact there (every sum is an integer
multiple of the accumulator's exponent and below 2**31 of them), six is 6.0, averages are divided, and only then is the
result rounded and saturated. Nothing is shared with bfp.golden. In float32 it is the fast view by which calibration
judges what it chooses.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from bfp import golden
from bfp.artifact import Artifact
from bfp.format import BlockFormat, exact_exponent
from bfp.graph import Node
from bfp.parameters import Parameters, Weights, clamp_integer
from bfp.tables import computes, operator_table
from calib.network.executor import execute
from calib.network.float_model import compute, computing
from calib.network.float_network import FloatNetwork, FloatWeights

# least significant bits by which an operator's integers may differ from real arithmetic, whatever its activation
TOLERANCE = operator_table(
    "fake quantisation",
    {
        "conv": 0,
        "depthwise": 0,
        "max_pool": 0,
        "avg_pool": 1,  # its reciprocal is fixed-point
        "add": 0,
        "maximum": 0,
        "minimum": 0,
        "multiply": 0,
        "identity": 0,
        "slice_pad": 0,
        "upsample_nearest": 0,
        "upsample_bilinear": 0,
        "depth_to_space": 0,
        "pad_edge": 0,
        "interpolate": 0,
        "lookup": 1,  # functions of torch and of NumPy differ in a last bit, which may decide a rounding
    },
    computes,
)


def scales(fmt: BlockFormat, dtype: torch.dtype = torch.float64, base: int = 0) -> torch.Tensor:
    """Value of the least significant bit of every channel, divided by ``2**base``, [C, 1, 1]."""
    return torch.from_numpy(np.exp2(fmt.channel_exponents() - float(base))).to(dtype)[:, None, None]


def dequantise(mantissas: np.ndarray, fmt: BlockFormat, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """The values of mantissas, int [N, C, H, W], same shape."""
    return torch.from_numpy(mantissas).to(dtype) * scales(fmt, dtype)


def fake_quantise(values: torch.Tensor, fmt: BlockFormat) -> torch.Tensor:
    """The nearest representable values of [N, C, H, W], halves upward, saturated; same shape and dtype.

    Powers of two scale exactly in float32, too.
    """
    lsb = scales(fmt, values.dtype)
    return (values / lsb).add_(0.5).floor_().clamp_(fmt.low, fmt.high).mul_(lsb)


def weight_scales(weights: Weights) -> np.ndarray:
    """Value of the least significant bit of every weight, float64 [filters, input channels (1 for depthwise), 1, 1]."""
    return np.repeat(np.exp2(weights.exponents.astype(np.float64)), np.diff(weights.splits), axis=1)[:, :, None, None]


def real_weights(node: Node, p: Parameters, dtype: type = np.float64) -> FloatWeights:
    """Weights and biases of a layer's integers: mantissa times power of two."""
    weight = p.weights.mantissas * weight_scales(p.weights)
    bias = p.bias * np.exp2(p.acc_exponent.astype(np.float64))
    limit = scaled_limit(node, p)
    return FloatWeights(weight.astype(dtype), bias.astype(dtype), None if limit is None else limit.astype(dtype))


def scaled_limit(node: Node, p: Parameters) -> np.ndarray | None:
    """Real upper limits [filters] of a layer whose channels were scaled; None where the activation's own holds."""
    if p.clamp_high is None or np.array_equal(p.clamp_high, clamp_integer(p.acc_exponent, node.act.high)):
        return None
    return p.clamp_high * np.exp2(p.acc_exponent.astype(np.float64))


def real_network(artifact: Artifact, dtype: type = np.float64) -> FloatNetwork:
    """The artifact's weights and biases as real values."""
    layers = artifact.graph.weighted()
    return FloatNetwork(artifact.graph, {n.name: real_weights(n, artifact.parameters[n.name], dtype) for n in layers})


@torch.no_grad()
def run(
    artifact: Artifact, images: np.ndarray, network: FloatNetwork | None = None, dtype: type = np.float64
) -> np.ndarray:
    """All outputs side by side [N, values] of normalised images [N, C, H, W], computed in ``dtype``, all in real numbers.

    network: whose weights, of that dtype, take the place of the artifact's; only activations are quantised then.
    """
    graph, formats = artifact.graph, artifact.formats
    network = real_network(artifact, dtype) if network is None else network
    entry = {t: torch.from_numpy(x) for t, x in artifact.scaled(np.asarray(images, dtype)).items()}
    out = execute(
        graph,
        computing(network),
        entry,
        keep=graph.outputs,
        store=lambda tensor, x: fake_quantise(x, formats[tensor]),
    )
    return artifact.logits({t: x.numpy() for t, x in out.items()})


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


def tolerance(artifact: Artifact, node: Node) -> int:
    """Least significant bits by which the contract's integers may differ from real arithmetic."""
    if not node.operator.computes:
        return 0
    allowed, high = TOLERANCE[node.op], node.act.high
    acc = artifact.parameters[node.name].acc_exponent
    if high is None or acc.max() <= exact_exponent(high):
        return allowed
    # the limit is no integer there: the clamp is off by up to half an accumulator bit
    error = np.exp2(acc - 1.0 - artifact.formats[node.output].channel_exponents())
    return allowed + int(np.ceil(error[acc > exact_exponent(high)].max()))


@torch.no_grad()
def check(artifact: Artifact, mantissas: np.ndarray) -> list[NodeDifference]:
    """Compare every node with the golden model, fed with the golden model's own operands.

    mantissas: int [N, C, H, W] of the network's input. An average pool may
    differ by one least significant bit (its reciprocal is fixed-point), a
    ReLU6 on an accumulator coarser than 2**1 by the rounding of its six, all
    else by nothing.
    """
    reference = golden.run(artifact, mantissas)
    network, formats = real_network(artifact), artifact.formats
    report = []
    for node in artifact.graph.nodes:
        values = compute(node, network, [dequantise(reference[t], formats[t]) for t in node.inputs])
        if node.operator.computes:
            values = fake_quantise(values, formats[node.output])
        difference = np.abs((values / scales(formats[node.output])).numpy() - reference[node.output])
        report.append(
            NodeDifference(
                node.name,
                node.op,
                difference.size,
                int(np.count_nonzero(difference)),
                int(np.ceil(difference.max(initial=0))),
                tolerance(artifact, node),
            )
        )
    return report
