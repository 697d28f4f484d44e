"""LUTs and DSPs of a function of the kernel: its module in Verilog, and what Yosys makes of it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from bfp.errors import BfpError
from codegen.area.compiled import STRAIGHT, TOP, Case, Parameter, compiled, layout, wrapper
from codegen.area.instructions import DIVIDER
from codegen.area.ir import parse
from codegen.area.memory import Byte, joined
from codegen.area.verilog import Converter

FAMILY = "xcup"  # UltraScale+
LUTS = tuple(f"LUT{inputs}" for inputs in range(1, 7))
DSP = "DSP48E2"
PORTS = "input [BITS-1:0] a, input [BITS-1:0] b, output [BITS-1:0] quotient"
LEFT_OUT = f"(* blackbox *) module {DIVIDER} #(parameter BITS = 32, parameter SIGNED = 1) ({PORTS}); endmodule"
DIVIDING = (
    f"module {DIVIDER} #(parameter BITS = 32, parameter SIGNED = 1) ({PORTS});\n"
    "wire [BITS-1:0] s = $signed(a) / $signed(b);\nwire [BITS-1:0] u = a / b;\n"
    "assign quotient = SIGNED ? s : u;\nendmodule"
)


@dataclass(frozen=True)
class Area:
    """What a function takes, if all of it is done in one cycle. dividers: left out of the rest."""

    luts: int
    dsps: int
    dividers: int


def as_declared(case: Case) -> Case:
    """The same at the widths of the types."""
    return replace(case, widths={})


def module(case: Case, generated: Path, dividing: bool = False) -> tuple[str, list[Parameter]]:
    """Verilog of a case, and its parameters.

    generated: folder of an engine's headers. dividing: with dividers that divide, for simulation. Every integer that
    is read or written is a port, ``in_`` or ``out_`` and its name. Raises BfpError for what cannot be converted.
    """
    parameters = layout(case, generated)
    parsed = parse(compiled(wrapper(case), generated, STRAIGHT))
    function = parsed.functions[TOP]
    memory = {name: [Byte(None, 0)] * p.bytes for name, p in zip(function.parameters, parameters)}
    converter = Converter(parsed, function, memory)
    ports, head = [], []
    for name, parameter in zip(function.parameters, parameters):
        for s in parameter.scalars if parameter.read else ():
            wide, port = 8 * s.bytes, f"in_{s.wire}"
            sign = f"{port}[{s.bits - 1}]" if s.signed else "1'b0"
            extended = port if s.bits == wide else f"{{{{{wide - s.bits}{{{sign}}}}}, {port}}}"
            ports.append(f"input [{s.bits - 1}:0] {port}")
            converter.wire(s.wire, wide, extended)
            memory[name][s.at : s.at + s.bytes] = [Byte(s.wire, 8 * n) for n in range(s.bytes)]
    before = {name: list(data) for name, data in memory.items()}
    after = converter.convert()
    for name, parameter in zip(function.parameters, parameters):
        for s in parameter.scalars if parameter.written else ():
            data = after[name][s.at : s.at + s.bytes]
            if data != before[name][s.at : s.at + s.bytes] or not parameter.read:
                ports.append(f"output [{s.bits - 1}:0] out_{s.wire}")
                head.append(f"assign out_{s.wire} = {converter.fresh(8 * s.bytes, joined(data, converter.widths))};")
    lines = [f"module {TOP}(", ",\n".join(ports), ");", *converter.lines, *head, "endmodule"]
    return "\n".join([DIVIDING if dividing else LEFT_OUT, *lines, ""]), parameters


def missing_yosys() -> str:
    """One sentence where Yosys is not installed, else nothing."""
    return "" if shutil.which("yosys") else "yosys is not installed (Debian: apt install yosys)"


def yosys(script: str, verilog: str) -> str:
    """What Yosys prints. The script names the source ``module.v``. Raises BfpError without Yosys, or with its error."""
    if missing_yosys():
        raise BfpError(missing_yosys())
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "module.v").write_text(verilog)
        Path(folder, "script.ys").write_text(script)
        done = subprocess.run(["yosys", "-s", "script.ys"], cwd=folder, capture_output=True, text=True, errors="replace")
    if done.returncode:
        raise BfpError(f"yosys: {(done.stderr.strip().splitlines() or ['no message'])[-1][-300:]}")
    return done.stdout


def yosys_version() -> str:
    return re.search(r"Yosys \d\S*", yosys("", "")).group()


def area(verilog: str) -> Area:
    """Of a module of ``module``, as Yosys synthesises it for UltraScale+."""
    script = f"read_verilog module.v\nsynth_xilinx -family {FAMILY} -noiopad -flatten -top {TOP}\nstat -json\n"
    printed = yosys(script, verilog)
    found = json.loads(printed[printed.rindex('{\n   "creator"') : printed.rindex("}") + 1])
    cells = found["design"]["num_cells_by_type"]
    dividers = sum(count for cell, count in cells.items() if DIVIDER in cell)
    return Area(sum(cells.get(lut, 0) for lut in LUTS), cells.get(DSP, 0), dividers)
