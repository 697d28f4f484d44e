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

import numpy as np
import torch

from bfp.artifact import Artifact
from bfp.errors import BfpError
from bfp.format import dequantise
from bfp.graph import Node
from calib.evaluation.integer_ops import PLACE, compute, prepare
from calib.network.executor import execute

DEVICES = ("auto", "cpu", "cuda")


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


class IntegerModel:
    """An artifact, ready to run. ``layers``: what is done at every node that computes, by its name.

    Raises BfpError where the device's matrix products are not exact, and for an operator or an activation that the
    model lacks.
    """

    def __init__(self, artifact: Artifact, device: torch.device) -> None:
        self.artifact, self.device = artifact, device
        with full_precision():
            _try_products(device)
        self.layers = {node.name: prepare(node, artifact, device) for node in artifact.graph.computed()}

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
        # astype first: torch lacks most unsigned and long types on some devices
        entry = torch.from_numpy(np.asarray(mantissas).astype(np.float32)).to(self.device)
        with full_precision():
            return execute(graph, self._compute, graph.input_parts(entry), keep, observe)

    def logits(self, mantissas: np.ndarray) -> np.ndarray:
        """All outputs side by side for a batch of input mantissas [N, C, H, W], as float64 [N, values]."""
        found = self.run(mantissas, keep=self.artifact.graph.outputs)
        stored = {t: q.cpu().numpy().astype(np.int16) for t, q in found.items()}
        return self.artifact.logits({t: dequantise(q, self.artifact.formats[t]) for t, q in stored.items()})

    def _compute(self, node: Node, operands: list[torch.Tensor]) -> torch.Tensor:
        if node.operator.computes:
            return compute(self.layers[node.name], operands)
        return PLACE[node.op](operands)


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
