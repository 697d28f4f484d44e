"""What a program consists of: layers, tables and weights, as code generation renders them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from bfp.artifact import Artifact
from bfp.format import BlockFormat
from codegen.lowering.array import Array
from codegen.lowering.fusion import InputPool, Pool
from codegen.options import EngineOptions
from codegen.lowering.placement import Placement
from codegen.lowering.tiling import Tiling


@dataclass(frozen=True)
class EngineLayer:
    """One row of the schedule: ``fields`` are those of hls/layer.hpp's Layer, in order.

    pool, input_pool: that run in it, on its results and on its input.
    """

    name: str
    describe: str
    network: int
    macs: int
    tiling: Tiling
    fields: dict[str, int | str]
    pool: Pool | None = None
    input_pool: InputPool | None = None


@dataclass(frozen=True)
class StoredTensor:
    """A tensor that the engine writes (or the host, where ``layer`` is -1).

    label: its name, or what it is a copy of, for people.
    """

    name: str
    label: str
    network: int
    layer: int
    shape: tuple[int, int, int]
    format: BlockFormat
    placement: Placement


@dataclass
class Program:
    """Everything that code generation renders. Addresses are in words.

    with_weights: whether dense layers' weights are laid out; without them (zeros
    in their place) a program has every size and address, and is built at once.
    """

    options: EngineOptions
    array: Array
    artifacts: list[Artifact]
    with_weights: bool = True
    layers: list[EngineLayer] = field(default_factory=list)
    tensors: list[StoredTensor] = field(default_factory=list)
    tables: dict[str, list[tuple[str, np.ndarray]]] = field(
        default_factory=lambda: {"ROUND_SHIFT": [], "MAIN_SHIFT": [], "SHORTCUT_SHIFT": [], "INPUT_POOL_SHIFT": [], "CLAMP_HIGH": []}
    )
    reciprocals: list[tuple[str, np.ndarray]] = field(default_factory=list)
    weights: list[np.ndarray] = field(default_factory=list)
    weight_words: int = 0
    fmap_words: int = 0
    largest_align: int = 0

    def rows(self, table: str) -> int:
        return sum(len(values) for _, values in self.tables[table])

    def add_rows(self, table: str, layer: str, values: np.ndarray) -> int:
        """Append rows [n, lanes] to a table; returns the first one's index."""
        at = self.rows(table)
        self.tables[table].append((layer, values))
        return at

    def add_weights(self, image: np.ndarray) -> int:
        """Append words [n, lanes] (int8) to the weight image; returns their address."""
        at = self.weight_words
        self.weights.append(image)
        self.weight_words += len(image)
        return at

    def weight_image(self) -> np.ndarray:
        """int8 [words, lanes]; at least one word, so that there is something to point at."""
        if not self.weights:
            return np.zeros((1, self.options.lanes), np.int8)
        return np.concatenate(self.weights)

    def limit(self, what: str) -> int:
        """Largest need of a buffer over all layers, at least 1. Depthwise weights have a buffer of their own."""
        layers = [x for x in self.layers if what != "weight_steps" or x.fields["op"] == "CONV"]
        return max([1] + [getattr(layer.tiling, what) for layer in layers])
