"""Rewrites of a draft network. Each one keeps the float function and removes work for the engine."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bfp.activations import composed
from bfp.graph import Node, Window
from calib.frontend.builder import Draft
from calib.frontend.branches import into_branches
from calib.frontend.enlarging import bring_forward
from calib.frontend.folding import fold_into_producers, fold_into_readers, merge_branches, move_behind_products
from calib.frontend.gathers import join_parts, settle
from calib.frontend.groups import lower_groups
from calib.frontend.shuffles import store_by_reader


def simplify(draft: Draft) -> None:
    """All passes, in the order in which they build on one another."""
    drop_unused(draft)
    drop_without_effect(draft)
    merge_slice_pads(draft)
    bring_forward(draft)
    into_branches(draft)
    fold_into_producers(draft)
    join_parts(draft)
    drop_unused(draft)
    fold_into_producers(draft)
    fuse_padding(draft)
    merge_branches(draft)
    fold_into_producers(draft)
    move_behind_products(draft)
    fold_into_readers(draft)
    fuse_activations(draft)
    lower_groups(draft)
    store_by_reader(draft)
    drop_unused(draft)
    settle(draft)
    fuse_shortcuts(draft)
    isolate_indices(draft)
    nest_concats(draft)
    copy_concat_inputs(draft)
    separate_outputs(draft)


def drop_unused(draft: Draft) -> None:
    """Remove nodes that no output depends on."""
    needed = set(draft.outputs)
    for node in reversed(draft.nodes):
        if node.output in needed:
            needed.update(node.inputs)
    for node in [n for n in draft.nodes if n.output not in needed]:
        draft.remove(node)
        draft.shapes.pop(node.output)


def drop_without_effect(draft: Draft) -> None:
    """Remove slices of everything, padding by nothing and poolings of one pixel."""
    for node in list(draft.nodes):
        node = draft.current(node)
        idle = node.operator.idle_at_one_pixel and node.activation == "none"
        same = node.window == Window() and draft.shapes[node.output] == draft.shapes[node.main]
        if idle and same and node.channel_offset == 0:
            draft.bypass(node, node.main)


def merge_slice_pads(draft: Draft) -> None:
    """Merge chains of slices and paddings, where one stride, crop, padding and channel offset says the same."""
    for first in list(draft.nodes):
        first = draft.current(first)
        while first is not None and first.op == "slice_pad":
            second = draft.only_consumer(first.output)
            if second is None or second.op != "slice_pad":
                break
            merged = _compose(draft, first, second)
            if merged is None:
                break
            window, offset = merged
            draft.absorb(first, second, window=window, channel_offset=offset)
            first = draft.current(first)


def _compose(draft: Draft, first: Node, second: Node) -> tuple[Window, int] | None:
    """Window and channel offset of two slice_pad nodes in a row; None where no single one is equal."""
    shape, between, after = (draft.shapes[t] for t in (first.main, first.output, second.output))
    stride, low, high = [], [], []
    for axis in (0, 1):
        inner = _places(shape[1 + axis], first.window, axis, between[1 + axis])
        outer = _places(between[1 + axis], second.window, axis, after[1 + axis])
        step = first.window.stride[axis] * second.window.stride[axis]
        before = first.window.padding[axis] + second.window.padding[axis] * first.window.stride[axis]
        behind = (after[1 + axis] - 1) * step + 1 - shape[1 + axis] - before
        stride.append(step)
        low.append(before)
        high.append(behind)
        chained = np.where(outer >= 0, inner[np.maximum(outer, 0)], -1)
        if max(-before, 0) + max(-behind, 0) >= shape[1 + axis]:
            return None  # nothing but padding is left, and a crop must leave something
        window = Window((1, 1), (step, step), (before, before, behind, behind))
        if not np.array_equal(chained, _places(shape[1 + axis], window, axis, after[1 + axis])):
            return None
    inner, outer = np.arange(between[0]) - first.channel_offset, np.arange(after[0]) - second.channel_offset
    inner = np.where((inner >= 0) & (inner < shape[0]), inner, -1)
    chained = np.where((outer >= 0) & (outer < between[0]), inner[np.clip(outer, 0, between[0] - 1)], -1)
    offset = first.channel_offset + second.channel_offset
    direct = np.arange(after[0]) - offset
    if not -shape[0] < offset < after[0]:
        return None
    if not np.array_equal(chained, np.where((direct >= 0) & (direct < shape[0]), direct, -1)):
        return None
    return Window((1, 1), (stride[0], stride[1]), (low[0], low[1], high[0], high[1])), offset


def _places(size: int, window: Window, axis: int, count: int) -> np.ndarray:
    """Along one axis, the input index that each output index shows, -1 for padding; int [count]."""
    index = np.arange(count) * window.stride[axis] - window.padding[axis]
    return np.where((index >= 0) & (index < size), index, -1)


def fuse_padding(draft: Draft) -> None:
    """Zero padding of rows and columns goes into the window of the convolution behind it."""
    for node in list(draft.nodes):
        node = draft.current(node)
        conv = draft.only_consumer(node.output)
        if node.op != "slice_pad" or conv is None or not conv.weighted:
            continue
        plain = node.window.stride == (1, 1) and min(node.window.padding) >= 0 and node.channel_offset == 0
        if not plain or draft.shapes[node.main][0] != draft.shapes[node.output][0]:
            continue
        padding = tuple(a + b for a, b in zip(node.window.padding, conv.window.padding))
        source = tuple(dict.fromkeys(node.source + conv.source))
        draft.substitute(conv, replace(conv, window=replace(conv.window, padding=padding), source=source))
        draft.bypass(node, node.main)


def fuse_activations(draft: Draft) -> None:
    """An activation goes into the node that computes its operand, if nothing else reads that operand."""
    for node in list(draft.nodes):
        node = draft.current(node)
        if node.op != "identity" or node.activation == "none":
            continue
        before = draft.producer(node.main)
        if before is None or not before.operator.computes or draft.only_consumer(before.output) is not node:
            continue
        if before.operator.has_function:
            continue  # what a table makes is not touched again
        target = _before_max_pools(draft, before)
        # ReLU of ReLU6, ReLU6 of ReLU and the like: the narrower one alone
        both = composed(target.act, node.act)
        if both is None:
            continue
        source = tuple(dict.fromkeys(target.source + node.source))
        draft.substitute(target, replace(target, activation=both.name, source=source))
        draft.bypass(node, before.output)


def _before_max_pools(draft: Draft, node: Node) -> Node:
    """Where the activation of ``node`` may be computed as well: it commutes with max pooling.

    In front of the pool it makes the larger tensor non-negative, which is worth a bit of precision.
    """
    while node.op == "max_pool" and node.activation == "none":
        before = draft.producer(node.main)
        if before is None or not before.operator.computes or draft.only_consumer(before.output) is not node:
            break
        if before.operator.has_function:
            break  # what a table makes is not touched again
        node = before
    return node


def fuse_shortcuts(draft: Draft) -> None:
    """A sum goes into the convolution that computes one of its operands; the other one is its shortcut.

    Of two candidates it is the later one, since its shortcut is ready first.
    The convolution moves to the place of the sum: nothing between reads it.
    """
    for node in list(draft.nodes):
        node = draft.current(node)
        if node.op != "add" or node.inputs[0] == node.inputs[1] or not _alike(draft, node):
            continue
        candidates = [
            n
            for n in draft.nodes
            if n.output in node.inputs
            and "shortcut" in n.operator.optional
            and n.operator.join is node.operator.join
            and n.activation == "none"
            and n.shortcut is None
            and draft.only_consumer(n.output) is node
        ]
        if not candidates:
            continue
        conv = candidates[-1]
        other = node.inputs[1] if node.inputs[0] == conv.output else node.inputs[0]
        place = draft.nodes.index(node)
        draft.nodes.insert(place, draft.nodes.pop(draft.nodes.index(conv)))
        draft.absorb(conv, node, inputs=(conv.main, other), activation=node.activation)


def _alike(draft: Draft, node: Node) -> bool:
    """Whether all operands have one shape: none is broadcast."""
    return len({draft.shapes[t] for t in node.inputs}) == 1


def isolate_indices(draft: Draft) -> None:
    """What indexes a table is computed for that alone, with rounding of its own; otherwise it is copied first."""
    for node in list(draft.nodes):
        if not node.operator.has_function:
            continue
        before = draft.producer(node.main)
        alone = before is not None and draft.only_consumer(node.main) is node and before.op != "upsample_bilinear"
        if alone and before.operator.computes and not before.operator.keeps_exponents and not before.operator.has_function:
            continue
        name = draft.unique(f"{node.name}.index")
        draft.shapes[name] = draft.shapes[node.main]
        draft.nodes.insert(draft.nodes.index(node), Node(name, "identity", (node.main,), name, source=node.source))
        draft.substitute(node, replace(node, inputs=(name,)))


def nest_concats(draft: Draft) -> None:
    """A concatenation that begins with all of an earlier one holds that one, so that what grows is stored once."""
    open_ones: dict[tuple[str, ...], str] = {}
    placed = {t for node in draft.nodes if not node.operator.computes for t in node.inputs}
    for node in list(draft.nodes):
        if node.operator.computes:
            continue
        flat = node.inputs
        count = next((k for k in range(len(flat), 1, -1) if flat[:k] in open_ones), 0)
        if count == len(flat):
            draft.bypass(node, open_ones[flat])
            continue
        if count:
            draft.substitute(node, replace(node, inputs=(open_ones.pop(flat[:count]), *flat[count:])))
        if node.output not in placed:
            open_ones[flat] = node.output


def copy_concat_inputs(draft: Draft) -> None:
    """Copy what cannot be written straight into a concatenation: the inputs, and tensors already in one."""
    placed: set[str] = set(draft.inputs)
    for node in list(draft.nodes):
        if node.operator.computes:
            continue
        inputs = []
        for tensor in node.inputs:
            if tensor in placed:
                name = draft.unique(f"{node.name}.copy")
                copy = Node(name, "identity", (tensor,), name, source=node.source)
                draft.shapes[name] = draft.shapes[tensor]
                draft.nodes.insert(draft.nodes.index(node), copy)
                tensor = name
            placed.add(tensor)
            inputs.append(tensor)
        draft.substitute(node, replace(node, inputs=tuple(inputs)))


def separate_outputs(draft: Draft) -> None:
    """Each output gets a tensor of its own that a node computes: copied where it is an input, or another output as well."""
    taken = set(draft.inputs)
    outputs = []
    for tensor in draft.outputs:
        if tensor in taken:
            name = draft.unique("copy")
            draft.shapes[name] = draft.shapes[tensor]
            draft.nodes.append(Node(name, "identity", (tensor,), name))
            tensor = name
        taken.add(tensor)
        outputs.append(tensor)
    draft.outputs = tuple(outputs)
