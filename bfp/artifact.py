"""The artifact: one .npz file that holds everything the hardware needs to know.

``manifest`` is UTF-8 JSON (graph, block formats, exponents, shifts, input
preprocessing) with a SHA-256 of every array; ``digest`` is the SHA-256 of the
manifest. Weight mantissas are packed at their own width. No pickles. The same
content gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from bfp.errors import BfpError
from bfp.format import BlockFormat, pack_bits, unpack_bits
from bfp.graph import Graph, Node
from bfp.parameters import ACC_LIMIT, Parameters, Weights, clamp_integer, derive, prove

SCHEMA = 3  # 2: clamps of their own per channel, output offset; 3: output scale


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
class Artifact:
    """A network in static block floating point.

    formats: per tensor; parameters: per node (none for concat).
    classes: class names, or empty. provenance: method, options and weights
    used, for reports. digest: SHA-256 of the manifest, hex (empty until saved).
    output_offset: constant that the output's mantissas leave out; output_scale:
    what one unit of the output tensor stands for. See ``logits`` and calib.transforms.output_scaling.
    """

    graph: Graph
    formats: dict[str, BlockFormat]
    parameters: dict[str, Parameters]
    preprocessing: Preprocessing
    classes: tuple[str, ...] = ()
    provenance: dict = field(default_factory=dict)
    digest: str = ""
    output_offset: float = 0.0
    output_scale: float = 1.0

    def logits(self, values: np.ndarray) -> np.ndarray:
        """The network's output [N, outputs] from the real values of its output tensor's mantissas [N, C, H, W]."""
        return (values.reshape(len(values), -1) + self.output_offset) * self.output_scale

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
    """Check graph and shapes, and prove every accumulator. Raises BfpError naming the node."""
    artifact.graph.validate()
    scale = artifact.preprocessing.scale
    channels = artifact.graph.shapes[artifact.graph.input][0]
    if scale is not None and not (len(scale) == channels and np.all(np.isfinite(scale)) and min(scale) > 0):
        raise BfpError(f"network {artifact.graph.name}: its input's scale {scale} is not one positive number a channel")
    if not (np.isfinite(artifact.output_offset) and np.isfinite(artifact.output_scale) and artifact.output_scale > 0):
        raise BfpError(
            f"network {artifact.graph.name}: its output's offset {artifact.output_offset} and scale "
            f"{artifact.output_scale} are not a number and a positive number"
        )
    for tensor, (channels, _, _) in artifact.graph.shapes.items():
        fmt = artifact.formats.get(tensor)
        if fmt is None or fmt.channels != channels:
            raise BfpError(f"tensor {tensor!r} of {artifact.graph.name} has no block format for its {channels} channels")
    for node in artifact.graph.nodes:
        if node.op == "concat":
            if concat_format([artifact.formats[t] for t in node.inputs]) != artifact.formats[node.output]:
                raise BfpError(f"node {node.name}: the concatenation's blocks are not those of its branches")
        else:
            prove(artifact.graph, node, artifact.parameters[node.name], artifact.formats)


def save(artifact: Artifact, path: str | Path) -> Artifact:
    """Prove every accumulator, then write the file whole or not at all. Returns it with its digest.

    Raises BfpError naming the node that could overflow, or where the file cannot be written.
    """
    verify(artifact)
    arrays: dict[str, np.ndarray] = {}
    nodes = {}
    for node in artifact.graph.nodes:
        p = artifact.parameters.get(node.name)
        if p is None:
            continue
        entry: dict = {"acc_exponent": p.acc_exponent.tolist(), "round_shift": p.round_shift.tolist()}
        if p.clamp_high is not None and not np.array_equal(p.clamp_high, clamp_integer(p.acc_exponent)):
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
        nodes[node.name] = entry
    pre = artifact.preprocessing
    manifest = {
        "schema": SCHEMA,
        "graph": artifact.graph.to_json(),
        "formats": {
            t: {"bits": f.bits, "signed": f.signed, "splits": f.splits, "exponents": f.exponents}
            for t, f in artifact.formats.items()
        },
        "nodes": nodes,
        "preprocessing": {k: v for k, v in pre.__dict__.items() if k != "scale" or v is not None},
        "classes": list(artifact.classes),
        "output_offset": artifact.output_offset,
        "output_scale": artifact.output_scale,
        "provenance": artifact.provenance,
        "sha256": {k: hashlib.sha256(v.tobytes()).hexdigest() for k, v in arrays.items()},
    }
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()
    digest = hashlib.sha256(text).hexdigest()
    path = Path(path)
    temporary = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as f:
            np.savez(
                f,
                manifest=np.frombuffer(text, np.uint8),
                digest=np.frombuffer(digest.encode(), np.uint8),
                **arrays,
            )
        os.replace(temporary, path)
    except OSError as error:
        if temporary.is_file():
            temporary.unlink()
        raise BfpError(f"artifact {path} cannot be written ({error}); make room, or write to another folder") from None
    return Artifact(**{**artifact.__dict__, "digest": digest})


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
    hashes = {k: hashlib.sha256(v.tobytes()).hexdigest() for k, v in arrays.items() if k not in ("manifest", "digest")}
    if not intact or hashes != manifest.get("sha256"):
        raise BfpError(f"artifact {path} is damaged: a hash does not match; write it again with `doit calibrate`")
    try:
        return _assemble(manifest, arrays, digest)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise BfpError(f"artifact {path} is not well formed ({error!r}); write it again with `doit calibrate`") from None


def clamps(values: list, node: Node, channels: int) -> np.ndarray:
    """Upper limits of a ReLU6 node's accumulators as stored, int64 [channels]. Raises BfpError unless they fit it."""
    limits = np.asarray(values, np.int64)
    if node.activation != "relu6" or limits.shape != (channels,) or limits.min() < 0 or limits.max() >= ACC_LIMIT:
        raise BfpError(f"node {node.name}: the stored clamps are not those of {channels} ReLU6 channels")
    return limits


def _assemble(manifest: dict, arrays: dict[str, np.ndarray], digest: str) -> Artifact:
    graph = Graph.from_json(manifest["graph"])
    formats = {
        t: BlockFormat(f["bits"], f["signed"], tuple(f["splits"]), tuple(f["exponents"]))
        for t, f in manifest["formats"].items()
    }
    parameters = {}
    for node in graph.nodes:
        if node.op == "concat":
            continue
        entry = manifest["nodes"][node.name]
        weights, bias = None, None
        if "weights" in entry:
            w = entry["weights"]
            count = int(np.prod(w["shape"]))
            mantissas = unpack_bits(arrays[w["mantissas"]], w["bits"], count).astype(np.int8).reshape(w["shape"])
            weights = Weights(w["bits"], mantissas, tuple(w["splits"]), arrays[w["exponents"]].astype(np.int64))
            bias = arrays[w["bias"]].astype(np.int64)
        source, target, shortcut = operand_formats(node, formats)
        p = derive(node, source, target, shortcut, weights, acc_exponent=np.asarray(entry["acc_exponent"]))
        if p.round_shift.tolist() != entry["round_shift"]:
            raise BfpError(f"node {node.name}: the stored shifts are not those of its exponents")
        stored = {} if bias is None else {"bias": bias}
        if "clamp_high" in entry:
            stored["clamp_high"] = clamps(entry["clamp_high"], node, target.channels)
        parameters[node.name] = replace(p, **stored)
    pre = manifest["preprocessing"]
    artifact = Artifact(
        graph,
        formats,
        parameters,
        Preprocessing(**{k: tuple(v) if isinstance(v, list) else v for k, v in pre.items()}),
        tuple(manifest["classes"]),
        manifest["provenance"],
        digest,
        float(manifest.get("output_offset", 0.0)),
        float(manifest.get("output_scale", 1.0)),
    )
    verify(artifact)
    return artifact
