"""Operators that are written out as several others, with torch's own arithmetic: norms by an image's own statistics, softmax."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.fx import Node as FxNode
from torch.fx.experimental.proxy_tensor import make_fx

from calib.frontend.layers import batch_norm
from calib.frontend.translation import axis, shape_of

if TYPE_CHECKING:
    from calib.frontend.translation import Translation


def compose(t: Translation, fx: FxNode, function: Callable[..., Tensor], *operands: FxNode | Tensor | None) -> None:
    """As ``spelled_out``, of what the host computes more exactly where it can."""
    t.need_tables(fx)
    spelled_out(t, fx, function, *operands)


def spelled_out(t: Translation, fx: FxNode, function: Callable[..., Tensor], *operands: FxNode | Tensor | None) -> None:
    """The value of ``fx``, which is this function of other values and of constants that may be None.

    Each call that the function makes is translated as if the network made it.
    """
    from calib.frontend.aten import translate  # which has this module's handlers in its table

    with torch.no_grad():
        traced = make_fx(function, tracing_mode="fake")(*(torch.empty(shape_of(o)) if isinstance(o, FxNode) else o for o in operands))
    coming = iter(operands)
    for node in traced.graph.nodes:
        if node.op == "placeholder":
            operand = next(coming)
            if isinstance(operand, FxNode):
                t.views[node] = t.view(fx, operand)
            elif operand is not None:
                t.constants[node] = operand
        elif node.op == "call_function":
            node.meta["nn_module_stack"] = fx.meta.get("nn_module_stack", {})
            translate(t, node)
        elif isinstance(node.args[0], FxNode):
            t.views[fx] = t.views[node.args[0]]
        else:
            t.several[fx] = [t.views[result] for result in node.args[0]]


def _axes(dims: object, rank: int) -> list[int]:
    """Axes as a call states them, one, several or none for all."""
    listed = [dims] if isinstance(dims, int) else list(dims or range(rank))
    return [axis(d, rank) for d in listed]


def shares(t: Translation, fx: FxNode, value: FxNode, along: int) -> None:
    """Softmax along an axis: exponentials below one, divided by their sum, which is one at least."""

    def softmax(x: Tensor) -> Tensor:
        e = (x - x.amax(along, keepdim=True)).exp()
        return e / e.sum(along, keepdim=True).clamp(min=1.0)

    compose(t, fx, softmax, value)


def log_of_sum(t: Translation, fx: FxNode, a: dict) -> None:
    """The logarithm of a sum of exponentials: the largest value, plus that of exponentials below one."""
    axes, kept = _axes(a["dim"], len(shape_of(a["self"]))), a["keepdim"]

    def function(x: Tensor) -> Tensor:
        highest = x.amax(axes, keepdim=True)
        found = (x - highest).exp().sum(axes, keepdim=True).clamp(min=1.0).log() + highest
        return found if kept else found.squeeze(axes)

    compose(t, fx, function, a["self"])


def length(t: Translation, fx: FxNode, a: dict) -> None:
    """The length of vectors along some axes: the root of a sum of squares, or a sum of magnitudes."""
    axes, kept, order = _axes(a.get("dim"), len(shape_of(a["self"]))), bool(a["keepdim"]), a["ord"]
    known = {1: lambda x: x.abs().sum(axes, keepdim=kept), 2: lambda x: (x**2).sum(axes, keepdim=kept).sqrt()}
    if order not in known:
        t.refuse(fx, f"a norm of order {order} is not supported; those of order 1 and 2 are")
    compose(t, fx, known[order], a["self"])


def instance_norm(t: Translation, fx: FxNode, a: dict) -> None:
    """Every channel less its mean, divided by its standard deviation; by those that were measured, a batch norm."""
    if not a["use_input_stats"]:
        batch_norm(t, fx, a)
        return
    pixels = list(range(2, len(shape_of(a["input"]))))

    def norm(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        centred = x - x.mean(pixels, keepdim=True)
        found = centred * torch.rsqrt((centred**2).mean(pixels, keepdim=True) + a["eps"])
        return _scaled(found, weight, bias)

    compose(t, fx, norm, a["input"], *_parameters(t, fx, a))


def group_norm(t: Translation, fx: FxNode, a: dict) -> None:
    """As instance norm, with the mean and the deviation of all channels of a group."""
    groups = a.get("num_groups", a.get("group"))
    value = a["input"]
    channels = shape_of(value)[1]
    size, pixels = channels // groups, list(range(2, len(shape_of(value))))
    if not pixels:
        t.refuse(fx, "group norm of a vector is not supported; of maps it is")
    means = torch.kron(torch.eye(groups), torch.full((size, size), 1.0 / size))

    def mean(x: Tensor, means: Tensor) -> Tensor:
        found = torch.nn.functional.linear(x.mean(pixels), means)
        return found.reshape(1, channels, *(1,) * len(pixels))

    def norm(x: Tensor, means: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        centred = x - mean(x, means)
        return _scaled(centred * torch.rsqrt(mean(centred**2, means).clamp(min=0.0) + a["eps"]), weight, bias)

    compose(t, fx, norm, value, means, *_parameters(t, fx, a))


def _parameters(t: Translation, fx: FxNode, a: dict) -> list[Tensor | None]:
    """Weight and bias of a call, None where it has none."""
    found = [None if a[k] is None else t.number(fx, a[k]) for k in ("weight", "bias")]
    for name, given, number in zip(("weight", "bias"), (a["weight"], a["bias"]), found):
        if given is not None and number is None:
            t.refuse(fx, f"its {name} is computed from the image; only constants are supported")
    return [None if number is None else number.float() for number in found]


def _scaled(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """Each channel times its weight, plus its bias."""
    shape = (1, -1, *(1,) * (x.ndim - 2))
    x = x if weight is None else x * weight.reshape(shape)
    return x if bias is None else x + bias.reshape(shape)


def variance(t: Translation, fx: FxNode, a: dict) -> None:
    """The mean square of what is left without the mean."""
    compose(t, fx, lambda x: _spread(t, fx, a)(x)[0], a["self"])


def deviation(t: Translation, fx: FxNode, a: dict) -> None:
    """The square root of the variance."""
    compose(t, fx, lambda x: _spread(t, fx, a)(x)[0].sqrt(), a["self"])


def variance_and_mean(t: Translation, fx: FxNode, a: dict) -> None:
    """The variance, and the mean."""
    compose(t, fx, _spread(t, fx, a), a["self"])


def deviation_and_mean(t: Translation, fx: FxNode, a: dict) -> None:
    """The square root of the variance, and the mean."""

    def function(x: Tensor) -> tuple[Tensor, Tensor]:
        found, mean = _spread(t, fx, a)(x)
        return found.sqrt(), mean

    compose(t, fx, function, a["self"])


def _spread(t: Translation, fx: FxNode, a: dict) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """The variance and the mean of a value along some axes, as a function of that value."""
    shape = shape_of(a["self"])
    axes, kept = _axes(a.get("dim"), len(shape)), bool(a.get("keepdim"))
    correction = a.get("correction", a.get("unbiased", 1))
    count, less = prod(shape[n] for n in axes), 1 if correction is None else int(correction)
    if count <= less:
        t.refuse(fx, f"the variance of {count} values is not supported; of {less + 1} and more it is")

    def found(x: Tensor) -> tuple[Tensor, Tensor]:
        mean = x.mean(axes, keepdim=True)
        squares = ((x - mean) ** 2).mean(axes, keepdim=kept)
        return squares * (count / (count - less)), mean if kept else mean.squeeze(axes)

    return found
