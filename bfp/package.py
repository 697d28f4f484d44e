"""What a deployment folder holds, in sentences for people, and what would need another bitstream."""

from __future__ import annotations

from pathlib import Path

from bfp.deployment import Deployment
from bfp.names import COMMAND

# what may change while a bitstream stays what it is, and what may not, as docs/vendor-flow.md has it
KEEPS_BITSTREAM = (
    "new weights and biases of the same shapes and widths, at the same exponents",
    "exponents of weights that change alignment shifts alone, within what the array takes",
    "exponents that all move together, where no activation has a limit",
    "class names, preprocessing, the output's offset and scale, names of layers and tensors",
    "comments in sources, versions of the tools",
)
NEEDS_BITSTREAM = (
    "exponents that change a requantisation shift, an operand's alignment or ReLU6's limit",
    "an alignment shift wider than any layer had, or the first one of a layer",
    "shapes, operators, activations; widths and signs of tensors and weights",
    "options of the engine, the board, the clock",
    "code of the engine's sources",
)


def bitstream_state(deployment: Deployment, folder: str | Path) -> str:
    """One sentence on the bitstream of a folder; empty where there is none and none lies there."""
    if deployment.implementation is not None:
        made = deployment.implementation
        return (
            f"{deployment.bitfile} is of this kernel, {deployment.identity}, and stays: it runs at "
            f"{made.clock_mhz:.6g} MHz, and was made by {', '.join(made.tools.values())}"
        )
    if (Path(folder) / deployment.bitfile).exists():
        return (
            f"{deployment.bitfile} in {folder} is not of this kernel, {deployment.identity}, or not of this board and "
            f"clock: the manifest does not list it; build it with `{COMMAND} build-bitstream`"
        )
    return ""


def _networks(deployment: Deployment) -> str:
    names = ", ".join(network.name for network in deployment.networks)
    return f"network {names}" if len(deployment.networks) == 1 else f"{deployment.name}, of the networks {names}"


def describe(deployment: Deployment, folder: str | Path) -> list[str]:
    """Lines on a deployment for people: kernel, bitstream, files, and what would need another bitstream."""
    state = bitstream_state(deployment, folder) or f"there is no bitstream yet; build it with `{COMMAND} build-bitstream`"
    missing = [name for name in deployment.all_references if name not in deployment.files]
    lines = [
        f"{_networks(deployment)}, kernel {deployment.identity}, {deployment.layers} layers",
        f"generated for {deployment.board} at {deployment.clock_mhz:.6g} MHz",
        f"bitstream: {state}",
    ]
    if deployment.implementation is not None:
        made = deployment.implementation
        slacks = f"{made.setup_slack_ns:.3f} ns of setup, {made.hold_slack_ns:.3f} ns of hold"
        lines.append(f"worst slack: {slacks} ({made.strategy})")
        lines += [made.note] if made.note else []
    lines.append(f"files: {', '.join(sorted(deployment.files))}")
    if missing:
        why = "the package is minimal" if deployment.minimal else f"`{COMMAND} build-bitstream` puts them there"
        lines.append(f"for verification it lacks {' and '.join(missing)} ({why})")
    lines += ["the same bitstream serves:", *(f"  {what}" for what in KEEPS_BITSTREAM)]
    return [*lines, "a new one is needed for:", *(f"  {what}" for what in NEEDS_BITSTREAM)]
