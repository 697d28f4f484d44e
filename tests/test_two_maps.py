"""Products, sums, larger and smaller ones of two maps, one of which may be a value a channel or a pixel."""

import numpy as np
import pytest
import torch
from torch import nn
from support.imported import check
from support.small_modules import Fn, conv

from bfp.errors import BfpError

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


EXPANDED = {
    "expand_as": lambda a, b: a * b.mean((2, 3), keepdim=True).expand_as(a),
    "expand, the other way round": lambda a, b: b.mean((2, 3), keepdim=True).expand(-1, -1, 7, 5) + a,
    "repeat": lambda a, b: torch.maximum(a, b.mean((2, 3), keepdim=True).repeat(1, 1, 7, 5)),
    "a value a pixel": lambda a, b: a * b[:, :1].expand_as(a),
    "of its own sigmoid": lambda a, b: a * torch.sigmoid(a.mean((2, 3), keepdim=True)).expand_as(a),
}


@pytest.mark.parametrize("case", EXPANDED)
def test_what_is_expanded_first_is_broadcast(case):
    """Written as if the engine could not repeat a value: no map of copies is made."""
    graph = check(Pair(EXPANDED[case]), (3, 7, 5))
    (node,) = [n for n in graph.nodes if n.op in MEETS]
    assert graph.shapes[node.main] == (8, 7, 5)
    assert graph.shapes[node.shortcut] == ((1, 7, 5) if case == "a value a pixel" else (8, 1, 1))


class Selected(nn.Module):
    """Two branches, of which each channel takes shares that are learned, as SKNet and ResNeSt have it."""

    def __init__(self, channels_first: bool) -> None:
        super().__init__()
        self.branches, self.gate = nn.ModuleList([conv(3, 8, 3, padding=1), conv(3, 8, 1)]), conv(8, 16, 1)
        self.channels_first, self.after = channels_first, conv(8, 6, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = [torch.relu(branch(x)) for branch in self.branches]
        gates = self.gate((parts[0] + parts[1]).mean((2, 3), keepdim=True))
        gates = gates.view(-1, 8, 2).softmax(2).transpose(1, 2) if self.channels_first else gates.view(-1, 2, 8).softmax(1)
        return self.after(sum(gates[:, n, :, None, None] * part for n, part in enumerate(parts)))


@pytest.mark.parametrize("channels_first", [True, False])
def test_shares_of_two_branches(channels_first):
    graph = check(Selected(channels_first), (3, 7, 5))
    assert [n.function.name for n in graph.nodes if n.op == "lookup"] == ["sigmoid"]


def test_softmax_over_more_inside_a_network():
    """Exponentials by their sum, from tables."""
    graph = check(Fn(lambda m, x: m[1](m[0](x).softmax(1)), conv(3, 3), conv(3, 4)), (3, 7, 5))
    assert {"lookup", "multiply"} <= {node.op for node in graph.nodes}


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


def test_a_product_of_a_map_with_itself():
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


def test_a_gates_scale_goes_into_what_reads_the_product():
    """A hard sigmoid's sixth needs no layer: behind the product a convolution takes it in."""
    graph = check(Excited(nn.Hardsigmoid(), linear=False), (3, 9, 7))
    assert not any(n.op == "depthwise" for n in graph.nodes)
    assert [n.activation for n in graph.nodes if n.output in [m.shortcut for m in graph.nodes if m.op == "multiply"]] == ["relu6"]


def sloped(*slopes: float) -> nn.PReLU:
    layer = nn.PReLU(len(slopes))
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(slopes))
    return layer


@pytest.mark.parametrize("slopes", [(0.1, 0.3, -0.5, 1.7, 0.0, 1.0), (2.0, 1.5, 3.0, 1.2, 9.0, 1.01)], ids=["mixed", "all above 1"])
def test_slopes_of_channels_own(slopes):
    """Two layers: what is below zero, then its share beside the map itself."""
    graph = check(nn.Sequential(conv(3, 6, 3), sloped(*slopes), conv(6, 4, 3)), (3, 9, 7))
    assert [(n.op, n.activation, n.shortcut is not None) for n in graph.nodes][1:3] == [
        ("depthwise", "relu", False),
        ("depthwise", "none", True),
    ]


def test_slopes_of_a_vectors_channels():
    check(nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 5, 6), sloped(0.1, 0.3, -0.5, 1.7, 0.0, 1.0), nn.Linear(6, 2)), (3, 4, 5))


def test_a_random_slope_is_its_mean_outside_of_training():
    graph = check(nn.Sequential(conv(3, 6, 3), nn.RReLU(0.1, 0.5), conv(6, 4, 3)), (3, 9, 7))
    assert [n.function.arguments for n in graph.nodes if n.function] == [(0.3,)]


def test_a_convolution_along_many_channels():
    """Efficient channel attention: channels of one pixel become a row of pixels, without a window as wide as all of them."""
    eca = Fn(
        lambda m, x: m[2]((y := m[0](x)) * torch.sigmoid(m[1](y.mean((2, 3)).view(-1, 1, 2048))).view(-1, 2048, 1, 1).expand_as(y)),
        conv(3, 2048, 1), nn.Conv1d(1, 1, 5, padding=2, bias=False), conv(2048, 4, 1),
    )  # fmt: skip
    graph = check(eca, (3, 2, 2))
    assert [n.op for n in graph.nodes].count("depth_to_space") == 2
