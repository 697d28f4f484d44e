"""Layers one after the other: when the first tile of each may load, and which tilings suit each other.

While the last tile of a layer is computed, the first tile of the next one loads,
as soon as everything that it reads has been stored (docs/architecture.md,
"Steps"). Tilings are therefore chosen for whole networks: one that is not the
best of its own may let the next layer start earlier.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from codegen.lowering.array import Array
from codegen.lowering.cost import Cost, Machine, tiling_cost
from codegen.lowering.fusion import InputPool, Pool
from codegen.lowering.job import Job
from codegen.lowering.layer_fields import LoadFields
from codegen.lowering.layer_shape import LayerShape
from codegen.lowering.tiling import Cutter, Tiling, ceil_div

MOST_CANDIDATES = 24


@dataclass(frozen=True)
class Target:
    """Where a layer writes: address and plane (the map of one word of channels) in words of memory; planes: of it.

    pool: what is stored there of the rows that are computed; first_row: where the first of them goes.
    """

    address: int
    plane: int
    planes: int
    pool: Pool | None = None
    first_row: int = 0


@dataclass(frozen=True)
class Traffic:
    """What the order of loads and stores depends on: where a layer reads and writes.

    source_address, source_plane: as a Target's. in_height: rows of the map that it reads; pad_top: rows before it;
    input_pool: that pools them. out_height: rows that it computes. grows: whether the map grows as it loads,
    by its edges or by factors;
    source_planes: of that map.
    """

    source_address: int
    source_plane: int
    targets: tuple[Target, ...]
    dense: bool
    in_height: int
    pad_top: int
    out_height: int
    input_pool: InputPool | None = None
    grows: bool = False
    repeats_edges: bool = False
    source_planes: int = 0


def rows_of_first_tile(traffic: Traffic, tiling: Tiling) -> int:
    """Rows of the input map, counted from its top, that the first tile reads from."""
    window = tiling.buffered
    if traffic.grows:
        return min(traffic.in_height, tiling.tile_height)
    height = min(tiling.tile_height, traffic.out_height)
    last = traffic.input_pool.rows(height) - 1 if traffic.input_pool else (window.rows(height) - 1) * window.row_step
    return min(traffic.in_height, max(0, last - traffic.pad_top + 1))


def first_row_of_last_tile(traffic: Traffic, tiling: Tiling) -> int:
    """Of the rows that a layer computes, the first one that its last tile does."""
    if traffic.repeats_edges:
        return traffic.out_height - 1
    first = min(tiling.apart, traffic.out_height) - 1
    rows = ceil_div(traffic.out_height - first, tiling.apart)
    return first + (ceil_div(rows, tiling.tile_height) - 1) * tiling.tile_height * tiling.apart


def early_pass(before: Traffic, before_tiling: Tiling, traffic: Traffic, tiling: Tiling) -> int | None:
    """The first pass of the last tile of the layer before with which the first tile may load.

    None where the last pass still writes what it reads. Layers further back are done by then.
    """
    found = [early_of(before, target, before_tiling, traffic, tiling) for target in before.targets]
    return None if None in found else max(found)


def early_of(before: Traffic, target: Target, before_tiling: Tiling, traffic: Traffic, tiling: Tiling) -> int | None:
    """The same for one target of the layer before."""
    offset, rest = divmod(target.address - traffic.source_address, traffic.source_plane)
    # words of the layer before that the first tile reads, counted in its own output
    # where the map grows, phases lie apart: all of them are taken for read
    words = traffic.source_planes if traffic.grows else tiling.words
    first, stop = max(0, -offset), min(target.planes, words - offset)
    if rest or first >= stop or target.plane != traffic.source_plane:
        return 0
    last_row = first_row_of_last_tile(before, before_tiling)
    if target.pool:
        last_row = target.pool.rows(last_row)
    last_row += target.first_row
    if rows_of_first_tile(traffic, tiling) <= last_row:
        return 0
    # words of its last tile; those of tiles before it are stored
    start = 0 if before.dense else (before_tiling.word_tiles - 1) * before_tiling.words
    if stop <= start:
        return 0
    passes = before_tiling.tile_passes if before.dense else before_tiling.edge_passes
    done = ((stop - 1 - start) // before_tiling.group_words + 1) * before_tiling.chunks
    return done if done < passes else None


def wait(before: Cost, early: int | None, cost: Cost, machine: Machine) -> float:
    """Cycles, roughly, for which a layer's first tile and weights are waited for."""
    weights = max(0.0, cost.first_weights - before.last_pass)
    if early is None:
        return cost.load + weights
    share = max(0.0, 1 - early / before.passes)
    window = before.tile * share
    both = (before.tile_beats * share + cost.load_beats) / machine.words_per_cycle
    return max(window, cost.load - machine.load_latency, both) - window + weights


class Costed:
    """The tilings of the layers of engines with the same options on one machine, with what they cost.

    Layers of one shape have the same; so the many layers of bands, which are but for their names alike, take little time.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._known: dict[tuple[Array, LayerShape], list[tuple[Tiling, Cost]]] = {}

    def of(self, cutter: Cutter) -> list[tuple[Tiling, Cost]]:
        """All that are tried, those that cost least by themselves first. Raises BfpError naming a layer of which nothing fits."""
        key = cutter.array, replace(cutter.layer, name="")
        if key not in self._known:
            found = [(t, tiling_cost(cutter.layer, t, cutter.array, self.machine)) for t in cutter.candidates()]
            found.sort(key=lambda o: o[1].inside + o[1].load + o[1].first_weights)
            self._known[key] = found
        return self._known[key]


def choose_tilings(
    layers: list[tuple[Traffic, Cutter]], costed: Costed, most: int = MOST_CANDIDATES, limit: float = math.inf
) -> tuple[list[Tiling], float]:
    """One tiling for each layer, such that the sum of modelled cycles on the machine is least, and that sum.

    most: tilings of each layer that are compared. limit: where the sum is seen to be more, it is infinite, of no tilings.
    Raises BfpError naming the layer of which nothing fits.
    """
    every = [costed.of(cutter)[:most] for _, cutter in layers]
    least_inside = [min(cost.inside for _, cost in options) for options in every]
    rest = sum(least_inside)  # of what is still to come, at least
    machine = costed.machine
    best: list[tuple[float, tuple]] = []  # per candidate of the last layer: cycles up to there, and the choices
    known: list[tuple[Tiling, Cost]] = []
    previous: Traffic | None = None
    for (traffic, _), options, inside in zip(layers, every, least_inside):
        if min((sofar for sofar, _ in best), default=0.0) + rest > limit + 1:  # a cycle for the rounding of sums
            return [], math.inf
        rest -= inside
        found = []
        for tiling, cost in options:
            if previous is None:
                found.append((cost.load + cost.first_weights + cost.inside, (tiling, None)))
                continue
            least, link = math.inf, None
            for (t, c), (sofar, chain) in zip(known, best):
                if sofar >= least:  # which waiting does not lessen
                    continue
                cycles = sofar + wait(c, early_pass(previous, t, traffic, tiling), cost, machine)
                if cycles < least:
                    least, link = cycles, chain
            found.append((least + cost.inside, (tiling, link)))
        best, known, previous = found, options, traffic
    chosen: list[Tiling] = []
    cycles, link = min(best, key=lambda x: x[0]) if best else (0.0, None)
    while link is not None:
        tiling, link = link
        chosen.append(tiling)
    return chosen[::-1], cycles


def load_fields(
    tiling: Tiling, early: int | None, before: Tiling | None, before_dense: bool, job: Job
) -> LoadFields:
    """Lines that load with each pass of a job, for the schedule; ``before`` is the layer before, if there is one.

    Of an input that is pooled, or grows, as it loads, or of several pictures, planes are counted, which are not divided.
    """
    if job.input_pool is not None:
        lines = tiling.words
    elif job.pictures > 1:
        lines = tiling.words * tiling.tile_height
    else:
        lines = tiling.words * (job.planes_again or tiling.buffered.rows(tiling.tile_height))
    slice_lines = ceil_div(lines, tiling.tile_passes)
    if early is None or before is None:
        return LoadFields(slice_lines)
    passes = before.tile_passes if before_dense else before.edge_passes
    return LoadFields(slice_lines, ceil_div(lines, passes - early), early)
