"""Writes everything that is generated for one or several networks: sources, weight image, deployment manifest.

    OUT/generated/{config,layer,loops,schedule,tables,tensors}.hpp
    OUT/deploy/{manifest.json, weights.bin}
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from bfp.artifact import Artifact
from bfp.chip_tensor import ChipRows, ChipTensor
from bfp.deployed_network import DeployedNetwork
from bfp.deployment import WEIGHTS, Deployment, verify_names, write_deployment
from bfp.errors import BfpError
from bfp.files import write_bytes, write_text
from bfp.kernel import Kernel
from bfp.layout import HOST, PlacedTensor, Segment
from codegen.lowering.layer_fields import MapPlace
from codegen.lowering.program import build
from codegen.lowering.schedule import Program, StoredRows, StoredTensor
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
        segments=(Segment(0, shape[0], segments[0].address),) if t.part_bits or t.fold != (1, 1) else segments,
        part_bits=t.part_bits,
        fold=t.fold,
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


def stored_tensors(program: Program, network: int, place: MapPlace) -> list[StoredTensor]:
    """Of one of a program's networks, all that lie there; copies serve one layer only, and are tensors that lie elsewhere."""
    own = [t for t in program.tensors if t.network == network and t.label == t.name]
    return [t for t in own if t.placement.place is place]


def chip_tensor(program: Program, t: StoredTensor) -> ChipTensor:
    """One tensor that stays on chip, as a whole or by bands, as the driver needs it."""
    parts = []
    for rows in t.rows or (StoredRows(t.layer, 0, t.placement),):
        at = replace(rows.placement, address=rows.placement.start)
        name = program.layers[rows.layer].name
        parts.append(ChipRows(name, rows.layer, rows.first, at.height, at.segments()))
    artifact = program.artifacts[t.network]
    return ChipTensor(t.name, artifact.graph.shapes[t.name], artifact.formats[t.name], tuple(parts))


def readable_tensors(program: Program, network: int) -> tuple[PlacedTensor, ...]:
    """What the driver can read of one of a program's networks after any run: every tensor in memory, and every output."""
    artifact = program.artifacts[network]
    own = stored_tensors(program, network, MapPlace.MEMORY)
    stored = {t.name: placed_tensor(program, t) for t in own}
    joined = {t: joined_tensor(artifact, t, stored) for t in artifact.graph.outputs if t not in stored}
    return *stored.values(), *joined.values()


def deployed_network(program: Program, network: int) -> DeployedNetwork:
    """What the driver must know of one of a program's networks."""
    artifact = program.artifacts[network]
    begin, end = program.ranges[network]
    return DeployedNetwork(
        name=artifact.graph.name,
        artifact_digest=artifact.digest,
        float_digest=artifact.float_digest,
        begin=begin,
        end=end,
        shared=program.shared[network],
        inputs=artifact.inputs,
        outputs=artifact.outputs,
        tensors=readable_tensors(program, network),
        detection=artifact.detection,
        joins=artifact.joins,
        on_chip=tuple(chip_tensor(program, t) for t in stored_tensors(program, network, MapPlace.CHIP)),
    )


def deployment(program: Program, identity: str, weights_words: int, board: Board, name: str) -> Deployment:
    """What the driver must know of a program that was generated for a board. name: of the package."""
    return Deployment(
        name=name,
        identity=identity,
        kernel=kernel_of(program),
        board=board.name,
        clock_mhz=board.clock_mhz,
        lanes=program.options.lanes,
        weights_words=weights_words,
        fmap_words=program.fmap_words,
        batch=program.options.batch,
        ip=IP_NAME,
        networks=tuple(deployed_network(program, index) for index in range(len(program.artifacts))),
        chip_words=program.chip_words,
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
        return Generated(program, *render(program, program.title))


def generate(
    artifacts: list[Artifact], options: EngineOptions, board: Board, out: Path, keep: bool = False, name: str | None = None
) -> tuple[Program, str]:
    """Write generated sources, weight image and manifest below ``out``.

    board: for whose memory and clock layers are cut; the manifest names both. Where a bitstream lies in ``out/deploy``
    that was built for these networks, board and clock, or for more than they now need, it stays in the package.
    keep: that it must. name: of several networks together; without one they are only simulated, and have no manifest.
    Returns the program and the kernel's identity. Raises BfpError naming the layer that does not fit the engine, for
    networks whose names do not tell them apart or, with ``keep``, the existing bitstream.
    """
    deploy, names = out / "deploy", [artifact.graph.name for artifact in artifacts]
    deployed = name or (names[0] if len(names) == 1 else None)
    if deployed:
        try:
            verify_names(names, deployed)
        except BfpError as error:
            raise BfpError(f"networks cannot be put together in {out}: {error}") from None
    made = Generated.of(artifacts, options, board)
    if deployed:
        made = fitted(made, board, deploy, keep)
    image = made.program.weight_image()
    if deployed:  # checks all that it writes, so that nothing is written of what is refused
        manifest = deployment(made.program, made.identity, len(image), board, deployed)
        write_deployment(manifest, image.tobytes(), deploy)
    else:
        write_bytes(deploy / WEIGHTS, image.tobytes())
    for header, text in made.sources.items():
        write_text(out / "generated" / header, text)
    return made.program, made.identity


def fitted(made: Generated, board: Board, deploy: Path, keep: bool) -> Generated:
    """The same networks for the bitstream that lies in ``deploy``, where that was built for as much; otherwise as it is.

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
        same = Generated.of(made.program.artifacts, made.program.options, board, older.kernel)
        reason = older.kernel.difference(kernel_of(same.program))
    except BfpError as error:
        same, reason = made, str(error)
    if same.identity == older.identity:
        return same
    if keep:
        raise refusal(deploy, older, reason)
    return made
