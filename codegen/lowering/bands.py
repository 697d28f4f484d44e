"""Chains of layers that are computed by bands of rows, so that the maps between them never leave the chip.

A chain is two or three layers of which each reads what the one before makes, and nobody else does: an expansion, a depthwise
convolution and a projection. Of each band of the last one's rows every layer computes the rows that this takes, as a layer of
the engine by itself, into a map of those rows in on-chip memory. Rows that two bands need are computed twice. The layers of
the bands take turns such that none waits for the one before it: the first one's next band, the second one's band, the third
one's band before that.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from bfp.graph import Graph
from codegen.lowering.chip_maps import Home, Life, placed, targets
from codegen.lowering.engine_operators import EngineOperator
from codegen.lowering.job import Band, Job
from codegen.lowering.placement import Placement
from codegen.lowering.tiling import ceil_div

MOST_LAYERS = 3
BANDS = (2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 28, 38, 56)  # into which a map may be cut
# of the layers of a chain, by how many there are: what loads for the next one of them loads while the one before is computed
ORDERS = {2: ((0, 1),), 3: ((0, 1, 2), (0, 2, 1))}
TILINGS = 6  # of each layer, that are compared where it is decided what is computed by bands
TRIED = 3  # the fewest of these for which there is room
FIRST_ADDRESS = 1 << 40  # of the maps of bands, which have none in the arena; far beyond it


def alone(job: Job) -> bool:
    """Whether a layer's rows may be computed by bands: what it computes is what it stores, row by row."""
    plain = job.pool is None and job.input_pool is None and not job.planes_again and job.node.factors == (1, 1)
    plain &= job.pictures == 1
    return plain and job.op in (EngineOperator.CONV, EngineOperator.DEPTHWISE) and job.node.window.dilation == (1, 1)


def links(stored: list[Home], jobs: list[Job]) -> list[bool]:
    """Of each layer, whether it is the only one that reads what the layer before it makes."""
    found = [False]
    for before, job in zip(jobs, jobs[1:]):
        made = next((home for home in stored if home.holds(before.target)), None)
        linked = made is not None and not made.stays and made.place == before.target == job.source
        if linked:
            readers = [j for j in jobs if made.holds(j.source) or (j.shortcut and made.holds(j.shortcut))]
            writers = [j for j in jobs if any(map(made.holds, targets(j)))]
            linked = readers == [job] and writers == [before] and alone(before) and alone(job)
            linked &= not (job.shortcut and made.holds(job.shortcut))
        found.append(bool(linked))
    return found


def rows_of_bands(jobs: list[Job], heights: list[int], count: int) -> list[list[tuple[int, int]]]:
    """Of each layer of a chain, the first row of each of ``count`` bands and the one behind its last.

    heights: of what the layers compute. Rows that no window reads are computed, too, with the band before; bands may
    be empty where padding is all that their windows read.
    """
    each = ceil_div(heights[-1], count)
    found = [[(a, min(a + each, heights[-1])) for a in range(0, heights[-1], each)]]
    for job, height in zip(jobs[:0:-1], heights[-2::-1]):
        stride, kernel, pad = (getattr(job.node.window, name)[0] for name in ("stride", "kernel", "padding"))
        rows, last = [], 0
        for band, (a, b) in enumerate(found[-1]):
            first = min(last, max(0, a * stride - pad))
            last = height if band == len(found[-1]) - 1 else min(height, (b - 1) * stride - pad + kernel)
            rows.append((first, last))
        found.append(rows)
    return found[::-1]


def rows_of_chain(graph: Graph, jobs: list[Job], count: int) -> list[list[tuple[int, int]]]:
    """The same, of a network's layers."""
    return rows_of_bands(jobs, [graph.shapes[job.node.output][1] for job in jobs], count)


@dataclass(frozen=True)
class Chain:
    """The layers of a chain by bands, in the order in which they run. begin, end: of the layers that they stand for;
    count: of bands, as was asked for; order: of the layers in each turn; address: of the first band's first map.

    lives: of the maps of bands, in layers counted from the first one of these.
    """

    begin: int
    end: int
    count: int
    order: tuple[int, ...]
    address: int
    jobs: list[Job]
    lives: list[Life]


def in_turns(order: tuple[int, ...], bands: int) -> list[tuple[int, int]]:
    """Layer and band of all that runs: each layer one band behind the one before. order: of the layers, in each turn."""
    turns = range(bands + len(order) - 1)
    return [(n, turn - n) for turn in turns for n in order if 0 <= turn - n < bands]


def chain_of(
    graph: Graph, jobs: list[Job], begin: int, end: int, count: int, order: tuple[int, ...], address: int
) -> Chain:
    """Layers ``begin`` to before ``end`` by ``count`` bands. address: of the first band's map, where the arena has nothing."""
    own, at_first = jobs[begin:end], address
    rows = rows_of_chain(graph, own, count)
    maps: dict[tuple[int, int], Placement] = {}
    for n, job in enumerate(own[:-1]):
        for band, (first, stop) in enumerate(rows[n]):
            home = (job.target.address + first * job.target.line, job.target.plane)
            maps[n, band] = replace(job.target, address=address, height=stop - first, on_chip=0, home=home)
            address += maps[n, band].words
    made: list[Job] = []
    turns = in_turns(order, len(rows[0]))
    for n, band in turns:
        job, (first, stop) = own[n], rows[n][band]
        before = rows[n][band - 1][1] if band else 0
        part = Band(
            first=first,
            rows=stop - first,
            of=graph.shapes[job.node.output][1],
            new=max(0, stop - max(first, before)),
            source_first=rows[n - 1][band][0] if n else 0,
            target_first=first if n == len(own) - 1 else 0,
        )
        last = band == len(rows[n]) - 1
        whole = [(tensor, label, replace(place, on_chip=0)) for tensor, label, place in job.stored]
        made.append(
            replace(
                job,
                name=f"{job.name}.rows{first}-{stop - 1}",
                source=maps[n - 1, band] if n else job.source,
                target=job.target if n == len(own) - 1 else maps[n, band],
                stored=(job.stored if n == len(own) - 1 else whole) if last else [],
                band=part,
            )
        )
    at = {step: number for number, step in enumerate(turns)}
    lives = [
        Life(f"{own[n].name} {band}", place.address, place.words, at[n, band], at[n + 1, band], 0)
        for (n, band), place in maps.items()
    ]
    return Chain(begin, end, count, order, at_first, made, lives)


def chains_of(
    graph: Graph, jobs: list[Job], begin: int, end: int, words: int, address: int, first: list[Life]
) -> list[Chain]:
    """Layers ``begin`` to before ``end`` in the fewest numbers of bands for whose maps there is room, in every order.

    first: tensors that have their words before.
    """
    there = [replace(x, first=0, last=FIRST_ADDRESS) for x in first if x.first < end and x.last >= begin]
    own, found, counts = jobs[begin:end], [], set()
    for count in (n for n in BANDS if n <= graph.shapes[own[-1].node.output][1]):
        rows = rows_of_chain(graph, own, count)
        if len(counts) == TRIED or any(a >= b for part in rows for a, b in part):
            continue
        for order in ORDERS[len(own)]:
            chain = chain_of(graph, jobs, begin, end, count, order, address)
            if len(placed(chain.lives, words, there)) == len(there) + len(chain.lives):
                found.append(chain)
                counts.add(count)
    return found


def best_chains(
    graph: Graph,
    linked: list[bool],
    jobs: list[Job],
    words: int,
    cycles: Callable[[list[Job], float], float],
    first: list[Life],
) -> list[Chain]:
    """The chains, none of which has a layer of another, that save most cycles.

    linked: see :func:`links`. jobs: the layers, with those of their maps on chip that would be there without bands.
    words: of on-chip memory; what the bands of one chain need at a time has to fit. cycles: modelled, of some layers,
    infinite where they are seen to be more than a limit. first: tensors of these layers that take their words before.
    """
    address = FIRST_ADDRESS
    best: list[tuple[float, list[Chain]]] = [(0.0, [])]  # of the layers before each one
    for end in range(1, len(jobs) + 1):
        saved, chosen = best[end - 1]
        for length in range(2, MOST_LAYERS + 1):
            begin = end - length
            if begin < 0 or not all(linked[begin + 1 : end]):
                break
            known = cycles(jobs[begin:end], math.inf)
            for chain in chains_of(graph, jobs, begin, end, words, address, first):
                gain = known - cycles(chain.jobs, best[begin][0] + known - saved)
                if best[begin][0] + gain > saved:
                    saved, chosen = best[begin][0] + gain, [*best[begin][1], chain]
                address += sum(life.words for life in chain.lives)
        best.append((saved, chosen))
    return best[-1][1]


def in_bands(jobs: list[Job], chains: list[Chain]) -> tuple[list[Job], list[Life]]:
    """All layers in their order, those of chains by bands, and what these need of on-chip memory."""
    found: list[Job] = []
    lives: list[Life] = []
    at = 0
    for chain in chains:
        found += jobs[at : chain.begin]
        begin, at = len(found), chain.end
        lives += [replace(life, first=begin + life.first, last=begin + life.last) for life in chain.lives]
        found += chain.jobs
    return found + jobs[at:], lives
