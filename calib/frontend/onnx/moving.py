"""ONNX operators that only move elements, in torch."""

from __future__ import annotations

from math import prod

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from calib.frontend.onnx.operands import Operands


def reshape(o: Operands) -> Tensor:
    sizes = o.numbers(1, "shape")
    if not o.get("allowzero", 0):
        sizes = [o[0].shape[n] if size == 0 else size for n, size in enumerate(sizes)]
    return o[0].reshape(sizes)


def flatten(o: Operands) -> Tensor:
    axis = o.get("axis", 1)
    axis = axis + o[0].ndim if axis < 0 else axis
    return o[0].reshape(prod(o[0].shape[:axis]), -1)


def squeeze(o: Operands) -> Tensor:
    axes = o.numbers(1, "axes")
    return o[0].squeeze() if axes is None else o[0].squeeze(tuple(axes))


def unsqueeze(o: Operands) -> Tensor:
    axes, rank = o.numbers(1, "axes"), o[0].ndim
    x = o[0]
    for axis in sorted(a % (rank + len(axes)) for a in axes):
        x = x.unsqueeze(axis)
    return x


def transpose(o: Operands) -> Tensor:
    return o[0].permute(tuple(o.get("perm", tuple(range(o[0].ndim))[::-1])))


def split(o: Operands) -> tuple[Tensor, ...]:
    sizes, axis, count = o.numbers(1, "split"), o.get("axis", 0), len(o.node.outputs)
    return torch.split(o[0], sizes or -(-o[0].shape[axis] // count), axis)


def slices(o: Operands) -> Tensor:
    starts, ends = o.numbers(1, "starts"), o.numbers(2, "ends")
    axes, steps = o.numbers(3, "axes") or list(range(len(starts))), o.numbers(4) or [1] * len(starts)
    x = o[0]
    for start, end, axis, step in zip(starts, ends, axes, steps):
        size = x.shape[axis]
        chosen = range(size)[start : None if step < 0 and end < -size else end : step]
        if step < 0:
            x = x.index_select(axis, torch.tensor(list(chosen)))
        elif len(chosen) != x.shape[axis]:
            index = [slice(None)] * x.ndim
            index[axis] = slice(chosen.start, chosen.stop, step)
            x = x[tuple(index)]
    return x


def gather(o: Operands) -> Tensor:
    axis = o.get("axis", 0)
    index = o.numbers(1)
    where = np.asarray(o.values[1])
    if where.ndim == 0:
        return o[0].select(axis, index[0])
    size = o[0].shape[axis]
    found = o[0].index_select(axis, torch.tensor([i % size for i in index]))
    axis %= o[0].ndim
    return found.reshape(*o[0].shape[:axis], *where.shape, *o[0].shape[axis + 1 :])


def pad(o: Operands) -> Tensor:
    amounts, mode = o.numbers(1, "pads"), o.get("mode", "constant")
    axes = o.numbers(3) or list(range(o[0].ndim))
    value = o.number(2, "value", 0.0)
    pads = [(0, 0)] * o[0].ndim
    for n, axis in enumerate(axes):
        pads[axis] = (amounts[n], amounts[n + len(axes)])
    while len(pads) > 1 and pads[0] == (0, 0):
        pads = pads[1:]
    flat = [n for pair in reversed(pads) for n in pair]
    if mode != "constant":
        return F.pad(o[0], flat, {"edge": "replicate"}.get(mode, mode))
    return F.pad(o[0], flat, value=value or 0.0) if any(flat) else o[0]


def depth_to_space(o: Operands) -> Tensor:
    n, c, h, w = o[0].shape
    b = o.get("blocksize")
    if o.get("mode", "DCR") == "CRD":
        return F.pixel_shuffle(o[0], b)
    x = o[0].reshape(n, b, b, c // (b * b), h, w).permute(0, 3, 4, 1, 5, 2)
    return x.reshape(n, c // (b * b), h * b, w * b)


def space_to_depth(o: Operands) -> Tensor:
    n, c, h, w = o[0].shape
    b = o.get("blocksize")
    return o[0].reshape(n, c, h // b, b, w // b, b).permute(0, 3, 5, 1, 2, 4).reshape(n, c * b * b, h // b, w // b)
