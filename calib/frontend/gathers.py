"""Rewrites of a draft that let neighbours choose and reorder channels: a convolution's weights do that for nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bfp.graph import Node, Window
from calib.frontend.builder import Draft


def segments(draft: Draft, tensor: str) -> tuple[int, ...]:
    """Channels of a tensor at which a fresh memory word begins, and their number.

    Each branch of a concatenation starts in one, and each slice of what a dense convolution makes.
    """
    node, channels = draft.producer(tensor), draft.shapes[tensor][0]
    if node is not None and not node.operator.computes:
        starts = np.cumsum([0, *(draft.shapes[t][0] for t in node.inputs)])
        return *(int(start) + s for start, t in zip(starts, node.inputs) for s in segments(draft, t)[:-1]), channels
    if node is None or not _mixes(node):
        return 0, channels
    taken = [adjacent(draft, n) for n in draft.nodes if tensor in n.inputs]
    return tuple(sorted({0, channels, *(end for ends in taken if ends for end in ends)}))


def words(draft: Draft, tensor: str) -> int:
    """Memory words of one pixel of a tensor."""
    starts = segments(draft, tensor)
    return sum(word_count(draft, stop - start) for start, stop in zip(starts, starts[1:]))


def adjacent(draft: Draft, node: Node) -> tuple[int, int] | None:
    """First and last channel (exclusive) where a node only takes adjacent channels."""
    order = channels_taken(draft, node) if node.op == "slice_pad" else None
    if order is None or order[0] < 0 or order[-1] < 0:
        return None
    return int(order[0]), int(order[-1]) + 1


def in_place(draft: Draft, node: Node) -> bool:
    """Whether a node is a slice that is read where its operand lies: it shares no memory word, and no concatenation reads it."""
    ends = adjacent(draft, node)
    readers = [n for n in draft.nodes if node.output in n.inputs]
    if ends is None or node.output in draft.outputs or not all(n.operator.computes for n in readers):
        return False
    starts = segments(draft, node.main)
    return all(on_a_word(draft, starts, end) for end in ends)


def on_a_word(draft: Draft, starts: tuple[int, ...], channel: int) -> bool:
    """Whether a memory word begins with this channel, or ends before it; starts: of the tensor's segments."""
    return channel in starts or (channel - max(s for s in starts if s <= channel)) % draft.word == 0


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


def join_parts(draft: Draft) -> None:
    """All parts of a tensor, scaled and shifted each for itself and placed side by side, become one scale and shift."""
    for node in list(draft.nodes):
        node = draft.current(node)
        if node is None or node.operator.computes:
            continue
        found = [_scaled_part(draft, draft.producer(t), node) for t in node.inputs]
        if None in found or len({part.main for part, _, _ in found}) != 1:
            continue
        order = np.concatenate([channels_taken(draft, part) for part, _, _ in found])
        source = found[0][0].main
        if not np.array_equal(order, np.arange(draft.shapes[source][0])):
            continue
        scale, shift = (np.concatenate([f[i] for f in found]) for i in (1, 2))
        draft.substitute(node, Node(node.name, "depthwise", (source,), node.output, source=node.source))
        draft.weights[node.name] = scale.reshape(-1, 1, 1, 1), shift
        draft.affine.add(node.name)


def _scaled_part(draft: Draft, node: Node | None, reader: Node) -> tuple[Node, np.ndarray, np.ndarray] | None:
    """A choice of channels, and what it is multiplied by and gets added before ``reader``, its only one, sees it."""
    scale, shift = None, None
    if node is not None and node.name in draft.affine and draft.only_consumer(node.output) is reader:
        scale, shift = (a.reshape(-1) for a in draft.weights[node.name])
        node = draft.producer(node.main)
    if node is None or channels_taken(draft, node) is None:
        return None
    count = draft.shapes[node.output][0]
    return node, np.ones(count) if scale is None else scale, np.zeros(count) if shift is None else shift


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
    before = words(draft, conv.output)
    copied = sum(count for reader, count in zip(readers, wanted) if not in_place(draft, reader))
    if own * sum(wanted) > own * before + before * copied or (not copied and sum(wanted) >= before):
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
    if order is None or not readers or node.output in draft.outputs or in_place(draft, node):
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
