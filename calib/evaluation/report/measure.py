"""Runs sample images through both networks and measures the errors of every tensor.

Two errors are told apart. A layer's *own* error: the golden model's output
against float arithmetic on the same (dequantised) operands, so nothing that
happened before counts. The *accumulated* error: the golden model's output
against the float network's tensor.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from bfp import golden
from bfp.artifact import Artifact
from bfp.errors import BfpError
from bfp.format import BlockFormat
from bfp.names import COMMAND
from calib.network import float_model
from calib.network.fake_quant import dequantise, scales
from calib.network.float_network import FloatNetwork
from calib.progress import Progress
from calib.observers.statistics import Histogram

BATCH_VALUES = 1 << 25  # of all tensors together, in one batch


@dataclass
class Totals:
    """Sums over all images of one tensor.

    Powers (signal, noise, ...) are in squares of ``unit``, the coarsest least
    significant bit of the tensor, so that extreme exponents cannot overflow.
    signal, noise: of the layer's own output and error; saturation: the part of
    the noise from values beyond the mantissa range; rounding: what rounding to
    the mantissa grid alone would cost the other values. reference, difference:
    power of the float network's tensor and of the golden model's deviation.
    values, saturated, vanished: counts of all values, of those clipped, and of
    those that are not zero but are stored as zero.
    channel_noise, channel_power: the noise and the stored power of each channel, float64 [C];
    channel_error: the sum of its errors, in ``unit``.
    top: largest |mantissa| per channel, int64 [C]; histogram: of the float
    network's |x|; maximum: its largest |x| per channel, float64 [C].
    """

    fmt: BlockFormat
    histogram: Histogram
    top: np.ndarray
    maximum: np.ndarray
    channel_noise: np.ndarray
    channel_power: np.ndarray
    channel_error: np.ndarray
    signal: float = 0.0
    saturation: float = 0.0
    rounding: float = 0.0
    reference: float = 0.0
    difference: float = 0.0
    values: int = 0
    saturated: int = 0
    vanished: int = 0

    @staticmethod
    def of(fmt: BlockFormat) -> "Totals":
        return Totals(fmt, Histogram(fmt.splits), np.zeros(fmt.channels, np.int64), *np.zeros((4, fmt.channels)))

    @property
    def noise(self) -> float:
        return float(self.channel_noise.sum())

    @property
    def unit(self) -> float:
        return 2.0 ** max(self.fmt.exponents)

    def add(self, mantissas: np.ndarray, own: torch.Tensor, reference: torch.Tensor, left_out: float = 0.0) -> None:
        """Add a batch: golden mantissas, own float result, float network's tensor, all [N, C, H, W].

        left_out: a constant that mantissas leave out; it is no part of the other two, but of the signal.
        """
        low, high = self.fmt.low, self.fmt.high
        lsb = scales(self.fmt, torch.float32, max(self.fmt.exponents))
        q = torch.from_numpy(mantissas).float()
        stored, own = q * lsb, own / self.unit
        levels = own / lsb  # what would be rounded, in least significant bits
        nearest = torch.floor(levels + 0.5)
        clipped = (nearest < low) | (nearest > high)
        error = stored - own
        self.channel_error += error.sum(dim=(0, 2, 3), dtype=torch.float64).numpy()
        error.square_()
        self.signal += power(own + left_out / self.unit)
        self.channel_noise += error.sum(dim=(0, 2, 3), dtype=torch.float64).numpy()
        self.channel_power += stored.square().sum(dim=(0, 2, 3), dtype=torch.float64).numpy()
        self.values += own.numel()
        self.saturated += int(clipped.sum())
        self.vanished += int(((q == 0) & (own != 0)).sum())
        if bool(clipped.any()):
            self.saturation += float(error[clipped].sum(dtype=torch.float64))
        grid = (nearest.clamp_(low, high) * lsb - own).square_()
        self.rounding += float(grid.masked_fill_(clipped, 0).sum(dtype=torch.float64))
        scaled = reference / self.unit
        self.reference += power(scaled + left_out / self.unit)
        self.difference += power(stored - scaled)
        np.maximum(self.top, np.abs(mantissas).max(axis=(0, 2, 3)), out=self.top)
        magnitude = reference.abs()
        maximum = magnitude.amax(dim=(0, 2, 3)).double().numpy()
        np.maximum(self.maximum, maximum, out=self.maximum)
        self.histogram.add(magnitude, maximum)


def power(x: torch.Tensor) -> float:
    return float(x.square().sum(dtype=torch.float64))


@torch.no_grad()
def measure(network: FloatNetwork, artifact: Artifact, images: np.ndarray) -> dict[str, Totals]:
    """Totals by tensor name, the input's included, in the graph's order.

    images: normalised float32 [N, C, H, W]. Raises BfpError where the artifact
    is not this network's or a tensor is not finite.
    """
    graph = network.graph
    if artifact.graph != graph:
        raise BfpError(f"the artifact of {artifact.graph.name} is not this network's; run `{COMMAND} calibrate` again")
    totals = {t: Totals.of(artifact.formats[t]) for t in (*graph.inputs, *(n.output for n in graph.nodes))}
    producer = {n.output: n for n in graph.nodes}
    step = max(1, BATCH_VALUES // sum(int(np.prod(s)) for s in graph.shapes.values()))
    with Progress(f"{graph.name}: report on {len(images)} images", len(images)) as progress:
        for start in range(0, len(images), step):
            batch = images[start : start + step]
            stored = golden.run(artifact, golden.quantise_input(artifact, batch))

            def observe(tensor: str, reference: torch.Tensor) -> None:
                if not bool(torch.isfinite(reference).all()):
                    raise BfpError(f"network {graph.name}: tensor {tensor} holds NaN or infinity; check its weights")
                node = producer.get(tensor)
                own = reference
                if node is not None:
                    operands = [dequantise(stored[t], artifact.formats[t], torch.float32) for t in node.inputs]
                    own = float_model.compute(node, network, operands)
                left_out = artifact.offset(tensor)
                totals[tensor].add(stored[tensor], own - left_out, reference - left_out, left_out)

            float_model.run(network, torch.from_numpy(batch), keep=(), observe=observe)
            progress.step(len(batch))
    return totals
