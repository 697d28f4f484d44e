"""The artifact: everything that the hardware needs to know of a network, and the proof that it is sound.

Its file is bfp.artifact_file's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod

import numpy as np

from bfp import host_operators
from bfp.combinations import CONCAT
from bfp.detection import Detection, verify_detection
from bfp.errors import BfpError
from bfp.fields import NAME, TEXT, checked, choice, fixed, number, optional, record, tuple_of, whole
from bfp.format import MAX_BITS, BlockFormat, mantissa_range
from bfp.graph import SIDE, Graph, Node, Shape
from bfp.joined import JoinedOutput, results, verify_joined
from bfp.limits import MAX_CHANNELS, MAX_ENDS, MAX_EXPONENT, MAX_VALUES
from bfp.names import check_text, shown
from bfp.parameters import Parameters, Weights, prove

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")
ARRAY = "array"  # no photograph: any number of channels, in whatever units
CHANNEL_ORDERS = ("rgb", "bgr", "gray", ARRAY)
SMALLEST = 1e-30  # of what divides or multiplies
PER_CHANNEL = tuple_of(number(), 1, MAX_CHANNELS)
POSITIVE = tuple_of(number(SMALLEST), 1, MAX_CHANNELS)


@dataclass(frozen=True)
class Preprocessing:
    """Image to network input: ``(pixel - mean) / std`` with pixels in 0..255, channels RGB, BGR or gray.

    Of arrays, channels ARRAY, the values are in units of their own, and nothing is resized.
    scale: by which each channel is divided once more where it is quantised, so
    that its mantissas reach from end to end; the first layer's weights are
    multiplied by it. None: by nothing.
    letterbox: the whole picture is resized until it fits into ``size``, in the middle, and the rest is gray of this
    value. Without it, resize: what the shorter side becomes before the centre is cropped; without both, a picture is
    resized to ``size`` exactly.
    """

    size: tuple[int, int] = checked(fixed(SIDE, 2))
    mean: tuple[float, ...] = checked(PER_CHANNEL)
    std: tuple[float, ...] = checked(POSITIVE)
    resize: int | None = checked(optional(SIDE), default=None)
    interpolation: str = checked(choice(*INTERPOLATIONS), default="bicubic")
    channels: str = checked(choice(*CHANNEL_ORDERS), default="rgb")
    scale: tuple[float, ...] | None = checked(optional(POSITIVE), default=None)
    letterbox: int | None = checked(whole(0, 255), omitted=True, default=None)

    def part(self, start: int, stop: int) -> Preprocessing:
        """That of some of the channels, for an input that has only these."""
        mean, std, scale = (v and v[start:stop] for v in (self.mean, self.std, self.scale))
        return replace(self, mean=mean, std=std, scale=scale)

    def scaled(self, images: np.ndarray) -> np.ndarray:
        """Normalised images [..., C, H, W] as the input tensor's mantissas stand for them."""
        return images if self.scale is None else images / np.asarray(self.scale, np.float32)[:, None, None]


@dataclass(frozen=True)
class NetworkInput:
    """One input: the tensor that it becomes, and how an image becomes that tensor."""

    tensor: str = checked(NAME)
    preprocessing: Preprocessing = checked(record(Preprocessing))


@dataclass(frozen=True)
class NetworkOutput:
    """One output, and what turns its mantissas into the numbers that the network returns.

    offset: constant that the mantissas leave out; scale: what one unit of the tensor stands for; see ``values``.
    classes: names of its values, or none. host: steps of bfp.host_operators that the host runs on the values, in order.
    """

    tensor: str = checked(NAME)
    offset: float = checked(number(), default=0.0)
    scale: float = checked(number(SMALLEST), default=1.0)
    classes: tuple[str, ...] = checked(tuple_of(TEXT, 0, MAX_VALUES), default=())
    host: tuple[str, ...] = checked(tuple_of(NAME, 0, MAX_ENDS), default=())

    def values(self, stored: np.ndarray) -> np.ndarray:
        """The output [N, values] from the real values of its tensor's mantissas [N, C, H, W]."""
        return (stored.reshape(len(stored), -1) + self.offset) * self.scale

    def returned(self, values: np.ndarray) -> np.ndarray:
        """What the network returns, [N, ...], from the output [N, values]: what the host computes is done, too."""
        return host_operators.apply(self.host, np.asarray(values, np.float64))


@dataclass(frozen=True)
class Artifact:
    """A network in static block floating point.

    formats: per tensor; parameters: per node that computes. inputs, outputs: in the graph's order.
    provenance: method, options and weights used, for reports. float_digest: SHA-256 of the float weights that it was
    calibrated from, hex, or empty where none are known. digest: SHA-256 of the manifest, hex (empty until saved).
    detection: how a detector's outputs become boxes; None of any other network. joins: what the host makes of outputs.
    """

    graph: Graph
    formats: dict[str, BlockFormat]
    parameters: dict[str, Parameters]
    inputs: tuple[NetworkInput, ...]
    outputs: tuple[NetworkOutput, ...]
    provenance: dict = field(default_factory=dict)
    float_digest: str = ""
    digest: str = ""
    detection: Detection | None = None
    joins: tuple[JoinedOutput, ...] = ()

    @staticmethod
    def of_one(
        graph: Graph,
        formats: dict[str, BlockFormat],
        parameters: dict[str, Parameters],
        preprocessing: Preprocessing,
        classes: tuple[str, ...] = (),
        **fields: object,
    ) -> Artifact:
        """An artifact with one input and one output; ``offset``, ``scale`` and ``host`` are the output's, other fields its own."""
        result = {name: fields.pop(name) for name in ("offset", "scale", "host") if name in fields}
        ends = NetworkInput(graph.input, preprocessing), NetworkOutput(graph.output, classes=tuple(classes), **result)
        return Artifact(graph, formats, parameters, ends[:1], ends[1:], **fields)

    @property
    def preprocessing(self) -> Preprocessing:
        """That of the only input. Raises BfpError where there are several."""
        return next(e for e in self.inputs if e.tensor == self.graph.input).preprocessing

    @property
    def result(self) -> NetworkOutput:
        """The only output. Raises BfpError where there are several."""
        return next(e for e in self.outputs if e.tensor == self.graph.output)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names of the only output, or none. Raises BfpError where there are several outputs."""
        return self.result.classes

    def offset(self, tensor: str) -> float:
        """The constant that a tensor's mantissas leave out: an output's, 0 of any other tensor."""
        return next((end.offset for end in self.outputs if end.tensor == tensor), 0.0)

    def scaled(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """The inputs' values by tensor, as their mantissas stand for them, of normalised images [N, C, H, W]."""
        parts = self.graph.input_parts(images)
        return {end.tensor: end.preprocessing.scaled(parts[end.tensor]) for end in self.inputs}

    def logits(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """All outputs side by side, [N, values], from the real values of their mantissas [N, C, H, W] by tensor."""
        return np.concatenate([end.values(values[end.tensor]) for end in self.outputs], axis=1)

    def returned(self, logits: np.ndarray) -> np.ndarray | dict[str, np.ndarray]:
        """What the network returns, float64 [N, ...], from ``logits``; of several results a dict by their names."""
        parts = self.graph.output_parts(logits)
        return one_or_all(results({end.tensor: end.returned(parts[end.tensor]) for end in self.outputs}, self.joins))

    def operand_formats(self, node: Node) -> tuple[BlockFormat, BlockFormat, BlockFormat | None]:
        """Formats of the main operand, the output and the shortcut (or None)."""
        return operand_formats(node, self.formats)


def one_or_all(outputs: dict[str, np.ndarray]) -> np.ndarray | dict[str, np.ndarray]:
    """The outputs as users are given them: the only one, or several by their names."""
    return outputs if len(outputs) > 1 else next(iter(outputs.values()))


def operand_formats(
    node: Node, formats: dict[str, BlockFormat]
) -> tuple[BlockFormat, BlockFormat, BlockFormat | None]:
    """Formats of the node's main operand, of its output, and of its shortcut (or None)."""
    return formats[node.main], formats[node.output], formats[node.shortcut] if node.shortcut else None


def concat_format(parts: list[BlockFormat]) -> BlockFormat:
    """Format of a concatenation: the branches' blocks, one after the other."""
    if len({(p.bits, p.signed) for p in parts}) != 1:
        raise BfpError("branches of a concatenation need the same mantissa width and sign")
    splits, exponents = [0], []
    for part in parts:
        base = splits[-1]
        splits += [base + s for s in part.splits[1:]]
        exponents += part.exponents
    return BlockFormat(parts[0].bits, parts[0].signed, tuple(splits), tuple(exponents))


def verify(artifact: Artifact) -> None:
    """Check graph, inputs, outputs and shapes, and prove every accumulator. Raises BfpError naming the node."""
    graph, where = artifact.graph, f"network {artifact.graph.name}"
    graph.validate()
    for what, ends, tensors in (("input", artifact.inputs, graph.inputs), ("output", artifact.outputs, graph.outputs)):
        if tuple(e.tensor for e in ends) != tensors:
            found, wanted = (shown(", ".join(names)) for names in ((e.tensor for e in ends), tensors))
            raise BfpError(f"{where}: its {what}s are {found}, the graph's {wanted}")
    for entry in artifact.inputs:
        verify_input(entry, graph.shapes[entry.tensor], where)
    for end in artifact.outputs:
        verify_output(end, graph.shapes[end.tensor], where)
    verify_results(artifact.outputs, artifact.joins, graph.shapes, where)
    verify_boxes(artifact.detection, artifact.outputs, artifact.joins, graph.shapes, where)
    for tensor, (channels, _, _) in graph.shapes.items():
        fmt = artifact.formats.get(tensor)
        if fmt is None or fmt.channels != channels:
            raise BfpError(f"tensor {tensor!r} of {graph.name} has no block format for its {channels} channels")
    for tensor in artifact.formats:
        if tensor not in graph.shapes:
            raise BfpError(f"{where}: {tensor!r} has a block format and is no tensor")
    for tensor, fmt in artifact.formats.items():
        if fmt.bits > MAX_BITS and not is_index(graph, tensor):
            raise BfpError(f"{where}: tensor {tensor!r} has {fmt.bits} bits; what is stored has at most {MAX_BITS}")
    computed = {node.name for node in graph.computed()}
    for name in artifact.parameters:
        if name not in computed:
            raise BfpError(f"{where}: {name!r} has parameters and is no node that computes")
    for node in graph.nodes:
        if not node.operator.computes:
            if concat_format([artifact.formats[t] for t in node.inputs]) != artifact.formats[node.output]:
                raise BfpError(f"node {node.name}: the concatenation's blocks are not those of its branches")
        elif node.name not in artifact.parameters:
            raise BfpError(f"node {node.name}: the artifact has no parameters for it")
        else:
            verify_weights(graph, node, artifact.parameters[node.name].weights)
            verify_table(graph, node, artifact.parameters[node.name].table, artifact.formats)
            prove(graph, node, artifact.parameters[node.name], artifact.formats)


def verify_input(entry: NetworkInput, shape: Shape, where: str) -> None:
    """Raise BfpError, which begins with ``where``, unless the preprocessing makes a tensor of this shape."""
    pre, channels = entry.preprocessing, shape[0]
    for what, values in (("mean", pre.mean), ("std", pre.std), ("scale", pre.scale)):
        if what == "scale" and values is None:
            continue
        good = len(values) == channels and np.all(np.isfinite(values)) and (what == "mean" or min(values) > 0)
        if not good:
            kind = "number" if what == "mean" else "positive number"
            raise BfpError(f"{where}: its input's {what} {shown(tuple(values))} is not one {kind} a channel")
    if pre.letterbox is not None and (pre.resize is not None or pre.channels == ARRAY):
        raise BfpError(f"{where}: its input {entry.tensor} is letterboxed, and cropped or no picture as well")
    if tuple(pre.size) != tuple(shape[1:]):
        raise BfpError(f"{where}: input {entry.tensor} has {shape[1:]} pixels, its preprocessing makes {tuple(pre.size)}")


def verify_output(end: NetworkOutput, shape: Shape, where: str) -> None:
    """Raise BfpError, which begins with ``where``, unless a tensor of this shape can become the output."""
    values = shape[0] * shape[1] * shape[2]
    if not (np.isfinite(end.offset) and np.isfinite(end.scale) and end.scale > 0):
        raise BfpError(
            f"{where}: its output's offset {end.offset} and scale {end.scale} are not a number and a positive number"
        )
    if end.classes and len(end.classes) != values:
        raise BfpError(f"{where}: output {end.tensor} has {values} values and {len(end.classes)} class names")
    for name in end.classes:
        check_text(name, "class name", where)
    host_operators.check(end.host, values, f"{where}, output {end.tensor}")


def verify_results(
    outputs: tuple[NetworkOutput, ...], joins: tuple[JoinedOutput, ...], shapes: Mapping[str, Shape], where: str
) -> None:
    """Raise BfpError, which begins with ``where``, unless the host can put together what it joins."""
    given = {end.tensor: host_operators.check(end.host, prod(shapes[end.tensor]), where) for end in outputs}
    for join in joins:
        if join.name in shapes:
            raise BfpError(f"{where}: {join.name!r} is a tensor and a joined output")
    verify_joined(joins, given, where)


def verify_boxes(
    detection: Detection | None,
    outputs: tuple[NetworkOutput, ...],
    joins: tuple[JoinedOutput, ...],
    shapes: Mapping[str, Shape],
    where: str,
) -> None:
    """Raise BfpError, which begins with ``where``, unless what the network returns are rows of its detector, if it is one.

    Boxes are looked for in each output by itself: what joins may only put their rows one below the other.
    """
    if detection is not None:
        counts = {end.tensor: prod(host_operators.check(end.host, prod(shapes[end.tensor]), where)) for end in outputs}
        verify_detection(detection, counts, where)
        for join in joins:
            if join.how != CONCAT or join.axis != 1 or any(not step.startswith("reshape.") for step in join.host):
                raise BfpError(f"{where}: {join.name} is no list of boxes one below the other; let the network return its heads")


def verify_weights(graph: Graph, node: Node, weights: Weights | None) -> None:
    """Raise BfpError unless the weights are those that the node's operator, window and tensors need."""
    where, axes = f"node {node.name}", node.operator.weights
    if (axes is None) != (weights is None):
        raise BfpError(f"{where}: {node.op} has {'no weights' if weights is None else 'weights that it cannot have'}")
    if weights is None:
        return
    expected = weight_shape(graph, node)
    if weights.mantissas.shape != expected:
        raise BfpError(f"{where}: its weights have shape {weights.mantissas.shape}, its tensors need {expected}")
    splits, blocks = weights.splits, len(weights.splits) - 1
    if splits[0] != 0 or splits[-1] != expected[1] or any(a >= b for a, b in zip(splits, splits[1:])):
        raise BfpError(f"{where}: the blocks {shown(splits)} of its weights do not divide {expected[1]} channels")
    if weights.exponents.shape != (expected[0], blocks):
        raise BfpError(f"{where}: its weights have {weights.exponents.shape} exponents for {blocks} blocks")
    if np.abs(weights.exponents).max() > MAX_EXPONENT:
        raise BfpError(f"{where}: an exponent of its weights lies outside -{MAX_EXPONENT}..{MAX_EXPONENT}")
    low, high = mantissa_range(weights.bits, True)
    if weights.mantissas.min() < low or weights.mantissas.max() > high:
        raise BfpError(f"{where}: a weight lies outside the {weights.bits}-bit mantissas {low}..{high}")


def is_index(graph: Graph, tensor: str) -> bool:
    """Whether a tensor is nothing but the index of a table, so that no memory ever holds it."""
    readers = graph.consumers(tensor)
    return len(readers) == 1 and readers[0].operator.has_function and tensor not in (*graph.inputs, *graph.outputs)


def verify_table(graph: Graph, node: Node, table: np.ndarray | None, formats: dict[str, BlockFormat]) -> None:
    """Raise BfpError unless the node has the table that its function needs, and its operand is an index only."""
    where = f"node {node.name}"
    if (node.function is None) != (table is None):
        raise BfpError(f"{where}: {node.op} has {'no table' if table is None else 'a table that it cannot have'}")
    if table is None:
        return
    source, target, _ = operand_formats(node, formats)
    if not is_index(graph, node.main) or not graph.producer(node.main).operator.computes:
        raise BfpError(f"{where}: its operand {node.main!r} must be computed for its table alone; copy it with identity")
    if len(set(source.exponents)) != 1 or len(set(target.exponents)) != 1:
        raise BfpError(f"{where}: the operand and the result of a table have one exponent each")
    if table.shape != (2**source.bits,) or table.min() < target.low or table.max() > target.high:
        raise BfpError(f"{where}: its table does not have {2**source.bits} entries in {target.low}..{target.high}")


def weight_shape(graph: Graph, node: Node) -> tuple[int, int, int, int]:
    """The weights' shape [filters, inputs, kernel height, kernel width] of a node that has weights."""
    inputs, filters = graph.shapes[node.main][0], graph.shapes[node.output][0]
    return filters, 1 if node.operator.weights.per_channel else inputs, *node.window.kernel
