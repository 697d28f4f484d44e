"""Clocks of the programmable logic: which there are, and that one reaches whatever is told a clock."""

from __future__ import annotations

import json

import pytest
from support.boards import BOARD
from support.random_graphs import random_artifact

from bfp.artifact_file import save
from bfp.deployment import read_deployment
from bfp.errors import BfpError
from codegen import clocks
from codegen.__main__ import main
from codegen.performance.board import board_at, board_names, load_board


@pytest.mark.parametrize("wanted, had", [(250, 250), (214.3, 1500 / 7), (187.5, 187.5), (301, 300), (100, 100), (10, 10)])
def test_a_clock_is_the_nearest_that_can_be_had(wanted, had):
    assert clocks.attainable(1500, wanted, "it") == pytest.approx(had, abs=1e-6)


@pytest.mark.parametrize(
    "wanted, nearest",
    [(200, "214.286 and 187.5"), (240, "250 and 214.286"), (2000, "is 1500"), (0.1, "is 0.377929"), (-3, "is 0.377929")],
)
def test_other_clocks_are_refused_with_the_nearest(wanted, nearest):
    with pytest.raises(BfpError, match=f"it has no clock within 1 % of {wanted} MHz.* nearest .*{nearest} MHz$"):
        clocks.attainable(1500, wanted, "it")


def test_a_product_of_two_divisors_is_taken_apart():
    products = clocks._products()
    assert products[:63] == tuple(range(1, 64)) and 67 not in products and products[-1] == 63 * 63
    for product in products:
        first, second = clocks.divisors(product)
        assert first * second == product and 1 <= second <= first <= 63 or first * second == product <= 63 * 63
    with pytest.raises(BfpError, match="no two divisors up to 63 have the product 67"):
        clocks.divisors(67)


def test_the_fastest_clock_within_a_limit():
    assert clocks.fastest_within(1500, 250) == 250 and clocks.fastest_within(1500, 249.9) == pytest.approx(1500 / 7)
    assert clocks.fastest_within(1500, 0.1) is None
    assert clocks.plain(250.0) == 250 and isinstance(clocks.plain(250.0), int) and clocks.plain(1500 / 7) == 214.285714


@pytest.mark.parametrize("word", board_names())
def test_a_boards_own_clock_can_be_had(word):
    board = load_board(word)
    assert board.clock_mhz == clocks.attainable(board.clock_source_mhz, board.clock_mhz, "")


def test_a_board_with_another_clock():
    board = board_at("ultra96v2", "214.3")
    assert board.clock_mhz == 214.285714 and board.bytes_per_cycle == pytest.approx(3200 / 214.285714)
    assert board_at("ultra96v2", None) == BOARD
    with pytest.raises(BfpError, match="Ultra96-V2 has no clock within 1 % of 200 MHz, since it divides 1500 MHz"):
        board_at("ultra96v2", "200")
    for word in ("fast", "nan", "inf", "0", "-1", ""):
        with pytest.raises(BfpError, match=f"clock '{word}' is no frequency in MHz; give for instance clock=250"):
            board_at("ultra96v2", word)


def test_the_command_line_takes_a_clock(tmp_path, capsys):
    save(random_artifact(3, 16), tmp_path / "artifact.npz")
    assert main(["generate", str(tmp_path), "--clock", "214.3"]) == 0
    assert read_deployment(tmp_path / "deploy").clock_mhz == 214.285714
    assert main(["estimate", str(tmp_path), "--clock", "187.5"]) == 0
    estimate = json.loads((tmp_path / "estimate.json").read_text())
    assert estimate["clock_mhz"] == 187.5
    assert estimate["frames_per_second"] == pytest.approx(187.5e6 / estimate["cycles"], abs=0.01)
    capsys.readouterr()
    assert main(["generate", str(tmp_path), "--clock", "200"]) == 2
    assert capsys.readouterr().err.startswith("error: Ultra96-V2 has no clock within 1 % of 200 MHz")
