"""Improves an artifact from calibration images: weight rounding and bias, layer after layer.

The float network and the quantised one run side by side over the same images.
Each layer is corrected for the inputs that the layers before it, corrected
already, really give it; its target is the float network's sum, less what the
quantised shortcut brings. Exponents and shifts stay as they are, so only the
proof of the accumulator has to be repeated; a filter that fails it keeps what
it had.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from bfp.artifact import Artifact, operand_formats, verify
from bfp.format import BlockFormat, mantissa_range
from bfp.graph import Node
from bfp.limits import ACC_LIMIT
from bfp.parameters import Parameters, Weights, accumulator_bound, derive
from calib.network import float_model
from calib.network.fake_quant import scaled_limit, scales
from calib.network.float_network import FloatNetwork, FloatWeights
from calib.reconstruction.gptq import fit, gptq

IMAGE_VALUES = 1 << 26  # of the largest tensor, over all images that take part
SAMPLES = 16_384  # output positions of a layer; a wider layer gets SAMPLES_PER_INPUT for each input
SAMPLES_PER_INPUT = 4
DEPTHWISE_SAMPLES = 4096
MAX_INPUTS = 6144  # K x K float64 of a layer wider than that is not worth its gigabyte
RIDGES = (0.1, 1.0, 10.0, 100.0)  # the last all but keeps what was trained
FOLDS = 4  # parts of the images, each held out once
MOST_FOLDED = 1024  # inputs of a layer beyond which only one part is held out, for the time it takes
CHUNK = 4096


def image_limit(network: FloatNetwork) -> int:
    """How many images may take part, so that two networks' live tensors stay within a gigabyte or two."""
    largest = max(int(np.prod(s)) for s in network.graph.shapes.values())
    return max(1, IMAGE_VALUES // largest)


@torch.no_grad()
def refine(
    network: FloatNetwork,
    artifact: Artifact,
    images: np.ndarray,
    rounding: bool,
    bias: bool,
    seed: int = 0,
    progress: Callable[[str], None] = lambda text: None,
    variants: int = 1,
) -> Artifact:
    """The artifact with weights rounded for least output error (``rounding``) and means corrected (``bias``).

    images: normalised, float32 [N, C, H, W]; more than ``image_limit`` are
    not used. variants: so many images in a row come from one photograph.
    Deterministic for a seed. Every accumulator is proved again.
    """
    graph = artifact.graph
    batch = network.entry(torch.from_numpy(np.asarray(images[: image_limit(network)], np.float32)))
    exact = {graph.input: batch}
    rounded = {graph.input: round_to(batch, artifact.formats[graph.input])}
    parameters = dict(artifact.parameters)
    last_use = {t: i for i, node in enumerate(graph.nodes) for t in node.inputs}
    for i, node in enumerate(graph.nodes):
        progress(f"refining layer {i + 1} of {len(graph.nodes)}")
        if node.op in ("conv", "depthwise"):
            linear = replace(node, activation="none")
            sums = float_model.compute(linear, network, [exact[t] for t in node.inputs])
            parameters[node.name] = _Layer(
                node, network.weights[node.name], parameters[node.name], artifact, seed + i, variants
            ).refined(sums, [rounded[t] for t in node.inputs], rounding, bias)
            exact[node.output] = activate(sums, node.activation, network.weights[node.name])
            values = FloatNetwork(graph, {node.name: real_weights(parameters[node.name])})
            out = float_model.compute(node, values, [rounded[t] for t in node.inputs])
        else:
            exact[node.output] = float_model.compute(node, network, [exact[t] for t in node.inputs])
            out = float_model.compute(node, network, [rounded[t] for t in node.inputs])
        rounded[node.output] = out if node.op == "concat" else round_to(out, artifact.formats[node.output])
        for t in {*node.inputs, node.output}:
            if last_use.get(t, i) == i:
                del exact[t], rounded[t]
    result = replace(artifact, parameters=parameters)
    verify(result)
    return result


def activate(x: torch.Tensor, activation: str, weights: FloatWeights) -> torch.Tensor:
    if activation == "none":
        return x
    return float_model.relu6(x, weights) if activation == "relu6" else torch.relu(x)


def round_to(x: torch.Tensor, fmt: BlockFormat) -> torch.Tensor:
    """The nearest representable values, half up, saturated; float32 (powers of two scale exactly)."""
    lsb = scales(fmt).float()
    return torch.floor(x / lsb + 0.5).clamp_(fmt.low, fmt.high).mul_(lsb)


def real_weights(p: Parameters) -> FloatWeights:
    """Weights and biases of a layer's integers, float32."""
    step = np.repeat(np.exp2(p.weights.exponents.astype(np.float64)), np.diff(p.weights.splits), axis=1)
    weight = p.weights.mantissas * step[:, :, None, None]
    bias = (p.bias * np.exp2(p.acc_exponent.astype(float))).astype(np.float32)
    limit = scaled_limit(p)
    return FloatWeights(weight.astype(np.float32), bias, limit if limit is None else limit.astype(np.float32))


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


class _Layer:
    def __init__(
        self, node: Node, floats: FloatWeights, p: Parameters, artifact: Artifact, seed: int, variants: int
    ) -> None:
        self.node, self.floats, self.p, self.seed, self.variants = node, floats, p, seed, variants
        self.formats = operand_formats(node, artifact.formats)
        self.depthwise = node.operator.weights.per_channel
        self.size = artifact.graph.shapes[node.main][1:]
        self.offset = artifact.result.offset if node.output == artifact.graph.output else 0.0

    def refined(self, sums: torch.Tensor, operands: list[torch.Tensor], rounding: bool, bias: bool) -> Parameters:
        """New parameters; sums: the float layer's output before its activation, [N, F, OH, OW]."""
        target = sums - operands[1] if self.node.shortcut else sums
        weights, count = self.p.weights, int(np.prod(self.floats.weight.shape[1:]))
        if rounding and count <= MAX_INPUTS:
            weights = self._round(target, operands[0], count)
        floats = replace(self.floats, bias=self.floats.bias - self.offset)
        if bias:
            plain = replace(self.node, activation="none", inputs=self.node.inputs[:1])
            now = real_weights(replace(self.p, weights=weights))
            zero = FloatWeights(now.weight, np.zeros_like(now.bias))
            out = float_model.compute(plain, FloatNetwork(None, {plain.name: zero}), operands[:1])
            error = (target.double().mean(dim=(0, 2, 3)) - out.double().mean(dim=(0, 2, 3))).numpy() - self.offset
            floats = replace(self.floats, bias=error)
        return self._proved(weights, floats.bias)

    def _proved(self, weights: Weights, bias: np.ndarray) -> Parameters:
        source, target, shortcut = self.formats
        p = derive(
            *(self.node, source, target, shortcut, weights, bias),
            acc_exponent=self.p.acc_exponent,
            limit=self.floats.limit,
        )
        bad = accumulator_bound(self.node, p, source, shortcut, self.size) >= ACC_LIMIT
        if not bad.any():
            return p
        mantissas = np.where(bad[:, None, None, None], self.p.weights.mantissas, weights.mantissas)
        return replace(
            p, weights=replace(weights, mantissas=mantissas), bias=np.where(bad, self.p.bias, p.bias)
        )

    def _round(self, target: torch.Tensor, x: torch.Tensor, count: int) -> Weights:
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
        step = np.repeat(np.exp2(old.exponents.astype(np.float64)), np.diff(old.splits), axis=1)
        step = np.broadcast_to(step[:, :, None, None], old.mantissas.shape)
        step = torch.from_numpy(np.array(step)).reshape(shape)
        low, high = mantissa_range(old.bits, True)
        held_out = parts if count <= MOST_FOLDED else parts[:1]
        wanted = fit(floats, hessian, cross, best_ridge(floats, hessian, cross, held_out))
        del held_out, parts
        mantissas = gptq(wanted, hessian, step, low, high)
        return replace(old, mantissas=mantissas.numpy().astype(np.int8).reshape(old.mantissas.shape))

    def _samples(self, target: torch.Tensor, x: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Windows [B, K, samples] and sums [B, F, samples] at seeded positions, the same in every image."""
        window = self.node.window
        images, filters, height, width = target.shape
        asked = DEPTHWISE_SAMPLES if self.depthwise else max(SAMPLES, SAMPLES_PER_INPUT * count)
        each = min(height * width, -(-asked // images))
        at = np.sort(np.random.default_rng(self.seed).permutation(height * width)[:each])
        padded = float_model.pad(x, window)
        (kh, kw), (sh, sw), row = window.kernel, window.stride, padded.shape[3]
        corner = (at // width) * sh * row + (at % width) * sw
        offsets = (np.arange(kh)[:, None] * row + np.arange(kw)).reshape(-1)
        index = torch.from_numpy((corner[:, None] + offsets).reshape(-1))
        patches = padded.flatten(2)[:, :, index].reshape(images, x.shape[1], each, kh * kw)
        inputs = patches.permute(1, 3, 0, 2).reshape(x.shape[1], kh * kw, images * each)
        outputs = target.flatten(2)[:, :, torch.from_numpy(at)].transpose(0, 1).reshape(filters, 1, images * each)
        if self.depthwise:
            return inputs, outputs
        return inputs.reshape(1, count, -1), outputs.reshape(1, filters, -1)
