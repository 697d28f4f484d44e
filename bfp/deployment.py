"""The deployment folder: what code generation hands to the board, with one reader and one writer.

    manifest.json   this module's Deployment, indented JSON
    weights.bin     the weight image, words of ``lanes`` bytes
    NAME.bit        bitstream, and its hardware handoff NAME.hwh, once they are built

The manifest has the SHA-256 of every other file, and one of itself. Everything is checked here, before any hardware
is touched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bfp import layout
from bfp.artifact import NetworkInput, NetworkOutput, verify_input, verify_output
from bfp.errors import BfpError
from bfp.fields import (
    FILE_NAME, NAME, TEXT, Kind, Place, canonical, checked, dump, hexadecimal, mapping, number, optional, parse, record,
    tuple_of, whole,
)  # fmt: skip
from bfp.files import file_digest, read_file, write_bytes, write_json
from bfp.layout import HOST, MAX_WORDS, PlacedTensor
from bfp.limits import MAX_ENDS, MAX_MEMORY, MAX_NODES
from bfp.names import shown

# 2: output offset; 3: output scale; 4: board and clock; 5: lists of inputs and outputs, hashes of all files;
# 6: how the bitstream was implemented
SCHEMA = 6
MANIFEST, WEIGHTS = "manifest.json", "weights.bin"
MISSING = "give the deployment folder that `doit codegen` wrote"
AGAIN = "generate the deployment folder again with `doit codegen`"
HASH = hexadecimal(64)


CLOCK = number(1, 2000)  # MHz


@dataclass(frozen=True)
class Implementation:
    """How the bitstream of the folder was made.

    clock_mhz: of the engine, as the handoff sets it; setup_slack_ns: the worst one at that clock, hold_slack_ns: the
    worst one. strategy: of the vendor's implementation that was taken. tools: name and version of each program.
    note: what the user should know of it, one line, or empty.
    """

    clock_mhz: float = checked(CLOCK)
    setup_slack_ns: float = checked(number(-1000, 1000))
    hold_slack_ns: float = checked(number(-1000, 1000))
    strategy: str = checked(TEXT)
    tools: dict[str, str] = checked(mapping(TEXT, 8))
    note: str = checked(TEXT, default="")


@dataclass(frozen=True)
class Deployment:
    """One network on one engine.

    artifact_digest: the artifact it was generated from; float_digest: the float weights that that was calibrated from,
    or empty. identity: of the kernel that belongs to these files, 16 hexadecimal digits. board, clock_mhz: for which
    it was generated. lanes: bytes of a word. layers: of the engine's schedule. weights_words, fmap_words: sizes of
    the weight image and of the feature-map arena. ip: the engine's name in the block design. inputs, outputs: in the
    graph's order. tensors: all that are stored, in the order of the layers that write them. files: SHA-256 of every
    other file of the folder, by name. implementation: of the bitstream, None before there is one. digest: SHA-256 of
    the manifest without it.
    """

    network: str = checked(NAME)
    artifact_digest: str = checked(HASH)
    float_digest: str = checked(hexadecimal(64, empty=True))
    identity: str = checked(hexadecimal(16))
    board: str = checked(TEXT)
    clock_mhz: float = checked(CLOCK)
    lanes: int = checked(whole(1, 64))
    layers: int = checked(whole(1, MAX_NODES))
    weights_words: int = checked(whole(0, MAX_WORDS))
    fmap_words: int = checked(whole(1, MAX_WORDS))
    ip: str = checked(NAME)
    inputs: tuple[NetworkInput, ...] = checked(tuple_of(record(NetworkInput), 1, MAX_ENDS))
    outputs: tuple[NetworkOutput, ...] = checked(tuple_of(record(NetworkOutput), 1, MAX_ENDS))
    tensors: tuple[PlacedTensor, ...] = checked(tuple_of(record(PlacedTensor), 1, MAX_NODES))
    files: dict[str, str] = checked(mapping(HASH, MAX_ENDS, keys=FILE_NAME), default_factory=dict)
    implementation: Implementation | None = checked(optional(record(Implementation)), default=None)
    digest: str = checked(HASH, default="")
    schema: int = checked(whole(SCHEMA, SCHEMA), default=SCHEMA)

    @property
    def engine_clock_mhz(self) -> float:
        """The clock that the engine runs at: of the bitstream, and before there is one, what it was generated for."""
        return self.implementation.clock_mhz if self.implementation else self.clock_mhz

    @property
    def bitfile(self) -> str:
        """Name of the bitstream's file."""
        return f"{self.network}.bit"

    @property
    def handoff(self) -> str:
        """Name of the hardware handoff's file."""
        return f"{self.network}.hwh"

    @property
    def input(self) -> NetworkInput:
        """The only input. Raises BfpError where there are several."""
        return self._only("input", self.inputs)

    @property
    def output(self) -> NetworkOutput:
        """The only output. Raises BfpError where there are several."""
        return self._only("output", self.outputs)

    def _only(self, what: str, ends: tuple):
        if len(ends) != 1:
            raise BfpError(f"network {self.network} has {len(ends)} {what}s; the driver takes networks with one")
        return ends[0]

    def tensor(self, name: str) -> PlacedTensor:
        """A stored tensor. Raises BfpError for a name that the deployment does not have."""
        for tensor in self.tensors:
            if tensor.name == name:
                return tensor
        raise BfpError(f"network {self.network} has no tensor {shown(name)}; see the names in {MANIFEST}")


DEPLOYMENT: Kind = record(Deployment)


def content_digest(data: dict) -> str:
    """SHA-256 of a manifest's content without its own digest, hex."""
    return hashlib.sha256(canonical({k: v for k, v in data.items() if k != "digest"})).hexdigest()


def verify(deployment: Deployment) -> None:
    """Raise BfpError unless tensors lie inside the arena and inputs, outputs and layers are there."""
    for what, words in (("weights", deployment.weights_words), ("feature maps", deployment.fmap_words)):
        if words * deployment.lanes > MAX_MEMORY:
            raise BfpError(f"its {what} take {words * deployment.lanes} bytes, more than {MAX_MEMORY}")
    by_name = {t.name: t for t in deployment.tensors}
    if len(by_name) != len(deployment.tensors):
        raise BfpError("two tensors have the same name")
    inputs = {e.tensor for e in deployment.inputs}
    for what, ends in (("input", deployment.inputs), ("output", deployment.outputs)):
        for end in ends:
            if end.tensor not in by_name:
                raise BfpError(f"the {what} tensor {end.tensor!r} is not among its tensors")
        if len({e.tensor for e in ends}) != len(ends):
            raise BfpError(f"a tensor is two of its {what}s")
    for tensor in deployment.tensors:
        layout.check(tensor, deployment.fmap_words, deployment.lanes)
        if (tensor.layer_index == HOST) != (tensor.name in inputs) or tensor.layer_index >= deployment.layers:
            raise BfpError(f"tensor {tensor.name!r} comes from layer {tensor.layer_index} of {deployment.layers}")
    for entry in deployment.inputs:
        verify_input(entry, by_name[entry.tensor].shape, f"network {deployment.network}")
    for end in deployment.outputs:
        verify_output(end, by_name[end.tensor].shape, f"network {deployment.network}")
    if WEIGHTS not in deployment.files:
        raise BfpError(f"it has no hash of {WEIGHTS}")


def write_deployment(deployment: Deployment, weights: bytes, folder: str | Path) -> Deployment:
    """Write weight image and manifest, each whole or not at all; returns the deployment with hashes and digest.

    A bitstream and a handoff that lie there already keep their place among the files, and what the manifest said of
    their implementation: whether the bitstream is this deployment's, its identity tells the driver. Raises BfpError
    where the folder cannot be written, or for a deployment that could not be read.
    """
    folder = Path(folder)
    files = {WEIGHTS: hashlib.sha256(weights).hexdigest()}
    files.update(_digests(folder, (n for n in (deployment.bitfile, deployment.handoff) if (folder / n).is_file())))
    made = deployment.implementation or _implementation_of(folder, files, deployment.bitfile)
    complete, data = _complete(replace(deployment, files=files, implementation=made), folder / MANIFEST)
    write_bytes(folder / WEIGHTS, weights)
    write_json(folder / MANIFEST, data)
    return complete


def _implementation_of(folder: Path, files: dict[str, str], bitfile: str) -> Implementation | None:
    """What the folder's older manifest says of the bitstream that still lies there; None where it cannot be read."""
    try:
        older = read_deployment(folder)
    except BfpError:
        return None
    return older.implementation if bitfile in files and older.files.get(bitfile) == files[bitfile] else None


def add_files(folder: str | Path, names: list[str], implementation: Implementation | None = None) -> Deployment:
    """Put the hashes of files of the folder into its manifest, which is written again, whole.

    implementation: of the bitstream, where that is among them. Raises BfpError where the manifest or a file cannot be
    read.
    """
    folder = Path(folder)
    deployment = read_deployment(folder)
    files = {**deployment.files, **_digests(folder, names)}
    made = implementation or deployment.implementation
    complete, data = _complete(replace(deployment, files=files, implementation=made), folder / MANIFEST)
    write_json(folder / MANIFEST, data)
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
    data = parse(read_file(path, "deployment", MISSING), place)
    schema = data.get("schema") if isinstance(data, dict) else None
    if type(schema) is not int:
        raise BfpError(f"{place.file} is damaged or no manifest: its schema is {shown(schema)}; {again}")
    if schema != SCHEMA:
        advice = "update the project" if schema > SCHEMA else again
        raise BfpError(f"{place.file} has schema {shown(schema)}, this version reads {SCHEMA}; {advice}")
    deployment = DEPLOYMENT.read(data, place)
    if content_digest(data) != deployment.digest:
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
    """Raise BfpError, which ends with ``advice``, where a file is another than the one whose hash the manifest has."""
    expected = deployment.files.get(name)
    if expected is not None and file_digest(Path(folder) / name, "file", advice) != expected:
        raise BfpError(f"file {Path(folder) / name} is not the one of its manifest: their SHA-256 differ; {advice}")
