"""The truth of a picture that is a picture itself: a mask with a class for each pixel, or what an image should become."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from bfp.artifact import Preprocessing
from bfp.errors import BfpError
from bfp.files import open_file
from bfp.names import cut, printable
from bfp.npz import said
from calib.data.folders import is_image
from host.image import fit_image, fit_picture, open_image, upright

UNKNOWN = -1  # of a mask: a pixel that nothing is known of
GRAY = 256  # values of a mask's pixel


@dataclass(frozen=True)
class Masks:
    """How masks are read. ignore: the value of pixels that do not count.

    colours: of each class in order, red, green and blue; empty where pixels are the numbers of their classes.
    """

    ignore: int = 255
    colours: tuple[tuple[int, int, int], ...] = ()


def beside(folder: Path, pictures: Sequence[Path], suffixes: set[str]) -> list[Path]:
    """The file of a folder that has each picture's name, but for what follows its last dot. Raises BfpError for one that lacks."""
    try:
        found = {p.stem: p for p in sorted(folder.iterdir()) if is_image(p, suffixes)}
    except OSError as error:
        raise BfpError(f"targets {folder} cannot be read ({error.strerror}); give a folder of pictures") from None
    for picture in pictures:
        if picture.stem not in found:
            raise BfpError(f"targets {folder} holds no picture named {picture.stem}, for {picture}; give one for each image")
    return [found[picture.stem] for picture in pictures]


def read_mask(path: Path, masks: Masks, classes: int) -> np.ndarray:
    """The class of every pixel of an upright mask, int16 [H, W], UNKNOWN where none counts.

    Raises BfpError for a file that is no picture, for colours where numbers are expected, and for what is no class.
    """
    try:
        with open_file(path, "mask", "give one for each image") as file, Image.open(file) as image:
            image.load()
            image = upright(image)
    except BfpError:
        raise
    except Exception as error:  # damaged bytes raise whatever their decoder trips over
        raise BfpError(f"mask {path} cannot be read ({said(error)}); give a readable PNG") from None
    if masks.colours:
        return _by_colour(path, np.asarray(image.convert("RGB")), masks, classes)
    if image.mode not in ("P", "L", "1", "I", "I;16"):
        raise BfpError(
            f"mask {path} has colours ({cut(printable(image.mode), 20)}), no numbers of classes; name them in [evaluation] "
            "colours, a red, green and blue for each class"
        )
    values = np.asarray(image).astype(np.int64)
    wrong = (values != masks.ignore) & ((values < 0) | (values >= classes))
    if wrong.any():
        raise BfpError(
            f"mask {path}: a pixel is {values[wrong][0]}, and there are {classes} classes, counted from 0; name the value of "
            f"pixels that do not count in [evaluation] ignore (now {masks.ignore}), or each class's colour in colours"
        )
    return np.where(values == masks.ignore, UNKNOWN, values).astype(np.int16)


def _by_colour(path: Path, pixels: np.ndarray, masks: Masks, classes: int) -> np.ndarray:
    """The class of every pixel [H, W, 3] by its colour; gray of the value ``ignore`` does not count."""
    if len(masks.colours) != classes:
        raise BfpError(f"[evaluation] colours has {len(masks.colours)} colours, and there are {classes} classes; give one for each")
    packed = pixels.astype(np.int64) @ (GRAY * GRAY, GRAY, 1)
    known = {red * GRAY * GRAY + green * GRAY + blue: n for n, (red, green, blue) in enumerate(masks.colours)}
    known.setdefault(masks.ignore * (GRAY * GRAY + GRAY + 1), UNKNOWN)
    found, places = np.unique(packed, return_inverse=True)
    for colour in found:
        if int(colour) not in known:
            shown = [int(colour) // GRAY**2, int(colour) // GRAY % GRAY, int(colour) % GRAY]
            raise BfpError(f"mask {path}: the colour {shown} is of no class; add it to [evaluation] colours")
    return np.array([known[int(c)] for c in found], np.int16)[places.reshape(packed.shape)]


def placed_mask(mask: np.ndarray, pre: Preprocessing, picture: tuple[int, int], name: str) -> np.ndarray:
    """A mask as its picture lies in the network's input, int16 [height, width]: the nearest pixel, UNKNOWN beside the picture.

    picture: width and height of that. Raises BfpError for a mask that is not of its size.
    """
    if mask.shape[::-1] != picture:
        width, height = picture
        raise BfpError(f"mask of {name} is {mask.shape[1]} x {mask.shape[0]} pixels, its image {width} x {height}; they must be alike")
    counted = Image.fromarray((mask - UNKNOWN).astype(np.int32))  # bars are black
    nearest = replace(pre, interpolation="nearest", letterbox=None if pre.letterbox is None else 0)
    return (np.asarray(fit_picture(counted, nearest)) + UNKNOWN).astype(np.int16)


def read_target(path: Path, pre: Preprocessing, shape: tuple[int, int, int], picture: tuple[int, int]) -> np.ndarray:
    """What an image should become, pixels 0..255, float64 [C, H, W] of the output's ``shape`` and order of channels.

    picture: width and height of the image itself. The target is resized and cropped as that is; where that is taken as it
    is, the target must have the output's size. Raises BfpError for what does not fit.
    """
    channels, *size = shape
    if channels not in (1, 3):
        raise BfpError(f"targets are pictures of 1 or 3 channels, the output has {channels}; leave targets out")
    order = "gray" if channels == 1 else "bgr" if pre.channels == "bgr" else "rgb"
    scale = size[0] / pre.size[0]
    resize = None if pre.resize is None else round(pre.resize * scale)
    wanted = replace(pre, size=tuple(size), resize=resize, channels=order)
    target = open_image(path, wanted)
    exact = pre.resize is None and pre.letterbox is None and picture == pre.size[::-1]
    if exact and target.size != tuple(size[::-1]):
        raise BfpError(
            f"target {path} is {target.size[0]} x {target.size[1]} pixels, the network's output {size[1]} x {size[0]}; give one of its size"
        )
    pixels = fit_image(target, wanted).astype(np.float64).transpose(2, 0, 1)
    return pixels[::-1] if order == "bgr" else pixels
