"""What every ONNX operator is in torch: one table.

Operators that the engine lacks are here, too, so that the importer refuses them with all other obstacles.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from calib.frontend.onnx import enlarging, moving, windows
from calib.frontend.onnx.operands import Operands
from calib.frontend.onnx.reader import OnnxNode

SELU_ALPHA, SELU_GAMMA = 1.67326319217681884765625, 1.05070102214813232421875
MANY = 2**20  # more repetitions, or pixels of padding, than any network has


def gemm(o: Operands) -> Tensor:
    x = o[0].T if o.get("transA", 0) else o[0]
    weight = o[1] if o.get("transB", 0) else o[1].T
    y = F.linear(x, weight * o.get("alpha", 1.0) if o.get("alpha", 1.0) != 1.0 else weight)
    return y if o[2] is None else y + o[2] * o.get("beta", 1.0)


def matmul(o: Operands) -> Tensor:
    return F.linear(o[0], o[1].T) if o[1].ndim == 2 else torch.matmul(o[0], o[1])


def batch_norm(o: Operands) -> Tensor:
    if o.get("training_mode", 0):
        raise o.refuse("it stays in training; export the network in eval mode")
    x, scale, shift, mean, var = (o[n] for n in range(5))
    return F.batch_norm(x, mean, var, scale, shift, False, 0.0, o.get("epsilon", 1e-5))


def clip(o: Operands) -> Tensor:
    limits = [o.number(1, "min", None), o.number(2, "max", None)]
    if o.opset < 11:  # where the largest numbers stood for none
        limits = [None if v is None or abs(v) > 3e38 else v for v in limits]
    return o[0] if limits == [None, None] else torch.clamp(o[0], *limits)


def prelu(o: Operands) -> Tensor:
    """A slope for all, for each channel, or for whatever else it is repeated along, from its last axis on."""
    x, slope = o[0], o[1]
    lined_up = (1,) * (x.ndim - slope.ndim) + tuple(slope.shape)
    if slope.numel() == 1 or x.ndim > 1 and prod(lined_up) == lined_up[1] == x.shape[1]:
        return F.prelu(x, slope.reshape(-1))
    return torch.relu(x) - slope * torch.relu(-x)


def selu(o: Operands) -> Tensor:
    if {"alpha", "gamma"} & set(o.node.attributes):
        return o.get("gamma", SELU_GAMMA) * F.elu(o[0], o.get("alpha", SELU_ALPHA))
    return F.selu(o[0])


def largest_of(o: Operands) -> tuple[Tensor, Tensor]:
    count = o.numbers(1, "k")
    if count is None:  # an attribute, before operator set 10
        count = [o.get("k")]
    return torch.topk(o[0], count[0], o.get("axis", -1), bool(o.get("largest", 1)), bool(o.get("sorted", 1)))


def length(x: Tensor, axes: tuple[int, ...], keepdim: bool) -> Tensor:
    return torch.linalg.vector_norm(x, 2, axes, keepdim)


def dropout(o: Operands) -> Tensor:
    training = o[2]
    if training is not None and bool(training.any()):
        raise o.refuse("it stays in training; export the network in eval mode")
    return o[0]


def expand(o: Operands) -> Tensor:
    return o[0].expand(torch.broadcast_shapes(o[0].shape, tuple(o.numbers(1))))


def hard_sigmoid(o: Operands) -> Tensor:
    return torch.clamp(o[0] * o.get("alpha", 0.2) + o.get("beta", 0.5), 0.0, 1.0)


def einsum(o: Operands) -> Tensor:
    return torch.einsum(o.get("equation"), *(o[n] for n in range(len(o.values))))


def normalised(o: Operands) -> Tensor:
    return F.normalize(o[0], float(o.get("p", 2)), o.get("axis", -1))


def layer_norm(o: Operands) -> Tensor:
    return F.layer_norm(o[0], tuple(o[0].shape[o.get("axis", -1) :]), o[1], o[2], o.get("epsilon", 1e-5))


def group_norm(o: Operands) -> Tensor:
    shift = o[2]
    if o.opset < 21:  # until then scales and shifts were those of groups
        size = o[0].shape[1] // o.get("num_groups")
        return F.group_norm(o[0], o.get("num_groups"), o[1].repeat_interleave(size), shift.repeat_interleave(size), o.get("epsilon", 1e-5))
    return F.group_norm(o[0], o.get("num_groups"), o[1], shift, o.get("epsilon", 1e-5))


def softmax(o: Operands, function: Callable) -> Tensor:
    if o.opset >= 13:
        return function(o[0], o.get("axis", -1))
    axis = o.get("axis", 1) % o[0].ndim
    if axis == o[0].ndim - 1 or prod(o[0].shape[axis + 1 :]) == 1:
        return function(o[0], axis)
    return function(o[0].flatten(axis), axis).reshape(o[0].shape)


def reduce(o: Operands, function: Callable) -> Tensor:
    axes, kept = o.numbers(1, "axes"), bool(o.get("keepdims", 1))
    if axes is None:
        axes = [] if o.get("noop_with_empty_axes", 0) else list(range(o[0].ndim))
    return function(o[0], tuple(axes), keepdim=kept) if axes else o[0]


def product(x: Tensor, axes: tuple[int, ...], keepdim: bool) -> Tensor:
    for axis in sorted((a % x.ndim for a in axes), reverse=True):
        x = x.prod(axis, keepdim)
    return x


def cast(o: Operands) -> Tensor:
    import onnx

    name = onnx.TensorProto.DataType.Name(o.get("to"))
    kinds = {"FLOAT": torch.float32, "FLOAT16": torch.float32, "DOUBLE": torch.float32, "BOOL": torch.bool}
    kinds |= {"BFLOAT16": torch.float32, "INT64": torch.int64, "INT32": torch.int32, "UINT8": torch.uint8}
    if name not in kinds:
        raise o.refuse(f"conversion to {name} is not supported")
    return o[0].to(kinds[name])


def constant(o: Operands) -> Tensor:
    found = {k: v for k, v in o.node.attributes.items() if k.startswith("value")}
    if set(found) - {"value", "value_float", "value_floats", "value_int", "value_ints"} or len(found) != 1:
        raise o.refuse("it is sparse, or no number")
    return torch.as_tensor(next(iter(found.values())))


def constant_of_shape(o: Operands) -> Tensor:
    value = torch.as_tensor(o.get("value", np.zeros(1, np.float32))).reshape(-1)
    return value[0].expand(o.numbers(0)).clone()


def arg_largest(o: Operands) -> Tensor:
    if o.get("select_last_index", 0):
        raise o.refuse("the last one of equal values (select_last_index) is not supported; the first one is")
    return o[0].argmax(o.get("axis", 0), bool(o.get("keepdims", 1)))


def folded(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Operands], Tensor]:
    """An operator of any number of operands, two by two."""

    def run(o: Operands) -> Tensor:
        found = o[0]
        for place in range(1, len(o.values)):
            found = function(found, o[place])
        return found

    return run


def one(function: Callable[[Tensor], Tensor]) -> Callable[[Operands], Tensor]:
    """An operator of one operand without attributes."""
    return lambda o: function(o[0])


def two(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Operands], Tensor]:
    """An operator of two operands without attributes."""
    return lambda o: function(o[0], o[1])


OPERATORS: dict[str, Callable[[Operands], Tensor | tuple[Tensor, ...]]] = {
    "Conv": windows.conv,
    "ConvTranspose": enlarging.conv_transpose,
    "MaxPool": lambda o: windows.pool(o, True),
    "AveragePool": lambda o: windows.pool(o, False),
    "GlobalMaxPool": lambda o: windows.global_pool(o, True),
    "GlobalAveragePool": lambda o: windows.global_pool(o, False),
    "Gemm": gemm,
    "MatMul": matmul,
    "Einsum": einsum,
    "BatchNormalization": batch_norm,
    "InstanceNormalization": lambda o: F.instance_norm(o[0], weight=o[1], bias=o[2], eps=o.get("epsilon", 1e-5)),
    "LayerNormalization": layer_norm,
    "GroupNormalization": group_norm,
    "LRN": lambda o: F.local_response_norm(o[0], o.get("size"), o.get("alpha", 1e-4), o.get("beta", 0.75), o.get("bias", 1.0)),
    "Relu": one(torch.relu),
    "LeakyRelu": lambda o: F.leaky_relu(o[0], o.get("alpha", 0.01)),
    "PRelu": prelu,
    "ThresholdedRelu": lambda o: F.threshold(o[0], o.get("alpha", 1.0), 0.0),
    "Elu": lambda o: F.elu(o[0], o.get("alpha", 1.0)),
    "Celu": lambda o: F.celu(o[0], o.get("alpha", 1.0)),
    "Selu": selu,
    "Softplus": one(F.softplus),
    "Softsign": one(F.softsign),
    "Mish": one(F.mish),
    "Swish": lambda o: F.silu(o[0]) if o.get("alpha", 1.0) == 1.0 else o[0] * torch.sigmoid(o[0] * o.get("alpha")),
    "Clip": clip,
    "Sigmoid": one(torch.sigmoid),
    "HardSigmoid": hard_sigmoid,
    "HardSwish": one(F.hardswish),
    "Tanh": one(torch.tanh),
    "Gelu": lambda o: F.gelu(o[0], approximate=o.get("approximate", "none")),
    "Softmax": lambda o: softmax(o, torch.softmax),
    "LogSoftmax": lambda o: softmax(o, torch.log_softmax),
    "Add": two(torch.add),
    "Sub": two(torch.sub),
    "Mul": two(torch.mul),
    "Div": lambda o: torch.div(o[0], o[1], rounding_mode=None if o[0].is_floating_point() else "trunc"),
    "Pow": lambda o: torch.pow(o[0], o.number(1, "", None)),
    "Sum": folded(torch.add),
    "Max": folded(torch.maximum),
    "Min": folded(torch.minimum),
    "Mean": lambda o: folded(torch.add)(o) / len(o.values),
    "Neg": one(torch.neg),
    "Abs": one(torch.abs),
    "Sqrt": one(torch.sqrt),
    "Log": one(torch.log),
    "Sign": one(torch.sign),
    "Exp": one(torch.exp),
    "Sin": one(torch.sin),
    "Cos": one(torch.cos),
    "Round": one(torch.round),
    "Floor": one(torch.floor),
    "Ceil": one(torch.ceil),
    "Reciprocal": one(torch.reciprocal),
    "Erf": one(torch.erf),
    "Concat": lambda o: torch.cat([o[n] for n in range(len(o.values))], o.get("axis")),
    "Split": moving.split,
    "Slice": moving.slices,
    "Gather": moving.gather,
    "Reshape": moving.reshape,
    "Flatten": moving.flatten,
    "Squeeze": moving.squeeze,
    "Unsqueeze": moving.unsqueeze,
    "Transpose": moving.transpose,
    "Pad": moving.pad,
    "Expand": expand,
    "Tile": lambda o: o[0].repeat(o.numbers(1)),
    "ReduceMean": lambda o: reduce(o, torch.mean),
    "ReduceSum": lambda o: reduce(o, torch.sum),
    "ReduceMax": lambda o: reduce(o, torch.amax),
    "ReduceMin": lambda o: reduce(o, torch.amin),
    "ReduceL2": lambda o: reduce(o, length),
    "ReduceProd": lambda o: reduce(o, product),
    "ReduceL1": lambda o: reduce(o, lambda x, axes, keepdim: x.abs().sum(axes, keepdim)),
    "ReduceSumSquare": lambda o: reduce(o, lambda x, axes, keepdim: x.square().sum(axes, keepdim)),
    "LpNormalization": normalised,
    "ArgMax": arg_largest,
    "TopK": largest_of,
    "DepthToSpace": moving.depth_to_space,
    "SpaceToDepth": moving.space_to_depth,
    "Resize": enlarging.resize,
    "Upsample": enlarging.resize,
    "Identity": one(lambda x: x),
    "Dropout": dropout,
    "Cast": cast,
    "Constant": constant,
    "ConstantOfShape": constant_of_shape,
    "Shape": lambda o: torch.tensor(tuple(o[0].shape)[o.get("start", 0) : o.get("end", o[0].ndim)]),
    "Size": lambda o: torch.tensor(o[0].numel()),
    "Range": lambda o: torch.arange(*(float(o[n]) if o[n].is_floating_point() else int(o[n]) for n in range(3))),
    "Equal": two(torch.eq),
    "Greater": two(torch.gt),
    "Less": two(torch.lt),
    "GreaterOrEqual": two(torch.ge),
    "LessOrEqual": two(torch.le),
    "And": two(torch.logical_and),
    "Or": two(torch.logical_or),
    "Mod": lambda o: torch.fmod(o[0], o[1]) if o.get("fmod", 0) else torch.remainder(o[0], o[1]),
    "Not": one(torch.logical_not),
    "Where": lambda o: torch.where(o[0], o[1], o[2]),
}


def most_values(node: OnnxNode, kept: dict[int, np.ndarray]) -> float:
    """About how many values a node makes of what constants say, before it is run: of a shape, a repetition, a range."""
    sizes = {"ConstantOfShape": 0, "Expand": 1, "Tile": 1, "Pad": 1, "Reshape": 1}.get(node.kind)
    if sizes is not None and sizes in kept:
        numbers = np.abs(kept[sizes].astype(np.float64)).reshape(-1)
        if node.kind in ("Tile", "Pad"):
            return float(np.inf) if numbers.size and numbers.max() > MANY else 0.0
        return float(np.prod(np.maximum(numbers, 1)))
    if node.kind == "Range" and set(kept) == {0, 1, 2}:
        start, stop, step = (float(kept[n].reshape(-1)[0]) for n in range(3))
        return abs(stop - start) / max(abs(step), 1e-9)
    return 0.0
