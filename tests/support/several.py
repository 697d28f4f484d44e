"""Modules with several outputs and inputs, as networks have them, and what of their values is theirs."""

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
    "values and places": ["l1", "places"],
}


class Pair(nn.Module):
    """Two images of one size through one trunk, and what it says of both."""

    def __init__(self, left=3, right=3):
        super().__init__()
        torch.manual_seed(4)
        self.first, self.second = conv(left, 6, padding=1), conv(right, 6, padding=1)
        self.shared, self.head = conv(6, 8), nn.Linear(8, 4)

    def forward(self, left, right):
        a, b = (F.relu(self.shared(F.relu(layer(x)))) for layer, x in ((self.first, left), (self.second, right)))
        return {"scores": self.head((a - b).mean((2, 3))), "map": torch.maximum(a, b)}


class Gated(nn.Module):
    """One input is read late, and as it is; a third may be left out."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(5)
        self.trunk, self.last = conv(2, 4, padding=1), conv(5, 3)

    def forward(self, image, depth, scale=2.0):
        return self.last(torch.cat([F.relu(self.trunk(image)) * scale, depth], 1)), depth + 1


class Signals(nn.Module):
    """Two sequences, one after the other."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(6)
        self.trunk = nn.Conv1d(5, 4, 3)

    def forward(self, a, b):
        return self.trunk(torch.cat([a, b], 1))


INPUTS = {
    "pair": (Pair(), {"left": (3, 8, 10), "right": (3, 8, 10)}),
    "other channels": (Pair(4, 1), {"left": (4, 7, 5), "right": (1, 7, 5)}),
    "another order": (Pair(4, 1), {"right": (1, 7, 5), "left": (4, 7, 5)}),
    "a default": (Gated(), {"image": (2, 6, 6), "depth": (1, 6, 6)}),
    "sequences": (Signals(), {"a": (2, 12), "b": (3, 12)}),
}


def drawn(shapes, count=4, seed=0):
    """Images of each input, by name."""
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(count, *shape, generator=generator) for name, shape in shapes.items()}


def together(images):
    """The channels of all inputs as one image; a sequence is a map of one row."""
    return torch.cat([x[:, :, None] if x.ndim == 3 else x for x in images.values()], dim=1)


def leaves(module, images):
    """The tensors that a module returns, in order, float64; images: one batch, or one of each input by name."""
    with torch.no_grad():
        found = _pytree.tree_leaves(module(**images) if isinstance(images, dict) else module(images.clone()))
    return [x.double().numpy() for x in found if isinstance(x, torch.Tensor)]
