"""The artifact in torch, in exact integers, on a CPU or a GPU: what makes thousands of images practical.

Bit for bit what the golden model computes, tensor by tensor. Mantissas travel
as float32, sums are formed by plain matrix products in float32 where the sum
of all magnitudes is proved below 2**24 (in float64 otherwise), and the
epilogue runs in int32, whose bounds the artifact proves.

A product of proved magnitude is exact in whatever order its terms are added,
but not by every algorithm: Winograd and FFT convolutions (cuDNN, oneDNN,
NNPACK) form other intermediate values, and TF32 or bfloat16 products drop
bits. So no convolution routine is called: windows are laid out as columns and
go through a general matrix product, with reduced precision switched off, and
``IntegerModel`` tries the product on its device before it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from bfp.artifact import Artifact, operand_formats
from bfp.errors import BfpError
from bfp.format import dequantise
from bfp.golden.conv import EXACT_FLOAT32, aligned_weights, contributions, exact_parts
from bfp.graph import Node
from bfp.limits import MAX_DIVISOR
from bfp.parameters import Parameters, reciprocal
from calib.network.float_model import pad, slice_pad

DEVICES = ("auto", "cpu", "cuda")
COLUMN_VALUES = {"cpu": 1 << 22, "cuda": 1 << 28}  # of one block of columns
LARGEST_MANTISSA = 255
NEVER_WINS = -(2.0**15)
assert MAX_DIVISOR * LARGEST_MANTISSA < EXACT_FLOAT32  # sums of an average pool are exact in float32


def choose_device(name: str = "auto") -> torch.device:
    """``auto``: the GPU where torch has one, else the CPU. Raises BfpError for other names and a missing GPU."""
    if name not in DEVICES:
        raise BfpError(f"device {name!r} is not known; give one of {', '.join(DEVICES)}")
    if name == "cuda" and not torch.cuda.is_available():
        raise BfpError("device cuda is asked for, but torch finds no GPU; give cpu or auto")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


@contextmanager
def full_precision() -> Iterator[None]:
    """float32 products and convolutions in float32: no TF32, no bfloat16. Settings are put back at the end."""
    products, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(products)
        torch.backends.cudnn.allow_tf32 = convolutions


@dataclass(frozen=True)
class _Node:
    """A node's integers on the device: per-channel values int32 [C, 1, 1], matrices as in ``_convolve``."""

    node: Node
    low: int
    high: int
    channels: int
    bias: torch.Tensor | None
    main_shift: torch.Tensor | None
    shortcut_shift: torch.Tensor | None
    clamp_high: torch.Tensor | None
    half: torch.Tensor | None
    right: torch.Tensor | None
    left: torch.Tensor | None
    factor: torch.Tensor | None
    matrices: tuple[torch.Tensor, ...]
    parts: tuple[tuple[int, int], ...]


class IntegerModel:
    """An artifact, ready to run. Raises BfpError where the device's matrix products are not exact."""

    def __init__(self, artifact: Artifact, device: torch.device) -> None:
        self.artifact, self.device = artifact, device
        with full_precision():
            _try_products(device)
        self.nodes = [self._prepare(node) for node in artifact.graph.nodes]

    @torch.no_grad()
    def run(
        self,
        mantissas: np.ndarray,
        keep: Iterable[str] | None = None,
        observe: Callable[[str, torch.Tensor], None] | None = None,
    ) -> dict[str, torch.Tensor]:
        """All tensors for a batch of input mantissas, int [N, C, H, W].

        Returns integers as float32 tensors [N, C, H, W] on the device, by
        tensor name; with ``keep`` only those named. ``observe(name, tensor)``
        sees each as it is computed. The same input gives the same integers on
        every device.
        """
        graph = self.artifact.graph
        kept = set(graph.shapes if keep is None else keep)
        last_use = {t: i for i, node in enumerate(graph.nodes) for t in node.inputs}
        # astype first: torch lacks most unsigned and long types on some devices
        values = {graph.input: torch.from_numpy(np.asarray(mantissas).astype(np.float32)).to(self.device)}
        if observe:
            observe(graph.input, values[graph.input])
        with full_precision():
            for i, n in enumerate(self.nodes):
                out = compute(n, [values[t] for t in n.node.inputs])
                values[n.node.output] = out
                if observe:
                    observe(n.node.output, out)
                for t in {*n.node.inputs, n.node.output}:
                    if last_use.get(t, i) == i and t not in kept:
                        del values[t]
        return {t: v for t, v in values.items() if t in kept}

    def logits(self, mantissas: np.ndarray) -> np.ndarray:
        """Network output for a batch of input mantissas [N, C, H, W], as float64 [N, outputs]."""
        out = self.artifact.graph.output
        q = self.run(mantissas, keep=[out])[out].cpu().numpy().astype(np.int16)
        return self.artifact.logits(dequantise(q, self.artifact.formats[out]))

    def _prepare(self, node: Node) -> _Node:
        artifact = self.artifact
        target = artifact.formats[node.output]
        p = artifact.parameters.get(node.name)
        if p is None:  # a concatenation
            return _Node(node, target.low, target.high, target.channels, *[None] * 8, (), ())
        source, _, _ = operand_formats(node, artifact.formats)
        right, left = np.maximum(p.round_shift, 0), np.maximum(-p.round_shift, 0)
        factor = None
        if node.op == "avg_pool":
            rows, cols = node.divisors(*artifact.graph.shapes[node.main][1:])
            factor = torch.from_numpy(reciprocal(np.multiply.outer(rows, cols)).astype(np.int32)).to(self.device)
        matrices, parts = (), ()
        if node.op == "conv":
            matrices, parts = self._matrices(p, exact_parts(contributions(p, source)))
        elif node.op == "depthwise":
            magnitude = np.abs(p.weights.mantissas.astype(np.int64)).sum(axis=(1, 2, 3)).max() * source.high
            dtype = np.float32 if magnitude < EXACT_FLOAT32 else np.float64
            matrices = (torch.from_numpy(p.weights.mantissas[:, 0].astype(dtype)).to(self.device),)
        return _Node(
            node,
            target.low,
            target.high,
            target.channels,
            self._per_channel(p.bias),
            self._per_channel(p.main_shift),
            None if p.shortcut_shift is None else self._per_channel(p.shortcut_shift),
            None if p.clamp_high is None else self._tensor(p.clamp_high),
            self._per_channel(np.where(right > 0, 1 << np.maximum(right - 1, 0), 0)),
            self._per_channel(right),
            self._per_channel(left),
            factor,
            matrices,
            parts,
        )

    def _tensor(self, values: np.ndarray) -> torch.Tensor:
        """[C] to int32 [C, 1, 1]."""
        return torch.from_numpy(values.astype(np.int32)).to(self.device)[:, None, None]

    def _per_channel(self, values: np.ndarray) -> torch.Tensor | None:
        """As ``_tensor``; None where all are zero: nothing to add or shift."""
        return self._tensor(values) if values.any() else None

    def _matrices(self, p: Parameters, parts: list[tuple[int, int]]) -> tuple[tuple, tuple]:
        filters, channels = p.weights.mantissas.shape[:2]
        weights = aligned_weights(p, np.float32 if parts else np.float64)
        parts = parts or [(0, channels)]
        cut = [np.ascontiguousarray(weights[:, a:b].reshape(filters, -1)) for a, b in parts]
        return tuple(torch.from_numpy(m).to(self.device) for m in cut), tuple(parts)


def compute(n: _Node, operands: list[torch.Tensor]) -> torch.Tensor:
    """One node's stored mantissas, float32 [N, C', OH, OW], from its operands'."""
    node, x = n.node, operands[0]
    if node.op == "concat":
        return torch.cat(operands, 1)
    if node.op == "conv":
        acc = _convolve(n, x)
    elif node.op == "depthwise":
        acc = _depthwise(n, x)
    elif node.op == "max_pool":
        acc = functional.max_pool2d(pad(x, node.window, NEVER_WINS), node.window.kernel, node.window.stride).int()
    elif node.op == "avg_pool":
        # a divisor of one: the sum itself
        acc = functional.avg_pool2d(pad(x, node.window), node.window.kernel, node.window.stride, divisor_override=1)
        acc = acc.int() * n.factor
    elif node.op == "slice_pad":
        acc = slice_pad(x, node, n.channels).int()
    else:  # add, identity
        acc = x.int()
        if n.main_shift is not None:
            acc <<= n.main_shift
    if len(operands) > 1:
        shortcut = operands[1].int()
        acc += shortcut if n.shortcut_shift is None else shortcut << n.shortcut_shift
    return _epilogue(n, acc)


def _epilogue(n: _Node, acc: torch.Tensor) -> torch.Tensor:
    """Activation, one rounding shift, saturation: as bfp.golden.epilogue. ``acc`` is overwritten."""
    if n.node.activation != "none":
        acc.clamp_(min=0)
    if n.clamp_high is not None:
        torch.minimum(acc, n.clamp_high, out=acc)
    if n.half is not None:
        acc += n.half
    if n.right is not None:
        acc >>= n.right
    if n.left is not None:
        acc <<= n.left
    return acc.clamp_(n.low, n.high).float()


def _convolve(n: _Node, x: torch.Tensor) -> torch.Tensor:
    """Bias plus aligned psums, int32 [N, F, OH, OW], by matrix products of exact parts of the input channels."""
    window = n.node.window
    (kh, kw), (sh, sw), (oh, ow) = window.kernel, window.stride, window.output_size(*x.shape[2:])
    x = pad(x, window).to(n.matrices[0].dtype)
    filters, taps = len(n.matrices[0]), kh * kw
    if oh * ow == 1:
        flat = x[:, :, :kh, :kw].reshape(len(x), -1)
        total = sum((flat[:, a * taps : b * taps] @ m.T).int() for m, (a, b) in zip(n.matrices, n.parts))
        acc = total[:, :, None, None]
        return acc if n.bias is None else acc + n.bias
    acc = torch.empty((len(x), filters, oh * ow), dtype=torch.int32, device=x.device)
    count = max(1, COLUMN_VALUES[x.device.type] // (x.shape[1] * taps * oh * ow))
    for start in range(0, len(x), count):
        images = x[start : start + count]
        if taps == 1:
            columns = images[:, :, : (oh - 1) * sh + 1 : sh, : (ow - 1) * sw + 1 : sw].reshape(len(images), -1, oh * ow)
        else:
            columns = functional.unfold(images, (kh, kw), stride=(sh, sw))
        for i, (matrix, (a, b)) in enumerate(zip(n.matrices, n.parts)):
            product = torch.bmm(matrix.expand(len(images), -1, -1), columns[:, a * taps : b * taps])
            if i == 0:
                acc[start : start + count] = product
            else:
                acc[start : start + count] += product.int()
    acc = acc.reshape(len(x), filters, oh, ow)
    if n.bias is not None:
        acc += n.bias
    return acc


def _depthwise(n: _Node, x: torch.Tensor) -> torch.Tensor:
    """Bias plus the aligned psum of each channel, int32 [N, C, OH, OW], tap by tap."""
    window, weights = n.node.window, n.matrices[0]
    (kh, kw), (sh, sw), (oh, ow) = window.kernel, window.stride, window.output_size(*x.shape[2:])
    x = pad(x, window).to(weights.dtype)
    total = torch.zeros((*x.shape[:2], oh, ow), dtype=weights.dtype, device=x.device)
    for ky in range(kh):
        for kx in range(kw):
            view = x[:, :, ky : ky + (oh - 1) * sh + 1 : sh, kx : kx + (ow - 1) * sw + 1 : sw]
            total.addcmul_(view, weights[:, ky, kx, None, None])
    acc = total.int()
    if n.main_shift is not None:
        acc <<= n.main_shift
    if n.bias is not None:
        acc += n.bias
    return acc


def _try_products(device: torch.device) -> None:
    """Form products at the edge of what must be exact, in both types. Raises BfpError where a bit is lost."""
    rng = np.random.default_rng(0)
    for dtype, terms, limit in ((torch.float32, 518, 127), (torch.float64, 4096, 127 << 15)):
        # all at the ends of the range, odd sums just below 2**24: TF32 and bfloat16 keep no such sum
        weights = np.where(rng.random((40, terms)) < 0.5, limit, -limit)
        weights[0], weights[:, -1] = limit, 1
        values = rng.choice([0, 254, 255], (terms, 33))
        values[:, 0] = 255
        got = torch.from_numpy(weights).to(device, dtype) @ torch.from_numpy(values).to(device, dtype)
        if not np.array_equal(got.cpu().numpy().astype(np.int64), weights @ values):
            raise BfpError(
                f"torch's {str(dtype).removeprefix('torch.')} matrix products on {device} lose bits; "
                "unset ONEDNN_DEFAULT_FPMATH_MODE and NVIDIA_TF32_OVERRIDE, or choose another device"
            )
