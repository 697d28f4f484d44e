"""Rewrites of a draft that bring constants into weights: scales and shifts of channels, and parallel convolutions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bfp.graph import Node, Window
from bfp.operators import Channels, Join, Scaling
from calib.frontend.builder import Draft

NEUTRAL = 1e-6  # what a factor of 1 is off by that is a product of numbers with eight digits


def fold_into_producers(draft: Draft) -> None:
    """Scale and shift of channels go into the convolution in front of them, in float64."""
    for node in list(draft.nodes):
        node = draft.current(node)
        if node is None or node.name not in draft.affine or node.window != Window():
            continue  # around what is scaled there are zeros, which are not
        scale, shift = (a.reshape(-1) for a in draft.weights[node.name])
        conv = _in_front(draft, node, bool((scale > 0).all() and not shift.any()))
        if conv is None:
            continue
        weight, bias = (a.astype(np.float64) for a in draft.weights[conv.name])
        draft.weights[conv.name] = weight * scale[:, None, None, None], bias * scale + shift
        draft.gathers.discard(conv.name)
        adjacent = conv.output == node.main
        if adjacent and node.name in draft.trained:
            draft.trained[conv.name] = draft.trained[node.name]
        elif conv.name in draft.trained:
            draft.trained[conv.name] = draft.trained[conv.name].scaled(scale, shift)
        if adjacent:
            draft.absorb(conv, node)
        else:
            draft.substitute(conv, replace(conv, source=tuple(dict.fromkeys(conv.source + node.source))))
            draft.bypass(node, node.main)
    _drop_neutral(draft)


def _drop_neutral(draft: Draft) -> None:
    """Factors that have come to 1 in float32, as of a function that is written out and what it is divided by, go."""
    for node in [n for n in draft.nodes if n.name in draft.affine and n.activation == "none" and n.window == Window()]:
        scale, shift = draft.weights[node.name]
        if np.abs(scale - 1).max() <= NEUTRAL and not shift.any():
            draft.bypass(node, node.main)


def _in_front(draft: Draft, node: Node, passes: bool) -> Node | None:
    """The convolution that can take in what ``node`` does to its result, None where there is none.

    passes: positive factors alone, which may go through whatever hands them on.
    """
    while True:
        before = draft.producer(node.main)
        if before is None or draft.only_consumer(before.output) is not node:
            return None
        if before.weighted:
            return before if before.activation == "none" or passes and before.act.scaling is Scaling.PASSES else None
        kind = before.operator
        handed_on = kind.scaling is Scaling.PASSES and before.act.scaling is Scaling.PASSES
        if not (passes and handed_on and kind.channels is Channels.KEPT and len(before.inputs) == 1):
            return None
        node = before


def move_behind_products(draft: Draft) -> None:
    """A scale of a factor becomes one of the product, where the convolutions that read that take it in."""
    for node in list(draft.nodes):
        node = draft.current(node)
        if node is None or node.name not in draft.affine or draft.weights[node.name][1].any():
            continue
        product = draft.only_consumer(node.output)
        if product is None or product.operator.join is not Join.PRODUCT or product.inputs.count(node.output) != 1:
            continue
        readers = [n for n in draft.nodes if product.output in n.inputs]
        if product.output in draft.outputs or not readers or not all(n.weighted for n in readers):
            continue
        channels, name = draft.shapes[product.output][0], draft.unique(f"{node.name}.scale")
        scale, shift = (np.broadcast_to(a.reshape(-1), channels) for a in draft.weights[node.name])
        for reader in readers:
            inputs = tuple(name if t == product.output else t for t in reader.inputs)
            draft.substitute(reader, replace(reader, inputs=inputs))
        draft.shapes[name] = draft.shapes[product.output]
        draft.weights[name] = scale.reshape(-1, 1, 1, 1).copy(), shift.copy()
        draft.affine.add(name)
        place = draft.nodes.index(product) + 1
        draft.nodes.insert(place, Node(name, "depthwise", (product.output,), name, source=node.source))
        draft.bypass(node, node.main)


def fold_into_readers(draft: Draft) -> None:
    """Scale and shift of channels go into the convolutions behind them, where no zero padding meets a shift."""
    for node in list(draft.nodes):
        node = draft.current(node)
        if node is None or node.name not in draft.affine or node.output in draft.outputs:
            continue
        scale, shift = (a.reshape(-1) for a in draft.weights[node.name])
        readers = [n for n in draft.nodes if node.output in n.inputs]
        if not readers or not all(_takes(n, shift) for n in readers):
            continue
        for reader in readers:
            weight, bias = (a.astype(np.float64) for a in draft.weights[reader.name])
            groups = draft.groups.get(reader.name, 1)
            factors, constants = (_along_inputs(reader, len(weight), groups, v) for v in (scale, shift))
            draft.weights[reader.name] = weight * factors, bias + (weight * constants).sum(axis=(1, 2, 3))
            draft.gathers.discard(reader.name)
            source = tuple(dict.fromkeys(node.source + reader.source))
            # zeros that were around the operand are the reader's own then
            padding = tuple(a + b for a, b in zip(node.window.padding, reader.window.padding))
            draft.substitute(reader, replace(reader, window=replace(reader.window, padding=padding), source=source))
        draft.bypass(node, node.main)


def _takes(reader: Node, shift: np.ndarray) -> bool:
    """Whether a reader's weights can take in a scale and this shift of its operand's channels."""
    return reader.weighted and (max(reader.window.padding) <= 0 or not shift.any())


def _along_inputs(reader: Node, filters: int, groups: int, values: np.ndarray) -> np.ndarray:
    """One value for each input channel, shaped to broadcast over the weights of a convolution in groups."""
    if groups == 1:
        return reader.operator.weights.along_inputs(values)
    return np.repeat(values.reshape(groups, -1), filters // groups, axis=0)[:, :, None, None]


def merge_branches(draft: Draft) -> None:
    """Two convolutions of one operand whose results are added become one, where that costs no more than both."""
    for node in list(draft.nodes):
        node = draft.current(node)
        if node is None or node.op != "add" or node.inputs[0] == node.inputs[1]:
            continue
        if draft.shapes[node.inputs[0]] != draft.shapes[node.inputs[1]]:
            continue  # one of them is broadcast
        branches = [draft.producer(t) for t in node.inputs]
        if not all(b is not None and _plain(draft, b, node) for b in branches):
            continue
        first, second = sorted(branches, key=draft.nodes.index)
        window = _union(draft, first, second)
        if window is None:
            continue
        weights = [_widened(draft, b, window, first.op == second.op) for b in (first, second)]
        kept = first if first.op == second.op or not first.operator.weights.per_channel else second
        name = second if kept is first else first
        draft.weights[kept.name] = tuple(sum(parts) for parts in zip(*weights))
        source = tuple(dict.fromkeys(first.source + second.source))
        draft.affine.discard(kept.name)
        draft.trained.pop(kept.name, None)
        merged = replace(kept, window=window, source=source)
        draft.substitute(kept, merged)
        draft.bypass(name, merged.output)
        draft.absorb(merged, draft.current(node))


def _plain(draft: Draft, branch: Node, reader: Node) -> bool:
    """Whether nothing but ``reader`` sees the branch, whose weights alone make it."""
    alone = draft.only_consumer(branch.output) is reader
    return alone and branch.weighted and branch.activation == "none" and branch.name not in draft.gathers


def _union(draft: Draft, first: Node, second: Node) -> Window | None:
    """The window of both branches, None where they see different maps or one kernel costs more than two."""
    a, b = first.window, second.window
    same = first.main == second.main and a.stride == b.stride and a.dilation == b.dilation == (1, 1)
    if not same or draft.groups.get(first.name, 1) != draft.groups.get(second.name, 1):
        return None
    size, result = draft.shapes[first.main][1:], draft.shapes[first.output][1:]
    kernel, before, behind = [], [], []
    for axis in (0, 1):
        low = max(a.padding[axis], b.padding[axis])
        extent = max(w.kernel[axis] - w.padding[axis] for w in (a, b)) + low
        kernel.append(extent)
        before.append(low)
        behind.append((result[axis] - 1) * a.stride[axis] + extent - size[axis] - low)
    area = kernel[0] * kernel[1]
    areas = [w.kernel[0] * w.kernel[1] for w in (a, b)]
    dense = [n for n, branch in zip(areas, (first, second)) if not branch.operator.weights.per_channel]
    if area > sum(dense or areas):
        return None
    return Window((kernel[0], kernel[1]), a.stride, (before[0], before[1], behind[0], behind[1]))


def _widened(draft: Draft, branch: Node, window: Window, alike: bool) -> tuple[np.ndarray, np.ndarray]:
    """Weights and biases of a branch in the window of both; one filter a channel becomes dense unless both are such."""
    weight, bias = (a.astype(np.float64) for a in draft.weights[branch.name])
    if branch.operator.weights.per_channel and not alike:
        count = len(weight)
        full = np.zeros((count, count, *weight.shape[2:]))
        full[np.arange(count), np.arange(count)] = weight[:, 0]
        weight = full
    top, left = (window.padding[axis] - branch.window.padding[axis] for axis in (0, 1))
    found = np.zeros((*weight.shape[:2], *window.kernel))
    found[:, :, top : top + weight.shape[2], left : left + weight.shape[3]] = weight
    return found, bias
