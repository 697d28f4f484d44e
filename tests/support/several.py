"""Modules with several outputs, as networks return them, and what of their values is theirs."""

from __future__ import annotations

from collections import namedtuple

import torch
import torch.nn.functional as F
from support.small_modules import Fn, conv
from torch import nn
from torch.utils import _pytree

Heads = namedtuple("Heads", "boxes scores")


def trunk(m, x):
    return F.relu(m[0](x))


def pooled(m, x):
    """A map that a fused pool leaves out where it is no output, and what is made of the pooled one."""
    y = trunk(m, x)
    return {"map": y, "low": m[1](F.max_pool2d(y, 2))}


def joined(m, x):
    """A branch of a concatenation, the concatenation and what reads it."""
    a, b = trunk(m, x), m[1](x)
    both = torch.cat([a, b], 1)
    return a, both, m[2](both)


def heads(m, x):
    """A vector of classes, one value, and a map, from one trunk; what the host computes behind two of them."""
    y = trunk(m, x)
    flat = y.mean((2, 3))
    return {"map": torch.sigmoid(m[3](y)), "classes": m[1](flat).softmax(-1), "value": m[2](flat)}


def tops(m, x):
    values, places = m[1](trunk(m, x).mean((2, 3))).topk(3)
    return values, {"places": places}


MODULES = {
    "tuple": Fn(lambda m, x: (trunk(m, x), m[1](trunk(m, x))), conv(), conv(4, 5)),
    "dict": Fn(pooled, conv(padding=1), conv(4, 5)),
    "named": Fn(lambda m, x: Heads(m[1](trunk(m, x)), m[2](trunk(m, x))), conv(), conv(4, 8, 1), conv(4, 3, 1)),
    "concatenation": Fn(joined, conv(padding=1), conv(cout=20, k=1), conv(24, 3)),
    "heads": Fn(heads, conv(), nn.Linear(4, 6), nn.Linear(4, 1), conv(4, 2, 1)),
    "values and places": Fn(tops, conv(), nn.Linear(4, 6)),
    "one twice": Fn(lambda m, x: (m[0](x), [m[0](x)]), conv()),
    "the input": Fn(lambda m, x: (x, m[0](x)), conv()),
    "a tail of a tail": Fn(lambda m, x: (s := m[0](x).mean((2, 3)).softmax(-1), s.argmax(-1, keepdim=True)), conv()),
    "residual": Fn(lambda m, x: (a := m[0](x), F.relu(a + x), m[1](a)), conv(3, 3, padding=1), conv()),
}
NAMES = {
    "tuple": ["l0", "l1"],
    "dict": ["map", "low"],
    "named": ["boxes", "scores"],
    "concatenation": ["l0", "cat", "l2"],
    "heads": ["map", "classes", "value"],
    "values and places": ["l1", "1.places"],
}


def leaves(module, images):
    """The tensors that a module returns, in order, float64."""
    with torch.no_grad():
        found = _pytree.tree_leaves(module(images.clone()))
    return [x.double().numpy() for x in found if isinstance(x, torch.Tensor)]
