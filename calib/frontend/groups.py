"""Grouped convolutions as dense ones: of slices that hold whole groups, as few channels in each as a memory word."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bfp.graph import Node
from calib.frontend.builder import Draft
from calib.frontend.gathers import on_a_word, segments, word_count, words


def lower_groups(draft: Draft) -> None:
    """Replace every grouped convolution."""
    for name, groups in list(draft.groups.items()):
        node = next((n for n in draft.nodes if n.name == name), None)
        del draft.groups[name]
        if node is None:
            continue
        if draft.weights[name][0].shape[1] == 1 and draft.shapes[node.main][0] > draft.word:
            _several_filters_a_channel(draft, node, groups)
        else:
            _in_slices(draft, node, groups)


def _in_slices(draft: Draft, node: Node, groups: int) -> None:
    """Block-diagonal weights over slices of the operand's channels; the results are placed side by side."""
    weight, bias = draft.weights[node.name]
    inputs, outputs = weight.shape[1], len(weight) // groups
    count = _groups_a_slice(draft, node, groups)
    place, parts = draft.nodes.index(node), []
    added = []
    for number, first in enumerate(range(0, groups, count)):
        held = min(count, groups - first)
        filters = slice(first * outputs, (first + held) * outputs)
        dense = np.zeros((held * outputs, held * inputs, *weight.shape[2:]), weight.dtype)
        for g in range(held):
            rows = slice(g * outputs, (g + 1) * outputs)
            dense[rows, g * inputs : (g + 1) * inputs] = weight[filters][rows]
        if count >= groups:
            draft.weights[node.name] = dense, bias
            return
        part = _slice(draft, node, f"{node.name}.in{number}", first * inputs, held * inputs)
        name = draft.unique(f"{node.name}.{number}")
        draft.shapes[name] = (held * outputs, *draft.shapes[node.output][1:])
        draft.weights[name] = dense, bias[filters]
        added += [part, replace(node, name=name, inputs=(part.output,), output=name)]
        parts.append(name)
    joined = Node(node.name, "concat", tuple(parts), node.output, source=node.source)
    draft.weights.pop(node.name)
    draft.trained.pop(node.name, None)
    draft.nodes[place : place + 1] = [*added, joined]


def _slice(draft: Draft, node: Node, name: str, start: int, count: int) -> Node:
    """A node, not yet in the draft, that takes adjacent channels of the operand of ``node``."""
    name = draft.unique(name)
    draft.shapes[name] = (count, *draft.shapes[node.main][1:])
    return Node(name, "slice_pad", (node.main,), name, channel_offset=-start, source=node.source)


def _groups_a_slice(draft: Draft, node: Node, groups: int) -> int:
    """Groups to compute together, so that words are multiplied and copied least; of equal numbers the largest."""
    weight = draft.weights[node.name][0]
    inputs, outputs = weight.shape[1], len(weight) // groups
    area = node.window.kernel[0] * node.window.kernel[1]
    before = draft.producer(node.main)
    # each slice of what a dense convolution makes starts in a fresh word, and is read in place
    free = before is not None and before.weighted and not before.operator.weights.per_channel
    whole, starts = words(draft, node.main), segments(draft, node.main)

    def cost(count: int) -> int:
        total = 0
        for first in range(0, groups, count):
            held = min(count, groups - first)
            read = word_count(draft, held * inputs)
            total += read * word_count(draft, held * outputs) * area
            ends = (first * inputs, (first + held) * inputs)
            copied = not free and count < groups and not all(on_a_word(draft, starts, end) for end in ends)
            total += whole * read if copied else 0
        return total

    return min(range(1, groups + 1), key=lambda count: (cost(count), -count))


def _several_filters_a_channel(draft: Draft, node: Node, groups: int) -> None:
    """Depthwise convolutions of the same operand, one for each filter of a channel; the results are put in order."""
    weight, bias = draft.weights.pop(node.name)
    draft.trained.pop(node.name, None)
    filters = len(weight) // groups
    place, parts = draft.nodes.index(node), []
    added = []
    for number in range(filters):
        name = draft.unique(f"{node.name}.{number}")
        draft.shapes[name] = (groups, *draft.shapes[node.output][1:])
        draft.weights[name] = weight[number::filters], bias[number::filters]
        added.append(replace(node, name=name, op="depthwise", output=name))
        parts.append(name)
    joined = draft.unique(f"{node.name}.parts")
    draft.shapes[joined] = draft.shapes[node.output]
    added.append(Node(joined, "concat", tuple(parts), joined, source=node.source))
    order = np.arange(len(weight)).reshape(filters, groups).T.reshape(-1)
    one_hot = np.zeros((len(weight), len(weight), 1, 1), np.float32)
    one_hot[np.arange(len(weight)), order] = 1
    added.append(Node(node.name, "conv", (joined,), node.output, source=node.source))
    draft.weights[node.name] = one_hot, np.zeros(len(weight), np.float32)
    draft.gathers.add(node.name)
    draft.nodes[place : place + 1] = added
