"""An ONNX file as plain records: everything that it says is checked before anything of that size is made."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from bfp.errors import BfpError
from bfp.limits import MAX_CHANNELS, MAX_ENDS, MAX_MEMORY, MAX_NODES, MAX_OPERANDS, MAX_SIDE, MAX_VALUES
from bfp.names import shown

OPSETS = range(7, 26)  # of the standard operators: those whose meaning the table knows
OPEN_SIZES = (0, -1)  # what exporters write for a size that is left open
MOST_BYTES = 2**31  # of the file itself
MOST_AXES = 8
DOMAINS = ("", "ai.onnx")
QUANTISED = (
    "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "ConvInteger", "MatMulInteger", "QLinearMatMul",
)  # fmt: skip


@dataclass(frozen=True)
class OnnxNode:
    """One operator. kind: its name in ONNX; inputs: names of values, empty where an optional one is left out; attributes: plain values."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, object]


@dataclass(frozen=True)
class OnnxGraph:
    """A file's graph, in an order in which it can be computed.

    constants: stored values by name. inputs: sizes of each by name, None where the file leaves one open; outputs: names
    of values.
    """

    nodes: tuple[OnnxNode, ...]
    constants: dict[str, np.ndarray]
    inputs: dict[str, tuple[int | None, ...]]
    outputs: tuple[str, ...]
    opset: int


def read_onnx(path: Path) -> OnnxGraph:
    """Read and check an ONNX file. Raises BfpError, one sentence: file, what is wrong, what to do."""
    where = f"ONNX file {path}"
    try:
        import onnx
    except ImportError:
        raise BfpError(f"{where} needs the package onnx; run pip install onnx 'ml_dtypes<0.6'") from None
    try:
        size = path.stat().st_size
    except OSError as error:
        raise BfpError(f"{where} cannot be read ({error.strerror}); give an existing file") from None
    if size > MOST_BYTES:
        raise BfpError(f"{where} has {size} bytes, more than {MOST_BYTES}; store its weights as external data beside it")
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except Exception:  # protobuf raises types of its own
        raise BfpError(f"{where} is damaged or no ONNX file; export it again") from None
    opset = check_opset(((o.domain, o.version) for o in model.opset_import), where)
    graph = model.graph
    if len(graph.node) > MAX_NODES:
        raise BfpError(f"{where} has {len(graph.node)} nodes, more than {MAX_NODES}")
    check_operators([(n.domain, n.op_type) for n in graph.node], where)
    reader = TensorReader(path, where)
    constants = {t.name: reader.read(t, f"{where}, initializer {shown(t.name)}") for t in graph.initializer}
    if len(constants) != len(graph.initializer) or graph.sparse_initializer:
        raise BfpError(f"{where}: two initializers have one name, or one is sparse; export it again")
    nodes = tuple(node_of(n, number, reader, where) for number, n in enumerate(graph.node))
    inputs = [i for i in graph.input if i.name not in constants]
    shapes = {i.name: input_shape(i.type.tensor_type.shape.dim, where) for i in inputs}
    if not 0 < len(inputs) <= MAX_ENDS or len(shapes) != len(inputs):
        raise BfpError(f"{where} has {len(inputs)} inputs; give a file with 1 to {MAX_ENDS}, each with a name of its own")
    outputs = tuple(o.name for o in graph.output)
    check_order(nodes, {*shapes, *constants}, outputs, where)
    return OnnxGraph(nodes, constants, shapes, outputs, opset)


def check_opset(imports: Iterable[tuple[str, int]], where: str) -> int:
    """Version of the standard operators. Raises BfpError where it is not known."""
    versions = [version for domain, version in imports if domain in DOMAINS]
    if len(versions) != 1 or versions[0] not in OPSETS:
        found = ", ".join(map(str, versions)) or "none"
        known = f"{OPSETS[0]} to {OPSETS[-1]} are supported"
        raise BfpError(f"{where} has opset {found}; {known}, export it with one of them")
    return versions[0]


def check_operators(operators: list[tuple[str, str]], where: str) -> None:
    """Raise BfpError for a file that is quantised already, or has operators of other domains."""
    quantised = sorted({op for _, op in operators if op in QUANTISED})
    if quantised:
        raise BfpError(
            f"{where} is quantised already ({', '.join(quantised)}); bring the float model that it was made from, "
            "which is quantised here to block floating point"
        )
    other = sorted({f"{shown(domain)}.{shown(op)}" for domain, op in operators if domain not in DOMAINS})
    if other:
        named = ", ".join(other[:8])
        raise BfpError(f"{where} has operators of other domains than ONNX's own ({named}); leave them out")


def check_order(nodes: tuple[OnnxNode, ...], known: set[str], outputs: tuple[str, ...], where: str) -> None:
    """Raise BfpError unless every value is computed once, before it is read."""
    known = {*known, ""}
    for node in nodes:
        for name in node.inputs:
            if name not in known:
                raise BfpError(f"{where}, node {shown(node.name)}: its input {shown(name)} is not computed before it")
        for name in node.outputs:
            if name and name in known:
                raise BfpError(f"{where}, node {shown(node.name)}: its output {shown(name)} is computed twice")
        known.update(node.outputs)
    for name in outputs:
        if name not in known or not name:
            raise BfpError(f"{where}: its output {shown(name)} is not computed")
    if not outputs:
        raise BfpError(f"{where} has no output")


def input_shape(dims: Iterable, where: str) -> tuple[int | None, ...]:
    """Sizes of the input, None for what is left open. Raises BfpError for sizes that cannot be."""
    sizes = tuple(d.dim_value if d.HasField("dim_value") and d.dim_value not in OPEN_SIZES else None for d in dims)
    for size in sizes:
        if size is not None and not 0 < size <= max(MAX_CHANNELS, MAX_SIDE):
            raise BfpError(f"{where}: its input has a size of {size}")
    return sizes


def node_of(node, number: int, reader: TensorReader, where: str) -> OnnxNode:
    """One node of the file. Raises BfpError for an attribute that no operator here takes."""
    name = node.name or f"{node.op_type}_{number}"
    place = f"{where}, node {shown(name)} ({shown(node.op_type)})"
    if max(len(node.input), len(node.output), len(node.attribute)) > MAX_OPERANDS:
        raise BfpError(f"{place} has more than {MAX_OPERANDS} operands")
    attributes = {a.name: attribute(a, reader, place) for a in node.attribute}
    return OnnxNode(name, node.op_type, tuple(node.input), tuple(node.output), attributes)


def attribute(a, reader: TensorReader, place: str) -> object:
    """The value of an attribute: a number, a text, a list of numbers or an array."""
    kinds = a.AttributeType
    if a.type == kinds.TENSOR:
        return reader.read(a.t, f"{place}, attribute {shown(a.name)}")
    if a.type == kinds.STRING:
        return a.s.decode("utf-8", "replace")
    simple = {kinds.INT: a.i, kinds.FLOAT: a.f, kinds.INTS: tuple(a.ints), kinds.FLOATS: tuple(a.floats)}
    if a.type not in simple:
        raise BfpError(f"{place}: its attribute {shown(a.name)} is a graph or of another kind that is not supported")
    return simple[a.type]


def plain(values: np.ndarray) -> np.ndarray:
    """Real numbers of any precision as float32, in which the float network computes; others as they are."""
    return values if values.dtype.kind in "iub" else values.astype(np.float32)


class TensorReader:
    """Stored tensors, of the file itself or of files beside it; together they may take MAX_MEMORY bytes."""

    def __init__(self, path: Path, where: str) -> None:
        self.path, self.where, self.left = path, where, MAX_MEMORY

    def read(self, tensor, place: str) -> np.ndarray:
        """The array of a stored tensor. Raises BfpError for sizes and places that cannot be."""
        from onnx import TensorProto, helper, numpy_helper

        dims = tuple(tensor.dims)
        if len(dims) > MOST_AXES or any(not 0 <= d <= MAX_VALUES for d in dims) or prod(dims) > MAX_VALUES:
            raise BfpError(f"{place} has a shape of {shown(dims)}")
        try:
            dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type))
        except (KeyError, TypeError, ValueError):
            raise BfpError(f"{place} has a type that is not known; export it in float32") from None
        size = prod(dims) * dtype.itemsize
        self.left -= size
        half = tensor.data_type == TensorProto.BFLOAT16  # which NumPy does not know as a number
        if not (half or dtype.kind in "fiub") or self.left < 0:
            raise BfpError(f"{place} holds no numbers, or the file's tensors take more than {MAX_MEMORY} bytes")
        if tensor.data_location == TensorProto.EXTERNAL:
            data = self.beside({e.key: e.value for e in tensor.external_data}, size, place)
            return plain(np.frombuffer(data, dtype if half else dtype.newbyteorder("<")).reshape(dims).astype(dtype))
        if tensor.HasField("raw_data") and len(tensor.raw_data) != size:
            raise BfpError(f"{place} holds {len(tensor.raw_data)} bytes, its shape needs {size}")
        try:
            return plain(np.array(numpy_helper.to_array(tensor)))
        except Exception:  # onnx raises what the fields lead it to
            raise BfpError(f"{place} does not hold what its shape needs; export it again") from None

    def beside(self, entries: dict[str, str], size: int, place: str) -> bytes:
        """Bytes of external data. Raises BfpError for a place outside the file's own folder, or outside that file."""
        location = entries.get("location", "")
        path = self.path.parent / location
        plain = location and location not in (".", "..") and not set(location) & {"/", "\\", "\0"}
        if not plain or path.is_symlink() or not path.is_file():
            raise BfpError(f"{place}: its data {shown(location)} is no file beside the ONNX file; put it there")
        try:
            offset, length = int(entries.get("offset", 0)), int(entries.get("length", size))
        except ValueError:
            raise BfpError(f"{place}: its place in {shown(location)} is no number") from None
        if offset < 0 or length != size or offset + size > path.stat().st_size:
            raise BfpError(f"{place}: its {size} bytes do not lie in {shown(location)} as the file says")
        with open(path, "rb") as f:
            f.seek(offset)
            return f.read(size)
