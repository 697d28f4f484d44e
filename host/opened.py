"""A device with a bitstream, its weights and feature maps: what all networks of the bitstream share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bfp.deployment import Deployment, read_weights
from host.arena import Arena
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
        weights = read_weights(deployment, folder)
        if timeout_s is None:
            timeout_s = getattr(device, "timeout_s", BOARD_TIMEOUT_S)
        bitfile = Path(bitfile or getattr(device, "bitfile", None) or folder / deployment.bitfile)
        # pooling alone has no weights
        sizes = (max(deployment.weights_words, 1), deployment.fmap_words, Guard.words(deployment.lanes))
        self.board = Board(deployment, folder, bitfile, device, timeout_s, sizes)
        try:
            self.weights, first, guard = (self.board.allocate(words) for words in sizes)
            self.guard = Guard(guard)
            self.guard.check()
            self.weights[: len(weights)] = weights
            self.weights.flush()
            self._arenas = [_arena_of(first)]
            self.use(self._arenas[0])
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

    def two_arenas(self) -> list[Arena]:
        """For two images at once; the second is made when it is first needed."""
        if len(self._arenas) == 1:
            self._arenas.append(_arena_of(self.board.allocate(self.deployment.fmap_words)))
        return self._arenas

    def use(self, arena: Arena) -> None:
        """Let the engine work in one of the arenas: a layer reads, adds and writes wherever its constants say."""
        maps = dict.fromkeys(("fmap_in", "fmap_shortcut", "fmap_out"), arena.device_address)
        self.board.point({"weights": self.weights.device_address, **maps})
        self.arena = arena  # in which the engine works, or has worked


def _arena_of(buffer: Any) -> Arena:
    """A memory of feature maps, of zeros."""
    buffer[:] = 0
    buffer.flush()
    return Arena(buffer)
