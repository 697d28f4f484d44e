"""Concatenations: what is done to all of one is done to its branches."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate

from bfp.graph import Node, Window
from bfp.operators import Channels
from calib.frontend.builder import Draft


def into_branches(draft: Draft) -> None:
    """What is done to each element of a concatenation is done to its branches, where layers with weights make all of these.

    Their weights, or their rounding, take it in then, and nothing passes over the whole map once more.
    """
    for node in list(draft.nodes):
        node = draft.current(node)
        joined = draft.producer(node.main)
        alone = node.operator.channels is Channels.KEPT and len(node.inputs) == 1 and node.window == Window()
        elementwise = alone and (node.name in draft.affine or not node.weighted)
        if not elementwise or joined is None or joined.operator.computes:
            continue
        makers = [draft.producer(t) for t in joined.inputs]
        only = draft.only_consumer(joined.output) is node and len(set(joined.inputs)) == len(joined.inputs)
        if not only or not all(m and m.weighted and draft.only_consumer(m.output) is joined for m in makers):
            continue
        ends = [0, *accumulate(draft.shapes[t][0] for t in joined.inputs)]
        parts = tuple(_part(draft, node, *part) for part in zip(joined.inputs, ends, ends[1:]))
        draft.substitute(joined, replace(joined, inputs=parts))
        draft.bypass(node, joined.output)


def _part(draft: Draft, node: Node, branch: str, first: int, stop: int) -> str:
    """The same of one branch, behind what makes it."""
    name = draft.unique(f"{node.name}.{branch}")
    place = draft.nodes.index(draft.producer(branch)) + 1
    draft.nodes.insert(place, replace(node, name=name, inputs=(branch,), output=name))
    draft.shapes[name] = draft.shapes[branch]
    if node.name in draft.weights:
        draft.weights[name] = tuple(values[first:stop] for values in draft.weights[node.name])
    if node.name in draft.affine:
        draft.affine.add(name)
    return name
