"""What is said of an engine that did not finish: where it stands, its registers, and what to check."""

from __future__ import annotations

from collections.abc import Mapping

from bfp.deployment import Deployment
from host.engine import State


def standstill(
    deployment: Deployment, state: State, pointed: Mapping[str, int], timeout_s: float, clock_mhz: float | None
) -> str:
    """One sentence on a run that took too long.

    state: registers after the time-out. pointed: the addresses that were written. clock_mhz: as it is set now, None
    where it cannot be read.
    """
    clock = "unknown" if clock_mhz is None else f"{clock_mhz:.6g} MHz"
    addresses = ", ".join(f"{name} {address:#x}" for name, address in state.addresses.items())
    changed = [name for name, address in pointed.items() if state.addresses[name] != address]
    if changed:
        first = changed[0]
        check = f"address {first} is not {pointed[first]:#x} as written, so another program uses the engine: end it"
    elif state.layer is None:
        check = "check that clock and reset of the programmable logic run"
    else:
        check = "check the memory ports of the block design and the clock, or allow more time (timeout_s=)"
    return (
        f"layers {state.begin} to {state.end} of {deployment.name} did not finish within {timeout_s:g} s: "
        f"the engine {_place(deployment, state)}; control {state.control:#x}, clock {clock} of "
        f"{deployment.engine_clock_mhz:.6g} MHz, addresses {addresses}; {check}; the next run loads the bitstream again"
    )


def _place(deployment: Deployment, state: State) -> str:
    if state.layer is None:
        return "has begun no layer"
    layers = deployment.kernel.layers
    name = f" ({layers[state.layer].name})" if state.layer < len(layers) else ""
    return f"stands in layer {state.layer}{name}"
