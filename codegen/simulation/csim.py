"""Builds the C simulation with an ordinary compiler and runs it against the golden model."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from bfp.artifact import Artifact
from bfp.errors import BfpError
from bfp.files import replacing
from bfp.golden import run
from codegen.lowering.schedule import Program
from codegen.simulation.threaded import write_threaded

HLS = Path(__file__).parents[2] / "hls"
# pragmas and loop labels speak to the HLS compiler only
WARNINGS = ("-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", "-Wno-unused-label")
OPTIMISE = ("-O3", "-march=native")
BENCH_OPTIMISE = ("-O1",)  # of the last -O, compilers take this one


def compiler_flags(
    generated: Path, optimise: Iterable[str] = OPTIMISE, threaded: Path | None = None, first: Iterable[Path] = ()
) -> list[str]:
    """Flags that g++ and clang both take. The pragmas are the HLS compiler's: the others do not know them.

    threaded: folder of the sources with threads, for the threaded simulation.
    first: folders to look in before all others.
    """
    threads = [threaded, HLS / "csim" / "threaded"] if threaded else []
    include = [f"-I{path}" for path in (*first, *threads, HLS, HLS / "csim", generated)]
    return ["-std=c++14", *optimise, *WARNINGS, "-fPIC", *(["-pthread"] if threaded else []), *include]


def compile_engine(
    generated: Path,
    out: Path,
    compiler: str | None = None,
    optimise: Sequence[str] = OPTIMISE,
    threaded: bool = False,
    changed: Path | None = None,
    first: Iterable[Path] = (),
) -> tuple[Path, Path]:
    """Compile engine and test bench; returns (testbench, libengine.so), both in ``out``.

    ``compiler`` defaults to $CXX, then g++. Raises BfpError with the compiler's
    first error line. With ``threaded`` every dataflow process runs in a thread
    of its own, with bounded streams (see codegen/simulation/threaded.py). ``changed``:
    another engine.cpp to compile, with the include folders that it needs ``first``.
    """
    compiler = compiler or os.environ.get("CXX") or "g++"
    words = [compiler] if shutil.which(compiler) else compiler.split()  # people set CXX to a compiler with options
    if not words or not shutil.which(words[0]):
        raise BfpError(f"compiler {compiler} is not on PATH; install g++ or set CXX")
    out.mkdir(parents=True, exist_ok=True)
    source = write_threaded(HLS, out / "threaded") if threaded else changed or HLS / "engine.cpp"
    flags = compiler_flags(generated, optimise, source.parent if threaded else None, first)
    link = [flag for flag in flags if flag.startswith("-fsanitize") or flag == "-pthread"]
    # the bench only compares: making it as quick as the engine takes longer than it saves
    of_bench = [*flags, *BENCH_OPTIMISE] if optimise == OPTIMISE else flags
    engine, bench, library = out / "engine.o", out / "testbench", out / "libengine.so"
    with replacing(engine) as object_file, replacing(bench) as program, replacing(library) as shared:
        for command in (
            [*words, *flags, "-c", str(source), "-o", str(object_file)],
            [*words, *of_bench, str(HLS / "testbench" / "main.cpp"), str(object_file), "-o", str(program)],
            [*words, "-shared", *link, str(object_file), "-o", str(shared)],
        ):
            result = subprocess.run(command, capture_output=True, text=True, errors="replace")
            if result.returncode or not os.path.isfile(command[-1]):
                lines = result.stderr.strip().splitlines() or ["no message"]
                first = next((line for line in lines if "error" in line), lines[0])
                raise BfpError(f"{compiler} cannot compile the generated engine in {generated}: {first}")
    return bench, library


def write_golden(path: Path, program: Program, identity: str, inputs: list[np.ndarray]) -> None:
    """Golden mantissas of every stored tensor, in the test bench's format (see hls/testbench/main.cpp).

    inputs: per network, mantissas int [N, C, H, W] of its inputs, one after the other; all with the same N.
    """
    images = len(inputs[0])
    with replacing(path) as temporary, open(temporary, "wb") as f:
        f.write(b"SBFPGOLD" + struct.pack("<III", int(identity[8:], 16), int(identity[:8], 16), images))
        for n in range(images):
            values = [run(a, x[n : n + 1]) for a, x in zip(program.artifacts, inputs)]
            for t in program.tensors:
                fmt = program.artifacts[t.network].formats[t.name]
                stored = program.lowered[t.network].stored(t.name, values[t.network][t.name][0], fmt)
                f.write(stored.astype(np.uint8).tobytes())
            print(f"\rgolden model: image {n + 1} of {images}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)


def run_testbench(bench: Path, weights: Path, golden: Path, result: Path) -> dict:
    """Run the test bench; returns its result (written to ``result``).

    Mismatches are in the result, with the first one in words. Raises BfpError
    if the bench could not run to its end.
    """
    result.unlink(missing_ok=True)
    with replacing(result) as written:
        command = [str(bench), str(weights), str(golden), str(written)]
        process = subprocess.run(command, stderr=subprocess.PIPE, text=True, errors="replace")
        if not written.is_file():
            lines = process.stderr.strip().splitlines() or ["no message"]
            # sanitizers say first what was wrong, and then much else
            reason = next((line for line in lines if re.search("runtime error: |Sanitizer: ", line)), lines[-1])
            raise BfpError(f"C simulation {bench} stopped with status {process.returncode}: {reason}")
        return json.loads(written.read_text(encoding="utf-8"))


def simulate(
    program: Program,
    identity: str,
    out: Path,
    inputs: list[np.ndarray],
    compiler: str | None = None,
    threaded: bool = False,
) -> dict:
    """Golden model against C simulation for the given input mantissas; returns the bench's result.

    ``out`` is the folder that codegen.generate wrote. ``threaded`` is as in :func:`compile_engine`.
    """
    work = out / ("csim_threaded" if threaded else "csim")
    bench, _ = compile_engine(out / "generated", work, compiler, threaded=threaded)
    write_golden(work / "golden.bin", program, identity, inputs)
    return run_testbench(bench, out / "deploy" / "weights.bin", work / "golden.bin", work / "result.json")


def input_mantissas(artifact: Artifact, count: int, seed: int) -> np.ndarray:
    """Uniform random mantissas of all inputs over their whole ranges, int16 [count, C, H, W], input after input."""
    rng, graph = np.random.default_rng(seed), artifact.graph
    formats = {t: artifact.formats[t] for t in graph.inputs}
    drawn = [rng.integers(f.low, f.high + 1, (count, *graph.shapes[t])) for t, f in formats.items()]
    return np.concatenate(drawn, axis=1).astype(np.int16)
