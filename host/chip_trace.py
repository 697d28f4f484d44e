"""Tensors that stay in the engine's own memory, put together from copies of it while layer after layer runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bfp.chip_tensor import ChipRows, ChipTensor
from bfp.deployment import Deployment
from bfp.layout import PlacedTensor
from host.arena import Arena


@dataclass(frozen=True)
class Part:
    """Some rows of a tensor, or all of them; placed: in on-chip memory."""

    tensor: ChipTensor
    rows: ChipRows
    placed: PlacedTensor


class ChipTrace:
    """Of one picture. deployment: with the network alone."""

    def __init__(self, deployment: Deployment):
        self._found = {tensor.name: np.zeros(tensor.shape, np.int16) for tensor in deployment.on_chip}
        self._by_layer: dict[int, list[Part]] = {}
        for tensor in deployment.on_chip:
            for part, placed in zip(tensor.parts, tensor.placed):
                self._by_layer.setdefault(part.layer_index, []).append(Part(tensor, part, placed))

    def made_by(self, layer: int) -> bool:
        """Whether a layer makes any of them, or rows of one."""
        return layer in self._by_layer

    def read(self, layer: int, copied: Arena) -> Iterator[tuple[str, np.ndarray]]:
        """Name and mantissas, int16 [C, H, W], of every tensor that is complete with a layer, which has just run.

        copied: to which the engine's memory was copied since.
        """
        for part in self._by_layer[layer]:
            name, rows = part.tensor.name, part.rows
            self._found[name][:, rows.first : rows.first + rows.rows] = copied.read(part.placed)
            if rows is part.tensor.parts[-1]:
                yield name, self._found[name]
