"""Small networks whose channels are multiplied by factors that the layers behind them undo: the same function."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn

KINDS = ("chain", "depthwise", "residual", "branches")


class Net(nn.Module):
    """A stem, what the kind says, and a classifier of averages."""

    def __init__(self, kind: str, seed: int, channels: int = 16) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.kind, c = kind, channels
        self.stem, self.expand = nn.Conv2d(3, c, 3, padding=1), nn.Conv2d(c, c, 1)
        self.depthwise, self.project = nn.Conv2d(c, c, 3, padding=1, groups=c), nn.Conv2d(c, c, 1)
        self.last = nn.Conv2d(c, c, 3, padding=1)
        self.classes = nn.Linear(2 * c if kind == "branches" else c, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        if self.kind == "chain":
            x = torch.relu(self.last(torch.relu(self.expand(x))))
        elif self.kind == "depthwise":
            x = self.project(torch.relu(self.depthwise(torch.relu(self.expand(x)))))
        elif self.kind == "residual":
            x = torch.relu(x + self.project(torch.relu(self.depthwise(torch.relu(self.expand(x))))))
            x = torch.relu(x + self.last(x))
        else:
            wide = torch.relu(self.expand(x))
            x = torch.cat([nn.functional.max_pool2d(wide, 2), nn.functional.avg_pool2d(torch.relu(self.last(x)), 2)], 1)
        return self.classes(x.mean((2, 3)))

    def scaled(self, draw) -> Net:
        """The same function; draw() gives factors, float64 [channels]."""
        made, a, b, c = copy.deepcopy(self).double(), draw(), draw(), draw()
        made.outputs(a, "stem").inputs(a, "expand")
        if self.kind == "chain":
            made.outputs(b, "expand").inputs(b, "last").outputs(c, "last").inputs(c, "classes")
        elif self.kind == "depthwise":
            made.outputs(b, "expand").inputs(b, "depthwise").outputs(c, "depthwise").inputs(c, "project")
            made.outputs(a, "project").inputs(a, "classes")
        elif self.kind == "residual":
            made.outputs(b, "expand").inputs(b, "depthwise").outputs(c, "depthwise").inputs(c, "project")
            made.outputs(a, "project", "last").inputs(a, "last", "classes")
        else:
            made.inputs(a, "last").outputs(b, "expand").outputs(c, "last").inputs(torch.cat([b, c]), "classes")
        return made.float().eval()

    def outputs(self, factors: torch.Tensor, *layers: str) -> Net:
        for layer in map(self.get_submodule, layers):
            layer.weight.data *= factors.reshape(-1, *[1] * (layer.weight.dim() - 1))
            layer.bias.data *= factors
        return self

    def inputs(self, factors: torch.Tensor, *layers: str) -> Net:
        for layer in map(self.get_submodule, layers):
            first = getattr(layer, "groups", 1) > 1  # of a depthwise layer, channels lie along the filters
            layer.weight.data /= factors.reshape((-1, 1, 1, 1) if first else (1, -1, 1, 1)[: layer.weight.dim()])
        return self


def factors(rng: np.random.Generator, decades: float, share: float = 1.0, channels: int = 16):
    """A source of factors for ``Net.scaled``, log-uniform over so many decades either way, of a share of the channels."""

    def draw() -> torch.Tensor:
        chosen = rng.random(channels) < share
        return torch.from_numpy(np.where(chosen, 10 ** rng.uniform(-decades, decades, channels), 1.0))

    return draw
