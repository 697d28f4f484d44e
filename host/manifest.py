"""The deployment folder: ``manifest.json``, ``weights.bin``, and the bitstream with its .hwh.

Everything is checked here, before any hardware is touched.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bfp.artifact import Preprocessing
from bfp.errors import BfpError
from bfp.format import BlockFormat
from host import layout

SCHEMA = 4  # 2: output_offset; 3: output_scale; 4: board, clock_mhz

_FIELDS = {
    "network": str,
    "artifact_digest": str,
    "identity": str,
    "board": str,
    "clock_mhz": int,
    "lanes": int,
    "layers": int,
    "weights": str,
    "weights_sha256": str,
    "weights_words": int,
    "fmap_words": int,
    "ip": str,
    "bitfile": str,
    "preprocessing": dict,
    "classes": list,
    "input": str,
    "output": str,
    "tensors": list,
    "output_offset": float,
    "output_scale": float,
}


@dataclass(frozen=True)
class Deployment:
    """A checked deployment folder.

    lanes: bytes of a word. identity: the 64-bit kernel identity that belongs
    to these files. board, clock_mhz: for which the engine was generated.
    weights_words, fmap_words: sizes of the weight image and of the feature-map
    arena, in words. tensors: by name, in the order of the manifest (see
    host.layout). artifact_digest: the artifact they came from.
    output_offset: constant to add to the output's values; output_scale: by which the sums are multiplied then.
    """

    folder: Path
    network: str
    artifact_digest: str
    identity: int
    board: str
    clock_mhz: int
    lanes: int
    layers: int
    weights: Path
    weights_sha256: str
    weights_words: int
    fmap_words: int
    ip: str
    bitfile: Path
    preprocessing: Preprocessing
    classes: tuple[str, ...]
    input: str
    output: str
    output_offset: float
    output_scale: float
    tensors: dict[str, dict]

    def format(self, name: str) -> BlockFormat:
        """Block format of a tensor."""
        t = self.tensors[name]
        return BlockFormat(t["bits"], t["signed"], tuple(t["splits"]), tuple(t["exponents"]))

    def shape(self, name: str) -> tuple[int, int, int]:
        """Channels, height, width of a tensor."""
        t = self.tensors[name]
        return t["channels"], t["height"], t["width"]

    def read_weights(self) -> np.ndarray:
        """The weight image, uint8 [weights_words, lanes]. BfpError if it is truncated or altered."""
        again = "generate the deployment folder again with `doit codegen`"
        try:
            data = np.fromfile(self.weights, np.uint8)
        except OSError as error:
            raise BfpError(f"weights {self.weights} cannot be read ({error.strerror}); {again}") from None
        expected = self.weights_words * self.lanes
        if data.size != expected:
            raise BfpError(f"weights {self.weights} hold {data.size} bytes, the manifest says {expected}; {again}")
        if hashlib.sha256(data).hexdigest() != self.weights_sha256:
            raise BfpError(f"weights {self.weights} are damaged: their SHA-256 is not the manifest's; {again}")
        return data.reshape(self.weights_words, self.lanes)


def read_deployment(folder: str | Path) -> Deployment:
    """Read and check ``manifest.json``. Raises BfpError, one sentence, for anything that does not fit."""
    path = Path(folder) / "manifest.json"
    again = "generate the deployment folder again with `doit codegen`"
    if not path.is_file():
        raise BfpError(f"{path} does not exist; give the deployment folder that `doit codegen` wrote")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        schema = manifest["schema"]
    except (OSError, ValueError, KeyError, TypeError):
        raise BfpError(f"{path} is damaged or no manifest; {again}") from None
    if schema != SCHEMA:
        advice = "update the project" if isinstance(schema, int) and schema > SCHEMA else again
        raise BfpError(f"{path} has schema {schema}, this version reads {SCHEMA}; {advice}")
    for name, kind in _FIELDS.items():
        if type(manifest.get(name)) is not kind:
            raise BfpError(f"{path}: {name!r} is missing or not of type {kind.__name__}; {again}")
    for name, least in (("clock_mhz", 1), ("lanes", 1), ("layers", 1), ("weights_words", 0), ("fmap_words", 1)):
        if manifest[name] < least:
            raise BfpError(f"{path}: {name!r} is {manifest[name]}, it must be at least {least}; {again}")
    if not re.fullmatch("[0-9a-f]{16}", manifest["identity"]):
        raise BfpError(f"{path}: identity {manifest['identity']!r} is not 16 hexadecimal digits; {again}")
    for name in ("weights", "bitfile"):
        if Path(manifest[name]).name != manifest[name]:
            raise BfpError(f"{path}: {name!r} is {manifest[name]!r}, not the name of a file beside it; {again}")
    try:
        deployment = _assemble(path.parent, manifest)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BfpError(f"{path} is not well formed ({error!r}); {again}") from None
    outputs = int(np.prod(deployment.shape(deployment.output)))
    if deployment.classes and len(deployment.classes) != outputs:
        raise BfpError(f"{path} names {len(deployment.classes)} classes for {outputs} outputs; {again}")
    return deployment


def _assemble(folder: Path, manifest: dict) -> Deployment:
    tensors = {t["name"]: t for t in manifest["tensors"]}
    for role in ("input", "output"):
        if manifest[role] not in tensors:
            raise BfpError(f"{folder}: the {role} tensor {manifest[role]!r} is not among the manifest's tensors")
    preprocessing = {k: tuple(v) if isinstance(v, list) else v for k, v in manifest["preprocessing"].items()}
    converted = {
        "identity": int(manifest["identity"], 16),
        "weights": folder / manifest["weights"],
        "bitfile": folder / manifest["bitfile"],
        "preprocessing": Preprocessing(**preprocessing),
        "classes": tuple(manifest["classes"]),
        "tensors": tensors,
    }
    deployment = Deployment(folder=folder, **{**{k: manifest[k] for k in _FIELDS}, **converted})
    for name, tensor in tensors.items():
        layout.check(tensor, deployment.fmap_words, deployment.lanes)
        if not (-1 if name == deployment.input else 0) <= tensor["layer_index"] < deployment.layers:
            raise BfpError(f"{folder}: tensor {name!r} comes from layer {tensor['layer_index']} of {deployment.layers}")
        if deployment.format(name).channels != tensor["channels"]:
            raise BfpError(f"{folder}: tensor {name!r} has exponents for another number of channels")
    return deployment
