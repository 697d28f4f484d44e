"""The engine's steps, in order: which pass computes, and which lines and weights load meanwhile (hls/engine.cpp)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from codegen.performance.counts import COUNTED, PassCounts, TileCounts, layer_tiles
from codegen.lowering.schedule import Program
from codegen.lowering.walk import Walk, Work
from codegen.lowering.weight_queue import QueueStep


@dataclass(frozen=True)
class StepCounts:
    """One step of the engine (hls/engine.cpp): what is computed, and what loads meanwhile; None: nothing.

    layer: index of the layer that is computed, or loaded where nothing is. coming: the tile that loads and its layer's
    index, of which ``count`` units from ``first`` on. weights: of the pass whose weights load, weighed_layer: its layer's
    index. queue: what the queue of weights does; None: the engine has none.
    """

    layer: int
    now: PassCounts | None
    coming: TileCounts | None
    coming_layer: int
    first: int
    count: int
    weights: PassCounts | None
    weighed_layer: int
    queue: QueueStep | None

    @property
    def weight_beats(self) -> int:
        """Of memory, that are fetched of weights: of the pass whose weights load, or into the queue."""
        if self.queue is not None:
            return self.queue.pushes
        return self.weights.weight_beats if self.weights else 0

    @cached_property
    def bursts_in(self) -> int:
        """Bursts that the lines of the next tile take."""
        if self.coming is None:
            return 0
        lines = self.coming.unit_lines
        return self.coming.map_lines.bursts(self.first * lines, (self.first + self.count) * lines)


class ProgramCounts:
    """What is counted of a program, once for all that is made of it."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._tiles = [layer_tiles(layer, program.array) for layer in program.layers]
        self._walked = Walk(program).steps

    def steps(self, begin: int = 0, end: int | None = None) -> list[StepCounts]:
        """The steps of a run of layers ``begin`` to before ``end``, of all of them for None, in order (hls/engine.cpp)."""
        end, queue = len(self.program.layers) if end is None else end, self.program.queue
        found: list[StepCounts] = []
        for number, step in enumerate(self._walked):
            starts = step.enters and step.layer == begin
            if not begin <= step.layer < end or (step.enters and not step.waits and not starts):
                continue  # only a run that starts with a layer enters it where steps before it load for it
            load = step.load if step.load and step.load.layer < end else None
            weighs = (starts or not step.enters) and (step.weights is None or step.weights.layer < end)
            found.append(
                StepCounts(
                    layer=step.layer,
                    now=self._pass(step.work),
                    coming=self._tiles[load.layer][load.number] if load else None,
                    coming_layer=load.layer if load else step.layer,
                    first=load.first if load else 0,
                    count=load.count if load else 0,
                    weights=self._pass(step.weights) if weighs else None,
                    weighed_layer=step.weights.layer if step.weights else step.layer,
                    queue=(queue[number] if weighs else QueueStep()) if queue else None,
                )
            )
        return found

    def _pass(self, work: Work | None) -> PassCounts | None:
        return self._tiles[work.layer][work.tile_number].passes[work.number] if work else None

    def layers(self, steps: list[StepCounts]) -> list[dict[str, int]]:
        """Counts of every layer, by the names of COUNTED. steps: of a run of all."""
        found = []
        for tiles in self._tiles:
            total = dict.fromkeys(COUNTED, 0)
            for tile in tiles:
                for name, n in tile.counts.items():
                    total[name] += n
            found.append(total)
        for step in steps:
            if step.count:
                found[step.coming_layer]["bursts_in"] += step.bursts_in
            if step.queue is None:
                found[step.weighed_layer]["bursts_weights"] += bool(step.weight_beats)
                continue
            found[step.weighed_layer]["queue_weights"] += step.queue.cycles
            for burst in step.queue.bursts:
                found[burst.layer]["bursts_weights"] += 1
        return found


def program_steps(program: Program, begin: int = 0, end: int | None = None) -> list[StepCounts]:
    """The steps of a run of some of a program's layers, as :class:`ProgramCounts` has them."""
    return ProgramCounts(program).steps(begin, end)


def program_counts(program: Program) -> list[dict[str, int]]:
    """Counts of every layer, by the names of COUNTED."""
    counted = ProgramCounts(program)
    return counted.layers(counted.steps())
