"""Every ATen operator that the host computes behind the engine's part of a network: one entry for each."""

from __future__ import annotations

from torch.fx import Node as FxNode

from calib.frontend.host_along import ALONG
from calib.frontend.host_elements import ELEMENTS
from calib.frontend.host_moves import MOVES
from calib.frontend.host_products import PRODUCTS
from calib.frontend.host_program import Handler, HostProgram, plain_name
from calib.frontend.host_values import NoHost
from calib.frontend.translation import bind

CALLS: dict[str, Handler] = {**ELEMENTS, **ALONG, **PRODUCTS, **MOVES}


def add_call(h: HostProgram, fx: FxNode) -> None:
    """Add a call of the program to what the host computes. Raises NoHost where the host has no way to compute it."""
    name = plain_name(fx)
    if name == "getitem":
        source, index = fx.args
        if index >= len(h.several.get(source, ())):
            raise NoHost("one of several results")
        h.values[fx] = h.several[source][index]
        return
    if name not in CALLS:
        raise NoHost(f"{name} is not supported on the host")
    made = CALLS[name](h, fx, bind(fx))
    if isinstance(made, list):
        h.several[fx] = made
    else:
        h.values[fx] = made
