"""A node computed of a few images at a time.

Memory for all images at once would be asked of the operating system anew for every intermediate result, and cleared page
by page; what a few images need is used again, and stays in the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch

from bfp.graph import Graph, Node

PART_VALUES = 1 << 20  # of the node's largest operand or result; four megabytes


def parts(graph: Graph, node: Node, operands: list[torch.Tensor]) -> Iterator[tuple[slice, list[torch.Tensor]]]:
    """The node's operands [N, C, H, W] a few images at a time, and which these are."""
    largest = max(int(np.prod(graph.shapes[t])) for t in (*node.inputs, node.output))
    count, size = len(operands[0]), max(1, PART_VALUES // largest)
    ends = np.linspace(0, count, -(-count // size) + 1).round().astype(int).tolist()  # of about the same size
    for start, stop in zip(ends, ends[1:]):
        yield slice(start, stop), [x[start:stop] for x in operands]


def in_parts(
    compute: Callable[..., torch.Tensor], graph: Graph, node: Node, *operands: torch.Tensor, into: torch.Tensor | None = None
) -> torch.Tensor:
    """``compute(*operands)`` of images that do not depend on each other, [N, C', OH, OW].

    operands: tensors [N, C, H, W]. into: where the result goes; it may be an operand.
    """
    for part, some in parts(graph, node, operands):
        found = compute(*some)
        if into is None:
            into = found.new_empty((len(operands[0]), *found.shape[1:]))
        into[part] = found
    return into
