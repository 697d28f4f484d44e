"""Area of the kernel: converted Verilog computes what the compiled C++ does, and Yosys says what it takes."""

from __future__ import annotations

import ctypes
import re
import subprocess
from pathlib import Path
from random import Random

import pytest

from bfp import BfpError
from codegen.area.__main__ import main
from codegen.area.cases import CASES, WIDTHS
from codegen.area.compiled import CLANGS, STRAIGHT, TOP, Case, find_clang, flags, layout, matching
from codegen.area.compiled import missing_clang, wrapper
from codegen.area.measure import as_declared, missing_yosys, module, yosys
from codegen.area.operators import Operators, operators, outside
from codegen.generate import generate
from codegen.lint.artifacts import widest_artifact
from codegen.options import EngineOptions
from codegen.performance.board import DEFAULT_BOARD, load_board

with_clang = pytest.mark.skipif(bool(missing_clang()), reason=missing_clang())
with_both = pytest.mark.skipif(bool(missing_clang() or missing_yosys()), reason=missing_clang() or missing_yosys())
DRAWS = 40


def small(name: str, parameters: str, body: str, types: str = "", **widths: str) -> Case:
    return Case(name, "packing.hpp", parameters, body, widths, types)


# what the kernel's functions do not have, or not at once
TWO = "const int32_t &a, const int32_t &b, int32_t &result"
CONSTRUCTS = (
    small("quotients", TWO, "result = a / 5 + 7 * (a % 5) + a / 8 + a % 8 + (a * 3) / 7 - 60 * b;", a="s12", b="u5"),
    small("all quotients", "const int32_t &a, int32_t &result", "result = a / 11;"),
    small(
        "unsigned quotients",
        "const uint32_t &a, const uint32_t &b, uint32_t &result",
        "result = a / 5 + 7 * (a % 13) + a / b + a % b;",
        b="p7",
    ),
    small("variable quotients", TWO, "result = a / b + 5 * (a % b);", a="s12", b="p5"),
    small("shifts", TWO, "result = (a >> b) ^ (int32_t)((uint32_t)a << b) ^ (int32_t)((uint32_t)a >> b);", b="u5"),
    small(
        "table",
        TWO,
        "result = (a >> 3) * TAKES[b][7] + TAKES[b][a & 7];",
        "static const int8_t TAKES[8][8] = {"
        + ", ".join("{" + ", ".join(str(-(-x * y // 9)) for x in range(8)) + "}" for y in range(8))
        + "};",
        a="u9",
        b="u3",
    ),
    small(
        "returns",
        TWO,
        "result = chosen(a, b);",
        "int chosen(int a, int b) {\n"
        "if (a > 90) return b; if (b > 40) { if (a < b) return a * b; return 3; } return a - b; }",
        a="s8",
        b="s8",
    ),
    small(
        "switch",
        TWO,
        "switch (a) { case 0: result = b * b; break; case 3: case 5: result = b + 9; break; "
        "case 6: result = b >> 1; break; default: result = -b; }",
        a="u3",
        b="s10",
    ),
    small(
        "local array",
        "const int32_t &a, const int32_t &b, const int32_t &c, int32_t &result",
        "int32_t kept[8] = {b, c, b, c, 1, 2, 3, b - c}; kept[a] = b * c; kept[(a + 3) & 7] += b; "
        "result = kept[c & 7] - kept[a];",
        a="u3",
        b="s9",
        c="s9",
    ),
    small(
        "array in place",
        "Lanes<int16_t, 5> &word, const int32_t &a, const bool &flag",
        "if (flag) { word.lane[a] = 7; } else { word.lane[2] = word.lane[a]; }",
        a="u2",
    ),
    small(
        "chosen struct",
        "const Both &a, const Both &b, const bool &flag, Both &result",
        "const Both &taken = flag ? a : b; result = taken; result.y -= taken.x;",
        "struct Both { int32_t x; int32_t y; };",
        x="s9",
        y="s9",
    ),
)


@pytest.fixture(scope="module")
def generated(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("area")
    generate([widest_artifact()], EngineOptions(), load_board(DEFAULT_BOARD), folder)
    return folder / "generated"


def library(case: Case, generated: Path, folder: Path) -> ctypes.CDLL:
    """The function of a case, compiled."""
    source, binary = folder / "source.cpp", folder / f"{re.sub(r'W', '_', case.name)}.so"
    source.write_text(wrapper(case))
    options = (*STRAIGHT, "-fPIC", "-shared", "-nostdlib", "-o", str(binary))
    command = [find_clang(), *flags(generated), *options, str(source)]
    subprocess.run(command, check=True, capture_output=True)
    return ctypes.CDLL(str(binary))


def drawn(random: Random, width: str | None, scalar) -> int:
    """An integer of a width of the table, or of its type, now and then an end of the range."""
    kind, bits = (width[0], int(width[1:])) if width else ("s" if scalar.signed else "u", scalar.bits)
    low, high = -(1 << bits - 1) if kind == "s" else int(kind == "p"), (1 << bits - (kind == "s")) - 1
    return random.choice((low, high, random.randint(low, high), random.randint(low, high), random.randint(low, high)))


def evaluated(verilog: str, inputs: list[dict[str, int]]) -> list[dict[str, int]]:
    """Outputs of a module for each set of inputs, by Yosys."""
    ports = {name: int(high) + 1 for high, name in re.findall(r"input \[(\d+):0\] (in_\w+)", verilog)}
    shown = re.findall(r"output \[\d+:0\] (out_\w+)", verilog)
    lines = [
        f"log round\neval {' '.join(f'-set {n} {w}{chr(39)}d{values[n] % (1 << w)}' for n, w in ports.items())} "
        f"{' '.join(f'-show {n}' for n in shown)} {TOP}"
        for values in inputs
    ]
    elaborated = ("read_verilog module.v", "hierarchy -top measured", "proc", "flatten", "memory")
    printed = yosys("\n".join([*elaborated, *lines, ""]), verilog)
    found = []
    for text in printed.split("\nround\n")[1:]:
        pairs = re.findall(r"Eval result: \\(out_\w+) = (?:\d+'([01]+)|(-?\d+))\.", text)
        found.append({name: int(bits, 2) if bits else int(number) for name, bits, number in pairs})
        assert set(found[-1]) == set(shown)
    return found


def compare(case: Case, widths: dict[str, str], generated: Path, folder: Path) -> None:
    """Verilog and compiled C++ of a case on inputs of these widths."""
    random, (verilog, parameters) = Random(7), module(case, generated, dividing=True)
    call = getattr(library(case, generated, folder), TOP)
    inputs, expected = [], []
    for _ in range(DRAWS):
        values, memory = {}, []
        for parameter in parameters:
            data = bytearray(parameter.bytes)
            for s in parameter.scalars if parameter.read else ():
                key = matching(widths, s.name)
                value = values[f"in_{s.wire}"] = drawn(random, widths[key] if key else None, s)
                data[s.at : s.at + s.bytes] = value.to_bytes(s.bytes, "little", signed=value < 0)
            memory.append(ctypes.create_string_buffer(bytes(data), len(data)))
        call(*memory)
        inputs.append(values)
        expected.append({
            f"out_{s.wire}": int.from_bytes(buffer.raw[s.at : s.at + s.bytes], "little") % (1 << s.bits)
            for parameter, buffer in zip(parameters, memory)
            for s in parameter.scalars
        })
    for values, right, found in zip(inputs, expected, evaluated(verilog, inputs)):
        assert found, case.name
        for name, value in found.items():
            assert value == right[name], (case.name, name, values)


@with_both
@pytest.mark.parametrize("case", CONSTRUCTS, ids=lambda case: case.name)
def test_every_construct_computes_what_the_compiled_function_does(case, generated, tmp_path):
    compare(case, case.widths, generated, tmp_path)


@with_both
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_measured_logic_computes_what_the_kernel_does(case, generated, tmp_path):
    compare(as_declared(case), case.widths, generated, tmp_path)


@with_both
def test_narrow_logic_computes_the_same(generated, tmp_path):
    case = next(case for case in CASES if case.name == "advance")
    compare(case, case.widths, generated, tmp_path)


@with_both
def test_table_of_known_logic(generated, monkeypatch, capsys):
    parameters = "const int32_t &a, const int32_t &b, int32_t &product, int32_t &sum, int32_t &quotient"
    body = "product = a * b; sum = a + b; quotient = a / b;"
    known = small("known", parameters, body, a="s18", b="s16", sum="s12")
    monkeypatch.setattr("codegen.area.__main__.CASES", (known,))
    assert main([str(generated.parent)]) == 0
    lines = capsys.readouterr().out.splitlines()
    row = next(line.split() for line in lines if line.startswith("known"))
    # 32 x 32 bits are three or four multipliers of 27 x 18, and their sum; 18 x 16 bits are one
    assert int(row[1]) >= 32 and int(row[2]) in (3, 4) and row[3:] == ["1", "12", "1", "1"]
    assert any(line.split()[0:1] == ["mean"] for line in lines)


@with_clang
def test_dividers_are_seen(generated):
    verilog, _ = module(small("division", TWO, "result = a / b + a % b;"), generated)
    assert verilog.count("divider #(.BITS") == 1  # one for both


@with_clang
@pytest.mark.parametrize(
    "parameters, body, message",
    [
        (
            "const int32_t &a, int32_t &result",
            "for (int i = 0; i < a; ++i) { result += a * i * result; }",
            "a loop was not unrolled",
        ),
        ("const float &a, float &result", "result = a + 1;", "only integers are"),
        ("const int32_t &a, int32_t &result", "result = outside(a);", "was not inlined"),
    ],
)
def test_what_is_not_known_is_refused(parameters, body, message, generated):
    with pytest.raises(BfpError, match=message):
        module(small("refused", parameters, body, "int outside(int a);"), generated)


def test_every_width_is_used(generated):
    used = {matching(WIDTHS, s.name) for case in CASES for p in layout(case, generated) for s in p.scalars}
    assert set(WIDTHS) <= used


@pytest.mark.skipif(find_clang() != CLANGS[0], reason=f"what is inlined, and so counted twice, is known of {CLANGS[0]}")
def test_operators_of_the_whole_engine(generated):
    found = operators(generated)
    assert found["mean"] == Operators(1, 0)
    total = outside(found)
    assert total == Operators(0, 0)  # control counts


def test_missing_tools_are_said(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main([]) == 0
    assert re.fullmatch(r"skipped: none of clang\+\+-16, .* is installed .*\n", capsys.readouterr().out)
