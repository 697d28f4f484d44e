"""Unpooling to where maxima were, and cubic interpolation, in front of layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.imported import check, lively
from support.quantised import noise_db, quantised
from support.small_modules import Fn, conv

from bfp import golden
from calib.evaluation.integer_model import IntegerModel


def unpooled(kernel, relu=True):
    """As SegNet has it: what a layer makes of the maxima, where these were."""

    def forward(m, x):
        before = m[0](x).relu() if relu else m[0](x)
        y, places = F.max_pool2d(before, kernel, return_indices=True)
        return m[2](F.max_unpool2d(m[1](y), places, kernel))

    return Fn(forward, conv(3, 4, 3, padding=1), conv(4, 4, 3, padding=1), conv(4, 2, 3))


def enlarged(factor):
    return Fn(lambda m, x: m[1](F.interpolate(m[0](x), scale_factor=factor, mode="bicubic")), conv(3, 4, 3, padding=1), conv(4, 2, 3))


FORMS = {
    "two by two": (unpooled(2), 15),
    "three by three": (unpooled(3, relu=False), 15),
    "cubic, twice as large": (enlarged(2), 30),
    "cubic, three times": (enlarged(3), 30),
    "cubic, of the picture": (Fn(lambda m, x: F.pixel_shuffle(m[0](x), 2) + F.interpolate(x, scale_factor=2, mode="bicubic"), conv(3, 12, 3, padding=1)), 25),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms(form):
    module, least = FORMS[form]
    if "picture" not in form:
        check(module, (3, 6, 12))
    artifact, network, images = quantised(lively(module), (3, 6, 12))
    assert noise_db(artifact, network, images) > least
    mantissas = golden.quantise_input(artifact, images.numpy())
    assert np.array_equal(golden.logits(artifact, mantissas), IntegerModel(artifact, "cpu").logits(mantissas))


def test_of_equal_values_the_first_one_is_the_maximum():
    """Of a picture of one colour all values of most windows are equal, and zero behind the ReLU."""
    check(Fn(lambda m, x: m[0](x * 0), unpooled(2)), (3, 6, 12))
