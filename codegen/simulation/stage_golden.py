"""What each stage must read and write, from the golden model and the artifact alone.

The C simulation compares stored tensors. What passes between the stages is
compared here: sums with the golden model's accumulators, words with its
mantissas, buffers with the windows and weights that they are to hold. Shares no
arithmetic with the engine; the layouts are those described in hls/.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bfp.artifact import Artifact
from bfp.errors import BfpError
from bfp.golden import run
from bfp.golden.model import ACCUMULATE
from bfp.format import block_of
from bfp.parameters import reciprocal
from codegen.lowering.placement import Placement, place
from codegen.lowering.schedule import EngineLayer, Program
from codegen.simulation.stage_recording import Call, Parameter, items
from codegen.lowering.weight_image import fold_columns, pack_words

FIELDS = {  # of hls/walk.hpp, in their order
    "Tile": ("y", "x", "height", "width", "word", "words", "in_height", "in_width", "pitch", "map_rows", "map_columns"),
    "Pass": ("out_word", "outputs", "chunk", "tile_word", "words", "first", "last"),
    "Slice": ("line", "word", "row", "lines", "map_lines"),
}


def spread(values: np.ndarray, placement: Placement) -> np.ndarray:
    """Per-channel values [C, ...] to words of lanes: [planes, lanes, ...], zeros in unused lanes."""
    full = np.zeros((placement.planes * placement.lanes, *values.shape[1:]), np.int64)
    full[placement.slots()] = values
    return full.reshape(placement.planes, placement.lanes, *values.shape[1:])


class Layer:
    """One engine layer, as the golden model sees it.

    map, source, results, pooled, shortcut: mantissas as words [planes, lanes, H, W] of the map in memory, of the input
    (the same, or that map pooled), of what is computed, of what a fused pool makes of it (or None), and of the
    shortcut (or None). acc: accumulators before the shortcut. The epilogue makes them of sums by ``factor`` (average pooling's reciprocals), ``shift`` (to the left)
    and ``bias``, which dense convolutions have in their sums already; all broadcast to [planes, lanes, H, W].
    """

    def __init__(self, program: Program, index: int, values: dict[str, np.ndarray]) -> None:
        artifact = program.artifacts[0]
        self.program, self.array, self.entry = program, program.array, program.layers[index]
        self.fields = self.entry.fields
        self.node = next(n for n in artifact.graph.nodes if n.name == self.entry.name)
        self.parameters = p = artifact.parameters[self.node.name]
        places, _ = place(artifact.graph, artifact.formats, program.array.lanes, 0)
        self.place_in, self.place_out = places[self.node.main], places[self.node.output]
        source, target, _ = artifact.operand_formats(self.node)
        x = values[self.node.main]
        acc = ACCUMULATE[self.node.op](self.node, p, x, source, target)[0]
        self.acc = spread(acc, self.place_out)
        self.source = self.map = spread(x[0], self.place_in)
        if self.entry.input_pool:
            self.map = spread(values[self.entry.input_pool.node.main][0], self.place_in)
        self.results = spread(values[self.node.output][0], self.place_out)
        self.pooled = None
        if pool := self.entry.pool:
            mine = slice(pool.first_channel, pool.first_channel + artifact.graph.shapes[self.node.output][0])
            self.pooled = spread(values[pool.node.output][0, mine], self.place_out)
        # in the output's layout: where it has another one, the engine reads a copy
        self.shortcut = spread(values[self.node.shortcut][0], self.place_out) if self.node.shortcut else None
        self.factor, self.shift, self.bias = (np.zeros_like(self.acc) for _ in range(3))
        self.factor += (
            reciprocal(np.multiply.outer(*self.node.divisors(*x.shape[2:]))) if self.node.op == "avg_pool" else 1
        )
        if self.node.op != "conv":
            self.shift += spread(p.main_shift, self.place_out)[..., None, None]
            self.bias += spread(p.bias, self.place_out)[..., None, None]


def rows_of(words: np.ndarray, out: dict, tile: dict) -> np.ndarray:
    """The part of a pass and tile, in the order in which it streams: [n, lanes]."""
    part = words[out["out_word"] : out["out_word"] + out["outputs"]]
    part = part[:, :, tile["y"] : tile["y"] + tile["height"], tile["x"] : tile["x"] + tile["width"]]
    return part.transpose(0, 2, 3, 1).reshape(-1, words.shape[1])


def packed_rows(words: np.ndarray, bits: int) -> np.ndarray:
    """Mantissas [rows, n, lanes] to beats [rows, m, lanes], int8."""
    return pack_words(words.astype(np.int8), bits)


def map_columns(layer: Layer, tile: dict) -> np.ndarray:
    """Map columns that a line of the tile takes, padding included."""
    f = layer.fields
    return tile["x"] * f["stride_width"] - f["pad_left"] + np.arange(tile["map_columns"])


def map_lines(layer: Layer, tile: dict, part: dict) -> list[tuple[int, int]]:
    """Word and map row of each line of a slice; of an input that is pooled as it loads, of all its planes."""
    f, lines, height = layer.fields, range(part["line"], part["line"] + part["lines"]), tile["in_height"]
    if layer.entry.input_pool:
        lines, height = range(lines.start // height * tile["map_rows"], lines.stop // height * tile["map_rows"]), tile["map_rows"]
    top = tile["y"] * f["stride_height"] - f["pad_top"]
    return [(tile["word"] + n // height, top + n % height * f["row_step"]) for n in lines]


def fetched_tile(layer: Layer, tile: dict, part: dict) -> np.ndarray:
    """Beats of memory [n, lanes] for some lines of a tile."""
    columns = map_columns(layer, tile)
    inside = columns[(columns >= 0) & (columns < layer.fields["in_width"])]
    found = [np.zeros((0, layer.array.lanes), np.int8)]
    for word, y in map_lines(layer, tile, part):
        if 0 <= y < layer.fields["in_height"] and len(inside):
            bits = layer.fields["in_bits"]
            row = packed_rows(layer.map[word, :, y].T[None], bits)[0]
            found.append(row[inside[0] * bits // 8 : -(-(inside[-1] + 1) * bits // 8)])
    return np.concatenate(found)


def unpacked_tile(layer: Layer, tile: dict, part: dict) -> np.ndarray:
    """Words [lines, columns, lanes] of the map for some lines of a tile, padding included."""
    f = layer.fields
    columns, lines = map_columns(layer, tile), map_lines(layer, tile, part)
    inside = (columns >= 0) & (columns < f["in_width"])
    found = np.full((len(lines), len(columns), layer.array.lanes), f["pad_value"], np.int64)
    for n, (word, y) in enumerate(lines):
        if 0 <= y < f["in_height"]:
            found[n, inside] = layer.map[word, :, y, columns[inside]]
    return found


def tile_words(layer: Layer, tile: dict, part: dict) -> np.ndarray:
    """The same as they go into the buffer: pooled, where that is done as they load."""
    if not layer.entry.input_pool:
        return unpacked_tile(layer, tile, part)
    lines = range(part["line"], part["line"] + part["lines"])
    columns = slice(tile["x"], tile["x"] + tile["in_width"])
    found = [
        layer.source[tile["word"] + n // tile["in_height"], :, tile["y"] + n % tile["in_height"], columns].T
        for n in lines
    ]
    return np.array(found, np.int64).reshape(len(lines), tile["in_width"], layer.array.lanes)


def tile_buffer(layer: Layer, tile: dict, part: dict, before: np.ndarray) -> np.ndarray:
    """The input buffer [words, lanes] after some lines of a tile; ``before``: what it held."""
    f, array = layer.fields, layer.array
    buffer = before.copy().reshape(array.banks, -1, array.lanes)
    for n, line in enumerate(tile_words(layer, tile, part)):
        for c in range(tile["in_width"]):
            at = (part["line"] + n) * tile["pitch"] + c
            first = c * f["col_step"]
            value = line[first].copy()
            if f["taps"] > 1:  # lanes beyond the taps hold nothing that counts
                used = f["taps"] * f["tap_channels"]
                value = buffer[at % array.banks, at // array.banks].astype(np.int64)
                value[:used] = line[first : first + f["taps"], : f["tap_channels"]].reshape(-1)
            buffer[at % array.banks, at // array.banks] = value.astype(np.int8)
    return buffer.reshape(-1, array.lanes)


def dense_words(layer: Layer) -> np.ndarray:
    """Weights of the array's steps: [output word, part, input word, row, column, lane of input, filter]."""
    array, weights = layer.array, layer.parameters.weights.mantissas
    folded = fold_columns(weights, layer.fields["taps"])
    slots = layer.place_in.slots() if layer.fields["taps"] == 1 else np.arange(folded.shape[1])
    full = np.zeros(
        (layer.place_out.planes * array.lanes, layer.place_in.planes * array.lanes, *folded.shape[2:]), np.int64
    )
    full[np.ix_(layer.place_out.slots(), slots)] = folded
    parts = array.lanes // array.filters
    shape = (layer.place_out.planes, parts, array.filters, layer.place_in.planes, array.lanes, *folded.shape[2:])
    return full.reshape(shape).transpose(0, 1, 3, 5, 6, 4, 2)


def align_words(layer: Layer) -> np.ndarray:
    """Alignment shifts [output word, input word, lanes]."""
    p, slots = layer.parameters, layer.place_in.slots()
    group = block_of(p.align_splits, tuple(range(len(slots) + 1)))
    first = np.searchsorted(slots // layer.array.lanes, np.arange(layer.place_in.planes))
    return spread(p.align_shift[:, group[first]], layer.place_out).transpose(0, 2, 1)


def check_weights(layer: Layer, call: Call, out: dict, get: Callable[[str, bool], np.ndarray]) -> None:
    """The buffers of load_weights: biases, shifts and mantissas of each output word, one after the other."""
    bias = spread(layer.parameters.bias, layer.place_out)
    words = slice(out["tile_word"], out["tile_word"] + out["words"])
    dense = layer.node.op == "conv"
    first = 0
    for n in range(out["outputs"]):
        word = out["out_word"] + n
        expect(call, "bias", get("bias", True)[n], bias[word])
        if dense:
            expect(
                call, "align", get("align", True)[n * out["words"] :][: out["words"]], align_words(layer)[word, words]
            )
            want = dense_words(layer)[word][:, words].reshape(-1, layer.array.lanes)
            expect(call, "dense", get("dense", True)[first : first + len(want)], want)
        else:
            want = (
                spread(layer.parameters.weights.mantissas[:, 0], layer.place_out)[word].reshape(layer.array.lanes, -1).T
            )
            expect(call, "depthwise", get("depthwise", True)[first : first + len(want)], want)
        first += len(want)


def sums_used(layer: Layer, tile: dict, out: dict) -> list[int]:
    """Pixels of each block of sums that belong to the tile."""
    pixels, size = tile["height"] * tile["width"], layer.fields["block_pixels"]
    return [min(size, pixels - start) for _ in range(out["outputs"]) for start in range(0, pixels, size)]


def check_sums(layer: Layer, call: Call, tile: dict, out: dict, blocks: np.ndarray) -> None:
    """Blocks of sums [n, pixels, lanes] against accumulators; average pooling's are not yet multiplied."""
    used = sums_used(layer, tile, out) if out["last"] else []
    if len(used) != len(blocks):
        raise BfpError(
            f"{call.stage} of layer {layer.entry.name}: {len(blocks)} blocks of sums, {len(used)} are expected"
        )
    if used:
        found = np.concatenate([block[:n] for block, n in zip(blocks.astype(np.int64), used)])
        factor, shift, bias = (rows_of(a, out, tile) for a in (layer.factor, layer.shift, layer.bias))
        expect(call, "sums", ((found * factor) << shift) + bias, rows_of(layer.acc, out, tile))


def expect(call: Call, what: str, found: np.ndarray, want: np.ndarray) -> None:
    """Raise BfpError at the first difference; bytes are compared as codes, signed or not."""
    want = want.astype(found.dtype) if found.dtype == np.int8 else want
    if found.shape != want.shape:
        raise BfpError(f"{call.stage} of layer {call.layer}: {what} has shape {found.shape}, expected {want.shape}")
    if not np.array_equal(found, want):
        at = tuple(int(i[0]) for i in np.nonzero(found != want))
        raise BfpError(
            f"{call.stage} of layer {call.layer}: {what}{list(at)} is {found[at]}, the golden model says {want[at]}"
        )


class Checker:
    """Compares the recorded calls of a program's one network, run on one image, with the golden model."""

    def __init__(self, program: Program, mantissas: np.ndarray, parameters: dict[str, list[Parameter]]) -> None:
        self.program, self.parameters = program, parameters
        self.artifact: Artifact = program.artifacts[0]
        self.values = run(self.artifact, mantissas)
        self.layers: dict[int, Layer] = {}
        self.image = program.weight_image()

    def knows(self, entry: EngineLayer) -> bool:
        """Whether a layer is a node of the network; copies between layouts are not."""
        return entry.name in self.artifact.parameters

    def layer(self, index: int) -> Layer:
        if index not in self.layers:
            self.layers[index] = Layer(self.program, index, self.values)
        return self.layers[index]

    def struct(self, call: Call, kind: str) -> dict[str, int]:
        """Fields of a Tile, Pass or Slice argument."""
        name = next(p.name for p in self.parameters[call.stage] if p.type == kind)
        return dict(zip(FIELDS[kind], np.frombuffer(call.before[name], np.int32).tolist()))

    def get(self, call: Call, name: str, after: bool) -> np.ndarray:
        kind = next(p.type for p in self.parameters[call.stage] if p.name == name)
        return items((call.after if after else call.before)[name], kind, self.program.array)

    def check(self, call: Call) -> None:
        """Raise BfpError where a call's results are not the golden model's. Every stage must be known here."""
        getattr(self, f"_{call.stage}")(call, self.layer(call.layer))

    def _fetch_tile(self, call: Call, layer: Layer) -> None:
        want = fetched_tile(layer, self.struct(call, "Tile"), self.struct(call, "Slice"))
        expect(call, "fetched", self.get(call, "fetched", True), want)

    def _unpack_tile(self, call: Call, layer: Layer) -> None:
        tile, part = self.struct(call, "Tile"), self.struct(call, "Slice")
        expect(call, "fetched", self.get(call, "fetched", False), fetched_tile(layer, tile, part))
        words = unpacked_tile(layer, tile, part).reshape(-1, self.program.array.lanes)
        expect(call, "unpacked", self.get(call, "unpacked", True), words)

    def _input_pool(self, call: Call, layer: Layer) -> None:
        tile, part, lanes = self.struct(call, "Tile"), self.struct(call, "Slice"), self.program.array.lanes
        expect(call, "unpacked", self.get(call, "unpacked", False), unpacked_tile(layer, tile, part).reshape(-1, lanes))
        expect(call, "columns", self.get(call, "columns", True), tile_words(layer, tile, part).reshape(-1, lanes))

    def _load_tile(self, call: Call, layer: Layer) -> None:
        tile, part = self.struct(call, "Tile"), self.struct(call, "Slice")
        after, before = self.get(call, "input", True), self.get(call, "input", False)
        if layer.fields["taps"] > 1:  # what lies beyond the taps is never multiplied by anything but zero
            before = after
        expect(call, "input", after, tile_buffer(layer, tile, part, before))

    def _fetch_weights(self, call: Call, layer: Layer) -> None:
        out, f, fetched = self.struct(call, "Pass"), layer.fields, self.get(call, "fetched", True)
        start = f["weight_address"] + out["out_word"] * f["word_beats"] + out["chunk"] * f["chunk_beats"]
        count = out["outputs"] * f["word_beats"]
        if f["chunks"] > 1:
            count = min(f["chunk_beats"], f["word_beats"] - out["chunk"] * f["chunk_beats"])
        expect(call, "fetched", fetched, self.image[start : start + count])

    def _load_weights(self, call: Call, layer: Layer) -> None:
        check_weights(layer, call, self.struct(call, "Pass"), lambda name, after: self.get(call, name, after))

    def _fetch_shortcut(self, call: Call, layer: Layer) -> None:
        tile, out, bits = self.struct(call, "Tile"), self.struct(call, "Pass"), layer.fields["shortcut_bits"]
        part = layer.shortcut[out["out_word"] : out["out_word"] + out["outputs"]]
        rows = (
            part[:, :, tile["y"] : tile["y"] + tile["height"]]
            .transpose(0, 2, 3, 1)
            .reshape(-1, part.shape[3], part.shape[1])
        )
        beats = packed_rows(rows, bits)[:, tile["x"] * bits // 8 : -(-(tile["x"] + tile["width"]) * bits // 8)]
        expect(call, "fetched", self.get(call, "fetched", True), beats.reshape(-1, part.shape[1]))

    def _load_shortcut(self, call: Call, layer: Layer) -> None:
        want = rows_of(layer.shortcut, self.struct(call, "Pass"), self.struct(call, "Tile"))
        expect(call, "shortcut", self.get(call, "shortcut", True), want)

    def _compute(self, call: Call, layer: Layer) -> None:
        out = self.struct(call, "Pass")
        check_sums(layer, call, self.struct(call, "Tile"), out, self.get(call, "sums", True))
        if layer.node.op == "depthwise":
            bias = spread(layer.parameters.bias, layer.place_out)[out["out_word"] : out["out_word"] + out["outputs"]]
            expect(call, "biases", self.get(call, "biases", True), bias)

    def _epilogue(self, call: Call, layer: Layer) -> None:
        tile, out = self.struct(call, "Tile"), self.struct(call, "Pass")
        check_sums(layer, call, tile, out, self.get(call, "sums", False))
        expect(call, "results", self.get(call, "results", True), rows_of(layer.results, out, tile))

    def _fused_pool(self, call: Call, layer: Layer) -> None:
        tile, out, lanes = self.struct(call, "Tile"), self.struct(call, "Pass"), self.program.array.lanes
        expect(call, "results", self.get(call, "results", False), rows_of(layer.results, out, tile))
        kept, pooled = self._stored(layer, tile, out)
        expect(call, "kept", self.get(call, "kept", True), kept.reshape(-1, lanes))
        expect(call, "pooled", self.get(call, "pooled", True), pooled.reshape(-1, lanes))

    def _stored(self, layer: Layer, tile: dict, out: dict) -> tuple[np.ndarray, np.ndarray]:
        """Rows [words, n, width, lanes] of the map that a pass stores over a tile, and of the pooled one."""
        words = slice(out["out_word"], out["out_word"] + out["outputs"])
        y, bottom = tile["y"], tile["y"] + tile["height"]
        kept = layer.results[words, :, y:bottom, tile["x"] : tile["x"] + tile["width"]]
        pooled = layer.results[:, :, :0, :0][words]
        if pool := layer.entry.pool:
            kept = kept if pool.keeps_map else kept[:, :, :0]
            pooled = layer.pooled[words, :, pool.rows(y) : pool.rows(bottom)]
        return kept.transpose(0, 2, 3, 1), pooled.transpose(0, 2, 3, 1)

    def _packed(self, layer: Layer, tile: dict, out: dict) -> list[tuple[int, np.ndarray]]:
        """Address and beats [n, lanes] of every row that a pass stores over a tile, in their order."""
        f, pool, found = layer.fields, layer.entry.pool, []
        kept, pooled = (
            [packed_rows(rows, f["out_bits"]) for rows in part] for part in self._stored(layer, tile, out)
        )
        for n in range(out["outputs"]):
            word, done = out["out_word"] + n, 0
            for row in range(tile["height"]):
                y = tile["y"] + row
                if f["keeps_map"]:
                    at = f["out_address"] + (word * f["out_height"] + y) * f["out_line_beats"]
                    found.append((at + tile["x"] * f["out_bits"] // 8, kept[n][row]))
                if pool and pool.rows(y + 1) > pool.rows(y):
                    at = word * f["pooled_height"] + pool.rows(y)
                    found.append((f["pooled_address"] + at * f["pooled_line_beats"], pooled[n][done]))
                    done += 1
        return found

    def _pack(self, call: Call, layer: Layer) -> None:
        rows = self._packed(layer, self.struct(call, "Tile"), self.struct(call, "Pass"))
        beats = [row for _, row in rows] or [np.zeros((0, self.program.array.lanes), np.int8)]
        expect(call, "packed", self.get(call, "packed", True), np.concatenate(beats))

    def _store(self, call: Call, layer: Layer) -> None:
        memory = self.get(call, "memory", False).copy()
        for at, beats in self._packed(layer, self.struct(call, "Tile"), self.struct(call, "Pass")):
            memory[at : at + len(beats)] = beats
        expect(call, "memory", self.get(call, "memory", True), memory)
