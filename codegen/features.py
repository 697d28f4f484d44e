"""What of the engine a program needs: the rest is not generated, and takes no logic."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codegen.counts import COMPUTE
from codegen.schedule import Program


@dataclass(frozen=True)
class Features:
    """operators: of its layers. align_bits: of the largest alignment shift.

    pool_pixels: pixel lanes of the pooling stages, one where every pooled map
    is a single pixel. depthwise_steps: weights of the depthwise buffer.
    left_shift: whether a rounding shift goes left; chunks: whether partial sums
    wait between passes; folded: whether a word holds several columns.
    weight_bits, operand_bits: of the widest mantissas, an operand with the sign
    that an unsigned one has not. depthwise_bits, mean_bits: of the widest sums
    of depthwise convolution and average pooling, sign included.
    """

    operators: frozenset[str]
    shortcut: bool
    relu6: bool
    fused_pool: bool
    left_shift: bool
    chunks: bool
    align_bits: int
    pool_pixels: int
    depthwise_steps: int
    folded: bool
    weight_bits: int
    operand_bits: int
    depthwise_weight_bits: int
    depthwise_bits: int
    mean_bits: int


def sum_bits(fields: dict) -> int:
    """Bits, sign included, of the largest sum of a depthwise convolution or an average pooling."""
    window = fields["kernel_height"] * fields["kernel_width"]
    weight = 2 ** (fields["weight_bits"] - 1) - 1 if fields["op"] == "DEPTHWISE" else 1
    activation = 2 ** (fields["in_bits"] - (0 if fields["in_unsigned"] else 1)) - 1
    return (window * weight * activation).bit_length() + 1


def features(program: Program) -> Features:
    """What the layers of a program use."""
    rows = [layer.fields for layer in program.layers]
    pools = [f for f in rows if f["op"] in ("MAX_POOL", "AVG_POOL")]
    depthwise = [layer.tiling.weight_steps for layer in program.layers if layer.fields["op"] == "DEPTHWISE"]
    depthwise_rows = [f for f in rows if f["op"] == "DEPTHWISE"]
    single = all(f["out_height"] * f["out_width"] == 1 for f in pools)
    return Features(
        operators=frozenset(f["op"] for f in rows) & frozenset(COMPUTE),
        shortcut=any(f["has_shortcut"] for f in rows),
        relu6=any(f["activation"] == "RELU6" for f in rows),
        fused_pool=any(f["pool"] for f in rows),
        left_shift=any(np.any(values < 0) for _, values in program.tables["ROUND_SHIFT"]),
        chunks=any(f["chunks"] > 1 for f in rows),
        align_bits=int(program.largest_align).bit_length(),
        pool_pixels=1 if single else program.array.pixels,
        depthwise_steps=max(depthwise, default=1),
        folded=any(f["taps"] > 1 for f in rows),
        weight_bits=max((f["weight_bits"] for f in rows), default=2),
        operand_bits=max((f["in_bits"] + f["in_unsigned"] for f in rows), default=2),
        depthwise_weight_bits=max((f["weight_bits"] for f in depthwise_rows), default=2),
        depthwise_bits=max(map(sum_bits, depthwise_rows), default=2),
        mean_bits=max((sum_bits(f) for f in pools if f["op"] == "AVG_POOL"), default=2),
    )
