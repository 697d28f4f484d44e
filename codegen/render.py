"""Renders a program to C++ headers. Templates are strict: a missing value is an error."""

from __future__ import annotations

from pathlib import Path

import jinja2
import numpy as np

from bfp.limits import RECIPROCAL_BITS
from codegen.cpp_text import cpp_comment, cpp_string, upper_snake
from codegen.features import features
from codegen.identity import OWN_HEADER, engine_sources, kernel_identity
from codegen.lowering.array import DIGIT_BITS, FIELD_BITS
from codegen.lowering.engine_operators import EngineOperator
from codegen.lowering.jobs import ENUMERATIONS
from codegen.lowering.layer_fields import MapPlace
from codegen.lowering.schedule import BUFFER_USERS, ENTRIES, TABLES, ChipRange, Program
from codegen.lowering.step_tables import StepTables
from codegen.performance.counts import BURSTS, COUNTED, JOB_OF, LOOPS

TEMPLATES = Path(__file__).parent / "templates"

# what the kernel is compiled with, and what only the test bench is
KERNEL_HEADERS = ("config.hpp", OWN_HEADER, "jobs.hpp", "loops.hpp", "schedule.hpp", "tables.hpp")
BENCH_HEADERS = ("tensors.hpp",)
NO_IDENTITY = "0" * 16
NO_LAYER = "(no layer needs this table)"


def environment() -> jinja2.Environment:
    """Strict templates: an undefined name is an error, not an empty string.

    Templates print every name through ``cpp_string`` or ``cpp_comment``.
    """
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    )
    found.filters |= {"cpp_comment": cpp_comment, "cpp_string": cpp_string, "upper_snake": upper_snake}
    return found


def _tables(program: Program) -> list[dict]:
    tables = []
    for name, (kind, comment) in TABLES.items():
        blocks = [{"layer": layer, "rows": values.tolist()} for layer, values in program.tables[name]]
        if not blocks:  # C++ has no empty arrays
            blocks = [{"layer": NO_LAYER, "rows": [[0] * program.options.lanes]}]
        rows = sum(len(b["rows"]) for b in blocks)
        tables.append({"name": name, "type": kind, "comment": comment, "rows": rows, "blocks": blocks})
    return tables


def _entries(program: Program) -> list[dict]:
    """Tables of single integers."""
    tables = []
    for name, comment in ENTRIES.items():
        blocks = [{"layer": layer, "row": v.tolist(), "count": len(v)} for layer, v in program.entries[name]]
        blocks = blocks or [{"layer": NO_LAYER, "row": [0], "count": 1}]
        tables.append({"name": name, "comment": comment, "blocks": blocks})
    return tables


def _lookups(program: Program) -> list[dict]:
    """Tables of functions, as codes of a byte, each as long as the longest."""
    if not program.lookups:
        return [{"users": [NO_LAYER], "row": [0]}]
    size = 1 << program.lookup_bits
    found = []
    for table in program.lookups:
        # the codes of a shorter index lie where its sign puts them among the longer ones
        shorter = len(table.values)
        codes = np.arange(size)
        row = table.values[codes & (shorter - 1)].astype(np.int8)
        found.append({"users": table.users, "row": row.tolist()})
    return found


def _tensors(program: Program) -> tuple[list[dict], list[dict]]:
    tensors, segments = [], []
    for t in program.tensors:
        own, network = t.placement.segments(), program.artifacts[t.network].graph.name
        tensors.append(
            {
                "name": t.label if len(program.artifacts) == 1 else f"{network}/{t.label}",
                "layer": program.layers[t.layer].name if t.layer >= 0 else "(host)",
                "index": t.layer,
                "shape": t.shape,
                "bits": t.format.bits,
                "signed": "true" if t.format.signed else "false",
                "on_chip": "true" if t.placement.place is MapPlace.CHIP else "false",
                "first": len(segments),
                "count": len(own),
            }
        )
        segments += own
    return tensors, segments


def _context(program: Program, title: str) -> dict[str, object]:
    """What the templates read."""
    limits = {what: program.limit(what) for what in BUFFER_USERS}
    tensors, segments = _tensors(program)
    steps = StepTables(program)
    banks = program.array.banks
    return {
        "title": title,
        "program": program,
        "array": program.array,
        "features": features(program),
        "digests": [a.digest[:16] for a in program.artifacts],
        "limits": limits,
        "optional_operators": [op for op in EngineOperator if op is not EngineOperator.CONV],
        "input_words": -(-limits["input_words"].size // banks) * banks,
        "weight_words": max(program.weight_words, 1),
        "fmap_words": program.fmap_words,
        "output_words": max(layer.fields.output_map.out_words for layer in program.layers),
        "input_pool_rows": max(program.rows("INPUT_POOL_SHIFT"), 1),
        "average_rows": max(program.count("RECIPROCAL_ROW"), 1),
        "average_columns": max(program.count("RECIPROCAL_COLUMN"), 1),
        "networks": [(begin, shared, end) for (begin, end), shared in zip(program.ranges, program.shared)],
        "macs": sum(layer.macs for layer in program.layers),
        "tables": _tables(program),
        "entries": _entries(program),
        "lookups": _lookups(program),
        "reciprocal_bits": RECIPROCAL_BITS,
        "enumerations": ENUMERATIONS,
        "step_tables": steps.tables,
        "first_steps": steps.first_steps,
        "field_bits": FIELD_BITS,
        "digit_bits": DIGIT_BITS,
        "layers": program.layers,
        "loops": LOOPS,
        "bursts": BURSTS,
        "counted": COUNTED,
        "kinds": JOB_OF,
        "fetch_layers": [burst.layer for burst in steps.bursts] or [0],
        "taken_from": steps.taken_from if program.queue else [0],
        "chip_layers": [layer.chip.row for layer in program.layers] or [ChipRange().row],
        "tensors": tensors,
        "segments": segments,
    }


def render(program: Program, title: str) -> tuple[dict[str, str], str]:
    """Generated headers by file name, and the kernel's identity (16 hex digits), as codegen/identity.py makes it."""
    env, context = environment(), _context(program, title)

    def text(name: str, identity: str) -> str:
        return env.get_template(f"{name}.j2").render(context, identity=identity)

    sources = {name: text(name, NO_IDENTITY) for name in (*KERNEL_HEADERS, *BENCH_HEADERS)}
    identity = kernel_identity({name: sources[name] for name in KERNEL_HEADERS}, engine_sources())
    return {**sources, OWN_HEADER: text(OWN_HEADER, identity)}, identity
