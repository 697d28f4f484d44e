"""Lowers artifacts to the engine's program: layers, tables, and the weight image."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from itertools import product

import numpy as np

from bfp.artifact import Artifact
from bfp.errors import BfpError
from bfp.graph import Node
from bfp.kernel import Kernel
from bfp.parameters import Parameters
from codegen.lowering.arrangement import Arrangement, arrangements, least
from codegen.lowering.chip_check import verify_chip_maps
from codegen.lowering.chip_maps import homes
from codegen.lowering.chip_plan import ChipPlanner, Planned
from codegen.lowering.cost import Machine
from codegen.lowering.digits import digit_fields
from codegen.lowering.emission import Emitter
from codegen.lowering.fusion import MOST_QUEUED, MOST_WORDS, InputPool, Pool, fusible, input_pools
from codegen.lowering.input_parts import Lowered
from codegen.lowering.interpolation import expanded
from codegen.lowering.job import Job
from codegen.lowering.layer_fields import MapPlace
from codegen.options import EngineOptions
from codegen.lowering.pictures import first_shared, placed_apart, stacked
from codegen.lowering.placement import Placement, place, read_in_place
from codegen.lowering.schedule import Program, StoredRows, StoredTensor
from codegen.lowering.sequence import Costed, Traffic, Target, choose_tilings, early_pass, load_fields
from codegen.lowering.layer_shape import LayerShape
from codegen.lowering.tiling import Cutter, Tiling
from codegen.lowering.weights_ahead import queued
from codegen.performance.board import Board
from codegen.performance.estimate import cycles
from codegen.performance.resources import fits
from codegen.performance.timing import Timing
from codegen.reuse import lies_as


def build(
    artifacts: list[Artifact], options: EngineOptions, board: Board, with_weights: bool = True, timing: Timing = Timing(),
    built: Kernel | None = None,
) -> Program:  # fmt: skip
    """One program that runs the networks one after the other. Raises BfpError naming the layer.

    board, timing: of the machine whose modelled cycles decide which array is built, and how layers are cut; the program
    computes the same on any. with_weights, built: see :class:`Program`.
    """
    costed = Costed(Machine.of(board, timing, options.lanes))
    drafts: list[tuple[Arrangement, Program]] = []

    def lowered(arrangement: Arrangement, with_weights: bool, shortcuts: bool = True) -> Program:
        program = Program(options, arrangement.array, artifacts, arrangement.lowered, with_weights, built)
        for index, one in enumerate(arrangement.lowered):
            begin = len(program.layers)
            Lowering(program, costed, index, one, shortcuts).run()
            program.ranges.append((begin, len(program.layers)))
        return queued(batched(program), board, timing)

    def rank_of(program: Program) -> tuple[bool, int]:
        return not fits(program, board), cycles(program, board, timing)

    def rank(arrangement: Arrangement) -> tuple[bool, int]:
        program = lowered(arrangement, with_weights=False)
        drafts.append((arrangement, program))
        return rank_of(program)

    possible = arrangements(artifacts, options, board.multiplier_bits, board.narrow_multiplier_bits)
    # a bitstream says which of its layers come with alignment shifts, and nothing of a program that has others: one that
    # it was not built for may be refused for no reason, and is no candidate
    if built is not None:
        for arrangement, shortcuts in product(possible, (True, False)):
            with suppress(BfpError):
                if lies_as(program := lowered(arrangement, with_weights, shortcuts), built):
                    return program
    chosen = least(possible, rank)
    draft = next((program for arrangement, program in drafts if arrangement is chosen), None)
    program = draft if draft and not with_weights else lowered(chosen, with_weights)
    if any(layer.joins_chip for layer in program.layers):  # these cost block RAM, and were chosen by a shorter model
        without = lowered(chosen, with_weights=False, shortcuts=False)
        if rank_of(without) <= rank_of(program):
            return lowered(chosen, with_weights, shortcuts=False) if with_weights else without
    return program


def batched(program: Program) -> Program:
    """The program with its layers' pictures placed. Raises BfpError where several are asked for and no layer can take them."""
    program.layers = [placed_apart(layer, program.fmap_words) for layer in program.layers]
    if program.options.batch > 1 and not any(layer.fields.pictures.several for layer in program.layers):
        raise BfpError(
            f"engine option batch is {program.options.batch}, and no layer of {program.title} can take several pictures: "
            "only a network's last layers can, those that make one pixel of their whole map; leave the option out"
        )
    verify_chip_maps(program)
    return program


class Lowering:
    """Lowers one network into a program: places tensors, chooses tilings, then emits layer after layer."""

    def __init__(self, program: Program, costed: Costed, index: int, lowered: Lowered, shortcuts: bool) -> None:
        """shortcuts: whether these may stay on chip."""
        artifact = lowered.artifact
        self.program = program
        self.costed = costed
        self.index = index
        self.stored = artifact.graph.shapes  # what is compared, of all that is stored
        self.artifact = artifact = expanded(artifact)
        self.lowered = lowered
        self.shortcuts = shortcuts
        self.graph = artifact.graph
        self.planned: list[Planned] = []
        self.emitter = Emitter(program, index, artifact)
        # by what indexes it, the table that a layer reads behind what it computes
        self.lookups = {node.main: node for node in self.graph.nodes if node.operator.has_function}
        self.places, _ = place(self.graph, artifact.formats, program.options.lanes, program.fmap_words)
        self.slices = slices = read_in_place(self.graph, artifact.formats, program.options.lanes)
        self.pools = self.find_pools(slices)
        fused = {pool.node.name for pool in self.pools.values()}
        self.input_pools = input_pools(self.graph, artifact.formats, fused, self.pools_on_load)
        # of each pool, the tensor with which its result is complete
        self.last_parts = {
            self.pools[node.output].node.name: node.output for node in self.graph.nodes if node.output in self.pools
        }
        # what is not stored
        self.absent = set(self.lookups)
        self.absent |= {pool.node.main for pool in self.pools.values() if not pool.keeps_map} | set(self.input_pools)
        # what is no layer of its own
        self.fused = fused | {pool.node.name for pool in self.input_pools.values()}
        self.fused |= {node.name for node in self.graph.nodes if node.output in slices}
        self.places, program.fmap_words = place(
            self.graph, artifact.formats, program.options.lanes, program.fmap_words, absent=self.absent
        )

    def run(self) -> None:
        for tensor in self.graph.inputs:
            self.store(tensor, tensor, -1, self.places[tensor])
        for node in self.graph.computed():
            if node.name not in self.fused and not node.operator.has_function:
                self.plan(node)
        self.share_weights()
        self.keep_on_chip()
        before: tuple[Traffic, Tiling] | None = None
        bands: dict[str, list[StoredRows]] = {}
        tilings, _ = choose_tilings([(plan.traffic, plan.cutter) for plan in self.planned], self.costed)
        for plan, tiling in zip(self.planned, tilings):
            early = early_pass(*before, plan.traffic, tiling) if before else None
            loads = load_fields(
                tiling,
                early,
                before[1] if before else None,
                bool(before and before[0].dense),
                plan.job,
            )
            self.emitter.emit(plan.job, tiling, loads)
            layer, job = len(self.program.layers) - 1, plan.job
            if job.band and job.target.home:
                bands.setdefault(job.output, []).append(StoredRows(layer, job.band.first, job.target))
            for tensor, label, placement in job.stored:
                self.store(tensor, label, layer, placement, tuple(bands.get(tensor, ())))
            before = plan.traffic, tiling

    def share_weights(self) -> None:
        """Let the last layers take several pictures at once, where the engine is to and they can."""
        count, jobs = self.program.options.batch, [plan.job for plan in self.planned]
        first = first_shared(jobs, lambda job: self.fits(stacked(job, count))) if count > 1 else len(jobs)
        self.program.shared.append(len(self.program.layers) + first)
        del self.planned[first:]
        for job in jobs[first:]:
            self.add(stacked(job, count))

    def fits(self, job: Job) -> bool:
        """Whether a tile of one picture fits a layer that takes several, or of all, where they are pooled as they load."""
        return self.cutter(job).fits(job.pictures if job.input_pool else 1, 1)

    def store(
        self, tensor: str, label: str, layer: int, placement: Placement, rows: tuple[StoredRows, ...] = ()
    ) -> None:
        if tensor not in self.stored:
            return
        shape, fmt = self.graph.shapes[tensor], self.artifact.formats[tensor]
        part_bits, fold = self.lowered.part_bits.get(tensor), self.lowered.fold(tensor)
        self.program.tensors.append(
            StoredTensor(tensor, label, self.index, layer, shape, fmt, placement, part_bits, fold, rows)
        )

    def keep_on_chip(self) -> None:
        """Choose which tensors stay on chip between layers, and plan their layers for that."""
        words, program = self.program.options.chip_words, self.program
        if not words:
            return
        parts = {t for node in self.graph.nodes if not node.operator.computes for t in node.inputs} | set(self.slices)
        stored, jobs = homes(self.graph, self.places, parts), [plan.job for plan in self.planned]
        best = ChipPlanner(self.graph, stored, words, self.costed, self.planned_job).best(jobs, self.shortcuts)
        program.chip_words = max([program.chip_words, *(life.start + life.words for life in best.lives)])
        program.shared[-1] += len(best.planned) - len(self.planned)  # layers that are bands are none of those that take several
        self.planned = best.planned

    def find_pools(self, in_place: Collection[str]) -> dict[str, Pool]:
        """Max pools that run in the layers that make their input, by what these make."""
        found: dict[str, Pool] = {}
        for node in self.graph.nodes:
            parts = fusible(self.graph, self.artifact.formats, node, in_place)
            if not found.keys() & parts.keys() and all(self.pools_on_store(t, pool) for t, pool in parts.items()):
                found |= parts
        return found

    def pools_on_store(self, tensor: str, pool: Pool) -> bool:
        """Whether running maxima fit, and tiles of whole rows, in the layer that makes ``tensor``."""
        node = self.maker(tensor)
        fits = self.places[tensor].planes * pool.stored[1] <= MOST_WORDS
        fits &= not pool.keeps_map or pool.stored[1] <= MOST_QUEUED
        return fits and self.cutter(self.unpooled(node, node.main)).whole_rows()

    def maker(self, tensor: str) -> Node:
        """The node of the layer that makes a tensor: of one that a table makes, that of its index."""
        node = self.graph.producer(tensor)
        return self.graph.producer(node.main) if node.operator.has_function else node

    def output(self, node: Node) -> str:
        """The tensor that a node's layer makes: its output, or what a table makes of that."""
        return self.lookups[node.output].output if node.output in self.lookups else node.output

    def pools_on_load(self, node: Node, pool: InputPool) -> bool:
        """Whether tiles of whole rows fit a convolution whose input is pooled as it loads."""
        return self.cutter(self.unpooled(node, pool.node.main)).whole_rows()

    def pooled_part(self, tensor: str, pool: Pool) -> Placement:
        """Where the layer that makes ``tensor`` stores what its max pool makes of it: a part of the pool's result."""
        like, whole = self.places[pool.node.output], self.graph.segments()[tensor]
        first = int(like.slots()[pool.first_channel]) // like.lanes
        return replace(like, splits=whole, address=like.address + first * like.plane)

    def plan(self, node: Node) -> None:
        """Add the job of one node, and of the copy it needs where layouts differ."""
        p = self.artifact.parameters[node.name]
        made = self.output(node)
        pool, input_pool = self.pools.get(made), self.input_pools.get(node.main)
        source = self.places[input_pool.node.main if input_pool else node.main]
        pooled = self.pooled_part(made, pool) if pool else None
        target = pooled if pooled and not pool.keeps_map else self.places[made]
        if (phases := self.graph.phases(node, target.splits)) and not source.lies_as(phases):
            source = self.copy(node, node.main, replace(source, splits=phases))
        shortcut = self.places[node.shortcut] if node.shortcut else None
        if shortcut and shortcut.splits != target.splits and not self.graph.broadcast(node).channels:
            _, height, width = self.graph.shapes[node.shortcut]
            shortcut = self.copy(node, node.shortcut, replace(target, height=height, width=width))
        stored = [] if pool and not pool.keeps_map else [(made, made, target)]
        if pool and self.last_parts[pool.node.name] == made:
            stored.append((pool.node.output, pool.node.output, self.places[pool.node.output]))
        self.add(
            Job(
                name=self.layer_name(node),
                node=node,
                parameters=p,
                source=source,
                target=target,
                pooled=pooled,
                shortcut=shortcut,
                stored=stored,
                pool=pool,
                input_pool=input_pool,
                lookup=self.lookups.get(node.output),
            )
        )

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
        self.add(Job(self.layer_name(copy), copy, p, self.places[tensor], placement, None, None, stored))
        return placement

    def add(self, job: Job) -> None:
        """Plan a layer."""
        self.planned.append(self.planned_job(job))

    def planned_job(self, job: Job) -> Planned:
        """A layer with what the order of loads depends on, and how it may be cut."""
        node, source, target, pooled = job.node, job.source, job.target, job.pooled
        cutter = self.cutter(job)
        if not cutter.layer.dense and not source.lies_as(self.graph.phases(node, target.splits) or target.splits):
            raise BfpError(f"layer {job.name}: its input and output have different channel layouts")  # pragma: no cover
        keeps_map = not job.pool or job.pool.keeps_map
        targets = [Target(target.address, target.plane, target.planes, first_row=job.target_first)] if keeps_map else []
        if pooled:
            targets.append(Target(pooled.address, pooled.plane, pooled.planes, job.pool))
        traffic = Traffic(
            source_address=source.address,
            source_plane=source.plane,
            targets=tuple(targets),
            dense=cutter.layer.dense,
            in_height=source.height * job.pictures,
            pad_top=job.pad_top,
            out_height=cutter.layer.out_height,
            input_pool=job.input_pool,
            grows=job.planes_again > 0,
            repeats_edges=node.operator.repeats_edges,
            source_planes=source.planes,
        )
        return Planned(job, traffic, cutter)

    def layer_name(self, node: Node) -> str:
        return node.name if len(self.program.artifacts) == 1 else f"{self.graph.name}/{node.name}"

    def unpooled(self, node: Node, source: str) -> Job:
        """A layer that reads ``source``, as far as its place tells, before it is known which pools run in it."""
        p = self.artifact.parameters[node.name]
        return Job(self.layer_name(node), node, p, self.places[source], self.places[self.output(node)], None, None, [])

    def cutter(self, job: Job) -> Cutter:
        _, out_height, out_width = self.graph.shapes[job.node.output]
        out_height = job.band.rows if job.band else out_height
        keeps_map = not job.pool or job.pool.keeps_map
        layer = LayerShape(
            name=job.name,
            op=job.op,
            channels=self.graph.shapes[job.node.main][0],
            in_words=job.in_words,
            out_words=job.target.planes,
            out_height=out_height * job.pictures,
            out_width=out_width,
            window=job.node.window,
            in_bits=job.source.bits,
            out_bits=job.target.bits,
            weight_bits=job.parameters.weights.bits if job.parameters.weights else 2,  # a copy has one-hot ones
            shortcut_bits=job.shortcut.bits if job.shortcut else 0,
            digits=digit_fields(self.artifact, job.node, self.program.array),
            pool=job.pool,
            input_pool=job.input_pool,
            factors=job.node.factors,
            planes_again=job.planes_again,
            pictures=job.pictures,
            reads_chip=job.source.place is MapPlace.CHIP,
            joins_chip=job.shortcut is not None and job.shortcut.place is MapPlace.CHIP,
            stores_chip=(job.target if keeps_map else job.pooled).place is MapPlace.CHIP,
        )
        return Cutter(layer, self.program.options, self.program.array)
