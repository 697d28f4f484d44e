"""Photographs inside an .npz archive, read one at a time without holding the array."""

from __future__ import annotations

import numpy as np
from PIL import Image

from bfp.npz import NpzMember


class NpzImages(NpzMember):
    """Photographs: uint8 [N, H, W, 3 or 1] or [N, H, W]."""

    def fits(self) -> bool:
        return self.dtype == np.uint8 and (len(self.shape) == 3 or (len(self.shape) == 4 and self.shape[3] in (1, 3)))

    def expected(self) -> str:
        return "uint8 of shape (images, height, width, 3 or 1)"

    def read(self, index: int) -> Image.Image:
        """One photograph."""
        pixels = self.values(index)
        return Image.fromarray(pixels[:, :, 0] if pixels.shape[2:] == (1,) else pixels)
