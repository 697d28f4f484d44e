"""Values of which parts are written in place, as the importer brings them in."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from support.imported import check
from support.small_modules import Fn, conv

from bfp.errors import BfpError
from calib.frontend.importer import import_module


def written(*writes):
    """A forward that makes a map, changes parts of it, and reads it."""

    def forward(m, x):
        y = m[0](x)
        for write in writes:
            write(y)
        return m[1](y)

    return Fn(forward, conv(3, 8), conv(8, 4))


def put(*where, value):
    def write(y):
        y[where] = value(y)

    return write


EVERY, HALF = slice(None), slice(0, 4)
WRITES = {
    "some channels": (put(EVERY, HALF, value=lambda y: F.relu(y[:, :4])), "conv slice_pad slice_pad concat conv"),
    "all of it": (put(EVERY, value=F.relu), "conv conv"),
    "one channel": (put(EVERY, 3, value=lambda y: F.relu(y[:, 3])), None),
    "another channel": (put(EVERY, 0, value=lambda y: y[:, 1] + y[:, 2]), None),
    "channels from the end": (put(EVERY, slice(-3, None), value=lambda y: -y[:, -3:]), None),
    "zeros around": (put(EVERY, EVERY, 0, value=lambda y: 0), "conv slice_pad conv"),
    "a column": (put(EVERY, EVERY, EVERY, slice(-1, None), value=lambda y: y[..., :1]), None),
    "a corner": (put(EVERY, EVERY, slice(1, 3), slice(2, 4), value=lambda y: F.relu(y[:, :, 1:3, 2:4])), None),
    "a constant of each channel": (put(EVERY, slice(2, 4), value=lambda y: y[:, 2:4] * torch.tensor([2.0, 3]).view(2, 1, 1)), None),
}


@pytest.mark.parametrize("case", WRITES)
def test_one_write(case):
    write, operators = WRITES[case]
    check(written(write), operators=operators)


def test_writes_behind_one_another():
    """Of parts that meet, lie in one another and overlap."""
    check(written(WRITES["some channels"][0], WRITES["one channel"][0], WRITES["a corner"][0]))
    check(written(*(put(EVERY, c, value=lambda y, c=c: y[:, c] * (c + 1)) for c in range(8))), operators="conv conv")

    def scaled(y):
        y[:, :4] *= 2
        y[:, 2:6] += 1
        y[:, 3:5].clamp_(min=0)

    check(written(scaled))


def test_a_normalisation_of_the_picture_is_one_scale():
    def forward(m, x):
        x = x.clone()
        for c, (mean, std) in enumerate(((0.4, 0.2), (0.5, 0.3), (0.6, 0.4))):
            x[:, c] = (x[:, c] - mean) / std
        return m[0](x)

    check(Fn(forward, conv()), operators="conv")


def test_an_empty_map_that_is_filled():
    def forward(m, x):
        y = x.new_zeros(x.shape[0], 8, 7, 6)
        y[:, :4] = m[0](x)
        y[:, 4:] = F.relu(m[1](x))
        return y

    check(Fn(forward, conv(), conv()), operators="conv conv concat")


def test_every_other_channel_is_refused():
    module = written(put(EVERY, slice(None, None, 2), value=lambda y: F.relu(y[:, ::2])))
    with pytest.raises(BfpError, match="aten.slice_scatter is not supported; write the part into a new tensor"):
        import_module(module.eval(), (3, 9, 8), "net")
