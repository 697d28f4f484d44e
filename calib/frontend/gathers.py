"""Rewrites of a draft that let neighbours choose and reorder channels: a convolution's weights do that for nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bfp.graph import Node, Window
from calib.frontend.builder import Draft


def words(draft: Draft, tensor: str) -> int:
    """Memory words of one pixel of a tensor; each branch of a concatenation starts in a fresh one."""
    node = draft.producer(tensor)
    if node is not None and not node.operator.computes:
        return sum(words(draft, t) for t in node.inputs)
    return word_count(draft, draft.shapes[tensor][0])


def word_count(draft: Draft, channels: int) -> int:
    """Memory words that so many channels take."""
    return -(-channels // draft.word)


def channels_taken(draft: Draft, node: Node) -> np.ndarray | None:
    """The input channel of each output channel of a node that moves channels and does nothing else, -1 for zeros.

    None where it is no such node.
    """
    if node.window != Window() or node.activation != "none" or node.shortcut:
        return None
    if node.name in draft.gathers:
        weight = draft.weights[node.name][0][:, :, 0, 0]
        return np.where(weight.any(axis=1), weight.argmax(axis=1), -1)
    if node.op != "slice_pad":
        return None
    (origins,) = node.operator.origins(node, [draft.shapes[node.main][0]], draft.shapes[node.output][0])
    return origins


def settle(draft: Draft) -> None:
    """Every choice of channels goes into the convolutions in front of it or behind it, where that costs no more."""
    for node in list(draft.nodes):
        if draft.current(node) is not None:
            _into_producer(draft, draft.current(node))
    for node in list(draft.nodes):
        if draft.current(node) is not None:
            _into_readers(draft, draft.current(node))


def _into_producer(draft: Draft, conv: Node) -> None:
    """A convolution that is only read through choices of its channels becomes one convolution for each of them."""
    readers = [n for n in draft.nodes if conv.output in n.inputs]
    taken = [channels_taken(draft, n) for n in readers]
    dense = conv.weighted and not conv.operator.weights.per_channel and not conv.shortcut
    alone = dense and conv.name not in draft.groups and conv.output not in draft.outputs
    if not alone or not readers or any(t is None or (t < 0).any() for t in taken):
        return
    own = words(draft, conv.main) * conv.window.kernel[0] * conv.window.kernel[1]
    wanted = [word_count(draft, len(t)) for t in taken]
    before = word_count(draft, draft.shapes[conv.output][0])
    if own * sum(wanted) > own * before + before * sum(wanted):
        return
    weight, bias = draft.weights[conv.name]
    place = draft.nodes.index(conv)
    for number, (reader, order) in enumerate(zip(readers, taken)):
        name = draft.unique(f"{conv.name}.{number}") if len(readers) > 1 else draft.unique(f"{conv.name}.ordered")
        source = tuple(dict.fromkeys(conv.source + reader.source))
        part = replace(conv, name=name, output=reader.output, source=source)
        draft.nodes.insert(place + number, part)
        draft.weights[name] = weight[order], bias[order]
        draft.remove(reader)
    draft.remove(draft.current(conv))
    draft.shapes.pop(conv.output)


def _into_readers(draft: Draft, node: Node) -> None:
    """A choice of channels that only convolutions read goes into their weights."""
    order = channels_taken(draft, node)
    readers = [n for n in draft.nodes if node.output in n.inputs]
    if order is None or not readers or node.output in draft.outputs:
        return
    if not all(_mixes(n) and n.name not in draft.groups and node.output not in n.inputs[1:] for n in readers):
        return
    before, after = words(draft, node.main), word_count(draft, len(order))
    pixels = draft.shapes[node.output][1] * draft.shapes[node.output][2]
    added = 0
    for reader in readers:
        channels, height, width = draft.shapes[reader.output]
        area = reader.window.kernel[0] * reader.window.kernel[1]
        added += (before - after) * word_count(draft, channels) * area * height * width
    if added > before * after * pixels:
        return
    for reader in readers:
        weight, bias = draft.weights[reader.name]
        full = np.zeros((len(weight), draft.shapes[node.main][0], *weight.shape[2:]), weight.dtype)
        used = order >= 0
        np.add.at(full, (slice(None), order[used]), weight[:, used])
        draft.weights[reader.name] = full, bias
        if len(np.unique(order[used])) < used.sum() or not used.all():
            draft.gathers.discard(reader.name)
    draft.bypass(node, node.main)


def _mixes(node: Node) -> bool:
    """Whether every filter has a weight for every channel."""
    return node.weighted and not node.operator.weights.per_channel
