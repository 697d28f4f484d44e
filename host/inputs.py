"""What the accelerator takes as an image, and how each kind gets into its memory.

    a path               decoded, turned upright, resized and cropped
    a PIL picture        likewise
    uint8 [H, W, C]      pixels, RGB or gray, of any size: resized and cropped as a picture
    float [C, H, W]      normalised: (pixel - mean) / std, in the network's order of channels

Of a network whose input are arrays, only the last is one; where it has several inputs, those of 3 channels or 1 may be
paths and PIL pictures as well, whose pixels count from 0 to 255.

Mantissas are no image: they have a way of their own, so that pixels are never taken for them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Union

import numpy as np
from PIL import Image

from bfp import layout
from bfp.artifact import ARRAY, NetworkInput
from bfp.deployment import Deployment
from bfp.errors import BfpError
from bfp.format import quantise
from bfp.layout import PlacedTensor
from bfp.names import shown
from bfp.placement import Placement, placement
from host.image import as_network_takes, fit_picture, load_picture, normalise, part_of_picture, picture_size, upright
from host.pixels import PixelWriter

Prepared = Union[Image.Image, np.ndarray]  # what can be written: a picture of the network's size, or mantissas


class Inputs:
    """All inputs of a network, in its order.

    The image of a network with one input is of the kinds above. Of several it is a mapping from each input's name to
    such a one, or float [C, H, W], the channels of all inputs, one after the other.
    """

    def __init__(self, deployment: Deployment):
        self.network = deployment.network
        several = len(deployment.inputs) > 1
        self.each = {
            e.tensor: ImageInput(
                f"{self.network}, input {e.tensor}" if several else self.network, e, deployment.tensor(e.tensor), several
            )
            for e in deployment.inputs
        }

    def prepare(self, image: object, draft: bool = False) -> tuple[Prepared, ...]:
        """What can be written, for each input. Raises BfpError, one sentence, for what is no image of the network."""
        return tuple(self.each[name].prepare(part, draft) for name, part in self._parts(image).items())

    def mantissas(self, mantissas: object) -> tuple[Prepared, ...]:
        """The inputs' own integers, an array as of several images, or by name. Raises BfpError for any others."""
        parts = mantissas if isinstance(mantissas, Mapping) else np.asarray(mantissas)
        return tuple(self.each[name].mantissas(part) for name, part in self._parts(parts).items())

    def several(self, images: Iterable) -> Iterable:
        """The images as they are. Raises BfpError where they are a single one, or nothing that can be iterated over."""
        if isinstance(images, (str, os.PathLike, Image.Image, Mapping)) or not isinstance(images, Iterable):
            raise BfpError(
                f"network {self.network} takes many images as a list or another iterable, not {type(images).__name__}; "
                "pass one alone to run"
            )
        return images

    def placement(self, image: object) -> Placement:
        """Where an image lies in the network's input, of several in the first; see ``ImageInput.placement``."""
        first, part = next(iter(self._parts(image).items()))
        return self.each[first].placement(part)

    def _parts(self, image: object) -> dict[str, object]:
        """What belongs to each input, in the network's order."""
        if len(self.each) == 1 and not isinstance(image, Mapping):
            return dict.fromkeys(self.each, image)
        if isinstance(image, Mapping) and set(image) == set(self.each):
            return {name: image[name] for name in self.each}
        shapes = [one.tensor.shape for one in self.each.values()]
        wanted = (sum(shape[0] for shape in shapes), *shapes[0][1:])
        if not isinstance(image, np.ndarray) or image.shape != wanted:
            found = f"{', '.join(map(str, image))}" if isinstance(image, Mapping) else type(image).__name__
            raise BfpError(
                f"network {self.network} takes a mapping with an image for {', '.join(self.each)}, or an array of "
                f"{_shape_of(wanted)} with the channels of all, not {shown(found)}"
            )
        ends = np.cumsum([shape[0] for shape in shapes])
        return dict(zip(self.each, np.split(image, ends[:-1])))


class ImageInput:
    """One input of a network: turns images into what can be written (slow, in any thread), and writes that (quick)."""

    def __init__(self, network: str, entry: NetworkInput, tensor: PlacedTensor, several: bool = False):
        self.network, self.pre, self.tensor, self.several = network, entry.preprocessing, tensor, several
        self._refusal, self._writer = None, None
        if self.pre.channels == ARRAY:
            self._refusal = BfpError("its input are arrays, no pictures; give .npz files, or from Python float [C, H, W], normalised")
            return
        try:
            self._writer = PixelWriter(tensor, self.pre)
        except BfpError as error:  # floats and mantissas can still be given
            self._refusal = error

    def prepare(self, image: object, draft: bool = False) -> Prepared:
        """A picture of the network's size, or mantissas, int16 [C, H, W], of an image of any of the kinds above.

        draft: of host.image. Raises BfpError, one sentence, for any other kind, shape or value.
        """
        pixels = isinstance(image, np.ndarray) and image.dtype == np.uint8
        if self.several and self.pre.channels == ARRAY and isinstance(image, (str, os.PathLike, Image.Image)):
            return self.quantised(normalise(part_of_picture(image, self.pre)[None], self.pre)[0])
        if self._writer is None and (pixels or isinstance(image, (str, os.PathLike, Image.Image))):
            raise BfpError(f"network {self.network}: {self._refusal}")
        if isinstance(image, (str, os.PathLike)):
            return load_picture(Path(image), self.pre, draft)
        if isinstance(image, Image.Image):
            return self._picture(image)
        if not isinstance(image, np.ndarray):
            raise BfpError(
                f"network {self.network} takes a path, a PIL picture or an array, not {type(image).__name__}; convert it first"
            )
        if pixels:
            return self._pixels(image)
        if not np.issubdtype(image.dtype, np.floating):
            raise BfpError(
                f"network {self.network} was given an image of {image.dtype}: pixels are uint8 [H, W, C], normalised images "
                "float [C, H, W]; convert it, or pass mantissas to run_mantissas"
            )
        return self.quantised(image)

    def placement(self, image: object) -> Placement:
        """Where an image of any of the kinds above lies in the network's input; one that is no picture is the input itself.

        Raises BfpError for a file that cannot be read.
        """
        height, width = self.pre.size
        size = (width, height)
        if isinstance(image, (str, os.PathLike)):
            size = picture_size(Path(image))
        elif isinstance(image, Image.Image):
            size = upright(image).size
        elif isinstance(image, np.ndarray) and image.dtype == np.uint8:
            size = (image.shape[1], image.shape[0])
        return placement(size, self.pre)

    def _picture(self, image: Image.Image) -> Image.Image:
        try:
            image.load()
            return fit_picture(as_network_takes(image, self.pre), self.pre)
        except (OSError, ValueError, SyntaxError) as error:
            raise BfpError(f"the picture for {self.network} cannot be read ({error}); give a readable one") from None

    def _pixels(self, image: np.ndarray) -> Image.Image:
        channels, height, width = self.tensor.shape
        shaped = image.ndim == 3 and image.shape[2] == channels and image.size
        if not shaped or (image.shape == self.tensor.shape and image.shape != (height, width, channels)):
            raise BfpError(
                f"network {self.network} takes pixels as uint8 [height, width, {channels}], not {_shape(image)}; "
                "put the channels last"
            )
        return fit_picture(Image.fromarray(image if channels > 1 else image[:, :, 0]), self.pre)

    def quantised(self, image: np.ndarray) -> np.ndarray:
        """Mantissas, int16 [C, H, W], of a normalised image. Raises BfpError for another shape or what is not finite."""
        self._check_shape(image)
        if not np.isfinite(image).all():
            raise BfpError(f"the image for {self.network} holds values that are not finite numbers")
        return quantise(self.pre.scaled(image), self.tensor.format)

    def mantissas(self, mantissas: np.ndarray) -> np.ndarray:
        """The mantissas as they are. Raises BfpError unless they are integers of the tensor's shape and range."""
        mantissas = np.asarray(mantissas)
        self._check_shape(mantissas)
        if not np.issubdtype(mantissas.dtype, np.integer):
            raise BfpError(f"{mantissas.dtype} are no mantissas of {self.network}; pass an image to run")
        low, high = self.tensor.format.low, self.tensor.format.high
        if mantissas.min() < low or mantissas.max() > high:
            raise BfpError(
                f"network {self.network} takes mantissas {low}..{high}, but {mantissas.min()}..{mantissas.max()} were "
                "given; quantise them with the input's format"
            )
        # signed as packing wants them, so that unsigned types cannot wrap
        return mantissas.astype(np.int16)

    def write(self, prepared: Prepared, arena: np.ndarray) -> None:
        """Put what ``prepare``, ``quantised`` or ``mantissas`` made into the arena, uint8 [words, lanes]."""
        if isinstance(prepared, Image.Image):
            self._writer.write(prepared, arena)
        else:
            layout.pack(self.tensor, prepared, arena)

    def _check_shape(self, image: np.ndarray) -> None:
        if image.shape != self.tensor.shape:
            raise BfpError(
                f"network {self.network} takes an image of {_shape_of(self.tensor.shape)} (channels, height, width), "
                f"not {_shape(image)}; resize it first"
            )


def _shape(array: np.ndarray) -> str:
    return _shape_of(array.shape) or "a number"


def _shape_of(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
