"""ONNX operators that make maps larger, in torch."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, prod

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bfp.limits import MAX_VALUES
from calib.frontend.onnx.operands import Operands


def conv_transpose(o: Operands) -> Tensor:
    """Padding that is not the same on both sides is cut off behind it."""
    rank = o[1].ndim - 2
    function = {1: F.conv_transpose1d, 2: F.conv_transpose2d}.get(rank)
    if function is None:
        raise o.refuse(f"a kernel of {rank} axes is not supported")
    stride, dilation = (tuple(o.get(k, (1,) * rank)) for k in ("strides", "dilations"))
    extra = tuple(o.get("output_padding", (0,) * rank))
    pads = transposed_pads(o, rank, stride, dilation, extra)
    same = all(a == b >= 0 for a, b in pads)
    y = function(
        o[0], o[1], o[2], stride, tuple(a for a, _ in pads) if same else 0, extra, o.get("group", 1), dilation
    )
    if same:
        return y
    if min(n for pair in pads for n in pair) < 0:
        raise o.refuse(f"padding {pads} is not supported; it must not be negative")
    return y[(..., *(slice(a, n - b) for (a, b), n in zip(pads, y.shape[2:])))]


def transposed_pads(o: Operands, rank: int, stride: tuple, dilation: tuple, extra: tuple) -> list[tuple[int, int]]:
    """What is cut off before and behind, as stated or as the output's shape makes it."""
    mode, shape = o.get("auto_pad", "NOTSET"), o.get("output_shape")
    if shape is None and mode in ("NOTSET", "VALID"):
        pads = o.get("pads", (0,) * 2 * rank) if mode == "NOTSET" else (0,) * 2 * rank
        return list(zip(pads[:rank], pads[rank:]))
    size, kernel = o[0].shape[2:], o[1].shape[2:]
    wanted = shape[-rank:] if shape is not None else [n * s for n, s in zip(size, stride)]
    found = []
    for n, k, s, d, e, w in zip(size, kernel, stride, dilation, extra, wanted):
        total = s * (n - 1) + e + (k - 1) * d + 1 - w
        small, large = total // 2, total - total // 2
        found.append((small, large) if mode == "SAME_UPPER" else (large, small))
    return found


CUBIC = -0.75  # the coefficient of torch's cubic interpolation, which is ONNX's where a file states none
NEAREST = {
    "floor": np.floor,
    "ceil": np.ceil,
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
}


def places(o: Operands, where: str, old: int, new: int, scale: float) -> np.ndarray:
    """Where the centres of ``new`` pixels lie among ``old`` ones, float32: in other precision, others would lie half-way."""
    at, half, factor = np.arange(new, dtype=np.float32), np.float32(0.5), np.float32(scale)
    if where == "align_corners":
        return at * np.float32(old - 1) / np.float32(max(new - 1, 1))
    if where == "asymmetric":
        return at / factor
    if where == "half_pixel" or where == "pytorch_half_pixel" and new > 1:
        return (at + half) / factor - half
    if where == "pytorch_half_pixel":
        return np.zeros(1)
    raise o.refuse(f"the coordinate transformation {where} is not supported")


def resize(o: Operands) -> Tensor:
    """Nearest pixels by any rule; means of neighbours by those rules that torch has, too."""
    older = o.node.kind == "Upsample" or o.opset < 11
    place = 1 if older else 2
    scales = o.values[place] if place < len(o.values) else o.get("scales")
    sizes = None if older else o.numbers(3)
    mode, old = o.get("mode", "nearest"), list(o[0].shape[2:])
    if any(o.get(name) for name in ("antialias", "exclude_outside")):
        raise o.refuse("antialias and exclude_outside are not supported")
    if o.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise o.refuse(f"keep_aspect_ratio_policy {o.get('keep_aspect_ratio_policy')} is not supported; state the sizes themselves")
    sizes, scales = of_all_axes(o, sizes, o[0].shape), of_all_axes(o, scales, (1.0,) * o[0].ndim)
    if not sizes and scales is None:
        raise o.refuse("its scales are computed from the image, or missing")
    outer = tuple(sizes[:2]) if sizes else tuple(float(s) for s in np.reshape(scales, -1)[:2])
    if outer != (tuple(o[0].shape[:2]) if sizes else (1.0, 1.0)):
        raise o.refuse("only rows and columns can grow; channels and the batch keep their sizes")
    factors = [b / n for n, b in zip(old, sizes[2:])] if sizes else [float(s) for s in np.reshape(scales, -1)[2:]]
    new = list(sizes[2:]) if sizes else [floor(n * s) for n, s in zip(old, factors)]
    if prod(new) * prod(o[0].shape[:2]) > MAX_VALUES:
        raise o.refuse(f"it makes more than {MAX_VALUES} values")
    where = "asymmetric" if older else o.get("coordinate_transformation_mode", "half_pixel")
    if mode == "nearest":
        rounded = NEAREST["floor" if older else o.get("nearest_mode", "round_prefer_floor")]
        at = [
            np.clip(rounded(places(o, where, n, b, f)), 0, n - 1).astype(np.int64)
            for n, b, f in zip(old, new, factors)
        ]
        if all(np.array_equal(line, np.arange(b) * n // b) for line, n, b in zip(at, old, new)):
            return F.interpolate(o[0], new, mode="nearest")
        found = o[0]
        for number, line in enumerate(at):
            found = found.index_select(2 + number, torch.from_numpy(line))
        return found
    return weighted(o, mode, where, old, new, factors)


def of_all_axes(o: Operands, values: object, others: Sequence[float]) -> list | None:
    """What a Resize says of some axes, of all of them; others: of those that it does not name. None for nothing."""
    values, axes = [] if values is None else np.reshape(values, -1).tolist(), o.get("axes")
    if not values or axes is None:
        return values or None
    found = list(others)
    for axis, value in zip(axes, values):
        found[axis] = value
    return found


def weighted(o: Operands, mode: str, where: str, old: list[int], new: list[int], factors: list[float]) -> Tensor:
    """Means of neighbours."""
    kind = {("linear", 1): "linear", ("linear", 2): "bilinear", ("cubic", 2): "bicubic"}.get((mode, len(old)))
    corners, whole = where == "align_corners", all(n * f == b for n, f, b in zip(old, factors, new))
    if kind is not None and mode == "linear" and where == "asymmetric" and whole:
        return from_corners(o, kind, old, factors)
    if kind is None or where not in ("align_corners", "half_pixel", "pytorch_half_pixel", "half_pixel_symmetric"):
        raise o.refuse(f"mode {mode} with the coordinate transformation {where} is not supported; use half_pixel")
    if mode == "cubic" and o.get("cubic_coeff_a", CUBIC) != CUBIC:
        raise o.refuse(f"cubic_coeff_a {o.get('cubic_coeff_a')} is not supported; only {CUBIC} is")
    if not corners and not whole:
        raise o.refuse(f"scales {factors} that do not make whole sizes are not supported; give sizes")
    return F.interpolate(o[0], new, mode=kind, align_corners=corners)


def from_corners(o: Operands, kind: str, old: list[int], factors: list[float]) -> Tensor:
    """Linear interpolation that counts from the first pixel's centre (``asymmetric``), by whole factors or to whole parts.

    Up to the last pixel's centre the outermost pixels meet; behind it that pixel is repeated.
    """
    x = o[0]
    for axis, factor in enumerate(factors):
        step = round(1 / factor)
        if factor < 1 and step * factor == 1:
            x = x[(slice(None), slice(None), *(slice(None, None, step if n == axis else 1) for n in range(len(factors))))]
        elif factor != round(factor):
            raise o.refuse(f"mode linear with the coordinate transformation asymmetric and scale {factor:g} is not supported; use half_pixel")
    up = [max(1, round(f)) for f in factors]
    size = [f * (n - 1) + 1 for f, n in zip(up, x.shape[2:])]
    if max(up) > 1:
        x = F.interpolate(x, size, mode=kind, align_corners=True)
        x = F.pad(x, [n for f in reversed(up) for n in (0, f - 1)], mode="replicate")
    return x
