"""The artifact: one .npz file that holds everything the hardware needs to know.

``manifest`` is UTF-8 JSON (graph, block formats, exponents, shifts, input
preprocessing) with a SHA-256 of every array; ``digest`` is the SHA-256 of the
manifest. Weight mantissas are packed at their own width. No pickles. The same
content gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from bfp.errors import BfpError
from bfp.files import replacing
from bfp.format import BlockFormat, mantissa_range, pack_bits, unpack_bits
from bfp.graph import Graph, Node, Window
from bfp.limits import ACC_LIMIT
from bfp.parameters import Parameters, Weights, derive, prove

SCHEMA = 4  # 2: clamps of their own per channel, output offset; 3: output scale; 4: lists of inputs and outputs


@dataclass(frozen=True)
class Preprocessing:
    """Image to network input: ``(pixel - mean) / std`` with pixels in 0..255, channels RGB or BGR.

    scale: by which each channel is divided once more where it is quantised, so
    that its mantissas reach from end to end; the first layer's weights are
    multiplied by it. None: by nothing.
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: int | None = None
    interpolation: str = "bicubic"
    channels: str = "rgb"
    scale: tuple[float, ...] | None = None

    def scaled(self, images: np.ndarray) -> np.ndarray:
        """Normalised images [..., C, H, W] as the input tensor's mantissas stand for them."""
        return images if self.scale is None else images / np.asarray(self.scale, np.float32)[:, None, None]


@dataclass(frozen=True)
class NetworkInput:
    """One input: the tensor that it becomes, and how an image becomes that tensor."""

    tensor: str
    preprocessing: Preprocessing


@dataclass(frozen=True)
class NetworkOutput:
    """One output, and what turns its mantissas into the numbers that the network returns.

    offset: constant that the mantissas leave out; scale: what one unit of the tensor stands for; see ``values``.
    classes: names of its values, or none. host: operators that the host runs on the values, in order, by name; no
    name is known yet.
    """

    tensor: str
    offset: float = 0.0
    scale: float = 1.0
    classes: tuple[str, ...] = ()
    host: tuple[str, ...] = ()

    def values(self, stored: np.ndarray) -> np.ndarray:
        """The output [N, values] from the real values of its tensor's mantissas [N, C, H, W]."""
        return (stored.reshape(len(stored), -1) + self.offset) * self.scale


@dataclass(frozen=True)
class Artifact:
    """A network in static block floating point.

    formats: per tensor; parameters: per node that computes. inputs, outputs: in the graph's order.
    provenance: method, options and weights used, for reports. float_digest: SHA-256 of the float weights that it was
    calibrated from, hex, or empty where none are known. digest: SHA-256 of the manifest, hex (empty until saved).
    """

    graph: Graph
    formats: dict[str, BlockFormat]
    parameters: dict[str, Parameters]
    inputs: tuple[NetworkInput, ...]
    outputs: tuple[NetworkOutput, ...]
    provenance: dict = field(default_factory=dict)
    float_digest: str = ""
    digest: str = ""

    @staticmethod
    def of_one(
        graph: Graph,
        formats: dict[str, BlockFormat],
        parameters: dict[str, Parameters],
        preprocessing: Preprocessing,
        classes: tuple[str, ...] = (),
        **fields: object,
    ) -> Artifact:
        """An artifact with one input and one output; ``offset`` and ``scale`` are the output's, other fields its own."""
        result = {name: fields.pop(name) for name in ("offset", "scale") if name in fields}
        ends = NetworkInput(graph.input, preprocessing), NetworkOutput(graph.output, classes=tuple(classes), **result)
        return Artifact(graph, formats, parameters, ends[:1], ends[1:], **fields)

    @property
    def preprocessing(self) -> Preprocessing:
        """That of the only input. Raises BfpError where there are several."""
        return self._of(self.inputs, self.graph.input).preprocessing

    @property
    def result(self) -> NetworkOutput:
        """The only output. Raises BfpError where there are several."""
        return self._of(self.outputs, self.graph.output)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names of the only output, or none. Raises BfpError where there are several outputs."""
        return self.result.classes

    def _of(self, ends: tuple, tensor: str):
        return next(e for e in ends if e.tensor == tensor)

    def logits(self, values: np.ndarray) -> np.ndarray:
        """The only output [N, values] from the real values of its tensor's mantissas [N, C, H, W]."""
        return self.result.values(values)

    def operand_formats(self, node: Node) -> tuple[BlockFormat, BlockFormat, BlockFormat | None]:
        """Formats of the main operand, the output and the shortcut (or None)."""
        return operand_formats(node, self.formats)


def operand_formats(self, node: Node) -> tuple[BlockFormat, BlockFormat, BlockFormat | None]:
        """Formats of the main operand, the output and the shortcut (or None)."""
        return operand_formats(node, self.formats)


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
            raise BfpError(f"{where}: its {what}s are {', '.join(e.tensor for e in ends)}, the graph's {', '.join(tensors)}")
    for entry in artifact.inputs:
        _verify_input(entry, graph.shapes[entry.tensor], where)
    for end in artifact.outputs:
        _verify_output(end, graph.shapes[end.tensor], where)
    for tensor, (channels, _, _) in graph.shapes.items():
        fmt = artifact.formats.get(tensor)
        if fmt is None or fmt.channels != channels:
            raise BfpError(f"tensor {tensor!r} of {graph.name} has no block format for its {channels} channels")
    for node in graph.nodes:
        if not node.operator.computes:
            if concat_format([artifact.formats[t] for t in node.inputs]) != artifact.formats[node.output]:
                raise BfpError(f"node {node.name}: the concatenation's blocks are not those of its branches")
        elif node.name not in artifact.parameters:
            raise BfpError(f"node {node.name}: the artifact has no parameters for it")
        else:
            _verify_weights(graph, node, artifact.parameters[node.name].weights)
            prove(graph, node, artifact.parameters[node.name], artifact.formats)


def _verify_input(entry: NetworkInput, shape: tuple[int, int, int], where: str) -> None:
    pre, channels = entry.preprocessing, shape[0]
    for what, values in (("mean", pre.mean), ("std", pre.std), ("scale", pre.scale)):
        if what == "scale" and values is None:
            continue
        good = len(values) == channels and np.all(np.isfinite(values)) and (what == "mean" or min(values) > 0)
        if not good:
            kind = "number" if what == "mean" else "positive number"
            raise BfpError(f"{where}: its input's {what} {tuple(values)} is not one {kind} a channel")
    if tuple(pre.size) != tuple(shape[1:]):
        raise BfpError(f"{where}: input {entry.tensor} has {shape[1:]} pixels, its preprocessing makes {tuple(pre.size)}")


def _verify_output(end: NetworkOutput, shape: tuple[int, int, int], where: str) -> None:
    if not (np.isfinite(end.offset) and np.isfinite(end.scale) and end.scale > 0):
        raise BfpError(
            f"{where}: its output's offset {end.offset} and scale {end.scale} are not a number and a positive number"
        )
    if end.classes and len(end.classes) != int(np.prod(shape)):
        raise BfpError(f"{where}: output {end.tensor} has {int(np.prod(shape))} values and {len(end.classes)} class names")
    if end.host:
        raise BfpError(f"{where}: host operator {end.host[0]!r} is not known; update the project")


def _verify_weights(graph: Graph, node: Node, weights: Weights | None) -> None:
    """Raise BfpError unless the weights are those that the node's operator, window and tensors need."""
    axes = node.operator.weights
    if (axes is None) != (weights is None):
        raise BfpError(f"node {node.name}: {node.op} has {'no weights' if weights is None else 'weights that it cannot have'}")
    if weights is None:
        return
    inputs, filters = graph.shapes[node.main][0], graph.shapes[node.output][0]
    expected = (filters, 1 if axes.per_channel else inputs, *node.window.kernel)
    if weights.mantissas.shape != expected:
        raise BfpError(f"node {node.name}: its weights have shape {weights.mantissas.shape}, its tensors need {expected}")
    splits = weights.splits
    if splits[0] != 0 or splits[-1] != expected[1] or any(a >= b for a, b in zip(splits, splits[1:])):
        raise BfpError(f"node {node.name}: the blocks {splits} of its weights do not divide {expected[1]} channels")
    if weights.exponents.shape != (filters, len(splits) - 1):
        raise BfpError(f"node {node.name}: its weights have {weights.exponents.shape} exponents for {len(splits) - 1} blocks")
    low, high = mantissa_range(weights.bits, True)
    if weights.mantissas.min(initial=0) < low or weights.mantissas.max(initial=0) > high:
        raise BfpError(f"node {node.name}: a weight lies outside the {weights.bits}-bit mantissas {low}..{high}")


def graph_to_json(graph: Graph) -> dict:
    """The graph as the manifest has it."""
    return {
        "name": graph.name,
        "inputs": list(graph.inputs),
        "outputs": list(graph.outputs),
        "nodes": [asdict(n) for n in graph.nodes],
        "shapes": {k: list(v) for k, v in graph.shapes.items()},
    }


def graph_from_json(data: dict) -> Graph:
    """Inverse of ``graph_to_json``, validated."""
    nodes = []
    for raw in data["nodes"]:
        raw = dict(raw)
        raw["window"] = Window(**{k: tuple(v) for k, v in raw["window"].items()})
        for key in ("inputs", "counted_padding", "source"):
            raw[key] = tuple(raw[key])
        nodes.append(Node(**raw))
    shapes = {k: tuple(v) for k, v in data["shapes"].items()}
    graph = Graph(data["name"], tuple(data["inputs"]), tuple(data["outputs"]), tuple(nodes), shapes)
    graph.validate()
    return graph


def array_digest(array: np.ndarray) -> str:
    """SHA-256 of an array's type, shape and bytes, hex."""
    digest = hashlib.sha256(f"{array.dtype.str} {array.shape}\n".encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def save(artifact: Artifact, path: str | Path) -> Artifact:
    """Prove every accumulator, then write the file whole or not at all. Returns it with its digest.

    Raises BfpError naming the node that could overflow, or where the file cannot be written.
    """
    verify(artifact)
    arrays: dict[str, np.ndarray] = {}
    nodes = {node.name: _node_entry(artifact.parameters[node.name], arrays) for node in artifact.graph.computed()}
    manifest = {
        "schema": SCHEMA,
        "graph": graph_to_json(artifact.graph),
        "formats": {
            t: {"bits": f.bits, "signed": f.signed, "splits": f.splits, "exponents": f.exponents}
            for t, f in artifact.formats.items()
        },
        "nodes": nodes,
        "inputs": [asdict(i) for i in artifact.inputs],
        "outputs": [asdict(o) for o in artifact.outputs],
        "provenance": artifact.provenance,
        "float_digest": artifact.float_digest,
        "sha256": {k: array_digest(v) for k, v in arrays.items()},
    }
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()
    digest = hashlib.sha256(text).hexdigest()
    with replacing(path) as temporary, open(temporary, "wb") as f:
        np.savez(
            f,
            manifest=np.frombuffer(text, np.uint8),
            digest=np.frombuffer(digest.encode(), np.uint8),
            **arrays,
        )
    return replace(artifact, digest=digest)


def _node_entry(p: Parameters, arrays: dict[str, np.ndarray]) -> dict:
    """What the manifest says of a node's parameters; its weights join ``arrays``."""
    entry: dict = {"acc_exponent": p.acc_exponent.tolist(), "round_shift": p.round_shift.tolist()}
    if p.clamp_high is not None:
        entry["clamp_high"] = p.clamp_high.tolist()
    if p.weights is not None:
        index = len(arrays)
        entry["weights"] = {
            "bits": p.weights.bits,
            "shape": list(p.weights.mantissas.shape),
            "splits": list(p.weights.splits),
            "mantissas": f"m{index:04d}",
            "exponents": f"e{index:04d}",
            "bias": f"b{index:04d}",
        }
        arrays[f"m{index:04d}"] = pack_bits(p.weights.mantissas, p.weights.bits)
        arrays[f"e{index:04d}"] = p.weights.exponents.astype("<i2")
        arrays[f"b{index:04d}"] = p.bias.astype("<i4")
    return entry


def load(path: str | Path) -> Artifact:
    """Read an artifact, check its hashes and prove its accumulators again.

    Raises BfpError, one sentence, for a missing, damaged, truncated or newer file.
    """
    path = Path(path)
    if not path.is_file():
        raise BfpError(f"artifact {path} does not exist; run `doit calibrate` first")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {k: archive[k] for k in archive.files}
        text = arrays["manifest"].tobytes()
        digest = arrays["digest"].tobytes().decode()
        intact = hashlib.sha256(text).hexdigest() == digest
        manifest = json.loads(text)
        schema = manifest["schema"]
    except Exception as error:  # the readers raise whatever the damaged bytes lead them to
        raise BfpError(f"artifact {path} is damaged or truncated ({error}); write it again with `doit calibrate`") from None
    if type(schema) is int and schema > SCHEMA:
        raise BfpError(f"artifact {path} has schema {schema}, this version reads up to {SCHEMA}; update the project")
    if type(schema) is not int or schema < 1:
        raise BfpError(f"artifact {path} is damaged: its schema is {schema!r}; write it again with `doit calibrate`")
    hashes = {k: array_digest(v) for k, v in arrays.items() if k not in ("manifest", "digest")}
    if not intact or hashes != manifest.get("sha256"):
        raise BfpError(f"artifact {path} is damaged: a hash does not match; write it again with `doit calibrate`")
    try:
        return _assemble(manifest, arrays, digest)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise BfpError(f"artifact {path} is not well formed ({error!r}); write it again with `doit calibrate`") from None


def clamps(values: list, node: Node, channels: int) -> np.ndarray:
    """Upper limits of a node's accumulators as stored, int64 [channels]. Raises BfpError unless its activation has them."""
    limits = np.asarray(values, np.int64)
    if node.act.high is None or limits.shape != (channels,) or limits.min() < 0 or limits.max() >= ACC_LIMIT:
        raise BfpError(f"node {node.name}: the stored clamps are not those of {channels} channels of {node.activation}")
    return limits


def _assemble(manifest: dict, arrays: dict[str, np.ndarray], digest: str) -> Artifact:
    graph = graph_from_json(manifest["graph"])
    formats = {
        t: BlockFormat(f["bits"], f["signed"], tuple(f["splits"]), tuple(f["exponents"]))
        for t, f in manifest["formats"].items()
    }
    artifact = Artifact(
        graph,
        formats,
        {node.name: _parameters(node, manifest["nodes"][node.name], arrays, formats) for node in graph.computed()},
        tuple(NetworkInput(i["tensor"], _preprocessing(i["preprocessing"])) for i in manifest["inputs"]),
        tuple(
            NetworkOutput(o["tensor"], float(o["offset"]), float(o["scale"]), tuple(o["classes"]), tuple(o["host"]))
            for o in manifest["outputs"]
        ),
        manifest["provenance"],
        manifest["float_digest"],
        digest,
    )
    verify(artifact)
    return artifact


def _preprocessing(data: dict) -> Preprocessing:
    return Preprocessing(**{k: tuple(v) if isinstance(v, list) else v for k, v in data.items()})


def _parameters(node: Node, entry: dict, arrays: dict[str, np.ndarray], formats: dict[str, BlockFormat]) -> Parameters:
    """A node's constants from what is stored of them, and from its formats."""
    weights, stored = None, {}
    if "weights" in entry:
        w = entry["weights"]
        count = int(np.prod(w["shape"]))
        mantissas = unpack_bits(arrays[w["mantissas"]], w["bits"], count).astype(np.int8).reshape(w["shape"])
        weights = Weights(w["bits"], mantissas, tuple(w["splits"]), arrays[w["exponents"]].astype(np.int64))
        stored["bias"] = arrays[w["bias"]].astype(np.int64)
    source, target, shortcut = operand_formats(node, formats)
    p = derive(node, source, target, shortcut, weights, acc_exponent=np.asarray(entry["acc_exponent"]))
    if p.round_shift.tolist() != entry["round_shift"]:
        raise BfpError(f"node {node.name}: the stored shifts are not those of its exponents")
    if "clamp_high" in entry:
        stored["clamp_high"] = clamps(entry["clamp_high"], node, target.channels)
    return replace(p, **stored)
