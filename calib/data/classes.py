"""Which class a word means: a number, a class's name, or a WordNet id of ImageNet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from bfp.errors import BfpError
from bfp.names import shown

MOST_DIGITS = 9  # of a label in a text


@dataclass(frozen=True)
class Classes:
    """The classes of a network, in the order of its outputs. names: empty where nobody named them; ids: WordNet ids."""

    names: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()

    @cached_property
    def _known(self) -> dict[str, set[int]]:
        known: dict[str, set[int]] = {}
        for index, word in [*enumerate(self.names), *enumerate(self.ids)]:
            known.setdefault(plain(word), set()).add(index)
        return known

    def index(self, word: str) -> int | None:
        """The class of this very name or id, or of the only one that differs in case and ``_`` alone; else None."""
        for words in (self.names, self.ids):
            if words.count(word) == 1:
                return words.index(word)
        found = self._known.get(plain(word), set())
        return next(iter(found)) if len(found) == 1 else None

    def label(self, word: str) -> int | None:
        """What a list says of an image: a number is the label itself, a name stands for its class; else None."""
        return int(word) if is_number(word) else self.index(word)


def plain(word: str) -> str:
    """A name without what its spelling in a folder may change."""
    return " ".join(word.replace("_", " ").casefold().split())


def is_number(word: str) -> bool:
    """Whether it is the text of a label: digits, and not many of them."""
    return word.isascii() and word.isdigit() and len(word) <= MOST_DIGITS


def folder_labels(folder: object, names: Sequence[str], classes: Classes) -> tuple[list[int], bool]:
    """The labels of folders by their names, and whether only their order decides. names: sorted.

    The name of a class or a number decides; the order does where no name is known, and there are as many folders as
    classes (or their number is not known yet). Raises BfpError, with what to do, for anything else.
    """
    found = [classes.index(name) for name in names]
    if None in found and all(map(is_number, names)):
        found = [int(name) for name in names]
    advice = "name the folders by class or by number, or list the images in a CSV file with the columns file,label"
    for i, label in enumerate(found):
        if label is not None and label in found[:i]:
            twins = f"{shown(names[found.index(label)])} and {shown(names[i])}"
            raise BfpError(f"folder {folder}: {twins} are both class {label}; {advice}")
    if None not in found:
        return found, False
    others = [name for name, label in zip(names, found) if label is None and not is_number(name)]
    unknown = [*others, names[found.index(None)]][0]
    if len(found) > found.count(None) or any(map(is_number, names)):
        raise BfpError(f"folder {folder}: {shown(unknown)} is the name of no class, and others are; {advice}")
    if classes.names and len(classes.names) != len(names):
        raise BfpError(
            f"folder {folder}: {shown(unknown)} is the name of none of the {len(classes.names)} classes, and "
            f"{len(names)} folders of images are not as many, so that their order says nothing; {advice}"
        )
    return list(range(len(names))), True
