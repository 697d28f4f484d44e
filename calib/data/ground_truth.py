"""Labels of a flat folder of images from a text file beside them, as the ImageNet validation set is often kept.

Two forms. ``FILE LABEL`` on each line, in any order (the published code's
``groundtruth.txt``, which lists 5,000 of the 50,000 files, and Caffe's
``val.txt``): the images are those listed. Or one ``LABEL`` on each line, one
for each image in the order of the names.
"""

from __future__ import annotations

from pathlib import Path

from bfp.errors import BfpError

GROUND_TRUTH = "groundtruth.txt"  # the name under which a folder's labels are found
DEVKIT_CLASSES = 1000


def read_ground_truth(listing: Path, suffixes: set[str]) -> tuple[list[tuple[Path, int]], str]:
    """Images beside ``listing`` and their labels, and one sentence about the form that was found.

    suffixes: of image files, lower case. Raises BfpError, with the line,
    where a line has another form or a file is missing.
    """
    try:
        lines = [line.split() for line in listing.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise BfpError(f"ground truth {listing} cannot be read ({error}); write lines FILE LABEL") from None
    numbered = [(number, words) for number, words in enumerate(lines, 1) if words]
    if not numbered:
        raise BfpError(f"ground truth {listing} is empty; write lines FILE LABEL")
    width = len(numbered[0][1])
    for number, words in numbered:
        if len(words) != width or width > 2 or not (words[-1].isascii() and words[-1].isdigit()):
            raise BfpError(
                f"ground truth {listing}, line {number} is {' '.join(words)[:60]!r}; every line must be FILE LABEL, "
                "or every line a LABEL alone, a class index, 0 or more"
            )
    if width == 2:
        return _by_name(listing, numbered, suffixes)
    return _by_order(listing, [int(words[0]) for _, words in numbered], suffixes)


def _by_name(listing: Path, numbered: list, suffixes: set[str]) -> tuple[list[tuple[Path, int]], str]:
    found, moved, seen = [], 0, {}
    for number, (name, label) in numbered:
        if name in seen:
            raise BfpError(f"ground truth {listing}, line {number}: {name} is in line {seen[name]} already; keep one")
        seen[name] = number
        path = listing.parent / name
        if not path.is_file():
            path = listing.parent / label / name  # where the published script moves it
            moved += 1
        if not path.is_file():
            raise BfpError(
                f"ground truth {listing}, line {number}: {name} is neither in {listing.parent} nor in its folder "
                f"{label}; put the images beside the file, or remove the lines of those you do not have"
            )
        found.append((path, int(label)))
    others = len(_images(listing.parent, suffixes)) - (len(found) - moved)
    note = f"{listing} gives the label of each of {len(found)} images by name"
    return found, note + (f"; {others} images beside it that it does not list were left out" if others > 0 else "")


def _by_order(listing: Path, labels: list[int], suffixes: set[str]) -> tuple[list[tuple[Path, int]], str]:
    images = _images(listing.parent, suffixes)
    if len(images) != len(labels):
        raise BfpError(
            f"ground truth {listing} has {len(labels)} labels for {len(images)} images beside it; "
            "it must have one for each, in the order of their names, or lines FILE LABEL"
        )
    if min(labels) == 1 and max(labels) == DEVKIT_CLASSES:
        raise BfpError(
            f"ground truth {listing} counts classes from 1 to {DEVKIT_CLASSES}, as the ILSVRC2012 development kit "
            "does, in an order that is not the networks'; convert them to 0..999 in the order of the WordNet ids"
        )
    return list(zip(images, labels)), f"{listing} gives the labels of {len(images)} images in the order of their names"


def _images(folder: Path, suffixes: set[str]) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in suffixes and p.is_file())
