"""Results that the host makes of several outputs, as a detector does that returns its heads side by side, or decodes them."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod

import numpy as np

from bfp import host_operators
from bfp.combinations import COMBINATIONS, CONCAT, CONSTANT, TAKE
from bfp.errors import BfpError
from bfp.fields import NAME, checked, choice, encoded, tuple_of, whole
from bfp.host_operators import MOST_AXES, Shape
from bfp.limits import MAX_ENDS, MAX_HOST_CONSTANT
from bfp.names import shown

FLOAT = np.dtype("<f4")  # of constants in files


@dataclass(frozen=True)
class JoinedOutput:
    """One value [N, ...] that the host makes of others, the batch being axis 0: a result, or a part of another one.

    parts: names of outputs, or of joined ones before this; what is a part is no result of its own. how: of
    bfp.combinations, or CONSTANT, which has no parts but numbers in ``data`` (``text_of``). axis: along which it is made,
    where there is one. host: steps of bfp.host_operators behind it, of the joined values [N, count].
    """

    name: str = checked(NAME)
    parts: tuple[str, ...] = checked(tuple_of(NAME, 0, MAX_ENDS))
    axis: int = checked(whole(1, MOST_AXES))
    host: tuple[str, ...] = checked(tuple_of(NAME, 0, MAX_ENDS), default=())
    how: str = checked(choice(*COMBINATIONS, CONSTANT), omitted=True, default=CONCAT)
    data: str = checked(encoded(MAX_HOST_CONSTANT * FLOAT.itemsize), omitted=True, default="")


def text_of(values: np.ndarray) -> str:
    """A constant's numbers as float32, in base 64; the inverse of ``numbers_of``."""
    return base64.b64encode(np.ascontiguousarray(values, FLOAT).tobytes()).decode()


@lru_cache(maxsize=MAX_ENDS)
def numbers_of(text: str) -> np.ndarray:
    """The numbers, float64 [count], that ``text_of`` wrote."""
    raw = base64.b64decode(text)
    return np.frombuffer(raw[: len(raw) // FLOAT.itemsize * FLOAT.itemsize], FLOAT).astype(np.float64)


def results(found: Mapping[str, np.ndarray], joins: Sequence[JoinedOutput]) -> dict[str, np.ndarray]:
    """What a network returns, [N, ...] by name, of what each of its outputs gives; in the order of ``result_names``."""
    values = dict(found)
    images = len(next(iter(found.values())))
    for join in joins:
        if join.how == CONSTANT:
            numbers = numbers_of(join.data)
            whole_ = np.broadcast_to(numbers, (images, numbers.size))
        else:
            whole_ = COMBINATIONS[join.how].compute([values[part] for part in join.parts], join.axis)
        values[join.name] = host_operators.apply(join.host, whole_.reshape(images, -1))
    return {name: values[name] for name in result_names(tuple(found), joins)}


def result_names(outputs: Sequence[str], joins: Sequence[JoinedOutput]) -> list[str]:
    """The names of what a network returns, in order: by the first output that each is made of, but joined ones as they are listed."""
    parts = {part for join in joins for part in join.parts}
    first = {name: n for n, name in enumerate(outputs)}
    last = 0
    for join in joins:
        first[join.name] = min((first[part] for part in join.parts), default=len(outputs))
        if join.name not in parts:
            first[join.name] = last = max(last, first[join.name])
    return sorted((name for name in first if name not in parts), key=first.__getitem__)


def verify_joined(joins: Sequence[JoinedOutput], shapes: Mapping[str, Shape], where: str) -> dict[str, Shape]:
    """The shape of one image's values of every output and joined one, the batch axis 1 included.

    shapes: of what each output returns. Raises BfpError, which begins with ``where``, where parts are not there or do not
    fit each other.
    """
    known = dict(shapes)
    constants: dict[str, np.ndarray] = {}
    for join in joins:
        place = f"{where}, joined output {shown(join.name)}"
        if join.name in known:
            raise BfpError(f"{place}: another output has this name; make the file again")
        for part in join.parts:
            if part not in known:
                raise BfpError(f"{place}: its part {shown(part)} is no output; make the file again")
        if join.how == CONSTANT:
            constants[join.name] = _constant(join, place)
            count = constants[join.name].size
        else:
            count = prod(_joined_shape(join, known, place))
        if join.how == TAKE:
            _check_numbers(join, constants, prod(known[join.parts[0]]), place)
        known[join.name] = host_operators.check(join.host, count, place)
    return known


def _constant(join: JoinedOutput, place: str) -> np.ndarray:
    """The numbers of a constant. Raises BfpError where it has none, or parts, or they are not finite."""
    found = numbers_of(join.data)
    good = not join.parts and found.size and np.isfinite(found).all() and text_of(found) == join.data
    if not good or any(not step.startswith("reshape.") for step in join.host):
        raise BfpError(f"{place}: it is no constant of finite numbers; make the file again")
    return found


def _check_numbers(join: JoinedOutput, constants: Mapping[str, np.ndarray], count: int, place: str) -> None:
    """Raise BfpError unless what a value's elements are taken by is a constant of whole numbers below ``count``."""
    found = constants.get(join.parts[1])
    if found is None or (found != np.floor(found)).any() or found.min() < 0 or found.max() >= count:
        raise BfpError(f"{place}: the elements that it takes are not there; make the file again")


def _joined_shape(join: JoinedOutput, known: Mapping[str, Shape], place: str) -> Shape:
    """The shape of what is made of the parts. Raises BfpError where they do not fit each other."""
    shapes, kind = [known[part] for part in join.parts], COMBINATIONS[join.how]
    found = kind.shape(shapes, join.axis) if kind.least <= len(shapes) <= kind.most else None
    if found is None or join.data:
        raise BfpError(
            f"{place}: its parts {shown(shapes)} do not fit each other along axis {join.axis} ({join.how}); make the file again"
        )
    return found
