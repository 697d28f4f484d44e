"""A folder as a source of images: a flat one, or one with a folder for each class."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from bfp.boxes import Boxes
from bfp.errors import BfpError
from bfp.names import SHOWN, cut, shown
from calib.data.classes import Classes, folder_labels

# never classes: what other programs leave beside pictures; and whatever begins with a dot or two underlines
LEFT_BY_OTHERS = ("thumbs", "thumbnails", "@eadir", "lost+found")
# not classes either, where there is nothing else; the first is what people mean
PARTS = ("val", "valid", "validation", "test", "testing", "train", "training")
MOST_SHOWN = 8  # classes that a note lists


@dataclass(frozen=True)
class Labelled:
    """Images of one source, with their labels.

    pairs: path and label, None where there is none, or the boxes in the image, or the file of its target. notes: what was taken and left out, one sentence each. refusal:
    why folders of classes give no labels, or empty. ordered: folders of classes whose order alone decides.
    """

    pairs: tuple[tuple[Path, int | Boxes | Path | None], ...]
    notes: tuple[str, ...] = ()
    refusal: str = ""
    ordered: int = 0


def is_image(path: Path, suffixes: set[str]) -> bool:
    """Whether a file's name is an image's. ``._NAME`` is what macOS keeps beside a file, and no image."""
    return path.suffix.lower() in suffixes and not path.name.startswith("._") and path.is_file()


def read_folder(path: Path, suffixes: set[str], classes: Classes) -> Labelled:
    """Images of a folder: those in it, without labels, or those of its folders, each a class.

    suffixes: of image files, lower case. A folder without images is no class. Raises BfpError where there are no
    images, images beside folders of images, or parts such as train and val in place of classes.
    """
    try:
        entries = sorted(path.iterdir())
    except OSError as error:
        raise BfpError(f"folder {path} cannot be read ({error.strerror}); give another") from None
    folders = [p for p in entries if p.is_dir()]
    hidden = [p for p in folders if p.name.startswith((".", "__")) or p.name.lower() in LEFT_BY_OTHERS]
    direct = [p for p in entries if is_image(p, suffixes)]
    others = sum(not p.is_dir() for p in entries) - len(direct)
    images: dict[Path, list[Path]] = {}
    for folder in (p for p in folders if p not in hidden):
        below = files_below(folder)
        images[folder] = [p for p in below if is_image(p, suffixes)]
        others += len(below) - len(images[folder])
    groups = {folder: found for folder, found in images.items() if found}
    notes = [f"{others} files in {path} were left out, their names are not images'"] if others else []
    empty = [p.name for p in folders if p not in groups and not p.name.startswith(".")]
    if empty:
        notes.append(f"{len(empty)} folders in {path} were left out, they hold no images of a class: {listed(empty)}")
    if not groups and not direct:
        raise BfpError(f"folder {path} holds no images ({', '.join(sorted(suffixes))}); give another")
    if not groups:
        return Labelled(tuple((p, None) for p in direct), tuple(notes))
    names = [folder.name for folder in groups]
    check_classes(path, names, len(direct))
    try:
        labels, ordered = folder_labels(path, names, classes)
    except BfpError as error:
        pairs = tuple((p, None) for found in groups.values() for p in found)
        return Labelled(pairs, tuple(notes), str(error))
    pairs = tuple((p, label) for label, found in zip(labels, groups.values()) for p in found)
    taken = listed([f"{label} {name}" for label, name in sorted(zip(labels, names))])
    notes.append(f"{path} gives {len(pairs)} images in {len(names)} classes: {taken}")
    return Labelled(pairs, tuple(notes), "", len(names) if ordered else 0)


def files_below(folder: Path) -> list[Path]:
    """All files of a folder and its folders, in order; hidden folders and links to folders are left out."""
    found = []
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith((".", "__")))
        found += [Path(root, f) for f in sorted(files)]
    return found


def check_classes(path: Path, names: list[str], direct: int) -> None:
    """Raise BfpError where folders of images are hardly classes. direct: images beside them."""
    if direct:
        raise BfpError(
            f"folder {path} holds {direct} images beside {len(names)} folders of images ({listed(names)}); "
            "move the images into the folder of their class, or name the folders you mean one by one"
        )
    parts = {name.lower(): name for name in names}
    if set(parts) <= set(PARTS):
        meant = next(parts[part] for part in PARTS if part in parts)
        raise BfpError(f"folder {path} holds {listed(names)}, which are no classes; did you mean {path / meant}?")


def listed(words: list[str]) -> str:
    """Some words of a list, with commas between, and how many more there are."""
    some = ", ".join(cut(shown(word)[1:-1], SHOWN) for word in words[:MOST_SHOWN])
    return some + (f" and {len(words) - MOST_SHOWN} more" if len(words) > MOST_SHOWN else "")
