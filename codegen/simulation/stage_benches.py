"""``python -m codegen.simulation.stage_benches BUILD_DIR...``: the stages' test benches, with data of real layers.

For each network (a build folder with artifact.npz and samples.npz) and each
size of the array: code is generated, the C simulation of one image records what
its stages read and write, all of that is compared with the golden model, and the
data of a few calls go into headers for the benches in hls/testbench/stages,
which are then compiled and run, each stage by itself. Below OUT/NAME_SIZE/:
generated/, data/*.hpp, and one program a stage.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bfp.artifact import Artifact
from bfp.artifact_file import load
from bfp.errors import BfpError, sentence
from bfp.files import check_folder, replacing, write_text
from bfp.golden import quantise_input
from bfp.names import printable
from bfp.samples import load_samples
from codegen.cpp_text import cpp_comment
from codegen.generate import generate
from codegen.lowering.engine_operators import EngineOperator
from codegen.lowering.layer_fields import LayerFields, MapPlace
from codegen.lowering.program import build
from codegen.lowering.schedule import Program
from codegen.options import EngineOptions
from codegen.performance.board import DEFAULT_BOARD, Board, load_board
from codegen.simulation.csim import HLS, WARNINGS
from codegen.simulation.stage_checker import Checker
from codegen.simulation.stage_recording import Call, Parameter, items, record, stages

BENCHES = HLS / "testbench" / "stages"
OUT = Path("build").absolute() / "stage_benches"
# lanes x filters x pixels, the smallest and the default one among them; of one the products of a DSP, too, for which
# mantissas of 8 bits go as digits
Size = tuple[int, int, int] | tuple[int, int, int, int]
SIZES: tuple[Size, ...] = ((2, 2, 1), (4, 2, 3), (4, 2, 1, 4), (8, 8, 2), (16, 8, 5))
C_TYPES = {"Word": ("int8_t", "Words"), "AccWord": ("int32_t", "AccWords")}
# compute is the choice of one of these; each has the arguments that it takes
OPERATORS = {op.name.lower(): (op, op.traits.arguments) for op in EngineOperator}
LAYERS_EACH, CALLS_EACH, CHUNKS_MOST = 4, 2, 8
CHIP_BYTES = 2048  # for maps that stay on chip: for some of them
QUEUE_WORDS = 50  # of weights that are fetched ahead; in one of the sizes they come straight from memory


@dataclass(frozen=True)
class Bench:
    """One test bench. stage: of the dataflow region; op: of the layers it takes, None: all; left_out: arguments."""

    name: str
    stage: str
    op: EngineOperator | None = None
    left_out: tuple[str, ...] = ()


def benches() -> list[Bench]:
    """All benches of the engine's stages: one a stage, and for ``compute`` one an operator."""
    found = []
    for stage, parameters in stages().items():
        if stage != "compute":
            found.append(Bench(stage, stage))
            continue
        weights = [p.name for p in parameters if p.kind in ("array", "stream") and p.name not in ("input", "sums")]
        for name, (op, used) in OPERATORS.items():
            found.append(Bench(name, stage, op, tuple(w for w in weights if w not in used)))
    return found


def small_engine(artifact: Artifact, size: Size, board: Board) -> EngineOptions:
    """An array of that size with buffers so small that the network's layers are cut into tiles and chunks."""
    convolutions = [n for n in artifact.graph.weighted() if not n.operator.weights.per_channel]
    area = max(n.window.kernel[0] * n.window.kernel[1] for n in artifact.graph.nodes)
    widest = max(-(-artifact.graph.shapes[n.main][0] // size[0]) for n in convolutions)
    words, steps, ahead = 64, area * -(-widest // 3), QUEUE_WORDS if len(size) == 3 else 0
    while True:
        options = EngineOptions(
            *size,
            input_words=words,
            weight_steps=steps,
            tile_blocks=64,
            chip_words=CHIP_BYTES // size[0],
            weights_ahead=ahead,
        )
        try:
            build([artifact], options, board, with_weights=False)
            return options
        except BfpError as error:
            if "raise the engine option input_words" not in str(error):
                raise
            words += -(-words // 4)


def traits(fields: LayerFields) -> set[object]:
    """What makes a layer worth recording besides another."""
    found = {
        "taps": fields.buffer.taps > 1,
        "chunks": fields.passes.chunks > 1,
        "alignment": fields.weights.has_align,
        "shortcut": fields.shortcut.has_shortcut,
        "pool": fields.fused_pool.pool,
        "only the pooled map": not fields.output_map.keeps_map,
        "input pooled whole": fields.input_pool.in_pool_whole,
        "tiles down": fields.tiles.tiles_down > 1,
        "word tiles": fields.tiles.word_tiles > 1,
        "digits of weights": fields.digits.wide_weights,
        "digits of activations": fields.digits.wide_operands,
        "from on-chip memory": fields.input_map.in_place is MapPlace.CHIP,
        "to on-chip memory": fields.stores_to is MapPlace.CHIP,
        "shortcut from on-chip memory": fields.shortcut.shortcut_place is MapPlace.CHIP,
    }
    kinds = {fields.op, fields.epilogue.activation, fields.input_pool.in_pool}
    return kinds | {name for name, has in found.items() if has}


def choose(bench: Bench, calls: list[Call], program: Program, checker: Checker) -> list[Call]:
    """A few calls of a bench's stage: of layers that differ, and for chunks all passes of one output word."""
    by_layer: dict[int, list[Call]] = {}
    for call in calls:
        subject = checker.subject(call) if call.stage == bench.stage else None
        if subject is None:
            continue
        entry = program.layers[subject.layer]
        if checker.knows(entry) and bench.op in (None, entry.fields.op):
            if call.does_something or call.stage == "compute":
                by_layer.setdefault(subject.layer, []).append(call)
    chosen: list[Call] = []
    seen: set[object] = set()
    for _ in range(min(LAYERS_EACH, len(by_layer))):
        layer = max(by_layer, key=lambda index: (len(traits(program.layers[index].fields) - seen), -index))
        fields = program.layers[layer].fields
        seen |= traits(fields)
        mine, chunks = by_layer.pop(layer), fields.passes.chunks
        chosen += mine[: min(chunks, CHUNKS_MOST) if bench.op and bench.op.traits.dense and chunks > 1 else CALLS_EACH]
    return chosen


class Header:
    """The data of one bench as C++."""

    def __init__(self, bench: Bench, calls: list[Call], program: Program, checker: Checker) -> None:
        self.bench, self.calls, self.program, self.checker = bench, calls, program, checker
        self.parameters = [p for p in checker.parameters[bench.stage] if p.name not in bench.left_out]
        self.arrays: dict[tuple[str, bytes], str] = {}  # name of an array by type and contents
        self.lines: list[str] = []

    def name(self, parameter: Parameter, raw: bytes) -> str:
        """``{rows, count}`` of an array with these items; equal ones are written once."""
        kind, array = parameter.type, self.program.array
        values = items(raw, kind, array).reshape(-1, array.lanes)
        if not len(values):
            return "{nullptr, 0}"
        if (kind, raw) not in self.arrays:
            self.arrays[kind, raw] = name = f"{parameter.name.upper()}_{len(self.arrays)}"
            self.lines.append(f"static const {C_TYPES[kind][0]} {name}[{len(values)}][LANES] = {{")
            self.lines += [f"    {{{', '.join(map(str, row))}}}," for row in values.tolist()]
            self.lines.append("};")
        return f"{{{self.arrays[kind, raw]}, {len(values)}}}"

    def fields(self) -> list[tuple[str, str]]:
        """Members of ``Call``: (type, name)."""
        found = []
        for p in self.parameters:
            if p.kind == "value":
                found.append((p.type, p.name))
            else:
                kind = f"bench::{C_TYPES[p.type][1]}"
                found += [(kind, f"{p.name}_before")] if p.is_output else []
                found.append((kind, p.name))
        return found

    def values(self, call: Call) -> list[str]:
        found = []
        for p in self.parameters:
            if p.kind == "value":
                words = np.frombuffer(call.before[p.name], np.uint64).tolist()
                found.append(f"{{{', '.join(f'{word:#x}ull' for word in words)}}}")
            else:
                found += [self.name(p, call.before[p.name])] if p.is_output else []
                # an input stream is read empty, an output stream was empty
                consumed = p.kind == "stream" and call.before[p.name]
                found.append(
                    self.name(
                        p,
                        call.before[p.name]
                        if consumed or not (p.is_output or p.kind == "stream")
                        else call.after[p.name],
                    )
                )
        return found

    def described(self, call: Call) -> str:
        """The layer that a call is about."""
        return self.program.layers[self.checker.subject(call).layer].describe

    def text(self) -> str:
        rows = [
            f"    {{{', '.join(self.values(call))}}},  // {cpp_comment(self.described(call))}"
            for call in self.calls
        ]
        members = "\n".join(f"    {kind} {name};".replace("* ", "*") for kind, name in self.fields())
        network = cpp_comment(self.program.artifacts[0].graph.name)
        return "\n".join(
            [
                f"// Recorded from {network}; generated, and compared with the golden model. Do not edit.",
                "// The bench includes its stage before.",
                "#pragma once",
                "",
                '#include "bench.hpp"',
                "",
                "namespace sbfp {",
                "",
                *self.lines,
                "",
                f"struct Call {{\n{members}\n}};",
                "",
                f"static const Call CALLS[{len(rows)}] = {{",
                *rows,
                "};",
                "",
                "}  // namespace sbfp",
                "",
            ]
        )


def prepare(
    artifact: Artifact, image: np.ndarray, size: Size, board: Board, out: Path
) -> dict[Bench, int]:
    """Record, compare, and write generated/ and data/ below ``out``; returns the number of calls of each bench.

    image: normalised, [1, C, H, W]. A bench whose stage the network does not use is left out. Raises BfpError where a
    recorded value is not the golden model's.
    """
    options = small_engine(artifact, size, board)
    program, identity = generate([artifact], options, board, out)
    mantissas = quantise_input(artifact, image)
    checker = Checker(program, mantissas, stages())
    calls = record(program, identity, out, [mantissas])
    for call in calls:
        subject = checker.subject(call)
        if call.does_something and subject is not None and checker.knows(program.layers[subject.layer]):
            checker.check(call)
    found = {}
    for bench in benches():
        chosen = choose(bench, calls, program, checker)
        if chosen:
            write_text(out / "data" / f"{bench.name}.hpp", Header(bench, chosen, program, checker).text())
            found[bench] = len(chosen)
    return found


def run_bench(bench: str, out: Path, compiler: str) -> str:
    """Compile and run one bench; returns its line. Raises BfpError where either fails."""
    program = out / f"{bench}_{compiler}"
    include = [f"-I{path}" for path in (HLS, HLS / "csim", out / "generated", out, BENCHES)]
    with replacing(program) as new:
        command = [compiler, "-std=c++17", "-O1", *WARNINGS, *include, str(BENCHES / f"{bench}.cpp"), "-o", str(new)]
        result = subprocess.run(command, capture_output=True, text=True, errors="replace")
        if result.returncode:
            lines = result.stderr.strip().splitlines() or ["no message"]
            raise BfpError(
                f"{compiler} cannot compile the bench {bench}: {next((x for x in lines if 'error' in x), lines[0])}"
            )
    result = subprocess.run([str(program)], capture_output=True, text=True, errors="replace")
    if result.returncode:
        lines = result.stderr.strip().splitlines() or [result.stdout.strip()]
        raise BfpError(f"bench {bench} in {out} fails with status {result.returncode}: {lines[0]}")
    return result.stdout.strip()


def compilers() -> list[str]:
    """g++, and clang++ where it is there, by any of Debian's names."""
    names = [["g++"], ["clang++", *(f"clang++-{version}" for version in range(21, 13, -1))]]
    return [found for choice in names if (found := next((n for n in choice if shutil.which(n)), None))]


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status: 1 where a bench fails, 2 for bad input."""
    about = __doc__.splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m codegen.simulation.stage_benches", description=about)
    parser.add_argument("folders", type=Path, nargs="+", help="build folders that hold artifact.npz and samples.npz")
    parser.add_argument("--out", type=Path, default=OUT, help="where data and programs go")
    parser.add_argument("--sizes", nargs="*", metavar="LxFxP", help="sizes of the array (default: five)")
    parser.add_argument("--board", default=DEFAULT_BOARD, help="a file of codegen/boards (default %(default)s)")
    parser.add_argument("--compilers", nargs="*", help="C++ compilers (default: g++ and, where it is there, clang++)")
    arguments = parser.parse_args(argv)
    try:
        sizes = [tuple(map(int, s.split("x"))) for s in arguments.sizes] if arguments.sizes else SIZES
        if any(len(size) not in (3, 4) for size in sizes):
            raise ValueError
    except ValueError:
        print("error: a size is LANESxFILTERSxPIXELS, for instance 2x2x1, or that and xPRODUCTS", file=sys.stderr)
        return 2
    total = 0
    try:
        board = load_board(arguments.board)
        check_folder(arguments.out)
        for folder in arguments.folders:
            artifact, samples = load(folder / "artifact.npz"), load_samples(folder / "samples.npz")
            for size in sizes:
                name = "x".join(map(str, size))
                out = arguments.out / f"{artifact.graph.name}_{name}"
                for bench, calls in prepare(artifact, samples.images[:1], size, board, out).items():
                    lines = {run_bench(bench.name, out, compiler) for compiler in arguments.compilers or compilers()}
                    total += 1
                    print(f"{artifact.graph.name} {name:>7} {'; '.join(sorted(lines))} ({calls} calls)", flush=True)
    except (BfpError, OSError) as error:
        print(f"error: {printable(sentence(error))}", file=sys.stderr)
        return 1
    print(f"{total} stage benches give the golden model's bits with {' and '.join(arguments.compilers or compilers())}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
