"""Grouped convolutions, as the importer brings them in."""

from __future__ import annotations

import pytest
import torch.nn.functional as F
from support.imported import check
from support.small_modules import Fn
from torch import nn

WORD = 16


def words(graph, tensor):
    """Memory words of a pixel: each branch of a concatenation starts in a fresh one."""
    splits = graph.segments()[tensor]
    return sum(-(-(b - a) // WORD) for a, b in zip(splits, splits[1:]))


def on_words(graph, tensor):
    """Channels with which a memory word begins, or that one ends before."""
    splits = graph.segments()[tensor]
    return {c for a, b in zip(splits, splits[1:]) for c in (*range(a, b, WORD), b)}


def work(graph, nodes):
    """Products of words that the array computes in one image: of each convolution, input words x output words x area."""
    total = 0
    for n in nodes:
        if n.op == "conv":
            _, h, w = graph.shapes[n.output]
            total += words(graph, n.main) * words(graph, n.output) * n.window.kernel[0] * n.window.kernel[1] * h * w
    return total


@pytest.mark.parametrize("channels, filters, groups", [(4, 4, 2), (12, 6, 3), (40, 20, 4), (36, 72, 36), (34, 17, 17), (70, 35, 5)])
@pytest.mark.parametrize("kernel, stride", [(1, 1), (3, 2)])
def test_any_groups(channels, filters, groups, kernel, stride):
    layer = nn.Conv2d(channels, filters, kernel, stride, kernel // 2, groups=groups)
    check(nn.Sequential(layer, nn.BatchNorm2d(filters), nn.ReLU()), (channels, 6, 5))
    before, after = nn.Conv2d(5, channels, 1), nn.Conv2d(filters, 7, 1)
    check(nn.Sequential(before, nn.BatchNorm2d(channels), nn.ReLU(), layer, nn.ReLU6(), after), (5, 6, 5))


@pytest.mark.parametrize("channels, groups", [(128, 32), (256, 32), (64, 32), (96, 8), (120, 5), (512, 32), (96, 2)])
def test_what_groups_cost(channels, groups):
    """In a bottleneck: at most lanes / group width times their own multiplications, in whole words; nothing is copied."""
    width = channels // groups
    grouped = nn.Conv2d(channels, channels, 3, padding=1, groups=groups, bias=False)
    block = nn.Sequential(nn.Conv2d(32, channels, 1), nn.ReLU(), grouped, nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, 32, 1))
    graph = check(block, (32, 4, 4))
    assert {n.op for n in graph.nodes} == {"conv", "slice_pad", "concat"}
    for n in graph.nodes:
        assert n.op != "slice_pad" or set(graph.channel_slice(n)) <= on_words(graph, n.main)
    grouped = [n for n in graph.nodes if n.window.kernel == (3, 3)]
    whole_words = max(WORD, -(-width // WORD) * WORD)  # what a group takes: where its width divides a word, one is shared
    waste = WORD / width if WORD % width == 0 else (whole_words / width) ** 2
    own = 4 * 4 * 9 * channels * width / WORD**2
    assert work(graph, grouped) <= waste * own
    beside = work(graph, [n for n in graph.nodes if n.window.kernel == (1, 1)])
    assert beside == 4 * 4 * 2 * 2 * sum(-(-graph.shapes[n.output][0] // WORD) for n in grouped)


def test_groups_of_a_map_with_other_readers():
    def block(m, x):
        y = F.relu(m[0](x))
        return m[1](y) + y

    graph = check(Fn(block, nn.Conv2d(3, 48, 1), nn.Conv2d(48, 48, 3, padding=1, groups=12)), (3, 5, 4))
    assert [n.op for n in graph.nodes].count("concat") == 1
    check(nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(64, 32, 3, groups=16)), (64, 9, 8))
    check(nn.Conv2d(64, 128, 3, groups=64), (64, 5, 5))


def test_channel_multiplier():
    layer = nn.Conv2d(20, 60, 3, padding=1, groups=20)
    graph = check(nn.Sequential(nn.Conv2d(3, 20, 1), nn.ReLU(), layer, nn.BatchNorm2d(60), nn.ReLU6(), nn.Conv2d(60, 8, 1)))
    assert [n.op for n in graph.nodes] == "conv depthwise depthwise depthwise concat conv".split()
    check(nn.Conv2d(3, 6, 3, groups=3), operators="conv")
    check(nn.Sequential(nn.Conv2d(20, 40, 3, groups=20), nn.MaxPool2d(2)), (20, 9, 8))


def test_shuffled_groups():
    """A ShuffleNet unit."""

    def unit(m, x):
        y = F.relu(m[1](m[0](x)))
        n, c, h, w = y.shape
        y = m[3](m[2](y.view(n, 3, c // 3, h, w).transpose(1, 2).reshape(n, c, h, w)))
        return F.relu(m[5](m[4](y)) + x)

    layers = [nn.Conv2d(60, 30, 1, groups=3), nn.BatchNorm2d(30), nn.Conv2d(30, 30, 3, padding=1, groups=30)]
    check(Fn(unit, *layers, nn.BatchNorm2d(30), nn.Conv2d(30, 60, 1, groups=3), nn.BatchNorm2d(60)), (60, 5, 4))
