"""Transposed convolutions as ordinary ones: each phase of the result's rows and columns sees a part of the kernel.

Row ``o`` of the result is ``sum over m of x[q + n - m] * w[r + stride * m]`` with ``o + padding = r + stride * (q + n)``.
So the rows of one phase, those that are equal modulo the stride, are a convolution with every stride-th row of the
kernel, turned round, and no product with an inserted zero is made. The same holds for columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch.fx import Node as FxNode

from bfp.graph import Window
from bfp.limits import MAX_FACTOR
from calib.frontend.enlarging import SHUFFLE, larger
from calib.frontend.translation import Translation, pair, shape_of
from calib.frontend.views import View


@dataclass(frozen=True)
class Phase:
    """One phase along one axis. taps: of the kernel, in the order in which they meet the map's pixels, which begin
    ``before`` the first one; behind: how far they reach beyond the last."""

    taps: tuple[int, ...]
    before: int
    behind: int


def phases(size: int, result: int, kernel: int, stride: int, padding: int, dilation: int) -> list[Phase]:
    """Those along an axis of ``size`` pixels, of which ``result`` become; each makes ``ceil(result / stride)``.

    With a dilation the kernel is the one with zeros between its positions: a phase takes of it what is no zero, which
    lies at one distance. That distance is the window's dilation, see ``step``.
    """
    count, found = -(-result // stride), []
    for first in range(stride):
        q, r = divmod(first + padding, stride)
        met = [(k * dilation - r) // stride for k in range(kernel) if (k * dilation - r) % stride == 0]
        taps = [k for k in range(kernel) if (k * dilation - r) % stride == 0]
        # a phase that the kernel does not reach has the bias alone: one tap of zeros
        taps, met = (taps[::-1], met[::-1]) if taps else ([-1], [0])
        before, last = met[0] - q, met[0] - met[-1]
        found.append(Phase(tuple(taps), before, count + last - size - before))
    return found


def step(stride: int, dilation: int) -> int:
    """How many pixels of the map lie between two kernel positions that meet a phase."""
    return dilation // int(np.gcd(stride, dilation))


def transposed_convolution(t: Translation, fx: FxNode, a: dict) -> None:
    """Of maps, in any number of groups."""
    transpose(t, fx, a, t.map(fx, a["input"]), None)


def transposed_convolution_1d(t: Translation, fx: FxNode, a: dict) -> None:
    """Along one axis."""
    transpose(t, fx, a, *t.line(fx, a["input"]))


def transpose(t: Translation, fx: FxNode, a: dict, source: str, along: int | None) -> None:
    """Each phase as a convolution, all of them side by side, and then as pixels."""
    weight = t.constant(fx, a["weight"], "weight")
    bias, groups = t.constant(fx, a["bias"], "bias"), a["groups"]
    kernel, stride = pair(weight.shape[2:], along), pair(a["stride"], along)
    padding, dilation = pair(a["padding"], along, 0), pair(a["dilation"], along)
    if max(stride) > MAX_FACTOR:
        t.refuse(fx, f"a transposed convolution with a stride of {stride} is not supported; up to {MAX_FACTOR} is")
    channels, *size = t.draft.shapes[source]
    filters = weight.shape[1] * groups
    result = pair(shape_of(fx)[2:], along)
    dense = by_filter(weight.reshape(channels, -1, *kernel), groups)
    bias = np.zeros(filters, weight.dtype) if bias is None else bias
    rows, columns = (phases(size[n], result[n], kernel[n], stride[n], padding[n], dilation[n]) for n in (0, 1))
    each = [(phase_window(y, x, stride, dilation), taken(dense, y, x)) for y in rows for x in columns]
    parts = [convolved(t, fx, source, window, found, bias, groups) for window, found in in_runs(each, groups)]
    name = parts[0] if len(parts) == 1 else t.node(fx, "concat", tuple(parts), filters * len(each))
    if stride != (1, 1):
        name = larger(t, fx, SHUFFLE, name, stride)
    extra = [made - wanted for made, wanted in zip(t.draft.shapes[name][1:], result)]
    if any(extra):
        name = t.node(fx, "slice_pad", (name,), window=Window(padding=(0, 0, -extra[0], -extra[1])))
    t.views[fx] = View(name)
    t.check_result(fx)


def in_runs(each: list[tuple[Window, np.ndarray]], groups: int) -> list[tuple[Window, list[np.ndarray]]]:
    """Phases that follow each other and have one window share a convolution, unless it is one of groups."""
    found: list[tuple[Window, list[np.ndarray]]] = []
    for window, weight in each:
        if found and found[-1][0] == window and groups == 1:
            found[-1][1].append(weight)
        else:
            found.append((window, [weight]))
    return found


def convolved(
    t: Translation, fx: FxNode, source: str, window: Window, phases: list[np.ndarray], bias: np.ndarray, groups: int
) -> str:
    """The convolution that makes some phases of one window."""
    weight, biases = np.concatenate(phases), np.tile(bias, len(phases))
    if groups == t.draft.shapes[source][0] == len(weight) and groups > 1:
        return t.node(fx, "depthwise", (source,), len(weight), (weight, biases), window=window)
    name = t.node(fx, "conv", (source,), len(weight), (weight, biases), window=window)
    if groups > 1:
        t.draft.groups[name] = groups
    return name


def by_filter(weight: np.ndarray, groups: int) -> np.ndarray:
    """Weights [C, F / groups, kh, kw] of a transposed convolution as [F, C / groups, kh, kw]."""
    channels, filters = weight.shape[:2]
    split = weight.reshape(groups, channels // groups, filters, *weight.shape[2:])
    return split.swapaxes(1, 2).reshape(groups * filters, channels // groups, *weight.shape[2:])


def phase_window(down: Phase, across: Phase, stride: tuple[int, int], dilation: tuple[int, int]) -> Window:
    """The window of a phase over the map."""
    steps = [step(s, d) if len(p.taps) > 1 else 1 for p, s, d in zip((down, across), stride, dilation)]
    return Window(
        (len(down.taps), len(across.taps)),
        (1, 1),
        (down.before, across.before, down.behind, across.behind),
        (steps[0], steps[1]),
    )


def taken(weight: np.ndarray, down: Phase, across: Phase) -> np.ndarray:
    """A phase's part of the weights."""
    if -1 in (*down.taps, *across.taps):
        return np.zeros((*weight.shape[:2], len(down.taps), len(across.taps)), weight.dtype)
    return weight[:, :, down.taps][:, :, :, across.taps]
