"""Which maps stay in on-chip memory, whole or by bands of rows, and what the layers are like then: by modelled cycles."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from bfp.graph import Graph
from codegen.lowering.bands import TILINGS, Chain, best_chains, chain_of, in_bands, links
from codegen.lowering.chip_maps import Home, Life, lives, moved_job, place_on_chip, placed
from codegen.lowering.job import Job
from codegen.lowering.sequence import Costed, Traffic, choose_tilings
from codegen.lowering.tiling import Cutter


@dataclass(frozen=True)
class Planned:
    """A layer to be whose tiling is still to be chosen."""

    job: Job
    traffic: Traffic
    cutter: Cutter


@dataclass(frozen=True)
class ChipPlan:
    """What stays on chip: of it, the tensors that layers read as shortcuts, too; the layers for that, and their modelled cycles."""

    residual: tuple[str, ...]
    lives: list[Life]
    planned: list[Planned]
    cycles: float


class ChipPlanner:
    """Chooses for one network. words: of on-chip memory. plan: what is planned of a layer whose operands have their places."""

    def __init__(
        self, graph: Graph, stored: list[Home], words: int, costed: Costed, plan: Callable[[Job], Planned]
    ) -> None:
        self.graph, self.stored, self.words, self.costed, self.plan = graph, stored, words, costed, plan
        # of layers that have been modelled: their cycles, or up to which limit they are more
        self.known: dict[tuple, tuple[float, float]] = {}

    def best(self, jobs: list[Job], shortcuts: bool) -> ChipPlan:
        """Of these layers, the plan of fewest cycles, as the short model has them. shortcuts: whether these may stay on chip.

        Tensors that join sums as shortcuts are tried one by one, the largest savers of memory's beats first: they take room
        from others, and turns of the memory's read port.
        """
        best = self.with_shortcuts(jobs, ())
        if not shortcuts:
            return best
        tensors = lives(self.stored, jobs, [home.tensor for home in self.stored])
        joined = [x for x in tensors if any(job.shortcut and x.holds(job.shortcut) for job in jobs)]
        for life in sorted(joined, key=lambda life: -life.beats):
            found = self.with_shortcuts(jobs, (*best.residual, life.tensor))
            if found and found.cycles < best.cycles:
                best = found
        return best

    def with_shortcuts(self, jobs: list[Job], residual: tuple[str, ...]) -> ChipPlan | None:
        """The plan in which first of all these tensors stay on chip; None where there is no room for them and for bands."""
        first, others = self.wanted(jobs, residual)
        jobs, of_bands = in_bands(jobs, self.by_bands(jobs, place_on_chip(others, self.words, first), first))
        first, others = self.wanted(jobs, residual)
        there = placed(of_bands, self.words, first)
        if len(first) < len(residual) or len(there) < len(first) + len(of_bands):
            return None
        found = place_on_chip(others, self.words, there)
        planned = [self.plan(moved_job(job, found)) for job in jobs]
        return ChipPlan(residual, found, planned, self.modelled(planned))

    def wanted(self, jobs: list[Job], residual: tuple[str, ...]) -> tuple[list[Life], list[Life]]:
        """The tensors that have their words before all others, as far as there is room, and the others that may stay."""
        found = lives(self.stored, jobs, residual)
        first = placed([life for life in found if life.tensor in residual], self.words)
        return first, [life for life in found if life.tensor not in residual]

    def modelled(self, planned: list[Planned], limit: float = math.inf) -> float:
        """Cycles of some layers, one after the other, by the short model; infinite where they are seen to be more than a limit."""
        layers = [(plan.traffic, plan.cutter) for plan in planned]
        return choose_tilings(layers, self.costed, TILINGS, limit)[1]

    def by_bands(self, jobs: list[Job], whole: list[Life], first: list[Life]) -> list[Chain]:
        """The chains of layers that are computed by bands of rows. whole: tensors that would be on chip without any; first:
        of these, those that have their words before any bands do.
        """

        def cycles(some: list[Job], limit: float) -> float:
            key = tuple(job.stands for job in some)
            found, up_to = self.known.get(key, (math.inf, -math.inf))
            if found == math.inf and limit > up_to:
                found = self.modelled([self.plan(job) for job in some], limit)
                self.known[key] = found, limit
            return found

        placed_jobs, linked = [moved_job(job, whole) for job in jobs], links(self.stored, jobs)
        found = best_chains(self.graph, linked, placed_jobs, self.words, cycles, first)
        return [chain_of(self.graph, jobs, x.begin, x.end, x.count, x.order, x.address) for x in found]
