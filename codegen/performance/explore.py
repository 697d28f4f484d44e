"""``python -m codegen.performance.explore BUILD_DIR``: which engine suits a network and a board. Everything is modelled.

Searches lanes, filters, pixels, buffers and mantissa widths with the estimator
(codegen.performance.estimate) alone, and writes BUILD_DIR/explore.json and explore.svg with
the Pareto fronts of frames per second against each resource and against width
(more bits are better: they are what accuracy has to live on).

A width narrower than the artifact's is the artifact with its mantissas counted
in fewer bits: that decides packing, products per DSP and traffic. What a
calibration at that width would choose anew, its exponents, changes the
figures only where alignment shifts come or go, and LUTs by the range of
rounding shifts.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from bfp.artifact import Artifact
from bfp.artifact_file import load
from bfp.errors import BfpError
from codegen.lowering.array import build_array
from codegen.performance.board import Board, load_board
from codegen.performance.estimate import estimate
from codegen.performance.explore_chart import chart
from bfp.files import write_json, write_text
from codegen.options import EngineOptions
from codegen.lowering.program import build, widest_operands
from codegen.performance.resources import refuse_what_does_not_fit

DEFAULT = EngineOptions()
WIDTHS = ((8, 8), (6, 6), (5, 5), (4, 4))  # of weights and activations
LANES = (4, 8, 16, 32)
FILTERS = (2, 4, 8, 16, 32)
PIXELS = (1, 2, 3, 4, 5, 7, 9, 11, 13, 16)  # mostly primes: the input buffer's banks are
# sizes of the buffers, as parts of the default ones (in bytes)
INPUT_PARTS = (1 / 4, 1 / 2, 1, 3 / 2, 2)
WEIGHT_PARTS = (1 / 4, 1 / 2, 1, 2)
SUM_PARTS = (1 / 2, 2)
REFINED = 6  # so many arrays of each width have their buffers varied, and as many as half of it for each resource
RESOURCES = ("dsp", "bram36", "lut")
FIGURES = ("cycles", "frames_per_second", "mac_efficiency", "ddr_bytes", *RESOURCES)


@dataclass(frozen=True)
class Point:
    """One engine at one pair of widths, with its modelled figures (see codegen.performance.estimate)."""

    weights: int
    activations: int
    options: EngineOptions
    products: int
    macs_per_cycle: int
    cycles: int
    frames_per_second: float
    mac_efficiency: float
    ddr_bytes: int
    dsp: int
    bram36: int
    lut: int

    @property
    def bits(self) -> int:
        """Bits of a weight and an activation together."""
        return self.weights + self.activations


def widths_of(artifact: Artifact) -> tuple[int, int]:
    """Widest mantissas of an artifact: (weights, activations)."""
    weights = [p.weights.bits for p in artifact.parameters.values() if p.weights]
    return max(weights, default=8), max(fmt.bits for fmt in artifact.formats.values())


def narrow(artifact: Artifact, weights: int, activations: int) -> Artifact:
    """The artifact with no mantissa counted wider than so many bits; good for estimates only."""
    formats = {name: replace(f, bits=min(f.bits, activations)) for name, f in artifact.formats.items()}
    fewer = {name: f.bits - formats[name].bits for name, f in artifact.formats.items()}
    parameters = {}
    for node in artifact.graph.nodes:
        if node.name not in artifact.parameters:
            continue
        p = artifact.parameters[node.name]
        # coarser operands make coarser accumulators, which are shifted less
        shift = p.round_shift + fewer[node.output] - fewer[node.main]
        if p.weights:
            bits = min(p.weights.bits, weights)
            shift -= p.weights.bits - bits
            p = replace(p, weights=replace(p.weights, bits=bits))
        parameters[node.name] = replace(p, round_shift=shift)
    return replace(artifact, formats=formats, parameters=parameters)


def scaled(lanes: int, filters: int, pixels: int, inputs: float, weights: float, sums: float) -> EngineOptions:
    """Options whose buffers are these parts of the default ones; a word holds ``lanes`` bytes."""
    words = DEFAULT.lanes / lanes
    return EngineOptions(
        lanes=lanes,
        filters=filters,
        pixels=pixels,
        input_words=max(16, int(DEFAULT.input_words * words * inputs)),
        weight_steps=min(4096, max(1, int(DEFAULT.weight_steps * words**2 * weights))),
        tile_blocks=max(1, int(DEFAULT.tile_blocks * words * DEFAULT.pixels / pixels * sums)),
    )


def reason(error: BfpError) -> str:
    """What a refusal is about, without the figures and names of the one point."""
    sentence = str(error)
    if found := re.search(r"needs \d+ (\w+) \(modelled\)", sentence):
        return f"{found.group(1)} beyond the board's"
    if found := re.search(r"raise the engine option (\w+)", sentence):
        return f"{found.group(1)} too few for a layer"
    if "an exponent group" in sentence:
        return "lanes more than the channels of an exponent group"
    return re.sub(r"\d+", "N", sentence)


class Explorer:
    """Collects the points that fit ``board``, and counts the reasons of those that do not."""

    def __init__(self, artifact: Artifact, board: Board) -> None:
        self.artifact, self.board = artifact, board
        self.points: dict[tuple[int, int, EngineOptions], Point] = {}
        self.refused: dict[tuple[int, int, EngineOptions], str] = {}
        self.narrowed: dict[tuple[int, int], Artifact] = {}

    def point(self, widths: tuple[int, int], options: EngineOptions) -> Point | None:
        """The modelled point; None where it is refused."""
        key = (*widths, options)
        if key not in self.points and key not in self.refused:
            try:
                self.points[key] = self._evaluate(widths, options)
            except BfpError as error:
                self.refused[key] = reason(error)
        return self.points.get(key)

    def _evaluate(self, widths: tuple[int, int], options: EngineOptions) -> Point:
        if widths not in self.narrowed:
            self.narrowed[widths] = narrow(self.artifact, *widths)
        artifact = self.narrowed[widths]
        array = build_array(options, *widest_operands([artifact]))
        if array.macs > self.board.dsp * array.products:  # seen before anything is cut
            raise BfpError(f"needs {array.macs // array.products} dsp (modelled)")
        program = build([artifact], options, with_weights=False)
        refuse_what_does_not_fit(program, self.board)
        result = estimate(program, self.board)
        figures = {name: result[name] for name in FIGURES}
        return Point(*widths, options, array.products, array.macs, **figures)

    def arrays(self, widths: tuple[int, int]) -> Iterator[Point]:
        """Every size of the array, with the largest of three sizes of buffers that fits."""
        for lanes in LANES:
            for filters in (f for f in FILTERS if f <= lanes):
                for pixels in PIXELS:
                    for part in (1, 1 / 2, 1 / 4):
                        options = scaled(lanes, filters, pixels, part, part, 1)
                        point = self.point(widths, options)
                        if point:
                            yield point
                        # smaller buffers only help where block RAM is short
                        if point or not self.refused[(*widths, options)].startswith("bram36"):
                            break

    def buffers(self, widths: tuple[int, int], options: EngineOptions) -> None:
        """Several sizes of the buffers for one array."""
        sizes = [(inputs, weights, 1) for inputs in INPUT_PARTS for weights in WEIGHT_PARTS]
        # partial sums wait only where weights come in chunks, so that their room is tried by itself
        sizes += [(inputs, 1, sums) for inputs in (1, 3 / 2) for sums in SUM_PARTS]
        for parts in sizes:
            self.point(widths, scaled(options.lanes, options.filters, options.pixels, *parts))

    def search(self, widths: tuple[int, int]) -> None:
        """Arrays first; then the buffers of the promising ones: the fastest, and those on a front."""
        found = list(self.arrays(widths))
        promising = sorted(found, key=lambda p: -p.frames_per_second)[:REFINED]
        for resource in RESOURCES:
            promising += front(found, resource)[-REFINED // 2 :]
        for options in dict.fromkeys(p.options for p in promising):
            self.buffers(widths, options)


_worker: list[Explorer] = []  # of a process of explore's pool


def _work_on(artifact: Artifact, board: Board) -> None:
    _worker[:] = [Explorer(artifact, board)]


def _search(widths: tuple[int, int]) -> tuple[dict, dict]:
    """Points and refusals of one pair of widths."""
    explorer = _worker[0]
    explorer.points, explorer.refused = {}, {}
    explorer.search(widths)
    return explorer.points, explorer.refused


def price(point: Point, cost: str) -> int:
    """What a point pays: of a resource, the less the better; of "bits", which accuracy wants, the more the better."""
    return -point.bits if cost == "bits" else getattr(point, cost)


def front(points: Iterable[Point], cost: str) -> list[Point]:
    """Points that no other equals or beats in both frames per second and ``cost``, the cheapest first.

    cost: one of RESOURCES or "bits" (see :func:`price`). Of points equal in both, the first is kept.
    """
    best: list[Point] = []
    for point in sorted(points, key=lambda p: (price(p, cost), -p.frames_per_second)):
        if not best or point.frames_per_second > best[-1].frames_per_second:
            best.append(point)
    return best


def fastest(points: Iterable[Point]) -> Point:
    """The most frames per second; of equals, the one with the fewest block RAMs and LUTs."""
    return max(points, key=lambda p: (p.frames_per_second, -p.bram36, -p.lut))


def explore(
    artifact: Artifact, board: Board, current: EngineOptions, widths: Iterable[tuple[int, int]] = WIDTHS
) -> dict:
    """Everything as a dictionary for explore.json; all figures are modelled.

    current: the engine that the network has now; it is a point, too. widths:
    pairs (weights, activations) besides the artifact's own; wider ones count as
    its own. "current", "best" (of each width) and "fronts" index "points".
    Raises BfpError where no engine fits the board.
    """
    own = widths_of(artifact)
    pairs = list(dict.fromkeys([own, *((min(w, own[0]), min(a, own[1])) for w, a in widths)]))
    explorer = Explorer(artifact, board)
    now = explorer.point(own, current)
    workers = min(len(pairs), os.cpu_count() or 1)
    with ProcessPoolExecutor(workers, initializer=_work_on, initargs=(artifact, board)) as pool:
        for index, (points, refusals) in enumerate(pool.map(_search, pairs)):
            for key, point in points.items():
                explorer.points.setdefault(key, point)
            explorer.refused |= refusals
            done = f"widths {index + 1} of {len(pairs)}, {len(explorer.points)} engines fit"
            print(f"exploring {artifact.graph.name}: {done}", file=sys.stderr, flush=True)
    refused = Counter(explorer.refused.values()).most_common()
    if not explorer.points:
        why, count = refused[0]
        raise BfpError(
            f"no engine for {artifact.graph.name} fits {board.name}; the most frequent reason ({count}): {why}"
        )
    points = list(explorer.points.values())
    number = {id(p): n for n, p in enumerate(points)}
    by_width = {pair: [p for p in points if (p.weights, p.activations) == pair] for pair in pairs}
    fronts = [
        {"cost": cost, "weights": w, "activations": a, "points": [number[id(p)] for p in front(mine, cost)]}
        for cost in RESOURCES
        for (w, a), mine in by_width.items()
    ]
    fronts.append({"cost": "bits", "points": [number[id(p)] for p in front(points, "bits")]})
    return {
        "modelled": True,
        "network": artifact.graph.name,
        "board": board.name,
        "clock_mhz": board.clock_mhz,
        "memory_gb_s": board.memory_gb_s,
        "limits": {resource: getattr(board, resource) for resource in RESOURCES},
        "widths": [list(pair) for pair in pairs],
        "current": None if now is None else number[id(now)],
        "best": [number[id(fastest(mine))] for mine in by_width.values() if mine],
        "refused": dict(refused),
        "fronts": fronts,
        "points": [{**asdict(p), "bits": p.bits} for p in points],
    }


def section(point: dict) -> str:
    """The [engine] section of a network file for an entry of "points"."""
    names = ("lanes", "filters", "pixels", "input_words", "weight_steps", "tile_blocks")
    return "\n".join(["[engine]", *(f"{name} = {point['options'][name]}" for name in names)])


def table(result: dict) -> list[str]:
    """Lines for people: the fastest engine of each width, and what was refused."""
    lines = [
        f"{'bits':>5} {'frames/s':>9} {'lanes':>5} {'filt.':>5} {'pix.':>4} {'MAC/cyc':>7} {'array':>6} "
        f"{'DSP':>5} {'BRAM36':>6} {'LUT':>7}  (all modelled)"
    ]
    for name, index in [("now", result["current"]), *(("best", i) for i in result["best"])]:
        if index is not None:
            p = result["points"][index]
            o = p["options"]
            lines.append(
                f"{p['weights']}/{p['activations']:<3} {p['frames_per_second']:9.2f} {o['lanes']:5} {o['filters']:5} "
                f"{o['pixels']:4} {p['macs_per_cycle']:7} {100 * p['mac_efficiency']:5.1f}% {p['dsp']:5} "
                f"{p['bram36']:6} {p['lut']:7}  {name}"
            )
    refused = sum(result["refused"].values())
    lines.append(f"{len(result['points'])} engines fit {result['board']}, {refused} are refused:")
    return lines + [f"{count:7} {why}" for why, count in result["refused"].items()]


def parse_widths(words: list[str]) -> list[tuple[int, int]]:
    """``weights/activations`` pairs. Raises BfpError for anything else."""
    for word in words:
        if not re.fullmatch(r"[2-8]/[2-8]", word):
            raise BfpError(f"width {word!r} is not WEIGHTS/ACTIVATIONS with 2 to 8 bits each; write for instance 5/8")
    return [(int(word[0]), int(word[2])) for word in words]


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status, 2 for bad input."""
    from codegen.__main__ import parse_options

    parser = argparse.ArgumentParser(prog="python -m codegen.performance.explore", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="build folder that holds artifact.npz")
    parser.add_argument("--board", default="ultra96v2", help="a file of codegen/boards (default ultra96v2)")
    parser.add_argument(
        "--engine", nargs="*", default=[], metavar="NAME=NUMBER", help="the network's engine options now"
    )
    parser.add_argument("--widths", nargs="*", metavar="W/A", help="mantissa widths (default 8/8 6/6 5/5 4/4)")
    arguments = parser.parse_args(argv)
    start = time.perf_counter()
    try:
        widths = parse_widths(arguments.widths) if arguments.widths is not None else WIDTHS
        artifact, board = load(arguments.folder / "artifact.npz"), load_board(arguments.board)
        result = explore(artifact, board, parse_options(arguments.engine), widths)
        write_json(arguments.folder / "explore.json", result)
        write_text(arguments.folder / "explore.svg", chart(result))
    except BfpError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(*table(result), sep="\n")
    best = result["points"][result["best"][0]]
    print(
        f"\nmodelled best for {result['network']} on {result['board']} at {best['weights']}/{best['activations']} bits"
        f": {best['frames_per_second']} frames/s\n\n{section(best)}\n"
    )
    print(f"{arguments.folder / 'explore.svg'}, explore.json; {time.perf_counter() - start:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
