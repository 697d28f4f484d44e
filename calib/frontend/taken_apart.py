"""Maps that are put side by side, go through the same layers of single pixels, and are taken apart again: each by itself.

    y = act(norm(conv(torch.cat([rows, columns], 2))))     # a 1x1 convolution, as coordinate attention has it
    rows, columns = y.split([h, w], 2)

In the program's graph each part gets those layers of its own, with the same weights, and the concatenation is gone.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate

import torch
from torch.fx import Graph, Node as FxNode
from torch.fx.node import map_arg

from calib.frontend.translation import axis, bind, operator_name, shape_of

# of every element for itself, or of those of each pixel
ELEMENTWISE = frozenset(
    "relu relu6 hardtanh clamp clamp_min clamp_max leaky_relu prelu elu selu celu gelu silu hardswish hardsigmoid sigmoid tanh mish "
    "softplus log_sigmoid abs neg square pow dropout contiguous clone detach add sub mul div".split()
)
NORMS = frozenset("batch_norm _native_batch_norm_legit_no_training".split())
SPLITS = frozenset("split split_with_sizes chunk tensor_split unsafe_split unsafe_chunk".split())


def apart(graph: Graph) -> None:
    """Rewrite every concatenation along rows or columns all of whose readers are such layers, with a split behind them."""
    found = [node for node in graph.nodes if _name(node) == "cat" and len(shape_of(node)) >= 3]
    for joined in found:
        along = axis(bind(joined)["dim"], len(shape_of(joined)))
        region = _region(joined, along) if along >= 2 else None
        if region is not None:
            _rewrite(joined, along, *region)
    if found:
        graph.eliminate_dead_code()


def _name(node: FxNode) -> str:
    return operator_name(node).removeprefix("aten.").rstrip("_") if node.op == "call_function" else ""


def _starts(joined: FxNode, along: int) -> list[int]:
    """Where each part begins, and where the last one ends."""
    return [0, *accumulate(shape_of(part)[along] for part in bind(joined)["tensors"])]


def _region(joined: FxNode, along: int) -> tuple[list[FxNode], dict[FxNode, tuple[FxNode, int]]] | None:
    """The layers behind a concatenation, in order, and what is taken of them: of which value, which part; None where there is more."""
    starts = _starts(joined, along)
    region, taken = [joined], {}
    for node in joined.graph.nodes:
        operands = [v for v in node.all_input_nodes if v in region]
        if not operands:
            continue
        part = _part(node, along, starts)
        if part is not None:
            taken[node] = operands[0], part
        elif _name(node) in SPLITS and _sizes(node, along) == starts:
            taken.update({user: (operands[0], user.args[1]) for user in node.users})
        elif _by_pixels(node, region, along):
            region.append(node)
        else:
            return None
    return (region, taken) if len(region) > 1 and taken else None


def _sizes(node: FxNode, along: int) -> list[int] | None:
    """Where the parts of a split begin, and where the last one ends; None where it is of another axis."""
    a = bind(node)
    if axis(a["dim"], len(shape_of(node.args[0]))) != along:
        return None
    return [0, *accumulate(part.shape[along] for part in node.meta["val"])]


def _part(node: FxNode, along: int, starts: list[int]) -> int | None:
    """Which part a slice is."""
    if _name(node) not in ("slice", "narrow"):
        return None
    a = bind(node)
    if axis(a["dim"], len(shape_of(a["self"]))) != along or a.get("step", 1) != 1:
        return None
    start, size = a["start"] or 0, shape_of(node)[along]
    start = start + shape_of(a["self"])[along] if start < 0 else start
    return starts.index(start) if start in starts[:-1] and starts[starts.index(start) + 1] == start + size else None


def _by_pixels(node: FxNode, region: list[FxNode], along: int) -> bool:
    """Whether a call computes each pixel from that pixel alone, and is the same along the axis."""
    name, shape = _name(node), shape_of(node) if node.op == "call_function" else ()
    if name in NORMS:
        return node.args[0] in region
    if name in ("conv1d", "conv2d"):
        a = bind(node)
        single = all(n == 1 for n in shape_of(a["weight"])[2:]) and all(n == 1 for n in a["stride"])
        return a["input"] in region and single and a["padding"] in ("valid", "same", [0], [0, 0], (0,), (0, 0))
    if name not in ELEMENTWISE or name == "dropout" and bind(node)["train"]:
        return False
    others = [v for v in node.all_input_nodes if v not in region]
    alike = [shape_of(v)[along - len(shape) :] for v in others]  # of their axes, that one and those behind it
    return all(len(shape_of(v)) < len(shape) - along or found[0] == 1 for v, found in zip(others, alike) if found)


def _rewrite(joined: FxNode, along: int, region: list[FxNode], taken: dict[FxNode, tuple[FxNode, int]]) -> None:
    """Give each part the layers of its own, and those who read a part that one."""
    parts = bind(joined)["tensors"]
    made: list[dict[FxNode, FxNode]] = [{joined: part} for part in parts]
    for node in region[1:]:
        for own in made:
            with joined.graph.inserting_before(node):
                own[node] = _copy(node, own)
    for node, (value, part) in taken.items():
        node.replace_all_uses_with(made[part][value])


def _copy(node: FxNode, own: dict[FxNode, FxNode]) -> FxNode:
    """A call with other operands, and of the same layer."""

    def operand(value: FxNode) -> FxNode:
        return own.get(value, value)

    target: Callable = node.target
    copy = node.graph.call_function(target, map_arg(node.args, operand), map_arg(node.kwargs, operand))
    shape = list(shape_of(node))
    first = next(v for v in node.all_input_nodes if v in own)
    shape[2:] = shape_of(own[first])[2:]
    copy.meta = {**node.meta, "val": torch.empty(shape, dtype=node.meta["val"].dtype, device="meta")}
    return copy
