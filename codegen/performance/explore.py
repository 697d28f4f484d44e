"""``python -m codegen.performance.explore BUILD_DIR``: which engine suits a network and a board. All is modelled.

Searches lanes, filters, pixels, buffers and mantissa widths with the estimator
(codegen.performance.estimate) alone, and writes BUILD_DIR/explore.json and explore.svg with
the Pareto fronts of frames per second against each resource and against width
(more bits are better: they are what accuracy has to live on).
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
from dataclasses import asdict
from pathlib import Path

from bfp.artifact import Artifact
from bfp.artifact_file import load
from bfp.errors import BfpError, sentence
from bfp.files import check_folder, write_json, write_text
from bfp.names import printable
from codegen.options import EngineOptions
from codegen.performance.board import DEFAULT_BOARD, Board, board_at
from codegen.performance.design_space import RESOURCES, Explorer, fastest, front, widths_of
from codegen.performance.explore_chart import chart
from codegen.performance.ranges import Ranges

WIDTHS = ((8, 8), (6, 6), (5, 5), (4, 4))  # of weights and activations

CHOSEN = ("bits", "batch", "chip_bytes", "depthwise_pixels")  # what else of a point is written

_worker: list[Explorer] = []  # of a process of explore's pool


def _work_on(artifact: Artifact, board: Board) -> None:
    _worker[:] = [Explorer(artifact, board)]


def _search(widths: tuple[int, int]) -> tuple[dict, dict]:
    """Points and refusals of one pair of widths."""
    explorer = _worker[0]
    explorer.points, explorer.refused = {}, {}
    explorer.search(widths)
    return explorer.points, explorer.refused


def explore(
    artifact: Artifact, board: Board, current: EngineOptions, widths: Iterable[tuple[int, int]] = WIDTHS
) -> dict:
    """Everything as a dictionary for explore.json; all figures are modelled.

    current: the engine that the network has now; it is a point, too. widths:
    pairs (weights, activations) besides the artifact's own; wider ones count as
    its own. "current", "best" (of each width), "surely", "batched" and "fronts" index "points". "best" and the fronts are of
    engines that take one picture at a time, but for the fronts whose cost is "batch"; "surely" are the fastest of those that
    fit at the high ends of all ranges, of each width where that is not the best; "batched" are the fastest that take
    several, of each width where they are faster than the best.
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
    every = {pair: [p for p in points if (p.weights, p.activations) == pair] for pair in pairs}
    single = {pair: [p for p in mine if p.batch == 1] for pair, mine in every.items()}
    best = [fastest(mine) for mine in single.values() if mine]
    sure = [[p for p in mine if p.surely_fits(board)] for mine in single.values()]
    surely = [fastest(mine) for mine in sure if mine and fastest(mine) not in best]
    batched = [fastest(mine) for mine in every.values() if mine and fastest(mine).batch > 1]
    return {
        "modelled": True,
        "network": artifact.graph.name,
        "board": board.name,
        "clock_mhz": board.clock_mhz,
        "memory_gb_s": board.memory_gb_s,
        "limits": {resource: getattr(board, resource) for resource in RESOURCES},
        "widths": [list(pair) for pair in pairs],
        "current": None if now is None else number[id(now)],
        "best": [number[id(p)] for p in best],
        "surely": [number[id(p)] for p in surely],
        "batched": [number[id(p)] for p in batched],
        "refused": dict(refused),
        "fronts": [{**of, "points": [number[id(p)] for p in chosen]} for of, chosen in _fronts(single, every, bool(batched))],
        "points": [{**asdict(p), **{name: getattr(p, name) for name in CHOSEN}} for p in points],
    }


def _fronts(single: dict[tuple, list], every: dict[tuple, list], batches: bool) -> Iterator[tuple[dict, list]]:
    """What each front is of, and its points. single, every: points by their widths, of one picture at a time and of all;
    batches: whether there is a front of them."""
    points = [p for mine in single.values() for p in mine]
    maps, lanes = any(p.chip_bytes for p in points), any(p.options.depthwise_pixels for p in points)
    costs = [(cost, single) for cost in RESOURCES] + [("chip_bytes", single)] * maps
    costs += [("depthwise_pixels", single)] * lanes + [("batch", every)] * batches
    for cost, of_widths in costs:
        for (weights, activations), mine in of_widths.items():
            yield {"cost": cost, "weights": weights, "activations": activations}, front(mine, cost)
    yield {"cost": "bits"}, front(points, "bits")


def section(point: dict, board: Board) -> str:
    """The [engine] section of a network file for an entry of "points"."""
    names = ("lanes", "filters", "pixels", "input_words", "weight_steps", "tile_blocks", "chip_words")
    names += ("batch",) if point["options"]["batch"] > 1 else ()
    names += tuple(name for name in ("fold_input", "depthwise_pixels", "weights_ahead") if point["options"][name])
    options = [f"{name} = {point['options'][name]}" for name in names]
    return "\n".join(["[engine]", f'board = "{board.word}"', *options])


def table(result: dict) -> list[str]:
    """Lines for people: the fastest engine of each width, and what was refused."""
    lines = [
        f"{'bits':>5} {'frames/s (low to high)':>28} {'lanes':>5} {'filt.':>5} {'pix.':>4} {'MAC/cyc':>7} {'array':>6} "
        f"{'DSP':>5} {'BRAM36':>6} {'LUT (low to high)':>24}  (all modelled)"
    ]
    batched = [(f"batches of {result['points'][i]['batch']}", i) for i in result["batched"]]
    best = [("best", i) for i in result["best"]] + [("best that surely fits", i) for i in result["surely"]]
    for name, index in [("now", result["current"]), *best, *batched]:
        if index is not None:
            p = result["points"][index]
            o = p["options"]
            ranges = Ranges.of(p)
            lines.append(
                f"{p['weights']}/{p['activations']:<3} {ranges.frames_per_second!s:>28} {o['lanes']:5} "
                f"{o['filters']:5} {o['pixels']:4} {p['macs_per_cycle']:7} {100 * p['mac_efficiency']:5.1f}% "
                f"{p['dsp']:5} {p['bram36']:6} {ranges.lut!s:>24}  {name}"
            )
    refused = sum(result["refused"].values())
    lines.append(f"{len(result['points'])} engines fit {result['board']}, {refused} are refused:")
    return lines + [f"{count:7} {why}" for why, count in result["refused"].items()]


def advice(result: dict, board: Board) -> list[str]:
    """What to paste, for the artifact's own widths: of the best engine, and, where these are others, of the best one that
    surely fits and of the best one that takes several pictures."""
    own, points = result["widths"][0], result["points"]

    def chosen(key: str) -> list[dict]:
        return [p for p in (points[i] for i in result[key]) if [p["weights"], p["activations"]] == own]

    found = []
    for point in chosen("best"):
        where = f"{result['network']} on {result['board']} at {point['weights']}/{point['activations']} bits"
        found.append(f"modelled best for {where}: {Ranges.of(point).frames_per_second} frames/s")
        found.append(section(point, board))
    for point in chosen("surely"):
        found.append(f"of those that fit at the high ends of all figures: {Ranges.of(point).frames_per_second} frames/s")
        found.append(section(point, board))
    for point in chosen("batched"):
        alone = f"one alone in {point['cycles'] / board.clock_mhz / 1e3:.1f} ms (modelled)"
        found.append(f"with batches of {point['batch']} pictures {Ranges.of(point).frames_per_second} frames/s, {alone}:")
        found.append(section(point, board))
    return found


def parse_widths(words: list[str]) -> list[tuple[int, int]]:
    """``weights/activations`` pairs. Raises BfpError for anything else."""
    for word in words:
        if not re.fullmatch(r"[2-8]/[2-8]", word):
            raise BfpError(f"width {word!r} is not WEIGHTS/ACTIVATIONS with 2 to 8 bits each; write for instance 5/8")
    return [(int(word[0]), int(word[2])) for word in words]


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status, 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m codegen.performance.explore", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="build folder that holds artifact.npz")
    parser.add_argument("--board", default=DEFAULT_BOARD, help="a file of codegen/boards (default %(default)s)")
    parser.add_argument("--clock", metavar="MHZ", help="of the engine (default: the board's)")
    parser.add_argument(
        "--engine", nargs="*", default=[], metavar="NAME=NUMBER", help="the network's engine options now"
    )
    parser.add_argument("--widths", nargs="*", metavar="W/A", help="mantissa widths (default 8/8 6/6 5/5 4/4)")
    arguments = parser.parse_args(argv)
    start = time.perf_counter()
    try:
        widths = parse_widths(arguments.widths) if arguments.widths is not None else WIDTHS
        check_folder(arguments.folder)
        artifact, board = load(arguments.folder / "artifact.npz"), board_at(arguments.board, arguments.clock)
        result = explore(artifact, board, EngineOptions.from_words(arguments.engine), widths)
        write_json(arguments.folder / "explore.json", result)
        write_text(arguments.folder / "explore.svg", chart(result))
    except (BfpError, OSError, MemoryError) as error:
        print(f"error: {printable(sentence(error))}", file=sys.stderr)
        return 2
    print(*table(result), sep="\n")
    print("", *advice(result, board), sep="\n\n")
    print()
    print(f"{arguments.folder / 'explore.svg'}, explore.json; {time.perf_counter() - start:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
