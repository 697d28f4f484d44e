"""Faults of a board, one by one: what is seen, no hang, no leak, no wrong answer, a device that works afterwards."""

from __future__ import annotations

import pytest
from support import board_faults
from support import toy_board as toy
from support.board_faults import CASES, observe

rows: dict[str, str] = {}


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return toy.compile_engine(tmp_path_factory.mktemp("engine"))


@pytest.mark.parametrize("case", CASES, ids=[case.what for case in CASES])
def test_a_fault_is_said_and_harms_nothing(case, library, tmp_path):
    place = tmp_path / "case0"
    place.mkdir()
    seen = observe(case, library, place)
    rows[case.what] = board_faults.row(case, seen, tmp_path)
    assert all(seen.answers), "a wrong answer was returned as a right one"
    assert seen.leaked == 0 and seen.usable and seen.seconds < 10
    sentences = [s for s in (seen.opening, seen.running, seen.again, seen.closing) if s]
    assert not any("\n" in sentence for sentence in sentences)
    if case.works:
        assert not sentences and seen.warned
    else:
        assert seen.opening or seen.running


def test_the_documentation_has_what_was_seen():
    if len(rows) < len(CASES):
        pytest.skip("not every fault was provoked in this run")
    assert [line for line in board_faults.written().splitlines()[2:]] == [rows[case.what] for case in CASES], (
        "run tests/support/board_faults.py"
    )
