"""The engine at work for one network: the runs that a batch of pictures takes, and whether they have done it."""

from __future__ import annotations

from bfp.deployment import Deployment
from bfp.errors import BfpError
from host.arena import Arena, Batch, Lap, no_lap
from host.memory_check import ResultCheck
from host.opened import Opened
from host.outputs import Outputs
from host.turns import Turn


class Runs:
    """Runs of the engine in batches that are ready. deployment: with the network alone, whose outputs these are."""

    def __init__(self, opened: Opened, deployment: Deployment, outputs: Outputs):
        self._opened, self._board, self._turns = opened, opened.board, opened.turns
        self._network, self._outputs = deployment.only, outputs

    def check_open(self) -> None:
        """Raise BfpError where the accelerator is closed."""
        if self._board.closed:
            raise BfpError(f"the accelerator for {self._network.name} is closed; open it again")

    def fill(self, arenas: list[Arena], filling: int = ResultCheck.FILLINGS[0]) -> None:
        """Let there be a filling in the places of the results, until these are written."""
        for check in self._checks(arenas):  # none of what the engine does not write
            check.fill(filling)

    def compute(self, turn: Turn, batch: Batch, lap: Lap = no_lap) -> None:
        """All layers, in a batch that has its inputs."""
        self.start(turn, batch)
        self.finish(turn, batch)
        lap("engine")
        self.check(turn, batch)
        lap("copy")

    def start(self, turn: Turn, batch: Batch) -> None:
        """Start the engine in a batch that is ready. Meanwhile the engine stands still: no more than must be is done."""
        self._turns.check(turn)
        self.check_open()
        if self._board.prepare():
            self.fill(batch.arenas)  # until now the last run may have written into it
        batch.left = self._runs(batch) if self._outputs.computed else []
        self._opened.batch = batch
        self._start_next(batch)

    def finish(self, turn: Turn, batch: Batch) -> None:
        """Wait for the engine, which works in this batch, and let it do what is left there."""
        if not self._outputs.computed:
            return
        self._board.finish(self._given_up)
        while batch.left:
            self._turns.check(turn)
            self.check_open()
            self._board.prepare()
            self._start_next(batch)
            self._board.finish(self._given_up)

    def check(self, turn: Turn, batch: Batch) -> None:
        """See that the engine has written its results; what looks as if it were not is computed again, over another filling.

        Meanwhile the engine may work in another batch. Raises BfpError where nothing is written either.
        """
        if all([check.written(ResultCheck.FILLINGS[0]) for check in self._checks(batch.arenas)]):
            return
        if self._board.running:
            self._board.finish(self._given_up)
        self.fill(batch.arenas, ResultCheck.FILLINGS[1])
        self.start(turn, batch)
        self.finish(turn, batch)
        if all([check.written(ResultCheck.FILLINGS[1]) for check in self._checks(batch.arenas)]):
            return
        raise BfpError(
            f"the engine of {self._network.name} ended and did not write its result, or it cannot be seen; check the "
            "memory ports of the block design and that nothing else writes the engine's registers, and open it again"
        )

    def _runs(self, batch: Batch) -> list[tuple[int, int, int]]:
        """First layer, the one behind the last, and the picture from whose arena on, of each run.

        A picture alone takes one; its last layers compute places of others as well, of whatever lies there.
        """
        own = self._network
        if batch.used == 1:
            return [(own.begin, own.end, 0)]
        each = [(own.begin, own.shared, picture) for picture in range(batch.used)]
        return [run for run in (*each, (own.shared, own.end, 0)) if run[0] < run[1]]

    def _start_next(self, batch: Batch) -> None:
        if batch.left:
            begin, end, picture = batch.left.pop(0)
            self._opened.use(batch.pictures[picture])
            self._board.start(begin, end)

    def _checks(self, arenas: list[Arena]) -> list[ResultCheck]:
        return [check for arena in arenas for check in self._outputs.checks(arena)]

    def _given_up(self) -> bool:
        """Whether the images that the engine computes belong to a stream that was left."""
        stream = self._opened.stream
        return stream is not None and stream.given_up
