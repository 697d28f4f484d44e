"""Forms of layers, constants, functions, and orders and parts of channels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from support.forms import Forms, Step
from torch import nn

# -- layers -------------------------------------------------------------------------------------------------------------


def layered(forms: Forms, module: nn.Module) -> Step:
    """A layer as a step."""
    i = forms.layer(module)
    return lambda m, x: m[i](x)


def convolution(forms: Forms, groups: int = 1, each: int | None = None, **words) -> Step:
    """each: filters of every group."""
    k = forms.one_of(1, 3)
    filters = groups * (each or forms.whole(1, max(1, 70 // groups // 2)))
    words = {"padding": k // 2, **words}
    return layered(forms, nn.Conv2d(forms.channels, filters, k, groups=groups, bias=forms.rng.random() < 0.5, **words))


def grouped(forms: Forms) -> Step | None:
    groups = forms.groups()
    return convolution(forms, groups) if groups and groups < forms.channels else None


def multiplied(forms: Forms) -> Step:
    return convolution(forms, forms.channels, forms.whole(2, 3))


def dilated(forms: Forms) -> Step:
    dilation, filters = (forms.one_of(1, 2, 3), forms.one_of(2, 3)), forms.whole(1, 35)
    groups = forms.one_of(1, forms.channels)
    filters = filters if groups == 1 else forms.channels
    return layered(forms, nn.Conv2d(forms.channels, filters, 3, groups=groups, dilation=dilation, padding=dilation))


def strided(forms: Forms) -> Step:
    return layered(forms, nn.Conv2d(forms.channels, forms.whole(1, 35), 3, forms.one_of(2, (1, 2), 3), 1))


def transposed(forms: Forms) -> Step:
    groups = forms.divisor(forms.channels)
    stride, kernel = (forms.one_of(1, 2), forms.one_of(2, 3)), (forms.whole(1, 4), forms.whole(2, 4))
    padding = forms.one_of(0, (0, 1)) if forms.sizes[2] > 1 else 0
    filters = groups * forms.whole(1, max(1, 40 // groups))
    return layered(forms, nn.ConvTranspose2d(forms.channels, filters, kernel, stride, padding, groups=groups))


def one_axis(forms: Forms) -> Step:
    """A sequence of what a map's rows have in common, and a map again."""
    i = forms.layer(nn.Conv1d(forms.channels, forms.whole(1, 30), forms.one_of(1, 3), padding=1, dilation=1))
    return lambda m, x: F.relu(m[i](x.mean(2))).unsqueeze(2)


def normalised_first(forms: Forms) -> Step:
    i, j = forms.layer(nn.BatchNorm2d(forms.channels)), forms.layer(nn.Conv2d(forms.channels, forms.whole(1, 35), 3, padding=1))
    return lambda m, x: m[j](m[i](x))


def parallel(forms: Forms) -> Step:
    c = forms.channels
    made = [nn.Conv2d(c, c, 3, padding=1), nn.Conv2d(c, c, 1), nn.BatchNorm2d(c), nn.Conv2d(c, c, 3, padding=1, groups=c)]
    i, j = (forms.layer(made[n]) for n in forms.rng.choice(4, 2, replace=False))
    return lambda m, x: m[i](x) + m[j](x)


def residual(forms: Forms) -> Step:
    i, sign = forms.layer(nn.Conv2d(forms.channels, forms.channels, 3, padding=1)), forms.one_of(1.0, -1.0)
    return lambda m, x: torch.add(m[i](x), x, alpha=sign)


def grown(forms: Forms) -> Step:
    c = forms.channels
    i, j = forms.layer(nn.Conv2d(c, c, 1)), forms.layer(nn.Conv2d(2 * c, c, 1))

    def dense(m, x):
        features = [x, m[i](F.relu(x))]
        features.append(m[j](torch.cat(features, 1)))
        return torch.cat(features, 1)

    return dense


def sum_of_a_list(forms: Forms) -> Step:
    c = forms.channels
    i, j = forms.layer(nn.Conv2d(c, c, 1)), forms.layer(nn.Conv2d(c, c, 3, padding=1))
    return forms.one_of(lambda m, x: sum([m[i](x), F.relu(m[j](x)), x]), lambda m, x: torch.stack([m[i](x), m[j](x)]).sum(0))


def padded(forms: Forms) -> Step:
    amounts = [forms.whole(0, 2) for _ in range(4)]
    return lambda m, x: F.pad(x, amounts)


# -- constants and functions ----------------------------------------------------------------------------------------------


def with_constant(*spellings) -> Step:
    """Any of these steps of layers, a map and a constant."""

    def form(forms: Forms) -> Step:
        c, spelled = forms.constant(), forms.one_of(*spellings)
        return lambda m, x: spelled(x, c)

    return form


def of_pixels(*spellings) -> Step:
    """As with_constant, the constant having a number for every row, column or pixel, before a layer with weights."""

    def form(forms: Forms) -> Step:
        c, h, w = forms.sizes
        constant = forms.numbers(*forms.one_of((c, h, w), (1, h, w), (h, w), (1, 1, 1, w), (1, 1, h, 1)))
        spelled, i = forms.one_of(*spellings), forms.layer(nn.Conv2d(c, forms.whole(1, 35), 1))
        return lambda m, x: m[i](spelled(x, constant))

    return form


def plain(*spellings) -> Step:
    """Any of these steps of a map."""

    def form(forms: Forms) -> Step:
        spelled = forms.one_of(*spellings)
        return lambda m, x: spelled(x)

    return form


def before_a_layer(*spellings) -> Step:
    """Any of these steps of a map, and a layer with weights behind it."""

    def form(forms: Forms) -> Step:
        spelled, i = forms.one_of(*spellings), forms.layer(nn.Conv2d(forms.channels, forms.whole(1, 35), 1))
        return lambda m, x: m[i](spelled(x))

    return form


def of_number(low: float, high: float, spelled) -> Step:
    """A step of a map and a random number."""

    def form(forms: Forms) -> Step:
        number = round(float(forms.rng.uniform(low, high)), 3)
        return lambda m, x: spelled(x, number)

    return form


def slopes(forms: Forms) -> Step:
    """PReLU, one slope for all channels or one for each."""
    layer = nn.PReLU(forms.one_of(1, forms.channels))
    nn.init.uniform_(layer.weight, -0.5, 1.5)
    return layered(forms, layer)


# -- orders and parts of channels --------------------------------------------------------------------------------------------


def shuffled(forms: Forms) -> Step:
    groups = forms.divisor(forms.channels)
    return forms.one_of(
        lambda m, x: x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2), lambda m, x: F.channel_shuffle(x, groups)
    )  # fmt: skip


def permuted(forms: Forms) -> Step:
    index, by = torch.as_tensor(forms.rng.permutation(forms.channels)), forms.whole(1, 3)
    cut = min(2, forms.channels)
    return forms.one_of(
        lambda m, x: x.flip(1), lambda m, x: x[:, index], lambda m, x: x.roll(by, 1),
        lambda m, x: torch.cat(x.tensor_split(cut, 1)[::-1], 1), lambda m, x: x.index_select(1, index),
    )  # fmt: skip


def part(*spellings) -> Step:
    """One of equal parts of the channels."""

    def form(forms: Forms) -> Step | None:
        groups = forms.groups()
        if groups is None:
            return None
        which, spelled = forms.whole(0, groups - 1), forms.one_of(*spellings)
        return lambda m, x: spelled(x, groups, which)

    return form


def parts_met(*joins) -> Step:
    """Equal parts of the channels, met element by element."""

    def form(forms: Forms) -> Step | None:
        groups, join = forms.groups(), forms.one_of(*joins)
        if groups is None:
            return None

        def met(m, x):
            found, *others = x.chunk(groups, 1)
            for other in others[:2]:
                found = join(found, other)
            return found

        return met

    return form


def edges(forms: Forms) -> Step:
    """The map's edges, or what lies inside of them, around it."""
    mode = forms.one_of("replicate", "reflect") if min(forms.sizes[1:]) > 1 else "replicate"
    return lambda m, x: F.pad(x, (1, 1, 1, 1), mode=mode)


def rows_cut(forms: Forms) -> Step | None:
    _, h, w = forms.sizes
    first, last, step = forms.whole(0, 1), forms.whole(0, 1), forms.one_of(1, 2)
    return (lambda m, x: x[:, :, first::step, : w - last]) if h > 2 and w > 2 else None


STEPS = {
    "convolution": convolution,
    "grouped convolution": grouped,
    "one filter a channel": lambda forms: convolution(forms, forms.channels, 1),
    "depthwise multiplier": multiplied,
    "dilated convolution": dilated,
    "convolution with a stride": strided,
    "transposed convolution": transposed,
    "convolution over one axis": one_axis,
    "batch norm": lambda forms: layered(forms, nn.BatchNorm2d(forms.channels)),
    "batch norm before a convolution": normalised_first,
    "parallel branches": parallel,
    "residual": residual,
    "growing concatenation": grown,
    "sum of a list": sum_of_a_list,
    "zeros around": padded,
    "edges around": edges,
    "constant factors": with_constant(lambda x, c: x * c, lambda x, c: c * x, lambda x, c: x / c, lambda x, c: -x * c),
    "constant sums": with_constant(lambda x, c: x + c, lambda x, c: x.mul(c).add(1)),
    "constant differences": with_constant(lambda x, c: x - c, lambda x, c: c - x, lambda x, c: torch.rsub(x, c, alpha=2)),
    "constants of pixels": of_pixels(lambda x, c: x + c, lambda x, c: x * c, lambda x, c: c - x),
    "relu": plain(F.relu, lambda x: torch.maximum(x, torch.zeros(())), lambda x: F.threshold(x, 0, 0)),
    "relu6": plain(F.relu6, lambda x: x.clamp(0, 6)),
    "limits": with_constant(
        lambda x, c: x.clamp(-1, 1.5), lambda x, c: x.clamp(max=2), lambda x, c: F.hardtanh(x), lambda x, c: F.threshold(x, 0.25, 0.25)
    ),
    "limits of channels": with_constant(torch.minimum, lambda x, c: torch.maximum(x, -c)),
    "sigmoid": plain(torch.sigmoid),
    "hardsigmoid": plain(F.hardsigmoid),
    "tanh": plain(torch.tanh),
    "silu": plain(F.silu, lambda x: x * torch.sigmoid(x)),
    "hardswish": plain(F.hardswish, lambda x: x * F.relu6(x + 3) / 6),
    "gelu": plain(F.gelu),
    "gelu_tanh": plain(lambda x: F.gelu(x, approximate="tanh")),
    "mish": plain(F.mish),
    "softplus": of_number(0.5, 2, lambda x, a: F.softplus(x, a)),
    "softsign": plain(F.softsign),
    "log_sigmoid": plain(F.logsigmoid),
    "leaky_relu": of_number(-0.5, 1.5, F.leaky_relu),
    "elu": of_number(0.5, 2, F.elu),
    "selu and celu": plain(F.selu, F.celu),
    "abs": plain(torch.abs),
    "swish": of_number(0.5, 2, lambda x, a: x * torch.sigmoid(a * x)),
    "erf": plain(torch.erf),
    "square": plain(lambda x: F.hardtanh(x, -3, 3) ** 2, lambda x: F.hardtanh(x).square()),
    "cube": plain(lambda x: F.hardtanh(x, -2, 2) ** 3),
    "PReLU": slopes,
    "limited_power": of_number(0.5, 3, lambda x, a: x.clamp(1e-3, 3) ** a),
    "whole_power": plain(lambda x: F.hardtanh(x, -2, 2) ** 4),
    **{name: before_a_layer(getattr(torch, name)) for name in ("sin", "cos", "atan")},
    **{name: before_a_layer(lambda x, f=getattr(torch, name): x * f(x)) for name in ("sign", "floor", "ceil", "round", "trunc")},
    **{name: before_a_layer(lambda x, f=getattr(torch, name): f(F.hardtanh(x))) for name in ("sinh", "cosh", "expm1")},
    "softshrink": of_number(0, 1, F.softshrink),
    "hardshrink": of_number(0, 1, F.hardshrink),
    "threshold": of_number(-1, 1, lambda x, a: F.threshold(x, a, -a)),
    "exp": before_a_layer(lambda x: torch.exp(-x.abs()), lambda x: F.hardtanh(x, -3, 2).exp()),
    "limited_log": before_a_layer(lambda x: x.clamp(min=0.1).log(), lambda x: (F.relu(x) + 0.5).log()),
    "reciprocal": before_a_layer(lambda x: 1 / (F.relu(x) + 0.5), lambda x: (torch.tanh(x) + 2).reciprocal()),
    "not_below_zero": before_a_layer(lambda x: x * (x >= 0).to(x.dtype)),
    "channel shuffle": shuffled,
    "permutation": permuted,
    "chunk": part(lambda x, groups, n: x.chunk(groups, 1)[n]),
    "split": part(lambda x, groups, n: x.split(x.shape[1] // groups, 1)[n]),
    "slice": part(lambda x, groups, n: x[:, n::groups], lambda x, groups, n: x.narrow(1, n, x.shape[1] // groups)),
    "select": part(
        lambda x, groups, n: x.unflatten(1, (-1, groups)).select(2, n), lambda x, groups, n: x.unflatten(1, (groups, -1)).unbind(1)[n]
    ),
    "rows and columns": rows_cut,
    "parts added": parts_met(torch.add),
    "parts subtracted": parts_met(torch.sub),
    "parts' maximum": parts_met(torch.maximum),
    "parts' minimum": parts_met(torch.minimum),
    "parts multiplied": parts_met(torch.mul),
}
