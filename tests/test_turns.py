"""Threads that share an accelerator take turns, and nobody reads another one's answer."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from support import toy_board as toy
from support.driven import board, deploy, library, random_mantissas

from bfp.errors import BfpError
from host.driver import Accelerator
from host.faults import Faults
from host.simulated_board import SimulatedBoard

UNDER_WAY = "a run cannot begin while a trace .* is under way in the same thread"


def expected(x):
    scale = np.array([2.0**-4, 2.0**-3, 2.0**-3]).reshape(3, 1, 1)
    return ((2 * x + toy.weight_values()) * scale).reshape(-1) * 0.75 + 0.5 * 0.75


def test_threads_get_the_answers_to_their_own_images(library, deploy):
    board = SimulatedBoard(library, deploy, faults=Faults(finishes_late_s=0.01))
    wrong: list[int] = []

    def work(accelerator, first):
        for seed in range(first, first + 8):
            x = random_mantissas(seed)
            if not np.array_equal(accelerator.run_mantissas(x), expected(x)):
                wrong.append(seed)

    with Accelerator(deploy, device=board) as accelerator:
        threads = [threading.Thread(target=work, args=(accelerator, 8 * n)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert not wrong and not any(thread.is_alive() for thread in threads)


def test_a_refused_image_leaves_the_run_of_another_thread_alone(library, deploy):
    board = SimulatedBoard(library, deploy, faults=Faults(finishes_late_s=0.2))
    x = random_mantissas(1)
    answers = []
    with Accelerator(deploy, device=board) as accelerator:
        thread = threading.Thread(target=lambda: answers.append(accelerator.run_mantissas(x)))
        thread.start()
        with pytest.raises(BfpError, match="takes mantissas|not 1x1"):
            accelerator.run_mantissas(np.zeros((1, 1), np.int16))
        thread.join(30)
    np.testing.assert_array_equal(answers[0], expected(x))


def test_a_run_inside_a_trace_is_refused_and_the_trace_goes_on(board, deploy):
    x = random_mantissas(2)
    with Accelerator(deploy, device=board) as accelerator:
        seen = {}
        for name, mantissas in accelerator.trace_mantissas(x):
            seen[name] = mantissas
            with pytest.raises(BfpError, match=UNDER_WAY):
                accelerator.run_mantissas(random_mantissas(3))
            with pytest.raises(BfpError, match="a trace cannot begin"):
                next(accelerator.trace_mantissas(x))
            np.testing.assert_array_equal(accelerator.tensor(name), mantissas)
        np.testing.assert_array_equal(seen["last"], 2 * x + toy.weight_values())
        np.testing.assert_array_equal(accelerator.run_mantissas(x), expected(x))


def test_another_thread_waits_for_the_end_of_a_trace(board, deploy):
    x = random_mantissas(2)
    answers = []
    with Accelerator(deploy, device=board) as accelerator:
        trace = accelerator.trace_mantissas(x)
        next(trace)
        thread = threading.Thread(target=lambda: answers.append(accelerator.run_mantissas(random_mantissas(9))))
        thread.start()
        thread.join(0.1)
        assert thread.is_alive() and not answers
        seen = dict(trace)
        thread.join(30)
        np.testing.assert_array_equal(seen["last"], 2 * x + toy.weight_values())
        np.testing.assert_array_equal(answers[0], expected(random_mantissas(9)))


def test_a_trace_that_is_left_lets_others_run(board, deploy):
    with Accelerator(deploy, device=board) as accelerator:
        for _ in accelerator.trace_mantissas(random_mantissas()):
            break  # the iterator ends with its last reference
        trace = accelerator.trace_mantissas(random_mantissas())
        next(trace)
        trace.close()
        x = random_mantissas(4)
        np.testing.assert_array_equal(accelerator.run_mantissas(x), expected(x))


def test_a_trace_ends_with_its_accelerator(board, deploy):
    accelerator = Accelerator(deploy, device=board)
    begun, unbegun = accelerator.trace_mantissas(random_mantissas()), accelerator.trace_mantissas(random_mantissas())
    next(begun)
    accelerator.close()
    assert not board._memories
    with pytest.raises(BfpError, match="was closed during a trace"):
        next(begun)
    with pytest.raises(BfpError, match="is closed; open it again"):
        next(unbegun)
    with pytest.raises(BfpError, match="is closed; open it again"):
        accelerator.trace_mantissas(random_mantissas())


def test_closing_waits_for_the_run_of_another_thread(library, deploy):
    board = SimulatedBoard(library, deploy, faults=Faults(finishes_late_s=0.2))
    x = random_mantissas(5)
    answers = []
    accelerator = Accelerator(deploy, device=board)
    started = threading.Event()

    def work():
        started.set()
        answers.append(accelerator.run_mantissas(x))

    thread = threading.Thread(target=work)
    thread.start()
    started.wait(10)
    while accelerator._turns._now is None and not answers:
        pass
    accelerator.close()
    thread.join(30)
    assert not board._memories
    np.testing.assert_array_equal(answers[0], expected(x))
