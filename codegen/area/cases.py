"""The functions of the kernel's control that are measured, and the bits that their values need in an engine.

A body calls the function as it is. Where the kernel computes something in the middle of a loop, the
body repeats these statements.
"""

from __future__ import annotations

from codegen.area.compiled import Case

# What ResNet-50's engine for the Ultra96-V2 needs, and some a bit more. Addresses are beats of its arena of 707,231
# and of its weights of 1,662,508; a tile has at most 8,160 words in five banks; maps have at most 224 rows, padding
# left out, and 128 words of channels.
WIDTHS = {
    **dict.fromkeys(("in_address", "out_address", "pooled_address", "shortcut_address"), "u20"),
    **dict.fromkeys(("weight_address",), "u21"),
    **dict.fromkeys(("word_beats", "chunk_beats"), "u13"),
    **dict.fromkeys(("in_words", "out_words", "tile_words", "group_words", "chunk_words"), "p8"),
    **dict.fromkeys(("out_word", "tile_word", "word", "words", "chunk", "chunks"), "u8"),
    **dict.fromkeys(("outputs", "output"), "u6"),
    **dict.fromkeys(("in_height", "in_width", "out_height", "out_width", "in_line_beats", "out_line_beats"), "p8"),
    **dict.fromkeys(("pooled_height", "pooled_width", "pooled_line_beats", "shortcut_line_beats"), "p8"),
    **dict.fromkeys(("tile_height", "tile_width", "height", "width"), "p8"),
    **dict.fromkeys(("y", "x", "first_x", "map_rows", "map_columns", "from", "to", "tile_row"), "u8"),
    **dict.fromkeys(("in_bits", "out_bits", "weight_bits", "shortcut_bits"), "p4"),
    **dict.fromkeys(("kernel_height", "kernel_width", "taps", "stride_height", "stride_width"), "p3"),
    **dict.fromkeys(("in_pool_height", "in_pool_width", "block_pixels"), "p3"),
    **dict.fromkeys(("down", "across", "row_step", "col_step", "pool_height", "pool_width"), "p2"),
    **dict.fromkeys(("pad_top", "pad_left", "pool_top"), "u2"),
    **dict.fromkeys(("op", "kx", "ky"), "u3"),
    **dict.fromkeys(("in_pool", "part", "parts"), "u2"),
    **dict.fromkeys(("has_align", "keeps_map", "pool", "has_shortcut"), "u1"),
    **dict.fromkeys(("count_top", "count_left", "count_bottom", "count_right"), "u4"),
    **dict.fromkeys(("rows_min", "cols_min", "cols_span"), "u4"),
    **dict.fromkeys(("pitch", "edge_pitch"), "u8"),
    **dict.fromkeys(("blocks", "block"), "u12"),
    **dict.fromkeys(("pixels",), "u14"),
    **dict.fromkeys(("pixels_left",), "s15"),
    **dict.fromkeys(("step", "steps"), "u10"),
    **dict.fromkeys(("ahead",), "u3"),
    **dict.fromkeys(("row",), "u11"),  # of a bank
    **dict.fromkeys(("bank",), "u3"),
    **dict.fromkeys(("first", "last"), "u1"),
    **dict.fromkeys(("line", "lines", "map_lines", "buffer_word"), "u13"),
    **dict.fromkeys(("count", "skip"), "u8"),
    **dict.fromkeys(("columns.first",), "u8"),
    **dict.fromkeys(("columns.beats",), "u9"),
}

ONE_LANE = """
    const bool wraps = x >= tile_width - ahead;
    x += wraps ? ahead - tile_width : ahead;
    base = move(base, wraps ? walk_wraps : walk_stays);
    const Place from = move(base, offset);
    bank = has ? from.bank : BANKS;
    for (int b = 0; b < BANKS; ++b) {
        rows.row[b] = bank == b ? from.row : others.row[b];
    }
"""
FETCH_LINE = """
    const int32_t row = tile_row;
    const int32_t y = map_row(layer, tile, row);
    const bool exists = y >= 0 && y < layer.in_height && columns.beats > 0;
    const bool whole_lines = layer.row_step == 1 && columns.beats == layer.in_line_beats;
    const bool whole_planes = whole_lines && map_row(layer, tile, 0) == 0 && tile.map_rows == layer.in_height;
    const int32_t of_plane = least(least(layer.in_height - y, tile.map_rows - row), map_lines);
    const int32_t together = !exists ? 0 : whole_planes ? map_lines : whole_lines ? of_plane : 1;
    result.length = together * columns.beats;
    const int32_t line = (tile.word + word) * layer.in_height + y;
    result.address = layer.in_address + line * layer.in_line_beats + columns.first;
"""
SHORTCUT = """
    const int32_t rows = shortcut_rows(layer, tile, pass);
    const int32_t start_bit = tile.x * layer.shortcut_bits;
    const int32_t of_row = beats(tile.width, layer.shortcut_bits, start_bit & 7);
    const bool whole_lines = of_row == layer.shortcut_line_beats;
    const bool whole_planes = whole_lines && tile.height == layer.out_height;
    const int32_t together = whole_planes ? rows : whole_lines ? tile.height : 1;
    result.rows = rows;
    result.length = together * of_row;
    result.address = layer.shortcut_address +
                     (pass.out_word * layer.out_height + tile.y) * layer.shortcut_line_beats + (start_bit >> 3);
    result.next = (layer.out_height - tile.height + 1) * layer.shortcut_line_beats;
"""
STORE = """
    const bool pools = HAS_FUSED_POOL && layer.pool != 0;
    const int32_t first_pooled = pools ? pooled_rows(layer, tile.y) : 0;
    const int32_t pooled = pools ? pooled_rows(layer, tile.y + tile.height) - first_pooled : 0;
    const bool both = pools && layer.keeps_map != 0;
    const bool whole_lines = pools || tile.width == layer.out_width;
    const bool whole_planes = whole_lines && tile.height == layer.out_height;
    const int32_t of_word = pools ? pooled : tile.height;
    result.rows = finished_rows(tile, pass);
    result.together = both || !whole_lines ? 1 : whole_planes ? pass.outputs * of_word : of_word;
    result.address = layer.out_address + (pass.out_word * layer.out_height + tile.y) * layer.out_line_beats +
                     ((tile.x * layer.out_bits) >> 3);
    result.next = (layer.out_height - tile.height) * layer.out_line_beats;
    result.pooled_address =
        layer.pooled_address + (pass.out_word * layer.pooled_height + first_pooled) * layer.pooled_line_beats;
    result.next_pooled = (layer.pooled_height - pooled) * layer.pooled_line_beats;
"""
LAYER, TILE, PASS = "const Layer &layer", "const Tile &tile", "const Pass &pass"


def case(name: str, include: str, parameters: tuple[str, ...], body: str, types: str = "", **result: str) -> Case:
    """result: widths of members of the result; ``value`` where it has none."""
    own = {"result" if name == "value" else f"result.{name}": width for name, width in result.items()}
    return Case(name, include, ", ".join(parameters), body, WIDTHS | own, types)


CASES = (
    case(
        "window lane",
        "window.hpp",
        (
            *("int32_t &x", "Place &base", "int32_t &bank", "Rows &rows"),
            *("const Rows &others", "const int32_t &tile_width", "const int32_t &ahead", "const Place &walk_stays"),
            *("const Place &walk_wraps", "const Place &offset", "const bool &has"),
        ),
        ONE_LANE,
        "struct Rows { int32_t row[BANKS]; };",
    ),
    case("next_pixels", "window.hpp", ("WindowWalk &walk",), "next_pixels(walk);"),
    case("advance", "window.hpp", ("WindowWalk &walk",), "advance(walk);"),
    case("place", "window.hpp", ("const int32_t &buffer_word", "Place &result"), "result = place(buffer_word);"),
    case(
        "start_walk",
        "window.hpp",
        (LAYER, TILE, PASS, "const int32_t &parts", "WindowWalk &result"),
        "result = start_walk(layer, tile, pass, parts);",
    ),
    case(
        "cycles",
        "window.hpp",
        ("const WindowWalk &walk", PASS, "int32_t &result"),
        "result = cycles(walk, pass);",
        value="u20",
    ),
    case(
        "tile_at",
        "walk.hpp",
        (LAYER, "const int32_t &y", "const int32_t &x", "const int32_t &word", "Tile &result"),
        "result = tile_at(layer, y, x, word);",
    ),
    case("next_tile", "walk.hpp", (LAYER, TILE, "Tile &result"), "result = next_tile(layer, tile);"),
    case(
        "slice_at",
        "walk.hpp",
        (LAYER, TILE, "const int32_t &line", "const int32_t &lines", "Slice &result"),
        "result = slice_at(layer, tile, line, lines);",
    ),
    case(
        "pass_at",
        "walk.hpp",
        (LAYER, TILE, "const int32_t &word", "const int32_t &chunk", "Pass &result"),
        "result = pass_at(layer, tile, word, chunk);",
    ),
    case("next_pass", "walk.hpp", (LAYER, TILE, PASS, "Pass &result"), "result = next_pass(layer, tile, pass);"),
    case(
        "tile_columns",
        "fetch_tile.hpp",
        (LAYER, TILE, "Columns &result"),
        "result = tile_columns(layer, tile);",
        skip="u3",
        first="u8",
        beats="u9",
    ),
    case(
        "fetch_tile: a line's burst",
        "fetch_tile.hpp",
        (
            *(LAYER, TILE, "const Columns &columns", "const int32_t &tile_row", "const int32_t &word"),
            *("const int32_t &map_lines", "Burst &result"),
        ),
        FETCH_LINE,
        "struct Burst { int32_t length; int32_t address; };",
        length="u15",
        address="u20",
    ),
    case(
        "weight_range",
        "weights.hpp",
        (LAYER, PASS, "WeightRange &result"),
        "result = weight_range(layer, pass);",
        start="u21",
        align="u8",
        words="u13",
        beats="u13",
    ),
    case(
        "beats",
        "packing.hpp",
        ("const int32_t &count", "const int32_t &in_bits", "const int32_t &ahead", "int32_t &result"),
        "result = beats(count, in_bits, ahead);",
        value="u9",
    ),
    case(
        "pooled_rows",
        "store.hpp",
        (LAYER, "const int32_t &y", "int32_t &result"),
        "result = pooled_rows(layer, y);",
        value="u8",
    ),
    case(
        "row_parts",
        "store.hpp",
        (LAYER, TILE, "const int32_t &y", "RowParts &result"),
        "result = row_parts(layer, tile, y);",
        kept="u8",
        pooled="u8",
    ),
    case(
        "fetch_shortcut: a pass's bursts",
        "load_shortcut.hpp",
        (LAYER, TILE, PASS, "Bursts &result"),
        SHORTCUT,
        "struct Bursts { int32_t rows; int32_t length; int32_t address; int32_t next; };",
        rows="u13",
        length="u15",
        address="u20",
        next="u14",
    ),
    case(
        "store: a pass's bursts",
        "store.hpp",
        (LAYER, TILE, PASS, "Bursts &result"),
        STORE,
        "struct Bursts { int32_t rows; int32_t together; int32_t address; int32_t next; int32_t pooled_address; "
        "int32_t next_pooled; };",
        rows="u13",
        together="u13",
        address="u20",
        next="u14",
        next_pooled="u13",
    ),
    case(
        "reciprocal",
        "rounding.hpp",
        (LAYER, "const int32_t &y", "const int32_t &x", "int32_t &result"),
        "result = reciprocal(layer, layer.kernel_height, layer.kernel_width, y, x);",
        value="u23",
    ),
)
