"""Lowers artifacts to the engine's program: layers, tables, and the weight image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bfp.artifact import Artifact
from bfp.errors import BfpError
from bfp.format import mantissa_range
from bfp.graph import Node
from bfp.parameters import Parameters
from codegen.lowering.array import build_array
from codegen.lowering.emission import Emitter
from codegen.lowering.fusion import MOST_QUEUED, MOST_WORDS, InputPool, Pool, fusible, input_pools
from codegen.lowering.job import ENGINE_OPERATOR, Job
from codegen.lowering.layer_fields import EngineOperator
from codegen.options import EngineOptions
from codegen.lowering.placement import Placement, place
from codegen.lowering.schedule import Program, StoredTensor
from codegen.lowering.sequence import Stage, Target, choose_tilings, early_pass, load_fields
from codegen.lowering.tiling import Cutter, Tiling


def build(artifacts: list[Artifact], options: EngineOptions, with_weights: bool = True) -> Program:
    """One program that runs the networks one after the other. Raises BfpError naming the layer.

    with_weights: see :class:`Program`.
    """
    program = Program(options, build_array(options, *widest_operands(artifacts)), artifacts, with_weights)
    for index, artifact in enumerate(artifacts):
        Lowering(program, index, artifact).run()
    return program


def widest_operands(artifacts: list[Artifact]) -> tuple[int, int]:
    """Largest magnitudes that meet in the array: of weights, and of activations (1 where there is none)."""
    weight, activation = 1, 1
    for artifact in artifacts:
        for node in artifact.graph.nodes:
            if node.op == "conv":
                weight = max(weight, mantissa_range(artifact.parameters[node.name].weights.bits, True)[1])
            if ENGINE_OPERATOR.get(node.op) is EngineOperator.CONV:
                activation = max(activation, artifact.formats[node.main].high)
            if node.shortcut:  # it may have to be copied through the array
                activation = max(activation, artifact.formats[node.shortcut].high)
    return weight, activation


class Lowering:
    """Lowers one network into a program: places tensors, chooses tilings, then emits layer after layer."""

    def __init__(self, program: Program, index: int, artifact: Artifact) -> None:
        self.program = program
        self.index = index
        self.artifact = artifact
        self.graph = artifact.graph
        self.jobs: list[Job] = []
        self.emitter = Emitter(program, index, artifact)
        self.places, _ = place(self.graph, artifact.formats, program.options.lanes, program.fmap_words)
        self.pools = self.find_pools()
        fused = {pool.node.name for pool in self.pools.values()}
        self.input_pools = input_pools(self.graph, artifact.formats, fused, self.pools_on_load)
        # of each pool, the tensor with which its result is complete
        self.last_parts = {
            self.pools[node.output].node.name: node.output for node in self.graph.nodes if node.output in self.pools
        }
        # what is not stored
        self.absent = {pool.node.main for pool in self.pools.values() if not pool.keeps_map} | set(self.input_pools)
        self.fused = fused | {pool.node.name for pool in self.input_pools.values()}
        self.places, program.fmap_words = place(
            self.graph, artifact.formats, program.options.lanes, program.fmap_words, absent=self.absent
        )

    def run(self) -> None:
        self.store(self.graph.input, self.graph.input, -1, self.places[self.graph.input])
        for node in self.graph.nodes:
            if node.op != "concat" and node.name not in self.fused:
                self.plan(node)
        before: tuple[Job, Tiling] | None = None
        for job, tiling in zip(self.jobs, choose_tilings([(job.stage, job.cutter) for job in self.jobs])):
            early = early_pass(before[0].stage, before[1], job.stage, tiling) if before else None
            loads = load_fields(
                tiling,
                early,
                before[1] if before else None,
                bool(before and before[0].stage.dense),
                job.input_pool is not None,
            )
            self.emitter.emit(job, tiling, loads)
            for tensor, label, placement in job.stored:
                self.store(tensor, label, len(self.program.layers) - 1, placement)
            before = job, tiling

    def store(self, tensor: str, label: str, layer: int, placement: Placement) -> None:
        shape, fmt = self.graph.shapes[tensor], self.artifact.formats[tensor]
        self.program.tensors.append(StoredTensor(tensor, label, self.index, layer, shape, fmt, placement))

    def find_pools(self) -> dict[str, Pool]:
        """Max pools that run in the layers that make their input, by what these make."""
        found: dict[str, Pool] = {}
        for node in self.graph.nodes:
            parts = fusible(self.graph, self.artifact.formats, node)
            if not found.keys() & parts.keys() and all(self.pools_on_store(t, pool) for t, pool in parts.items()):
                found |= parts
        return found

    def pools_on_store(self, tensor: str, pool: Pool) -> bool:
        """Whether running maxima fit, and tiles of whole rows, in the layer that makes ``tensor``."""
        node = self.graph.producer(tensor)
        fits = self.places[tensor].planes * pool.stored[1] <= MOST_WORDS
        fits &= not pool.keeps_map or pool.stored[1] <= MOST_QUEUED
        return fits and self.cutter(node, self.places[node.main], self.places[tensor]).whole_rows()

    def pools_on_load(self, node: Node, pool: InputPool) -> bool:
        """Whether tiles of whole rows fit a convolution whose input is pooled as it loads."""
        return self.cutter(node, self.places[pool.node.main], self.places[node.output]).whole_rows()

    def pooled_part(self, tensor: str, pool: Pool) -> Placement:
        """Where the layer that makes ``tensor`` stores what its max pool makes of it: a part of the pool's result."""
        like, whole = self.places[pool.node.output], self.graph.segments()[tensor]
        first = int(like.slots()[pool.first_channel]) // like.lanes
        return replace(like, splits=whole, address=like.address + first * like.plane)

    def plan(self, node: Node) -> None:
        """Add the job of one node, and of the copy it needs where layouts differ."""
        p = self.artifact.parameters[node.name]
        pool, input_pool = self.pools.get(node.output), self.input_pools.get(node.main)
        source = self.places[input_pool.node.main if input_pool else node.main]
        pooled = self.pooled_part(node.output, pool) if pool else None
        target = pooled if pooled and not pool.keeps_map else self.places[node.output]
        shortcut = self.places[node.shortcut] if node.shortcut else None
        if shortcut and shortcut.splits != target.splits:
            _, height, width = self.graph.shapes[node.shortcut]
            shortcut = self.copy(node, node.shortcut, replace(target, height=height, width=width))
        stored = [] if pool and not pool.keeps_map else [(node.output, node.output, target)]
        if pool and self.last_parts[pool.node.name] == node.output:
            stored.append((pool.node.output, pool.node.output, self.places[pool.node.output]))
        self.add(node, p, source, target, pooled, shortcut, stored, pool, input_pool)

    def copy(self, node: Node, tensor: str, like: Placement) -> Placement:
        """Copy ``tensor`` into the channel layout of another placement, through the multipliers."""
        program, fmt = self.program, self.artifact.formats[tensor]
        placement = Placement(like.splits, program.fmap_words, like.height, like.width, fmt.bits, like.lanes)
        program.fmap_words += placement.words
        zeros = np.zeros(fmt.channels, np.int64)
        p = Parameters(
            fmt.channel_exponents(), zeros, zeros, None, zeros, None, fmt.splits, np.zeros((fmt.channels, 0)), None
        )
        copy = Node(f"{node.name}.copy", "slice_pad", (tensor,), tensor)
        stored = [(tensor, f"{tensor} copied for {node.name}", placement)]
        self.add(copy, p, self.places[tensor], placement, None, None, stored)
        return placement

    def add(
        self,
        node: Node,
        p: Parameters,
        source: Placement,
        target: Placement,
        pooled: Placement | None,
        shortcut: Placement | None,
        stored: list[tuple[str, str, Placement]],
        pool: Pool | None = None,
        input_pool: InputPool | None = None,
    ) -> None:
        name, op = self.layer_name(node), ENGINE_OPERATOR[node.op]
        if op is not EngineOperator.CONV and source.splits != target.splits:
            raise BfpError(f"layer {name}: its input and output have different channel layouts")  # pragma: no cover
        loads = input_pool.node if input_pool else node
        targets = [Target(target.address, target.plane, target.planes)] if not pool or pool.keeps_map else []
        if pooled:
            targets.append(Target(pooled.address, pooled.plane, pooled.planes, pool))
        stage = Stage(
            source.address,
            source.plane,
            tuple(targets),
            op is EngineOperator.CONV,
            source.height,
            loads.window.padding[0],
            self.graph.shapes[node.output][1],
            input_pool,
        )
        cutter = self.cutter(node, source, target, shortcut, pool, input_pool)
        self.jobs.append(
            Job(name, node, p, source, target, pooled, shortcut, stored, stage, cutter, pool, input_pool)
        )

    def layer_name(self, node: Node) -> str:
        return node.name if len(self.program.artifacts) == 1 else f"{self.graph.name}/{node.name}"

    def cutter(
        self,
        node: Node,
        source: Placement,
        target: Placement,
        shortcut: Placement | None = None,
        pool: Pool | None = None,
        input_pool: InputPool | None = None,
    ) -> Cutter:
        parameters = self.artifact.parameters.get(node.name)  # a copy has none
        weights = parameters.weights if parameters else None
        return Cutter(
            self.layer_name(node),
            ENGINE_OPERATOR[node.op],
            self.graph.shapes[node.main][0],
            source.planes,
            (target.planes, *self.graph.shapes[node.output][1:]),
            node.window,
            self.program.options,
            self.program.array,
            target.bits,
            source.bits,
            weights.bits if weights else 2,
            shortcut.bits if shortcut else 0,
            pool,
            input_pool,
        )
