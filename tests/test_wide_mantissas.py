"""Mantissas wider than the array's operands go as digits, in the layers that have them: same integers, no layer slower else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.boards import BOARD
from support.quick_compile import compiled_quickly  # noqa: F401 (a fixture)
from torch import nn

from bfp.errors import BfpError
from bfp.format import mantissa_range
from bfp.limits import ACC_LIMIT
from codegen.features import features
from codegen.lowering.array import DIGIT_BITS, LARGEST_DIGIT
from codegen.lowering.arrangement import arrangements
from codegen.lowering.digits import dense_operands, digit_fields, prove_digits
from codegen.lowering.program import build
from codegen.options import EngineOptions
from codegen.performance.board import load_board
from codegen.performance.estimate import cycles
from codegen.performance.ranges import Resource
from codegen.performance.resources import area
from codegen.performance.steps import program_counts
from codegen.performance.timing import Timing
from static_bfp import calibrate, csim

NARROW = {"weights": 5, "activations": 5, "input_bits": 0, "output_bits": 0, "method": "max"}


class Residual(nn.Module):
    """A first layer, a residual block, a shortcut with a stride and more channels, and a last layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.one, self.two = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 16, 1)
        self.down, self.again, self.last = nn.Conv2d(16, 24, 3, 2, 1), nn.Conv2d(24, 24, 1), nn.Linear(24, 5)

    def forward(self, x):
        x = torch.relu(self.first(x))
        x = torch.relu(x + self.two(torch.relu(self.one(x))))
        shortcut = nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4))
        x = torch.relu(shortcut + self.again(torch.relu(self.down(x))))
        return self.last(x.mean((2, 3)))


def images():
    return np.random.default_rng(0).normal(size=(6, 3, 12, 12)).astype(np.float32)


def made(**bfp):
    return calibrate(Residual().eval(), images(), **{**NARROW, **bfp})


def digits(program):
    """Which layers take digits: of weights, of activations."""
    found = {layer.name: layer.fields.digits for layer in program.layers if layer.fields.digits.pairs > 1}
    return {name: (d.wide_weights, d.wide_operands) for name, d in found.items()}


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("signed", [True, False])
def test_digits_add_up_and_are_multiplied_at_once(bits, signed):
    low, high = mantissa_range(bits, signed)
    every = np.arange(low, high + 1)
    upper, lower = every >> DIGIT_BITS, every & LARGEST_DIGIT
    assert np.array_equal((upper << DIGIT_BITS) + lower, every)
    assert np.abs(upper).max() <= LARGEST_DIGIT and (np.abs(upper << DIGIT_BITS) + lower <= np.abs(every) + 2 * LARGEST_DIGIT).all()


@pytest.mark.parametrize("lanes, board", [(16, "ultra96v2"), (8, "pynq_z2")])
def test_a_network_with_exceptions_is_bit_equal(lanes, board, tmp_path, compiled_quickly):  # noqa: F811
    """Residual stream, first and last layer of 8 bits; a chip whose DSPs hold two products of the digits of any weights."""
    artifact = made(sensitive=8)
    products = {"products": 2 if board == "pynq_z2" else 4}
    result = csim(artifact, tmp_path, images()[:2], board=board, lanes=lanes, **products)
    assert result["mismatches"] == 0
    program = build([artifact.record], EngineOptions(lanes=lanes, **products), load_board(board))
    assert program.array.products == products["products"]
    assert any(weights for weights, _ in digits(program).values())


def test_an_exception_costs_only_its_own_layer():
    """Wide weights of the last layer: it takes two cycles a step on the array of the narrow ones, the others what they took."""
    override = {"layers": "last", "weights": 8}
    narrow, wide = (build([made(override=o).record], EngineOptions(), BOARD) for o in ([], [override]))
    assert wide.array == narrow.array and digits(wide) == {wide.layers[-1].name: (True, False)} and not digits(narrow)
    few, more = ([counts["conv"] for counts in program_counts(p)] for p in (narrow, wide))
    assert more == [*few[:-1], 2 * few[-1]]
    # the pass is no longer than its weights load
    assert cycles(wide, BOARD, Timing()) == cycles(narrow, BOARD, Timing())
    luts = [area(p, BOARD).total(Resource.LUT).likely for p in (narrow, wide)]
    assert luts[0] < luts[1] < 1.1 * luts[0]


def test_without_exceptions_nothing_is_built_for_digits():
    for bits in (4, 5, 8):
        artifact = made(weights=bits, activations=bits).record
        assert len(arrangements([artifact], EngineOptions(), 27, 18)) == 1
        use = features(build([artifact], EngineOptions(), BOARD))
        assert not use.wide_weights and not use.wide_operands
        assert use.align_bits >= 0 and use.operand_bits <= bits + 1


def test_where_digits_do_not_pay_the_array_is_wide():
    """All weights are wide but those of the smallest layer: their steps would take two cycles, of twice the products."""
    artifact = made(weights=8, override=[{"layers": "last", "weights": 5}]).record
    program = build([artifact], EngineOptions(), BOARD)
    assert program.array.weight == 127 and not digits(program)
    forced = build([artifact], EngineOptions(products=4), BOARD)
    assert forced.array.weight == 15 and len(digits(forced)) >= 5


def wide_layer():
    """The artifact, and a layer whose weights and activations go as digits."""
    artifact = made(sensitive=8, input_bits=8).record
    node = next(n for n in artifact.graph.nodes if n.name.endswith("first"))
    return artifact, node


def test_sums_between_digits_are_within_what_is_proved():
    """Every order of a step's products, of mantissas at the ends of their ranges, against the bound of one step."""
    artifact, node = wide_layer()
    operands = dense_operands(artifact, node)
    assert (operands.weight, operands.activation) == (127, 127)
    assert digit_fields(artifact, node, replace(build([artifact], EngineOptions(), BOARD).array, weight=15, operand=15)).pairs == 4
    ends = np.array([-127, -113, -1, 0, 1, 16, 127])
    w, a = ends[:, None], ends[None, :]
    parts = [((x >> DIGIT_BITS << DIGIT_BITS), (x & LARGEST_DIGIT)) for x in (w, a)]
    products = [u * v for u in parts[0] for v in parts[1]]
    assert np.array_equal(sum(products), w * a)
    assert (sum(map(np.abs, products)) <= (np.abs(w) + 2 * LARGEST_DIGIT) * (np.abs(a) + 2 * LARGEST_DIGIT)).all()


def test_a_refusal_of_products_says_why_digits_do_not_help():
    artifact, node = wide_layer()
    p = artifact.parameters[node.name]
    steep = replace(p, align_shift=np.full_like(p.align_shift, 15))
    spread = replace(artifact, parameters={**artifact.parameters, node.name: steep})
    with pytest.raises(BfpError) as error:
        arrangements([spread], EngineOptions(products=4), 27, 18)
    message = str(error.value)
    assert "engine option products is 4; mantissas up to 127" in message
    assert f"mantissas as digits do not give more: node {node.name}" in message and "ask for fewer products" in message


def test_a_layer_whose_sums_might_leave_32_bits_keeps_the_array_wide():
    artifact, node = wide_layer()
    prove_digits(artifact, dense_operands(artifact, node), 16)
    p = artifact.parameters[node.name]
    mantissas = p.weights.mantissas // 127  # so small that the artifact's own proof holds
    far = replace(p, weights=replace(p.weights, mantissas=mantissas), align_shift=p.align_shift * 0 + 15)
    artifact = replace(artifact, parameters={**artifact.parameters, node.name: far})
    assert 16 * (127 + 30) ** 2 << 15 > ACC_LIMIT
    with pytest.raises(BfpError, match=f"node {node.name}, filter .* go as digits"):
        prove_digits(artifact, dense_operands(artifact, node), 16)
    arrays = [x.array for x in arrangements([artifact], EngineOptions(), 27, 18)]
    assert [array.weight for array in arrays] == [127]
