"""The files that decide what a network's TOML file gives: when one changes, its results are outdated.

What is read while a network is built (modules that the user's module imports,
weights, tables beside them) is only known when it has been built: it is
watched then, and written beside the results. Images are known by the list
that they make, with the size and time of each file.
"""

from __future__ import annotations

import glob
import hashlib
import importlib.util
import json
import os
import re
import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from bfp.errors import BfpError
from bfp.files import write_json
from calib.config import WEIGHT_WORDS, NetworkConfig
from calib.data.images import ImageSet, open_images
from calib.options import ImageOptions

OWN = tuple(str(Path(__file__).parents[1] / part) + os.sep for part in ("bfp", "calib", "host"))
PACKAGES = ("site-packages", "dist-packages")  # folders of what is installed; its versions are not followed
NOT_FILES = ("/dev/", "/proc/", "/sys/")
_watching: list[set[str]] = []  # the sets that files being opened are added to


def module_files(config: NetworkConfig) -> list[str]:
    """Python files of a model and a metric that lie beside the network's file; of an ONNX file, it and what begins with its name."""
    if config.onnx is not None:
        weights = sorted(str(p) for p in config.onnx.parent.glob(f"{glob.escape(config.onnx.stem)}*") if p.is_file())
        return weights + metric_files(config)
    return sorted({*_beside(config, config.model), *metric_files(config)})


def metric_files(config: NetworkConfig) -> list[str]:
    """Python files of the user's metric that lie beside the network's file."""
    return [] if config.metric is None else _beside(config, config.metric)


def _beside(config: NetworkConfig, name: str) -> list[str]:
    """Python files of the module of ``module:callable``, where it lies beside the network's file."""
    beside = config.path.parent / name.split(":")[0].split(".")[0]
    found = beside.rglob("*.py") if beside.is_dir() else [beside.with_suffix(".py")]
    return sorted(str(p) for p in found if p.is_file())


def image_files(*sections: ImageOptions | None) -> list[str]:
    """Those image sources that are files (archives without the names of their arrays)."""
    sources = [s for section in sections if section is not None for s in section.images]
    files = {re.sub(r"\.npz:.*", ".npz", source) for source in sources}
    return sorted(f for f in files if Path(f).is_file())


def weight_files(config: NetworkConfig) -> list[str]:
    """The weights' file, if ``weights`` names one that exists."""
    return [config.weights] if config.weights not in WEIGHT_WORDS and Path(config.weights).is_file() else []


def class_files(config: NetworkConfig) -> list[str]:
    """The file of class names, if ``classes`` names one that exists."""
    return [config.classes] if isinstance(config.classes, str) and Path(config.classes).is_file() else []


def digest(files: Iterable[str | Path]) -> str:
    """SHA-256 over the contents of the files, in order; their names do not count."""
    total = hashlib.sha256()
    for file in files:
        with open(file, "rb") as f:
            total.update(hashlib.file_digest(f, "sha256").digest())
    return total.hexdigest()


def images_digest(images: ImageSet) -> str:
    """SHA-256 over the list of images, hex: names, labels or boxes, the files' sizes and times, augmentation, preprocessing."""
    total = hashlib.sha256(f"{images.augment} {images.seed} {images.pre}\n".encode())
    stamps: dict[str, str] = {}
    for item in images.items:
        file = re.sub(r"\[\d+\]$", "", item.name)  # the archive of an image inside one
        file = re.sub(r"\.npz:[^:/]*$", ".npz", file)
        if file not in stamps:
            try:
                found = os.stat(file)
                stamps[file] = f"{found.st_size} {found.st_mtime_ns}"
            except (OSError, ValueError):
                stamps[file] = ""  # made, not read; or missing, and then opening it says so
        total.update(f"{item.name} {item.label} {stamps[file]}\n".encode("utf-8", "surrogateescape"))
        for other in (*item.files, *(() if item.target is None else (item.target,))):
            found = os.stat(other) if other.exists() else None
            stamp = "" if found is None else f"{found.st_size} {found.st_mtime_ns}"
            total.update(f"{other} {stamp} {images.masks}\n".encode("utf-8", "surrogateescape"))
        if item.boxes is not None:
            total.update(item.boxes.corners.tobytes() + item.boxes.classes.tobytes())
    return total.hexdigest()


def pictures_digest(config: NetworkConfig) -> str:
    """``images_digest`` of both sections of a network's file that are not archives, which count by their content.

    A section that gives no images counts by what is wrong with it.
    """
    found = []
    for section in (config.calibration, config.evaluation):
        if section is None or all(source == "random" or ".npz" in source for source in section.images):
            continue
        try:
            found.append(images_digest(open_images(section, config.input, config.seed)))
        except BfpError as error:
            found.append(str(error))
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()


# -- what is read while a network is built --------------------------------------------------


@contextmanager
def files_read() -> Iterator[dict[str, str]]:
    """A dict that holds, when the block has ended, the SHA-256 of each file that it read, by path.

    Modules that were imported before count as read. Left out are installed packages, this project's own sources and
    what is gone when the block ends. A file that is opened without Python's knowledge, as by safetensors, is not seen.
    """
    opened: set[str] = set()
    found: dict[str, str] = {}
    _watching.append(opened)
    try:
        yield found
    finally:
        _watching[:] = [one for one in _watching if one is not opened]  # two that saw the same are equal
    opened |= {m.__file__ for m in list(sys.modules.values()) if isinstance(getattr(m, "__file__", None), str)}
    for path in sorted({source_of(name) for name in opened}):
        if counts(path):
            found[path] = digest([path])


def _note(event: str, arguments: tuple) -> None:
    """An audit hook: a file that is opened to be read is added to all sets that watch."""
    if event != "open" or not _watching:
        return
    path, mode, flags = arguments
    writes = any(c in mode for c in "wxa") if isinstance(mode, str) else flags & (os.O_WRONLY | os.O_CREAT)
    if isinstance(path, (str, bytes)) and path and not writes:
        name = os.fsdecode(path)
        for opened in _watching:
            opened.add(os.path.abspath(name))


sys.addaudithook(_note)


def source_of(path: str) -> str:
    """The Python file that a compiled one was made of; any other path as it is."""
    try:
        return importlib.util.source_from_cache(path) if path.endswith(".pyc") else path
    except ValueError:  # not where Python keeps them
        return path


@cache
def installed() -> tuple[str, ...]:
    """Folders of Python's own modules and of packages that are installed for it."""
    paths = sysconfig.get_paths()
    folders = {*(paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")), site.getusersitepackages()}
    return tuple(folder + os.sep for folder in folders)


def counts(path: str) -> bool:
    """Whether a file is the user's own: an ordinary file, neither installed nor this project's source."""
    if path.startswith((*OWN, *NOT_FILES, *installed())) or any(part in PACKAGES for part in path.split(os.sep)):
        return False
    return os.path.isfile(path)


def write_record(path: Path, files: dict[str, str]) -> None:
    """Write down what a network was built of: SHA-256 by path, from ``files_read``. Raises BfpError where it cannot."""
    write_json(path, files, indent=1)


def record_holds(path: Path) -> bool:
    """Whether there is a record, and each of its files is as it was."""
    try:
        return files_hold(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return False


def files_hold(files: object) -> bool:
    """Whether these are digests by path, as of ``files_read``, and each file is as it was."""
    try:
        return isinstance(files, dict) and all(digest([path]) == value for path, value in files.items())
    except (OSError, ValueError, TypeError):
        return False
