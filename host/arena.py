"""The feature maps' memory: what the engine reads a picture's input from, and leaves every tensor in; those of a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bfp import layout
from bfp.layout import PlacedTensor
from host.inputs import Inputs, Prepared

Lap = Callable[[str], None]  # told the name of each step that has just ended


def no_lap(_: str) -> None:
    """Where nobody measures."""


class Arena:
    """A buffer, uint8 [words, lanes], with PYNQ's flush(), invalidate() and device_address."""

    def __init__(self, buffer: Any):
        self.buffer = buffer
        # slices of a PYNQ buffer cost more than what is done with most of them; networks have tensors of equal names
        self._parts: dict[int, tuple[PlacedTensor, list]] = {}

    @property
    def device_address(self) -> int:
        """Where the engine finds it, bytes."""
        return int(self.buffer.device_address)

    def put(self, inputs: Inputs, prepared: tuple[Prepared, ...], lap: Lap = no_lap) -> None:
        """Write the network's inputs, and let the engine see them."""
        for entry, image in zip(inputs.each.values(), prepared):
            entry.write(image, self.buffer)
            lap("pack")
            for part in self.parts(entry.tensor):
                part.flush()
            lap("copy")

    def read(self, tensor: PlacedTensor, lap: Lap = no_lap) -> np.ndarray:
        """Mantissas, int16 [C, H, W], as the engine left them."""
        for part in self.parts(tensor):
            part.invalidate()
        lap("copy")
        mantissas = layout.unpack(tensor, self.buffer)
        lap("unpack")
        return mantissas

    def parts(self, tensor: PlacedTensor) -> list:
        """The parts of the buffer that hold a tensor's segments."""
        known = self._parts.get(id(tensor))
        if known is None:
            words = [tensor.segment_words(segment, self.buffer.shape[1]) for segment in tensor.segments]
            parts = [self.buffer[s.address : s.address + count] for s, count in zip(tensor.segments, words)]
            self._parts[id(tensor)] = known = tensor, parts
        return known[1]


class Batch:
    """The arenas of so many pictures, one behind the other in a buffer: the last layers may take all of them at once.

    used: pictures that have their inputs, from the first one on. left: runs of the engine that are still to be started.
    """

    def __init__(self, buffer: Any, pictures: int):
        words = len(buffer) // pictures
        parts = [buffer] if pictures == 1 else [buffer[n * words : (n + 1) * words] for n in range(pictures)]
        self.pictures = [Arena(part) for part in parts]
        self.used = 1
        self.left: list[tuple[int, int, int]] = []

    def put(self, inputs: Inputs, prepared: tuple[Prepared, ...], place: int = 0, lap: Lap = no_lap) -> None:
        """Write the network's inputs for the picture at a place, the last one so far."""
        self.pictures[place].put(inputs, prepared, lap)
        self.used = place + 1

    @property
    def arenas(self) -> list[Arena]:
        """Of the pictures that have their inputs."""
        return self.pictures[: self.used]

    @property
    def last(self) -> Arena:
        """The last picture's."""
        return self.pictures[self.used - 1]
