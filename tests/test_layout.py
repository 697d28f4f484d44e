"""bfp.layout against its formula, value by value."""

from dataclasses import replace

import numpy as np
import pytest

from bfp.errors import BfpError
from bfp.format import BlockFormat
from bfp.layout import PlacedTensor, Segment, check, pack, unpack
from codegen.lowering.placement import Placement


def random_tensor(rng, size=None):
    """A tensor of random shape, cut into segments that lie anywhere in the arena, in any order."""
    channels, height, width = int(rng.integers(1, 71)), int(rng.integers(1, 8)), int(rng.integers(1, 8))
    lanes = int(rng.choice([2, 4, 8, 16, 32]))
    cuts = sorted({0, channels, *(int(c) for c in rng.integers(1, channels + 1, rng.integers(0, 4)))})
    fmt = BlockFormat(int(rng.integers(2, 9)), bool(rng.integers(2)), (0, channels), (0,))
    segments = [Segment(a, b, 0) for a, b in zip(cuts, cuts[1:])]
    tensor = PlacedTensor("t", "layer", 0, (channels, *(size or (height, width))), fmt, tuple(segments))
    address = int(rng.integers(0, 5))
    for i in rng.permutation(len(segments)):
        segments[i] = replace(segments[i], address=address)
        address += tensor.segment_words(segments[i], lanes) + int(rng.integers(0, 3))
    return replace(tensor, segments=tuple(segments)), lanes, address + 3


@pytest.mark.parametrize("seed", range(60))
def test_pack_follows_the_formula_and_unpack_inverts_it(seed):
    rng = np.random.default_rng(seed)
    tensor, lanes, words = random_tensor(rng, (1, 1) if seed % 5 == 0 else None)
    shape, bits = tensor.shape, tensor.format.bits
    mantissas = rng.integers(tensor.format.low, tensor.format.high + 1, shape).astype(np.int16)
    arena = np.full((words, lanes), 0xEE, np.uint8)
    expected = arena.copy()
    line = -(-shape[2] * bits // 8)
    for s in tensor.segments:
        expected[s.address : s.address + tensor.segment_words(s, lanes)] = 0  # unused lanes are zero
        for c in range(s.start, s.stop):
            for y in range(shape[1]):
                for x in range(shape[2]):
                    row = s.address + (((c - s.start) // lanes) * shape[1] + y) * line
                    for i in range(bits):
                        bit = x * bits + i
                        value = (int(mantissas[c, y, x]) >> i & 1) << bit % 8
                        expected[row + bit // 8, (c - s.start) % lanes] |= value
    pack(tensor, mantissas, arena)
    np.testing.assert_array_equal(arena, expected)
    result = unpack(tensor, arena)
    assert result.dtype == np.int16
    np.testing.assert_array_equal(result, mantissas)


def tensor_of(*segments):
    fmt = BlockFormat(8, True, (0, 4), (0,))
    return PlacedTensor("t", "layer", 0, (4, 2, 2), fmt, tuple(Segment(*s) for s in segments))


@pytest.mark.parametrize(
    "segments, words, message",
    [
        ([(0, 4, 7)], 10, "ends at word 11 of an arena of 10"),
        ([(0, 4, -1)], 10, "ends at word"),
        ([(0, 3, 0)], 10, "its segments hold 3"),
        ([(0, 2, 0), (3, 4, 4)], 10, "channel 2 is in no segment"),
        ([(0, 2, 0), (1, 4, 4)], 10, "in no segment or in two"),
    ],
)
def test_segments_that_do_not_fit_are_refused(segments, words, message):
    with pytest.raises(BfpError, match=message):
        check(tensor_of(*segments), words, 16)


@pytest.mark.parametrize(
    "mantissas, message",
    [
        (np.zeros((4, 2, 3), np.int16), "holds 4x2x2 values, not 4x2x3"),
        (np.zeros((4, 2, 2)), "integer mantissas, not float64"),
        (np.full((4, 2, 2), -128, np.int16), "takes mantissas -127..127, but -128..-128"),
        (np.full((4, 2, 2), 128, np.int16), "takes mantissas -127..127"),
    ],
)
def test_wrong_mantissas_are_refused_and_nothing_is_written(mantissas, message):
    arena = np.zeros((4, 16), np.uint8)
    with pytest.raises(BfpError, match=message):
        pack(tensor_of((0, 4, 0)), mantissas, arena)
    assert not arena.any()


def test_where_a_part_of_a_tensor_lies():
    """A part is a place of its own where it shares no word with other channels."""
    whole = Placement((0, 10, 40), address=100, height=3, width=5, bits=8, lanes=16)
    assert (whole.plane, whole.planes) == (15, 3)
    assert whole.part(0, 10) == replace(whole, splits=(0, 10))
    assert whole.part(10, 40) == replace(whole, splits=(0, 30), address=115)
    assert whole.part(10, 26) == replace(whole, splits=(0, 16), address=115)
    assert whole.part(26, 40) == replace(whole, splits=(0, 14), address=130)
    assert whole.part(0, 26) == replace(whole, splits=(0, 10, 26))
    for start, stop in ((0, 9), (1, 10), (10, 25), (11, 40), (27, 40)):
        assert whole.part(start, stop) is None
