"""Writes everything that is generated for a network: sources, weight image, deployment manifest.

    OUT/generated/{config,layer,loops,schedule,tables,tensors}.hpp
    OUT/deploy/{manifest.json, weights.bin}
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bfp.artifact import Artifact
from bfp.deployment import WEIGHTS, Deployment, write_deployment
from bfp.errors import BfpError
from bfp.files import write_bytes, write_text
from bfp.kernel import Kernel
from bfp.layout import HOST, PlacedTensor, Segment
from codegen.lowering.program import build
from codegen.lowering.schedule import Program, StoredTensor
from codegen.options import EngineOptions
from codegen.performance.board import Board
from codegen.render import render
from codegen.reuse import bitstream_in, kernel_of, refusal

IP_NAME = "sbfp_engine_0"


def placed_tensor(program: Program, t: StoredTensor) -> PlacedTensor:
    """One stored tensor as the driver needs it: what lies in parts, as what it is without."""
    artifact, segments = program.artifacts[t.network], t.placement.segments()
    shape = artifact.graph.shapes[t.name]
    return PlacedTensor(
        name=t.name,
        layer=program.layers[t.layer].name if t.layer != HOST else "(host)",
        layer_index=t.layer,
        shape=shape,
        format=artifact.formats[t.name],
        segments=(Segment(0, shape[0], segments[0].address),) if t.part_bits else segments,
        part_bits=t.part_bits,
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
        kernel=kernel_of(program),
        board=board.name,
        clock_mhz=board.clock_mhz,
        lanes=program.options.lanes,
        weights_words=weights_words,
        fmap_words=program.fmap_words,
        ip=IP_NAME,
        inputs=artifact.inputs,
        outputs=artifact.outputs,
        tensors=readable_tensors(program),
        detection=artifact.detection,
    )


@dataclass(frozen=True)
class Generated:
    """A program, its headers by file name, and its kernel's identity."""

    program: Program
    sources: dict[str, str]
    identity: str

    @staticmethod
    def of(artifacts: list[Artifact], options: EngineOptions, board: Board, built: Kernel | None = None) -> Generated:
        """Of these networks. built: see codegen.lowering.schedule.Program. Raises BfpError naming the layer."""
        program = build(artifacts, options, board, built=built)
        title = ", ".join(a.graph.name for a in artifacts) if len(artifacts) < 4 else f"{len(artifacts)} networks"
        return Generated(program, *render(program, title))


def generate(
    artifacts: list[Artifact], options: EngineOptions, board: Board, out: Path, keep: bool = False
) -> tuple[Program, str]:
    """Write generated sources, weight image and (for a single network) the manifest below ``out``.

    board: for whose memory and clock layers are cut; the manifest names both. Where a bitstream lies in ``out/deploy``
    that was built for this network, board and clock, or for more than the network now needs, it stays in the package.
    keep: that it must. Returns the program and the kernel's identity. Raises BfpError naming the layer that does not
    fit the engine, or, with ``keep``, the existing bitstream.
    """
    deploy = out / "deploy"
    made = Generated.of(artifacts, options, board)
    if len(artifacts) == 1:
        made = fitted(made, artifacts[0], board, deploy, keep)
    image = made.program.weight_image()
    if len(artifacts) == 1:  # checks all that it writes, so that nothing is written of what is refused
        manifest = deployment(made.program, made.identity, len(image), board)
        write_deployment(manifest, image.tobytes(), deploy)
    else:
        write_bytes(deploy / WEIGHTS, image.tobytes())
    for name, text in made.sources.items():
        write_text(out / "generated" / name, text)
    return made.program, made.identity


def fitted(made: Generated, artifact: Artifact, board: Board, deploy: Path, keep: bool) -> Generated:
    """The same network for the bitstream that lies in ``deploy``, where that was built for as much; otherwise as it is.

    keep: refuse the latter, with a BfpError that names the first layer that differs.
    """
    older = bitstream_in(deploy, board)
    if older is None:
        if keep:
            wanted = f"{board.name} at {board.clock_mhz:.6g} MHz"
            raise BfpError(f"{deploy} has no bitstream for {wanted} to keep; build one first")
        return made
    if made.identity == older.identity:
        return made
    try:
        same = Generated.of([artifact], made.program.options, board, older.kernel)
        reason = older.kernel.difference(kernel_of(same.program))
    except BfpError as error:
        same, reason = made, str(error)
    if same.identity == older.identity:
        return same
    if keep:
        raise refusal(deploy, older, reason)
    return made
