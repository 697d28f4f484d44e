"""Softmax over two values inside a network: the sigmoid of their difference, which is a function of one value."""

from __future__ import annotations

from math import prod

import numpy as np
from torch.fx import Node as FxNode

from bfp.functions import FunctionCall
from calib.frontend.arithmetic import scaled
from calib.frontend.translation import Translation, axis, shape_of
from calib.frontend.views import View


def softmax(t: Translation, fx: FxNode, a: dict) -> None:
    """Of two values, as attention over two branches has it, the sigmoid of each one's lead; at a network's end any, by the host."""
    shape = shape_of(fx)
    along = axis(a["dim"], len(shape))
    if along == 0 or shape[along] != 2:
        what = "the batch" if along == 0 else f"{shape[along]} values"
        t.refuse(fx, f"softmax over {what} is not supported before the network's end; over two values it is")
    view = t.elements(fx, a["self"])
    size = t.draft.shapes[view.tensor]
    index = t.index_of(view).reshape(shape)
    other = np.empty(prod(size), np.int64)  # of each element of the tensor, the one that it is compared with
    other[index.reshape(-1)] = np.flip(index, along).reshape(-1)
    compared = t.ordered(fx, View(view.tensor, other.reshape(1, *size)), (1, *size))
    lead = t.node(fx, "add", (view.tensor, scaled(t, fx, compared, -1.0)))
    t.views[fx] = View(t.node(fx, "lookup", (lead,), function=FunctionCall("sigmoid")), view.index)
