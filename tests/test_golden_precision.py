"""Where the golden model takes float32 and where float64, and that both are exact."""

from __future__ import annotations

import numpy as np
import pytest

from bfp.format import BlockFormat
from bfp.golden import conv
from bfp.graph import Node
from bfp.parameters import Parameters, Weights, derive


def dense(weights: np.ndarray, align=None) -> tuple[Node, Parameters, BlockFormat, BlockFormat]:
    """A fully connected layer of the given mantissas [F, C], unsigned 8-bit input, all exponents 0."""
    filters, channels = weights.shape
    source = BlockFormat(8, False, (0, channels), (0,))
    target = BlockFormat(8, True, (0, filters), (20,))
    blocks = Weights(8, weights.astype(np.int8)[:, :, None, None], (0, channels), np.zeros((filters, 1), np.int64))
    node = Node("fc", "conv", ("in",), "out")
    p = derive(node, source, target, None, blocks, np.zeros(filters))
    return node, p, source, target


def test_float32_is_chosen_below_two_to_the_24_and_not_above():
    limit = 2**24
    assert conv.exact_parts(np.array([[limit - 1.0]])) == [(0, 1)]
    assert conv.exact_parts(np.array([[limit * 1.0]])) == []
    half = limit / 2
    assert conv.exact_parts(np.array([[half, half - 1]])) == [(0, 2)]
    assert conv.exact_parts(np.array([[half, half]])) == [(0, 1), (1, 2)]
    # the worst filter decides, and too many parts are not worth it
    assert conv.exact_parts(np.array([[1.0, 1.0], [half, half]])) == [(0, 1), (1, 2)]
    assert conv.exact_parts(np.full((1, 4), limit - 1.0)) == [(i, i + 1) for i in range(4)]
    assert conv.exact_parts(np.full((1, 5), limit - 1.0)) == []


@pytest.mark.parametrize("channels", [517, 519, 1100, 5000])
def test_large_sums_are_exact(channels):
    """127 * 255 * 518 is just below 2**24; the last channel makes the sum odd."""
    weights = np.full((2, channels), 127)
    weights[1, ::2] = -127
    weights[0, -1] = 1
    node, p, source, target = dense(weights)
    x = np.full((1, channels, 1, 1), 255, np.int16)
    want = [int(row.sum()) * 255 for row in weights]
    assert conv.accumulate(node, p, x, source, target).reshape(-1).tolist() == want
    wide = np.full((1, channels, 2, 3), 255, np.int16)  # maps larger than a pixel go another way
    got = conv.accumulate(node, p, wide, source, target)
    assert (got == np.array(want)[None, :, None, None]).all()


def test_float32_beyond_its_bound_would_be_wrong(monkeypatch):
    """The decision matters: without it, the same layer comes out wrong."""
    weights = np.full((1, 5000), 127)
    weights[0, -1] = 1
    node, p, source, target = dense(weights)
    x = np.full((1, 5000, 1, 1), 255, np.int16)
    want = int(weights.sum()) * 255
    assert conv.accumulate(node, p, x, source, target).item() == want
    node, p, source, target = dense(weights)  # nothing prepared for it yet
    monkeypatch.setattr(conv, "EXACT_FLOAT32", 2**40)
    assert conv.accumulate(node, p, x, source, target).item() != want


def test_prepared_weights_are_kept_no_longer_than_their_parameters(monkeypatch):
    """A second batch finds them, other parameters at the same place do not, and there is an end to the room."""
    weights = np.arange(-6, 6).reshape(3, 4)
    node, p, source, target = dense(weights)
    x = np.array([1, 20, 3, 200], np.int16).reshape(1, 4, 1, 1)
    before = len(conv._kept)
    for _ in range(2):
        assert conv.accumulate(node, p, x, source, target).reshape(-1).tolist() == (weights @ x.reshape(-1)).tolist()
        assert len(conv._kept) == before + 1
    with pytest.raises(ValueError, match="read-only"):
        p.weights.mantissas[0] = 1
    first = conv.prepared(p, source)
    assert conv.prepared(p, source) is first
    wider = BlockFormat(4, False, (0, 4), (0,))  # another bound
    assert conv.prepared(p, wider) is not first
    del p, first
    assert len(conv._kept) == before
    monkeypatch.setattr(conv, "KEPT_BYTES", 0)
    node, p, source, target = dense(-weights)
    assert conv.accumulate(node, p, x, source, target).reshape(-1).tolist() == (-weights @ x.reshape(-1)).tolist()
    assert len(conv._kept) == before


def test_aligned_groups_count_with_their_shift():
    """An alignment shift of 12 takes 127 * 255 past 2**24; the sum stays exact."""
    source = BlockFormat(8, False, (0, 1, 2), (12, 0))
    target = BlockFormat(8, True, (0, 1), (20,))
    blocks = Weights(8, np.array([[127, 1]], np.int8)[:, :, None, None], (0, 2), np.zeros((1, 1), np.int64))
    node = Node("fc", "conv", ("in",), "out")
    p = derive(node, source, target, None, blocks, np.zeros(1))
    assert p.align_shift.tolist() == [[12, 0]]
    got = conv.accumulate(node, p, np.array([255, 255], np.int16).reshape(1, 2, 1, 1), source, target)
    assert got.item() == (127 * 255 << 12) + 255
