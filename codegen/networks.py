"""The networks of a build folder: one, as calibration wrote it, or several that were collected for one bitstream.

    artifact.npz samples.npz                    of one network
    networks.json NETWORK.artifact.npz and so on of several, in the order of their layers
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bfp.artifact import Artifact
from bfp.artifact_file import load
from bfp.deployment import MAX_NETWORKS, SAMPLES, verify_names
from bfp.errors import BfpError
from bfp.fields import NAME, Place, checked, dump, parse, record, tuple_of
from bfp.files import check_folder, copy_file, file_digest, read_file, write_json
from bfp.golden import quantise_input
from bfp.names import COMMAND
from bfp.samples import load_samples

NETWORKS = "networks.json"
AGAIN = f"collect its networks again with `{COMMAND} calibrate`"


@dataclass(frozen=True)
class Collection:
    """What networks.json says. name: of all together. networks: in the order of their layers."""

    name: str = checked(NAME)
    networks: tuple[str, ...] = checked(tuple_of(NAME, 2, MAX_NETWORKS))


COLLECTION = record(Collection)


@dataclass(frozen=True)
class Networks:
    """Artifacts of a build folder. name: of several together, None of one. samples: files with images of each."""

    artifacts: list[Artifact]
    samples: list[Path]
    name: str | None = None
    label: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "label", self.name or self.artifacts[0].graph.name)

    def mantissas(self, limit: int) -> list[np.ndarray]:
        """Of the first sample images of each network, int [N, C, H, W], as many of each."""
        images = [load_samples(path).images[:limit] for path in self.samples]
        count = min(map(len, images))
        return [quantise_input(artifact, found[:count]) for artifact, found in zip(self.artifacts, images)]


def reference_files(folder: Path) -> list[tuple[Path, Path]]:
    """Artifact and samples of each network of a build folder. Raises BfpError for a damaged list of several."""
    found = _collection(folder)
    prefixes = [f"{name}." for name in found.networks] if found else [""]
    return [(folder / f"{prefix}{SAMPLES[0]}", folder / f"{prefix}{SAMPLES[1]}") for prefix in prefixes]


def read_networks(folder: Path) -> Networks:
    """The networks of a build folder. Raises BfpError for files that are missing, damaged or not of these networks."""
    found, files = _collection(folder), reference_files(folder)
    artifacts = [load(artifact) for artifact, _ in files]
    for artifact, name in zip(artifacts, found.networks if found else ()):
        if artifact.graph.name != name:
            raise BfpError(f"artifact {folder / name}.{SAMPLES[0]} is of network {artifact.graph.name}; {AGAIN}")
    return Networks(artifacts, [samples for _, samples in files], found.name if found else None)


def _collection(folder: Path) -> Collection | None:
    """The list of several networks; None where the folder is one network's."""
    path = folder / NETWORKS
    if not path.exists():
        return None
    place = Place(f"list of networks {path}", AGAIN)
    found = COLLECTION.read(parse(read_file(path, "list of networks", AGAIN), place), place)
    try:
        verify_names(list(found.networks), found.name)
    except BfpError as error:
        raise place.wrong(str(error)) from None
    return found


def collect(folder: Path, name: str, sources: list[Path]) -> Collection:
    """Put the networks of several build folders together in another one, under a name of their own.

    Raises BfpError where there are fewer than two, one of them has not been calibrated, two have the same name, or the
    folder is a network's.
    """
    if (folder / SAMPLES[0]).exists():
        raise BfpError(f"{folder} is the build folder of one network; give the networks together another name")
    artifacts = [load(source / SAMPLES[0]) for source in sources]
    found = Collection(name, tuple(artifact.graph.name for artifact in artifacts))
    data = dump(COLLECTION, found, Place(f"networks for {folder}", "correct their list"))
    try:
        verify_names(list(found.networks), name)
    except BfpError as error:
        raise BfpError(f"networks cannot be put together in {folder}: {error}") from None
    check_folder(folder)
    for source, network in zip(sources, found.networks):
        for part in SAMPLES:
            file_digest(source / part, "file", f"calibrate {network} first")
            copy_file(source / part, folder / f"{network}.{part}")
    write_json(folder / NETWORKS, data)
    return found
