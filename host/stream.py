"""Many images through the accelerator: while the engine works on one, the next is decoded and packed, the last one read.

The stages run in threads of their own, joined by channels that hold few items,
so that nothing is read ahead of a slow consumer. A slot is a memory that the
engine works in; with two of them the engine never waits for packing or reading.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

PRIORITY = 1  # the lowest of those that go before all ordinary threads
GRACE_S = 1.0  # for the engine to finish what it works on when a stream ends early


@dataclass(frozen=True)
class Stages:
    """What happens to each image, in this order.

    prepare(image): in several threads at once, decoding. load(prepared, slot, place): packing into a place of a slot that
    is free, one place after the other. start(slot),
    finish(slot): the engine, one slot at a time; the next one is started before anything else is done with the last.
    check(slot): of what the engine did, by the thread that starts it, so that the engine may be used. read(slot): the
    results of its images, after which the slot is free.
    """

    prepare: Callable[[Any], Any]
    load: Callable[[Any, Any, int], None]
    start: Callable[[Any], None]
    finish: Callable[[Any], None]
    check: Callable[[Any], None]
    read: Callable[[Any], "list[Any]"]


class _Stopped(Exception):
    """Nobody wants the rest."""


@dataclass(frozen=True)
class _Failure:
    """Travels in place of an image's result, so that those before it come first."""

    error: BaseException


_END = object()


class Channel:
    """A queue of at most ``most`` items between two threads, that both can leave."""

    def __init__(self, most: int):
        self._most, self._items, self._stopped = most, deque(), False
        self._changed = threading.Condition()

    def put(self, item: object) -> None:
        """Append when there is room. Raises _Stopped once the channel is stopped."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or len(self._items) < self._most)
            if self._stopped:
                raise _Stopped
            self._items.append(item)
            self._changed.notify_all()

    def get(self) -> object:
        """The oldest item, when there is one. Raises _Stopped once the channel is stopped."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._items)
            if self._stopped:
                raise _Stopped
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def get_now(self) -> object | None:
        """The oldest item, None where there is none now."""
        with self._changed:
            item = self._items.popleft() if self._items and not self._stopped else None
            self._changed.notify_all()
            return item

    def stop(self) -> None:
        """Wake whoever waits."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()


class Stream:
    """The results of many images, in their order. Iterate over it once; close() ends it early.

    slots: two or more, for whatever the stages know them as. threads: that prepare images. places: images that a slot takes,
    the last one maybe fewer. results: how many may wait for a slow consumer.

    What a stage raises for an image, the iteration raises in its place, after the results before it; then the stream
    has ended. No stage runs any more once it has ended or close() has returned.
    """

    def __init__(
        self, images: Iterable, stages: Stages, slots: Sequence, threads: int, places: int = 1, results: int = 2
    ):
        self._stages, self._images, self._places = stages, images, places
        self._prepared = Channel(threads)
        self._free, self._loaded, self._computed = (Channel(len(slots)) for _ in range(3))
        self._results = Channel(results)
        for slot in slots:
            self._free.put(slot)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="prepare")
        self._begun: object = None  # the slot that the engine works in
        self._ended = False
        self.given_up = False  # what the engine still works on is waited for no more
        works = (
            (_until_stopped, self._feed),
            (_go_first, self._load),
            (_go_first, self._compute),
            (_go_first, self._read),
        )
        self._threads = [threading.Thread(target=work, args=arguments, name="stage", daemon=True) for work, *arguments in works]
        for thread in self._threads:
            thread.start()

    def __iter__(self) -> Iterator:
        return self

    def __next__(self) -> Any:
        if self._ended:
            raise StopIteration
        try:
            item = self._results.get()
        except _Stopped:
            raise StopIteration from None
        except BaseException:  # interrupted while waiting
            self.close()
            raise
        if item is _END:
            self.close()
            raise StopIteration
        if isinstance(item, _Failure):
            self.close()
            raise item.error
        return item

    def close(self) -> None:
        """End the stream: what runs is waited for, and given up where it takes long; the rest is dropped.

        A second call does nothing.
        """
        self._ended = True
        for channel in (self._prepared, self._free, self._loaded, self._computed, self._results):
            channel.stop()
        self._pool.shutdown(wait=True, cancel_futures=True)
        at_work = self._threads[1:]  # whoever makes the images may wait for ever, and touches no slot
        deadline = time.monotonic() + GRACE_S
        for thread in at_work:
            thread.join(max(0.0, deadline - time.monotonic()))
        self.given_up = True
        for thread in at_work:
            thread.join()

    def _feed(self) -> None:
        """Hands out the images; the channel's room, not their number, says how many are decoded ahead."""
        try:
            for image in self._images:
                self._prepared.put(self._pool.submit(self._stages.prepare, image))
        except _Stopped:
            raise
        except BaseException as error:  # of whoever made the images
            self._prepared.put(_Failure(error))
        else:
            self._prepared.put(_END)

    def _load(self) -> None:
        """Fills slots, place by place; the last one before the end, or before a failure, may have places left."""
        slot, filled, item = None, 0, None
        while not _is_last(item):
            item = self._prepared.get()
            if not _is_last(item):
                try:
                    prepared = item.result()
                    slot = self._free.get() if slot is None else slot
                    self._stages.load(prepared, slot, filled)
                    filled += 1
                except _Stopped:
                    raise
                except BaseException as error:
                    item = _Failure(error)
            if filled == self._places or filled and _is_last(item):
                self._loaded.put(slot)
                slot, filled = None, 0
        self._loaded.put(item)

    def _compute(self) -> None:
        """Keeps the engine at work: between the end of a run and the start of the next nothing is waited for."""
        item = self._loaded.get()
        try:
            while not _is_last(item):
                item = self._one_run(item)
            self._computed.put(item)
        finally:
            if self._begun is not None:  # the stream was left in between
                with suppress(BaseException):
                    self._stages.finish(self._begun)

    def _one_run(self, slot: object) -> object:
        """Finish a slot, started here unless that was begun, begin the next if it is there; returns what follows."""
        try:
            if self._begun is None:
                self._begin(slot)
            self._stages.finish(slot)
            self._begun = None
        except BaseException as error:
            self._begun = None
            return _Failure(error)
        following = self._loaded.get_now()
        if following is not None and not _is_last(following):
            try:
                self._begin(following)
            except BaseException as error:
                self._begun, following = None, _Failure(error)
        try:
            self._stages.check(slot)
        except BaseException as error:
            return _Failure(error)
        self._computed.put(slot)
        return self._loaded.get() if following is None else following

    def _begin(self, slot: object) -> None:
        self._stages.start(slot)
        self._begun = slot

    def _read(self) -> None:
        """Hands out the results of what is computed; the end and a failure as they are, and nothing after them."""
        item = None
        while not _is_last(item):
            item = self._computed.get()
            results = []
            if not _is_last(item):
                try:
                    results = self._stages.read(item)
                    self._free.put(item)
                except _Stopped:
                    raise
                except BaseException as error:
                    item = _Failure(error)
            for result in results:
                self._results.put(result)
        self._results.put(item)


def _is_last(item: object) -> bool:
    """Nothing comes after the end, or a failure."""
    return item is _END or isinstance(item, _Failure)


def _until_stopped(work: Callable[..., None], *arguments: object) -> None:
    with suppress(_Stopped):
        work(*arguments)


def _go_first(work: Callable[..., None], *arguments: object) -> None:
    """As ``_until_stopped``, for what the engine waits for: ahead of the decoders, which would keep it waiting for a turn.

    The share of a processor is small. It needs root, as PYNQ does; otherwise the thread waits for its turn.
    """
    with suppress(OSError, AttributeError):  # no right to it, or a system without it
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(PRIORITY))
    _until_stopped(work, *arguments)
