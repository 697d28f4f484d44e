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

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
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
from calib.network import float_model
from calib.network.executor import execute
from calib.network.fake_quant import fake_quantise, real_weights, weight_scales
from calib.network.float_network import FloatNetwork, FloatWeights
from calib.network.float_ops import APPLY
from calib.network.in_parts import in_parts, parts
from calib.observers.output_curvature import output_curvatures
from calib.options import DESCENT, NEAREST
from calib.reconstruction.descent import descend
from calib.reconstruction.gptq import fits, gptq, with_doubled_steps
from calib.reconstruction.samples import moments

IMAGE_VALUES = 1 << 26  # of the largest tensor, over all images that take part
DESCENT_VALUES = 3 * IMAGE_VALUES  # of descent, which fits more to the images that it sees
MAX_INPUTS = 6144  # K x K float64 of a layer wider than that is not worth its gigabyte
RIDGES = (0.1, 1.0, 10.0, 100.0)  # the last all but keeps what was trained
FOLDS = 4  # parts of the images, each held out once
MOST_FOLDED = 1024  # inputs of a layer beyond which only one part is held out, for the time it takes
FEW_LEVELS = 3  # bits of weights from which on steps may be doubled; at 4 bits that gives nothing
MOST_COUPLED = 2048  # filters whose errors are weighed together: F x F and F x K of them, several times, in float64


def image_limit(network: FloatNetwork, rounding: str) -> int:
    """How many images may take part, so that two networks' live tensors stay within a gigabyte or two, or some of descent."""
    largest = max(int(np.prod(s)) for s in network.graph.shapes.values())
    return max(1, (DESCENT_VALUES if rounding == DESCENT else IMAGE_VALUES) // largest)


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
    images = np.asarray(images[: image_limit(network, rounding)], np.float32)
    batch, curvatures = network.entry(torch.from_numpy(images)), {}
    if rounding == DESCENT:
        coupled = {node.name for node in graph.weighted() if _coupled(node, network)}
        curvatures = output_curvatures(network, images, coupled, seed, progress)

    def stored(node: Node, of: FloatNetwork, *operands: torch.Tensor) -> torch.Tensor:
        x = float_model.compute(node, of, operands)
        return fake_quantise(x, artifact.formats[node.output]) if node.operator.computes else x

    def compute(node: Node, operands: list[Pair]) -> Pair:
        progress(f"reconstructing layer {place[node.name] + 1} of {len(graph.nodes)}")
        exact, rounded = ([getattr(pair, which) for pair in operands] for which in Pair._fields)
        if not node.weighted:
            whole = in_parts(lambda *x: float_model.compute(node, network, x), graph, node, *exact)
            return Pair(whole, in_parts(partial(stored, node, network), graph, node, *rounded))
        sums = in_parts(lambda *x: float_model.accumulate(node, network, x), graph, node, *exact)
        floats, old = network.weights[node.name], parameters[node.name]
        layer = _Fitting(node, floats, old, artifact, seed + place[node.name], variants, curvatures.get(node.name))
        parameters[node.name] = layer.reconstructed(sums, rounded, rounding, bias)
        integers = FloatNetwork(graph, {node.name: real_weights(node, parameters[node.name], np.float32)})
        in_parts(lambda x: float_model.activate(node, network, x), graph, node, sums, into=sums)
        return Pair(sums, in_parts(partial(stored, node, integers), graph, node, *rounded))

    inputs = {t: Pair(x, fake_quantise(x, artifact.formats[t])) for t, x in batch.items()}
    execute(graph, compute, inputs, keep=())
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
    more than one an image. So ridges are lessened as long as that lessens the
    error. parts: ``hessian`` and ``cross`` of images to hold out, one part
    after the other. Where all images are in one part, the last ridge.
    """
    if any(torch.equal(h, hessian) for h, _ in parts):
        return RIDGES[-1]
    rest = [fits(floats, hessian - h, cross - c, reversed(RIDGES)) for h, c in parts]
    best, least = RIDGES[-1], math.inf
    for ridge, *found in zip(reversed(RIDGES), *rest):
        error = 0.0
        for w, (h, c) in zip(found, parts):
            error += float(((w @ h - 2 * c) * w).sum())  # less the targets' own square
        if error >= least:
            break
        best, least = ridge, error
    return best


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
            own = FloatNetwork(self.graph, {self.node.name: zero})
            missing = torch.zeros(len(now.bias), dtype=torch.float64)
            for part, some in parts(self.graph, self.node, operands):
                out = APPLY[self.node.op](self.node, own, some)
                missing += target[part].double().sum(dim=(0, 2, 3)) - out.double().sum(dim=(0, 2, 3))
            floats = replace(self.floats, bias=(missing / target[:, 0].numel()).numpy() - self.offset)
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
        fold = np.arange(len(target)) // self.variants % FOLDS
        if count > MOST_FOLDED:
            fold = np.minimum(fold, 1)
        images = [np.flatnonzero(fold == k) for k in np.unique(fold)]
        folds = moments(self.node, target, x, count, self.seed, images)
        hessian, cross = (sum(m) for m in zip(*folds))
        if not (torch.isfinite(hessian).all() and torch.isfinite(cross).all()):
            raise BfpError(
                f"layer {self.node.name}: it reads values up to {float(x.abs().max()):.0e}, whose squares float32 does not hold; "
                'check the weights file and the input\'s mean and std, or take rounding = "nearest"'
            )
        old = self.p.weights
        shape = (hessian.shape[0], -1, count)
        floats = torch.from_numpy(self.floats.weight).double().reshape(shape)
        step = np.broadcast_to(weight_scales(old), old.mantissas.shape)
        step = torch.from_numpy(np.array(step)).reshape(shape)
        low, high = mantissa_range(old.bits, True)
        held_out = folds if count <= MOST_FOLDED else folds[:1]
        (wanted,) = fits(floats, hessian, cross, (best_ridge(floats, hessian, cross, held_out),))
        del held_out, folds
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
