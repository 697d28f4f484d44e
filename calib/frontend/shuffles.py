"""Channels stored in the order in which they are read, where shuffles and splits hand parts of them on.

In a chain of blocks that each read half of the channels, shuffle, and hand the other half on (ShuffleNetV2), a channel
is read by one block and only carried by those before it. Here every convolution puts its filters in the order of who
reads them, so that no block copies or reads what is meant for another one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bfp.graph import Node
from calib.frontend.builder import Draft
from calib.frontend.gathers import channels_taken, in_place, word_count, words

LAYER = 1500  # products of words in the time that a layer takes at least, roughly
Channel = tuple[str, int]  # of a tensor that is computed: its name, and which


@dataclass(frozen=True)
class Reader:
    """A node that computes with channels, and those that it needs, in its operand's order."""

    node: Node
    needed: tuple[Channel, ...]


@dataclass(frozen=True)
class Class:
    """Channels that the same readers need, and no others: by tensor, which of its channels."""

    readers: list[Reader]
    parts: dict[str, list[int]]


def store_by_reader(draft: Draft) -> None:
    """Rewrite every set of convolutions that are read through choices of channels, where that costs less."""
    for names in _connected(draft, _origins(draft)):
        origins = _origins(draft)
        readers = _readers(draft, origins, names)
        if readers is None or not all(_reorders(draft, name) for name in names):
            continue
        classes = _classes(names, readers, draft)
        if classes is not None and _cost_after(draft, classes) < _cost_before(draft, names, readers, origins):
            _rewrite(draft, classes)


def _moves(draft: Draft, node: Node) -> bool:
    """Whether a node only brings channels to new places."""
    if not node.operator.computes:
        return True
    order = channels_taken(draft, node)
    return order is not None and bool((order >= 0).all())


def _origins(draft: Draft) -> dict[str, list[Channel]]:
    """Of every tensor, which computed channel each of its channels is."""
    found = {t: [(t, c) for c in range(draft.shapes[t][0])] for t in draft.inputs}
    for node in draft.nodes:
        if not node.operator.computes:
            found[node.output] = [channel for t in node.inputs for channel in found[t]]
        elif _moves(draft, node):
            found[node.output] = [found[node.main][c] for c in channels_taken(draft, node)]
        else:
            found[node.output] = [(node.output, c) for c in range(draft.shapes[node.output][0])]
    return found


def _connected(draft: Draft, origins: dict[str, list[Channel]]) -> list[list[str]]:
    """Computed tensors, in groups that meet in some operand; only groups of which channels are chosen somewhere."""
    root: dict[str, str] = {}

    def find(name: str) -> str:
        while root.setdefault(name, name) != name:
            name = root[name]
        return name

    chosen = set()
    for node in draft.nodes:
        if _moves(draft, node):
            leaves = list(dict.fromkeys(name for name, _ in origins[node.output]))
            for name in leaves[1:]:
                root[find(name)] = find(leaves[0])
            chosen.update(leaves if node.operator.computes else ())
    groups: dict[str, list[str]] = {}
    for node in draft.nodes:
        if node.output in root:
            groups.setdefault(find(node.output), []).append(node.output)
    return [names for names in groups.values() if chosen & set(names)]


def _reorders(draft: Draft, tensor: str) -> bool:
    """Whether the filters that make a tensor may stand in any order."""
    node = draft.producer(tensor)
    plain = node is not None and node.weighted and not node.operator.weights.per_channel and not node.shortcut
    return plain and node.name not in draft.groups and tensor not in draft.outputs


def _readers(draft: Draft, origins: dict[str, list[Channel]], names: list[str]) -> list[Reader] | None:
    """Who computes with channels of these tensors; None where one of them cannot do with another order."""
    found, own = [], set(names)
    for node in draft.nodes:
        if _moves(draft, node) or not any(own & {name for name, _ in origins[t]} for t in node.inputs):
            continue
        if not node.weighted or len(node.inputs) > 1 or node.name in draft.groups:
            return None
        needed = tuple(origins[node.main])
        if len(set(needed)) < len(needed):
            return None
        found.append(Reader(node, needed))
    if any(name in own for tensor in draft.outputs for name, _ in origins[tensor]):
        return None
    return found


def _classes(names: list[str], readers: list[Reader], draft: Draft) -> list[Class] | None:
    """Channels by who reads them; None where a reader needs those of two classes."""
    by: dict[Channel, list[int]] = {}
    for number, reader in enumerate(readers):
        for channel in reader.needed:
            by.setdefault(channel, []).append(number)
    found: dict[tuple[int, ...], dict[str, list[int]]] = {}
    for name in names:
        for c in range(draft.shapes[name][0]):
            if (name, c) in by:
                found.setdefault(tuple(by[name, c]), {}).setdefault(name, []).append(c)
    count = {key: sum(map(len, parts.values())) for key, parts in found.items()}
    for reader in readers:
        if any(len(reader.needed) != count[tuple(by[channel])] for channel in reader.needed):
            return None
    return [Class([readers[n] for n in key], found[key]) for key in sorted(found)]


def _area(draft: Draft, node: Node) -> int:
    """Products of each word of weights in one image."""
    _, height, width = draft.shapes[node.output]
    return height * width * node.window.kernel[0] * node.window.kernel[1]


def _reading(draft: Draft, node: Node, count: int) -> int:
    """Products of words of a node that reads ``count`` words."""
    return count * _area(draft, node) * (1 if node.operator.weights.per_channel else words(draft, node.output))


def _cost_before(draft: Draft, names: list[str], readers: list[Reader], origins: dict[str, list[Channel]]) -> int:
    total = sum(_reading(draft, r.node, words(draft, r.node.main)) for r in readers)
    total += sum(_reading(draft, draft.producer(name), words(draft, draft.producer(name).main)) for name in names)
    for node in draft.nodes:
        if _moves(draft, node) and node.operator.computes and origins[node.output][0][0] in names:
            if not in_place(draft, node) and not _taken_in(draft, node):
                total += LAYER + words(draft, node.main) * words(draft, node.output) * _area(draft, node)
    return total


def _taken_in(draft: Draft, node: Node) -> bool:
    """Whether whoever reads a choice of channels makes it itself: convolutions, and other choices."""
    readers = [n for n in draft.nodes if node.output in n.inputs]
    mixes = [n.weighted and not n.operator.weights.per_channel for n in readers]
    return all(mixed or channels_taken(draft, n) is not None for mixed, n in zip(mixes, readers))


def _cost_after(draft: Draft, classes: list[Class]) -> int:
    total, parts_of = 0, _parts_of(classes)
    for group in classes:
        counts = [word_count(draft, len(channels)) for channels in group.parts.values()]
        total += sum(_reading(draft, r.node, sum(counts)) for r in group.readers)
        for name, count in zip(group.parts, counts):
            maker, (_, height, width) = draft.producer(name), draft.shapes[name]
            total += words(draft, maker.main) * count * _area(draft, maker)
            if len(group.parts) > 1 and parts_of[name] > 1:
                total += LAYER + count * count * height * width
    return total


def _parts_of(classes: list[Class]) -> dict[str, int]:
    """Into how many parts each tensor is divided."""
    found: dict[str, int] = {}
    for group in classes:
        for name in group.parts:
            found[name] = found.get(name, 0) + 1
    return found


def _rewrite(draft: Draft, classes: list[Class]) -> None:
    """Order the filters, take slices, and give each reader its own tensor."""
    parts_of, done = _parts_of(classes), {}
    for group in classes:
        readers, parts = group.readers, group.parts
        place = min(draft.nodes.index(draft.current(r.node)) for r in readers)
        taken, added = [], []
        for name, channels in parts.items():
            start = done.get(name, 0)
            done[name] = start + len(channels)
            part = name
            if parts_of[name] > 1:
                part = draft.unique(f"{readers[0].node.name}.from.{name}")
                draft.shapes[part] = (len(channels), *draft.shapes[name][1:])
                source = draft.producer(name).source
                added.append(Node(part, "slice_pad", (name,), part, channel_offset=-start, source=source))
            taken.append(part)
        operand = taken[0]
        if len(taken) > 1:
            operand = draft.unique(f"{readers[0].node.name}.operand")
            draft.shapes[operand] = (sum(map(len, parts.values())), *draft.shapes[taken[0]][1:])
            added.append(Node(operand, "concat", tuple(taken), operand, source=readers[0].node.source))
        draft.nodes[place:place] = added
        for reader in readers:
            _read(draft, reader, operand, [(name, c) for name, channels in parts.items() for c in channels])
    for name in done:
        maker, order = draft.producer(name), [c for group in classes for c in group.parts.get(name, ())]
        weight, bias = draft.weights[maker.name]
        draft.weights[maker.name] = weight[order], bias[order]
        draft.shapes[name] = (len(order), *draft.shapes[name][1:])
        draft.trained.pop(maker.name, None)


def _read(draft: Draft, reader: Reader, operand: str, order: list[Channel]) -> None:
    """Let a reader have the channels in another order; one filter a channel gives its result in that order."""
    node, at = draft.current(reader.node), {channel: c for c, channel in enumerate(reader.needed)}
    columns = np.array([at[channel] for channel in order])
    weight, bias = draft.weights[node.name]
    if not node.operator.weights.per_channel:
        draft.substitute(node, replace(node, inputs=(operand,)))
        draft.weights[node.name] = weight[:, columns], bias
        return
    result = draft.unique(f"{node.name}.result")
    draft.shapes[result] = draft.shapes[node.output]
    place = draft.nodes.index(node)
    draft.substitute(node, replace(node, inputs=(operand,), output=result))
    draft.weights[node.name] = weight[columns], bias[columns]
    draft.trained.pop(node.name, None)
    name = draft.unique(f"{node.name}.ordered")
    one_hot = np.zeros((len(columns), len(columns), 1, 1), np.float32)
    one_hot[columns, np.arange(len(columns))] = 1
    draft.nodes.insert(place + 1, Node(name, "conv", (result,), node.output, source=node.source))
    draft.weights[name] = one_hot, np.zeros(len(columns), np.float32)
    draft.gathers.add(name)
