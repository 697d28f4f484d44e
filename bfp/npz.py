"""Arrays inside an .npz archive, read one at a time without holding the whole."""

from __future__ import annotations

import math
import struct
import tokenize
import weakref
import zipfile
import zlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import BinaryIO

import numpy as np

from bfp.errors import BfpError
from bfp.files import open_file
from bfp.names import SHOWN, cut, printable, shown

SUFFIX = ".npy"
MOST_IMAGES = 10**7  # each is a few hundred bytes of list, read or not
MOST_LABEL = 10**9
KEPT_BYTES = 1 << 24  # of images read last, since calibration looks at the same ones in pass after pass
# what zipfile, zlib and NumPy's reader of headers raise for damaged bytes
DAMAGE = (OSError, ValueError, EOFError, KeyError, TypeError, SyntaxError, MemoryError, RecursionError, zipfile.BadZipFile,
          NotImplementedError, RuntimeError, zlib.error, struct.error, tokenize.TokenError)  # fmt: skip


def said(error: Exception) -> str:
    """A library's words about damaged bytes, on one line and short."""
    return cut(printable(" ".join(str(error).split())), SHOWN) or type(error).__name__


def header_of(stream: BinaryIO, size: int) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, order and type of an array whose file, of ``size`` bytes, begins here.

    Raises ValueError where the header does not account for every byte, or states more images than anybody has.
    """
    version = np.lib.format.read_magic(stream)
    reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = reader(stream)
    if dtype.hasobject:  # of no size, and refused by its type
        return shape, fortran, dtype
    if min(shape, default=1) < 0 or math.prod(shape) * dtype.itemsize != size - stream.tell():
        raise ValueError(f"its shape {shown(shape)} is not that of {size} bytes")
    if shape and shape[0] > MOST_IMAGES:
        raise ValueError(f"it holds more than {MOST_IMAGES} images")
    return shape, fortran, dtype


def array_names(path: Path) -> list[str]:
    """Names of an archive's arrays. Raises BfpError for a file that is none."""
    open_file(path, "images", "give another source").close()  # never waits, as for a pipe
    try:
        with zipfile.ZipFile(path) as archive:
            return [n.removesuffix(SUFFIX) for n in archive.namelist()]
    except DAMAGE as error:
        raise BfpError(f"{path} is damaged or no .npz file ({said(error)}); write it with numpy.savez") from None


class NpzMember(ABC):
    """One array of an archive, read forwards, and optionally integer ``labels`` [N].

    Raises BfpError where the archive is damaged, lacks an array, or its
    shape or type is another.
    """

    def __init__(self, path: Path, images: str | None = None, labels: str | None = None) -> None:
        self.path, names = path, array_names(path)
        if images is None:
            images = "images"
            labels = "labels" if "labels" in names else None
        for key in (images, labels):
            if key is not None and key not in names:
                known = cut(printable(", ".join(names)), SHOWN)
                raise BfpError(f"{path} has no array {shown(key)}, only {known}; name one as file.npz:images:labels")
        self.key, self.labels = images, None
        self._stream = None
        self._next = 0
        self._kept: dict[int, bytes] = {}  # in the order in which they were read
        self._open()
        if self.fortran or not self.shape or not self.fits():
            found = f"{shown(images)} is {cut(str(self.dtype), SHOWN)} of shape {shown(self.shape)}"
            raise BfpError(f"{path}: {found}; images must be {self.expected()}, in C order")
        if labels is not None:
            self.labels = self._read_labels(labels)

    @abstractmethod
    def fits(self) -> bool:
        """Whether images can be made of an array of this type and shape."""

    @abstractmethod
    def expected(self) -> str:
        """The types and shapes that fit."""

    def __len__(self) -> int:
        return self.shape[0]

    def _read_labels(self, key: str) -> np.ndarray:
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(key + SUFFIX) as stream:
                shape, _, dtype = header_of(stream, archive.getinfo(key + SUFFIX).file_size)
                labels = np.frombuffer(stream.read(), dtype) if dtype.kind in "iu" else np.zeros(0)
        except DAMAGE as error:
            raise BfpError(f"{self.path}: {shown(key)} cannot be read ({said(error)}); write it with numpy.savez") from None
        if shape != (len(self),) or dtype.kind not in "iu" or not 0 <= min(labels.tolist()) <= max(labels.tolist()) <= MOST_LABEL:
            raise BfpError(
                f"{self.path}: {shown(key)} is {cut(str(dtype), SHOWN)} of shape {shown(shape)}; "
                f"labels must be {len(self)} integers, 0 to {MOST_LABEL}"
            )
        return labels.astype(np.int64)

    def _open(self) -> None:
        """Start at the first image; the archive's members can only be read forwards."""
        try:
            if self._stream is not None:
                self._stream.close()
            archive = zipfile.ZipFile(self.path)
            self._stream = archive.open(self.key + SUFFIX)
            weakref.finalize(self, self._stream.close)  # and with it the file, when nobody needs the images any more
            archive.close()
            self.shape, self.fortran, self.dtype = header_of(self._stream, archive.getinfo(self.key + SUFFIX).file_size)
        except DAMAGE as error:
            raise BfpError(f"{self.path}: {shown(self.key)} cannot be read ({said(error)}); write it with numpy.savez") from None
        self._next = 0

    def values(self, index: int) -> np.ndarray:
        """One image as it is stored; going forwards costs no more than reading, going back behind those kept starts again."""
        if index not in self._kept:
            data = self._read(index)
            while self._kept and (len(self._kept) + 1) * len(data) > KEPT_BYTES:
                del self._kept[next(iter(self._kept))]
            self._kept[index] = data
        return np.frombuffer(self._kept[index], self.dtype).reshape(self.shape[1:])

    def _read(self, index: int) -> bytes:
        if index < self._next:
            self._open()
        size = int(np.prod(self.shape[1:])) * self.dtype.itemsize
        try:
            data = b""
            while self._next <= index:
                data = self._stream.read(size)
                self._next += 1
        except DAMAGE as error:
            raise BfpError(f"{self.path}: image {index} cannot be read ({said(error)}); write the file again") from None
        if len(data) != size:
            raise BfpError(f"{self.path} ends before image {index}; write the file again")
        return data


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
