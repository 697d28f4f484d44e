"""Inputs and outputs have widths of their own: 8 bits unless the file says otherwise, where no layer reads them wide."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from bfp.errors import BfpError
from static_bfp import calibrate

IMAGES = np.random.default_rng(0).normal(size=(6, 3, 8, 8)).astype(np.float32)


class Tapped(nn.Module):
    """Two outputs: one that is read on, and the last."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3)

    def forward(self, x):
        x = torch.relu(self.first(x))
        return {"middle": x, "end": self.last(x)}


def widths(**bfp):
    record = calibrate(Tapped().eval(), IMAGES, **{"weights": 5, "activations": 5, **bfp}).record
    formats = {t: record.formats[t].bits for t in (record.graph.input, *record.graph.outputs)}
    return tuple(formats.values()), record


def test_they_are_of_eight_bits_by_default():
    found, record = widths()
    assert found == (8, 5, 8)  # what is read on is as the other activations
    assert record.provenance["bfp"]["input_bits"] is None and record.provenance["bfp"]["output_bits"] == 8


def test_they_are_what_is_asked_for():
    assert widths(input_bits=6, output_bits=4)[0] == (6, 5, 4)
    assert widths(activations=8, input_bits=5)[0] == (5, 8, 8)
    assert widths(input_bits=0, output_bits=0)[0] == (5, 5, 5)


@pytest.mark.parametrize("kind", ["added", "pooled", "channels"])
def test_an_input_that_would_make_other_layers_wide_has_their_width(kind):
    """It joins a sum or goes through a pool, or has more channels than fit a word in parts."""
    channels = 20 if kind == "channels" else 3
    torch.manual_seed(0)
    first, last = nn.Conv2d(channels, 3, 3, padding=1), nn.Conv2d(3, 4, 3)

    class Module(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = first, last

        def forward(self, x):
            if kind == "pooled":
                return self.last(torch.relu(self.first(nn.functional.max_pool2d(x, 2))))
            y = self.first(x)
            return self.last(torch.relu(y + x if kind == "added" else y))

    images = np.random.default_rng(0).normal(size=(4, channels, 8, 8)).astype(np.float32)
    record = calibrate(Module().eval(), images, weights=5, activations=5).record
    assert record.formats[record.graph.input].bits == 5
    asked = calibrate(Module().eval(), images, weights=5, activations=5, input_bits=8).record
    assert asked.formats[asked.graph.input].bits == 8


def test_plain_methods_have_one_width():
    assert widths(method="max")[0] == (5, 5, 5)
    assert widths(method="max", input_bits=8)[0] == (8, 5, 5)


@pytest.mark.parametrize("key", ["input_bits", "output_bits"])
@pytest.mark.parametrize("value", [1, 9, -1, "8", 4.5, True])
def test_others_are_refused(key, value):
    with pytest.raises(BfpError, match=f"{key} is .*; it must be a whole number from [02] to 8"):
        widths(**{key: value})


def test_wider_ends_leave_less_noise():
    def noise(**bfp):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3)).eval()
        return calibrate(module, IMAGES, weights=8, activations=8, **bfp).evaluate(IMAGES)["sqnr_db"]

    both, coarse = noise(), (noise(input_bits=4), noise(output_bits=4))
    assert all(both > one + 6 for one in coarse), (both, coarse)
