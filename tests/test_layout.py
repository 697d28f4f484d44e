"""host.layout against its formula, value by value."""

import numpy as np
import pytest

from bfp.errors import BfpError
from bfp.format import mantissa_range
from host.layout import check, pack, segment_words, unpack


def random_tensor(rng):
    """A tensor of random shape, cut into segments that lie anywhere in the arena, in any order."""
    channels, height, width = int(rng.integers(1, 71)), int(rng.integers(1, 8)), int(rng.integers(1, 8))
    lanes = int(rng.choice([2, 4, 8, 16, 32]))
    cuts = sorted({0, channels, *(int(c) for c in rng.integers(1, channels + 1, rng.integers(0, 4)))})
    segments = [{"start": a, "stop": b} for a, b in zip(cuts, cuts[1:])]
    tensor = {"name": "t", "channels": channels, "height": height, "width": width, "segments": segments}
    tensor.update(bits=int(rng.integers(2, 9)), signed=bool(rng.integers(2)))
    address = int(rng.integers(0, 5))
    for i in rng.permutation(len(segments)):
        segments[i]["address"] = address
        address += segment_words(tensor, segments[i], lanes) + int(rng.integers(0, 3))
    return tensor, lanes, address + 3


@pytest.mark.parametrize("seed", range(60))
def test_pack_follows_the_formula_and_unpack_inverts_it(seed):
    rng = np.random.default_rng(seed)
    tensor, lanes, words = random_tensor(rng)
    if seed % 5 == 0:
        tensor["height"] = tensor["width"] = 1
    low, high = mantissa_range(tensor["bits"], tensor["signed"])
    shape = tensor["channels"], tensor["height"], tensor["width"]
    mantissas = rng.integers(low, high + 1, shape).astype(np.int16)
    arena = np.full((words, lanes), 0xEE, np.uint8)
    expected = arena.copy()
    bits, line = tensor["bits"], -(-shape[2] * tensor["bits"] // 8)
    for s in tensor["segments"]:
        expected[s["address"] : s["address"] + segment_words(tensor, s, lanes)] = 0  # unused lanes are zero
        for c in range(s["start"], s["stop"]):
            for y in range(shape[1]):
                for x in range(shape[2]):
                    row = s["address"] + (((c - s["start"]) // lanes) * shape[1] + y) * line
                    for i in range(bits):
                        bit = x * bits + i
                        value = (int(mantissas[c, y, x]) >> i & 1) << bit % 8
                        expected[row + bit // 8, (c - s["start"]) % lanes] |= value
    pack(tensor, mantissas, arena)
    np.testing.assert_array_equal(arena, expected)
    result = unpack(tensor, arena)
    assert result.dtype == np.int16
    np.testing.assert_array_equal(result, mantissas)


def tensor_of(segments, channels=4, bits=8, signed=True):
    return dict(name="t", channels=channels, height=2, width=2, bits=bits, signed=signed, segments=segments)


@pytest.mark.parametrize(
    "segments, words, message",
    [
        ([dict(start=0, stop=4, address=7)], 10, "ends at word 11 of an arena of 10"),
        ([dict(start=0, stop=4, address=-1)], 10, "ends at word"),
        ([dict(start=0, stop=3, address=0)], 10, "its segments hold 3"),
        ([dict(start=0, stop=2, address=0), dict(start=3, stop=4, address=4)], 10, "channel 2 is in no segment"),
        ([dict(start=0, stop=2, address=0), dict(start=1, stop=4, address=4)], 10, "in no segment or in two"),
    ],
)
def test_segments_that_do_not_fit_are_refused(segments, words, message):
    with pytest.raises(BfpError, match=message):
        check(tensor_of(segments), words, 16)


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
        pack(tensor_of([dict(start=0, stop=4, address=0)]), mantissas, arena)
    assert not arena.any()
