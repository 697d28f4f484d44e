"""How the engine goes through the layers: tiles, slices of the lines that load, passes, and the steps that these make."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from codegen.lowering.layer_fields import InputPooling, LayerFields
from codegen.lowering.schedule import Program


@dataclass(frozen=True)
class Tile:
    """The part of a layer that is on chip at one time.

    y, x, height, width: of the output, of which the rows lie ``apart``; word, words: channel words of the input. first_row:
    of the input map, the one that the buffer's first row is, or would be in its padding. out_word: of the output, where a
    tile holds a part of the input for one word of it. in_height, in_width, pitch: of the
    input buffer, which has so many words from one row to the next. map_rows, map_columns: of the input map, those that
    no window uses left out.
    """

    y: int
    x: int
    height: int
    width: int
    word: int
    words: int
    in_height: int
    in_width: int
    pitch: int
    map_rows: int
    map_columns: int
    first_row: int
    apart: int
    out_word: int


def tile_at(layer: LayerFields, y: int, x: int, word: int, out_word: int = 0) -> Tile:
    """The tile that starts at an output pixel and a channel word."""
    tiles, out, buffer, window, pool = layer.tiles, layer.output_map, layer.buffer, layer.window, layer.input_pool
    width, rows = min(tiles.tile_width, out.out_width - x), -(-(out.out_height - y) // tiles.rows_apart)
    height = min(tiles.tile_height, rows)
    if layer.spread.edges:  # its first and last row are tiles of their own
        height = 1 if y in (0, out.out_height - 1) else min(height, out.out_height - 1 - y)
    in_height = (height - 1) * buffer.down + (window.kernel_height - 1) * buffer.kernel_down + 1
    in_width = (width - 1) * buffer.across + (window.kernel_width - 1) * buffer.kernel_across + 1
    if layer.spread.grows:
        map_rows, map_columns = in_height, in_width - 2 if layer.spread.edges else in_width // layer.spread.across
    elif pool.in_pool is InputPooling.UNPOOLED:
        map_rows, map_columns = in_height, (in_width - 1) * buffer.col_step + buffer.taps
    else:
        map_rows = (height - 1) * window.stride_height + pool.in_pool_height
        map_columns = (width - 1) * window.stride_width + pool.in_pool_width
    return Tile(
        y=y,
        x=x,
        height=height,
        width=width,
        word=word,
        words=min(tiles.tile_words, layer.input_map.in_words - word),
        in_height=in_height,
        in_width=in_width,
        pitch=buffer.pitch if width == tiles.tile_width else buffer.edge_pitch,
        map_rows=map_rows,
        map_columns=map_columns,
        first_row=first_row(layer, y),
        apart=tiles.rows_apart,
        out_word=out_word,
    )


def first_row(layer: LayerFields, y: int) -> int:
    """Of the input map, that of a tile that begins with row y of the output; one in the padding does not exist."""
    if layer.spread.edges:
        return min(max(y - 1, 0), layer.input_map.in_height - 1)
    if layer.spread.grows:
        return y // layer.spread.down
    return y * layer.window.stride_height - layer.window.pad_top


def first_rows(layer: LayerFields) -> list[int]:
    """The output rows with which tiles begin, in their order: down, then those of the rows between."""
    t, height = layer.tiles, layer.output_map.out_height
    if layer.spread.edges:
        return [0, *range(1, height - 1, t.tile_height), height - 1]
    return [y for first in range(t.rows_apart) for y in range(first, height, t.rows_apart * t.tile_height)]


def tiles(layer: LayerFields) -> list[Tile]:
    """All tiles of a layer, in their order: across, then down, then the rows between, then through the channel words.

    Of a dense layer whose input comes in parts: through the parts, then through the output words, then as above.
    """
    t = layer.tiles
    if layer.loads_in_parts:
        return [
            tile_at(layer, y, x * t.tile_width, word * t.tile_words, out_word)
            for y in first_rows(layer)
            for x in range(t.tiles_across)
            for out_word in range(layer.output_map.out_words)
            for word in range(t.word_tiles)
        ]
    return [
        tile_at(layer, y, x * t.tile_width, word * t.tile_words)
        for word in range(t.word_tiles)
        for y in first_rows(layer)
        for x in range(t.tiles_across)
    ]


@dataclass(frozen=True)
class Slice:
    """Lines of the buffer that load with one pass, counted through the rows, then through the words.

    line: the first one, in this word and row of the tile; map_lines: of the map that they take.
    """

    line: int
    word: int
    row: int
    lines: int
    map_lines: int


def units(layer: LayerFields, tile: Tile) -> int:
    """In which a tile loads: its lines, or whole planes where the map is pooled, or grows, as it loads.

    Of several pictures the planes of each, or of all where they are pooled.
    """
    if layer.spread.grows:
        return tile.words * len(layer.spread.starts)
    if layer.pictures.several and layer.input_pool.in_pool is InputPooling.UNPOOLED:
        return tile.words * tile.height
    return tile.words * (tile.in_height if layer.input_pool.in_pool is InputPooling.UNPOOLED else 1)


def slice_at(layer: LayerFields, tile: Tile, first: int, count: int) -> Slice:
    """``count`` units from ``first`` on."""
    if layer.pictures.several and layer.input_pool.in_pool is InputPooling.UNPOOLED:
        rows, (word, picture) = layer.picture_rows, divmod(first, tile.height)
        return Slice(first * rows, word, picture * rows, count * rows, count * rows)
    if layer.input_pool.in_pool is InputPooling.UNPOOLED and not layer.spread.grows:
        word, row = divmod(first, tile.in_height)
        return Slice(first, word, row, count, count)
    return Slice(first * tile.in_height, first, 0, count * tile.in_height, count * tile.map_rows)


@dataclass(frozen=True)
class Pass:
    """Some words of output channels over a tile, or, of one word, the share of a chunk of its weights.

    out_word: the first of them, counted in the whole layer; outputs: how many. tile_word: where the input words start
    in the tile, ``words`` for each output word. first: sums start from the bias; last: they are complete afterwards.
    """

    out_word: int
    outputs: int
    chunk: int
    tile_word: int
    words: int
    first: bool
    last: bool


def passes(layer: LayerFields, tile: Tile) -> list[Pass]:
    """All passes over a tile, in their order: the chunks of a word, then the next words."""
    p, dense = layer.passes, layer.op.traits.dense
    if layer.loads_in_parts:
        chunk = tile.word // p.chunk_words
        return [Pass(tile.out_word, 1, chunk, 0, tile.words, chunk == 0, chunk == p.chunks - 1)]
    begin, end = (0, layer.output_map.out_words) if dense else (tile.word, tile.word + tile.words)
    found = []
    for out_word in range(begin, end, p.group_words):
        outputs = min(p.group_words, end - out_word)
        if not dense:
            found.append(Pass(out_word, outputs, 0, out_word - tile.word, 1, True, True))
            continue
        for chunk in range(p.chunks):
            first = chunk * p.chunk_words
            words = min(p.chunk_words, layer.input_map.in_words - first)
            found.append(Pass(out_word, outputs, chunk, first, words, chunk == 0, chunk == p.chunks - 1))
    return found


@dataclass(frozen=True)
class Load:
    """Lines that load: of which layer and tile (by its number, too), ``count`` units from ``first`` on."""

    layer: int
    number: int
    tile: Tile
    first: int
    count: int
    part: Slice


@dataclass(frozen=True)
class Work:
    """A pass over a tile of a layer, by their numbers, too."""

    layer: int
    tile_number: int
    tile: Tile
    number: int
    out: Pass


@dataclass(frozen=True)
class Step:
    """One step of the engine: what is computed, and what loads meanwhile; None: nothing.

    layer: index of the layer that is computed, or loaded where nothing is. enters: it loads what a run starts with that
    starts with this layer; any other run skips it, unless it ``waits``, since no step before loads the layer's first
    tile: then it loads that. input_half, weight_half: of the double buffers, which are computed from.
    """

    layer: int
    work: Work | None
    load: Load | None
    weights: Work | None
    input_half: bool
    weight_half: bool
    enters: bool = False
    waits: bool = False


def slices(units: int, share: int, passes: int, first: int) -> list[tuple[int, int]]:
    """First unit of the next tile, and number, that load with each of so many passes, from pass ``first`` on."""
    done, found = 0, []
    for p in range(passes):
        count = 0 if p < first else units - done if p == passes - 1 else min(share, units - done)
        found.append((done, count))
        done += count
    return found


class Walk:
    """The tiles and passes of a program's layers, and its steps."""

    def __init__(self, program: Program) -> None:
        self.layers = [layer.fields for layer in program.layers]
        self.tiles = [tiles(layer) for layer in self.layers]
        self._works: dict[tuple[int, int], list[Work]] = {}

    def works(self, layer: int, number: int) -> list[Work]:
        """All passes over a tile."""
        if (layer, number) not in self._works:
            tile = self.tiles[layer][number]
            found = [Work(layer, number, tile, n, out) for n, out in enumerate(passes(self.layers[layer], tile))]
            self._works[layer, number] = found
        return self._works[layer, number]

    def load(self, layer: int, number: int, first: int, count: int) -> Load | None:
        """Some units of a tile."""
        tile = self.tiles[layer][number]
        part = slice_at(self.layers[layer], tile, first, count)
        return Load(layer, number, tile, first, count, part) if count else None

    @cached_property
    def steps(self) -> list[Step]:
        """All steps, layer by layer; each layer's first one enters it."""
        return [step for layer in range(len(self.layers)) for step in self._steps(layer)]

    def _steps(self, index: int) -> Iterator[Step]:
        layer, mine = self.layers[index], self.tiles[index]
        waits = index > 0 and layer.loads.early_lines == 0
        input_half, weight_half = self._halves[index]
        whole = self.load(index, 0, 0, units(layer, mine[0]))
        yield Step(index, None, whole, self.works(index, 0)[0], not input_half, not weight_half, True, waits)
        for number in range(len(mine)):
            works, loads = self.works(index, number), self._loads(index, number)
            following = [*works[1:], self._first_work_after(index, number)]
            for work, load, weights in zip(works, loads, following):
                yield Step(index, work, load, weights, input_half, weight_half)
                weight_half = not weight_half
            input_half = not input_half

    @cached_property
    def _halves(self) -> list[tuple[bool, bool]]:
        """The halves of input and weights from which each layer starts to compute."""
        tiles_done = passes_done = 0
        found = []
        for index, mine in enumerate(self.tiles):
            found.append((tiles_done % 2 == 1, passes_done % 2 == 1))
            tiles_done += len(mine)
            passes_done += sum(len(self.works(index, number)) for number in range(len(mine)))
        return found

    def _first_work_after(self, index: int, number: int) -> Work | None:
        """The first pass over the tile after this one, in this layer or the next."""
        if number + 1 < len(self.tiles[index]):
            return self.works(index, number + 1)[0]
        return self.works(index + 1, 0)[0] if index + 1 < len(self.layers) else None

    def _loads(self, index: int, number: int) -> list[Load | None]:
        """What loads with each pass over a tile: of the next one, in this layer or the next."""
        count = len(self.works(index, number))
        if number + 1 < len(self.tiles[index]):
            coming, tile, share, first = index, number + 1, self.layers[index].loads.slice_lines, 0
        elif index + 1 < len(self.layers) and self.layers[index + 1].loads.early_lines:
            loads = self.layers[index + 1].loads
            coming, tile, share, first = index + 1, 0, loads.early_lines, loads.early_pass
        else:
            return [None] * count
        total = units(self.layers[coming], self.tiles[coming][tile])
        return [self.load(coming, tile, at, n) for at, n in slices(total, share, count, first)]
