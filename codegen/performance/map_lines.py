"""The lines of a map that a tile loads, and the bursts that fetch some of them."""

from __future__ import annotations

from dataclasses import dataclass

from codegen.lowering.layer_fields import MapPlace


def overlap(start: int, length: int, size: int) -> int:
    """How many of ``start .. start + length`` lie inside ``0 .. size``."""
    return max(0, min(start + length, size) - max(start, 0))


@dataclass(frozen=True)
class MapLines:
    """The lines of the map that one tile loads: ``rows`` in each plane, of which ``present`` exist from ``first`` on.

    joined: how many of them are one burst: "line", "plane" or "all". place: where they lie; on chip there are no bursts.
    """

    rows: int
    first: int
    present: int
    joined: str
    place: MapPlace

    def bursts(self, start: int, stop: int) -> int:
        """Bursts that fetch lines ``start`` to ``stop``, counted through the planes (hls/fetch_tile.hpp)."""
        if self.present == 0 or stop <= start or self.place is MapPlace.CHIP:
            return 0
        if self.joined == "all":
            return 1
        inside = []  # lines of each plane that exist
        for plane in range(start // self.rows, -(-stop // self.rows)):
            begin, end = max(start - plane * self.rows, 0), min(stop - plane * self.rows, self.rows)
            inside.append(overlap(begin - self.first, end - begin, self.present))
        return sum(inside) if self.joined == "line" else sum(n > 0 for n in inside)
