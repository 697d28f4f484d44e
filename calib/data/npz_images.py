"""Images inside an .npz archive, read one at a time without holding the array."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from bfp.errors import BfpError


class NpzImages:
    """``images`` uint8 [N, H, W, 3 or 1] or [N, H, W], and optionally integer ``labels`` [N].

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
        if self.dtype != np.uint8 or self.fortran or not (
            len(self.shape) == 3 or (len(self.shape) == 4 and self.shape[3] in (1, 3))
        ):
            raise BfpError(
                f"{path}: {images!r} is {self.dtype} of shape {self.shape}; images must be uint8 of shape "
                "(images, height, width, 3 or 1), in C order"
            )
        if labels is not None:
            self.labels = self._read_labels(labels)

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

    def read(self, index: int) -> Image.Image:
        """One image; going forwards costs no more than reading, going back starts again."""
        if index < self._next:
            self._open()
        size = int(np.prod(self.shape[1:]))
        try:
            data = b""
            while self._next <= index:
                data = self._stream.read(size)
                self._next += 1
        except (OSError, zipfile.BadZipFile, EOFError) as error:
            raise BfpError(f"{self.path}: image {index} cannot be read ({error}); write the file again") from None
        if len(data) != size:
            raise BfpError(f"{self.path} ends before image {index}; write the file again")
        pixels = np.frombuffer(data, np.uint8).reshape(self.shape[1:])
        return Image.fromarray(pixels[:, :, 0] if pixels.shape[2:] == (1,) else pixels)
