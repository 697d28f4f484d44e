"""The stages of many images: order, overlap, back-pressure, failures in their place, an early end."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace

import pytest

from host.stream import Stages, Stream


class Machine:
    """Stages that write down what they do. waits: seconds of each stage."""

    def __init__(self, prepare=0.0, load=0.0, compute=0.0, read=0.0):
        self.waits = {"prepare": prepare, "load": load, "start": 0.0, "compute": compute, "check": 0.0, "read": read}
        self.memory = {}
        self.log, self._lock = [], threading.Lock()

    def note(self, stage, image):
        with self._lock:
            self.log.append((stage, image))
        time.sleep(self.waits[stage])

    def stages(self, fail=None):
        def check(stage, image):
            self.note(stage, image)
            if fail == (stage, image):
                raise ValueError(f"{stage} of {image}")
            return image

        def load(image, slot, place=0):
            self.memory[slot] = check("load", image)

        def start(slot):
            check("start", self.memory[slot])

        def finish(slot):
            self.memory[slot] = check("compute", self.memory[slot]) * 10

        def look(slot):
            check("check", self.memory[slot] // 10)

        def read(slot):
            check("read", self.memory[slot] // 10)
            return [self.memory[slot]]

        return Stages(lambda image: check("prepare", image), load, start, finish, look, read)

    def count(self, stage):
        with self._lock:
            return sum(s == stage for s, _ in self.log)


def stage_threads():
    """Threads that are left. Nobody waits for the one that makes the images, which ends a moment later."""
    deadline = time.monotonic() + 5
    while True:
        found = [t for t in threading.enumerate() if t.name.startswith(("prepare", "stage"))]
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.005)


@pytest.mark.parametrize("slots", [2, 3])
@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 20])
def test_results_come_in_order_and_all_of_them(slots, threads, count):
    machine = Machine()
    assert list(Stream(range(count), machine.stages(), range(slots), threads)) == [10 * i for i in range(count)]
    assert all(machine.count(stage) == count for stage in machine.waits)
    assert not stage_threads()


def test_images_that_take_unequally_long_to_decode_keep_their_order():
    def prepare(image):
        time.sleep(0.02 if image % 3 == 0 else 0)
        return image

    stages = replace(Machine().stages(), prepare=prepare)
    assert list(Stream(range(12), stages, (0, 1), 4)) == [10 * i for i in range(12)]


def test_the_engine_computes_one_slot_at_a_time_and_never_one_that_is_loaded():
    busy, seen = [], []
    stages = Machine().stages()

    def start(slot):
        busy.append(slot)
        seen.append(len(busy))

    def finish(slot):
        time.sleep(0.003)
        stages.finish(slot)
        assert busy.pop() == slot

    def load(image, slot, place=0):
        assert slot not in busy
        stages.load(image, slot)

    assert len(list(Stream(range(15), replace(stages, load=load, start=start, finish=finish), (0, 1), 2))) == 15
    assert set(seen) == {1} and not busy


def test_loading_the_next_goes_on_while_the_engine_works():
    """Without a clock: the engine of an image ends only when the next has been loaded."""
    loaded = [threading.Event() for _ in range(6)]
    machine = Machine()
    stages = machine.stages()

    def load(image, slot, place=0):
        stages.load(image, slot)
        loaded[image].set()

    def finish(slot):
        assert loaded[min(5, machine.memory[slot] + 1)].wait(10)
        stages.finish(slot)

    assert len(list(Stream(range(6), replace(stages, load=load, finish=finish), (0, 1), 1))) == 6


@pytest.mark.parametrize("stage", ["check", "read"])
def test_the_next_is_started_before_the_last_is_looked_at(stage):
    """What the engine would wait for: an image is checked and read only once the next has been started."""
    started = [threading.Event() for _ in range(6)]
    machine = Machine()
    stages = machine.stages()

    def start(slot):
        started[machine.memory[slot]].set()

    def look(slot):
        assert started[min(5, machine.memory[slot] // 10 + 1)].wait(10)
        return getattr(stages, stage)(slot)

    def wait_for_the_next(image, slot, place):
        stages.load(image, slot)
        loaded.append(image)

    def finish(slot):
        deadline = time.monotonic() + 10
        while len(loaded) < min(6, machine.memory[slot] + 2) and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.002)  # for the slot to come from its loading
        stages.finish(slot)

    loaded = []
    stream = Stream(range(6), replace(stages, load=wait_for_the_next, start=start, finish=finish, **{stage: look}), (0, 1), 1)
    assert list(stream) == [0, 10, 20, 30, 40, 50]


def test_a_run_that_was_begun_when_the_stream_is_left_is_finished():
    machine = Machine(compute=0.02)
    stream = Stream(range(100), machine.stages(), (0, 1), 1)
    next(stream)
    stream.close()
    assert machine.count("start") == machine.count("compute")


def test_what_fails_when_it_is_looked_at_leaves_no_run_behind():
    machine = Machine(compute=0.02)
    with pytest.raises(ValueError, match="check of 3"):
        list(Stream(range(100), machine.stages(fail=("check", 3)), (0, 1), 2))
    assert machine.count("start") == machine.count("compute") and not stage_threads()


def test_a_slow_consumer_is_not_run_away_from():
    machine, taken = Machine(), []

    def images():
        for i in range(1000):
            taken.append(i)
            yield i

    stream = Stream(images(), machine.stages(), (0, 1), threads=2, results=2)
    assert next(stream) == 0
    time.sleep(0.2)
    # one delivered, two waiting as results and one to become the third, two in slots, decoded ones behind them
    assert machine.count("compute") <= 1 + 2 + 1 + 2 and len(taken) <= 12
    assert next(stream) == 10
    stream.close()
    assert len(taken) <= 14 and not stage_threads()


@pytest.mark.parametrize("stage", ["prepare", "load", "start", "compute", "check", "read"])
def test_a_failure_comes_in_its_place_and_ends_the_stream(stage):
    machine = Machine()
    stream = Stream(range(100), machine.stages(fail=(stage, 5)), (0, 1), 3)
    results = []
    with pytest.raises(ValueError, match=f"{stage} of 5"):
        for result in stream:
            results.append(result)
    assert results == [0, 10, 20, 30, 40] and not stage_threads()
    assert list(stream) == []


def test_a_failure_of_the_images_comes_after_those_before_it():
    def images():
        yield from range(3)
        raise KeyError("camera")

    results = []
    with pytest.raises(KeyError, match="camera"):
        results.extend(Stream(images(), Machine().stages(), (0, 1), 2))
    assert not stage_threads()


def test_an_early_end_waits_for_the_engine_and_for_nothing_else():
    machine = Machine(compute=0.05)
    forever = threading.Event()

    def images():
        yield from range(4)
        forever.wait(60)  # a camera without pictures

    stream = Stream(images(), machine.stages(), (0, 1), 2)
    assert next(stream) == 0
    started = time.monotonic()
    stream.close()
    stream.close()
    assert time.monotonic() - started < 5 and list(stream) == []
    ran = machine.count("compute")
    time.sleep(0.15)
    assert machine.count("compute") == ran
    forever.set()


def policies(stages):
    """How each stage is scheduled, and a thread that the engine's stage starts."""
    found = {}

    def noted(stage):
        def work(*arguments):
            found[stage] = os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK
            return getattr(stages, stage)(*arguments)

        return work

    def start(slot):
        child = threading.Thread(target=lambda: found.update(child=os.sched_getscheduler(0)))
        child.start()
        child.join()
        return noted("start")(slot)

    own = {stage: noted(stage) for stage in ("prepare", "load", "finish", "check", "read")}
    assert list(Stream(range(4), replace(stages, start=start, **own), (0, 1), 2)) == [0, 10, 20, 30]
    return found


def test_what_the_engine_waits_for_goes_ahead_of_decoding():
    """Where it may: a thread of this process tries, and what it starts goes no faster than any other."""
    allowed = []

    def attempt():
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
            allowed.append(True)
        except OSError:
            pass

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    first = os.SCHED_FIFO if allowed else os.SCHED_OTHER
    found = policies(Machine().stages())
    assert found == {
        **dict.fromkeys(("load", "start", "finish", "check", "read"), first), "prepare": os.SCHED_OTHER, "child": os.SCHED_OTHER,
    }  # fmt: skip


def test_without_the_right_to_go_ahead_all_wait_for_their_turns(monkeypatch):
    def refuse(*_):
        raise PermissionError("not root")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    assert set(policies(Machine().stages()).values()) == {os.SCHED_OTHER}
