"""``python -m host info``: what a deployment is, and what the board that it runs on is like."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path

import numpy as np
import PIL

from bfp.deployed_network import DeployedNetwork
from bfp.deployment import SCHEMA, Deployment, read_deployment, read_weights
from bfp.errors import BfpError
from bfp.files import file_digest
from host.conditions import MEMINFO, meminfo_bytes
from host.driver import Accelerator


def of_files(folder: Path) -> list[tuple[str, str]]:
    """What the folder says of itself, as rows (what, value). Raises BfpError where the deployment cannot be read."""
    deployment = read_deployment(folder)
    read_weights(deployment, folder)
    made = deployment.implementation
    rows = [
        *([] if len(deployment.networks) == 1 else [("package", deployment.name)]),
        ("generated for", f"{deployment.board}, {deployment.clock_mhz:g} MHz, identity {deployment.identity}"),
        ("bitstream", "not built yet" if made is None else f"{made.clock_mhz:g} MHz, setup slack {made.setup_slack_ns:g} ns"),
        *(row for network in deployment.networks for row in _of_network(network)),
        ("memory", f"{_memory(deployment) / 2**20:.1f} MB: {deployment.weights_words * deployment.lanes / 2**20:.1f} of weights, "
                   f"twice {deployment.map_words * deployment.lanes / 2**20:.1f} of feature maps (the second for many images)"),
    ]  # fmt: skip
    if made is not None and made.note:
        rows.append(("note", made.note))
    return rows + [("file", f"{name}: {_state(folder / name, digest)}") for name, digest in sorted(deployment.files.items())]


def _of_network(network: DeployedNetwork) -> list[tuple[str, str]]:
    """Rows of a network, all its inputs and outputs, with their names where there are several."""
    rows = [("network", network.name), ("layers, tensors", f"{network.end - network.begin}, {len(network.tensors)}")]
    for entry in network.inputs:
        channels, height, width = network.tensor(entry.tensor).shape
        name = f"input {entry.tensor}" if len(network.inputs) > 1 else "input"
        rows.append((name, f"{entry.preprocessing.channels}, {height} x {width}, {channels} channels"))
    for end in network.outputs:
        count = int(np.prod(network.tensor(end.tensor).shape))
        rows.append((f"output {end.tensor}" if len(network.outputs) > 1 else "outputs", str(count)))
    return rows


def _memory(deployment: Deployment) -> int:
    """Bytes of contiguous memory: weights, and feature maps twice, as many images need them."""
    return (deployment.weights_words + 2 * deployment.map_words) * deployment.lanes


def _state(path: Path, digest: str) -> str:
    if not path.is_file():
        return "missing"
    return "as in the manifest" if file_digest(path, "file", "copy it again") == digest else "NOT the one of the manifest"


def of_software() -> list[tuple[str, str]]:
    """Versions of what runs here, and the memory that the system has for buffers."""
    rows = [
        ("python", f"{platform.python_version()} on {platform.machine()}, {platform.platform()}"),
        ("packages", f"numpy {np.__version__}, Pillow {PIL.__version__}, pynq {_version('pynq')}"),
        ("deployments", f"of schema {SCHEMA}"),
    ]
    free, total = (meminfo_bytes(MEMINFO, field) for field in ("CmaFree", "CmaTotal"))
    if free is not None and total is not None:
        rows.append(("contiguous memory", f"{free / 2**20:.0f} of {total / 2**20:.0f} MB free"))
    return rows


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def of_board(accelerator: Accelerator) -> list[tuple[str, str]]:
    """What was read from the engine that is loaded."""
    return [
        ("engine", f"identity {accelerator.deployment.identity}, as generated"),
        ("engine's clock", f"{accelerator.clock_mhz:.6g} MHz"),
    ]


def text(rows: list[tuple[str, str]]) -> str:
    """The rows aligned."""
    width = max(len(what) for what, _ in rows)
    return "\n".join(f"{what:{width}}  {value}" for what, value in rows)


def board_rows(opening) -> tuple[list[tuple[str, str]], bool]:
    """Rows of the board that ``opening`` opens, and whether it could be; the reason is a row, too."""
    try:
        with opening() as accelerator:
            return of_board(accelerator), True
    except BfpError as error:
        return [("engine", f"cannot be used: {error}")], False
