"""What the host computes of a program: its calls as values (calib.frontend.host_values)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Union

from torch.fx import Node as FxNode

from calib.frontend.decoding import Constants
from calib.frontend.host_tail import has_batch, image_shape
from calib.frontend.host_values import HostValue, NoHost, constant, single
from calib.frontend.translation import operator_name, shape_of

Made = Union[HostValue, list]  # a list of values where a call has several results


class HostProgram:
    """The host's calls. values: by call; several: of calls with several results. known: the program's constants."""

    def __init__(self, known: Constants) -> None:
        self.known = known
        self.values: dict[FxNode, HostValue] = {}
        self.several: dict[FxNode, list[HostValue]] = {}

    def value(self, operand: object) -> HostValue:
        """An operand: computed by the host, a constant, or what the engine ends with. Raises NoHost."""
        if isinstance(operand, FxNode) and operand in self.values:
            return self.values[operand]
        number = self.known.value(operand)
        if number is not None:
            return constant(number)
        if not isinstance(operand, FxNode):
            raise NoHost(f"operand {operand} is not supported")
        if operand in self.several:
            raise NoHost("several results at once")
        shape = image_shape(operand)  # of a value that has its only image in no axis of its own, all of its axes are that image's
        batched = shape is not None and has_batch(operand)
        self.values[operand] = HostValue(shape_of(operand) if shape is None else shape, batched, source=operand)
        return self.values[operand]

    def number(self, operand: object) -> float | None:
        """The one number that a constant operand is, None of anything else."""
        found = self.known.value(operand)
        return None if found is None else single(found)


Handler = Callable[[HostProgram, FxNode, dict], Made]


def plain_name(fx: FxNode) -> str:
    """A call's name without aten. and the mark of what works in place; in a program without such, both mean the same."""
    name = operator_name(fx).removeprefix("aten.")
    return name if name.startswith("__") else name.rstrip("_")


def image_axis(x: HostValue, dim: int) -> int:
    """The axis of a value's shape that torch's ``dim`` is. Raises NoHost for the batch."""
    found = dim % max(len(x.shape) + x.batched, 1) - x.batched
    if found < 0:
        raise NoHost("the batch axis must stay")
    return found
