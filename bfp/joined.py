"""Results that the host puts together of several outputs, as a detector does that returns its heads side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from bfp import host_operators
from bfp.errors import BfpError
from bfp.fields import NAME, checked, tuple_of, whole
from bfp.host_operators import MOST_AXES, Shape
from bfp.limits import MAX_ENDS
from bfp.names import shown


@dataclass(frozen=True)
class JoinedOutput:
    """One result: values [N, ...] side by side along an axis, the batch being axis 0.

    parts: names of outputs, or of joined ones before this; what is a part is no result of its own. host: steps of
    bfp.host_operators behind it, of the joined values [N, count].
    """

    name: str = checked(NAME)
    parts: tuple[str, ...] = checked(tuple_of(NAME, 2, MAX_ENDS))
    axis: int = checked(whole(1, MOST_AXES))
    host: tuple[str, ...] = checked(tuple_of(NAME, 0, MAX_ENDS), default=())


def results(found: Mapping[str, np.ndarray], joins: Sequence[JoinedOutput]) -> dict[str, np.ndarray]:
    """What a network returns, [N, ...] by name, of what each of its outputs gives; in the order of the first part."""
    values = dict(found)
    for join in joins:
        whole_ = np.concatenate([values[part] for part in join.parts], join.axis)
        values[join.name] = host_operators.apply(join.host, whole_.reshape(len(whole_), -1))
    return {name: values[name] for name in result_names(tuple(found), joins)}


def result_names(outputs: Sequence[str], joins: Sequence[JoinedOutput]) -> list[str]:
    """The names of what a network returns, in order: by the first output that each is made of."""
    first = {name: n for n, name in enumerate(outputs)}
    for join in joins:
        first[join.name] = min(first[part] for part in join.parts)
    parts = {part for join in joins for part in join.parts}
    return sorted((name for name in first if name not in parts), key=first.__getitem__)


def verify_joined(joins: Sequence[JoinedOutput], shapes: Mapping[str, Shape], where: str) -> dict[str, Shape]:
    """The shape of one image's values of every output and joined one, the batch axis 1 included.

    shapes: of what each output returns. Raises BfpError, which begins with ``where``, where parts are not there or do not
    fit each other.
    """
    known = dict(shapes)
    for join in joins:
        place = f"{where}, joined output {shown(join.name)}"
        if join.name in known:
            raise BfpError(f"{place}: another output has this name; make the file again")
        for part in join.parts:
            if part not in known:
                raise BfpError(f"{place}: its part {shown(part)} is no output; make the file again")
        known[join.name] = host_operators.check(join.host, prod(_joined_shape(join, known, place)), place)
    return known


def _joined_shape(join: JoinedOutput, known: Mapping[str, Shape], place: str) -> Shape:
    """The shape of the parts side by side. Raises BfpError where their other axes differ."""
    shapes = [known[part] for part in join.parts]
    others = {(*shape[: join.axis], *shape[join.axis + 1 :]) for shape in shapes}
    if len(others) != 1 or any(join.axis >= len(shape) for shape in shapes):
        raise BfpError(f"{place}: its parts {shown(shapes)} do not fit each other along axis {join.axis}; make the file again")
    return (*shapes[0][: join.axis], sum(shape[join.axis] for shape in shapes), *shapes[0][join.axis + 1 :])
