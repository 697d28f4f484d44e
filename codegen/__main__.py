"""``python -m codegen generate|csim|estimate|bitstream BUILD_DIR``: from an artifact to C++ and beyond."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from bfp.artifact_file import load
from bfp.errors import BfpError
from bfp.names import printable
from bfp.golden import quantise_input
from bfp.samples import load_samples
from codegen.performance.board import load_board
from codegen.simulation.csim import simulate
from codegen.performance.estimate import estimate
from bfp.files import write_json, write_text
from codegen.generate import generate
from codegen.options import EngineOptions
from codegen.lowering.program import build
from codegen.performance.resources import refuse_what_does_not_fit
from codegen.performance.roofline import roofline
from codegen.vendor.build import build_bitstream


def parse_options(items: list[str]) -> EngineOptions:
    """``name=value`` pairs to engine options."""
    options: dict[str, int] = {}
    for item in items:
        key, _, value = item.partition("=")
        if not value.lstrip("-").isdigit():
            raise BfpError(f"engine option {item!r} is not NAME=NUMBER; write for instance lanes=16")
        options[key] = int(value)
    return EngineOptions.from_dict(options)


def run_generate(folder: Path, options: EngineOptions, board: str) -> None:
    start = time.perf_counter()
    artifact = load(folder / "artifact.npz")
    refuse_what_does_not_fit(build([artifact], options), load_board(board))
    program, identity = generate([artifact], options, folder)
    print(
        f"{artifact.graph.name}: {len(program.layers)} layers, {sum(x.macs for x in program.layers) / 1e6:.1f} million "
        f"multiply-accumulates, {program.weight_words * options.lanes / 1e6:.2f} MB of weights, "
        f"{program.fmap_words * options.lanes / 1e6:.2f} MB of feature maps, kernel {identity}, "
        f"written in {time.perf_counter() - start:.1f} s"
    )


def run_csim(folder: Path, options: EngineOptions, limit: int, compiler: str | None, threaded: bool) -> int:
    artifact = load(folder / "artifact.npz")
    samples = load_samples(folder / "samples.npz")
    # generating again costs little and makes sure that sources, image and golden model belong together
    program, identity = generate([artifact], options, folder)
    mantissas = quantise_input(artifact, samples.images[:limit])
    result = simulate(program, identity, folder, [mantissas], compiler, threaded)
    write_json(folder / ("csim_threaded.json" if threaded else "csim.json"), {"network": artifact.graph.name, "kernel": identity, **result})
    verdict = "bit-equal" if result["mismatches"] == 0 else f"DIFFERENT: {result['first_mismatch']}"
    print(
        f"{artifact.graph.name}: {result['images']} images, {result['layers_compared']} layers, "
        f"{result['values_compared']} values, {result['mismatches']} mismatches ({verdict}), "
        f"{result['macs'] / max(result['seconds'], 1e-9) / 1e9:.2f} GMAC/s"
    )
    return 1 if result["mismatches"] else 0


def run_estimate(folder: Path, options: EngineOptions, board: str) -> None:
    """Write estimate.json and roofline.svg, print a table of layers."""
    program = build([load(folder / "artifact.npz")], options)
    result = estimate(program, load_board(board))
    write_json(folder / "estimate.json", result)
    write_text(folder / "roofline.svg", roofline(result))
    print(f"{'cycles':>10} {'MACs':>12} {'array':>6} {'MB':>7}  bound         layer          (all modelled)")
    for layer in result["layers"]:
        print(
            f"{layer['cycles']:10d} {layer['macs']:12d} {100 * layer['mac_efficiency']:5.1f}% "
            f"{layer['ddr_bytes'] / 1e6:7.2f}  {layer['bound']:13} {layer['name']}"
        )
    print(
        f"{result['network']} on {result['board']} at {result['clock_mhz']} MHz, modelled: {result['cycles']} cycles, "
        f"{result['frames_per_second']} frames/s, {100 * result['mac_efficiency']:.1f} % of the array's "
        f"{result['array']['macs_per_cycle']} multiply-accumulates a cycle, {result['ddr_bytes'] / 1e6:.1f} MB of memory "
        f"traffic; {result['dsp']} DSP, {result['bram36']} BRAM36, {result['lut']} LUT"
    )


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status: 1 for mismatches, 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m codegen", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("generate", "write HLS sources, weight image and manifest"),
        ("csim", "simulate and compare"),
        ("estimate", "modelled cycles and resources"),
        ("bitstream", "synthesise and implement with the vendor's tools"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("folder", type=Path, help="build folder that holds artifact.npz")
        command.add_argument("--engine", nargs="*", default=[], metavar="NAME=NUMBER", help="engine options")
        if name != "csim":
            command.add_argument("--board", default="ultra96v2", help="a file of codegen/boards (default ultra96v2)")
        if name == "csim":
            command.add_argument("--limit", type=int, default=2, help="images to simulate (default 2)")
            command.add_argument("--compiler", help="C++ compiler (default $CXX, then g++)")
            text = "every dataflow process in a thread, with bounded streams; writes csim_threaded.json"
            command.add_argument("--threaded", action="store_true", help=text)
    arguments = parser.parse_args(argv)
    try:
        options = parse_options(arguments.engine)
        if arguments.command == "generate":
            run_generate(arguments.folder, options, arguments.board)
            return 0
        if arguments.command == "bitstream":
            print(*build_bitstream(arguments.folder, arguments.board), sep="\n")
            return 0
        if arguments.command == "estimate":
            run_estimate(arguments.folder, options, arguments.board)
            return 0
        return run_csim(arguments.folder, options, arguments.limit, arguments.compiler, arguments.threaded)
    except BfpError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
