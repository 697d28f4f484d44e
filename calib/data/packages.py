"""Files inside installed Python packages: images, and networks."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from bfp.errors import BfpError
from calib.data.items import NotThere

PACKAGE = "package:"  # what such a source begins with


def package_files(source: str, what: str = "images") -> list[Path]:
    """Files inside an installed package, found without importing it; the last part may be a pattern.

    Raises BfpError, whose sentence begins with ``what``, the plural of what the files are; NotThere where there is none.
    """
    name, _, pattern = source.removeprefix(PACKAGE).partition("/")
    try:
        spec = importlib.util.find_spec(name) if name and pattern and not name.startswith(".") else None
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise NotThere(f"{what} {source} need the package {name!r}, which is not installed")
    folder = Path(next(iter(spec.submodule_search_locations)))
    try:
        if ".." in Path(pattern).parts:
            raise ValueError("it leaves the package")
        files = sorted(p for p in folder.glob(pattern) if p.is_file())
    except (ValueError, NotImplementedError, OSError, IndexError) as error:
        raise BfpError(f"{what} {source}: {pattern!r} names no files of the package ({error}); give a file or a pattern") from None
    if not files:
        raise NotThere(f"{what} {source} do not exist in the package {name!r}")
    return files
