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
from bfp.golden.model import ACCUMULATE
from bfp.format import block_of
from bfp.operators import Alignment
from bfp.operators.interpolate import along
from bfp.parameters import reciprocal
from codegen.lowering.compute_jobs import Part
from codegen.lowering.placement import Placement, place
from codegen.lowering.schedule import Program
from codegen.lowering.walk import Pass, Slice, Tile
from codegen.lowering.weight_fields import differences
from codegen.lowering.weight_image import fold_columns, pack_words
from codegen.simulation.stage_recording import Call


def to_lanes(values: np.ndarray, placement: Placement) -> np.ndarray:
    """Per-channel values [C, ...] to words of lanes: [planes, lanes, ...], zeros in unused lanes."""
    full = np.zeros((placement.planes * placement.lanes, *values.shape[1:]), np.int64)
    full[placement.slots()] = values
    return full.reshape(placement.planes, placement.lanes, *values.shape[1:])


class GoldenLayer:
    """One engine layer, as the golden model sees it.

    map, source, results, pooled, shortcut: mantissas as words [planes, lanes, H, W] of the map in memory, of the input
    (the same, or that map pooled), of what is computed (or a table makes of it), of what a fused pool makes of it (or None), and of the
    shortcut (or None). acc: accumulators before the shortcut. The epilogue makes them of sums by ``factor`` (average
    pooling's reciprocals, shares of differences), ``shift`` (to the left) and ``bias``, which dense convolutions have in their sums already;
    all broadcast to [planes, lanes, H, W].
    """

    def __init__(self, program: Program, index: int, values: dict[str, np.ndarray]) -> None:
        artifact = program.lowered[0].artifact
        self.program, self.array, self.entry = program, program.array, program.layers[index]
        self.fields = self.entry.fields
        self.node = next(n for n in artifact.graph.nodes if n.name == self.entry.name)
        self.parameters = p = artifact.parameters[self.node.name]
        places, _ = place(artifact.graph, artifact.formats, program.array.lanes, 0)
        self.place_in, self.place_out = places[self.node.main], places[self.node.output]
        source, target, _ = artifact.operand_formats(self.node)
        x = values[self.node.main]
        acc = ACCUMULATE[self.node.op](self.node, p, x, source, target)[0]
        self.acc = to_lanes(acc, self.place_out)
        self.source = self.map = to_lanes(x[0], self.place_in)
        if self.entry.input_pool:
            self.map = to_lanes(values[self.entry.input_pool.node.main][0], self.place_in)
        table = next((n for n in artifact.graph.consumers(self.node.output) if n.operator.has_function), self.node)
        self.results = to_lanes(values[table.output][0], self.place_out)
        self.pooled = None
        if pool := self.entry.pool:
            mine = slice(pool.first_channel, pool.first_channel + artifact.graph.shapes[self.node.output][0])
            self.pooled = to_lanes(values[pool.node.output][0, mine], self.place_out)
        self.shortcut = self._shortcut(artifact, values)
        self.factor, self.shift, self.bias = (np.zeros_like(self.acc) for _ in range(3))
        self.factor += self._factors(*x.shape[2:])
        if self.node.operator.alignment is not Alignment.BLOCKS:
            self.shift += to_lanes(p.main_alignment, self.place_out)[..., None, None]
            self.bias += to_lanes(p.bias, self.place_out)[..., None, None]

    def _factors(self, height: int, width: int) -> np.ndarray:
        """What sums are multiplied by, to broadcast over [..., H, W], for the main operand's map size."""
        if self.node.operator.has_shares:
            return along(self.node, np.array(self.node.shares))
        if self.node.operator.counts_padding:
            return reciprocal(np.multiply.outer(*self.node.divisors(height, width)))
        return np.ones(1, np.int64)

    def filters(self) -> np.ndarray:
        """Of one filter a channel, int8 [C, 1, kh, kw]: weights, or those of a difference."""
        if self.node.operator.has_shares:
            return differences(self.node, len(self.parameters.bias))
        return self.parameters.weights.mantissas

    def _shortcut(self, artifact: Artifact, values: dict[str, np.ndarray]) -> np.ndarray | None:
        """In the output's layout: where it has another one, the engine reads a copy. Its only channel is every word's."""
        if self.node.shortcut is None:
            return None
        mantissas = values[self.node.shortcut][0]
        if not artifact.graph.broadcast(self.node).channels:
            return to_lanes(mantissas, self.place_out)
        words = np.zeros((self.place_out.planes, self.place_out.lanes, *mantissas.shape[1:]), mantissas.dtype)
        words[:, 0] = mantissas
        return words


def output_rows(tile: Tile | Part) -> slice:
    """Those of the output that a tile computes, or those of a shortcut that meet it."""
    return slice(tile.y, tile.y + tile.height * tile.apart, tile.apart)


def rows_of(words: np.ndarray, out: Pass, tile: Tile) -> np.ndarray:
    """The part of a pass and tile, in the order in which it streams: [n, lanes]."""
    part = words[out.out_word : out.out_word + out.outputs]
    part = part[:, :, output_rows(tile), tile.x : tile.x + tile.width]
    return part.transpose(0, 2, 3, 1).reshape(-1, words.shape[1])


def packed_rows(words: np.ndarray, bits: int) -> np.ndarray:
    """Mantissas [rows, n, lanes] to beats [rows, m, lanes], int8."""
    return pack_words(words.astype(np.int8), bits)


def map_columns(layer: GoldenLayer, tile: Tile) -> np.ndarray:
    """Map columns that a line of the tile takes, padding included."""
    f = layer.fields
    return tile.x * f.window.stride_width - f.window.pad_left + np.arange(tile.map_columns)


def map_lines(layer: GoldenLayer, tile: Tile, part: Slice) -> list[tuple[int, int]]:
    """Word and map row of each line of a slice; of an input that is pooled as it loads, of all its planes."""
    f, lines, height = layer.fields, range(part.line, part.line + part.lines), tile.in_height
    if layer.entry.input_pool:
        words = lines.start // height, lines.stop // height
        lines, height = range(words[0] * tile.map_rows, words[1] * tile.map_rows), tile.map_rows
    if f.spread.grows:
        first = tile.y % f.spread.down * f.spread.across
        planes = [divmod(n // height, tile.words) for n in lines]
        words = [(first + phase) * f.spread.phase_words + tile.word + word for phase, word in planes]
        top = min(max(tile.y - 1, 0), f.input_map.in_height - 1) if f.spread.edges else tile.y // f.spread.down
        return [(word, top + n % height) for word, n in zip(words, lines)]
    top = tile.y * f.window.stride_height - f.window.pad_top
    return [(tile.word + n // height, top + n % height * f.buffer.row_step) for n in lines]


def fetched_tile(layer: GoldenLayer, tile: Tile, part: Slice) -> np.ndarray:
    """Beats of memory [n, lanes] for some lines of a tile."""
    columns = map_columns(layer, tile)
    inside = columns[(columns >= 0) & (columns < layer.fields.input_map.in_width)]
    found = [np.zeros((0, layer.array.lanes), np.int8)]
    for word, y in map_lines(layer, tile, part):
        if 0 <= y < layer.fields.input_map.in_height and len(inside):
            bits = layer.fields.input_map.in_bits
            row = packed_rows(layer.map[word, :, y].T[None], bits)[0]
            found.append(row[inside[0] * bits // 8 : -(-(inside[-1] + 1) * bits // 8)])
    return np.concatenate(found)


def unpacked_tile(layer: GoldenLayer, tile: Tile, part: Slice) -> np.ndarray:
    """Words [lines, columns, lanes] of the map for some lines of a tile, padding included."""
    f = layer.fields
    columns, lines = map_columns(layer, tile), map_lines(layer, tile, part)
    inside = (columns >= 0) & (columns < f.input_map.in_width)
    found = np.full((len(lines), len(columns), layer.array.lanes), f.window.pad_value, np.int64)
    for n, (word, y) in enumerate(lines):
        if 0 <= y < f.input_map.in_height:
            found[n, inside] = layer.map[word, :, y, columns[inside]]
    return found


def tile_words(layer: GoldenLayer, tile: Tile, part: Slice) -> np.ndarray:
    """The same as they go into the buffer: pooled, where that is done as they load."""
    if not layer.entry.input_pool:
        return unpacked_tile(layer, tile, part)
    lines = range(part.line, part.line + part.lines)
    columns = slice(tile.x, tile.x + tile.in_width)
    found = [
        layer.source[tile.word + n // tile.in_height, :, tile.y + n % tile.in_height, columns].T
        for n in lines
    ]
    return np.array(found, np.int64).reshape(len(lines), tile.in_width, layer.array.lanes)


def tile_buffer(layer: GoldenLayer, tile: Tile, part: Slice, before: np.ndarray) -> np.ndarray:
    """The input buffer [words, lanes] after some lines of a tile; ``before``: what it held."""
    f, array = layer.fields, layer.array
    buffer = before.copy().reshape(array.banks, -1, array.lanes)
    if f.spread.grows:
        for n, line in enumerate(tile_words(layer, tile, part), part.line):
            phase, row = divmod(n, tile.words * tile.in_height)
            at = row * tile.pitch + f.spread.starts[phase] + np.arange(len(line)) * f.spread.across
            buffer[at % array.banks, at // array.banks] = line.astype(np.int8)
        return buffer.reshape(-1, array.lanes)
    for n, line in enumerate(tile_words(layer, tile, part)):
        for c in range(tile.in_width):
            at = (part.line + n) * tile.pitch + c
            first = c * f.buffer.col_step
            value = line[first].copy()
            if f.buffer.taps > 1:  # lanes beyond the taps hold nothing that counts
                used = f.buffer.taps * f.buffer.tap_channels
                value = buffer[at % array.banks, at // array.banks].astype(np.int64)
                value[:used] = line[first : first + f.buffer.taps, : f.buffer.tap_channels].reshape(-1)
            buffer[at % array.banks, at // array.banks] = value.astype(np.int8)
    return buffer.reshape(-1, array.lanes)


def dense_words(layer: GoldenLayer) -> np.ndarray:
    """Weights of the array's steps: [output word, part, input word, row, column, lane of input, filter]."""
    array, weights = layer.array, layer.parameters.weights.mantissas
    folded = fold_columns(weights, layer.fields.buffer.taps)
    slots = layer.place_in.slots() if layer.fields.buffer.taps == 1 else np.arange(folded.shape[1])
    full = np.zeros(
        (layer.place_out.planes * array.lanes, layer.place_in.planes * array.lanes, *folded.shape[2:]), np.int64
    )
    full[np.ix_(layer.place_out.slots(), slots)] = folded
    parts = array.lanes // array.filters
    shape = (layer.place_out.planes, parts, array.filters, layer.place_in.planes, array.lanes, *folded.shape[2:])
    return full.reshape(shape).transpose(0, 1, 3, 5, 6, 4, 2)


def align_words(layer: GoldenLayer) -> np.ndarray:
    """Alignment shifts [output word, input word, lanes]."""
    p, slots = layer.parameters, layer.place_in.slots()
    group = block_of(p.align_splits, tuple(range(len(slots) + 1)))
    first = np.searchsorted(slots // layer.array.lanes, np.arange(layer.place_in.planes))
    return to_lanes(p.align_shift[:, group[first]], layer.place_out).transpose(0, 2, 1)


def check_weights(layer: GoldenLayer, call: Call, out: Pass, get: Callable[[str, bool], np.ndarray]) -> None:
    """The buffers of load_weights: biases, shifts and mantissas of each output word, one after the other."""
    bias = to_lanes(layer.parameters.bias, layer.place_out)
    start = out.chunk * layer.fields.passes.chunk_words
    words = slice(start, start + out.words)
    dense = layer.fields.op.traits.dense
    first = 0
    for n in range(out.outputs):
        word = out.out_word + n
        expect(call, "bias", get("bias", True)[n], bias[word])
        if dense:
            expect(
                call, "align", get("align", True)[n * out.words :][: out.words], align_words(layer)[word, words]
            )
            want = dense_words(layer)[word][:, words].reshape(-1, layer.array.lanes)
            expect(call, "dense", get("dense", True)[first : first + len(want)], want)
        else:
            want = (
                to_lanes(layer.filters()[:, 0], layer.place_out)[word].reshape(layer.array.lanes, -1).T
            )
            expect(call, "depthwise", get("depthwise", True)[first : first + len(want)], want)
        first += len(want)


def check_sums(layer: GoldenLayer, call: Call, tile: Tile, out: Pass, sums: np.ndarray) -> None:
    """Words of sums [n, lanes] against accumulators; average pooling's are not yet multiplied."""
    count = out.outputs * tile.height * tile.width if out.last else 0
    if count != len(sums):
        raise BfpError(f"{call.stage} of layer {layer.entry.name}: {len(sums)} words of sums, {count} are expected")
    if count:
        found = sums.astype(np.int64)
        factor, shift, bias = (rows_of(a, out, tile) for a in (layer.factor, layer.shift, layer.bias))
        expect(call, "sums", ((found * factor) << shift) + bias, rows_of(layer.acc, out, tile))


def expect(call: Call, what: str, found: np.ndarray, want: np.ndarray) -> None:
    """Raise BfpError at the first difference; bytes are compared as codes, signed or not."""
    want = want.astype(found.dtype) if found.dtype == np.int8 else want
    if found.shape != want.shape:
        raise BfpError(f"{call.stage} in step {call.step}: {what} has shape {found.shape}, expected {want.shape}")
    if not np.array_equal(found, want):
        at = tuple(int(i[0]) for i in np.nonzero(found != want))
        raise BfpError(
            f"{call.stage} in step {call.step}: {what}{list(at)} is {found[at]}, the golden model says {want[at]}"
        )
