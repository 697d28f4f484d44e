"""All constants of a layer: where its maps, weights and tables lie, and how it is cut.

Addresses are in beats of LANES bytes; a plane is the map of one word of channels. Tables are indexed by rows of LANES
entries. The engine's jobs are made of them (codegen/lowering/jobs.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from codegen.lowering.engine_operators import EngineOperator


class EngineActivation(Enum):
    """What the epilogue does with a sum before it is rounded."""

    NONE = 0
    RELU = 1
    RELU6 = 2


class MapPlace(Enum):
    """Where a map lies: in external memory, or in the engine's own."""

    MEMORY = 0
    CHIP = 1


class InputPooling(Enum):
    """What becomes of a map as it loads."""

    UNPOOLED = 0
    LARGEST = 1
    MEAN = 2


@dataclass(frozen=True)
class InputMapFields:
    """Input map."""

    in_address: int
    in_words: int
    in_height: int
    in_width: int
    in_line_beats: int  # memory words of one row of a plane
    in_bits: int
    in_unsigned: bool
    in_place: MapPlace


@dataclass(frozen=True)
class InputPoolFields:
    """Pooling of the input map as it loads; the window's stride and padding are the pool's then."""

    in_pool: InputPooling = InputPooling.UNPOOLED
    in_pool_height: int = 0
    in_pool_width: int = 0
    in_pool_whole: bool = False  # one window over the whole map
    in_pool_low: int = 0
    in_pool_high: int = 0
    in_pool_row: int = 0


@dataclass(frozen=True)
class SpreadFields:
    """A map that grows as it loads: rows and columns lie ``down`` and ``across`` apart, and others between them.

    What lies between comes from the phases of the map, ``phase_words`` words of channels each, row by row; without
    phases (0) it is the map again. edges: the map gets a row and a column more on every side instead, equal to those at
    its edges.
    """

    down: int = 1
    across: int = 1
    phase_words: int = 0
    edges: bool = False

    @property
    def grows(self) -> bool:
        """Whether the map grows at all."""
        return self.down * self.across > 1 or self.edges

    @property
    def starts(self) -> tuple[int, ...]:
        """The column at which each phase of a row begins, in the order in which they load.

        Of a map with its edges, the same row to the right, to the left, and in the middle: each leaves of those before
        it what lies beyond its own ends.
        """
        return (2, 0, 1) if self.edges else tuple(range(self.across))


@dataclass(frozen=True)
class OutputMapFields:
    """Output map."""

    out_words: int
    out_height: int
    out_width: int
    keeps_map: bool  # whether it is stored
    out_address: int
    out_line_beats: int
    out_plane_rows: int  # of the map that it is stored to, which may have more than are computed
    out_bits: int
    out_unsigned: bool
    out_place: MapPlace


@dataclass(frozen=True)
class FusedPoolFields:
    """What max pooling with stride 2 makes of the output map, where that is fused."""

    pool: bool = False
    pool_height: int = 0
    pool_width: int = 0
    pool_top: int = 0
    pool_left: int = 0
    pooled_address: int = 0
    pooled_place: MapPlace = MapPlace.MEMORY
    pooled_line_beats: int = 0
    pooled_height: int = 0
    pooled_width: int = 0


@dataclass(frozen=True)
class ShortcutFields:
    """Shortcut map, of the output's shape, or of one pixel (held) or one channel (spread) that meets all of them."""

    has_shortcut: bool = False
    shortcut_address: int = 0
    shortcut_line_beats: int = 0
    shortcut_bits: int = 8
    shortcut_unsigned: bool = False
    shortcut_row: int = 0
    shortcut_height: int = 0
    shortcut_held: bool = False
    shortcut_spread: bool = False
    shortcut_place: MapPlace = MapPlace.MEMORY


@dataclass(frozen=True)
class WindowFields:
    """Window."""

    kernel_height: int
    kernel_width: int
    stride_height: int
    stride_width: int
    pad_top: int
    pad_left: int
    pad_value: int


@dataclass(frozen=True)
class TileFields:
    """Tiles of the output, and input words held per tile."""

    tile_height: int
    tile_width: int
    tiles_down: int
    tiles_across: int
    tile_words: int
    word_tiles: int
    rows_apart: int = 1  # output rows from one row of a tile to the next; tiles of the rows between follow


@dataclass(frozen=True)
class LoadFields:
    """While a tile is computed, the next one loads, so many lines with each pass; the first one with the passes of the
    last tile of the layer before, from `early_pass` on, since when nothing that it needs is written (lines 0: between
    the layers). An input that is pooled as it loads comes in whole planes, which these count then.
    """

    slice_lines: int
    early_lines: int = 0
    early_pass: int = 0


@dataclass(frozen=True)
class BufferFields:
    """What the input buffer holds: rows and columns that no window uses are left out; with few channels, a word holds
    several columns (taps) of them.
    """

    pitch: int  # words from a tile row to the next, in the input buffer
    edge_pitch: int  # the same for the last tile across, if that is narrower
    block_pixels: int  # output pixels per block: the operator's lanes, or 1 where strides hit one bank
    row_step: int  # map rows per buffer row
    col_step: int  # map columns per buffer column
    down: int  # stride in buffer rows
    across: int  # and in buffer columns
    taps: int  # kernel columns per word
    kernel_down: int  # buffer rows from a kernel row to the next
    kernel_across: int  # and buffer columns from a step of the kernel to the next
    tap_channels: int  # channels of each


@dataclass(frozen=True)
class PassFields:
    """Passes: words of output channels of one pass; if their weights do not fit on chip, one word is computed in
    several passes, chunks of its input words.
    """

    group_words: int
    chunk_words: int
    chunks: int
    tile_passes: int  # of a tile
    edge_passes: int  # of one with fewer words


@dataclass(frozen=True)
class WeightFields:
    """Weights."""

    weight_address: int = 0
    weight_bits: int = 8
    word_beats: int = 0  # memory words per word of output channels
    chunk_beats: int = 0  # memory words of a full chunk
    has_align: bool = False


@dataclass(frozen=True)
class DigitFields:
    """Mantissas of a dense layer that are wider than the array's operands, and go as two digits, one after the other."""

    wide_weights: bool = False
    wide_operands: bool = False

    @property
    def pairs(self) -> int:
        """Pairs of digits that meet, each in a cycle of its own; of whole mantissas one."""
        return (1 + self.wide_weights) * (1 + self.wide_operands)


@dataclass(frozen=True)
class EpilogueFields:
    """Epilogue."""

    activation: EngineActivation
    low: int
    high: int
    round_row: int
    main_row: int = -1  # of the main operand's shifts; -1: it is not shifted
    clamp_row: int = 0
    table: int = -1  # that low..high index; -1: these are the mantissas of the output
    lanes_row: int = -1  # of the lanes that hold a channel; -1: the others are zero anyway


@dataclass(frozen=True)
class AverageFields:
    """Average pooling: where the entries of the first pooled row and column lie in the tables that lead to the
    reciprocals.
    """

    average_row: int = 0
    average_column: int = 0


@dataclass(frozen=True)
class PictureFields:
    """Pictures that a layer takes at once. Their maps lie ``apart`` words, from one picture's arena to the next one's,
    and are one map to the layer: of all their rows, one picture's below the other's, and one row of the output each.
    """

    count: int = 1
    apart: int = 0

    @property
    def several(self) -> bool:
        """Whether it takes more than one."""
        return self.count > 1


@dataclass(frozen=True)
class LayerFields:
    """All constants of a layer, by what they are about."""

    op: EngineOperator
    input_map: InputMapFields
    input_pool: InputPoolFields
    spread: SpreadFields
    output_map: OutputMapFields
    fused_pool: FusedPoolFields
    shortcut: ShortcutFields
    window: WindowFields
    tiles: TileFields
    loads: LoadFields
    buffer: BufferFields
    passes: PassFields
    weights: WeightFields
    digits: DigitFields
    epilogue: EpilogueFields
    average: AverageFields
    pictures: PictureFields

    @property
    def picture_rows(self) -> int:
        """Rows of the input map that are one picture's."""
        return self.input_map.in_height // self.pictures.count

    def steps_out(self, height: int, line_beats: int) -> tuple[int, int]:
        """Words of memory from one row to the next, and from one plane to the next, of what the layer makes or of its
        shortcut: of a map of ``height`` rows of so many words, or of one of one row for each picture.
        """
        return (self.pictures.apart, line_beats) if self.pictures.several else (line_beats, height * line_beats)

    @property
    def stores_to(self) -> MapPlace:
        """Where what it stores goes: its map, or what max pooling makes of it; where both are stored, they go to memory."""
        return self.output_map.out_place if self.output_map.keeps_map else self.fused_pool.pooled_place

    @property
    def loads_in_parts(self) -> bool:
        """Whether a dense layer's input comes in parts, for each word of the output again, which partial sums wait between."""
        return self.op.traits.dense and self.tiles.word_tiles > 1
