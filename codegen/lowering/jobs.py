"""What the engine is told of each step: the records of its tables, which the C++ structs are made of.

Addresses are in beats of LANES bytes; a plane is the map of one word of channels. Maps are read and written in bursts:
``..._bursts`` of them in all; from one to the next goes ``..._step``, and after as many as a plane has, from plane to
plane ``..._plane_step``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from codegen.lowering.engine_operators import EngineOperator
from codegen.lowering.layer_fields import EngineActivation, InputPooling, MapPlace
from codegen.records import choice, number, place


ENUMERATIONS = (EngineOperator, EngineActivation, InputPooling, MapPlace)


@dataclass(frozen=True)
class FetchFields:
    """Bursts that fetch the lines of a map that exist. The slice begins `fetch_inside` words behind the first existing
    line of its first plane, in which `fetch_first_bursts` are left; the first, the last and all other bursts have
    lengths of their own. From on-chip memory the same words come one after the other, without bursts.
    """

    fetch_from: MapPlace = choice(MapPlace, default=MapPlace.MEMORY)
    fetch_bursts: int = number(default=0)
    fetch_plane: int = number("address of the first plane's first line that exists", default=0)
    fetch_inside: int = number(default=0)
    fetch_first_bursts: int = number(default=0)
    fetch_plane_bursts: int = number(default=0)
    fetch_step: int = number(default=0)
    fetch_plane_step: int = number(default=0)
    fetch_first: int = number("beats of the first burst", default=0)
    fetch_length: int = number("and of those between first and last", default=0)
    fetch_last: int = number(default=0)
    chip_beats: int = number("beats in all where the map is on chip; 0: it is not", default=0)


@dataclass(frozen=True)
class LineFields:
    """Lines of the map, those in the padding included: the first one is number `row` of `rows` in its plane; those from `top` to before `bottom` exist.
    """

    unpack_cycles: int = number("for all words, and for the first beat of each line that has bits to skip", default=0)
    row: int = number(default=0)
    rows: int = number(default=0)
    top: int = number(default=0)
    bottom: int = number(default=0)
    columns: int = number(default=0)
    columns_before: int = number("in the padding", default=0)
    columns_end: int = number("those before this exist", default=0)
    skip: int = number("bits of the first beat that belong to columns before", default=0)
    in_bits: int = number(default=8)
    in_unsigned: bool = number(default=False)
    pad_value: int = number(default=0)


@dataclass(frozen=True)
class InputPoolJobFields:
    """Pooling of the map as it loads, word by word."""

    in_pool: InputPooling = choice(InputPooling, default=InputPooling.UNPOOLED)
    pool_words: int = number("of the map, padding included, whether they are pooled or not", default=0)
    in_pool_height: int = number(default=0)
    in_pool_width: int = number(default=0)
    in_pool_down: int = number("stride", default=0)
    in_pool_across: int = number("and across", default=0)
    in_pool_whole: bool = number("one window over the whole map", default=False)
    in_pool_low: int = number(default=0)
    in_pool_high: int = number(default=0)
    in_pool_row: int = number("of the first word's shifts", default=0)
    in_average_row: int = number("of the first pooled row's entry for its reciprocals", default=0)
    in_average_column: int = number(default=0)


@dataclass(frozen=True)
class BufferJobFields:
    """Where the lines go in the input buffer; with few channels, a word holds several columns (taps) of them. Of a map that
    grows, each phase has lines of its own, and columns apart.
    """

    load_words: int = number("columns of all lines", default=0)
    line_columns: int = number("of each", default=0)
    line_start: int = place(default=0)
    next_line: int = place("from the last word of a line to the first of the next", default=0)
    next_buffered: int = place("from a word to the next", default=0)
    phase_lines: int = number("of each phase", default=0)
    first_phase_lines: int = number("of the first one", default=0)
    next_phase: int = place("first word of the second phase, from where each begins a column behind the one before", default=0)
    column_step: int = number("map columns per buffer column", default=1)
    taps: int = number("columns per word", default=1)
    tap_channels: int = number("channels of each", default=0)
    newest: int = number("lane in which the newest of them starts", default=0)


@dataclass(frozen=True)
class LoadJob:
    """Load some lines of a tile into the input buffer."""

    fetch: FetchFields = field(default_factory=FetchFields)
    map: LineFields = field(default_factory=LineFields)
    input_pool: InputPoolJobFields = field(default_factory=InputPoolJobFields)
    buffer: BufferJobFields = field(default_factory=BufferJobFields)


@dataclass(frozen=True)
class WeightJobFields:
    """Weights of one pass, output word after output word; all of them are one burst, which the step says the start of, or
    come out of the queue.
    """

    weight_outputs: int = number("words of output channels; 0: nothing to load", default=0)
    weight_beats: int = number("of memory, in all", default=0)
    weight_bits: int = number(default=8)
    depthwise: bool = number(default=False)
    align_rows: int = number("of alignment shifts, for each output word", default=0)
    has_align: bool = number("whether these lie in memory, or are zeros", default=False)
    weight_words: int = number("of mantissas, for each output word", default=0)
    weight_takes: int = number("in which they are unpacked, one or two words at a time", default=0)
    weight_rows: int = number("of the weight buffer that they fill", default=0)


@dataclass(frozen=True)
class ComingShortcutFields:
    """Shortcut of the same pass where that lies in on-chip memory: all of it is read a step ahead, in bursts of equal lengths."""

    coming_beats: int = number("in all; 0: it is not on chip", default=0)
    coming_length: int = number("of a burst", default=0)
    coming_plane_bursts: int = number(default=0)
    coming_step: int = number(default=0)
    coming_plane_step: int = number(default=0)


@dataclass(frozen=True)
class WeightsJob:
    """Load what a pass needs a step ahead: its weights, and its shortcut from on-chip memory."""

    weights: WeightJobFields = field(default_factory=WeightJobFields)
    coming: ComingShortcutFields = field(default_factory=ComingShortcutFields)


@dataclass(frozen=True)
class QueueFields:
    """The queue of weights on chip: bursts that are fetched into it, and beats that it gives to the weight buffers, one of
    each in an iteration of its loop, from an iteration of its own on. As many go out as the weights have.
    """

    bursts: int = number(default=0)
    first_burst: int = number("its row of FETCHES", default=0)
    inside: int = number("beats of it that are left out", default=0)
    pushes: int = number("beats of all bursts", default=0)
    push_at: int = number("word of the queue for the first one", default=0)
    push_from: int = number("iteration", default=0)
    pop_at: int = number("word of the queue with the first beat that goes out", default=0)
    pop_from: int = number("iteration", default=0)


@dataclass(frozen=True)
class QueueJob:
    """What a step does with the queue of weights."""

    queue: QueueFields = field(default_factory=QueueFields)


@dataclass(frozen=True)
class WeightBurstFields:
    """One burst of weights, of one layer."""

    start: int = number("address", default=0)
    beats: int = number(default=0)


@dataclass(frozen=True)
class FetchJob:
    """Fetch a burst of weights."""

    burst: WeightBurstFields = field(default_factory=WeightBurstFields)


@dataclass(frozen=True)
class ShortcutJobFields:
    """Shortcut: the same rows and columns of its map, or its only pixel, of the same words or of its only channel."""

    has_shortcut: bool = number(default=False)
    shortcut_from: MapPlace = choice(MapPlace, "from on-chip memory it has come a step ahead", default=MapPlace.MEMORY)
    shortcut_bursts: int = number(default=0)
    shortcut_plane_bursts: int = number(default=0)
    shortcut_step: int = number(default=0)
    shortcut_plane_step: int = number(default=0)
    shortcut_length: int = number("beats of a burst", default=0)
    shortcut_cycles: int = number("for all words, and for the first beat of each row that has bits to skip", default=0)
    shortcut_bits: int = number(default=8)
    shortcut_unsigned: bool = number(default=False)
    shortcut_skip: int = number("bits of the first beat that belong to columns before", default=0)
    shortcut_held: bool = number("its only pixel meets all of them", default=False)
    shortcut_spread: bool = number("its only channel meets all of them", default=False)


@dataclass(frozen=True)
class WalkFields:
    """Walk over the windows of a tile (hls/window.hpp): for each of `outputs` words and `blocks` of pixels `steps`
    cycles a part, in `kernel_height` x `kernel_width` kernel positions of each input word, at each of them one for every
    pair of digits.
    """

    op: EngineOperator = choice(EngineOperator, default=EngineOperator.CONV)
    outputs: int = number("words of output channels; 0: nothing to compute", default=0)
    first: bool = number("accumulators start from the bias", default=False)
    last: bool = number("accumulators are complete after this pass", default=False)
    operand_unsigned: bool = number(default=False)
    wide_weights: bool = number("they go as two digits, one after the other", default=False)
    wide_operands: bool = number("and so do the activations", default=False)
    cycles: int = number(default=0)
    steps: int = number(default=0)
    kernel_height: int = number(default=0)
    kernel_width: int = number(default=0)
    align_words: int = number("rows of alignment shifts of each output word", default=0)
    blocks: int = number("of pixels", default=0)
    block_pixels: int = number("the operator's pixel lanes, or 1 where strides hit one bank", default=0)
    pixels: int = number("of an output word", default=0)
    width: int = number("of the tile", default=0)
    ahead: int = number("columns by which a lane moves from block to block, beyond whole rows", default=0)
    stays: int = place("from its window to that in the next block, in the row that this gives", default=0)
    wraps: int = place("and where it goes on in the next one", default=0)
    next_column: int = place("from a kernel column to the next one", default=0)
    next_row: int = place("from the last kernel column to the next kernel row", default=0)
    next_word: int = place("from the last kernel position to the next input word", default=0)
    next_output: int = place("from the first input word of an output word to that of the next", default=0)


@dataclass(frozen=True)
class EpilogueJobFields:
    """Epilogue, of `results` words. The rows of its tables are those of the layer's first output word."""

    results: int = number(default=0)
    activation: EngineActivation = choice(EngineActivation, default=EngineActivation.NONE)
    low: int = number("least mantissa of the output, or of the index of its table", default=0)
    high: int = number("and the largest", default=0)
    round_row: int = number(default=0)
    has_main: bool = number("whether the main operand is shifted", default=False)
    main_row: int = number(default=0)
    shortcut_row: int = number(default=0)
    clamp_row: int = number(default=0)
    looks_up: bool = number("whether the output is read from a table", default=False)
    table: int = number(default=0)
    masks: bool = number("whether lanes without a channel have to be kept at zero", default=False)
    lanes_row: int = number(default=0)


@dataclass(frozen=True)
class StoreJobFields:
    """Rows that go out, `height` of each word: of the map, of what max pooling with stride 2 makes of it, or of both,
    where they take turns.
    """

    store_to: MapPlace = choice(MapPlace, default=MapPlace.MEMORY)
    height: int = number(default=0)
    pack_cycles: int = number("for all words, and for the last beat of each row that is not full", default=0)
    out_bits: int = number(default=8)
    out_unsigned: bool = number(default=False)
    keeps_map: bool = number(default=False)
    store_turns: int = number("bursts of the only map, or rows where there are two", default=0)
    map_plane_bursts: int = number(default=0)
    map_step: int = number(default=0)
    map_plane_step: int = number(default=0)
    map_length: int = number(default=0)
    pools: bool = number(default=False)
    pool_height: int = number(default=0)
    pool_width: int = number(default=0)
    pool_top: int = number(default=0)
    pool_left: int = number(default=0)
    out_height: int = number("of the map that is pooled", default=0)
    pooled_height: int = number(default=0)
    pooled_width: int = number(default=0)
    pooled_plane_bursts: int = number(default=0)
    pooled_step: int = number(default=0)
    pooled_plane_step: int = number(default=0)
    pooled_length: int = number(default=0)
    chip_beats: int = number("beats in all that stay on chip; 0: the map does not", default=0)


@dataclass(frozen=True)
class LaneFields:
    """Columns and windows of the pixel lanes in the first block."""

    first_x: tuple[int, ...] = number(each="WALK_PIXELS")
    first_base: tuple[int, ...] = place(each="WALK_PIXELS")


@dataclass(frozen=True)
class ComputeJob:
    """Compute a pass over a tile, round and store what it completes."""

    walk: WalkFields
    shortcut: ShortcutJobFields
    epilogue: EpilogueJobFields
    store: StoreJobFields
    lanes: LaneFields


@dataclass(frozen=True)
class OrderFields:
    """What runs at the same time: rows of the tables of jobs. What a step loads goes into the halves of the double
    buffers that it does not compute from.
    """

    layer: int = number()
    enters: bool = number("loads what the layer starts with, where no step before has done so", default=False)
    waits: bool = number("no step before loads the layer's first tile", default=False)
    load: int = number(default=0)
    load_ahead: bool = number("of the layer after", default=False)
    weights: int = number(default=0)
    weights_ahead: bool = number("of the layer after", default=False)
    queue: int = number(default=0)
    compute: int = number(default=0)
    input_half: bool = number("of the input buffer, to compute from", default=False)
    weight_half: bool = number("and of the weights", default=False)


@dataclass(frozen=True)
class PositionFields:
    """Where in the layer the step stands."""

    weights_start: int = number("address of the weights that load, where no queue has them", default=0)
    window_start: int = place("first input word of the pass", default=0)
    out_word: int = number("first word of output channels", default=0)
    out_y: int = number("first row of the tile", default=0)
    shortcut_plane: int = number("address of the first burst of the shortcut", default=0)
    coming_plane: int = number("and of that of the pass after, in on-chip memory", default=0)
    map_plane: int = number("of the first burst that is stored of the map", default=0)
    pooled_plane: int = number("and of the pooled map", default=0)
    pooled_line: int = number("of the running maxima, first one", default=0)
    average_row: int = number("of the first row's entry for its reciprocals", default=0)
    average_column: int = number(default=0)


@dataclass(frozen=True)
class StepRow:
    """One step of the engine."""

    order: OrderFields
    position: PositionFields = field(default_factory=PositionFields)
