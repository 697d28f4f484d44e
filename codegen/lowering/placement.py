"""Where tensors lie in the feature-map arena.

A tensor is a list of segments (see Graph.segments), each a run of planes of
``lanes`` channels; a concatenation's branches are segments of one tensor, so
that every branch is stored straight into its place. A slice that begins and ends
with whole words is read where its operand lies.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from bfp.format import BlockFormat
from bfp.graph import Graph
from bfp.layout import Segment, line_words, plane_count
from codegen.lowering.layer_fields import MapPlace


@dataclass(frozen=True)
class Placement:
    """One tensor in memory: channel boundaries of its segments, first word, map size, mantissa width.

    A row of a plane starts in a fresh word; within it every lane is a stream of
    ``bits`` bits per pixel (see hls/packing.hpp). on_chip: how far behind its address
    its first word lies in on-chip memory, mostly before it; None: it lies in the arena.
    Its address in the arena stays what the C simulation compares, and what tells tensors apart. home: of some rows of a
    map, which have no address there, where that has the first of them, and words from a plane to the next.
    """

    splits: tuple[int, ...]
    address: int
    height: int
    width: int
    bits: int
    lanes: int
    on_chip: int | None = None
    home: tuple[int, int] | None = None

    @property
    def place(self) -> MapPlace:
        """Where its words are."""
        return MapPlace.MEMORY if self.on_chip is None else MapPlace.CHIP

    @property
    def start(self) -> int:
        """Its first word there."""
        return self.address + (self.on_chip or 0)

    @property
    def line(self) -> int:
        """Words of one row of a plane."""
        return line_words(self.width, self.bits)

    @property
    def plane(self) -> int:
        """Words of one plane."""
        return self.height * self.line

    def segment_planes(self) -> list[int]:
        """Planes of each segment."""
        return [plane_count(b - a, self.lanes) for a, b in zip(self.splits, self.splits[1:])]

    @cached_property
    def planes(self) -> int:
        return sum(self.segment_planes())

    @property
    def words(self) -> int:
        return self.planes * self.plane

    def slots(self) -> np.ndarray:
        """For every channel, its lane counted through all planes: int64 [channels]."""
        starts = np.cumsum([0, *self.segment_planes()])[:-1] * self.lanes
        return np.concatenate(
            [start + np.arange(b - a) for start, a, b in zip(starts, self.splits, self.splits[1:])]
        ).astype(np.int64)

    def lies_as(self, splits: tuple[int, ...]) -> bool:
        """Whether every channel lies as it would with these boundaries of segments."""
        return np.array_equal(self.slots(), replace(self, splits=splits).slots())

    def to_lanes(self, values: np.ndarray, fill: int = 0) -> np.ndarray:
        """Per-channel values to rows of lanes, [planes, lanes]; unused lanes get ``fill``."""
        rows = np.full(self.planes * self.lanes, fill, np.int64)
        rows[self.slots()] = values
        return rows.reshape(self.planes, self.lanes)

    def segments(self) -> tuple[Segment, ...]:
        """Every segment with its word address, as the driver and the test bench need them."""
        first = self.address + np.cumsum([0, *self.segment_planes()])[:-1] * self.plane
        return tuple(Segment(int(a), int(b), int(at)) for a, b, at in zip(self.splits, self.splits[1:], first))

    def part(self, start: int, stop: int) -> Placement | None:
        """Where channels ``start : stop`` lie; None where they share a word with others."""
        slots = self.slots()
        first, last = int(slots[start]), int(slots[stop - 1])
        shared = stop < len(slots) and slots[stop] // self.lanes == last // self.lanes
        if first % self.lanes or shared:
            return None
        splits = (0, *(s - start for s in self.splits if start < s < stop), stop - start)
        return replace(self, splits=splits, address=self.address + first // self.lanes * self.plane)


def read_in_place(graph: Graph, formats: dict[str, BlockFormat], lanes: int) -> dict[str, tuple[str, int, int]]:
    """Slices that need no copy, by their tensor: of which tensor, the first and the last channel (exclusive).

    No concatenation reads them, they share no word with other channels, and they have their operand's format.
    """
    segments, found = graph.segments(), {}
    for node in graph.nodes:
        channels, readers = graph.channel_slice(node), graph.consumers(node.output)
        if channels is None or node.output in graph.outputs or not all(reader.operator.computes for reader in readers):
            continue
        whole, taken = formats[node.main], formats[node.output]
        _, height, width = graph.shapes[node.main]
        alike = (whole.bits, whole.signed) == (taken.bits, taken.signed)
        alike &= bool((whole.channel_exponents()[slice(*channels)] == taken.channel_exponents()).all())
        if alike and Placement(segments[node.main], 0, height, width, whole.bits, lanes).part(*channels):
            found[node.output] = (node.main, *channels)
    return found


def place(
    graph: Graph, formats: dict[str, BlockFormat], lanes: int, base: int, absent: Collection[str] = ()
) -> tuple[dict[str, Placement], int]:
    """Address of every tensor from word ``base`` on, but those ``absent``, and the first free word after them.

    They lie in the order in which they are made, whatever their names are.
    """
    segments, slices = graph.segments(), read_in_place(graph, formats, lanes)
    parent = {t: node.output for node in graph.nodes if not node.operator.computes for t in node.inputs}
    inputs = {node.output: node.inputs for node in graph.nodes if not node.operator.computes}
    found: dict[str, Placement] = {}

    def put(tensor: str, address: int) -> int:
        _, h, w = graph.shapes[tensor]
        placement = found[tensor] = Placement(segments[tensor], address, h, w, formats[tensor].bits, lanes)
        inner = address
        for branch in inputs.get(tensor, ()):
            inner = put(branch, inner)
        return address + placement.words

    for tensor in (*graph.inputs, *(node.output for node in graph.nodes)):
        if tensor not in parent and tensor not in absent and tensor not in slices:
            base = put(tensor, base)
    for tensor, (whole, start, stop) in slices.items():
        found[tensor] = found[whole].part(start, stop)
    return found, base
