"""Archives of arrays (.npz): written whole, read without trusting a single size that they state."""

from __future__ import annotations

import io
import math
import os
import re
import zipfile
from pathlib import Path

import numpy as np

from bfp.errors import BfpError
from bfp.files import open_file, write_bytes
from bfp.names import SHOWN, cut, printable

SUFFIX = ".npy"


def write_arrays(path: str | Path, arrays: dict[str, np.ndarray]) -> None:
    """Write an uncompressed .npz file whole or not at all; the same arrays give the same bytes."""
    content = io.BytesIO()  # an archive that meets a full disk while it is made complains once more when it is forgotten
    np.savez(content, **arrays)
    write_bytes(path, content.getbuffer())


def read_arrays(path: str | Path, what: str, missing: str, advice: str) -> dict[str, np.ndarray]:
    """All arrays by name, as they are stored. Nothing larger than the file is made, and nothing is unpickled.

    what: begins the refusal; missing, advice: what to do where there is no file, and where it is damaged. Raises
    BfpError for what is no uncompressed archive of arrays.
    """
    with open_file(path, what, missing) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                members, size = archive.infolist(), os.fstat(file.fileno()).st_size
                if len({m.filename for m in members}) != len(members):
                    raise ValueError("an array occurs twice")
                return {_name(m): _array(archive, m, size) for m in members}
        except Exception as error:  # the readers raise whatever the damaged bytes lead them to
            reason = cut(printable(re.sub(r"\s+", " ", str(error))), SHOWN)
            raise BfpError(f"{what} {path} is damaged or truncated ({reason}); {advice}") from None


def _name(member: zipfile.ZipInfo) -> str:
    if not member.filename.endswith(SUFFIX):
        raise ValueError("it holds more than arrays")
    return member.filename[: -len(SUFFIX)]


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, size: int) -> np.ndarray:
    """One array of an archive of ``size`` bytes; its header must account for every byte of it."""
    if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
        raise ValueError("an array is compressed")
    if member.file_size > size:
        raise ValueError("an array is larger than the file")
    raw = archive.read(member)
    header = io.BytesIO(raw)
    if np.lib.format.read_magic(header) != (1, 0):
        raise ValueError("an array has another format")
    shape, _, dtype = np.lib.format.read_array_header_1_0(header)
    if dtype.hasobject:
        raise ValueError("an array holds objects")
    if min(shape, default=1) < 0 or math.prod(shape) * dtype.itemsize != len(raw) - header.tell():
        raise ValueError("an array has another size than its shape")
    header.seek(0)
    return np.lib.format.read_array(header, allow_pickle=False)
