"""The stages of many images: order, overlap, back-pressure, failures in their place, an early end."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest

from host.stream import Stages, Stream


class Machine:
    """Stages that write down what they do. waits: seconds of each stage."""

    def __init__(self, prepare=0.0, load=0.0, compute=0.0, read=0.0):
        self.waits = {"prepare": prepare, "load": load, "start": 0.0, "compute": compute, "read": read}
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

        def load(image, slot):
            self.memory[slot] = check("load", image)

        def start(slot):
            check("start", self.memory[slot])

        def finish(slot):
            self.memory[slot] = check("compute", self.memory[slot]) * 10

        def read(slot):
            check("read", self.memory[slot] // 10)
            return self.memory[slot]

        return Stages(lambda image: check("prepare", image), load, start, finish, read)

    def count(self, stage):
        with self._lock:
            return sum(s == stage for s, _ in self.log)


def stage_threads():
    """Threads that are left. Nobody waits for the one that makes the images, which ends a moment later."""
    deadline = time.monotonic() + 5
    while True:
        found = [t for t in threading.enumerate() if t.name.startswith("prepare") or "_until_stopped" in t.name]
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

    def load(image, slot):
        assert slot not in busy
        stages.load(image, slot)

    assert len(list(Stream(range(15), replace(stages, load=load, start=start, finish=finish), (0, 1), 2))) == 15
    assert set(seen) == {1} and not busy


def test_loading_the_next_goes_on_while_the_engine_works():
    """Without a clock: the engine of an image ends only when the next has been loaded."""
    loaded = [threading.Event() for _ in range(6)]
    machine = Machine()
    stages = machine.stages()

    def load(image, slot):
        stages.load(image, slot)
        loaded[image].set()

    def finish(slot):
        assert loaded[min(5, machine.memory[slot] + 1)].wait(10)
        stages.finish(slot)

    assert len(list(Stream(range(6), replace(stages, load=load, finish=finish), (0, 1), 1))) == 6


def test_the_next_is_started_before_the_last_is_read():
    """What the engine would wait for: reading an image goes on only once the next has been started."""
    started = [threading.Event() for _ in range(6)]
    machine = Machine()
    stages = machine.stages()

    def start(slot):
        started[machine.memory[slot]].set()

    def read(slot):
        assert started[min(5, machine.memory[slot] // 10 + 1)].wait(10)
        return stages.read(slot)

    assert list(Stream(range(6), replace(stages, start=start, read=read), (0, 1), 1)) == [0, 10, 20, 30, 40, 50]


def test_a_run_that_was_begun_when_the_stream_is_left_is_finished():
    machine = Machine(compute=0.02)
    stream = Stream(range(100), machine.stages(), (0, 1), 1)
    next(stream)
    stream.close()
    assert machine.count("start") == machine.count("compute")


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


@pytest.mark.parametrize("stage", ["prepare", "load", "start", "compute", "read"])
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
