"""Pools of maps whose rows are a tensor's columns: the pool of that tensor, with its window turned, too."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor
from torch.fx import Node as FxNode

from calib.frontend import windows
from calib.frontend.composed import spelled_out
from calib.frontend.layers import turned_map
from calib.frontend.refusals import Refusal
from calib.frontend.translation import operator_name, pair, shape_of
from calib.frontend.views import View, numbers

if TYPE_CHECKING:
    from calib.frontend.translation import Translation

TURNED = ("kernel_size", "stride", "padding", "dilation")


def max_pool(t: Translation, fx: FxNode, a: dict) -> None:
    """The largest value of a window."""
    either_way(t, fx, a, windows.max_pool)


def avg_pool(t: Translation, fx: FxNode, a: dict) -> None:
    """The mean of a window."""
    either_way(t, fx, a, windows.avg_pool)


def either_way(t: Translation, fx: FxNode, a: dict, pool: Callable[[Translation, FxNode, dict], None]) -> None:
    """The pool of a map, or of what it is when it is turned."""
    try:
        pool(t, fx, a)
        return
    except Refusal:
        value = a["self"]
        view = t.view(fx, value)
        in_order = view.index is None and shape_of(value) == (1, *t.draft.shapes[view.tensor])
        other = "2d" in operator_name(fx) and value not in t.bordered and not in_order
        turned = turned_map(t, fx, value) if other else None
        if turned is None:
            raise
    t.views[value] = View(turned, numbers(t.draft.shapes[turned]).transpose(0, 2, 1)[None].copy())
    others = {k: list(pair(v))[::-1] if k in TURNED and v not in ([], None) else v for k, v in a.items() if k != "self"}

    def function(x: Tensor) -> Tensor:
        found = fx.target(x.transpose(2, 3), **others)
        return (found[0] if isinstance(found, tuple) else found).transpose(2, 3)

    spelled_out(t, fx, function, value)
