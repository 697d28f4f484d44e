"""Layer-wise reconstruction: weight rounding and bias correction from calibration images, layer after layer.

The float network and the quantised one run side by side over the same images.
Each layer is reconstructed from the inputs that the layers before it,
reconstructed already, really give it; its target is the float network's sum,
less what the quantised shortcut brings. The accumulator's and the maps' exponents stay as they are, so only the
proof of the accumulator has to be repeated; a filter that fails it keeps what
it had.

Weights are rounded by GPTQ, where ``rounding`` asks for it; "descent" is GPTQ, at few levels with twice as large a step
for the filters that err less with it, and then, in layers all of whose filters see the same inputs, coordinate descent by what errors cost
at the network's output (calib.reconstruction.descent).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from bfp.artifact import Artifact, operand_formats, verify
from bfp.errors import BfpError
from bfp.format import mantissa_range
from bfp.graph import Node
from bfp.limits import ACC_LIMIT, MAX_ALIGN_SHIFT
from bfp.operators import Join
from bfp.parameters import Parameters, Weights, accumulator_bound, derive
from bfp.tables import operator_table
from calib.network import float_model
from calib.network.executor import execute
from calib.network.fake_quant import fake_quantise, real_weights, weight_scales
from calib.network.float_network import FloatNetwork, FloatWeights
from calib.network.float_ops import APPLY, pad
from calib.observers.output_curvature import output_curvatures
from calib.options import DESCENT, NEAREST
from calib.reconstruction.descent import descend
from calib.reconstruction.gptq import fit, gptq, with_doubled_steps

IMAGE_VALUES = 1 << 26  # of the largest tensor, over all images that take part
SAMPLES = 16_384  # output positions of a layer; a wider layer gets SAMPLES_PER_INPUT for each input
SAMPLES_PER_INPUT = 4
DEPTHWISE_SAMPLES = 4096
MAX_INPUTS = 6144  # K x K float64 of a layer wider than that is not worth its gigabyte
RIDGES = (0.1, 1.0, 10.0, 100.0)  # the last all but keeps what was trained
FOLDS = 4  # parts of the images, each held out once
MOST_FOLDED = 1024  # inputs of a layer beyond which only one part is held out, for the time it takes
CHUNK = 4096
FEW_LEVELS = 3  # bits of weights from which on steps may be doubled; at 4 bits that gives nothing
MOST_COUPLED = 2048  # filters whose errors are weighed together: F x F and F x K of them, several times, in float64


def image_limit(network: FloatNetwork) -> int:
    """How many images may take part, so that two networks' live tensors stay within a gigabyte or two."""
    largest = max(int(np.prod(s)) for s in network.graph.shapes.values())
    return max(1, IMAGE_VALUES // largest)


class Pair(NamedTuple):
    """One tensor of both networks, [N, C, H, W] each: as the float network has it, and as the quantised one stores it."""

    exact: torch.Tensor
    rounded: torch.Tensor


@torch.no_grad()
def reconstruct(
    network: FloatNetwork,
    artifact: Artifact,
    images: np.ndarray,
    rounding: str,
    bias: bool,
    seed: int = 0,
    progress: Callable[[str], None] = lambda text: None,
    variants: int = 1,
) -> Artifact:
    """The artifact with weights rounded for least output error and means corrected (``bias``).

    rounding: one of calib.options.ROUNDINGS. images: normalised, float32 [N, C, H, W]; more than ``image_limit`` are
    not used. variants: so many images in a row come from one photograph.
    Deterministic for a seed. Every accumulator is proved again.
    """
    graph, parameters = artifact.graph, dict(artifact.parameters)
    place = {node.name: i for i, node in enumerate(graph.nodes)}
    images = np.asarray(images[: image_limit(network)], np.float32)
    batch, curvatures = network.entry(torch.from_numpy(images)), {}
    if rounding == DESCENT:
        coupled = {node.name for node in graph.weighted() if _coupled(node, network)}
        curvatures = output_curvatures(network, images, coupled, seed, progress)

    def compute(node: Node, operands: list[Pair]) -> Pair:
        progress(f"reconstructing layer {place[node.name] + 1} of {len(graph.nodes)}")
        exact, rounded = ([getattr(pair, which) for pair in operands] for which in Pair._fields)
        if not node.weighted:
            return Pair(float_model.compute(node, network, exact), float_model.compute(node, network, rounded))
        sums = float_model.accumulate(node, network, exact)
        floats, old = network.weights[node.name], parameters[node.name]
        layer = _Fitting(node, floats, old, artifact, seed + place[node.name], variants, curvatures.get(node.name))
        parameters[node.name] = layer.reconstructed(sums, rounded, rounding, bias)
        integers = FloatNetwork(graph, {node.name: real_weights(node, parameters[node.name], np.float32)})
        return Pair(float_model.activate(node, network, sums), float_model.compute(node, integers, rounded))

    def store(tensor: str, pair: Pair) -> Pair:
        return Pair(pair.exact, fake_quantise(pair.rounded, artifact.formats[tensor]))

    execute(graph, compute, {t: Pair(x, x) for t, x in batch.items()}, keep=(), store=store)
    result = replace(artifact, parameters=parameters)
    verify(result)
    return result


def _coupled(node: Node, network: FloatNetwork) -> bool:
    """Whether the errors of a layer's filters are weighed together: they see the same inputs, and are not too many."""
    filters, count = len(network.weights[node.name].weight), int(np.prod(network.weights[node.name].weight.shape[1:]))
    return not node.operator.weights.per_channel and filters <= MOST_COUPLED and count <= MAX_INPUTS


def best_ridge(
    floats: torch.Tensor, hessian: torch.Tensor, cross: torch.Tensor, parts: list[tuple[torch.Tensor, torch.Tensor]]
) -> float:
    """The ridge whose fit errs least on images that it was not fitted to.

    How far a layer's weights may be trusted to follow its calibration images
    differs by layer: large maps hold thousands of samples, small ones little
    more than one an image. parts: ``hessian`` and ``cross`` of images to hold
    out, one part after the other. Where all images are in one part, the last ridge.
    """
    errors = dict.fromkeys(RIDGES, 0.0)
    for h, c in parts:
        if torch.equal(h, hessian):
            return RIDGES[-1]
        for ridge in RIDGES:
            w = fit(floats, hessian - h, cross - c, ridge)
            errors[ridge] += float(((w @ h - 2 * c) * w).sum())  # less the targets' own square
    return min(reversed(RIDGES), key=errors.get)


def _moments(
    inputs: torch.Tensor, outputs: torch.Tensor, images: np.ndarray, of: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sums of x x^T and of target x^T, float64, over the samples of some of the images."""
    each = inputs.shape[2] // of
    at = torch.from_numpy((images[:, None] * each + np.arange(each)).reshape(-1))
    hessian, cross = 0.0, 0.0
    for part in at.split(CHUNK):
        a, b = inputs[:, :, part], outputs[:, :, part]
        hessian = hessian + (a @ a.transpose(1, 2)).double()
        cross = cross + (b @ a.transpose(1, 2)).double()
    return hessian, cross


def _together(inputs: torch.Tensor, outputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """One problem: every filter sees the windows of all channels."""
    return inputs.reshape(1, -1, inputs.shape[2]), outputs.reshape(1, -1, outputs.shape[2])


def _one_by_one(inputs: torch.Tensor, outputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A problem for each filter, which sees the windows of its own channel."""
    return inputs, outputs


# windows [C, kernel positions, samples] and sums [F, 1, samples] as the least-squares problems of a layer's weights:
# inputs [B, K, samples], outputs [B, F / B, samples]
PROBLEMS = operator_table(
    "layer-wise reconstruction",
    {"conv": _together, "depthwise": _one_by_one},
    lambda operator: operator.weights is not None,
)


class _Fitting:
    """One layer. curvature: of ``output_curvatures``, None where every filter is rounded by itself."""

    def __init__(
        self,
        node: Node,
        floats: FloatWeights,
        p: Parameters,
        artifact: Artifact,
        seed: int,
        variants: int,
        curvature: torch.Tensor | None,
    ) -> None:
        self.curvature = curvature
        self.node, self.floats, self.p, self.seed, self.variants = node, floats, p, seed, variants
        self.graph, self.formats = artifact.graph, operand_formats(node, artifact.formats)
        self.size = artifact.graph.shapes[node.main][1:]
        self.offset = artifact.offset(node.output)

    def reconstructed(self, sums: torch.Tensor, operands: list[torch.Tensor], rounding: str, bias: bool) -> Parameters:
        """New parameters; sums: the float layer's output before its activation, [N, F, OH, OW]."""
        if self.node.shortcut and self.node.operator.join is not Join.SUM:
            raise BfpError(f"node {self.node.name}: layer-wise reconstruction takes shortcuts off sums only")
        target = sums - operands[1] if self.node.shortcut else sums
        weights, count = self.p.weights, int(np.prod(self.floats.weight.shape[1:]))
        if rounding != NEAREST and count <= MAX_INPUTS:
            weights = self._round(target, operands[0], count, rounding)
        floats = replace(self.floats, bias=self.floats.bias - self.offset)
        if bias:
            now = real_weights(self.node, replace(self.p, weights=weights), np.float32)
            zero = FloatWeights(now.weight, np.zeros_like(now.bias))
            out = APPLY[self.node.op](self.node, FloatNetwork(self.graph, {self.node.name: zero}), operands)
            error = (target.double().mean(dim=(0, 2, 3)) - out.double().mean(dim=(0, 2, 3))).numpy() - self.offset
            floats = replace(self.floats, bias=error)
        return self._proved(weights, floats.bias)

    def _proved(self, weights: Weights, bias: np.ndarray) -> Parameters:
        source, target, shortcut = self.formats

        def derived(weights: Weights) -> Parameters:
            formats = (source, target, shortcut)
            return derive(
                self.node, *formats, weights, bias, acc_exponent=self.p.acc_exponent, limit=self.floats.limit
            )

        p, old = derived(weights), self.p.weights
        bad = accumulator_bound(self.node, p, source, shortcut, self.size) >= ACC_LIMIT
        if not bad.any():
            return p
        mantissas = np.where(bad[:, None, None, None], old.mantissas, weights.mantissas)
        exponents = np.where(bad[:, None], old.exponents, weights.exponents)
        p = derived(replace(weights, mantissas=mantissas, exponents=exponents))
        return replace(p, bias=np.where(bad, self.p.bias, p.bias))

    def _round(self, target: torch.Tensor, x: torch.Tensor, count: int, rounding: str) -> Weights:
        inputs, outputs = self._samples(target, x, count)
        inputs = inputs - inputs.mean(dim=2, keepdim=True)  # the means are the bias's business
        outputs = outputs - outputs.mean(dim=2, keepdim=True)
        fold = np.arange(len(target)) // self.variants % FOLDS
        if count > MOST_FOLDED:
            fold = np.minimum(fold, 1)
        parts = [_moments(inputs, outputs, np.flatnonzero(fold == k), len(target)) for k in np.unique(fold)]
        hessian, cross = (sum(m) for m in zip(*parts))
        old = self.p.weights
        shape = (hessian.shape[0], -1, count)
        floats = torch.from_numpy(self.floats.weight).double().reshape(shape)
        step = np.broadcast_to(weight_scales(old), old.mantissas.shape)
        step = torch.from_numpy(np.array(step)).reshape(shape)
        low, high = mantissa_range(old.bits, True)
        held_out = parts if count <= MOST_FOLDED else parts[:1]
        wanted = fit(floats, hessian, cross, best_ridge(floats, hessian, cross, held_out))
        del held_out, parts
        mantissas, exponents = gptq(wanted, hessian, step, low, high), old.exponents
        if rounding == DESCENT and old.bits <= FEW_LEVELS:
            shifts = np.maximum(self.p.align_shift.max(axis=1, initial=0), self.p.main_alignment)
            room = torch.from_numpy(shifts < MAX_ALIGN_SHIFT).reshape(shape[0], -1)
            mantissas, doubled = with_doubled_steps(wanted, hessian, step, mantissas, (low, high), room)
            step = step * (1 + doubled.double()[:, :, None])
            exponents = exponents + doubled.reshape(-1, 1).numpy()
        if self.curvature is not None:
            mantissas = descend(mantissas[0], wanted[0], step[0], (hessian[0], self.curvature), low, high)
        mantissas = mantissas.numpy().astype(np.int8).reshape(old.mantissas.shape)
        return replace(old, mantissas=mantissas, exponents=exponents)

    def _samples(self, target: torch.Tensor, x: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Windows [B, K, samples] and sums [B, F, samples] at seeded positions, the same in every image."""
        window = self.node.window
        images, filters, height, width = target.shape
        per_channel = self.node.operator.weights.per_channel
        asked = DEPTHWISE_SAMPLES if per_channel else max(SAMPLES, SAMPLES_PER_INPUT * count)
        each = min(height * width, -(-asked // images))
        at = np.sort(np.random.default_rng(self.seed).permutation(height * width)[:each])
        padded = pad(x, window)
        (kh, kw), (sh, sw), (dh, dw), row = window.kernel, window.stride, window.dilation, padded.shape[3]
        corner = (at // width) * sh * row + (at % width) * sw
        offsets = (np.arange(kh)[:, None] * dh * row + np.arange(kw) * dw).reshape(-1)
        index = torch.from_numpy((corner[:, None] + offsets).reshape(-1))
        patches = padded.flatten(2)[:, :, index].reshape(images, x.shape[1], each, kh * kw)
        inputs = patches.permute(1, 3, 0, 2).reshape(x.shape[1], kh * kw, images * each)
        outputs = target.flatten(2)[:, :, torch.from_numpy(at)].transpose(0, 1).reshape(filters, 1, images * each)
        return PROBLEMS[self.node.op](inputs, outputs)
