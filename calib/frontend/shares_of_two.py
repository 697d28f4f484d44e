"""Softmax inside a network: over two values the sigmoid of their difference, which is a function of one value."""

from __future__ import annotations

from math import prod

import numpy as np
from torch.fx import Node as FxNode

from bfp.functions import FunctionCall
from calib.frontend.arithmetic import scaled
from calib.frontend.composed import shares
from calib.frontend.translation import Translation, axis, shape_of
from calib.frontend.views import View


def softmax(t: Translation, fx: FxNode, a: dict) -> None:
    """Of two values, as attention over two branches has it, the sigmoid of each one's lead; of more, exponentials by their sum."""
    shape = shape_of(fx)
    along = axis(a["dim"], len(shape))
    if along == 0:
        t.refuse(fx, "softmax over the batch is not supported")
    if shape[along] != 2:
        shares(t, fx, a["self"], along)
        return
    view = t.elements(fx, a["self"])
    size = t.draft.shapes[view.tensor]
    index = t.index_of(view).reshape(shape)
    other = np.empty(prod(size), np.int64)  # of each element of the tensor, the one that it is compared with
    other[index.reshape(-1)] = np.flip(index, along).reshape(-1)
    compared = t.ordered(fx, View(view.tensor, other.reshape(1, *size)), (1, *size))
    lead = t.node(fx, "add", (view.tensor, scaled(t, fx, compared, -1.0)))
    t.views[fx] = View(t.node(fx, "lookup", (lead,), function=FunctionCall("sigmoid")), view.index)
