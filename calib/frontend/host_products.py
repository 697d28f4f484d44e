"""Products with matrices that the host computes: linear layers, convolutions that add up bins, prototypes of masks."""

from __future__ import annotations

import numpy as np
from torch.fx import Node as FxNode

from calib.frontend.host_program import Handler, HostProgram
from calib.frontend.host_values import HostValue, NoHost, combined, constant, reshaped, written
from calib.frontend.translation import pair, shape_of

MOST_FILTER = 2**12  # weights of a convolution that the host computes: what adds up bins, and no layer of the network


def product(h: HostProgram, x: HostValue, weight: HostValue) -> HostValue:
    """The product of a value's last axis and a constant matrix [inputs, outputs]."""
    rank = max(len(x.shape), 2)
    rows = x if len(x.shape) >= 2 else reshaped(x, (1, *x.shape))
    matrix = reshaped(weight, (1,) * (rank - 2) + weight.shape)
    shape = (*rows.shape[:-1], weight.shape[1])
    found = HostValue(shape, x.batched, (rows, matrix), "matmul")
    return found if len(x.shape) >= 2 else reshaped(found, shape[1:])


def matmul(h: HostProgram, fx: FxNode, a: dict) -> HostValue:
    """The product with a constant matrix, or vector, on either side; or of two computed matrices."""
    first, second = (h.known.value(v) for v in fx.args[:2])
    if first is None and second is None:
        return of_two(h, fx)
    weight = _matrix(first if second is None else second)
    x = h.value(fx.args[1] if second is None else fx.args[0])
    if second is not None:
        found = product(h, x, constant(weight if weight.ndim == 2 else weight[:, None]))
        return found if weight.ndim == 2 else reshaped(found, found.shape[:-1])
    if len(x.shape) < 2 or weight.ndim < 2:
        raise NoHost("a product of a vector and a constant matrix in front is not supported")
    front = reshaped(constant(weight), (1,) * (len(x.shape) - 2) + weight.shape)
    return HostValue((*x.shape[:-2], weight.shape[0], x.shape[-1]), x.batched, (front, x), "matmul")


def of_two(h: HostProgram, fx: FxNode) -> HostValue:
    """The product of two computed matrices, as of prototypes and coefficients of masks; attention is none of the host's."""
    if _near_softmax(fx):
        raise NoHost("attention is not supported")
    x, y = (h.value(v) for v in fx.args[:2])
    if x.batched != y.batched or len(x.shape) != len(y.shape) or len(x.shape) < 2:
        raise NoHost("a product of matrices of unlike shapes is not supported")
    return HostValue(shape_of(fx)[x.batched :], x.batched, (x, y), "matmul")


def _near_softmax(fx: FxNode) -> bool:
    """Whether a softmax is among what a call's operands are made of, or what is made of its result."""
    for reached in (lambda node: node.all_input_nodes, lambda node: node.users):
        seen, waiting = set(), [fx]
        while waiting:
            node = waiting.pop()
            if node not in seen:
                seen.add(node)
                waiting += reached(node)
        if any("softmax" in str(node.target) for node in seen):
            return True
    return False


def _matrix(weight: np.ndarray) -> np.ndarray:
    """A constant as one matrix or vector. Raises NoHost for several."""
    found = weight[0] if weight.ndim == 3 and weight.shape[0] == 1 else weight
    if found.ndim > 2:
        raise NoHost("a product with several matrices is not supported")
    return found


def linear(h: HostProgram, fx: FxNode, a: dict) -> HostValue:
    """A fully connected layer over the last axis."""
    x, weight = h.value(a["input"]), h.known.value(a["weight"])
    if weight is None:
        raise NoHost("weights that are computed from the image are not supported")
    found = product(h, x, constant(weight.T if weight.ndim == 2 else weight[:, None]))
    found = found if weight.ndim == 2 else reshaped(found, found.shape[:-1])
    return found if a["bias"] is None else combined("add", found, h.value(a["bias"]))


def convolution(h: HostProgram, fx: FxNode, a: dict) -> HostValue:
    """A convolution of single pixels and few weights, such as adds up the bins of a distribution."""
    x, weight = h.value(a["input"]), h.known.value(a["weight"])
    plain = weight is not None and weight.ndim == 4 and weight.shape[2:] == (1, 1) and weight.size <= MOST_FILTER and a["groups"] == 1
    if not plain or pair(a["stride"]) != (1, 1) or set(a["padding"]) != {0} or len(x.shape) != 3:
        raise NoHost("a convolution behind what the host computes is not supported")
    channels, height, width = x.shape
    rows = HostValue((height * width, channels), x.batched, (reshaped(x, (channels, height * width)),), steps=written("permute", 0, 2, 1))
    found = product(h, rows, constant(weight[:, :, 0, 0].T))
    if a["bias"] is not None:
        found = combined("add", found, h.value(a["bias"]))
    filters = weight.shape[0]
    return reshaped(HostValue((filters, height * width), x.batched, (found,), steps=written("permute", 0, 2, 1)), (filters, height, width))


PRODUCTS: dict[str, Handler] = {
    **dict.fromkeys(("matmul", "mm", "mv", "bmm"), matmul),
    "linear": linear,
    "conv2d": convolution,
}
