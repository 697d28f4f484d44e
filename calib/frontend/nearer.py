"""Elements in an order that is too much for one step: what moved them is done in two, with a tensor between.

    y = F.pad(F.interpolate(x, scale_factor=2), (1, 1, 1, 1), mode="reflect")     # larger, then what lies at its edges again
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.fx import Node as FxNode

from calib.frontend.refusals import Refusal
from calib.frontend.views import View

if TYPE_CHECKING:
    from calib.frontend.translation import Translation

MOVING = frozenset(
    "view reshape _unsafe_view flatten squeeze unsqueeze unflatten permute transpose swapaxes movedim slice pad constant_pad_nd flip "
    "roll expand repeat repeat_interleave index_select upsample_nearest1d upsample_nearest2d pixel_shuffle pixel_unshuffle "
    "channel_shuffle clone contiguous alias detach".split()
)
MOST_STEPS = 8  # calls that move elements one behind the other


def brought_nearer(t: Translation, value: FxNode) -> str | None:
    """A tensor that has a value's elements in order, by way of one that has those of a value which it was moved from; else None.

    Of several such values the last one. What was moved before is a view of that tensor then.
    """
    from calib.frontend.aten import translate  # which has this module's callers in its table
    from calib.frontend.translation import operator_name, shape_of

    chain, node = [value], value
    for _ in range(MOST_STEPS):
        if node.op != "call_function" or operator_name(node).removeprefix("aten.").rstrip("_") not in MOVING:
            return None
        node = node.args[0]
        view = t.views.get(node)
        if view is None or view.index is None and shape_of(node) == (1, *t.draft.shapes[view.tensor]):
            return None
        kept = {one: t.views[one] for one in (node, *chain)}
        try:
            t.views[node] = View(t.ordered(node, View(view.tensor, t.index(node)), shape_of(node)))
            for call in reversed(chain):
                translate(t, call)
            return t.ordered(value, t.views[value], shape_of(value))
        except Refusal:
            t.views.update(kept)
        chain.append(node)
    return None
