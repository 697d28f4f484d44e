"""Maps whose every pixel becomes several: repeated, or one from each of several channels; and what goes in front of that."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from torch.fx import Node as FxNode

from bfp.graph import Node, Shape
from bfp.limits import MAX_FACTOR
from bfp.operators import Channels
from calib.frontend.builder import Draft
from calib.frontend.gathers import channels_taken

if TYPE_CHECKING:
    from calib.frontend.translation import Translation

SHUFFLE, REPEAT, INTERPOLATE = "depth_to_space", "upsample_nearest", "upsample_bilinear"


@dataclass(frozen=True)
class Enlarged:
    """How a map becomes a larger one. order: int64 [C', rows, columns], the channel that each of these pixels is of."""

    order: np.ndarray

    @property
    def factors(self) -> tuple[int, int]:
        """By which rows and columns grow."""
        return self.order.shape[1], self.order.shape[2]

    @property
    def repeats(self) -> bool:
        """Whether all pixels that one becomes are equal."""
        return bool((self.order == self.order[:, :1, :1]).all())


def enlarged(index: np.ndarray, shape: Shape) -> Enlarged | None:
    """What a map [C', H', W'] of elements of a map of ``shape`` is, None where it is not its pixels side by side."""
    channels, height, width = index.shape
    factors = height // shape[1], width // shape[2]
    whole = height % shape[1] == width % shape[2] == 0 and 1 < factors[0] * factors[1]
    whole = whole and None not in map(factors_of, factors)
    if shape[1:] == (1, 1) or not whole or (index < 0).any():
        return None
    apart = index.reshape(channels, shape[1], factors[0], shape[2], factors[1]).transpose(0, 2, 4, 1, 3)
    order, pixel = apart // (shape[1] * shape[2]), apart % (shape[1] * shape[2])
    in_place = (pixel == np.arange(shape[1] * shape[2]).reshape(shape[1:])).all()
    return Enlarged(order[..., 0, 0]) if in_place and (order == order[..., :1, :1]).all() else None


def enlarge(t: Translation, fx: FxNode, tensor: str, found: Enlarged) -> str:
    """The larger map; channels are brought into their order first."""
    wanted = found.order[:, 0, 0] if found.repeats else found.order.transpose(1, 2, 0).reshape(-1)
    if not np.array_equal(wanted, np.arange(t.draft.shapes[tensor][0])):
        weight = np.zeros((len(wanted), t.draft.shapes[tensor][0], 1, 1), np.float32)
        weight[np.arange(len(wanted)), wanted] = 1
        tensor = t.node(fx, "conv", (tensor,), len(wanted), (weight, np.zeros(len(wanted), np.float32)))
        t.draft.gathers.add(tensor)
    op = REPEAT if found.repeats else SHUFFLE
    if max(found.factors) <= MAX_FACTOR:
        return larger(t, fx, op, tensor, found.factors)
    # one after the other: the phases of each are those of all that follow, one behind the other
    rows, columns = map(factors_of, found.factors)
    for factors in (*((f, 1) for f in rows), *((1, f) for f in columns)):
        tensor = larger(t, fx, op, tensor, factors)
    return tensor


def larger(t: Translation, fx: FxNode, op: str, tensor: str, factors: tuple[int, int]) -> str:
    """A node that enlarges a map."""
    channels, height, width = t.draft.shapes[tensor]
    count = channels // (factors[0] * factors[1]) if op == SHUFFLE else channels
    name = t.node(fx, op, (tensor,), count, factors=factors)
    t.draft.shapes[name] = count, height * factors[0], width * factors[1]
    return name


def factors_of(size: int) -> list[int] | None:
    """Factors of a size by which a map may grow one after the other, none for 1; None where it has a larger prime one."""
    found = []
    while size > 1:
        factor = max((f for f in range(2, MAX_FACTOR + 1) if size % f == 0), default=None)
        if factor is None:
            return None
        found.append(factor)
        size //= factor
    return found


def bring_forward(draft: Draft) -> None:
    """What is done to every pixel of an enlarged map alike is done before it grows, where fewer or as many are to do."""
    for node in list(draft.nodes):
        node = draft.current(node)
        waiting = [node] if node is not None and _movable(draft, node) else []
        while waiting:
            waiting += _before(draft, waiting.pop())


def _movable(draft: Draft, node: Node) -> bool:
    """Whether a node does something to every channel for itself, whichever pixel it is."""
    alone = len(node.inputs) == 1 and node.output not in draft.outputs
    return alone and (node.name in draft.affine or node.op == "identity" or node.operator.has_function)


def _before(draft: Draft, node: Node) -> list[Node]:
    """The nodes that a movable one becomes in front of its operand's producer; none where it stays."""
    before = draft.producer(node.main)
    if before is None or before.activation != "none" or draft.only_consumer(before.output) is not node:
        return []
    count = draft.shapes[node.output][0]
    if before.op == "upsample_bilinear" and node.name not in draft.affine:
        return []  # what is no scale or shift is another function of means
    if before.operator.enlarges:
        phases = draft.shapes[before.main][0] // count if before.operator.channels is Channels.PHASED else 1
        return [_moved(draft, node, before, before.main, node.name, np.tile(np.arange(count), phases))]
    if before.op == "slice_pad" and max(before.window.padding) <= 0 and draft.shapes[before.main][0] == count:
        if before.channel_offset == 0:
            return [_moved(draft, node, before, before.main, node.name, np.arange(count))]
    order = channels_taken(draft, before) if before.name in draft.gathers else None
    if order is not None and np.array_equal(np.sort(order), np.arange(draft.shapes[before.main][0])):
        return [_moved(draft, node, before, before.main, node.name, np.argsort(order))]
    joins = [n for n in draft.nodes if node.output in n.inputs]
    phases = len(joins) == 1 and joins[0].operator.channels is Channels.PHASED
    alone = all(draft.only_consumer(t) is before and before.inputs.count(t) == 1 for t in before.inputs)
    if before.operator.channels is not Channels.JOINED or not phases or not alone:
        return []
    return _in_branches(draft, node, before)


def _in_branches(draft: Draft, node: Node, joined: Node) -> list[Node]:
    """A node behind a concatenation, in each of its branches."""
    made, start = [], 0
    for number, tensor in enumerate(joined.inputs):
        stop = start + draft.shapes[tensor][0]
        name = draft.unique(f"{node.name}.{number}")
        made.append(_copy(draft, node, tensor, name, np.arange(start, stop)))
        start = stop
    place = draft.nodes.index(joined)
    draft.nodes[place:place] = made
    draft.substitute(joined, replace(joined, inputs=tuple(n.output for n in made), output=node.output))
    _forget(draft, node)
    draft.shapes.pop(joined.output)
    return made


def _moved(draft: Draft, node: Node, before: Node, tensor: str, name: str, channels: np.ndarray) -> Node:
    """``node`` in front of ``before``: channel c of its operand ``tensor`` is its own channel ``channels[c]``."""
    copy = _copy(draft, node, tensor, draft.unique(f"{name}.before"), channels)
    draft.nodes.insert(draft.nodes.index(before), copy)
    draft.substitute(before, replace(before, inputs=(copy.output,), output=node.output))
    _forget(draft, node)
    draft.shapes.pop(before.output)
    return copy


def _copy(draft: Draft, node: Node, tensor: str, name: str, channels: np.ndarray) -> Node:
    """A node like another one for some of its channels, not yet in the draft."""
    draft.shapes[name] = draft.shapes[tensor]
    if node.name in draft.affine:
        draft.affine.add(name)
        draft.weights[name] = tuple(a[channels] for a in draft.weights[node.name])
        if node.name in draft.trained:
            known = draft.trained[node.name]
            draft.trained[name] = replace(known, mean=known.mean[channels], deviation=known.deviation[channels])
    return replace(node, name=name, inputs=(tensor,), output=name)


def _forget(draft: Draft, node: Node) -> None:
    draft.remove(node)
    draft.affine.discard(node.name)
