"""Values that do not depend on the image: computed once, when the network is imported."""

from __future__ import annotations

import numpy as np
import torch
from torch.fx import Node as FxNode
from torch.fx.node import map_arg

from calib.frontend.translation import Translation, operator_name, shape_of


# of their operand these need nothing but shape and type
LIKE = {f"aten.{name}" for name in "zeros_like ones_like full_like new_zeros new_ones new_full".split()}

# of their second operand these need nothing but its shape
SHAPED_LIKE = {f"aten.{name}" for name in "expand_as view_as reshape_as type_as".split()}

# among real numbers these only lose digits, which the engine's own precision decides about
CONVERSIONS = {"aten._to_copy", "aten.to"}


def is_constant(t: Translation, fx: FxNode) -> bool:
    """Whether a call's result follows from stored values, shapes and numbers alone, always the same."""
    needed = fx.all_input_nodes[:1] if operator_name(fx) in SHAPED_LIKE else fx.all_input_nodes
    known = operator_name(fx) in LIKE or all(v in t.constants for v in needed)
    return known and torch.Tag.nondeterministic_seeded not in getattr(fx.target, "tags", ())


@torch.no_grad()
def evaluate(t: Translation, fx: FxNode) -> None:
    """Compute a call whose operands are all constants; its result is one, too."""

    def value(node: FxNode) -> object:
        return t.constants[node] if node in t.constants else torch.zeros(shape_of(node), dtype=node.meta["val"].dtype)

    if operator_name(fx) in CONVERSIONS and fx.meta["val"].dtype.is_floating_point:
        (stored,) = map(value, fx.all_input_nodes)
        t.constants[fx] = stored if stored.dtype.is_floating_point else stored.to(fx.meta["val"].dtype)
        return
    with np.errstate(all="ignore"):
        result = fx.target(*map_arg(fx.args, value), **map_arg(fx.kwargs, value))
    t.constants[fx] = result
