"""What a module takes: one input or several of one size, and in which order its ``forward`` wants them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Union

import torch

from bfp.errors import BfpError
from bfp.limits import MAX_ENDS

# of one image: channels, height and width; channels and length of a sequence; or channels, frames, height and width;
# of several inputs by their names
InputShapes = Union["tuple[int, ...]", "Mapping[str, tuple[int, ...]]"]
ONLY = "input"  # the name of an input that is the only one
MANY = 8  # names that a message lists


def by_name(shapes: InputShapes, network: str) -> dict[str, tuple[int, ...]]:
    """Each input's shape by its name. Raises BfpError for shapes that no inputs can have."""
    found = dict(shapes) if isinstance(shapes, Mapping) else {ONLY: shapes}
    if not 0 < len(found) <= MAX_ENDS:
        raise BfpError(f"network {network} has {len(found)} inputs; give 1 to {MAX_ENDS}")
    for shape in found.values():
        if len(shape) not in (2, 3, 4) or any(not isinstance(n, int) or n < 1 for n in shape):
            wanted = "channels, height and width; channels and length; or channels, frames, height and width; all at least 1"
            raise BfpError(f"network {network}: input shape {shape} must be {wanted}")
    if len({map_shape(shape)[1:] for shape in found.values()}) > 1:
        listed = ", ".join(f"{name} {shape}" for name, shape in found.items())
        raise BfpError(f"network {network}: its inputs are of several sizes ({listed}); they must have one height and width")
    return found


def map_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Channels, height and width of the map that an input is: a sequence has one row, frames lie channel behind channel."""
    if len(shape) == 4:
        return shape[0] * shape[1], shape[2], shape[3]
    return (shape[0], *(1,) * (3 - len(shape)), *shape[1:])


@dataclass(frozen=True)
class Parameters:
    """What ``forward`` takes. names: in order; needed: those without a default; others: whether it takes any more."""

    names: tuple[str, ...]
    needed: tuple[str, ...]
    others: bool = False

    @staticmethod
    def of(module: torch.nn.Module) -> Parameters:
        """Those of a module."""
        if isinstance(module, torch.jit.ScriptModule):
            arguments = module.forward.schema.arguments[1:]
            needed = tuple(a.name for a in arguments if not a.has_default_value())
            return Parameters(tuple(a.name for a in arguments), needed)
        found = inspect.signature(module.forward).parameters.values()
        several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        named = [p for p in found if p.kind not in several]
        needed = tuple(p.name for p in named if p.default is inspect.Parameter.empty)
        return Parameters(tuple(p.name for p in named), needed, any(p.kind is several[0] for p in found))


def arranged(module: torch.nn.Module, inputs: Mapping[str, object], network: str) -> dict[str, object]:
    """The inputs in the order in which ``forward`` takes them, its first parameters.

    Raises BfpError where they are not those that it needs.
    """
    takes = Parameters.of(module)
    if len(inputs) == 1 and len(takes.needed) <= 1:
        return dict(inputs)
    if takes.others and not takes.needed:
        return dict(inputs)  # whatever they are called
    listed, given = (", ".join(list(names)[:MANY]) for names in (takes.names, inputs))
    if len(inputs) == 1:
        listed = ", ".join(takes.needed[:MANY])
        raise BfpError(
            f"network {network} takes {len(takes.needed)} inputs ({listed}); say how many channels each has: "
            "[input] channels = { name = number, ... }"
        )
    first = takes.names[: len(inputs)]
    if set(first) != set(inputs) or set(takes.needed) - set(first):
        raise BfpError(f"network {network} takes the inputs {listed}, and {given} are given; name those that it takes first")
    return {name: inputs[name] for name in first}
