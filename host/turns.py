"""Who may use the accelerator: one call at a time, whichever thread it comes from."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from bfp.errors import BfpError


class Turn:
    """One use of the accelerator, by one thread. what: for the refusal of another; lasting: spans several calls."""

    def __init__(self, what: str, lasting: bool):
        self.what, self.lasting = what, lasting
        self.thread = threading.get_ident()


class Turns:
    """Gives turns: other threads wait for theirs, and a call within a turn of the same thread is refused."""

    def __init__(self, name: str):
        self._name = name
        self._changed = threading.Condition()
        self._now: Turn | None = None
        self._kept: Turn | None = None  # a lasting one that is in a block which closing waits for

    @contextmanager
    def turn(self, what: str, lasting: bool = False) -> Iterator[Turn]:
        """A turn for the block. Raises BfpError where this thread has one already, which would wait for itself."""
        mine = Turn(what, lasting)
        with self._changed:
            self._refuse_within_own(what)
            while self._now is not None:
                self._changed.wait()
            self._now = mine
        try:
            yield mine
        finally:
            self._end(mine)

    @contextmanager
    def reading(self, what: str) -> Iterator[None]:
        """As ``turn``, but allowed within a lasting turn of this thread, such as between the steps of a trace."""
        if self._own_lasting():
            yield
            return
        with self.turn(what):
            yield

    @contextmanager
    def last(self) -> Iterator[None]:
        """A turn for closing: another thread's call is waited for, a lasting turn and one of this thread end here."""
        mine = Turn("close", lasting=False)
        with self._changed:
            while self._now is not None and not self._now.lasting and self._now.thread != mine.thread:
                self._changed.wait()
            self._now = mine  # the lasting turn's next block is refused, so that no more than one is waited for
            while self._kept is not None and self._kept.thread != mine.thread:
                self._changed.wait()
        try:
            yield
        finally:
            self._end(mine)

    @contextmanager
    def kept(self, turn: Turn) -> Iterator[None]:
        """A block within a lasting turn that closing waits for. Raises BfpError as ``check`` does."""
        with self._changed:
            self.check(turn)
            self._kept = turn
        try:
            yield
        finally:
            with self._changed:
                self._kept = None
                self._changed.notify_all()

    def check(self, turn: Turn) -> None:
        """Raise BfpError where a lasting turn has been ended by closing."""
        with self._changed:
            if self._now is not turn:
                raise BfpError(f"the accelerator for {self._name} was closed during a {turn.what}; open it again")

    def _own_lasting(self) -> bool:
        with self._changed:
            now = self._now
            return now is not None and now.lasting and now.thread == threading.get_ident()

    def _refuse_within_own(self, what: str) -> None:
        if self._now is not None and self._now.thread == threading.get_ident():
            raise BfpError(
                f"a {what} cannot begin while a {self._now.what} of the accelerator for {self._name} is under way in "
                "the same thread; finish or close that first"
            )

    def _end(self, turn: Turn) -> None:
        with self._changed:
            if self._now is turn:
                self._now = None
                self._changed.notify_all()
