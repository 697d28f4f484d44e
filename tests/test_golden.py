"""Golden model: each operator against loops over Python integers, in formats that no engine of words would take."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from support.plain_integers import Layer, channel_exponents, computed

from bfp import BfpError
from bfp.artifact import Artifact, Preprocessing, operand_formats
from bfp.format import BlockFormat, mantissa_range
from bfp.golden import logits, quantise_input, run
from bfp.golden.epilogue import epilogue
from bfp.golden.model import ACCUMULATE
from bfp.graph import Graph, Node, Window
from bfp.parameters import Weights, derive, prove

SEEDS = range(60)
ENLARGING = ("upsample_nearest", "upsample_bilinear", "depth_to_space")


# -- random nodes ------------------------------------------------------------------


def random_format(rng, channels: int, exponent: int, unsigned: bool) -> BlockFormat:
    cuts = sorted({0, channels, *rng.integers(1, channels + 1, int(rng.integers(0, 3))).tolist()})
    exponents = exponent + rng.integers(0, 4, len(cuts) - 1)
    return BlockFormat(int(rng.integers(2, 9)), not unsigned, tuple(cuts), tuple(int(e) for e in exponents))


def random_window(rng, op: str) -> Window:
    if op in (*PAIRS, "identity", "pad_edge", *ENLARGING):
        return Window()
    if op == "slice_pad":
        return Window((1, 1), tuple(rng.integers(1, 3, 2).tolist()), tuple(rng.integers(-1, 3, 4).tolist()))
    kernel = rng.integers(1, 4, 2).tolist()
    padding = [int(rng.integers(0, k)) for k in kernel * 2]
    if op == "conv" and rng.random() < 0.2:
        padding[int(rng.integers(4))] = -1
    if op != "avg_pool" and rng.random() < 0.3:
        dilation = tuple(rng.integers(1, 4, 2).tolist())
        around = [int(rng.integers(0, (k - 1) * d + 1)) for k, d in zip(kernel * 2, dilation * 2)]
        return Window(tuple(kernel), tuple(rng.integers(1, 3, 2).tolist()), tuple(around), dilation)
    return Window(tuple(kernel), tuple(rng.integers(1, 3, 2).tolist()), tuple(padding))


def random_node(op: str, rng):
    """Node, parameters and formats by tensor, proved; None where this draw has no output or too large a sum."""
    channels, height, width = int(rng.integers(1, 7)), *rng.integers(3, 7, 2).tolist()
    window = random_window(rng, op)
    filters = int(rng.integers(1, 6)) if op in ("conv", "slice_pad") else channels
    factors = tuple(rng.choice([1, 2, 4] if op == "upsample_bilinear" else [1, 2, 3], 2).tolist()) if op in ENLARGING else (1, 1)
    channels *= factors[0] * factors[1] if op == "depth_to_space" else 1
    edges = 2 if op == "pad_edge" else 0
    shape = (filters, *(n * factor + edges for n, factor in zip(window.output_size(height, width), factors)))
    blind = op == "max_pool" and not all(all(window.rows_seen(n, axis)) for axis, n in enumerate((height, width)))
    if min(shape) < 1 or blind:
        return None
    activation = str(rng.choice(["none", "relu", "relu6"]))
    if op in ("max_pool", "slice_pad", "avg_pool"):
        activation = "none" if op == "slice_pad" else str(rng.choice(["none", "relu"]))
    fused = op in PAIRS or (op in ("conv", "depthwise") and rng.random() < 0.5)
    counted = tuple(int(rng.integers(0, max(v, 0) + 1)) for v in window.padding) if op == "avg_pool" else (0, 0, 0, 0)
    offset = int(rng.integers(-3, 4)) if op == "slice_pad" else 0
    inputs = ("in", "extra") if fused else ("in",)
    node = Node("node", op, inputs, "out", window, activation, counted, offset, factors=factors)
    base = int(rng.integers(-9, 5))
    weights = bias = None
    formats = {"in": random_format(rng, channels, base, rng.random() < 0.4)}
    center = base
    if op == "depth_to_space":
        formats["in"] = replace(formats["in"], splits=(0, channels), exponents=(base,))
    if op in ("conv", "depthwise"):
        fan_in = channels if op == "conv" else 1
        bits = int(rng.integers(2, 9))
        low, high = mantissa_range(bits, True)
        mantissas = rng.integers(low, high + 1, (filters, fan_in, *window.kernel)).astype(np.int8)
        splits = tuple(sorted({0, fan_in, *rng.integers(1, fan_in + 1, 1).tolist()}))
        exponents = rng.integers(-6, -2, (filters, len(splits) - 1))
        weights = Weights(bits, mantissas, splits, exponents)
        bias = rng.normal(size=filters) * 4
        center = base - 6
    few = shape
    if op in PAIRS:
        few = tuple(shape[:1] if rng.random() < 0.6 else (1,)) + tuple(shape[1:] if rng.random() < 0.6 else (1, 1))
    if fused:
        formats["extra"] = random_format(rng, few[0], center + int(rng.integers(0, 5)), rng.random() < 0.4)
    if op == "multiply":
        center += min(formats["extra"].exponents) + 4
    if op == "max_pool":
        formats["out"] = formats["in"]
    else:
        formats["out"] = random_format(rng, filters, center + int(rng.integers(-3, 9)), activation != "none")
    shapes = {"in": (channels, height, width), "extra": few, "out": shape}
    try:
        p = derive(node, *operand_formats(node, formats), weights, bias)
        prove(Graph("", ("in",), ("out",), (), shapes), node, p, formats)
    except BfpError:
        return None
    return node, p, formats, shapes


PAIRS = ("add", "maximum", "minimum", "multiply")  # of two maps, the second of which may be broadcast
CORNERS = {
    "conv": {"relu cuts", "six clamps", "right", "left", "no shift", "half", "saturates high", "saturates low"},
    "depthwise": {"relu cuts", "six clamps", "right", "left", "no shift", "half", "saturates high", "saturates low"},
    "max_pool": {"relu cuts", "no shift"},
    "avg_pool": {"relu cuts", "right", "saturates high", "saturates low"},
    "maximum": {"relu cuts", "six clamps", "right", "left", "no shift", "half", "saturates high", "saturates low"},
    "minimum": {"relu cuts", "six clamps", "right", "left", "no shift", "half", "saturates high", "saturates low"},
    "multiply": {"relu cuts", "six clamps", "right", "left", "no shift", "half", "saturates high", "saturates low"},
    "add": {"relu cuts", "six clamps", "right", "left", "no shift", "half", "saturates high", "saturates low"},
    "identity": {"relu cuts", "six clamps", "right", "left", "no shift", "half", "saturates high"},
    "pad_edge": {"relu cuts", "six clamps", "right", "left", "no shift", "half", "saturates high"},
    "upsample_bilinear": {"relu cuts", "right", "half", "saturates high"},
    "upsample_nearest": {"relu cuts", "six clamps", "right", "left", "no shift", "half", "saturates high"},
    "depth_to_space": {"relu cuts", "six clamps", "right", "left", "no shift", "half", "saturates high"},
    "slice_pad": {"right", "left", "no shift", "half", "saturates high", "saturates low"},
}


@pytest.mark.parametrize("op", CORNERS)
def test_operator_equals_loops_over_python_integers(op):
    seen: Counter = Counter()
    for seed in SEEDS:
        rng = np.random.default_rng([seed, len(op)])
        drawn = next(d for d in (random_node(op, rng) for _ in range(100)) if d)
        node, p, formats, shapes = drawn
        source, target, extra = operand_formats(node, formats)
        x = rng.integers(source.low, source.high + 1, (2, *shapes["in"])).astype(np.int16)
        shortcut = None
        if node.shortcut:
            shortcut = rng.integers(extra.low, extra.high + 1, (2, *shapes["extra"])).astype(np.int16)
        got = epilogue(ACCUMULATE[op](node, p, x, source, target), node, p, target, shortcut)
        for n in range(2):
            side = None if shortcut is None else (shortcut[n].tolist(), channel_exponents(extra))
            want = computed(Layer(node, p, x[n].tolist(), source, target), side, scaled=False, seen=seen)
            assert np.array_equal(got[n], want), f"{op}, seed {seed}, image {n}: {node}"
        seen["aligned"] += bool(p.align_shift.any())
        seen["dilated"] += node.window.dilation != (1, 1)
        seen["asymmetric"] += node.window.padding[:2] != node.window.padding[2:]
        seen["counted in part"] += any(node.counted_padding) and node.counted_padding != node.window.padding
    expected = CORNERS[op] | ({"aligned", "asymmetric"} if op == "conv" else set())
    expected |= {"dilated"} if op in ("conv", "depthwise", "max_pool") else set()
    expected |= {"asymmetric", "counted in part"} if op == "avg_pool" else set()
    assert {corner for corner in expected if not seen[corner]} == set()


# -- whole networks ------------------------------------------------------------------


def two_branches() -> Artifact:
    """A concatenation of two copies of the input, at their own exponents."""
    shapes = {"in": (2, 2, 2), "a": (2, 2, 2), "b": (2, 2, 2), "cat": (4, 2, 2)}
    nodes = (
        Node("a", "identity", ("in",), "a"),
        Node("b", "identity", ("in",), "b"),
        Node("cat", "concat", ("b", "a"), "cat"),
    )
    formats = {
        "in": BlockFormat(8, True, (0, 2), (-4,)),
        "a": BlockFormat(8, True, (0, 2), (-3,)),
        "b": BlockFormat(8, True, (0, 2), (-5,)),
        "cat": BlockFormat(8, True, (0, 2, 4), (-5, -3)),
    }
    parameters = {n.name: derive(n, formats["in"], formats[n.output]) for n in nodes[:2]}
    pre = Preprocessing((2, 2), (0.0,), (1.0,))
    return Artifact.of_one(Graph("two", ("in",), ("cat",), nodes, shapes), formats, parameters, pre)


def test_a_network_keeps_what_was_asked_for_and_shows_every_tensor():
    artifact = two_branches()
    x = np.arange(-4, 4).reshape(1, 2, 2, 2)
    seen = {}
    kept = run(artifact, x, keep=["cat"], observe=seen.__setitem__)
    assert set(kept) == {"cat"} and set(seen) == {"in", "a", "b", "cat"}
    flat = x.reshape(-1)
    assert seen["a"].reshape(-1).tolist() == [(int(q) + 1) // 2 for q in flat]
    assert seen["b"].reshape(-1).tolist() == [2 * int(q) for q in flat]
    assert np.array_equal(kept["cat"], np.concatenate([seen["b"], seen["a"]], axis=1))
    values = np.concatenate([2 * flat / 32, ((flat + 1) // 2) / 8])
    assert logits(artifact, x).tolist() == [values.tolist()]


@pytest.mark.parametrize(
    "images, message",
    [
        (np.zeros((1, 2, 2, 3)), "takes images of shape (2, 2, 2), got (2, 2, 3)"),
        (np.zeros((2, 2, 2)), "takes images of shape"),
        (np.full((1, 2, 2, 2), np.nan), "holds NaN or infinity"),
    ],
)
def test_wrong_images_are_refused(images, message):
    with pytest.raises(BfpError) as error:
        quantise_input(two_branches(), images)
    assert message in str(error.value)


def test_input_is_quantised_half_up_and_saturates():
    images = np.array([0.0, 1 / 32, -1 / 32, 0.06, 100.0, -100.0, 7.9, -0.03]).reshape(1, 2, 2, 2)
    assert quantise_input(two_branches(), images).reshape(-1).tolist() == [0, 1, 0, 1, 127, -127, 126, 0]
