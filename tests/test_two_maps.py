"""Products, sums, larger and smaller ones of two maps, one of which may be a value a channel or a pixel."""

import numpy as np
import pytest
import torch
from torch import nn
from support.imported import check
from support.small_modules import Fn, conv

MEETS = {
    "multiply": torch.mul,
    "add": torch.add,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
}


class Pair(nn.Module):
    """Two maps of one image, the second made smaller by ``shrink``, met by ``join``."""

    def __init__(self, join, shrink=nn.Identity(), channels: int = 8, second: int | None = None) -> None:
        super().__init__()
        self.first, self.second = conv(3, channels, 3, padding=1), conv(3, second or channels, 3, padding=1)
        self.join, self.shrink = join, shrink

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.join(self.first(x), self.shrink(self.second(x)))


@pytest.mark.parametrize("op", MEETS)
@pytest.mark.parametrize("shrink, second", [(nn.AdaptiveAvgPool2d(1), 8), (nn.Identity(), 1), (nn.AdaptiveAvgPool2d(1), 1)])
def test_one_value_for_many(op, shrink, second):
    graph = check(Pair(MEETS[op], shrink, second=second), (3, 7, 5))
    (node,) = [n for n in graph.nodes if n.op == op]
    assert graph.shapes[node.main] == (8, 7, 5)
    assert graph.shapes[node.shortcut] == (second, 1, 1) if isinstance(shrink, nn.AdaptiveAvgPool2d) else (1, 7, 5)


@pytest.mark.parametrize("op", ["multiply", "maximum", "minimum"])
def test_two_whole_maps(op):
    graph = check(Pair(MEETS[op]), (3, 7, 5))
    assert [n.op for n in graph.nodes].count(op) == 1


@pytest.mark.parametrize(
    "join",
    [lambda a, b: a - b, lambda a, b: b - a, lambda a, b: a + 2 * b, lambda a, b: torch.add(b, a, alpha=-0.5)],
    ids=["less", "taken from", "twice", "alpha"],
)
def test_a_broadcast_value_is_scaled_where_it_is_small(join):
    graph = check(Pair(join, nn.AdaptiveAvgPool2d(1)), (3, 6, 5))
    (node,) = [n for n in graph.nodes if n.op == "add"]
    assert graph.shapes[node.shortcut] == (8, 1, 1)


class Excited(nn.Module):
    """Squeeze and excitation as users write it."""

    def __init__(self, gate: nn.Module, linear: bool) -> None:
        super().__init__()
        self.conv, self.gate, self.linear = conv(3, 20, 3, padding=1), gate, linear
        self.down = nn.Linear(20, 5) if linear else nn.Conv2d(20, 5, 1)
        self.up = nn.Linear(5, 20) if linear else nn.Conv2d(5, 20, 1)
        self.after = conv(20, 6, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.conv(x))
        s = x.mean((2, 3), keepdim=not self.linear)
        s = self.gate(self.up(torch.relu(self.down(s))))
        return self.after(x * (s[:, :, None, None] if self.linear else s))


@pytest.mark.parametrize("gate", [nn.Sigmoid(), nn.Hardsigmoid()], ids=["sigmoid", "hardsigmoid"])
@pytest.mark.parametrize("linear", [True, False])
def test_squeeze_and_excitation(gate, linear):
    graph = check(Excited(gate, linear), (3, 9, 7))
    (node,) = [n for n in graph.nodes if n.op == "multiply"]
    assert graph.shapes[node.shortcut] == (20, 1, 1)
    assert not any(n.op == "slice_pad" for n in graph.nodes)


def test_a_square_and_a_product_with_itself():
    graph = check(nn.Sequential(conv(3, 5, 3), Fn(lambda self, x: x * x)), (3, 6, 5))
    (node,) = [n for n in graph.nodes if n.op == "multiply"]
    assert node.main == node.shortcut


def test_products_of_rows_and_columns_are_refused_or_right():
    class Crossed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = conv(3, 4, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.conv(x)
            return y.mean(2, keepdim=True) * y.mean(3, keepdim=True)

    check(Crossed(), (3, 6, 5))
