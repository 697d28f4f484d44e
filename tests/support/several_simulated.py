"""The C simulation of what is generated for several networks on one engine."""

from __future__ import annotations

from pathlib import Path

from support.random_inputs import random_input

from bfp.artifact import Artifact
from codegen.generate import generate
from codegen.lowering.schedule import Program
from codegen.options import EngineOptions
from codegen.performance.board import Board
from codegen.simulation.csim import compile_engine, write_golden


def simulated_networks(
    artifacts: list[Artifact], options: EngineOptions, board: Board, out: Path, **how
) -> tuple[Program, list[Path]]:
    """The program, and the test bench with its arguments but the result's file."""
    program, identity = generate(artifacts, options, board, out)
    bench, _ = compile_engine(out / "generated", out / "csim", **{"optimise": ("-O1",), **how})
    inputs = [random_input(a, 100 + n) for n, a in enumerate(artifacts)]
    write_golden(out / "golden.bin", program, identity, inputs)
    return program, [bench, out / "deploy" / "weights.bin", out / "golden.bin"]
