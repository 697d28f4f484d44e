"""A device with a bitstream, its weights and feature maps: what all networks of the bitstream share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bfp.deployment import Deployment, read_weights
from host.arena import Arena, Batch
from host.board import Board
from host.memory_check import Guard
from host.stream import Stream
from host.turns import Turns

BOARD_TIMEOUT_S = 10.0


class Opened:
    """The engine and its memories. One call at a time uses them (``turns``), whichever network it is of.

    deployment: with all networks. device: a pynq Device; None: PYNQ's active one. bitfile: None: the device's own
    (simulated board) or the manifest's. timeout_s: longest time for one run, None: the device's own, or BOARD_TIMEOUT_S.
    Raises BfpError as ``Board`` does, and for weights that are not the manifest's.
    """

    def __init__(self, deployment: Deployment, folder: Path, device: Any, bitfile: str | Path | None, timeout_s: float | None):
        self.deployment, self.folder = deployment, folder
        self.turns = Turns(deployment.name)
        self.stream: Stream | None = None  # of run_many, while that goes on
        self._pointed: Arena | None = None  # of which the engine has the addresses
        self._chip: Arena | None = None
        weights = read_weights(deployment, folder)
        if timeout_s is None:
            timeout_s = getattr(device, "timeout_s", BOARD_TIMEOUT_S)
        bitfile = Path(bitfile or getattr(device, "bitfile", None) or folder / deployment.bitfile)
        # pooling alone has no weights
        sizes = (max(deployment.weights_words, 1), deployment.map_words, Guard.words(deployment.lanes))
        self.board = Board(deployment, folder, bitfile, device, timeout_s, sizes)
        try:
            self.weights, first, guard = (self.board.allocate(words) for words in sizes)
            self.guard = Guard(guard)
            self.guard.check()
            self.weights[: len(weights)] = weights
            self.weights.flush()
            self._batches = [self._batch_of(first)]
            self.batch = self._batches[0]  # in which the engine works, or has worked
            self.use(self.batch.pictures[0])
        except BaseException:
            self.board.close()
            raise

    def close(self) -> None:
        """Stop the engine and free the buffers; a run of another thread is waited for. A second call does nothing.

        Raises BfpError, with all of that done, where an engine that did not finish could not be loaded again.
        """
        with self.turns.last():
            if self.stream is not None:
                self.stream.close()
            self.board.close()

    def two_batches(self) -> list[Batch]:
        """For the images of two runs at once; the second is made when it is first needed."""
        if len(self._batches) == 1:
            self._batches.append(self._batch_of(self.board.allocate(self.deployment.map_words)))
        return self._batches

    def chip(self) -> Arena:
        """For a copy of the engine's own memory, in which maps stay between layers; made when it is first needed."""
        if self._chip is None:
            self._chip = Arena(self.board.allocate(self.deployment.chip_words))
        return self._chip

    def use(self, arena: Arena) -> None:
        """Let the engine work from one of the arenas on: a layer reads, adds and writes wherever its constants say."""
        if arena is self._pointed:
            return
        maps = dict.fromkeys(("fmap_in", "fmap_shortcut", "fmap_out"), arena.device_address)
        self.board.point({"weights": self.weights.device_address, **maps})
        self._pointed = arena

    def _batch_of(self, buffer: Any) -> Batch:
        """A memory of feature maps, of zeros."""
        buffer[:] = 0
        buffer.flush()
        return Batch(buffer, self.deployment.batch)
