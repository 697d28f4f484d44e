"""What moves elements twice: where one step of the engine does not do, a tensor lies between."""

from __future__ import annotations

import pytest
import torch.nn.functional as F
from support.imported import check
from support.small_modules import Fn, conv
from torch import nn

FORMS = {
    "edges of what was enlarged": lambda x: F.pad(F.interpolate(x, scale_factor=2), (1, 1, 1, 1), mode="reflect"),
    "edges of what was shuffled": lambda x: F.pad(F.pixel_shuffle(x, 2), (2, 1, 0, 1), mode="replicate").repeat(1, 4, 1, 1),
    "phases of what has an edge": lambda x: F.pixel_unshuffle(F.pad(x, (0, 1, 0, 0), mode="replicate"), 2)[:, :4],
    "part of what was enlarged": lambda x: F.interpolate(x, scale_factor=2)[:, :, 1:-1, 1:-2],
}


@pytest.mark.parametrize("form", FORMS)
def test_moved_twice(form):
    function = FORMS[form]
    check(Fn(lambda m, x: m[1](function(m[0](x).relu())), conv(3, 4, 3, padding=1), conv(4, 2, 3)), (3, 8, 9))


@pytest.mark.parametrize("rows", [13, 40, 66])
def test_a_sequence_as_a_map(rows):
    """Coefficients of sound as one channel: the channels of a sequence become rows, more than 64 in several steps."""
    module = Fn(lambda m, x: m[1](F.pad(m[0](F.pad(x.unsqueeze(1), (1, 1, 1, 2))), (1, 1))), conv(1, 4, 3), nn.Conv2d(4, 2, 3, 2))
    check(module, (rows, 12))
