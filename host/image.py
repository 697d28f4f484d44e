"""From a photograph to the network's input, as it is done on the board.

Calibration and evaluation use this very code, so that the accelerator sees
the pixels that the float network saw. NumPy and PIL only.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from bfp.artifact import ARRAY, Preprocessing
from bfp.errors import BfpError

INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
MODES = {"rgb": "RGB", "bgr": "RGB", "gray": "L"}  # what PIL decodes to; normalise() swaps to BGR


def open_image(path: str | Path, pre: Preprocessing) -> Image.Image:
    """The decoded photograph as RGB, or as gray where the network is gray.

    Raises BfpError where the file is missing or is no image that can be read, and for a network of arrays.
    """
    if pre.channels == ARRAY:
        raise BfpError(f"image {path} is no input of this network, which takes arrays of {len(pre.mean)} channels; give one")
    try:
        with Image.open(path) as image:
            return eight_bits(image).convert(MODES[pre.channels])
    except FileNotFoundError:
        raise BfpError(f"image {path} does not exist; check the name") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise BfpError(f"image {path} cannot be read ({error}); give a readable JPEG, PNG or similar file") from None


def eight_bits(image: Image.Image) -> Image.Image:
    """Gray pixels of 16 bits as 8 bits (PIL would clip all above 255 to white); any other image as it is.

    Raises ValueError for pixels that are neither.
    """
    if not image.mode.startswith(("I", "F")):
        return image
    pixels = np.asarray(image)
    if image.mode == "F" or pixels.min() < 0 or pixels.max() > 0xFFFF:
        raise ValueError("its pixels have more than 16 bits")
    return Image.fromarray(((pixels.astype(np.int64) * 255 + 0x7FFF) // 0xFFFF).astype(np.uint8))


def fit_image(image: Image.Image, pre: Preprocessing) -> np.ndarray:
    """Resize and centre crop to the network's size: uint8 [H, W, C].

    With ``pre.resize`` the shorter side becomes that many pixels (the longer
    one truncated to an integer) and the centre is cropped, as torchvision's
    Resize and CenterCrop do on PIL images. Without it, an image of the right
    size is taken as it is, any other is resized to the size exactly.
    """
    height, width = pre.size
    filter_ = INTERPOLATIONS[pre.interpolation]
    if pre.resize is not None:
        w, h = image.size
        short, long = min(w, h), max(w, h)
        other = int(pre.resize * long / short)
        new = (pre.resize, other) if w <= h else (other, pre.resize)
        if new != image.size:
            image = image.resize(new, filter_)
        w, h = image.size
        if w < width or h < height:
            raise BfpError(
                f"an image of {h} x {w} pixels after resizing is smaller than the network's input {height} x {width}; "
                "make resize at least as large as size"
            )
        left, top = int(round((w - width) / 2.0)), int(round((h - height) / 2.0))
        image = image.crop((left, top, left + width, top + height))
    elif image.size != (width, height):
        image = image.resize((width, height), filter_)
    pixels = np.asarray(image, np.uint8)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def load_image(path: str | Path, pre: Preprocessing) -> np.ndarray:
    """Read, resize and crop one photograph: uint8 [H, W, C], channels RGB or gray.

    Raises BfpError where the file cannot be read or does not cover the input.
    """
    return fit_image(open_image(path, pre), pre)


def normalise(pixels: np.ndarray, pre: Preprocessing) -> np.ndarray:
    """Pixels, uint8 [N, H, W, C] in RGB or gray (arrays: float32, too), to the network's input: float32 [N, C, H, W].

    ``(pixel - mean) / std`` with mean and std in the network's own channel
    order (RGB is reversed first where the network takes BGR). Raises BfpError
    for another shape or type.
    """
    expected = (*pre.size, len(pre.mean))
    types = (np.uint8, np.float32) if pre.channels == ARRAY else (np.uint8,)
    if pixels.ndim != 4 or pixels.shape[1:] != expected or pixels.dtype not in types:
        raise BfpError(
            f"images are {pixels.dtype} of shape {pixels.shape}, the network takes {' or '.join(t.__name__ for t in types)} of shape "
            f"(images, {', '.join(map(str, expected))}); resize them or convert their channels first"
        )
    if pre.channels == "bgr":
        pixels = pixels[..., ::-1]
    mean, std = np.asarray(pre.mean, np.float32), np.asarray(pre.std, np.float32)
    return np.ascontiguousarray(((pixels.astype(np.float32) - mean) / std).transpose(0, 3, 1, 2))
