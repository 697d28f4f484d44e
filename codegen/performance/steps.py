"""The engine's steps, in order: which pass computes, and which lines and weights load meanwhile (hls/engine.cpp)."""

from __future__ import annotations

from dataclasses import dataclass

from codegen.performance.counts import COUNTED, PassCounts, TileCounts, layer_tiles
from codegen.lowering.schedule import Program


def slices(units: int, share: int, passes: int, first: int) -> list[tuple[int, int]]:
    """First unit of the next tile, and number, that load with each of so many passes, from pass ``first`` on."""
    done, found = 0, []
    for p in range(passes):
        count = 0 if p < first else units - done if p == passes - 1 else min(share, units - done)
        found.append((done, count))
        done += count
    return found


@dataclass(frozen=True)
class StepCounts:
    """One step of the engine (hls/engine.cpp): what is computed, and what loads meanwhile; None: nothing.

    layer: index of the layer that is computed, or loaded where nothing is. coming: the tile that loads and its layer's
    index, of which ``count`` units from ``first`` on. weights: of the pass whose weights load.
    """

    layer: int
    now: PassCounts | None
    coming: TileCounts | None
    coming_layer: int
    first: int
    count: int
    weights: PassCounts | None

    def bursts_in(self) -> int:
        """Bursts that the lines of the next tile take."""
        if self.coming is None:
            return 0
        lines = self.coming.unit_lines
        return self.coming.map_lines.bursts(self.first * lines, (self.first + self.count) * lines)


def program_steps(program: Program) -> list[StepCounts]:
    """All steps of a program, in order."""
    found: list[StepCounts] = []
    tiles = [layer_tiles(layer, program.array) for layer in program.layers]
    for index, layer in enumerate(program.layers):
        after = program.layers[index + 1] if index + 1 < len(program.layers) else None
        first = tiles[index][0]
        if index == 0 or layer.fields.loads.early_lines == 0:
            weights = first.passes[0] if index == 0 else None
            found.append(StepCounts(index, None, first, index, 0, first.units, weights))
        for n, tile in enumerate(tiles[index]):
            last = n == len(tiles[index]) - 1
            coming = tiles[index][n + 1] if not last else tiles[index + 1][0] if after else None
            parts = [(0, 0)] * len(tile.passes)
            if not last:
                parts = slices(coming.units, layer.fields.loads.slice_lines, len(parts), 0)
            elif after and after.fields.loads.early_lines:
                parts = slices(coming.units, after.fields.loads.early_lines, len(parts), after.fields.loads.early_pass)
            following = [*tile.passes[1:], coming.passes[0] if coming else None]
            for (start, count), now, next_pass in zip(parts, tile.passes, following):
                found.append(StepCounts(index, now, coming, index + last, start, count, next_pass))
    return found


def program_counts(program: Program) -> list[dict[str, int]]:
    """Counts of every layer, by the names of COUNTED."""
    found = []
    for layer in program.layers:
        total = dict.fromkeys(COUNTED, 0)
        for tile in layer_tiles(layer, program.array):
            for name, n in tile.counts.items():
                total[name] += n
        found.append(total)
    for step in program_steps(program):
        if step.count:
            found[step.coming_layer]["bursts_in"] += step.bursts_in()
    return found
