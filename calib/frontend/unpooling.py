"""Maps made larger by what needs several layers: unpooling to where maxima were, cubic interpolation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.fx import Node as FxNode
from torch.nn import functional as F

from bfp.functions import FunctionCall
from calib.frontend.composed import compose
from calib.frontend.translation import bind, operator_name, pair, shape_of
from calib.frontend.views import View

if TYPE_CHECKING:
    from calib.frontend.translation import Translation

CUBIC = -0.75  # the coefficient of torch's cubic interpolation
REACH = 2  # pixels on both sides that a value of cubic interpolation is made of
POOLS = ("aten.max_pool2d_with_indices", "aten.max_pool1d_with_indices")


def not_below(t: Translation, fx: FxNode, a: dict) -> None:
    """One where a value is a number or more, else zero."""
    t.need_tables(fx)
    limit = t.number(fx, a["other"])
    if limit is None or limit.numel() != 1 or float(limit) != 0:
        t.refuse(fx, "a comparison is not supported; only that of a difference with zero is")
    view = t.elements(fx, a["self"])
    t.views[fx] = View(t.node(fx, "lookup", (view.tensor,), function=FunctionCall("not_below_zero")), view.index)


def unpool(t: Translation, fx: FxNode, a: dict) -> None:
    """Each value where the first maximum of its window was, zeros elsewhere: phase by phase, the first that reaches the maximum."""
    t.need_tables(fx)
    places = a["indices"]
    pool = places.args[0] if operator_name(places) == "getitem" and places.args[1] == 1 else None
    if pool is None or operator_name(pool) not in POOLS:
        t.refuse(fx, "unpooling to places that no max pool has found is not supported")
    found = bind(pool)
    kernel, source = pair(found["kernel_size"]), found["self"]
    stride = pair(found["stride"]) if found["stride"] else kernel
    plain = kernel == stride and pair(found["padding"]) == (0, 0) and pair(found["dilation"]) == (1, 1)
    height, width = shape_of(a["self"])[2:]
    size = tuple(shape_of(fx)[2:])
    if not plain or size != (height * kernel[0], width * kernel[1]) or shape_of(source)[2:] != size or shape_of(pool) != shape_of(a["self"]):
        t.refuse(fx, "unpooling is supported to whole windows side by side; use MaxPool2d(k) with sizes that k divides, without padding")
    if kernel[0] != kernel[1]:
        t.refuse(fx, f"unpooling of a window of {kernel} is not supported; it must be a square")

    def function(x: Tensor, before: Tensor) -> Tensor:
        phases = [before[:, :, i :: kernel[0], j :: kernel[1]] for i in range(kernel[0]) for j in range(kernel[1])]
        highest = F.max_pool2d(before, kernel)
        reached, parts = None, []
        for phase in phases:
            equal = ((phase - highest) >= 0).to(x.dtype)
            now = equal if reached is None else torch.maximum(reached, equal)
            parts.append(x * (now if reached is None else now - reached))
            reached = now
        return F.pixel_shuffle(torch.stack(parts, 2).flatten(1, 2), kernel[0])

    compose(t, fx, function, a["self"], source)


def cubic(t: Translation, fx: FxNode, a: dict) -> None:
    """Cubic interpolation to whole times as many rows and columns: filters for each phase of the larger map, side by side."""
    t.need_tables(fx)
    old, new = shape_of(a["input"])[2:], shape_of(fx)[2:]
    factors = [n // o for n, o in zip(new, old)]
    if a["align_corners"] or any(o * f != n for o, f, n in zip(old, factors, new)) or factors[0] != factors[1]:
        t.refuse(fx, f"cubic interpolation of {tuple(old)} to {tuple(new)} is not supported; whole times as many rows and columns are")
    channels, factor = shape_of(a["input"])[1], factors[0]
    line = torch.tensor([cubic_weights(p, factor) for p in range(factor)])
    weight = torch.einsum("pi,qj->pqij", line, line).reshape(factor * factor, 1, *(2 * REACH + 1,) * 2).repeat(channels, 1, 1, 1)

    def function(x: Tensor, weight: Tensor) -> Tensor:
        edged = F.pad(x, (REACH,) * 4, mode="replicate")
        return F.pixel_shuffle(F.conv2d(edged, weight, groups=channels), factor)

    compose(t, fx, function, a["input"], weight)


def cubic_weights(phase: int, factor: int) -> list[float]:
    """What a pixel's ``phase``-th of ``factor`` successors is made of: of the pixels from REACH before it to REACH behind it."""
    place = (phase + 0.5) / factor - 0.5
    return [cubic_share(abs(place - n)) for n in range(-REACH, REACH + 1)]


def cubic_share(distance: float) -> float:
    """The weight of a pixel at a distance (Keys)."""
    if distance <= 1:
        return (CUBIC + 2) * distance**3 - (CUBIC + 3) * distance**2 + 1
    if distance < 2:
        return CUBIC * (distance**3 - 5 * distance**2 + 8 * distance - 4)
    return 0.0
