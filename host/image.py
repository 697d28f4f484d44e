"""From a photograph to the network's input, as it is done on the board.

Calibration and evaluation use this very code, so that the accelerator sees
the pixels that the float network saw. NumPy and PIL only.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from bfp.artifact import ARRAY, Preprocessing
from bfp.errors import BfpError
from bfp.names import cut, printable
from bfp.placement import Placement, placement

# by the names that every Pillow has, the board's 9.0.1 and today's
INTERPOLATIONS = {
    "nearest": Image.NEAREST,
    "bilinear": Image.BILINEAR,
    "bicubic": Image.BICUBIC,
    "lanczos": Image.LANCZOS,
}
EXIF_ORIENTATION = 0x0112
# what makes a picture upright, by its orientation; 1 is upright
TURNS = {
    2: Image.FLIP_LEFT_RIGHT,
    3: Image.ROTATE_180,
    4: Image.FLIP_TOP_BOTTOM,
    5: Image.TRANSPOSE,
    6: Image.ROTATE_270,
    7: Image.TRANSVERSE,
    8: Image.ROTATE_90,
}
SIDEWAYS = (5, 6, 7, 8)  # orientations of which rows become columns
MOST_REASON = 120  # characters of what a decoder says
LONGEST = 16  # times the shorter side: pictures that are longer are cropped before they are resized
MODES = {"rgb": "RGB", "bgr": "RGB", "gray": "L"}  # what PIL decodes to; normalise() swaps to BGR


def open_image(path: str | Path | BinaryIO, pre: Preprocessing, draft: bool = False) -> Image.Image:
    """The decoded photograph as RGB, or as gray where the network is gray; upright, what is transparent on black.

    draft: a JPEG may be decoded at a half, a quarter or an eighth of its size, where that is still at least twice
    what the network takes: quicker, and not to the last bit the same pixels. Raises BfpError where the file is
    missing or is no image that can be read, and for a network of arrays.
    """
    if pre.channels == ARRAY:
        raise BfpError(f"image {path} is no input of this network, which takes arrays of {len(pre.mean)} channels; give one")
    try:
        if isinstance(path, (str, os.PathLike)) and not stat.S_ISREG(os.stat(path).st_mode):
            raise ValueError("it is no ordinary file")  # a pipe would be waited for
        with Image.open(path) as image:
            if draft:
                side = 2 * (pre.resize or max(pre.size))
                image.draft(None, (side, side))
            image.load()
            return as_network_takes(image, pre)
    except FileNotFoundError:
        raise BfpError(f"image {path} does not exist; check the name") from None
    except MemoryError:
        raise
    except Exception as error:  # damaged bytes raise whatever their decoder trips over
        raise BfpError(f"image {path} cannot be read ({cut(printable(str(error)), MOST_REASON)}); give a readable JPEG, PNG or similar file") from None


def picture_size(path: str | Path | BinaryIO) -> tuple[int, int]:
    """Width and height of a photograph once it is upright; only its head is read. Raises BfpError as ``open_image``."""
    try:
        with Image.open(path) as image:
            turned = _orientation(image) in SIDEWAYS
            return (image.size[1], image.size[0]) if turned else image.size
    except FileNotFoundError:
        raise BfpError(f"image {path} does not exist; check the name") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise BfpError(f"image {path} cannot be read ({error}); give a readable JPEG, PNG or similar file") from None


def as_network_takes(image: Image.Image, pre: Preprocessing) -> Image.Image:
    """A picture of any mode, upright, on black, as RGB or gray. Raises ValueError for pixels of more than 16 bits."""
    return on_black(eight_bits(upright(image))).convert(MODES[pre.channels])


def upright(image: Image.Image) -> Image.Image:
    """The picture turned and mirrored as its EXIF orientation says; as it is where it says nothing that can be read."""
    turn = TURNS.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> int | None:
    """What EXIF says of how the picture lies; None where it says nothing that can be read."""
    try:
        orientation = image.getexif().get(EXIF_ORIENTATION)
    except Exception:  # damaged EXIF raises whatever its parser trips over, and a picture is still a picture
        return None
    return orientation if isinstance(orientation, int) else None


def on_black(image: Image.Image) -> Image.Image:
    """The picture with what is transparent in it laid on black; the colours that lie under transparency do not count."""
    if "A" not in image.getbands() and "a" not in image.getbands() and "transparency" not in image.info:
        return image
    layers = image.convert("RGBA")
    black = Image.new("RGB", image.size)
    black.paste(layers.convert("RGB"), mask=layers.getchannel("A"))
    return black


def eight_bits(image: Image.Image) -> Image.Image:
    """Gray pixels of 16 bits as 8 bits (PIL would clip all above 255 to white); any other image as it is.

    Raises ValueError for pixels that are neither.
    """
    if not image.mode.startswith(("I", "F")):
        return image
    if "transparency" in image.info:
        raise ValueError("one of its 16-bit colours is transparent")
    pixels = np.asarray(image)
    if image.mode == "F" or pixels.min() < 0 or pixels.max() > 0xFFFF:
        raise ValueError("its pixels have more than 16 bits")
    return Image.fromarray(((pixels.astype(np.int64) * 255 + 0x7FFF) // 0xFFFF).astype(np.uint8))


def fit_image(image: Image.Image, pre: Preprocessing) -> np.ndarray:
    """As ``fit_picture``, as uint8 [H, W, C]."""
    return pixels_of(fit_picture(image, pre))


def pixels_of(picture: Image.Image) -> np.ndarray:
    """The pixels of an RGB or gray picture, uint8 [H, W, C]."""
    pixels = np.asarray(picture, np.uint8)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def fit_picture(image: Image.Image, pre: Preprocessing) -> Image.Image:
    """The picture as it lies in the network's input (bfp.placement), RGB or gray, of the network's size.

    With ``pre.letterbox`` the whole picture is resized to fit, and lies in the middle of gray. With ``pre.resize`` the
    shorter side becomes that many pixels (the longer one truncated to an integer) and the centre is cropped, as
    torchvision's Resize and CenterCrop do on PIL images. Without both, an image of the right size is taken as it is,
    any other is resized to the size exactly. Raises BfpError where the resized image does not cover the network's input.
    """
    height, width = pre.size
    filter_, place = INTERPOLATIONS[pre.interpolation], placement(image.size, pre)
    if pre.letterbox is not None:
        middle = image if image.size == place.resized else image.resize(place.resized, filter_)
        colour = (pre.letterbox,) * 3 if image.mode == "RGB" else pre.letterbox
        gray = Image.new(image.mode, (width, height), colour)
        gray.paste(middle, place.offset)
        return gray
    if pre.resize is not None:
        return _resize_and_crop(image, pre, place, filter_)
    return image if image.size == (width, height) else image.resize((width, height), filter_)


def _resize_and_crop(image: Image.Image, pre: Preprocessing, place: Placement, filter_: int) -> Image.Image:
    """The centre of the image whose shorter side is ``pre.resize``."""
    height, width = pre.size
    w, h = image.size
    new_w, new_h = place.resized
    if new_w < width or new_h < height:
        raise BfpError(
            f"an image of {new_h} x {new_w} pixels after resizing is smaller than the network's input {height} x {width}; "
            "make resize at least as large as size"
        )
    left, top = (-corner for corner in place.offset)
    if max(w, h) > LONGEST * min(w, h):
        # a line of 100,000 pixels would become millions of columns; only what is kept of them is computed
        across, down = w / new_w, h / new_h
        box = (left * across, top * down, (left + width) * across, (top + height) * down)
        return image.resize((width, height), filter_, box)
    if (new_w, new_h) != image.size:
        image = image.resize((new_w, new_h), filter_)
    return image.crop((left, top, left + width, top + height))


def load_picture(path: str | Path | BinaryIO, pre: Preprocessing, draft: bool = False) -> Image.Image:
    """Read, resize and crop one photograph: RGB or gray, of the network's size; draft: see ``open_image``.

    Raises BfpError where the file cannot be read or does not cover the input.
    """
    return fit_picture(open_image(path, pre, draft), pre)


def load_image(path: str | Path | BinaryIO, pre: Preprocessing) -> np.ndarray:
    """As ``load_picture``, as uint8 [H, W, C]."""
    return pixels_of(load_picture(path, pre))


def part_of_picture(image: str | Path | Image.Image, pre: Preprocessing) -> np.ndarray:
    """A picture as one of several inputs, float32 [H, W, C] with values 0..255: RGB or gray, resized to the size exactly.

    pre: of that input, an array of 3 channels or 1. Raises BfpError for any other number, and for what cannot be read.
    """
    orders = {1: "gray", 3: "rgb"}
    if len(pre.mean) not in orders:
        raise BfpError(f"image {image} is no input of {len(pre.mean)} channels, only of 1 or 3; give an array")
    one = Preprocessing(pre.size, pre.mean, pre.std, channels=orders[len(pre.mean)])
    picture = as_network_takes(image, one) if isinstance(image, Image.Image) else open_image(image, one)
    return fit_image(picture, one).astype(np.float32)


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


def denormalise(images: np.ndarray, pre: Preprocessing) -> np.ndarray:
    """Inverse of ``normalise``: float [N, C, H, W] to the nearest pixels, uint8 [N, H, W, C] in RGB or gray."""
    mean, std = np.asarray(pre.mean, np.float32), np.asarray(pre.std, np.float32)
    pixels = np.clip(np.rint(images.transpose(0, 2, 3, 1) * std + mean), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(pixels[..., ::-1] if pre.channels == "bgr" else pixels)
