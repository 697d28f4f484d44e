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
from bfp.parameters import block_of, reciprocal
from codegen.placement import Placement, place
from codegen.program import EngineLayer, Program
from codegen.stage_recording import Call, Parameter, items
from codegen.weight_image import fold_columns, pack_words

FIELDS = {  # of hls/types.hpp and hls/load_tile.hpp, in their order
    "Tile": ("y", "x", "height", "width", "word", "words", "in_height", "in_width", "pitch"),
    "Pass": ("out_word", "outputs", "chunk", "tile_word", "words", "first", "last"),
    "Slice": ("line", "lines"),
}


def spread(values: np.ndarray, placement: Placement) -> np.ndarray:
    """Per-channel values [C, ...] to words of lanes: [planes, lanes, ...], zeros in unused lanes."""
    full = np.zeros((placement.planes * placement.lanes, *values.shape[1:]), np.int64)
    full[placement.slots()] = values
    return full.reshape(placement.planes, placement.lanes, *values.shape[1:])


class Layer:
    """One engine layer, as the golden model sees it.

    source, results, stored, shortcut: mantissas as words [planes, lanes, H, W] of the input, of what is
    computed, of what is stored of it (after a fused pool), and of the shortcut (or None). acc: accumulators before
    the shortcut. The epilogue makes them of sums by ``factor`` (average pooling's reciprocals), ``shift`` (to the left)
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
        self.source = spread(x[0], self.place_in)
        self.results = spread(values[self.node.output][0], self.place_out)
        stored = self.entry.pool.node.output if self.entry.pool else self.node.output
        self.stored = spread(values[stored][0], places[stored])
        self.shortcut = (
            spread(values[self.node.shortcut][0], places[self.node.shortcut]) if self.node.shortcut else None
        )
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


def stored_rows(layer: Layer, tile: dict) -> tuple[int, int, int, int]:
    """First row, rows, first column, columns of the stored map that a tile completes."""
    if layer.entry.pool is None:
        return tile["y"], tile["height"], tile["x"], tile["width"]
    top, bottom = layer.entry.pool.rows(tile["y"]), layer.entry.pool.rows(tile["y"] + tile["height"])
    return top, bottom - top, 0, layer.stored.shape[3]


def packed_rows(words: np.ndarray, bits: int) -> np.ndarray:
    """Mantissas [rows, n, lanes] to beats [rows, m, lanes], int8."""
    return pack_words(words.astype(np.int8), bits)


def tile_columns(layer: Layer, tile: dict) -> np.ndarray:
    """Map columns that a line of the tile takes, padding included."""
    f = layer.fields
    count = (tile["in_width"] - 1) * f["col_step"] + f["taps"]
    return tile["x"] * f["stride_width"] - f["pad_left"] + np.arange(count)


def tile_lines(layer: Layer, tile: dict, part: dict) -> list[tuple[int, int]]:
    """Word and map row of each line of a slice."""
    f, lines = layer.fields, range(part["line"], part["line"] + part["lines"])
    top = tile["y"] * f["stride_height"] - f["pad_top"]
    return [(tile["word"] + n // tile["in_height"], top + n % tile["in_height"] * f["row_step"]) for n in lines]


def fetched_tile(layer: Layer, tile: dict, part: dict) -> np.ndarray:
    """Beats of memory [n, lanes] for some lines of a tile."""
    columns = tile_columns(layer, tile)
    inside = columns[(columns >= 0) & (columns < layer.fields["in_width"])]
    found = [np.zeros((0, layer.array.lanes), np.int8)]
    for word, y in tile_lines(layer, tile, part):
        if 0 <= y < layer.fields["in_height"] and len(inside):
            bits = layer.fields["in_bits"]
            row = packed_rows(layer.source[word, :, y].T[None], bits)[0]
            found.append(row[inside[0] * bits // 8 : -(-(inside[-1] + 1) * bits // 8)])
    return np.concatenate(found)


def tile_buffer(layer: Layer, tile: dict, part: dict, before: np.ndarray) -> np.ndarray:
    """The input buffer [words, lanes] after some lines of a tile; ``before``: what it held."""
    f, array = layer.fields, layer.array
    buffer = before.copy().reshape(array.banks, -1, array.lanes)
    columns = tile_columns(layer, tile)
    inside = (columns >= 0) & (columns < f["in_width"])
    for n, (word, y) in enumerate(tile_lines(layer, tile, part)):
        line = np.full((len(columns), array.lanes), f["pad_value"], np.int64)
        if 0 <= y < f["in_height"]:
            line[inside] = layer.source[word, :, y, columns[inside]]
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

    def _load_tile(self, call: Call, layer: Layer) -> None:
        tile, part = self.struct(call, "Tile"), self.struct(call, "Slice")
        expect(call, "fetched", self.get(call, "fetched", False), fetched_tile(layer, tile, part))
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
        tile, out = self.struct(call, "Tile"), self.struct(call, "Pass")
        expect(call, "results", self.get(call, "results", False), rows_of(layer.results, out, tile))
        expect(
            call,
            "pooled",
            self.get(call, "pooled", True),
            self._stored(layer, tile, out).reshape(-1, self.program.array.lanes),
        )

    def _stored(self, layer: Layer, tile: dict, out: dict) -> np.ndarray:
        """Rows [n, width, lanes] of the stored map that a pass completes over a tile."""
        y, height, x, width = stored_rows(layer, tile)
        part = layer.stored[out["out_word"] : out["out_word"] + out["outputs"], :, y : y + height, x : x + width]
        return part.transpose(0, 2, 3, 1).reshape(-1, width, part.shape[1])

    def _pack(self, call: Call, layer: Layer) -> None:
        tile, out = self.struct(call, "Tile"), self.struct(call, "Pass")
        beats = packed_rows(self._stored(layer, tile, out), layer.fields["out_bits"])
        expect(call, "packed", self.get(call, "packed", True), beats.reshape(-1, self.program.array.lanes))

    def _store(self, call: Call, layer: Layer) -> None:
        tile, out, f = self.struct(call, "Tile"), self.struct(call, "Pass"), layer.fields
        memory = self.get(call, "memory", False).copy()
        y, height, x, _ = stored_rows(layer, tile)
        beats = packed_rows(self._stored(layer, tile, out), f["out_bits"])
        for n in range(out["outputs"] * height):
            row = (out["out_word"] + n // height) * f["stored_height"] + y + n % height
            at = f["out_address"] + row * f["out_line_beats"] + x * f["out_bits"] // 8
            memory[at : at + beats.shape[1]] = beats[n]
        expect(call, "memory", self.get(call, "memory", True), memory)
