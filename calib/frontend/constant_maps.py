"""Maps that are the same for every image: the biases of a convolution that multiplies by zero, as pixels."""

from __future__ import annotations

import numpy as np
import torch
from torch.fx import Node as FxNode

from bfp.window import Window
from calib.frontend.enlarging import REPEAT, SHUFFLE, factors_of, larger
from calib.frontend.refusals import Refusal
from calib.frontend.translation import Translation, operator_name, shape_of
from calib.frontend.views import View

MOST_NUMBERS = 2**14  # of a map: each takes a filter
WEIGHTED = frozenset("conv1d conv2d conv3d convolution conv_transpose1d conv_transpose2d linear matmul mm addmm".split())


def inside(fx: FxNode) -> bool:
    """Whether a layer with weights reads a value, however far behind: what nothing such reads ends a network, where places
    and the like need more digits than a mantissa has."""
    seen, waiting = {fx}, [fx]
    while waiting:
        readers = [reader for reader in waiting.pop().users if reader not in seen and reader.op == "call_function"]
        if any(operator_name(reader).removeprefix("aten.") in WEIGHTED for reader in readers):
            return True
        seen.update(readers)
        waiting += readers
    return False


def constant_map(t: Translation, fx: FxNode, values: np.ndarray) -> str | None:
    """A tensor that holds these values, float64 [C, H, W], whatever the image; None where it would take too many filters, or
    where ``fx``, which is made of it, is read by no layer with weights.

    What is equal along all rows, or along all columns, is repeated along them; channels that are equal along different ones
    are made one by one.
    """
    if not inside(fx):
        return None
    alike = [equal_along(values, axis) for axis in (1, 2)]
    if not any(alike) and len(values) > 1 and all(equal_along(one, 0) or equal_along(one, 1) for one in values):
        parts = [constant_map(t, fx, one[None]) for one in values]
        return None if None in parts else t.node(fx, "concat", tuple(parts), len(parts))
    few = values[:, : 1 if alike[0] else None, : 1 if alike[1] else None]
    steps = [factors_of(size) for size in values.shape[1:]]
    if None in steps or few.size > MOST_NUMBERS:
        return None
    tensor = t.draft.inputs[0]
    _, height, width = t.draft.shapes[tensor]
    if (height, width) != (1, 1):  # any pixel will do
        tensor = t.node(fx, "slice_pad", (tensor,), 1, window=Window(padding=(0, 0, 1 - height, 1 - width)))
    biases = few.transpose(1, 2, 0).reshape(-1)  # each row's, of these each column's, of these each channel's
    weights = np.zeros((len(biases), t.draft.shapes[tensor][0], 1, 1), np.float32)
    tensor = t.node(fx, "conv", (tensor,), len(biases), (weights, biases))
    for axis, same in enumerate(alike):
        for factor in () if same else steps[axis]:
            tensor = larger(t, fx, SHUFFLE, tensor, (factor, 1) if axis == 0 else (1, factor))
    for axis, same in enumerate(alike):
        for factor in steps[axis] if same else ():
            tensor = larger(t, fx, REPEAT, tensor, (factor, 1) if axis == 0 else (1, factor))
    return tensor


def in_channels(t: Translation, fx: FxNode, view: View, *constants: object) -> str | None:
    """The tensor of a map in the order that ``fx`` has it in, where constants are numbers of its channels then; else None."""
    shape = shape_of(fx)
    values = [torch.as_tensor(c, dtype=torch.float64).expand(shape) for c in constants]
    if view.index is None or len(shape) != 4 or not all((v == v[:, :, :1, :1]).all() for v in values):
        return None
    try:
        return t.ordered(fx, view, shape)
    except Refusal:
        return None


def pixelwise(t: Translation, fx: FxNode, tensor: str, factors: np.ndarray, shifts: np.ndarray) -> str:
    """A tensor times constants, plus constants, each float64 [C, H, W] that differ from pixel to pixel."""
    for op, values, idle in (("multiply", factors, 1), ("add", shifts, 0)):
        if (values == idle).all():
            continue
        alike = (values == values[:1]).all()
        constant = constant_map(t, fx, values[:1] if alike else values)
        if constant is None:
            t.refuse(fx, f"a constant of shape {values.shape} that differs from pixel to pixel is not supported")
        tensor = t.node(fx, op, (tensor, constant))
    return tensor


def equal_along(values: np.ndarray, axis: int) -> bool:
    """Whether all rows of an axis are equal."""
    return bool((values == np.take(values, [0], axis)).all())
