"""What the engine knows of a layer: its row of the schedule, and the C++ struct Layer (generated/layer.hpp).

Addresses are in beats of LANES bytes; a plane is the map of one word of channels. Tables are indexed by rows of LANES
entries. What needs no more has 16 bits: the schedule lies on chip.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from codegen.lowering.engine_operators import EngineOperator
from codegen.records import check_range, choice, number


class EngineActivation(Enum):
    """What the epilogue does with a sum before it is rounded."""

    NONE = 0
    RELU = 1
    RELU6 = 2


class InputPooling(Enum):
    """What becomes of a map as it loads."""

    UNPOOLED = 0
    LARGEST = 1
    MEAN = 2


ENUMERATIONS = (EngineOperator, EngineActivation, InputPooling)


@dataclass(frozen=True)
class PlaceFields:
    """EngineOperator, and place in the schedule."""

    op: EngineOperator = choice(EngineOperator)
    number: int = number(16, "counts layers, for the trace of the C simulation")


@dataclass(frozen=True)
class InputMapFields:
    """Input map."""

    in_address: int = number(32)
    in_words: int = number(16)
    in_height: int = number(16)
    in_width: int = number(16)
    in_line_beats: int = number(16, "memory words of one row of a plane")
    in_bits: int = number(16)
    in_unsigned: bool = number(16)


@dataclass(frozen=True)
class InputPoolFields:
    """Pooling of the input map as it loads; the window's stride and padding are the pool's then."""

    in_pool: InputPooling = choice(InputPooling, default=InputPooling.UNPOOLED)
    in_pool_height: int = number(16, default=0)
    in_pool_width: int = number(16, default=0)
    in_pool_whole: bool = number(16, "one window over the whole map", default=False)
    in_pool_low: int = number(16, default=0)
    in_pool_high: int = number(16, default=0)
    in_pool_row: int = number(16, default=0)


@dataclass(frozen=True)
class OutputMapFields:
    """Output map."""

    out_words: int = number(16)
    out_height: int = number(16)
    out_width: int = number(16)
    keeps_map: bool = number(16, "whether it is stored")
    out_address: int = number(32)
    out_line_beats: int = number(16)
    out_bits: int = number(16)


@dataclass(frozen=True)
class FusedPoolFields:
    """What max pooling with stride 2 makes of the output map, where that is fused."""

    pool: bool = number(16, default=False)
    pool_height: int = number(16, default=0)
    pool_width: int = number(16, default=0)
    pool_top: int = number(16, default=0)
    pool_left: int = number(16, default=0)
    pooled_address: int = number(32, default=0)
    pooled_line_beats: int = number(16, default=0)
    pooled_height: int = number(16, default=0)
    pooled_width: int = number(16, default=0)


@dataclass(frozen=True)
class ShortcutFields:
    """Shortcut map, of the output's shape."""

    has_shortcut: bool = number(16, default=False)
    shortcut_address: int = number(32, default=0)
    shortcut_line_beats: int = number(16, default=0)
    shortcut_bits: int = number(16, default=8)
    shortcut_unsigned: bool = number(16, default=False)
    shortcut_row: int = number(16, default=0)


@dataclass(frozen=True)
class WindowFields:
    """Window."""

    kernel_height: int = number(16)
    kernel_width: int = number(16)
    stride_height: int = number(16)
    stride_width: int = number(16)
    pad_top: int = number(16)
    pad_left: int = number(16)
    pad_value: int = number(16)


@dataclass(frozen=True)
class TileFields:
    """Tiles of the output, and input words held per tile."""

    tile_height: int = number(16)
    tile_width: int = number(16)
    tiles_down: int = number(16)
    tiles_across: int = number(16)
    tile_words: int = number(16)
    word_tiles: int = number(16)


@dataclass(frozen=True)
class LoadFields:
    """While a tile is computed, the next one loads, so many lines with each pass; the first one with the passes of the
    last tile of the layer before, from `early_pass` on, since when nothing that it needs is written (lines 0: between
    the layers). An input that is pooled as it loads comes in whole planes, which these count then.
    """

    slice_lines: int = number(32)
    early_lines: int = number(32, default=0)
    early_pass: int = number(16, default=0)


@dataclass(frozen=True)
class BufferFields:
    """What the input buffer holds: rows and columns that no window uses are left out; with few channels, a word holds
    several columns (taps) of them.
    """

    pitch: int = number(16, "words from a tile row to the next, in the input buffer")
    edge_pitch: int = number(16, "the same for the last tile across, if that is narrower")
    block_pixels: int = number(16, "output pixels per block: PIXELS, or 1 where strides hit one bank")
    row_step: int = number(16, "map rows per buffer row")
    col_step: int = number(16, "map columns per buffer column")
    down: int = number(16, "stride in buffer rows")
    across: int = number(16, "and in buffer columns")
    taps: int = number(16, "kernel columns per word")
    tap_channels: int = number(16, "channels of each")


@dataclass(frozen=True)
class PassFields:
    """Passes: words of output channels of one pass; if their weights do not fit on chip, one word is computed in
    several passes, chunks of its input words.
    """

    group_words: int = number(16)
    chunk_words: int = number(16)
    chunks: int = number(16)
    tile_passes: int = number(16, "of a tile")
    edge_passes: int = number(16, "of one with fewer words")


@dataclass(frozen=True)
class WeightFields:
    """Weights."""

    weight_address: int = number(32, default=0)
    weight_bits: int = number(16, default=8)
    word_beats: int = number(32, "memory words per word of output channels", default=0)
    chunk_beats: int = number(32, "memory words of a full chunk", default=0)
    has_align: bool = number(16, default=False)


@dataclass(frozen=True)
class EpilogueFields:
    """Epilogue."""

    activation: EngineActivation = choice(EngineActivation)
    low: int = number(16)
    high: int = number(16)
    round_row: int = number(16)
    main_row: int = number(16, "of the main operand's shifts; -1: it is not shifted", default=-1)
    clamp_row: int = number(16, default=0)


@dataclass(frozen=True)
class AverageFields:
    """Average pooling: bounds of what counts, and the reciprocal's table."""

    count_top: int = number(16, default=0)
    count_left: int = number(16, default=0)
    count_bottom: int = number(16, default=0)
    count_right: int = number(16, default=0)
    rows_min: int = number(16, default=0)
    cols_min: int = number(16, default=0)
    cols_span: int = number(16, default=0)
    reciprocal_row: int = number(16, default=0)


@dataclass(frozen=True)
class LayerFields:
    """All constants of a layer, by what they are about."""

    place: PlaceFields
    input_map: InputMapFields
    input_pool: InputPoolFields
    output_map: OutputMapFields
    fused_pool: FusedPoolFields
    shortcut: ShortcutFields
    window: WindowFields
    tiles: TileFields
    loads: LoadFields
    buffer: BufferFields
    passes: PassFields
    weights: WeightFields
    epilogue: EpilogueFields
    average: AverageFields

    @property
    def op(self) -> EngineOperator:
        return self.place.op


def check_fields(layer: str, fields: LayerFields) -> None:
    """Raise BfpError, naming the layer, where a constant has more bits than its field."""
    check_range(fields, f"layer {layer}", "the schedule", "use more lanes, or a smaller network or input")
