"""Writes everything that is generated for a network: sources, weight image, deployment manifest.

    OUT/generated/{config,layer,loops,schedule,tables,tensors}.hpp
    OUT/deploy/{manifest.json, weights.bin}
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path

from bfp.artifact import Artifact
from codegen.files import write_bytes, write_json, write_text
from codegen.options import EngineOptions
from codegen.lowering.program import build
from codegen.lowering.schedule import Program, StoredTensor
from codegen.performance.board import Board
from codegen.render import render

MANIFEST_SCHEMA = 4
IP_NAME = "sbfp_engine_0"


def tensor_entry(program: Program, t: StoredTensor) -> dict:
    """One stored tensor as the driver needs it (see host/layout.py)."""
    channels, height, width = t.shape
    return {
        "name": t.name,
        "layer": program.layers[t.layer].name if t.layer >= 0 else "(host)",
        "layer_index": t.layer,
        "channels": channels,
        "height": height,
        "width": width,
        "bits": t.format.bits,
        "signed": t.format.signed,
        "splits": list(t.format.splits),
        "exponents": list(t.format.exponents),
        "segments": t.placement.segments(),
    }


def manifest(program: Program, board: Board, identity: str, weights: bytes) -> dict:
    """What the driver must know of a program with one network, generated for a board."""
    artifact = program.artifacts[0]
    return {
        "schema": MANIFEST_SCHEMA,
        "network": artifact.graph.name,
        "artifact_digest": artifact.digest,
        "identity": identity,
        "board": board.name,
        "clock_mhz": board.clock_mhz,
        "lanes": program.options.lanes,
        "layers": len(program.layers),
        "weights": "weights.bin",
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "weights_words": len(weights) // program.options.lanes,
        "fmap_words": program.fmap_words,
        "ip": IP_NAME,
        "bitfile": f"{artifact.graph.name}.bit",
        "preprocessing": asdict(artifact.preprocessing),
        "classes": list(artifact.classes),
        "input": artifact.graph.input,
        "output": artifact.graph.output,
        "output_offset": float(artifact.result.offset),
        "output_scale": float(artifact.result.scale),
        # copies serve one layer only; the driver reads the tensors that they copy
        "tensors": [tensor_entry(program, t) for t in program.tensors if t.label == t.name],
    }


def generate(artifacts: list[Artifact], options: EngineOptions, board: Board, out: Path) -> tuple[Program, str]:
    """Write generated sources, weight image and (for a single network) the manifest below ``out``.

    board: for whose memory and clock layers are cut; the manifest names both. Returns
    the program and the kernel's identity. Raises BfpError naming the layer that does
    not fit the engine.
    """
    program = build(artifacts, options, board)
    title = ", ".join(a.graph.name for a in artifacts) if len(artifacts) < 4 else f"{len(artifacts)} networks"
    sources, identity = render(program, title)
    for name, text in sources.items():
        write_text(out / "generated" / name, text)
    weights = program.weight_image().tobytes()
    write_bytes(out / "deploy" / "weights.bin", weights)
    if len(artifacts) == 1:
        write_json(out / "deploy" / "manifest.json", manifest(program, board, identity, weights))
    return program, identity
