"""What the host moves: ATen operators that bring elements to other places, and those that put values together."""

from __future__ import annotations

import math

import torch
from torch.fx import Node as FxNode

from calib.frontend.host_program import HostProgram, Made, image_axis, plain_name
from calib.frontend.host_values import HostValue, NoHost, expanded, moved, reshaped, side_by_side, stepped, written
from calib.frontend.translation import bind, shape_of


def view(h: HostProgram, fx: FxNode, a: dict) -> HostValue:
    """The same elements in another shape; the batch goes where the shape has no axis of one index in front."""
    x, shape = h.value(fx.args[0]), shape_of(fx)
    name, dim = plain_name(fx), a.get("dim")
    if x.batched:
        dims = [dim] if isinstance(dim, int) else dim
        gone = name == "squeeze" and (dims is None or any(d % len(shape_of(fx.args[0])) == 0 for d in dims))
        new = name == "unsqueeze" and dim % len(shape) == 0
        batched = shape[:1] == (1,) and not gone and not new
        return reshaped(x, shape[1:] if batched else shape, batched)
    batched = name == "unsqueeze" and dim % len(shape) == 0
    return reshaped(x, shape[1:] if batched else shape, batched)


def flip(h: HostProgram, fx: FxNode, a: dict) -> HostValue:
    """Axes in the opposite order."""
    x = h.value(a["self"])
    return stepped(x, tuple(s for d in a["dims"] for s in written("flip", image_axis(x, d) + 1)))


def expand(h: HostProgram, fx: FxNode, a: dict) -> HostValue:
    """A value repeated along axes of one index."""
    x, shape = h.value(fx.args[0]), shape_of(fx)
    batched = x.batched and len(shape) == len(x.shape) + 1 and shape[0] == 1
    return HostValue(shape[batched:], batched, (expanded(x, shape[batched:]),))


def join(h: HostProgram, fx: FxNode, a: dict) -> HostValue:
    """Values side by side along an axis."""
    parts = [h.value(v) for v in a["tensors"]]
    rank = len(shape_of(fx))
    batched = any(p.batched for p in parts)
    axis = a["dim"] % rank - batched
    if axis < 0 or any(len(p.shape) + p.batched != rank for p in parts):
        raise NoHost("the batch axis must stay")
    parts = [p if p.batched == batched else reshaped(p, p.shape[batched:], batched) for p in parts]
    return side_by_side(parts, axis)


def stack(h: HostProgram, fx: FxNode, a: dict) -> HostValue:
    """Values side by side along a new axis."""
    parts = [h.value(v) for v in a["tensors"]]
    batched = any(p.batched for p in parts)
    axis = a["dim"] % len(shape_of(fx)) - batched
    if axis < 0:  # in front of the batch, which is one of an image's axes from then on
        return side_by_side([reshaped(p, (1, *(1,) * p.batched, *p.shape), False) for p in parts], 0)
    parts = [p if p.batched == batched else reshaped(p, p.shape[batched:], batched) for p in parts]
    return side_by_side([reshaped(p, (*p.shape[:axis], 1, *p.shape[axis:])) for p in parts], axis)


def move(h: HostProgram, fx: FxNode, a: dict) -> Made:
    """Any operator of one value that moves elements: it is run on their numbers."""
    x = h.value(fx.args[0])
    if any(h.known.value(v) is None for v in fx.all_input_nodes if v is not fx.args[0]):
        return _chosen(h, fx, x)
    full = (1,) * x.batched + x.shape
    numbers = torch.arange(math.prod(full)).reshape(full)

    def operand(node: FxNode) -> object:
        return numbers if node is fx.args[0] else torch.from_numpy(h.known.value(node)).to(node.meta["val"].dtype)

    args = torch.fx.node.map_arg(fx.args, operand)
    kwargs = dict(torch.fx.node.map_arg(fx.kwargs, operand))
    if plain_name(fx) in ("pad", "constant_pad_nd"):
        named = bind(fx)
        if named.get("mode", "constant") != "constant":
            raise NoHost("padding with other than numbers is not supported")
        result = torch.nn.functional.pad(numbers, list(named["pad"]), value=-1)
        return _moved(fx, x, result, float(named.get("value") or 0))
    else:
        result = fx.target(*args, **kwargs)
    if isinstance(result, (list, tuple)):
        return [_moved(fx, x, part) for part in result]
    return _moved(fx, x, result)


def _moved(fx: FxNode, x: HostValue, result: torch.Tensor, border: float = 0.0) -> HostValue:
    """What the numbers of a value's elements say was made of it; an axis 0 of one index stays the batch, unless it was chosen."""
    shape = tuple(result.shape)
    chosen = plain_name(fx) in ("select", "unbind", "index_select") and bind(fx)["dim"] % (len(x.shape) + x.batched) == 0
    batched = x.batched and shape[:1] == (1,) and not chosen
    return moved(x, result.numpy(), shape[batched:], batched, border)


def _chosen(h: HostProgram, fx: FxNode, x: HostValue) -> HostValue:
    """What lies along an axis at computed indices, as ``gather`` and ``index`` with one of them choose it."""
    a = bind(fx)
    if plain_name(fx) == "gather":
        at = h.value(a["index"])
        axis = image_axis(x, a["dim"])
        if at.batched != x.batched:
            raise NoHost("the batch axis must stay")
        for n, size in enumerate(at.shape):
            if n != axis and size != x.shape[n]:
                x = stepped(x, written("part", n + 1, 0, size), (*x.shape[:n], size, *x.shape[n + 1 :]))
        return HostValue(at.shape, at.batched, (x, at), "gather", axis + 1)
    if plain_name(fx) == "index_select":
        places, axis = a["index"], image_axis(x, a["dim"])
    elif plain_name(fx) == "index" and _of_only_image(h, x, a["indices"]):
        at = h.value(a["indices"][1])
        at = at if at.batched else reshaped(at, at.shape[1:], True)
        return reshaped(_lines(x, at, 0), shape_of(fx)[1:], True)
    elif plain_name(fx) == "index" and sum(v is not None for v in a["indices"]) == 1:
        axis, places = next((n, v) for n, v in enumerate(a["indices"]) if v is not None)
        axis = image_axis(x, axis)
    else:
        raise NoHost("elements at several computed places at once are not supported")
    at = h.value(places)
    if at.batched or places.meta["val"].dtype == torch.bool:
        raise NoHost("elements at places of each image are taken by gather alone")
    return reshaped(_lines(x, at, axis), (*x.shape[:axis], *at.shape, *x.shape[axis + 1 :]))


def _lines(x: HostValue, at: HostValue, axis: int) -> HostValue:
    """All that lies along an axis at the places of a list, the list in place of that axis."""
    count = math.prod(at.shape)
    line = reshaped(at, (1,) * axis + (count,) + (1,) * (len(x.shape) - axis - 1))
    return HostValue((*x.shape[:axis], count, *x.shape[axis + 1 :]), x.batched, (x, line), "gather", axis + 1)


def _of_only_image(h: HostProgram, x: HostValue, indices: list) -> bool:
    """Whether an index says the only image, and computed places of the axis behind it."""
    if not x.batched or len(indices) != 2 or None in indices:
        return False
    first, places = h.known.value(indices[0]), indices[1].meta["val"]
    return first is not None and not first.any() and places.ndim == 2 and places.shape[0] == 1


MOVES = {
    **dict.fromkeys("view reshape _unsafe_view flatten squeeze unsqueeze unflatten view_as reshape_as".split(), view),
    "flip": flip,
    **dict.fromkeys(("expand", "expand_as", "broadcast_to"), expand),
    **dict.fromkeys(("cat", "concat", "concatenate"), join),
    "stack": stack,
    **dict.fromkeys(
        "permute transpose t swapaxes swapdims movedim moveaxis numpy_T mT chunk split split_with_sizes tensor_split unsafe_chunk "
        "unsafe_split index roll rot90 repeat tile repeat_interleave pixel_shuffle pixel_unshuffle channel_shuffle "
        "native_channel_shuffle slice narrow select unbind index_select gather pad constant_pad_nd diagonal".split(),
        move,
    ),
}
