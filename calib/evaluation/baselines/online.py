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

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from bfp.artifact import Preprocessing
from bfp.errors import BfpError
from bfp.files import write_json
from bfp.format import exponent_for_maximum, mantissa_range
from calib.network import float_model
from calib.config import ONLINE, BfpOptions
from calib.network.float_network import FloatNetwork, FloatWeights
from calib.formats.activations import weight_splits
from calib.data.images import ImageSet, open_images
from calib.pipeline import Prepared, batch_size
from calib.progress import Progress
from calib.formats.solver import plan
from calib.formats.weights import WeightBlocks


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


class OnlineNetwork:
    """A float network whose weights are rounded once and whose activations are rounded online.

    The format of every stored tensor (all but concatenations, which only place
    their branches) is the one that ``options`` give the static method. Raises
    BfpError for an override that matches no layer.
    """

    def __init__(self, network: FloatNetwork, options: BfpOptions, pre: Preprocessing) -> None:
        graph = network.graph
        self.plan = plan(graph, options, pre)
        segments = graph.segments()
        weights = {}
        for node in graph.nodes:
            if node.name not in network.weights:
                continue
            chosen, floats = self.plan.layers[node.name], network.weights[node.name]
            splits = weight_splits(node, segments, chosen.weight_group)
            blocks = WeightBlocks(floats.weight, splits, chosen.weights, node.operator, chosen.weight_method)
            scale = np.repeat(np.exp2(blocks.natural.astype(np.float64)), np.diff(splits), axis=1)
            values = blocks.quantise(blocks.natural).mantissas * scale[:, :, None, None]
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
        return round_online(x, self.plan.splits[tensor], self.plan.bits[tensor], self.plan.signed[tensor])

    @torch.no_grad()
    def run(self, images: np.ndarray) -> dict[str, torch.Tensor]:
        """All tensors, float64 [N, C, H, W] by name, of normalised images [N, C, H, W]."""
        return self._run(images, keep_all=True)

    @torch.no_grad()
    def logits(self, images: np.ndarray) -> np.ndarray:
        """Output values, float64 [N, outputs], of normalised images [N, C, H, W]."""
        output = self.network.graph.output
        return self._run(images, keep_all=False)[output].flatten(1).numpy() * self.network.output_scale

    def _run(self, images: np.ndarray, keep_all: bool) -> dict[str, torch.Tensor]:
        graph = self.network.graph
        entry = self.network.entry(torch.from_numpy(np.asarray(images, np.float64)))
        values = {graph.input: self._rounded(graph.input, entry)}
        last_use = {t: i for i, node in enumerate(graph.nodes) for t in node.inputs}
        for i, node in enumerate(graph.nodes):
            out = float_model.compute(node, self.network, [values[t] for t in node.inputs])
            values[node.output] = out if node.op == "concat" else self._rounded(node.output, out)
            if not keep_all:
                for t in set(node.inputs):
                    if last_use[t] == i and t != graph.output:
                        del values[t]
        return values


def compare(prepared: Prepared, images: ImageSet) -> dict:
    """Accuracy and agreement of the online network; keys and units as in ``calib.evaluation.evaluate.compare``."""
    network, labels = prepared.network, images.labels
    online = OnlineNetwork(network, prepared.config.bfp, prepared.config.input)
    hits = {"float": 0, "bfp": 0, "same": 0}
    signal = noise = 0.0
    done = 0
    with Progress(f"{network.graph.name}: online reference on {len(images)} images", len(images)) as progress:
        for batch in images.batches(batch_size(network)):
            reference = float_model.logits(network, torch.from_numpy(batch)).double().numpy()
            quantised = online.logits(batch)
            best_float, best_bfp = reference.argmax(1), quantised.argmax(1)
            hits["same"] += int((best_float == best_bfp).sum())
            if labels is not None:
                truth = labels[done : done + len(batch)]
                hits["float"] += int((best_float == truth).sum())
                hits["bfp"] += int((best_bfp == truth).sum())
            signal += float((reference**2).sum())
            noise += float(((reference - quantised) ** 2).sum())
            done += len(batch)
            progress.step(len(batch))
    return {
        "images": done,
        "top1_float": None if labels is None else hits["float"] / done,
        "top1_bfp": None if labels is None else hits["bfp"] / done,
        "agreement": hits["same"] / done,
        "sqnr_db": 10 * float(np.log10(signal / noise)) if signal > 0 and noise > 0 else None,
    }


def evaluate(prepared: Prepared, folder: Path, limit: int | None = None) -> dict:
    """Compare over the file's evaluation images (its calibration images where it names none); write evaluation.json."""
    config = prepared.config
    if config.evaluation is not None:
        images = open_images(config.evaluation, config.input, config.seed)
    else:
        images = prepared.calibration
    if limit is not None and images.augment == 1:
        images = replace(images, items=images.items[:limit])
    result = {
        "network": config.name,
        **compare(prepared, images),
        "weights": prepared.weights,
        "method": ONLINE,
        "weight_bits": config.bfp.weights,
        "activation_bits": config.bfp.activations,
        "artifact": None,
        "notes": ["exponents found at run time, in float emulation: for reference", *prepared.notes, *images.notes],
    }
    write_json(folder / "evaluation.json", result)
    return result
