"""Online block floating point, in float emulation: a reference for comparison, which no artifact can hold.

A block's exponent follows the largest value that it holds at run time, image
by image, as in the accelerators that static exponents are published against:
Song et al., "Computation Error Analysis of Block Floating Point Arithmetic
Oriented Convolution Neural Network Accelerator Design" (AAAI 2018), and Fan et
al., "Reconfigurable Acceleration of 3D-CNNs for Human Action Recognition with
Block Floating-Point Representation" (FPL 2018). Fan et al., "Static Block
Floating-Point Quantization for Convolutional Neural Networks on FPGA" (FPT
2019) fixes the exponents before deployment, to save the search for the maximum
and the realignment.

Blocks, widths, signs and the places where values are rounded are those that
the static method has with the same options; the exponents of weights are fixed
offline in both. The accumulator's limits, of shifts and of 32 bits, do not
apply. Sums are taken in float64, where products of mantissas are exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from bfp.errors import BfpError
from bfp.files import write_json
from bfp.format import exponent_for_maximum, mantissa_range
from bfp.graph import Node
from calib.data.images import ImageSet
from calib.evaluation.evaluate import images_to_evaluate
from calib.evaluation.baselines.variable_kernels import variable_kernels
from calib.evaluation.outputs import OutputTallies
from calib.evaluation.tally import remaining
from calib.formats.layer_options import LayerOptions
from calib.formats.plan import FormatPlan, weight_splits
from calib.formats.weights import WeightBlocks
from calib.judge import informed
from calib.network import float_model
from calib.network.executor import execute
from calib.network.fake_quant import weight_scales
from calib.network.float_network import FloatNetwork, FloatWeights
from calib.observers.observer import batch_size
from calib.options import DSCONV, ONLINE
from calib.pipeline import Prepared
from calib.used_files import write_record


def round_online(x: torch.Tensor, splits: tuple[int, ...], bits: int, signed: bool) -> torch.Tensor:
    """Every block of every image at the smallest exponent at which nothing of it saturates.

    x: [N, C, H, W], float64; splits: channel boundaries of the blocks. Returns
    the nearest representable values, halves upward, same shape. Without
    ``signed``, mantissas are 0 .. 2**bits - 1 and negative values become 0.
    """
    low, high = mantissa_range(bits, signed)
    largest = (x if signed else x.clamp(min=0)).abs().flatten(2).amax(2).numpy()
    exponents = exponent_for_maximum(np.maximum.reduceat(largest, splits[:-1], axis=1), bits, signed)
    per_channel = np.repeat(np.exp2(exponents.astype(np.float64)), np.diff(splits), axis=1)
    lsb = torch.from_numpy(per_channel)[:, :, None, None]
    return torch.clamp(torch.floor(x / lsb + 0.5), low, high) * lsb


def static_weights(node: Node, weight: np.ndarray, splits: tuple[int, ...], chosen: LayerOptions) -> np.ndarray:
    """The values of weights [F, C, kh, kw] at exponents fixed offline, float64, same shape; splits: of blocks of C."""
    blocks = WeightBlocks(weight, splits, chosen.weights, node.operator, chosen.weight_method)
    rounded = blocks.quantise(blocks.natural)
    return rounded.mantissas * weight_scales(rounded)


Rounded = Callable[[Node, np.ndarray, tuple[int, ...], LayerOptions], np.ndarray]
ROUNDED: dict[str, Rounded] = {ONLINE: static_weights, DSCONV: variable_kernels}  # by the reference's method


class OnlineNetwork:
    """A float network whose weights are rounded once and whose activations are rounded online.

    The format of every stored tensor (all but concatenations, which only place
    their branches) is the one that ``plan`` gives the static method. rounded: what
    becomes of a layer's weights, an entry of ROUNDED.
    """

    def __init__(self, network: FloatNetwork, plan: FormatPlan, rounded: Rounded = static_weights) -> None:
        graph = network.graph
        self.plan = plan
        segments = graph.segments()
        weights = {}
        for node in graph.weighted():
            chosen, floats = self.plan.layers[node.name], network.weights[node.name]
            values = rounded(node, floats.weight, weight_splits(node, segments, chosen.weight_group), chosen)
            weights[node.name] = FloatWeights(values, floats.bias.astype(np.float64), floats.limit)
        self.network = replace(network, weights=weights)

    def _rounded(self, tensor: str, x: torch.Tensor) -> torch.Tensor:
        if not torch.isfinite(x).all():
            producer = self.network.graph.producer(tensor)
            where = f"layer {producer.name}" if producer else "the input"
            raise BfpError(
                f"network {self.network.graph.name}: the activations of {where} hold NaN or infinity; "
                "check the weights file and the input's mean and std"
            )
        if tensor in self.plan.indexed:  # a table needs exponents that stay: here the function is of the sum itself
            return x
        return round_online(x, self.plan.splits[tensor], self.plan.bits[tensor], self.plan.signed[tensor])

    @torch.no_grad()
    def run(self, images: np.ndarray, keep: Iterable[str] | None = None) -> dict[str, torch.Tensor]:
        """All tensors, float64 [N, C, H, W] by name, of normalised images [N, C, H, W]; with ``keep`` those named."""
        graph, network = self.network.graph, self.network
        entry = network.entry(torch.from_numpy(np.asarray(images, np.float64)))
        return execute(graph, float_model.computing(network), entry, keep, store=self._rounded)

    def logits(self, images: np.ndarray) -> np.ndarray:
        """All outputs side by side, float64 [N, values], of normalised images [N, C, H, W]."""
        found = self.run(images, keep=self.network.graph.outputs)
        return float_model.side_by_side(self.network, found).numpy()


def compare(prepared: Prepared, images: ImageSet) -> dict:
    """Accuracy and agreement of the reference that the file's method names: ``Tally.figures``.

    Raises BfpError where a label is no class of the network, or a value is not finite (named layer).
    """
    network = prepared.network
    tallies = OutputTallies.of(network.graph, informed(prepared.state.judge, images))
    method = prepared.config.bfp.method
    online = OnlineNetwork(network, prepared.state.plan, ROUNDED[method])
    what = f"{network.graph.name}: {method} reference on {len(images)} images"
    for batch in remaining(tallies.main, images, batch_size(network), what):
        reference = float_model.logits(network, torch.from_numpy(batch)).double().numpy()
        tallies.add(reference, online.logits(batch))
    return tallies.figures()


def evaluate(prepared: Prepared, folder: Path, limit: int | None = None) -> dict:
    """Compare over the file's evaluation images (its calibration images where it names none); write evaluation.json."""
    config, images = prepared.config, images_to_evaluate(prepared, limit)
    result = {
        "network": config.name,
        **compare(prepared, images),
        "weights": prepared.weights,
        "method": config.bfp.method,
        "weight_bits": config.bfp.weights,
        "activation_bits": config.bfp.activations,
        "artifact": None,
        "notes": [
            *("exponents found at run time, in float emulation: for reference", *prepared.notes, *images.notes),
            *filter(None, [prepared.state.judge.note]),
        ],
    }
    write_json(folder / "evaluation.json", result)
    write_record(folder / "evaluate.files.json", prepared.files)
    return result
