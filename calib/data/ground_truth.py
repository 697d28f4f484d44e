"""Labels of a flat folder of images from a text file beside them, as the ImageNet validation set is often kept.

Two forms. ``FILE LABEL`` on each line, in any order (the published code's
``groundtruth.txt``, which lists 5,000 of the 50,000 files, and Caffe's
``val.txt``): the images are those listed. Or one ``LABEL`` on each line, one
for each image in the order of the names. A label is a number, or the name of a
class that is one word.
"""

from __future__ import annotations

from pathlib import Path

from bfp.errors import BfpError
from bfp.names import shown
from calib.data.classes import Classes
from calib.data.folders import is_image
from calib.data.texts import read_lines

GROUND_TRUTH = "groundtruth.txt"  # the name under which a folder's labels are found
DEVKIT_CLASSES = 1000


def read_ground_truth(
    listing: Path, suffixes: set[str], classes: Classes
) -> tuple[list[tuple[Path, int]], str]:
    """Images beside ``listing`` and their labels, and one sentence about the form that was found.

    suffixes: of image files, lower case. Raises BfpError, with the line,
    where a line has another form or a file is missing.
    """
    lines = [line.split() for line in read_lines(listing, "ground truth", "write lines FILE LABEL")]
    numbered = [(number, words) for number, words in enumerate(lines, 1) if words]
    if not numbered:
        raise BfpError(f"ground truth {listing} is empty; write lines FILE LABEL")
    width = len(numbered[0][1])
    for number, words in numbered:
        label = classes.label(words[-1])
        if len(words) != width or width > 2 or label is None:
            raise BfpError(
                f"ground truth {listing}, line {number} is {shown(' '.join(words))}; every line must be FILE LABEL, "
                "or every line a LABEL alone, a class index, 0 or more"
            )
        words.append(label)
    if width == 2:
        return _by_name(listing, numbered, suffixes)
    return _by_order(listing, [words[-1] for _, words in numbered], suffixes)


def _by_name(listing: Path, numbered: list, suffixes: set[str]) -> tuple[list[tuple[Path, int]], str]:
    found, moved, seen = [], 0, {}
    for number, (name, folder, label) in numbered:
        if name in seen:
            raise BfpError(f"ground truth {listing}, line {number}: {name} is in line {seen[name]} already; keep one")
        seen[name] = number
        path = listing.parent / name
        if not path.is_file():
            path = listing.parent / folder / name  # where the published script moves it
            moved += 1
        if not path.is_file():
            raise BfpError(
                f"ground truth {listing}, line {number}: {name} is neither in {listing.parent} nor in its folder "
                f"{folder}; put the images beside the file, or remove the lines of those you do not have"
            )
        found.append((path, label))
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
    return sorted(p for p in folder.iterdir() if is_image(p, suffixes))
