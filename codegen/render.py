"""Renders a program to C++ headers. Templates are strict: a missing value is an error."""

from __future__ import annotations

import hashlib
from pathlib import Path

import jinja2

from bfp.parameters import RECIPROCAL_BITS
from codegen.features import features
from codegen.lowering.array import FIELD_BITS, WEIGHT_PORT_BITS
from codegen.lowering.schedule import Program

TEMPLATES = Path(__file__).parent / "templates"
HLS = Path(__file__).parent.parent / "hls"

TABLES = {
    "ROUND_SHIFT": ("TableRow", "Accumulator to output mantissa: right by so many bits, left where negative."),
    "MAIN_SHIFT": ("TableRow", "Main operand of an addition, or psum of a depthwise filter: left."),
    "SHORTCUT_SHIFT": ("TableRow", "Shortcut's mantissa to the accumulator: left."),
    "INPUT_POOL_SHIFT": ("TableRow", "The same for means of an input that is pooled as it loads, by its words."),
    "CLAMP_HIGH": ("AccWord", "ReLU6's six at the accumulator's exponent."),
}

# The fields of hls/layer.hpp's Layer, in its order, by the headings they are printed under.
FIELD_GROUPS = (
    ("place in the schedule", ("number",)),
    ("input map", ("in_address", "in_words", "in_height", "in_width", "in_line_beats", "in_bits", "in_unsigned")),
    (
        "pooling as it loads",
        (
            "in_pool",
            "in_pool_height",
            "in_pool_width",
            "in_pool_whole",
            "in_pool_low",
            "in_pool_high",
            "in_pool_row",
        ),
    ),
    (
        "output map",
        ("out_words", "out_height", "out_width", "keeps_map", "out_address", "out_line_beats", "out_bits"),
    ),
    (
        "fused max pooling",
        (
            "pool",
            "pool_height",
            "pool_width",
            "pool_top",
            "pool_left",
            "pooled_address",
            "pooled_line_beats",
            "pooled_height",
            "pooled_width",
        ),
    ),
    (
        "shortcut",
        ("has_shortcut", "shortcut_address", "shortcut_line_beats", "shortcut_bits", "shortcut_unsigned"),
    ),
    ("window", ("kernel_height", "kernel_width", "stride_height", "stride_width", "pad_top", "pad_left", "pad_value")),
    ("tiles", ("tile_height", "tile_width", "tiles_down", "tiles_across", "tile_words", "word_tiles")),
    ("loads", ("slice_lines", "early_lines", "early_pass")),
    (
        "input buffer",
        ("pitch", "edge_pitch", "block_pixels", "row_step", "col_step", "down", "across", "taps", "tap_channels"),
    ),
    ("passes", ("group_words", "chunk_words", "chunks", "tile_passes", "edge_passes")),
    ("weights", ("weight_address", "weight_bits", "word_beats", "chunk_beats", "has_align")),
    ("epilogue", ("activation", "low", "high", "round_row", "main_row", "shortcut_row", "clamp_row")),
    (
        "average",
        (
            "count_top",
            "count_left",
            "count_bottom",
            "count_right",
            "rows_min",
            "cols_min",
            "cols_span",
            "reciprocal_row",
        ),
    ),
)


def environment() -> jinja2.Environment:
    """Strict templates: an undefined name is an error, not an empty string."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    )


def _tables(program: Program) -> list[dict]:
    tables = []
    for name, (kind, comment) in TABLES.items():
        blocks = [{"layer": layer, "rows": values.tolist()} for layer, values in program.tables[name]]
        if not blocks:  # C++ has no empty arrays
            blocks = [{"layer": "(no layer needs this table)", "rows": [[0] * program.options.lanes]}]
        rows = sum(len(b["rows"]) for b in blocks)
        tables.append({"name": name, "type": kind, "comment": comment, "rows": rows, "blocks": blocks})
    return tables


def _tensors(program: Program) -> tuple[list[dict], list[dict]]:
    tensors, segments = [], []
    for t in program.tensors:
        own = t.placement.segments()
        tensors.append(
            {
                "name": t.label if len(program.artifacts) == 1 else f"{program.artifacts[t.network].graph.name}/{t.label}",
                "layer": program.layers[t.layer].name if t.layer >= 0 else "(host)",
                "index": t.layer,
                "shape": t.shape,
                "bits": t.format.bits,
                "signed": "true" if t.format.signed else "false",
                "first": len(segments),
                "count": len(own),
            }
        )
        segments += own
    return tensors, segments


def render(program: Program, title: str) -> tuple[dict[str, str], str]:
    """Generated headers by file name, and the kernel's identity (16 hex digits).

    The identity is the start of a SHA-256 over everything that decides what
    the kernel computes: generated tables, hand-written HLS and the artifact.
    """
    env = environment()
    names = [layer.name for layer in program.layers]

    def widest(what: str) -> str:
        needs = [getattr(layer.tiling, what) for layer in program.layers]
        return names[needs.index(max(needs))] if needs else "no layer"

    tensors, segments = _tensors(program)
    reciprocals = [{"layer": layer, "row": row.tolist(), "count": len(row)} for layer, row in program.reciprocals]
    weight_words = max(program.weight_words, 1)
    context = {
        "title": title,
        "program": program,
        "array": program.array,
        "features": features(program),
        "digests": [a.digest[:16] for a in program.artifacts],
        "widest": {
            what: widest(what) for what in ("input_words", "weight_steps", "bias_words", "pool_words", "blocks")
        },
        "weight_words": weight_words,
        "input_words": -(-program.limit("input_words") // program.array.banks) * program.array.banks,
        "fmap_words": program.fmap_words,
        "macs": sum(layer.macs for layer in program.layers),
        "tables": _tables(program),
        "reciprocals": reciprocals or [{"layer": "(no layer needs this table)", "row": [0], "count": 1}],
        "reciprocal_bits": RECIPROCAL_BITS,
        "field_bits": FIELD_BITS,
        "weight_port_bits": WEIGHT_PORT_BITS,
        "layers": program.layers,
        "groups": FIELD_GROUPS,
        "tensors": tensors,
        "segments": segments,
        "identity": "0" * 16,
    }
    sources = {name: env.get_template(f"{name}.j2").render(context) for name in ("tables.hpp", "schedule.hpp")}
    hashed = hashlib.sha256(env.get_template("config.hpp.j2").render(context).encode())
    for text in sources.values():
        hashed.update(text.encode())
    for path in sorted(HLS.glob("*.[ch]pp")):
        hashed.update(path.read_bytes())
    for artifact in program.artifacts:
        hashed.update(artifact.digest.encode())
    identity = hashed.hexdigest()[:16]
    sources["config.hpp"] = env.get_template("config.hpp.j2").render({**context, "identity": identity})
    sources["tensors.hpp"] = env.get_template("tensors.hpp.j2").render(context)
    return sources, identity
