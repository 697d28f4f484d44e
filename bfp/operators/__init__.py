"""All operators, one file each. See ``record`` for what is said of one, and docs/architecture.md for how to add one."""

from __future__ import annotations

from bfp.errors import BfpError
from bfp.operators.add import ADD
from bfp.operators.avg_pool import AVG_POOL
from bfp.operators.concat import CONCAT
from bfp.operators.conv import CONV
from bfp.operators.depth_to_space import DEPTH_TO_SPACE
from bfp.operators.depthwise import DEPTHWISE
from bfp.operators.identity import IDENTITY
from bfp.operators.interpolate import INTERPOLATE
from bfp.operators.lookup import LOOKUP
from bfp.operators.max_pool import MAX_POOL
from bfp.operators.maximum import MAXIMUM
from bfp.operators.minimum import MINIMUM
from bfp.operators.multiply import MULTIPLY
from bfp.operators.pad_edge import PAD_EDGE
from bfp.operators.record import Alignment, Broadcast, Channels, Join, Operator, Scaling, Shifting, WeightAxes
from bfp.operators.slice_pad import SLICE_PAD
from bfp.operators.upsample_bilinear import UPSAMPLE_BILINEAR
from bfp.operators.upsample_nearest import UPSAMPLE_NEAREST

OPERATORS: dict[str, Operator] = {
    o.name: o
    for o in (CONV, DEPTHWISE, MAX_POOL, AVG_POOL, ADD, MAXIMUM, MINIMUM, MULTIPLY, IDENTITY, SLICE_PAD, LOOKUP, CONCAT)
    + (UPSAMPLE_NEAREST, UPSAMPLE_BILINEAR, DEPTH_TO_SPACE, PAD_EDGE, INTERPOLATE)
}

__all__ = [
    "OPERATORS", "Alignment", "Broadcast", "Channels", "Join", "Operator", "Scaling", "Shifting", "WeightAxes", "operator",
]  # fmt: skip


def operator(name: str, where: str) -> Operator:
    """The record of an operator. Raises BfpError, which begins with ``where``, for one that there is not."""
    if name not in OPERATORS:
        raise BfpError(f"{where}: operator {name!r} is not supported; known are {', '.join(OPERATORS)}")
    return OPERATORS[name]
