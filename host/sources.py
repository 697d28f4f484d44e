"""Pictures named on the command line: files, folders, and folders of classes, whose pictures bring their labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bfp.errors import BfpError
from bfp.names import shown

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".gif"}


@dataclass(frozen=True)
class Source:
    """One picture, or what stands for one. label: index of its class, None where it is not known.

    parts: of a network with several inputs the picture of each by its name, the first of which is ``path``; else None.
    read: of what is no picture gives what the accelerator takes, the image of this ``number`` in the file ``path``.
    """

    path: Path
    label: int | None = None
    parts: Mapping[str, Path] | None = None
    read: Callable[[], object] | None = None
    number: int = 0

    @property
    def image(self) -> object:
        """What the accelerator takes."""
        if self.read is not None:
            return self.read()
        return self.path if self.parts is None else dict(self.parts)

    @property
    def name(self) -> str:
        """How results call it."""
        if self.read is not None:
            return f"{self.path}, image {self.number}"
        return str(self.path) if self.parts is None else ", ".join(f"{name}={path}" for name, path in self.parts.items())


def find_pictures(names: Iterable[str | Path], classes: int | None = None) -> list[Source]:
    """The pictures in the order of the names, those of a folder in the order of theirs.

    A folder that holds folders is one of classes: the label of a picture is the index of its folder among them, sorted
    by name, as in calibration. classes: how many there are, None where no label is asked for. Raises BfpError for what does not exist, for a folder
    without pictures, and for one with more classes than the network has.
    """
    found: list[Source] = []
    for name in map(Path, names):
        try:
            if name.is_dir():
                found += _folder(name, classes)
            elif name.exists():
                found.append(Source(name))
            else:
                raise BfpError(f"image {name} does not exist; check the name")
        except OSError as error:
            raise BfpError(f"images {shown(str(name))} cannot be read ({error.strerror}); check the name, and whose they are") from None
    return found


def find_parts(words: Iterable[str], inputs: tuple[str, ...]) -> list[Source]:
    """The pictures of several inputs, each ``NAME=FILE``, or ``NAME=FOLDER`` with pictures of the same names in each folder.

    Raises BfpError where an input lacks, is unknown or comes twice, and where folders do not hold the same names.
    """
    found: dict[str, list[Path]] = {}
    for word in words:
        name, _, place = word.partition("=")
        if name not in inputs or not place or name in found:
            raise BfpError(f"{shown(word)} is not NAME=FILE of an input that has none yet; the inputs are {', '.join(inputs)}")
        found[name] = [source.path for source in find_pictures([place])]
    lacking = [name for name in inputs if name not in found]
    if lacking:
        raise BfpError(f"no picture for the input {lacking[0]}; give {lacking[0]}=FILE, and one for each of {', '.join(inputs)}")
    names = {name: [path.stem for path in paths] if len(paths) > 1 else [""] for name, paths in found.items()}
    first = names[inputs[0]]
    for name, others in names.items():
        if others != first:
            raise BfpError(f"the inputs {inputs[0]} and {name} have {len(first)} and {len(others)} pictures, not of the same names; give pairs")
    return [Source(row[0], parts=dict(zip(inputs, row))) for row in zip(*(found[name] for name in inputs))]


def _folder(folder: Path, classes: int | None) -> list[Source]:
    # hidden folders are no classes: they would shift the labels of all others
    groups = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if classes is not None and len(groups) > classes:
        raise BfpError(f"folder {folder} has {len(groups)} folders of classes, and the network {classes} classes; give one for each")
    labelled = [Source(p, label) for label, group in enumerate(groups) for p in _pictures(group)]
    found = labelled or [Source(p) for p in _pictures(folder)]
    if not found:
        raise BfpError(f"folder {folder} holds no images ({', '.join(sorted(SUFFIXES))}); give another")
    return found


def _pictures(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
