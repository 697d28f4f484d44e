"""Compares the recorded calls of every stage with what the golden model says (codegen/simulation/stage_golden.py)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bfp.artifact import Artifact
from bfp.golden import run
from codegen.lowering.compute_jobs import shortcut_part
from codegen.lowering.layer_fields import LayerFields, MapPlace
from codegen.lowering.schedule import EngineLayer, Program
from codegen.simulation.stage_golden import (
    GoldenLayer,
    check_sums,
    check_weights,
    expect,
    fetched_tile,
    output_rows,
    packed_rows,
    rows_of,
    to_lanes,
    tile_buffer,
    tile_words,
    unpacked_tile,
)
from codegen.lowering.walk import Load, Pass, Step, Tile, Walk, Work
from codegen.simulation.stage_recording import Call, Parameter, items

# what a stage works on, by the job that it takes
JOBS: dict[str, Callable[[Step], Load | Work | None]] = {
    "LoadRow": lambda step: step.load,
    "WeightsRow": lambda step: None if step.enters and step.layer > 0 else step.weights,
    "ComputeRow": lambda step: step.work,
}


class Checker:
    """Compares the recorded calls of a program's one network, run on one image, with the golden model."""

    def __init__(self, program: Program, mantissas: np.ndarray, parameters: dict[str, list[Parameter]]) -> None:
        self.program, self.parameters = program, parameters
        lowered = program.lowered[0]
        self.artifact: Artifact = lowered.artifact
        self.values = run(self.artifact, lowered.as_stored(mantissas, program.artifacts[0].formats))
        self.layers: dict[int, GoldenLayer] = {}
        self.image = program.weight_image()
        # a run of all layers enters a later layer only where that waits
        walk = Walk(program)
        numbers = [n for n, s in enumerate(walk.steps) if not s.enters or s.layer == 0 or s.waits]
        self.steps = [walk.steps[n] for n in numbers]
        self.queue = [program.queue[n] for n in numbers] if program.queue else []

    def knows(self, entry: EngineLayer) -> bool:
        """Whether a layer is a node of the network; copies between layouts are not."""
        return entry.name in self.artifact.parameters

    def layer(self, index: int) -> GoldenLayer:
        if index not in self.layers:
            self.layers[index] = GoldenLayer(self.program, index, self.values)
        return self.layers[index]

    def fields_of(self, work: Work) -> LayerFields:
        """Of the layer that a pass belongs to."""
        return self.program.layers[work.layer].fields

    def subject(self, call: Call) -> Load | Work | None:
        """The lines or the pass that a call is about; None where there is nothing to do."""
        kinds = [p.type for p in self.parameters[call.stage] if p.type in JOBS]
        found = [JOBS[kind](self.steps[call.step]) for kind in kinds]
        return next((subject for subject in found if subject is not None), None)

    def get(self, call: Call, name: str, after: bool) -> np.ndarray:
        kind = next(p.type for p in self.parameters[call.stage] if p.name == name)
        return items((call.after if after else call.before)[name], kind, self.program.array)

    def check(self, call: Call) -> None:
        """Raise BfpError where a call's results are not the golden model's. Every stage must be known here."""
        subject = self.subject(call)
        getattr(self, f"_{call.stage}")(call, self.layer(subject.layer), subject)

    def _fetch_tile(self, call: Call, layer: GoldenLayer, load: Load) -> None:
        want = fetched_tile(layer, load.tile, load.part)
        if layer.fields.input_map.in_place is MapPlace.CHIP:
            want = want[:0]
        expect(call, "fetched", self.get(call, "fetched", True), want)

    def _unpack_tile(self, call: Call, layer: GoldenLayer, load: Load) -> None:
        tile, part = load.tile, load.part
        name = "on_chip" if layer.fields.input_map.in_place is MapPlace.CHIP else "fetched"
        expect(call, name, self.get(call, name, False), fetched_tile(layer, tile, part))
        words = unpacked_tile(layer, tile, part).reshape(-1, self.program.array.lanes)
        expect(call, "unpacked", self.get(call, "unpacked", True), words)

    def _input_pool(self, call: Call, layer: GoldenLayer, load: Load) -> None:
        tile, part, lanes = load.tile, load.part, self.program.array.lanes
        expect(call, "unpacked", self.get(call, "unpacked", False), unpacked_tile(layer, tile, part).reshape(-1, lanes))
        expect(call, "columns", self.get(call, "columns", True), tile_words(layer, tile, part).reshape(-1, lanes))

    def _load_tile(self, call: Call, layer: GoldenLayer, load: Load) -> None:
        tile, part = load.tile, load.part
        after, before = self.get(call, "input", True), self.get(call, "input", False)
        if layer.fields.buffer.taps > 1:  # what lies beyond the taps is never multiplied by anything but zero
            before = after
        expect(call, "input", after, tile_buffer(layer, tile, part, before))

    def _weights(self, layer: GoldenLayer, work: Work) -> np.ndarray:
        """The words of the weight image that a pass takes, int8 [n, lanes]; none where its layer has no weights."""
        out, weights = work.out, layer.fields.weights
        start = weights.weight_address + out.out_word * weights.word_beats + out.chunk * weights.chunk_beats
        count = out.outputs * weights.word_beats
        if layer.fields.passes.chunks > 1:
            count = min(weights.chunk_beats, weights.word_beats - out.chunk * weights.chunk_beats)
        return self.image[start : start + (count if layer.fields.op.weighted else 0)]

    def _pushed(self, call: Call) -> np.ndarray:
        """What goes into the queue of weights in a step, int8 [n, lanes]."""
        bursts = [self.image[b.start : b.start + b.beats] for b in self.queue[call.step].bursts]
        return np.concatenate([self.image[:0], *bursts])

    def _fetch_weights(self, call: Call, layer: GoldenLayer, work: Work) -> None:
        if self.queue:
            expect(call, "pushed", self.get(call, "pushed", True), self._pushed(call))
        else:
            expect(call, "fetched", self.get(call, "fetched", True), self._weights(layer, work))

    def _queue_weights(self, call: Call, layer: GoldenLayer, work: Work) -> None:
        """What comes out is the pass's, and all that went in lies in the queue."""
        expect(call, "popped", self.get(call, "popped", True), self._weights(layer, work))
        queue, pushed = self.get(call, "ahead", False).copy(), self._pushed(call)
        queue[(self.queue[call.step].push_at + np.arange(len(pushed))) % len(queue)] = pushed
        expect(call, "ahead", self.get(call, "ahead", True), queue)

    def _load_weights(self, call: Call, layer: GoldenLayer, work: Work) -> None:
        check_weights(layer, call, work.out, lambda name, after: self.get(call, name, after))

    def _shortcut_beats(self, layer: GoldenLayer, work: Work) -> np.ndarray:
        """Beats [n, lanes] of a pass's shortcut."""
        out, bits = work.out, layer.fields.shortcut.shortcut_bits
        tile = shortcut_part(layer.fields.shortcut, work.tile)
        part = layer.shortcut[out.out_word : out.out_word + out.outputs]
        rows = part[:, :, output_rows(tile)].transpose(0, 2, 3, 1)
        rows = rows.reshape(-1, part.shape[3], part.shape[1])
        beats = packed_rows(rows, bits)[:, tile.x * bits // 8 : -(-(tile.x + tile.width) * bits // 8)]
        return beats.reshape(-1, part.shape[1])

    def _fetch_shortcut(self, call: Call, layer: GoldenLayer, work: Work) -> None:
        want = self._shortcut_beats(layer, work)
        if layer.fields.shortcut.shortcut_place is MapPlace.CHIP:
            want = want[:0]
        expect(call, "fetched", self.get(call, "fetched", True), want)

    def _load_shortcut(self, call: Call, layer: GoldenLayer, work: Work) -> None:
        if layer.fields.shortcut.shortcut_place is MapPlace.CHIP:
            beats = self._shortcut_beats(layer, work)
            expect(call, "joined", self.get(call, "joined", False)[: len(beats)], beats)
        want = rows_of(layer.shortcut, work.out, shortcut_part(layer.fields.shortcut, work.tile))
        expect(call, "shortcut", self.get(call, "shortcut", True), want)

    def _compute(self, call: Call, layer: GoldenLayer, work: Work) -> None:
        out = work.out
        check_sums(layer, call, work.tile, out, self.get(call, "sums", True))
        if "biases" in layer.fields.op.traits.arguments:
            bias = to_lanes(layer.parameters.bias, layer.place_out)[out.out_word : out.out_word + out.outputs]
            expect(call, "biases", self.get(call, "biases", True), bias)

    def _epilogue(self, call: Call, layer: GoldenLayer, work: Work) -> None:
        tile, out = work.tile, work.out
        check_sums(layer, call, tile, out, self.get(call, "sums", False))
        expect(call, "results", self.get(call, "results", True), rows_of(layer.results, out, tile))

    def _fused_pool(self, call: Call, layer: GoldenLayer, work: Work) -> None:
        tile, out, lanes = work.tile, work.out, self.program.array.lanes
        expect(call, "results", self.get(call, "results", False), rows_of(layer.results, out, tile))
        kept, pooled = self._stored(layer, tile, out)
        expect(call, "kept", self.get(call, "kept", True), kept.reshape(-1, lanes))
        expect(call, "pooled", self.get(call, "pooled", True), pooled.reshape(-1, lanes))

    def _stored(self, layer: GoldenLayer, tile: Tile, out: Pass) -> tuple[np.ndarray, np.ndarray]:
        """Rows [words, n, width, lanes] of the map that a pass stores over a tile, and of the pooled one."""
        words = slice(out.out_word, out.out_word + out.outputs)
        y, bottom = tile.y, tile.y + tile.height
        kept = layer.results[words, :, output_rows(tile), tile.x : tile.x + tile.width]
        pooled = layer.results[:, :, :0, :0][words]
        if pool := layer.entry.pool:
            kept = kept if pool.keeps_map else kept[:, :, :0]
            pooled = layer.pooled[words, :, pool.rows(y) : pool.rows(bottom)]
        return kept.transpose(0, 2, 3, 1), pooled.transpose(0, 2, 3, 1)

    def _packed(self, layer: GoldenLayer, tile: Tile, out: Pass) -> list[tuple[int, np.ndarray]]:
        """Address and beats [n, lanes] of every row that a pass stores over a tile, in their order."""
        target, fused, pool, found = layer.fields.output_map, layer.fields.fused_pool, layer.entry.pool, []
        kept, pooled = (
            [packed_rows(rows, target.out_bits) for rows in part] for part in self._stored(layer, tile, out)
        )
        for n in range(out.outputs):
            word, done = out.out_word + n, 0
            for row in range(tile.height):
                y = tile.y + row * tile.apart
                if target.keeps_map:
                    at = target.out_address + (word * target.out_plane_rows + y) * target.out_line_beats
                    found.append((at + tile.x * target.out_bits // 8, kept[n][row]))
                if pool and pool.rows(y + 1) > pool.rows(y):
                    at = word * fused.pooled_height + pool.rows(y)
                    found.append((fused.pooled_address + at * fused.pooled_line_beats, pooled[n][done]))
                    done += 1
        return found

    def _pack(self, call: Call, layer: GoldenLayer, work: Work) -> None:
        rows = self._packed(layer, work.tile, work.out)
        beats = [row for _, row in rows] or [np.zeros((0, self.program.array.lanes), np.int8)]
        name = "on_chip" if layer.fields.stores_to is MapPlace.CHIP else "packed"
        expect(call, name, self.get(call, name, True), np.concatenate(beats))

    def _chip_maps(self, call: Call, layer: GoldenLayer, subject: Load | Work) -> None:
        """Of the lines that load in the step, of the pass that is computed, and of the next one's shortcut, what lies on chip.

        Nothing where one of these layers is no node of the network, as a copy is none, and a band.
        """
        step = self.steps[call.step]
        subjects = (step.load, step.work, JOBS["WeightsRow"](step))
        if not all(self.knows(self.program.layers[subject.layer]) for subject in subjects if subject):
            return
        want, load, work = np.zeros((0, self.program.array.lanes), np.int8), step.load, step.work
        if load and self.program.layers[load.layer].fields.input_map.in_place is MapPlace.CHIP:
            want = fetched_tile(self.layer(load.layer), load.tile, load.part)
        expect(call, "fetched", self.get(call, "fetched", True), want)
        joined, following = self.get(call, "joined", False).copy(), JOBS["WeightsRow"](step)
        if following and following.out.last and self.fields_of(following).shortcut.shortcut_place is MapPlace.CHIP:
            beats = self._shortcut_beats(self.layer(following.layer), following)
            joined[: len(beats)] = beats
        expect(call, "joined", self.get(call, "joined", True), joined)
        maps = self.get(call, "maps", False).copy()
        if work and work.out.last and self.program.layers[work.layer].fields.stores_to is MapPlace.CHIP:
            for at, beats in self._packed(self.layer(work.layer), work.tile, work.out):
                maps[at : at + len(beats)] = beats
        expect(call, "maps", self.get(call, "maps", True), maps)

    def _store(self, call: Call, layer: GoldenLayer, work: Work) -> None:
        memory = self.get(call, "memory", False).copy()
        in_memory = layer.fields.stores_to is MapPlace.MEMORY
        for at, beats in self._packed(layer, work.tile, work.out) if in_memory else ():
            memory[at : at + len(beats)] = beats
        expect(call, "memory", self.get(call, "memory", True), memory)
