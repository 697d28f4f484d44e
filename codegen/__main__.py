"""``python -m codegen generate|csim|estimate|collect BUILD_DIR``: from artifacts to C++ and what it does."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from bfp.deployment import read_deployment
from bfp.errors import BfpError, sentence
from bfp.files import check_folder, write_json, write_text
from bfp.names import printable
from bfp.package import bitstream_state
from codegen.generate import generate
from codegen.lowering.program import build
from codegen.networks import collect, read_networks
from codegen.options import EngineOptions
from codegen.performance.board import DEFAULT_BOARD, Board, board_at
from codegen.performance.estimate import estimate
from codegen.performance.fitting import check_fit_together
from codegen.performance.ranges import Ranges
from codegen.performance.roofline import roofline
from codegen.simulation.csim import simulate
from codegen.vendor.lock import check_free


def run_generate(folder: Path, options: EngineOptions, board: Board, keep: bool) -> None:
    """Write everything that is generated. keep: refuse what the existing bitstream was not built for."""
    start = time.perf_counter()
    check_free(folder / "vendor")  # what is being synthesised must stay
    found = read_networks(folder)
    warn(check_fit_together(found.artifacts, options, board))
    program, identity = generate(found.artifacts, options, board, folder, keep, found.name)
    print(
        f"{found.label} for {board.name}: {len(program.layers)} layers, "
        f"{sum(x.macs for x in program.layers) / 1e6:.1f} million multiply-accumulates, "
        f"{program.weight_words * options.lanes / 1e6:.2f} MB of weights, "
        f"{program.map_words * options.lanes / 1e6:.2f} MB of feature maps, kernel {identity}, "
        f"written in {time.perf_counter() - start:.1f} s"
    )
    if said := bitstream_state(read_deployment(folder / "deploy"), folder / "deploy"):
        print(said)


def warn(sentences: list[str]) -> None:
    """Print warnings where errors go."""
    for sentence in sentences:
        print(f"warning: {printable(sentence)}", file=sys.stderr)


def run_csim(
    folder: Path, options: EngineOptions, board: Board, limit: int, compiler: str | None, threaded: bool
) -> int:
    found = read_networks(folder)
    # generating again costs little and makes sure that sources, image and golden model belong together
    program, identity = generate(found.artifacts, options, board, folder, name=found.name)
    result = simulate(program, identity, folder, found.mantissas(limit), compiler, threaded)
    entry = {"network": found.label, "board": board.name, "kernel": identity, **result}
    write_json(folder / ("csim_threaded.json" if threaded else "csim.json"), entry)
    verdict = "bit-equal" if result["mismatches"] == 0 else f"DIFFERENT: {result['first_mismatch']}"
    print(
        f"{found.label}: {result['images']} images, {result['layers_compared']} layers, "
        f"{result['values_compared']} values, {result['mismatches']} mismatches ({verdict}), "
        f"{result['macs'] / max(result['seconds'], 1e-9) / 1e9:.2f} GMAC/s"
    )
    return 1 if result["mismatches"] else 0


def run_estimate(folder: Path, options: EngineOptions, board: Board) -> None:
    """Write estimate.json and roofline.svg, print a table of layers."""
    found = read_networks(folder)
    result = {**estimate(build(found.artifacts, options, board), board), "network": found.label}
    write_json(folder / "estimate.json", result)
    write_text(folder / "roofline.svg", roofline(result))
    warn(result["warnings"])
    ranges, batch = Ranges.of(result), result["batch"]
    print(f"{'cycles':>10} {'MACs':>12} {'array':>6} {'MB':>7}  bound         layer          (all modelled)")
    for layer in result["layers"]:
        print(
            f"{layer['cycles']:10d} {layer['macs']:12d} {100 * layer['mac_efficiency']:5.1f}% "
            f"{layer['ddr_bytes'] / 1e6:7.2f}  {layer['bound']:13} {layer['name']}"
        )
    alone = f" (one picture alone, {ranges.latency_ms} ms)" if batch > 1 else ""
    together = f" in batches of {batch}" if batch > 1 else ""
    print(
        f"{result['network']} on {result['board']} at {result['clock_mhz']} MHz, modelled: {result['cycles']} cycles{alone}, "
        f"{ranges.frames_per_second} frames/s{together}, {100 * result['mac_efficiency']:.1f} % of the array's "
        f"{result['array']['macs_per_cycle']} multiply-accumulates a cycle, {result['ddr_bytes'] / 1e6:.1f} MB of "
        f"memory traffic; {ranges.dsp} DSP, {ranges.bram36} BRAM36, {ranges.lut} LUT"
    )


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status: 1 for mismatches, 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m codegen", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("generate", "write HLS sources, weight image and manifest"),
        ("csim", "simulate and compare"),
        ("estimate", "modelled cycles and resources"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("folder", type=Path, help="build folder that holds artifact.npz, or several collected networks")
        command.add_argument("--engine", nargs="*", default=[], metavar="NAME=NUMBER", help="engine options")
        command.add_argument("--board", default=DEFAULT_BOARD, help="a file of codegen/boards (default %(default)s)")
        command.add_argument("--clock", metavar="MHZ", help="of the engine (default: the board's)")
        if name == "generate":
            text = "refuse what the bitstream in the deployment folder was not built for, naming the layer"
            command.add_argument("--keep-bitstream", action="store_true", help=text)
        if name == "csim":
            command.add_argument("--limit", type=int, default=2, help="images to simulate (default 2)")
            command.add_argument("--compiler", help="C++ compiler (default $CXX, then g++)")
            text = "every dataflow process in a thread, with bounded streams; writes csim_threaded.json"
            command.add_argument("--threaded", action="store_true", help=text)
    together = commands.add_parser("collect", help="put several networks together, for one bitstream")
    together.add_argument("folder", type=Path, help="build folder of all together")
    together.add_argument("networks", type=Path, nargs="+", metavar="FOLDER", help="their build folders, in the order of their layers")
    together.add_argument("--name", required=True, help="of all together")
    arguments = parser.parse_args(argv)
    try:
        if arguments.command == "collect":
            found = collect(arguments.folder, arguments.name, arguments.networks)
            print(f"{found.name}: networks {', '.join(found.networks)} in {arguments.folder}")
            return 0
        if getattr(arguments, "limit", 1) < 1:
            raise BfpError(f"--limit {arguments.limit} leaves nothing to do; give at least 1")
        options, board = EngineOptions.from_words(arguments.engine), board_at(arguments.board, arguments.clock)
        check_folder(arguments.folder)
        if arguments.command == "generate":
            run_generate(arguments.folder, options, board, arguments.keep_bitstream)
        elif arguments.command == "csim":
            limit, compiler, threaded = arguments.limit, arguments.compiler, arguments.threaded
            return run_csim(arguments.folder, options, board, limit, compiler, threaded)
        elif arguments.command == "estimate":
            run_estimate(arguments.folder, options, board)
        return 0
    except (BfpError, OSError, MemoryError) as error:
        print(f"error: {printable(sentence(error))}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
