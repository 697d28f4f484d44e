"""Random modules of what the importer lowers to other operators: every form, in any order, over odd sizes and channels."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from support.small_modules import Fn
from torch import nn

MOST_CHANNELS = 70


class Forms:
    """A chain of random steps; each takes the map so far and gives another. ``sizes`` are channels, rows and columns."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.layers: list[nn.Module] = []
        self.steps: list = []
        self.sizes = [int(self.rng.integers(1, 20)), int(self.rng.integers(3, 12)), int(self.rng.integers(3, 12))]
        self.start = tuple(self.sizes)

    def layer(self, module: nn.Module) -> int:
        self.layers.append(module)
        return len(self.layers) - 1

    def divisor(self, count: int) -> int:
        """A divisor of a number, one included."""
        return int(self.rng.choice([n for n in range(1, count + 1) if count % n == 0]))

    def constant(self) -> torch.Tensor:
        """Positive numbers, one or one for each channel."""
        shapes = ((), (1,), (self.sizes[0], 1, 1), (1, self.sizes[0], 1, 1))
        return torch.from_numpy(self.rng.uniform(0.5, 2, shapes[self.rng.integers(4)]).astype(np.float32))

    # each adds one step

    def convolution(self) -> None:
        channels = self.sizes[0]
        groups = self.divisor(channels) if self.rng.random() < 0.6 else 1
        filters = groups * int(self.rng.integers(1, max(2, MOST_CHANNELS // groups // 2 + 1)))
        k = int(self.rng.choice([1, 3]))
        i = self.layer(nn.Conv2d(channels, filters, k, padding=k // 2, groups=groups, bias=bool(self.rng.random() < 0.5)))
        self.steps.append(lambda m, x: m[i](x))
        self.sizes[0] = filters

    def batch_norm(self) -> None:
        i = self.layer(nn.BatchNorm2d(self.sizes[0]))
        self.steps.append(lambda m, x: m[i](x))

    def arithmetic(self) -> None:
        c = self.constant()
        spellings = [
            lambda m, x: x * c, lambda m, x: c * x, lambda m, x: x + c, lambda m, x: x - c, lambda m, x: c - x,
            lambda m, x: x / c, lambda m, x: -x, lambda m, x: torch.rsub(x, c, alpha=2), lambda m, x: x.mul(c).add(1),
        ]  # fmt: skip
        self.steps.append(spellings[self.rng.integers(len(spellings))])

    def limit(self) -> None:
        c = self.constant()
        spellings = [
            lambda m, x: F.relu(x), lambda m, x: F.relu6(x), lambda m, x: x.clamp(-1, 1.5), lambda m, x: F.hardsigmoid(x),
            lambda m, x: torch.maximum(x, -c), lambda m, x: torch.minimum(x, c), lambda m, x: F.threshold(x, 0, 0),
            lambda m, x: x.clamp(max=2), lambda m, x: F.relu(x).clamp(max=c.max().item()),
        ]  # fmt: skip
        self.steps.append(spellings[self.rng.integers(len(spellings))])

    def order(self) -> None:
        groups = self.divisor(self.sizes[0])
        index = torch.from_numpy(self.rng.permutation(self.sizes[0]))
        spellings = [
            lambda m, x: x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2), lambda m, x: x.flip(1),
            lambda m, x: x[:, index], lambda m, x: x.roll(1, 1), lambda m, x: torch.cat(x.tensor_split(2, 1)[::-1], 1),
        ]  # fmt: skip
        self.steps.append(spellings[self.rng.integers(len(spellings) - (self.sizes[0] < 2))])

    def part(self) -> None:
        groups = self.divisor(self.sizes[0])
        if groups == 1:
            return
        which = int(self.rng.integers(groups))
        spellings = [
            lambda m, x: x.chunk(groups, 1)[which], lambda m, x: x[:, which::groups],
            lambda m, x: x.unflatten(1, (-1, groups)).select(2, which), lambda m, x: x.unflatten(1, (groups, -1)).unbind(1)[which],
        ]  # fmt: skip
        self.steps.append(spellings[self.rng.integers(len(spellings))])
        self.sizes[0] //= groups

    def parts_met(self) -> None:
        groups = self.divisor(self.sizes[0])
        join = (torch.add, torch.sub, torch.maximum, torch.minimum)[self.rng.integers(4)]
        if groups == 1:
            return

        def met(m, x):
            found, *others = x.chunk(groups, 1)
            for other in others[:2]:
                found = join(found, other)
            return found

        self.steps.append(met)
        self.sizes[0] //= groups

    def parallel(self) -> None:
        c = self.sizes[0]
        made = [nn.Conv2d(c, c, 3, padding=1), nn.Conv2d(c, c, 1), nn.BatchNorm2d(c), nn.Conv2d(c, c, 3, padding=1, groups=c)]
        i, j = (self.layer(made[n]) for n in self.rng.choice(4, 2, replace=False))
        self.steps.append(lambda m, x: m[i](x) + m[j](x))

    def residual(self) -> None:
        i = self.layer(nn.Conv2d(self.sizes[0], self.sizes[0], 3, padding=1))
        sign = float(self.rng.choice([1.0, -1.0]))
        self.steps.append(lambda m, x: torch.add(m[i](x), x, alpha=sign))

    def grown(self) -> None:
        if self.sizes[0] > MOST_CHANNELS // 3:
            return
        c = self.sizes[0]
        i, j = self.layer(nn.Conv2d(c, c, 1)), self.layer(nn.Conv2d(2 * c, c, 1))

        def dense(m, x):
            features = [x, m[i](F.relu(x))]
            features.append(m[j](torch.cat(features, 1)))
            return torch.cat(features, 1)

        self.steps.append(dense)
        self.sizes[0] *= 3

    def pool(self) -> None:
        pools = [
            lambda m, x: F.max_pool2d(x, 3, 1, 1), lambda m, x: F.avg_pool2d(x, 3, 1, 1, count_include_pad=False),
            lambda m, x: F.avg_pool2d(x, 3, 1, 1),
        ]  # fmt: skip
        self.steps.append(pools[self.rng.integers(3)])

    def last(self) -> None:
        """A head: of a map, of means, or of cells that do not divide it, in any order of elements."""
        c, h, w = self.sizes
        target = (int(self.rng.integers(1, 5)), int(self.rng.integers(1, 5)))
        count = {0: c, 1: c * h * w, 2: c * target[0] * target[1], 3: c}
        kind = int(self.rng.integers(5))
        if kind == 4:
            return
        i = self.layer(nn.Linear(count[kind], int(self.rng.integers(1, 9))))
        heads = [
            lambda m, x: m[i](x.mean((2, 3))), lambda m, x: m[i](x.permute(0, 2, 3, 1).flatten(1)),
            lambda m, x: m[i](F.adaptive_avg_pool2d(x, target).flatten(1)), lambda m, x: m[i](x.amax(3).mean(2)).softmax(-1),
        ]  # fmt: skip
        self.steps.append(heads[kind])


KINDS = (
    "convolution convolution batch_norm arithmetic arithmetic limit limit order order part parts_met parallel residual grown pool"
).split()


def random_forms(seed: int, steps: int = 9, several: bool = False) -> tuple[nn.Module, tuple[int, int, int]]:
    """A module of random forms, and the shape of its input; several: it returns values of its middle as well."""
    forms = Forms(seed)
    for kind in forms.rng.choice(KINDS, steps):
        getattr(forms, kind)()
    forms.last()
    chain, drawn = forms.steps, np.random.default_rng((seed, 1))
    returned = set(drawn.choice(len(chain), int(drawn.integers(1, 4)))) if several else set()

    def forward(m, x):
        found = []
        for n, step in enumerate(chain):
            x = step(m, x)
            found += [x] if n in returned else []
        return (x, *found) if several else x

    return Fn(forward, *forms.layers), forms.start
