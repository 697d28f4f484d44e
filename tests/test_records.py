"""Records of constants: struct, rows, range check and bits of a made-up one, and of the schedule's row."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, fields, replace
from enum import Enum

import pytest
from support.boards import BOARD
from support.compilers import EVERY, NO_CLANG
from support.random_graphs import random_artifact

from bfp import BfpError
from codegen.lint.artifacts import smallest_artifact, widest_artifact
from codegen.lowering.layer_fields import LayerFields, check_fields
from codegen.lowering.program import build
from codegen.options import EngineOptions
from codegen.performance.memories import block_memory, schedule_memory
from codegen.records import Layout, Number, check_range, choice, groups, number
from codegen.render import environment

HEADER = """{% import "records.j2" as records %}
#include <cstdint>
#include <cstdio>
{{ records.enumeration(colour) }}
struct Made {
{{- records.members(layout) }}
};
static const Made ROWS[] = {
{%- for row in rows %}
    {{ "{" }}
{{- records.row(layout, row) }}
    {{ "}" }},
{%- endfor %}
};
int main() {
    for (const Made &row : ROWS) {
{%- for group in layout.groups %}{% for field in group.fields %}
        std::printf("%lld ", static_cast<long long>(row.{{ field.name }}));
{%- endfor %}{% endfor %}
        std::printf("\\n");
    }
    const Made &row = ROWS[0];
    std::size_t bytes = 0;
{%- for group in layout.stored %}{% for field in group.fields %}
    bytes += sizeof(row.{{ field.name }});
{%- endfor %}{% endfor %}
    std::printf("%zu\\n", 8 * bytes);
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
    width: int = number(16)
    depth: int = number(32, "may be negative")
    tiny: int = number(8, signed=False)


@dataclass(frozen=True)
class Handle:
    """Its handle, if it has one."""

    has_handle: bool = number(8, default=False)
    inside: Colour = choice(Colour, default=Colour.GREEN)
    offset: int = number(16, default=-1)


@dataclass(frozen=True)
class Made:
    """A made-up record."""

    shape: Shape
    handle: Handle


PLAIN = Made(Shape(Colour.RED, 2**15 - 1, -(2**31), 255), Handle())
HANDLED = Made(Shape(Colour.GREEN, -(2**15), 2**31 - 1, 0), Handle(True, Colour.RED, 7))


def numbers(row: Made) -> list[int]:
    values = [getattr(getattr(row, g.name), f.name) for g in groups(Made) for f in g.fields]
    return [v.value if isinstance(v, Enum) else int(v) for v in values]


@pytest.mark.parametrize("compiler", EVERY)
@pytest.mark.parametrize("rows", [[PLAIN], [PLAIN, HANDLED], [HANDLED]], ids=["plain", "both", "handled"])
def test_generated_struct_has_the_values_in_the_bits_that_are_said(compiler, rows, tmp_path):
    if EVERY[compiler] is None:
        pytest.skip(NO_CLANG)
    layout = Layout.of(Made, rows)
    text = environment().from_string(HEADER).render(layout=layout, rows=rows, colour=Colour)
    (tmp_path / "made.cpp").write_text(text)
    flags = ["-std=c++14", "-O0", "-Wall", "-Wextra", "-Werror"]
    command = [EVERY[compiler], *flags, str(tmp_path / "made.cpp"), "-o", str(tmp_path / "made")]
    assert subprocess.run(command, capture_output=True, text=True).stderr == ""
    printed = subprocess.run([str(tmp_path / "made")], capture_output=True, text=True).stdout.splitlines()
    assert [list(map(int, line.split())) for line in printed[:-1]] == [numbers(row) for row in rows]
    assert int(printed[-1]) == layout.bits


def test_a_group_that_no_row_uses_takes_no_memory():
    plain, both = Layout.of(Made, [PLAIN]), Layout.of(Made, [PLAIN, HANDLED])
    assert (plain.constant, both.constant) == ({"handle"}, frozenset())
    assert (plain.bits, both.bits) == (32 + 16 + 32 + 8, 32 + 16 + 32 + 8 + 8 + 32 + 16)
    render = environment().from_string('{% import "records.j2" as r %}{{ r.members(layout) }}').render
    assert "static constexpr int16_t offset = -1;" in render(layout=plain)
    assert "static constexpr Colour inside = GREEN;" in render(layout=plain)
    assert "static constexpr" not in render(layout=both)
    assert "    uint8_t tiny;\n" in render(layout=both)
    assert "    Colour colour;  // of its outside\n" in render(layout=both)
    lines = render(layout=plain).split("\n")
    first = next(i for i, line in enumerate(lines) if line.startswith("    // Its shape: "))
    assert lines[first].endswith(" and is") and lines[first + 1] == "    // therefore wrapped."


def test_only_numbers_that_vary_are_counted():
    assert Layout.of(Made, [PLAIN, PLAIN]).varying_bits([PLAIN, PLAIN]) == 0
    other = replace(PLAIN, shape=replace(PLAIN.shape, width=3, tiny=15))
    # up to 32,767, and up to 255
    assert Layout.of(Made, [PLAIN, other]).varying_bits([PLAIN, other]) == 15 + 8
    signed = replace(PLAIN, shape=replace(PLAIN.shape, width=-3))
    assert Layout.of(Made, [PLAIN, signed]).varying_bits([PLAIN, signed]) == 16


@pytest.mark.parametrize(
    "name, least, most, bits",
    [("width", -(2**15), 2**15 - 1, 16), ("depth", -(2**31), 2**31 - 1, 32), ("tiny", 0, 255, 8)],
)
def test_what_a_field_cannot_hold_is_refused_with_what_to_change(name, least, most, bits):
    def check(value):
        shape = replace(PLAIN.shape, **{name: value})
        check_range(replace(PLAIN, shape=shape), "cup 3", "the shelf", "use a larger one")

    check(least)
    check(most)
    for value in (least - 1, most + 1):
        with pytest.raises(BfpError) as error:
            check(value)
        expected = rf"cup 3: its {name} is {value}, and the shelf has {bits} bits for it \(u?int{bits}_t\); use a .* one"
        assert re.fullmatch(expected, str(error.value))
    with pytest.raises(TypeError):
        check(1.5)


def test_a_choice_is_a_member_of_its_own_enumeration():
    wrong = replace(PLAIN, handle=replace(PLAIN.handle, inside="GREEN"))
    with pytest.raises(TypeError, match="'GREEN' is no member of Colour"):
        check_range(wrong, "cup 3", "the shelf", "use a larger one")


def test_fields_without_a_native_width_or_a_name_of_their_own_are_refused():
    with pytest.raises(ValueError, match="no native integer has 12 bits"):
        Number(12)

    @dataclass(frozen=True)
    class Bare:
        """No width."""

        size: int = 0

    def record(**kinds: type) -> type:
        return dataclass(frozen=True)(type("Holder", (), {"__annotations__": kinds}))

    with pytest.raises(TypeError, match="Bare.size has no width; make it with"):
        groups(record(bare=Bare))
    with pytest.raises(TypeError, match="Holder has two fields has_handle"):
        groups(record(left=Handle, top=Shape, right=Handle))


# -- the schedule's row ------------------------------------------------------------


def test_a_constant_that_the_schedule_cannot_hold_is_refused():
    row = build([smallest_artifact()], EngineOptions(), BOARD).layers[0].fields

    def changed(group: str, name: str, value: int) -> LayerFields:
        return replace(row, **{group: replace(getattr(row, group), **{name: value})})

    check_fields("conv1", changed("input_map", "in_address", 2**31 - 1))
    check_fields("conv1", changed("epilogue", "round_row", 2**15 - 1))
    for group, name, value in (
        ("input_map", "in_address", 2**31),
        ("epilogue", "round_row", 2**15),
        ("window", "pad_top", -(2**15) - 1),
    ):
        with pytest.raises(BfpError, match=f"layer conv1: its {name} is {value}, .* use more lanes, or a smaller"):
            check_fields("conv1", changed(group, name, value))


def test_what_a_network_does_not_use_takes_no_memory_in_the_schedule():
    small, wide = (build([a], EngineOptions(), BOARD) for a in (smallest_artifact(), widest_artifact()))
    assert small.layout().constant == {"input_pool", "fused_pool", "shortcut", "average"}
    assert wide.layout().constant == frozenset()
    assert small.layout().bits < wide.layout().bits
    # a schedule of more layers than a LUT has entries lies in block RAM, whose words are as wide as the layout says
    for program in (small, wide):
        program.layers[:] = program.layers * 100
    few, more = (block_memory(schedule_memory(program)).range for program in (small, wide))
    assert few.likely < more.likely


@pytest.mark.parametrize("seed", range(8))
def test_a_group_is_constant_exactly_where_no_layer_uses_it(seed):
    program = build([random_artifact(seed, 16)], EngineOptions(), BOARD)
    layers, constant = program.layers, program.layout().constant
    assert ("fused_pool" in constant) == all(layer.pool is None for layer in layers)
    assert ("input_pool" in constant) == all(layer.input_pool is None for layer in layers)
    assert ("shortcut" in constant) == all(not layer.fields.shortcut.has_shortcut for layer in layers)
    assert {f.name for f in fields(LayerFields)} >= constant
