"""Pictures of 16 bits: which values they hold, and whether the camera filled fewer bits, so that they come out nearly black."""

from __future__ import annotations

import os

import numpy as np
from PIL import Image

from calib.data.images import ImageSet

LOOKED_AT = 8  # pictures, evenly spread
FULL = 0xFFFF
DARK = 16  # a largest value so many times below the full range is hardly a dark scene in all pictures


def depth_note(images: ImageSet) -> str:
    """A sentence where there are pictures of 16 bits, which names the range of their values; else empty.

    What cannot be read is left to who reads it.
    """
    largest = [top for i in np.unique(np.linspace(0, len(images.items) - 1, LOOKED_AT).round().astype(int))
               if (top := sixteen_bits(images.items[i].name)) is not None]  # fmt: skip
    if not largest:
        return ""
    found = f"pictures such as {images.items[0].name} have 16 bits, of which values of 0 to {max(largest)} were found"
    if not 0 < max(largest) * (DARK - 1) < FULL:
        return f"{found}; {FULL} becomes 255"
    bits = max(largest).bit_length()
    return f"{found}, as of {bits} bits kept unscaled: they come out nearly black; multiply them by {2 ** (16 - bits)} when they are written"


def sixteen_bits(path: str) -> int | None:
    """The largest value of a picture of 16 bits; None for any other, and for what is no picture that can be read."""
    if not os.path.isfile(path):  # made, not read; or a pipe, which would be waited for
        return None
    try:
        with Image.open(path) as image:
            return int(np.asarray(image).max()) if image.mode.startswith("I") else None
    except Exception:  # damaged bytes raise whatever their decoder trips over; who reads the picture says so
        return None
