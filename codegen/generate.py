"""Writes everything that is generated for a network: sources, weight image, deployment manifest.

    OUT/generated/{config,layer,loops,schedule,tables,tensors}.hpp
    OUT/deploy/{manifest.json, weights.bin}
"""

from __future__ import annotations

from pathlib import Path

from bfp.artifact import Artifact
from bfp.deployment import WEIGHTS, Deployment, write_deployment
from bfp.files import write_bytes, write_text
from bfp.layout import HOST, PlacedTensor, Segment
from codegen.lowering.program import build
from codegen.lowering.schedule import Program, StoredTensor
from codegen.options import EngineOptions
from codegen.performance.board import Board
from codegen.render import render

IP_NAME = "sbfp_engine_0"


def placed_tensor(program: Program, t: StoredTensor) -> PlacedTensor:
    """One stored tensor as the driver needs it."""
    return PlacedTensor(
        name=t.name,
        layer=program.layers[t.layer].name if t.layer != HOST else "(host)",
        layer_index=t.layer,
        shape=t.shape,
        format=t.format,
        segments=t.placement.segments(),
    )


def joined_tensor(artifact: Artifact, name: str, stored: dict[str, PlacedTensor]) -> PlacedTensor:
    """A concatenation as the driver can read it, which nothing stores as such: its branches, one after the other.

    It is complete when the last of them is.
    """
    parts: list[PlacedTensor] = []
    for branch in artifact.graph.producer(name).inputs:
        parts.append(stored[branch] if branch in stored else joined_tensor(artifact, branch, stored))
    segments, channels = [], 0
    for part in parts:
        segments += [Segment(channels + s.start, channels + s.stop, s.address) for s in part.segments]
        channels += part.shape[0]
    last = max(parts, key=lambda part: part.layer_index)
    return PlacedTensor(
        name, last.layer, last.layer_index, artifact.graph.shapes[name], artifact.formats[name], tuple(segments)
    )


def readable_tensors(program: Program) -> tuple[PlacedTensor, ...]:
    """What the driver can read of a program with one network: every stored tensor, and every output."""
    artifact = program.artifacts[0]
    # copies serve one layer only; the driver reads the tensors that they copy
    stored = {t.name: placed_tensor(program, t) for t in program.tensors if t.label == t.name}
    joined = {t: joined_tensor(artifact, t, stored) for t in artifact.graph.outputs if t not in stored}
    return *stored.values(), *joined.values()


def deployment(program: Program, identity: str, weights_words: int, board: Board) -> Deployment:
    """What the driver must know of a program with one network, generated for a board."""
    artifact = program.artifacts[0]
    return Deployment(
        network=artifact.graph.name,
        artifact_digest=artifact.digest,
        float_digest=artifact.float_digest,
        identity=identity,
        board=board.name,
        clock_mhz=board.clock_mhz,
        lanes=program.options.lanes,
        layers=len(program.layers),
        weights_words=weights_words,
        fmap_words=program.fmap_words,
        ip=IP_NAME,
        inputs=artifact.inputs,
        outputs=artifact.outputs,
        tensors=readable_tensors(program),
    )


def generate(artifacts: list[Artifact], options: EngineOptions, board: Board, out: Path) -> tuple[Program, str]:
    """Write generated sources, weight image and (for a single network) the manifest below ``out``.

    board: for whose memory and clock layers are cut; the manifest names both. Returns
    the program and the kernel's identity. Raises BfpError naming the layer that does
    not fit the engine.
    """
    program = build(artifacts, options, board)
    title = ", ".join(a.graph.name for a in artifacts) if len(artifacts) < 4 else f"{len(artifacts)} networks"
    sources, identity = render(program, title)
    image = program.weight_image()
    if len(artifacts) == 1:  # checks all that it writes, so that nothing is written of what is refused
        write_deployment(deployment(program, identity, len(image), board), image.tobytes(), out / "deploy")
    else:
        write_bytes(out / "deploy" / WEIGHTS, image.tobytes())
    for name, text in sources.items():
        write_text(out / "generated" / name, text)
    return program, identity
