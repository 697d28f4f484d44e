"""The deployment folder: what code generation hands to the board, with one reader and one writer.

    manifest.json   this module's Deployment, indented JSON
    weights.bin     the weight image, words of ``lanes`` bytes
    NAME.bit        bitstream, and its hardware handoff NAME.hwh, once they are built
    artifact.npz    what it was generated from, and samples.npz, images of it: for the board's verification, with the
                    bitstream, unless that was asked to be minimal; of several networks NETWORK.artifact.npz and so on

The manifest has the SHA-256 of every other file, and one of itself; classes and preprocessing stand in it. A file that
it does not list is none of the package. Everything is checked here, before any hardware is touched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bfp.deployed_network import HASH, DeployedNetwork, OnlyNetwork, verify_network
from bfp.errors import BfpError
from bfp.fields import (
    FILE_NAME, FLAG, NAME, TEXT, Kind, Place, canonical, checked, dump, hexadecimal, limited, mapping, optional, parse,
    record, tuple_of, whole,
)  # fmt: skip
from bfp.files import file_digest, json_text, read_file, replacing, write_text
from bfp.kernel import CLOCK, Implementation, Kernel
from bfp.layout import MAX_WORDS
from bfp.limits import MAX_ENDS, MAX_MEMORY
from bfp.names import COMMAND, shown

# 2: output offset; 3: output scale; 4: board and clock; 5: lists of inputs and outputs, hashes of all files;
# 6: how the bitstream was implemented; 7: what it holds of each layer, and what the package has; 8: a list of networks; 9: batches of
# pictures
SCHEMA = 9
MAX_NETWORKS, MAX_BATCH = 2**6, 2**6
MANIFEST, WEIGHTS = "manifest.json", "weights.bin"
SAMPLES = ("artifact.npz", "samples.npz")  # for the board's verification, of a package with one network
MISSING = f"give the deployment folder that `{COMMAND} codegen` wrote"
AGAIN = f"generate the deployment folder again with `{COMMAND} codegen`"
BUILD = f"build it with `{COMMAND} build-bitstream`"
LANES = limited(whole(2, 64), lambda lanes: lanes & (lanes - 1) == 0, "a power of two from 2 to 64")


@dataclass(frozen=True)
class Deployment(OnlyNetwork):
    """One or several networks on one engine.

    name: of the package; of a single network its own. identity: of the kernel that belongs to these files, 16
    hexadecimal digits; kernel: what that holds, of all networks. board, clock_mhz: for which it was generated. lanes:
    bytes of a word. weights_words, fmap_words: sizes of the weight image and of a picture's feature-map arena; batch: pictures
    that the last layers of a network take at once, whose arenas lie one behind the other. ip: the engine's
    name in the block design. networks: in the order of their layers. chip_words: of on-chip memory in which maps stay between
    layers. files: SHA-256 of every other file of the folder,
    by name. implementation: of the bitstream, None before there is one. minimal: whether artifact and samples were to be
    left out. digest: SHA-256 of the manifest without it.

    What belongs to a network (inputs, outputs, tensors and the like) can be asked of the deployment where it has only
    one, as what ``of`` returns has.
    """

    name: str = checked(NAME)
    identity: str = checked(hexadecimal(16))
    board: str = checked(TEXT)
    clock_mhz: float = checked(CLOCK)
    lanes: int = checked(LANES)
    kernel: Kernel = checked(record(Kernel))
    weights_words: int = checked(whole(0, MAX_WORDS))
    fmap_words: int = checked(whole(1, MAX_WORDS))
    batch: int = checked(whole(1, MAX_BATCH))
    ip: str = checked(NAME)
    networks: tuple[DeployedNetwork, ...] = checked(tuple_of(record(DeployedNetwork), 1, MAX_NETWORKS))
    chip_words: int = checked(whole(0, MAX_WORDS), omitted=True, default=0)
    files: dict[str, str] = checked(mapping(HASH, MAX_ENDS, keys=FILE_NAME), default_factory=dict)
    implementation: Implementation | None = checked(optional(record(Implementation)), default=None)
    minimal: bool = checked(FLAG, default=False)
    digest: str = checked(HASH, default="")
    schema: int = checked(whole(SCHEMA, SCHEMA), default=SCHEMA)

    def of(self, network: str | None = None) -> Deployment:
        """The same with one network alone; None: the only one. Raises BfpError for a name that none has."""
        if network is None:
            return replace(self, networks=(self.only,))
        for found in self.networks:
            if found.name == network:
                return replace(self, networks=(found,))
        raise BfpError(f"{self.name} has no network {shown(network)}; its networks are {self._names()}")

    @property
    def only(self) -> DeployedNetwork:
        """The only network. Raises BfpError where there are several."""
        if len(self.networks) != 1:
            raise BfpError(f"{self.name} has {len(self.networks)} networks ({self._names()}), and one is asked for; name it")
        return self.networks[0]

    def _names(self) -> str:
        return ", ".join(network.name for network in self.networks)

    @property
    def layers(self) -> int:
        """Layers of the engine's schedule, of all networks."""
        return len(self.kernel.layers)

    @property
    def copies_chip(self) -> tuple[int, int]:
        """The layers to run for a copy of on-chip memory: the one behind the last, which computes nothing."""
        return self.layers, self.layers + 1

    @property
    def map_words(self) -> int:
        """Words of the feature maps of all pictures of a batch."""
        return self.batch * self.fmap_words

    def touched_words(self, begin: int, end: int) -> int:
        """Words of the feature maps that layers [begin, end) may touch, from the pointers on."""
        if (begin, end) == self.copies_chip:
            return self.chip_words
        shares = any(max(network.shared, begin) < min(network.end, end) for network in self.networks)
        return self.map_words if shares else self.fmap_words

    @property
    def pictures_at_once(self) -> int:
        """Pictures that the only network takes at once. Raises BfpError where there are several networks."""
        return self.batch if self.only.shared < self.only.end else 1

    @property
    def engine_clock_mhz(self) -> float:
        """The clock that the engine runs at: of the bitstream, and before there is one, what it was generated for."""
        return self.implementation.clock_mhz if self.implementation else self.clock_mhz

    @property
    def bitfile(self) -> str:
        """Name of the bitstream's file."""
        return f"{self.name}.bit"

    @property
    def handoff(self) -> str:
        """Name of the hardware handoff's file."""
        return f"{self.name}.hwh"

    def references(self, network: DeployedNetwork) -> tuple[str, str]:
        """Names of a network's artifact and samples."""
        artifact, samples = SAMPLES
        return SAMPLES if network.name == self.name else (f"{network.name}.{artifact}", f"{network.name}.{samples}")

    @property
    def all_references(self) -> tuple[str, ...]:
        """Names of the artifacts and samples of all networks."""
        return tuple(name for network in self.networks for name in self.references(network))


DEPLOYMENT: Kind = record(Deployment)


def content_digest(data: dict) -> str:
    """SHA-256 of a manifest's content without its own digest, hex."""
    return hashlib.sha256(canonical({k: v for k, v in data.items() if k != "digest"})).hexdigest()


def verify(deployment: Deployment) -> None:
    """Raise BfpError unless networks are whole, lie one behind the other, and files belong together."""
    for what, words in (("weights", deployment.weights_words), ("feature maps", deployment.map_words)):
        if words * deployment.lanes > MAX_MEMORY:
            raise BfpError(f"its {what} take {words * deployment.lanes} bytes, more than {MAX_MEMORY}")
    verify_names([network.name for network in deployment.networks], deployment.name)
    layer, word, before = 0, 0, ""
    for network in deployment.networks:
        if network.begin != layer or not layer <= network.end <= deployment.layers:
            found = f"layers {network.begin} to {network.end}"
            raise BfpError(f"network {network.name} has {found}, where layer {layer} of {deployment.layers} comes next")
        verify_network(network, deployment.kernel, deployment.fmap_words, deployment.chip_words, deployment.lanes)
        if not network.begin <= network.shared <= network.end or (deployment.batch == 1 and network.shared < network.end):
            raise BfpError(
                f"layers of {network.name} from {network.shared} to {network.end} would take {deployment.batch} pictures at once"
            )
        first, last = network.words(deployment.lanes)
        if first < word:
            raise BfpError(f"tensors of {network.name} lie where those of {before} do, at word {first}")
        layer, word, before = network.end, last, network.name
    if layer != deployment.layers:
        raise BfpError(f"layers {layer} to {deployment.layers} belong to no network")
    verify_files(deployment)


def verify_names(networks: list[str], package: str) -> None:
    """Raise BfpError where networks cannot be told from each other by their names, or from what they make together."""
    for name in networks:
        if networks.count(name) > 1:
            raise BfpError(f"two of its networks are named {name}; name one otherwise")
    if len(networks) > 1 and package in networks:
        raise BfpError(f"it is named {package} as one of its networks is; name it otherwise")
    if len(networks) == 1 and networks != [package]:
        raise BfpError(f"it is named {package}, and its only network {networks[0]}; name both alike")


def verify_files(deployment: Deployment) -> None:
    """Raise BfpError unless the package has weights, a bitstream as a whole or none, and nothing that it cannot have."""
    files, bitstream = deployment.files, (deployment.bitfile, deployment.handoff)
    if WEIGHTS not in files:
        raise BfpError(f"it has no hash of {WEIGHTS}")
    for name in files:
        if name not in (WEIGHTS, *bitstream, *deployment.all_references):
            raise BfpError(f"its file {shown(name)} is none of a package")
        if name in deployment.all_references and deployment.minimal:
            raise BfpError(f"it is minimal, and has {name}")
    built = deployment.implementation is not None
    for name in bitstream:
        if (name in files) is not built:
            missing = f"no hash of {name}" if built else f"a hash of {name}"
            raise BfpError(f"it has {missing} and {'says' if built else 'does not say'} how a bitstream was made")


def write_deployment(deployment: Deployment, weights: bytes, folder: str | Path) -> Deployment:
    """Write weight image and manifest, both or neither; returns the deployment with hashes and digest.

    What the folder's older manifest lists stays listed where it belongs to the new one as well: the bitstream, where
    identity, board and clock are equal, artifact and samples, where the artifact is. Raises BfpError where the folder
    cannot be written, or for a deployment that could not be read.
    """
    folder = Path(folder)
    kept = replace(deployment, **_kept(deployment, folder))
    files = {WEIGHTS: hashlib.sha256(weights).hexdigest(), **kept.files}
    complete, data = _complete(replace(kept, files=files), folder / MANIFEST)
    with replacing(folder / MANIFEST) as manifest, replacing(folder / WEIGHTS) as image:
        manifest.write_text(json_text(data), encoding="utf-8")
        image.write_bytes(weights)
    for name in set(deployment.all_references) - set(files):
        with suppress(OSError):  # of an older artifact; what the manifest does not list, nobody takes
            (folder / name).unlink()
    return complete


def _kept(deployment: Deployment, folder: Path) -> dict[str, object]:
    """Fields of the folder's older manifest that hold for this deployment, too: of files that still lie there."""
    try:
        older = read_deployment(folder)
    except BfpError:
        return {}
    found = {name for name, digest in older.files.items() if _is(folder / name, digest)}
    kept: dict[str, object] = {}
    digests = {older.references(network): network.artifact_digest for network in older.networks}
    own = {deployment.references(network): network.artifact_digest for network in deployment.networks}
    names = found & {name for files, digest in own.items() if digests.get(files) == digest for name in files}
    bitstream = {older.bitfile, older.handoff}
    if older.implementation is not None and same_kernel(older, deployment) and bitstream <= found:
        names |= bitstream
        kept |= {"implementation": older.implementation, "minimal": older.minimal}
    return {**kept, "files": {name: digest for name, digest in older.files.items() if name in names}}


def same_kernel(older: Deployment, newer: Deployment) -> bool:
    """Whether the bitstream of one deployment is that of the other: for the same kernel, files, board and clock."""
    kernels = ((d.identity, d.name, d.ip, d.board, d.clock_mhz) for d in (older, newer))
    return len(set(kernels)) == 1


def _is(path: Path, digest: str) -> bool:
    """Whether a file is there, and is the one with this hash."""
    try:
        return file_digest(path, "file", BUILD) == digest
    except BfpError:
        return False


def add_files(
    folder: str | Path, names: Iterable[str], implementation: Implementation | None = None, minimal: bool = False
) -> Deployment:
    """Put the hashes of files of the folder into its manifest, which is written again, whole.

    implementation: of the bitstream, where that is among them. minimal: artifact and samples are to be left out, and are
    no longer listed. Raises BfpError where the manifest or a file cannot be read, or the files do not belong together.
    """
    folder = Path(folder)
    deployment = read_deployment(folder)
    listed = {name: digest for name, digest in deployment.files.items() if not (minimal and name in deployment.all_references)}
    files = {**listed, **_digests(folder, names)}
    made = implementation or deployment.implementation
    changed = replace(deployment, files=files, implementation=made, minimal=minimal)
    complete, data = _complete(changed, folder / MANIFEST)
    write_text(folder / MANIFEST, json_text(data))
    return complete


def _digests(folder: Path, names: Iterable[str]) -> dict[str, str]:
    return {name: file_digest(folder / name, "file", "put it there first") for name in names}


def _complete(deployment: Deployment, path: Path) -> tuple[Deployment, dict]:
    """The deployment with its digest, and its JSON. Raises BfpError where that could not be read again."""
    complete = replace(deployment, digest=content_digest(DEPLOYMENT.write(deployment)))
    place = Place(f"deployment {path}", "correct what it is made of")
    data = dump(DEPLOYMENT, complete, place)
    try:
        verify(complete)
    except BfpError as error:
        raise place.wrong(str(error)) from None
    return complete, data


def read_deployment(folder: str | Path, again: str = AGAIN) -> Deployment:
    """Read and check ``manifest.json``. Raises BfpError, one sentence that ends with ``again``, for what does not fit."""
    path = Path(folder) / MANIFEST
    place = Place(f"deployment {path}", again)
    raw = read_file(path, "deployment", MISSING)
    data = parse(raw, place)
    schema = data.get("schema") if isinstance(data, dict) else None
    if type(schema) is not int:
        raise BfpError(f"{place.file} is damaged or no manifest: its schema is {shown(schema)}; {again}")
    if schema != SCHEMA:
        advice = "update the project" if schema > SCHEMA else again
        raise BfpError(f"{place.file} has schema {shown(schema)}, this version reads {SCHEMA}; {advice}")
    deployment = DEPLOYMENT.read(data, place)
    # the same content in other characters, such as 1E5 for 1e5, is damage as well
    if content_digest(data) != deployment.digest or raw != json_text(data).encode():
        raise BfpError(f"{place.file} was changed: its digest is not that of its content; {again}")
    try:
        verify(deployment)
    except BfpError as error:
        raise place.wrong(str(error)) from None
    return deployment


def read_weights(deployment: Deployment, folder: str | Path) -> np.ndarray:
    """The weight image, uint8 [weights_words, lanes]. Raises BfpError where it is missing, truncated or altered."""
    path, size = Path(folder) / WEIGHTS, deployment.weights_words * deployment.lanes
    data = read_file(path, "weights", AGAIN, most=size)
    if len(data) != size:
        raise BfpError(f"weights {path} hold {len(data)} bytes, the manifest says {size}; {AGAIN}")
    if hashlib.sha256(data).hexdigest() != deployment.files[WEIGHTS]:
        raise BfpError(f"weights {path} are damaged: their SHA-256 is not the manifest's; {AGAIN}")
    return np.frombuffer(data, np.uint8).reshape(deployment.weights_words, deployment.lanes)


def check_file(deployment: Deployment, folder: str | Path, name: str, advice: str) -> None:
    """Raise BfpError, which ends with ``advice``, for a file that the manifest does not list, or that is another one."""
    path, expected = Path(folder) / name, deployment.files.get(name)
    if expected is None:
        raise BfpError(f"file {path} is none of its package: {MANIFEST} does not list it; {advice}")
    if file_digest(path, "file", advice) != expected:
        raise BfpError(f"file {path} is not the one of its manifest: their SHA-256 differ; {advice}")


def check_files(deployment: Deployment, folder: str | Path) -> None:
    """Raise BfpError unless every file that the manifest lists lies in the folder, and is the one that it lists."""
    for name in deployment.files:
        check_file(deployment, folder, name, "copy or make the folder again")
