"""The artifact's file: one .npz archive.

``manifest`` is UTF-8 JSON (graph, block formats, exponents, shifts, input
preprocessing) with a SHA-256 of every array; ``digest`` is the SHA-256 of the
manifest. Weight mantissas are packed at their own width. No pickles. The same
content gives the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import numpy as np

from bfp.archive import read_arrays, write_arrays
from bfp.artifact import Artifact, NetworkInput, NetworkOutput, operand_formats, verify, verify_weights, weight_shape
from bfp.detection import Detection
from bfp.errors import BfpError
from bfp.fields import (
    NAME, Place, canonical, checked, dump, fixed, free_object, hexadecimal, mapping, parse, record, tuple_of, whole,
)  # fmt: skip
from bfp.format import MAX_BITS, MIN_BITS, SPLITS, BlockFormat, pack_bits, unpack_bits
from bfp.graph import Graph, Node
from bfp.joined import JoinedOutput
from bfp.limits import (
    ACC_LIMIT, MAX_CHANNELS, MAX_ENDS, MAX_EXPONENT, MAX_NODES, MAX_REQUANTISATION_SHIFT, MIN_REQUANTISATION_SHIFT,
)  # fmt: skip
from bfp.names import COMMAND, shown
from bfp.parameters import Parameters, Weights, derive

SCHEMA = 4  # 2: clamps of their own per channel, output offset; 3: output scale; 4: lists of inputs and outputs
MISSING = f"run `{COMMAND} calibrate` first"
AGAIN = f"write it again with `{COMMAND} calibrate`"
ACC_EXPONENT = whole(-4 * MAX_EXPONENT, 4 * MAX_EXPONENT)


@dataclass(frozen=True)
class StoredWeights:
    """A node's weights: mantissas, exponents and bias are names of arrays; splits as in bfp.parameters.Weights."""

    bits: int = checked(whole(MIN_BITS, MAX_BITS))
    shape: tuple[int, ...] = checked(fixed(whole(1, MAX_CHANNELS), 4))
    splits: tuple[int, ...] = checked(SPLITS)
    mantissas: str = checked(NAME)
    exponents: str = checked(NAME)
    bias: str = checked(NAME)


@dataclass(frozen=True)
class StoredNode:
    """What is stored of a node's parameters; the rest follows from the formats. table: the name of an array."""

    acc_exponent: tuple[int, ...] = checked(tuple_of(ACC_EXPONENT, 1, MAX_CHANNELS))
    requantisation_shift: tuple[int, ...] = checked(
        tuple_of(whole(MIN_REQUANTISATION_SHIFT, MAX_REQUANTISATION_SHIFT), 1, MAX_CHANNELS)
    )
    clamp_high: tuple[int, ...] | None = checked(
        tuple_of(whole(0, ACC_LIMIT - 1), 1, MAX_CHANNELS), omitted=True, default=None
    )
    weights: StoredWeights | None = checked(record(StoredWeights), omitted=True, default=None)
    table: str | None = checked(NAME, omitted=True, default=None)


@dataclass(frozen=True)
class Manifest:
    """The JSON of an artifact. nodes: of those that compute; sha256: of the arrays, by name."""

    schema: int = checked(whole(SCHEMA, SCHEMA))
    graph: Graph = checked(record(Graph))
    formats: dict[str, BlockFormat] = checked(mapping(record(BlockFormat), 2 * MAX_NODES))
    nodes: dict[str, StoredNode] = checked(mapping(record(StoredNode), MAX_NODES))
    inputs: tuple[NetworkInput, ...] = checked(tuple_of(record(NetworkInput), 1, MAX_ENDS))
    outputs: tuple[NetworkOutput, ...] = checked(tuple_of(record(NetworkOutput), 1, MAX_ENDS))
    provenance: dict = checked(free_object())
    float_digest: str = checked(hexadecimal(64, empty=True))
    sha256: dict[str, str] = checked(mapping(hexadecimal(64), 3 * MAX_NODES))
    detection: Detection | None = checked(record(Detection), omitted=True, default=None)
    joins: tuple[JoinedOutput, ...] = checked(tuple_of(record(JoinedOutput), 0, MAX_ENDS), omitted=True, default=())


MANIFEST = record(Manifest)


def array_digest(array: np.ndarray) -> str:
    """SHA-256 of an array's type, shape and bytes, hex."""
    digest = hashlib.sha256(f"{array.dtype.str} {array.shape}\n".encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def stored_weights(graph: Graph) -> Iterator[tuple[Node, str, str, str]]:
    """The nodes with weights, and the names of their arrays of mantissas, exponents and bias."""
    for index, node in enumerate(graph.weighted()):
        yield node, *(f"{letter}{3 * index:04d}" for letter in "meb")


def stored_tables(graph: Graph) -> dict[str, str]:
    """The names of the arrays of tables, by node."""
    return {node.name: f"t{index:04d}" for index, node in enumerate(n for n in graph.nodes if n.function is not None)}


def save(artifact: Artifact, path: str | Path) -> Artifact:
    """Prove every accumulator, then write the file whole or not at all. Returns it with its digest.

    Raises BfpError naming the node that could overflow, or where the file cannot be written.
    """
    verify(artifact)
    arrays: dict[str, np.ndarray] = {}
    stored: dict[str, StoredWeights] = {}
    for node, *names in stored_weights(artifact.graph):
        p = artifact.parameters[node.name]
        w = p.weights
        stored[node.name] = StoredWeights(w.bits, w.mantissas.shape, w.splits, *names)
        packed = pack_bits(w.mantissas, w.bits), w.exponents.astype("<i2"), p.bias.astype("<i4")
        arrays.update(zip(names, packed))
    tables = stored_tables(artifact.graph)
    arrays.update({name: artifact.parameters[node].table.astype("<i2") for node, name in tables.items()})
    manifest = Manifest(
        schema=SCHEMA,
        graph=artifact.graph,
        formats=artifact.formats,
        nodes={
            node.name: _stored(artifact.parameters[node.name], stored.get(node.name), tables.get(node.name))
            for node in artifact.graph.computed()
        },
        inputs=artifact.inputs,
        outputs=artifact.outputs,
        provenance=artifact.provenance,
        float_digest=artifact.float_digest,
        sha256={k: array_digest(v) for k, v in arrays.items()},
        detection=artifact.detection,
        joins=artifact.joins,
    )
    text = canonical(dump(MANIFEST, manifest, Place(f"artifact {path}", "correct the network")))
    digest = hashlib.sha256(text).hexdigest()
    texts = {"manifest": np.frombuffer(text, np.uint8), "digest": np.frombuffer(digest.encode(), np.uint8)}
    write_arrays(path, {**texts, **arrays})
    return replace(artifact, digest=digest)


def _stored(p: Parameters, weights: StoredWeights | None, table: str | None) -> StoredNode:
    clamps = None if p.clamp_high is None else tuple(p.clamp_high.tolist())
    return StoredNode(tuple(p.acc_exponent.tolist()), tuple(p.requantisation_shift.tolist()), clamps, weights, table)


def load(path: str | Path) -> Artifact:
    """Read an artifact, check its hashes and prove its accumulators again.

    Raises BfpError, one sentence, for a missing, damaged, truncated, older or newer file.
    """
    place = Place(f"artifact {path}", AGAIN)
    arrays = read_arrays(path, "artifact", MISSING, AGAIN)
    texts = [arrays.pop(name, None) for name in ("manifest", "digest")]
    if any(t is None or t.dtype != np.uint8 or t.ndim != 1 for t in texts):
        raise BfpError(f"artifact {path} is damaged or truncated (it has no manifest); {AGAIN}")
    text, digest = (t.tobytes() for t in texts)
    data = parse(text, place)
    _check_schema(data.get("schema") if isinstance(data, dict) else None, path)
    if hashlib.sha256(text).hexdigest().encode() != digest:
        raise BfpError(f"artifact {path} is damaged: a hash does not match; {AGAIN}")
    manifest = MANIFEST.read(data, place)
    if {k: array_digest(v) for k, v in arrays.items()} != manifest.sha256:
        raise BfpError(f"artifact {path} is damaged: a hash does not match; {AGAIN}")
    try:
        artifact = _assemble(manifest, arrays, digest.decode())
        verify(artifact)
    except BfpError as error:
        raise place.wrong(str(error)) from None
    return artifact


def _check_schema(schema: object, path: str | Path) -> None:
    """Raise BfpError, which says what to do, unless this version reads the schema."""
    if type(schema) is not int or schema < 1:
        raise Place(f"artifact {path} is damaged", AGAIN).key("schema").refuse(schema, f"the number {SCHEMA}")
    if schema > SCHEMA:
        raise BfpError(f"artifact {path} has schema {schema}, this version reads {SCHEMA}; update the project")
    if schema < SCHEMA:
        raise BfpError(f"artifact {path} has the older schema {schema}, this version reads {SCHEMA}; {AGAIN}")


def clamps(values: tuple[int, ...], node: Node, channels: int) -> np.ndarray:
    """Upper limits of a node's accumulators as stored, int64 [channels]. Raises BfpError unless its activation has them."""
    limits = np.asarray(values, np.int64)
    if node.act.high is None or limits.shape != (channels,) or limits.min() < 0 or limits.max() >= ACC_LIMIT:
        raise BfpError(f"node {node.name}: the stored clamps are not those of {channels} channels of {node.activation}")
    return limits


def _assemble(manifest: Manifest, arrays: dict[str, np.ndarray], digest: str) -> Artifact:
    """The artifact of a manifest and the arrays that its hashes are of. Raises BfpError where they do not fit."""
    graph, formats = manifest.graph, manifest.formats
    graph.validate()
    for what, found, wanted in (
        ("block formats of tensors", formats, graph.shapes),
        ("parameters of nodes", manifest.nodes, {n.name for n in graph.computed()}),
        ("arrays", arrays, {*stored_tables(graph).values(), *(x for _, *names in stored_weights(graph) for x in names)}),
    ):
        for name in sorted(set(found) ^ set(wanted)):
            raise BfpError(f"{what}: {name!r} is {'not stored' if name in wanted else 'one too many'}")
    for tensor, (channels, _, _) in graph.shapes.items():
        if formats[tensor].channels != channels:
            raise BfpError(f"tensor {tensor!r} has {channels} channels and a block format for {formats[tensor].channels}")
    weights = {node.name: _weights(graph, node, manifest.nodes[node.name].weights, names, arrays)
               for node, *names in stored_weights(graph)}  # fmt: skip
    parameters = {
        node.name: _parameters(node, manifest.nodes[node.name], weights.get(node.name), table, formats)
        for node, table in ((n, _table(n, manifest.nodes[n.name], stored_tables(graph), arrays)) for n in graph.computed())
    }
    ends = manifest.inputs, manifest.outputs
    words = manifest.provenance, manifest.float_digest, digest
    return Artifact(graph, formats, parameters, *ends, *words, manifest.detection, manifest.joins)


def _weights(
    graph: Graph, node: Node, stored: StoredWeights | None, names: list[str], arrays: dict[str, np.ndarray]
) -> tuple[Weights, np.ndarray]:
    """A node's weights, and its bias, int64 [filters]. Raises BfpError unless graph and arrays are of these very shapes."""
    shape, where = weight_shape(graph, node), f"node {node.name}"
    if stored is None or stored.shape != shape:
        raise BfpError(f"{where}: its weights have shape {stored and stored.shape}, its tensors need {shape}")
    if [stored.mantissas, stored.exponents, stored.bias] != names:
        raise BfpError(f"{where}: its arrays have other names than {', '.join(names)}")
    filters, blocks, count = shape[0], len(stored.splits) - 1, prod(shape)
    expected = ("|u1", (-(-count * stored.bits // 8),)), ("<i2", (filters, blocks)), ("<i4", (filters,))
    for name, (kind, size) in zip(names, expected):
        found = arrays[name]
        if (found.dtype.str, found.shape) != (kind, size):
            raise BfpError(f"{where}: array {name} is {found.dtype.str} of shape {found.shape}, not {kind} of {size}")
    packed, exponents, bias = (arrays[name] for name in names)
    if packed[-1] >> (count * stored.bits - 1) % 8 + 1:
        raise BfpError(f"{where}: array {names[0]} holds more bits than its {count} mantissas")
    mantissas = unpack_bits(packed, stored.bits, count).astype(np.int8).reshape(shape)
    weights = Weights(stored.bits, mantissas, stored.splits, exponents.astype(np.int64))
    verify_weights(graph, node, weights)
    return weights, bias.astype(np.int64)


def _table(
    node: Node, stored: StoredNode, tables: dict[str, str], arrays: dict[str, np.ndarray]
) -> np.ndarray | None:
    """A node's table, int16, None where it has none. Raises BfpError unless that is what its function needs."""
    if stored.table != tables.get(node.name):
        raise BfpError(f"node {node.name}: its table is {shown(stored.table)}, not {shown(tables.get(node.name))}")
    if stored.table is None:
        return None
    found = arrays[stored.table]
    if found.dtype.str != "<i2" or found.ndim != 1:
        raise BfpError(f"node {node.name}: array {stored.table} is {found.dtype.str} of shape {found.shape}, not <i2 of one axis")
    return found.astype(np.int16)


def _parameters(
    node: Node,
    stored: StoredNode,
    weights: tuple[Weights, np.ndarray] | None,
    table: np.ndarray | None,
    formats: dict[str, BlockFormat],
) -> Parameters:
    """A node's constants from what is stored of them, and from its formats."""
    source, target, shortcut = operand_formats(node, formats)
    if (weights is None) != (stored.weights is None):
        raise BfpError(f"node {node.name}: {node.op} cannot have weights")
    if len(stored.acc_exponent) != target.channels:
        raise BfpError(f"node {node.name}: {len(stored.acc_exponent)} exponents are stored for {target.channels} channels")
    if table is not None and table.shape != (2**source.bits,):
        raise BfpError(f"node {node.name}: its table has {table.shape} entries for an index of {source.bits} bits")
    own, fields = None, {} if table is None else {"table": table}
    if weights is not None:
        own, fields["bias"] = weights
    p = derive(node, source, target, shortcut, own, acc_exponent=np.asarray(stored.acc_exponent))
    if tuple(p.requantisation_shift.tolist()) != stored.requantisation_shift:
        raise BfpError(f"node {node.name}: the stored shifts are not those of its exponents")
    if stored.clamp_high is not None or node.act.high is not None:
        fields["clamp_high"] = clamps(stored.clamp_high or (), node, target.channels)
    return replace(p, **fields)
