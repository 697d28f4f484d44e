"""What the stages of a real network read and write, recorded by a C simulation.

A copy of the engine is made in which each call of a stage in the dataflow
region notes its arguments before and after it (hls/csim/recording). How a
stage's arguments are called and typed is read from its declaration, so that a
stage that is added or changed needs no change here.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bfp.errors import BfpError
from codegen.lowering.array import Array
from codegen.simulation.csim import HLS, compile_engine, run_testbench, write_golden
from bfp.files import write_text
from codegen.lowering.schedule import Program
from codegen.simulation.source_text import blank_comments, scan
from codegen.simulation.threaded import find_region

FUNCTION = re.compile(r"\b(?:inline|static)\s+void\s+(\w+)\s*\(([^)]*)\)\s*\{")
STREAM = re.compile(r"hls::stream<(\w+)> &(\w+)")
ARRAY = re.compile(r"(const )?(\w+) (\w+)((?:\[\w+\])+)")
POINTER = re.compile(r"(const )?(\w+) \*(\w+)")
VALUE = re.compile(r"const (\w+) &(\w+)")


@dataclass(frozen=True)
class Parameter:
    """One argument of a stage. kind: "stream", "array", "memory" (a plain pointer) or "value" (a struct that is read).

    type: of its items; sizes: of an array, as written. is_output: an array or memory that the stage may write.
    """

    name: str
    kind: str
    type: str
    sizes: tuple[str, ...] = ()
    is_output: bool = False


@dataclass(frozen=True)
class Call:
    """One recorded call: arguments by name, raw bytes before and after it. step: of a run of all layers."""

    stage: str
    step: int
    before: dict[str, bytes]
    after: dict[str, bytes]

    @property
    def does_something(self) -> bool:
        return self.before != self.after


def parse_parameter(text: str) -> Parameter:
    """A parameter from its declaration. Raises BfpError for one that is no stream, array, plain pointer or struct."""
    text = " ".join(text.split())
    if found := STREAM.fullmatch(text):
        return Parameter(found.group(2), "stream", found.group(1))
    if found := ARRAY.fullmatch(text):
        sizes = tuple(re.findall(r"\[(\w+)\]", found.group(4)))
        return Parameter(found.group(3), "array", found.group(2), sizes, found.group(1) is None)
    if found := POINTER.fullmatch(text):
        return Parameter(found.group(3), "memory", found.group(2), (), found.group(1) is None)
    if found := VALUE.fullmatch(text):
        return Parameter(found.group(2), "value", found.group(1))
    raise BfpError(f"{text!r} is no argument of a stage: only streams, arrays, plain pointers and structs are")


def signatures(hls: Path = HLS) -> dict[str, list[str]]:
    """Parameters, as text, of every function of the kernel that returns nothing, by its name."""
    found = {}
    for path in sorted(hls.glob("*.[ch]pp")):
        for match in FUNCTION.finditer(blank_comments(path.read_text())):
            found[match.group(1)] = match.group(2).split(",")
    return found


def stages(hls: Path = HLS) -> dict[str, list[Parameter]]:
    """The processes of the engine's dataflow region, in their order, with their parameters. Raises BfpError."""
    source = hls / "engine.cpp"
    text = source.read_text()
    pragmas = list(scan(str(source), text))
    plain = blank_comments(text)
    known = signatures(hls)
    regions = [find_region(str(source), plain, pragmas, p) for p in pragmas if p.name == "DATAFLOW"]
    names = [process for region in regions for process, _, _ in region.calls]
    return {name: [parse_parameter(p) for p in known[name]] for name in names if name in known}


def recorded_call(name: str, statement: str, parameters: list[Parameter]) -> str:
    """C++ that notes the arguments, calls the stage, and notes them again."""
    arguments = [a.strip() for a in statement[statement.index("(") + 1 : statement.rindex(")")].split(",")]
    notes = []
    for parameter, argument in zip(parameters, arguments):
        if parameter.kind == "array":
            first = "".join("[0]" for _ in parameter.sizes)
            size = " * ".join(f"static_cast<std::size_t>({s})" for s in parameter.sizes)
            notes.append(f'csim_call.array("{parameter.name}", &{argument}{first}, {size});')
        elif parameter.kind == "memory":
            size = "SIM_WEIGHT_WORDS" if argument == "weight_memory" else "SIM_FMAP_WORDS"
            notes.append(f'csim_call.array("{parameter.name}", {argument}, {size});')
        else:
            notes.append(f'csim_call.{parameter.kind}("{parameter.name}", {argument});')
    see = "csim_see();"
    return (
        f'{{ csim::Call csim_call("{name}", trace().step - 1, trace().layer);\nauto csim_see = [&] {{\n' + "\n".join(notes) + f"\n}};\n{see}\n"
        f"{statement};\n{see}\n}}"
    )


def write_recording(hls: Path, out: Path) -> Path:
    """Copies of all kernel sources of ``hls`` in ``out`` whose stages are recorded; returns the copy of engine.cpp."""
    known = stages(hls)
    for path in sorted(hls.glob("*.[ch]pp")):
        text = path.read_text()
        if path.name == "engine.cpp":
            for name, parameters in known.items():
                text, count = re.subn(
                    rf"(?m)^    ({name}\([^;]*\));",
                    lambda match: recorded_call(name, match.group(1), parameters),  # noqa: B023
                    text,
                )
                if count != 1:
                    raise BfpError(f"stage {name} is called {count} times in {path}; the recorder knows one call")
            text = '#include "recorder.hpp"\n' + text
        write_text(out / path.name, text)
    return out / "engine.cpp"


def record(program: Program, identity: str, out: Path, inputs: list[np.ndarray]) -> list[Call]:
    """Run the C simulation of what codegen.generate wrote to ``out`` and return the first calls of its stages.

    inputs: as for codegen.simulation.csim.write_golden, one image. Every stored tensor is
    compared with the golden model on the way; raises BfpError where one differs.
    """
    work = out / "recording"
    recording = work / "recording.bin"
    source = write_recording(HLS, work / "source")
    literal = json.dumps(str(recording), ensure_ascii=False)  # quotes and backslashes as C++ escapes them, too
    flags = ("-O1", f"-DSBFP_RECORDING={literal}")
    first = (source.parent, HLS / "csim" / "recording")
    bench, _ = compile_engine(out / "generated", work, optimise=flags, changed=source, first=first)
    write_golden(work / "golden.bin", program, identity, inputs)
    recording.unlink(missing_ok=True)
    result = run_testbench(bench, out / "deploy" / "weights.bin", work / "golden.bin", work / "result.json")
    if result["mismatches"]:
        raise BfpError(f"the recorded simulation differs from the golden model: {result['first_mismatch']}")
    return read_recording(recording)


def read_recording(path: Path) -> list[Call]:
    """All calls of a recording, in their order (see hls/csim/recording/recorder.hpp)."""
    calls = []
    with open(path, "rb") as file:
        while line := file.readline():
            _, stage, step = line.decode().split()
            sides: tuple[dict[str, bytes], dict[str, bytes]] = ({}, {})
            while (line := file.readline()) != b"end\n":
                if not line:
                    raise BfpError(f"recording {path} ends within a call of {stage}; record again")
                name, size = line.decode().split()
                sides[name in sides[0]][name] = file.read(int(size))
            calls.append(Call(stage, int(step), *sides))
    return calls


def items(raw: bytes, kind: str, array: Array) -> np.ndarray:
    """Items of a type: Word int8 [n, lanes], AccWord int32 [n, lanes]."""
    if kind == "Word":
        return np.frombuffer(raw, np.int8).reshape(-1, array.lanes)
    values = np.frombuffer(raw, np.int32)
    return values.reshape(-1, array.lanes) if kind == "AccWord" else values
