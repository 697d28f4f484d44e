"""Many images on the simulated board: the same results as one by one, two memories, an early end, coroutines."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import toy_board as toy
from support.driven import board, deploy, library  # noqa: F401 (fixtures)

from bfp.errors import BfpError
from host import driver
from host.driver import Accelerator
from host.faults import Faults
from host.simulated_board import SimulatedBoard


def pictures(folder, count):
    """Files, pictures, pixels and floats in turn."""
    rng = np.random.default_rng(0)
    found = []
    for i in range(count):
        pixels = rng.integers(0, 256, (toy.HEIGHT + i % 3, toy.WIDTH, 3), dtype=np.uint8)
        path = folder / f"{i}.png"
        Image.fromarray(pixels).save(path)
        floats = rng.normal(size=(3, toy.HEIGHT, toy.WIDTH))
        found.append([path, Image.open(path), pixels, floats][i % 4])
    return found


@pytest.mark.parametrize("threads", [1, 3, None])
def test_many_give_what_one_by_one_gives(board, deploy, tmp_path, threads):
    images = pictures(tmp_path, 13)
    with Accelerator(deploy, device=board) as accelerator:
        want = [accelerator.run(image) for image in images]
        held = len(board._memories)
        found = list(accelerator.run_many(iter(images), threads))
        assert len(found) == 13 and all(map(np.array_equal, found, want))
        assert len(board._memories) == held + 1  # a second memory of feature maps
        assert all(map(np.array_equal, accelerator.run_many(images), want)) and len(board._memories) == held + 1
        assert np.array_equal(accelerator.run(images[3]), want[3])
        last = accelerator.tensor("last")
        assert np.array_equal((last * np.array([2.0**-4, 0.125, 0.125]).reshape(3, 1, 1) + 0.5).reshape(-1) * 0.75, want[3])
        assert list(accelerator.run_many([])) == []
    assert not board._memories


def test_a_wrong_image_is_named_after_the_results_before_it(board, deploy, tmp_path):
    images = pictures(tmp_path, 4)
    with Accelerator(deploy, device=board) as accelerator:
        results = []
        with pytest.raises(BfpError, match="gone.png does not exist"):
            results.extend(accelerator.run_many([*images, tmp_path / "gone.png", *images]))
        assert np.array_equal(accelerator.run(images[0]), next(accelerator.run_many(images)))


def test_no_threads_decode_nothing(board, deploy, tmp_path):
    with Accelerator(deploy, device=board) as accelerator, pytest.raises(BfpError, match="0 threads cannot decode"):
        next(accelerator.run_many(pictures(tmp_path, 1), threads=0))


@pytest.mark.parametrize("one", ["photo.png", Path("photo.png"), Image.new("RGB", (9, 9)), 5])
def test_one_image_is_not_many(board, deploy, one):
    with Accelerator(deploy, device=board) as accelerator, pytest.raises(BfpError, match="takes many images as a list"):
        next(accelerator.run_many(one))


def test_results_may_be_left_before_their_end(board, deploy, tmp_path):
    images = pictures(tmp_path, 4) * 5
    with Accelerator(deploy, device=board) as accelerator:
        for count, _ in enumerate(accelerator.run_many(images)):
            if count == 2:
                break
        want = accelerator.run(images[1])
        assert np.array_equal(list(accelerator.run_many(images))[1], want)


def test_coroutines_share_the_accelerator(board, deploy, tmp_path):
    images = pictures(tmp_path, 4)
    with Accelerator(deploy, device=board) as accelerator:
        want = [accelerator.run(image) for image in images]

        async def one_after_the_other():
            return [await accelerator.run_async(image) for image in images]

        assert all(map(np.array_equal, asyncio.run(one_after_the_other()), want))


def test_a_profile_names_every_step(board, deploy, tmp_path):
    image = pictures(tmp_path, 1)[0]
    with Accelerator(deploy, device=board) as accelerator:
        output, steps = accelerator.profile(image)
        assert np.array_equal(output, accelerator.run(image))
        assert set(steps) == {"decode", "pack", "copy", "engine", "unpack"} and min(steps.values()) > 0


def test_a_stream_whose_engine_hangs_is_given_up_when_it_is_closed(library, deploy, tmp_path):
    """From another thread, as an interrupt would: nothing waits for the hour that a run may take."""
    board = SimulatedBoard(library, deploy, faults=Faults(never_finishes=True))
    accelerator = Accelerator(deploy, device=board)
    said = []

    def use():
        try:
            said.extend(accelerator.run_many(pictures(tmp_path, 4)))
        except BfpError as error:
            said.append(str(error))

    thread = threading.Thread(target=use)
    thread.start()
    while not board._registers.get("layer_end"):
        time.sleep(0.01)
    started = time.monotonic()
    accelerator.close()
    thread.join(10)
    assert time.monotonic() - started < 10 and not board._memories
    assert len(said) == 1 and "was closed during a run_many" in said[0]


def said_when_closed(accelerator, work, begun):
    """What another thread's work raises, one sentence, where the accelerator is closed once that has begun."""
    said = []

    def use():
        try:
            work()
        except Exception as error:
            said.append(str(error))

    thread = threading.Thread(target=use)
    thread.start()
    begun.wait()
    accelerator.close()
    thread.join(10)
    (sentence,) = said
    return sentence


def test_a_stream_that_is_closed_while_it_is_made_is_found(library, deploy, tmp_path, monkeypatch):
    """Its threads may have started the engine before whoever makes it goes on."""
    made = threading.Event()

    class Slow(driver.Stream):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            made.set()
            time.sleep(0.3)

    monkeypatch.setattr(driver, "Stream", Slow)
    board = SimulatedBoard(library, deploy, faults=Faults(never_finishes=True))
    accelerator = Accelerator(deploy, device=board)
    said = said_when_closed(accelerator, lambda: list(accelerator.run_many(pictures(tmp_path, 4))), made)
    assert not board._memories and "was closed during a run_many" in said


def test_a_trace_is_closed_between_its_layers(board, deploy, tmp_path, monkeypatch):
    """Whoever closes waits for the layer that the engine is at."""
    accelerator, (image,) = Accelerator(deploy, device=board), pictures(tmp_path, 1)
    begun, layers = threading.Event(), []
    alone = Accelerator._run_alone

    def slow(self, arena, begin, end):
        begun.set()
        time.sleep(0.2)
        alone(self, arena, begin, end)
        layers.append(begin)

    monkeypatch.setattr(Accelerator, "_run_alone", slow)
    said = said_when_closed(accelerator, lambda: list(accelerator.trace(image)), begun)
    assert not board._memories and len(layers) == 1 and "was closed during a trace" in said


def test_other_runs_wait_for_the_stream_or_are_refused_in_it(board, deploy, tmp_path):
    images = pictures(tmp_path, 8)
    with Accelerator(deploy, device=board) as accelerator:
        want = [accelerator.run(image) for image in images]
        stream = accelerator.run_many(images)
        found = [next(stream)]
        for wrong in (lambda: accelerator.run(images[0]), lambda: next(accelerator.run_many(images)),
                      lambda: next(accelerator.trace(images[0]))):  # fmt: skip
            with pytest.raises(BfpError, match="cannot begin while a run_many .* is under way in the same thread"):
                wrong()
        with pytest.raises(BfpError, match="no tensor can be looked at while run_many is under way"):
            accelerator.tensor("last")
        other = []
        thread = threading.Thread(target=lambda: other.append(accelerator.run(images[5])))
        thread.start()
        found.extend(stream)
        thread.join(10)
        assert all(map(np.array_equal, found, want)) and np.array_equal(other[0], want[5])


def test_closing_ends_the_stream_with_a_sentence(board, deploy, tmp_path):
    accelerator = Accelerator(deploy, device=board)
    stream = accelerator.run_many(pictures(tmp_path, 4) * 100)
    next(stream)
    accelerator.close()
    with pytest.raises(BfpError, match="was closed during a run_many"):
        list(stream)
    assert not board._memories


@pytest.mark.parametrize(
    "faults, message",
    [
        (Faults(never_finishes=True), "did not finish within 0.1 s"),
        (Faults(writes_elsewhere=True), "ended and did not write its result"),
        (Faults(drops_flush=True), "caches do not agree"),
    ],
)
def test_a_fault_ends_the_stream_and_the_next_one_is_right(library, deploy, tmp_path, faults, message):
    board = SimulatedBoard(library, deploy, timeout_s=0.1)
    images = pictures(tmp_path, 6)
    with Accelerator(deploy, device=board) as accelerator:
        want = [accelerator.run(image) for image in images]
        board.faults = faults
        found = []
        with pytest.raises(BfpError, match=message):
            found.extend(accelerator.run_many(images))
        assert not found
        board.faults = Faults()
        assert all(map(np.array_equal, accelerator.run_many(images), want))
    assert not board._memories
