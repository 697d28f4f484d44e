"""Packed records: structs, rows and bits of a made-up one in C++, and of the engine's jobs."""

from __future__ import annotations

import random
import re
import subprocess
from dataclasses import dataclass, replace
from enum import Enum
from types import SimpleNamespace

import pytest
from support.boards import BOARD
from support.compilers import EVERY, NO_CLANG
from support.random_graphs import random_artifact

from bfp import BfpError
from codegen.lint.artifacts import smallest_artifact, widest_artifact
from codegen.lowering.program import build
from codegen.lowering.step_tables import StepTables
from codegen.options import EngineOptions
from codegen.records import WORD_BITS, Packing, choice, groups, number, place
from codegen.render import environment

BANKS, LANES = 5, 3
HEADER = """{% import "records.j2" as records %}
#include <cstdint>
#include <cstdio>
constexpr int LANES = 3;
struct Place { int32_t row; int32_t bank; };
static int32_t narrow(int32_t value, int bits) {
    return static_cast<int32_t>(static_cast<uint32_t>(value) << (32 - bits)) >> (32 - bits);
}
{{ records.enumeration(colour) }}
{{ records.structs(table) }}
{{ records.unpack(table) }}
{{ records.rows(table) }}
int main() {
    (void)narrow;
    for (const MadeRow &row : MADE) {
        const MadeJob job = made_job(row);
{%- for slot in table.packing.slots %}
        std::printf("%d ", static_cast<int>(job.{{ slot.path }}));
{%- endfor %}
        std::printf("\\n");
    }
    std::printf("%d %d\\n", MadeJob::MOST_WIDTH, MadeJob::MOST_OFFSET);
    return 0;
}
"""


class Colour(Enum):
    """What it looks like."""

    RED = 0
    GREEN = 5


@dataclass(frozen=True)
class Shape:
    """Its shape: a comment that is so long that it does not fit on one line of the generated source, and is therefore
    wrapped.
    """

    colour: Colour = choice(Colour, "of its outside")
    width: int = number()
    depth: int = number("may be negative")
    start: int = place("of a word")


@dataclass(frozen=True)
class Handle:
    """Its handle, if it has one."""

    has_handle: bool = number(default=False)
    inside: Colour = choice(Colour, default=Colour.GREEN)
    offset: int = number(default=-1)
    x: tuple[int, ...] = number(each="LANES", default=(0,) * LANES)
    base: tuple[int, ...] = place(each="LANES", default=(0,) * LANES)


@dataclass(frozen=True)
class Made:
    """A made-up record."""

    shape: Shape
    handle: Handle


PLAIN = Made(Shape(Colour.RED, 2**15 - 1, -(2**31), 0), Handle())
HANDLED = Made(Shape(Colour.GREEN, 3, 2**31 - 1, 23), Handle(True, Colour.RED, 7, (1, 2, 300), (4, 5, 99)))


def packing(*rows: Made) -> Packing:
    return Packing.of(Made, rows, BANKS)


def unpacked(found: Packing, words: tuple[int, ...]) -> list[int]:
    """The parts of a row."""
    values = []
    for slot in found.slots:
        code = words[slot.word] >> slot.shift & (1 << slot.bits) - 1
        negative = slot.low < 0 and slot.bits and code >> (slot.bits - 1)
        values.append(slot.low if not slot.bits else code - (1 << slot.bits) if negative else code)
    return values


def parts(row: Made) -> list[int]:
    """The parts of a row, in words of their own."""
    found: list[int] = []
    for group in groups(Made):
        for field in group.fields:
            for value in field.values(getattr(row, group.name)):
                is_place = field.name in ("start", "base")
                found += divmod(value, BANKS) if is_place else [value.value if isinstance(value, Enum) else int(value)]
    return found


@pytest.mark.parametrize("compiler", EVERY)
@pytest.mark.parametrize("rows", [[PLAIN], [PLAIN, HANDLED], [HANDLED]], ids=["plain", "both", "handled"])
def test_generated_rows_say_what_was_packed(compiler, rows, tmp_path):
    if EVERY[compiler] is None:
        pytest.skip(NO_CLANG)
    found = packing(*rows)
    table = SimpleNamespace(
        name="MADE",
        row="MadeRow",
        record="MadeJob",
        function="made_job",
        packing=found,
        rows=rows,
        users=["a */ b"] * len(rows),
        bits=found.bits,
    )
    text = environment().from_string(HEADER).render(table=table, colour=Colour)
    (tmp_path / "made.cpp").write_text(text)
    flags = ["-std=c++14", "-O0", "-Wall", "-Wextra", "-Wno-unknown-pragmas", "-Werror"]
    command = [EVERY[compiler], *flags, str(tmp_path / "made.cpp"), "-o", str(tmp_path / "made")]
    assert subprocess.run(command, capture_output=True, text=True).stderr == ""
    printed = subprocess.run([str(tmp_path / "made")], capture_output=True, text=True).stdout.splitlines()
    assert [list(map(int, line.split())) for line in printed[:-1]] == [parts(row) for row in rows]
    widths, offsets = ([getattr(getattr(r, g), n) for r in rows] for g, n in (("shape", "width"), ("handle", "offset")))
    assert printed[-1] == f"{max(widths)} {max(0, *offsets)}"
    lines = text.split("\n")
    first = next(i for i, line in enumerate(lines) if line.startswith("    // Its shape: "))
    assert lines[first].endswith(" and is") and lines[first + 1] == "    // therefore wrapped."


def test_what_is_the_same_in_every_row_takes_no_bits():
    assert packing(PLAIN).bits == packing(PLAIN, PLAIN).bits == 0
    other = replace(PLAIN, shape=replace(PLAIN.shape, width=3, start=2))
    assert packing(PLAIN, other).bits == 15 + 2  # up to 32,767, and bank 2 of row 0
    signed = replace(PLAIN, shape=replace(PLAIN.shape, width=-3))
    assert packing(PLAIN, signed).bits == 16


@pytest.mark.parametrize("seed", range(20))
def test_rows_of_random_values_come_back_and_no_field_lies_in_two_words(seed):
    rng = random.Random(seed)

    def value(bits: int) -> int:
        return rng.randrange(-(2**bits), 2**bits)

    def row() -> Made:
        shape = Shape(rng.choice(list(Colour)), value(rng.randrange(31)), value(31), rng.randrange(5000))
        xs, bases = (tuple(rng.randrange(2 ** rng.randrange(1, 20)) for _ in range(LANES)) for _ in range(2))
        return Made(shape, Handle(rng.random() < 0.5, rng.choice(list(Colour)), value(rng.randrange(9)), xs, bases))

    rows = [row() for _ in range(rng.randrange(1, 9))]
    found = packing(*rows)
    assert all(slot.shift + slot.bits <= WORD_BITS for slot in found.slots)
    for made in rows:
        words = found.row(made)
        assert len(words) == found.words and all(0 <= word < 2**WORD_BITS for word in words)
        assert unpacked(found, words) == parts(made)


def test_what_the_engine_cannot_compute_with_is_refused_with_what_to_change():
    for depth in (2**31, -(2**31) - 1):
        wrong = replace(PLAIN, shape=replace(PLAIN.shape, depth=depth))
        with pytest.raises(BfpError, match=r"the schedule's depth would go from .* use more lanes, or a smaller network"):
            packing(wrong)
    with pytest.raises(TypeError):
        packing(replace(PLAIN, shape=replace(PLAIN.shape, depth=1.5)))
    with pytest.raises(ValueError, match="word -1 lies before the input buffer"):
        packing(replace(PLAIN, shape=replace(PLAIN.shape, start=-1)))


def test_a_choice_is_a_member_of_its_own_enumeration():
    with pytest.raises(TypeError, match="'GREEN' is no member of Colour"):
        packing(replace(PLAIN, handle=replace(PLAIN.handle, inside="GREEN")))


def test_fields_without_a_type_or_a_name_of_their_own_are_refused():
    @dataclass(frozen=True)
    class Bare:
        """No type."""

        size: int = 0

    def record(**kinds: type) -> type:
        return dataclass(frozen=True)(type("Holder", (), {"__annotations__": kinds}))

    with pytest.raises(TypeError, match="Bare.size has no type; make it with"):
        groups(record(bare=Bare))
    with pytest.raises(TypeError, match="Holder has two fields base"):
        groups(record(left=Handle, top=Shape, right=Handle))


# -- the engine's tables -----------------------------------------------------------


def tables(artifact) -> dict[str, object]:
    return {table.name: table for table in StepTables(build([artifact], EngineOptions(), BOARD)).tables}


def test_what_a_network_does_not_use_takes_no_memory_in_the_schedule():
    small, wide = tables(smallest_artifact()), tables(widest_artifact())
    for table, path in (("COMPUTES", "pooled_height"), ("COMPUTES", "has_shortcut"), ("LOADS", "in_pool")):
        bits = [next(s.bits for s in found[table].packing.slots if s.path == path) for found in (small, wide)]
        assert bits[0] == 0 < bits[1]
    assert small["COMPUTES"].bits < wide["COMPUTES"].bits


@pytest.mark.parametrize("seed", range(8))
def test_every_job_is_stored_once_and_every_step_names_its_own(seed):
    artifact = random_artifact(seed, 16)
    found = StepTables(build([artifact], EngineOptions(), BOARD))
    for jobs in (found.loads, found.weights, found.computes):
        assert len(set(jobs.rows)) == len(jobs.rows) == len(jobs.users)
    for row, step in zip(found.rows, found.walk.steps, strict=True):
        order = row.order
        assert (order.load > 0) == (step.load is not None) and (order.compute > 0) == (step.work is not None)
        assert max(order.load, 0) < len(found.loads.rows) and order.compute < len(found.computes.rows)
        if step.work is not None:
            assert found.computes.rows[order.compute].walk.outputs == step.work.out.outputs
    firsts = [n for n, step in enumerate(found.walk.steps) if step.enters]
    assert found.first_steps == [*firsts, len(found.rows)]
    assert all(re.fullmatch(r".+: .+", user) for user in found.users)
