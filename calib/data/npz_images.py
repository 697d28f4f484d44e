"""Images inside an .npz archive, read one at a time without holding the array."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from bfp.errors import BfpError


class NpzMember:
    """One array of an archive, read forwards, and optionally integer ``labels`` [N].

    Raises BfpError where the archive is damaged, lacks an array, or its
    shape or type is another.
    """

    def __init__(self, path: Path, images: str | None = None, labels: str | None = None) -> None:
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive:
                names = [n.removesuffix(".npy") for n in archive.namelist()]
        except (OSError, zipfile.BadZipFile) as error:
            raise BfpError(f"{path} is damaged or no .npz file ({error}); write it with numpy.savez") from None
        if images is None:
            images = "images"
            labels = "labels" if "labels" in names else None
        for key in filter(None, (images, labels)):
            if key not in names:
                known = ", ".join(names)
                raise BfpError(f"{path} has no array {key!r}, only {known}; name one as file.npz:images:labels")
        self.key, self.labels = images, None
        self._stream = None
        self._next = 0
        self._open()
        if self.fortran or not self.shape or not self.fits():
            found = f"{images!r} is {self.dtype} of shape {self.shape}"
            raise BfpError(f"{path}: {found}; images must be {self.expected()}, in C order")
        if labels is not None:
            self.labels = self._read_labels(labels)

    def fits(self) -> bool:
        """Whether images can be made of an array of this type and shape."""
        raise NotImplementedError

    def expected(self) -> str:
        """The types and shapes that fit."""
        raise NotImplementedError

    def __len__(self) -> int:
        return self.shape[0]

    def _read_labels(self, key: str) -> np.ndarray:
        try:
            with np.load(self.path, allow_pickle=False) as archive:
                labels = archive[key]
        except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise BfpError(f"{self.path}: {key!r} cannot be read ({error}); write it with numpy.savez") from None
        if labels.shape != (len(self),) or labels.dtype.kind not in "iu" or labels.min(initial=0) < 0:
            raise BfpError(
                f"{self.path}: {key!r} is {labels.dtype} of shape {labels.shape}; "
                f"labels must be {len(self)} integers, 0 or more"
            )
        return labels

    def _open(self) -> None:
        """Start at the first image; the archive's members can only be read forwards."""
        try:
            if self._stream is not None:
                self._stream.close()
            self._stream = zipfile.ZipFile(self.path).open(self.key + ".npy")
            version = np.lib.format.read_magic(self._stream)
            reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            self.shape, self.fortran, self.dtype = reader(self._stream)
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise BfpError(f"{self.path}: {self.key!r} cannot be read ({error}); write it with numpy.savez") from None
        self._next = 0

    def values(self, index: int) -> np.ndarray:
        """One image as it is stored; going forwards costs no more than reading, going back starts again."""
        if index < self._next:
            self._open()
        size = int(np.prod(self.shape[1:])) * self.dtype.itemsize
        try:
            data = b""
            while self._next <= index:
                data = self._stream.read(size)
                self._next += 1
        except (OSError, zipfile.BadZipFile, EOFError) as error:
            raise BfpError(f"{self.path}: image {index} cannot be read ({error}); write the file again") from None
        if len(data) != size:
            raise BfpError(f"{self.path} ends before image {index}; write the file again")
        return np.frombuffer(data, self.dtype).reshape(self.shape[1:])


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


class NpzArrays(NpzMember):
    """Arrays uint8 or float32: maps [N, C, H, W], sequences [N, C, L], frames [N, T, H, W, C / T]."""

    def __init__(self, path: Path, wanted: tuple[int, int, int], images: str | None = None, labels: str | None = None) -> None:
        self.wanted = wanted
        super().__init__(path, images, labels)

    def fits(self) -> bool:
        channels, height, width = self.wanted
        shapes = {(channels, height, width), (channels, width) if height == 1 else ()}
        frames = len(self.shape) == 5 and self.shape[1] * self.shape[4] == channels and self.shape[2:4] == (height, width)
        return self.dtype in (np.uint8, np.dtype("<f4")) and (tuple(self.shape[1:]) in shapes or frames)

    def expected(self) -> str:
        sizes = ", ".join(map(str, self.wanted))
        return f"uint8 or float32 of shape (arrays, {sizes}), as [input] channels and size say, without its 1 or as frames"

    def read(self, index: int) -> np.ndarray:
        """One array, float32 [H, W, C]. Raises BfpError for values that are not finite."""
        values = self.values(index).astype(np.float32)
        if not np.isfinite(values).all():
            raise BfpError(f"{self.path}: array {index} of {self.key!r} holds values that are not finite; correct it")
        if values.ndim == 4:  # frames, and the channels of each
            values = values.transpose(0, 3, 1, 2)
        return values.reshape(self.wanted).transpose(1, 2, 0)
