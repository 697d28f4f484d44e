"""Records that cross a border: what each field may hold is declared once, and both reading and writing come from it.

A frozen dataclass declares a field as ``lanes: int = checked(whole(1, 64))``. ``read`` makes the record from parsed
JSON: exactly its keys, every value of its type and inside its range. ``write`` makes JSON of the record, and reads it
again, so that nothing is written that could not be read. A refusal is one sentence that names file, field and value.

A kind says what one value may be. Sizes are bounded here, before anything of that size is made.
"""

from __future__ import annotations

import base64
import json
import operator
from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass
from numbers import Real
from typing import Any

from bfp.errors import BfpError
from bfp.names import NAME_WORDS, SHOWN, TEXT_WORDS, cut, is_file_name, is_name, is_text, shown

LARGEST_NUMBER = 1e30  # of floats in files; float32 has no larger ones by far
MOST_PATH = 60  # characters of a field's path in a message
MOST_REASON = 160  # and of another message inside one


class Place:
    """Where a value stands: in which file, under which keys. file begins a refusal, advice ends it."""

    __slots__ = ("advice", "file", "parent", "part")

    def __init__(self, file: str, advice: str, parent: Place | None = None, part: str = "") -> None:
        self.file, self.advice, self.parent, self.part = file, advice, parent, part

    def key(self, name: str) -> Place:
        """The value under a key of this one."""
        return Place(self.file, self.advice, self, f".{name}")

    def item(self, index: int) -> Place:
        """An item of this list."""
        return Place(self.file, self.advice, self, f"[{index}]")

    @property
    def path(self) -> str:
        """The keys from the file's top, for people."""
        place, parts = self, []
        while place is not None:
            parts.append(place.part)
            place = place.parent
        return cut("".join(reversed(parts)).lstrip("."), MOST_PATH)

    def refuse(self, value: object, words: str) -> BfpError:
        """The refusal of a value that is not what ``words`` say."""
        return BfpError(f"{self.file}: {self.path or 'its content'} is {shown(value)}, not {words}; {self.advice}")

    def wrong(self, reason: str) -> BfpError:
        """The refusal for another reason, a sentence without its full stop."""
        inside = f"{self.path}: " if self.path else ""
        return BfpError(f"{self.file}: {inside}{cut(reason, MOST_REASON)}; {self.advice}")


@dataclass(frozen=True)
class Kind:
    """What a value may be.

    words: the same for people. read(value, place): the value from JSON's, or BfpError. write(value): JSON's value.
    """

    words: str
    read: Callable[[object, Place], Any]
    write: Callable[[Any], object]


def checked(kind: Kind, omitted: bool = False, **default: object) -> Any:
    """A dataclass field of this kind. default: ``default`` or ``default_factory``, for records made in Python.

    omitted: the file leaves the key out where the value is the default; otherwise it always has every key.
    """
    return field(metadata={"kind": kind, "omitted": omitted}, **default)


def _same(value: Any) -> Any:
    return value


def _plain(words: str, good: Callable[[object], bool], result: Callable[[Any], Any], write: Callable = _same) -> Kind:
    """A kind of plain values: those that are ``good``, as ``result`` makes them."""

    def read(value: object, place: Place) -> Any:
        if not good(value):
            raise place.refuse(value, words)
        return result(value)

    return Kind(words, read, write)


def _index(value: Any) -> Any:
    """NumPy's whole numbers as Python's; anything else as it is, for the reader to refuse."""
    try:
        return value if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return value


def _float(value: Any) -> Any:
    """NumPy's numbers as Python's; anything else as it is."""
    return float(value) if isinstance(value, Real) and not isinstance(value, bool) else value


def whole(low: int, high: int) -> Kind:
    """A whole number from low to high; true and 3.0 are none."""
    return _plain(f"a whole number from {low} to {high}", lambda v: type(v) is int and low <= v <= high, _same, _index)


def number(low: float = -LARGEST_NUMBER, high: float = LARGEST_NUMBER) -> Kind:
    """A finite number from low to high, float."""

    def good(value: object) -> bool:
        return type(value) in (int, float) and low <= value <= high  # NaN is not

    return _plain(f"a number from {low:g} to {high:g}", good, float, _float)


FLAG = _plain("true or false", lambda v: type(v) is bool, _same)
NAME = _plain(f"a name of {NAME_WORDS}", is_name, str)  # of a network, node, tensor or IP (bfp.names)
# of a file beside the one that is read: no path leads out of the folder, and none is hidden
FILE_NAME = _plain(f"a file's name of {NAME_WORDS}", is_file_name, str)
TEXT = _plain(TEXT_WORDS, is_text, str)  # one printable line for people


def hexadecimal(digits: int, empty: bool = False) -> Kind:
    """Lower-case hexadecimal digits, exactly so many. empty: or none at all."""

    def good(value: object) -> bool:
        if not isinstance(value, str) or len(value) != digits:
            return empty and value == ""
        return all(c in "0123456789abcdef" for c in value)

    return _plain(f"{digits} hexadecimal digits" + (" or empty" if empty else ""), good, str)


def encoded(most: int) -> Kind:
    """At most so many bytes as text of base 64."""

    def good(value: object) -> bool:
        if not isinstance(value, str) or len(value) > (most + 2) // 3 * 4:
            return False
        try:
            return base64.b64encode(base64.b64decode(value, validate=True)).decode() == value
        except ValueError:
            return False

    return _plain(f"at most {most} bytes in base 64", good, str)


def choice(*options: str) -> Kind:
    """One of these words."""
    return _plain("one of " + ", ".join(options), lambda v: isinstance(v, str) and v in options, str)


def optional(kind: Kind) -> Kind:
    """A value of the kind, or null."""

    def read(value: object, place: Place) -> Any:
        return None if value is None else kind.read(value, place)

    return Kind(f"{kind.words}, or null", read, lambda v: None if v is None else kind.write(v))


def tuple_of(kind: Kind, least: int, most: int) -> Kind:
    """A list of ``least`` to ``most`` values of the kind, as a tuple."""
    words = f"a list of {least}" + (f" to {most}" if most > least else "")

    def read(value: object, place: Place) -> tuple:
        if type(value) is not list:
            raise place.refuse(value, words)
        if not least <= len(value) <= most:
            raise place.wrong(f"it has {len(value)} entries; it must be {words}")
        return tuple([kind.read(v, place.item(i)) for i, v in enumerate(value)])

    return Kind(words, read, lambda values: [kind.write(v) for v in values])


def fixed(kind: Kind, count: int) -> Kind:
    """A list of exactly ``count`` values of the kind, as a tuple."""
    return tuple_of(kind, count, count)


def in_order(*kinds: Kind) -> Kind:
    """A list of one value of each kind, as a tuple."""
    words = f"a list of {len(kinds)}"

    def read(value: object, place: Place) -> tuple:
        if type(value) is not list or len(value) != len(kinds):
            raise place.refuse(value, words)
        return tuple([kind.read(v, place.item(i)) for i, (kind, v) in enumerate(zip(kinds, value))])

    return Kind(words, read, lambda values: [kind.write(v) for kind, v in zip(kinds, values)])


def mapping(kind: Kind, most: int, keys: Kind = NAME) -> Kind:
    """An object of at most ``most`` entries of the kind, as a dict. keys: of which kind they are."""
    words = f"an object of at most {most} entries"

    def read(value: object, place: Place) -> dict[str, Any]:
        if type(value) is not dict:
            raise place.refuse(value, words)
        if len(value) > most:
            raise place.wrong(f"it has {len(value)} entries; it must be {words}")
        for key in value:
            keys.read(key, place)
        return {key: kind.read(v, place.key(key)) for key, v in value.items()}

    return Kind(words, read, lambda values: {key: kind.write(v) for key, v in values.items()})


def limited(kind: Kind, good: Callable[[Any], bool], words: str) -> Kind:
    """A value of the kind for which ``good`` holds as well."""

    def read(value: object, place: Place) -> Any:
        result = kind.read(value, place)
        if not good(result):
            raise place.refuse(value, words)
        return result

    return Kind(words, read, kind.write)


def record(cls: type) -> Kind:
    """A record: an object with exactly the keys of a dataclass whose fields are all ``checked``."""
    declared = {f.name: f.metadata for f in fields(cls)} if is_dataclass(cls) else {}
    if not declared or any("kind" not in m for m in declared.values()):
        raise TypeError(f"{cls.__name__} cannot be read from a file: every field needs checked(...)")
    defaults = {f.name: f.default for f in fields(cls)}
    needed = [key for key, m in declared.items() if not m["omitted"]]
    words = f"an object with the keys {', '.join(needed)}"

    def read(value: object, place: Place) -> Any:
        if type(value) is not dict:
            raise place.refuse(value, "an object")
        for key in needed:
            if key not in value:
                raise place.wrong(f"the key {key!r} is missing")
        for key in value:
            if key not in declared:
                raise place.wrong(f"the key {shown(key)} is not known")
        values = {key: declared[key]["kind"].read(v, place.key(key)) for key, v in value.items()}
        try:
            return cls(**values)
        except BfpError as error:
            raise place.wrong(str(error)) from None

    def write(value: Any) -> dict[str, object]:
        found = {key: getattr(value, key) for key in declared}
        return {
            key: declared[key]["kind"].write(v)
            for key, v in found.items()
            if not (declared[key]["omitted"] and v == defaults[key])
        }

    return Kind(words, read, write)


def free(depth: int = 8, most: int = 100_000) -> Kind:
    """Anything that JSON can hold, of bounded depth and size: notes that no program depends on."""
    words = f"plain JSON of finite numbers and text, at most {depth} levels deep"

    def walk(value: object, place: Place, left: int, budget: list[int]) -> None:
        budget[0] -= 1
        if left < 0 or budget[0] < 0:
            raise place.wrong(f"it is too large; it must be {words}")
        if isinstance(value, dict):
            for key, v in value.items():
                if not isinstance(key, str):
                    raise place.refuse(key, words)
                walk(key, place, left, budget)
                walk(v, place, left - 1, budget)
        elif isinstance(value, list):
            for v in value:
                walk(v, place, left - 1, budget)
        elif isinstance(value, str):
            if len(value) > most or any("\ud800" <= c <= "\udfff" for c in value):  # no UTF-8 can hold those
                raise place.refuse(value, words)
        elif type(value) in (int, float):
            if not abs(value) <= LARGEST_NUMBER:
                raise place.refuse(value, words)
        elif value is not None and type(value) is not bool:
            raise place.refuse(value, words)

    def read(value: object, place: Place) -> Any:
        walk(value, place, depth, [most])
        return value

    def write(value: Any) -> object:
        if isinstance(value, dict):
            return {k: write(v) for k, v in value.items()}
        return [write(v) for v in value] if isinstance(value, (list, tuple)) else value

    return Kind(words, read, write)


def free_object() -> Kind:
    """``free``, where what is held is an object: names and what they stand for."""
    inner = free()

    def read(value: object, place: Place) -> Any:
        if not isinstance(value, dict):
            raise place.refuse(value, "an object")
        return inner.read(value, place)

    return Kind(f"an object of {inner.words}", read, inner.write)


def dump(kind: Kind, value: Any, place: Place) -> Any:
    """JSON's value of ``value``. Raises BfpError where reading it again would."""
    data = kind.write(value)
    kind.read(data, place)
    return data


def canonical(data: object) -> bytes:
    """JSON without spaces, keys in order: the same bytes for the same content, to be hashed."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def parse(raw: bytes, place: Place) -> object:
    """JSON as Python has it. Raises BfpError for what is no JSON, names a key twice, or holds NaN or infinity."""

    def pairs(items: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(items)
        if len(found) != len(items):
            raise ValueError("a key occurs twice")
        return found

    def constant(word: str) -> object:
        raise ValueError(f"it holds {word}")

    try:
        return json.loads(raw.decode("utf-8"), object_pairs_hook=pairs, parse_constant=constant)
    except (ValueError, RecursionError) as error:  # a UnicodeDecodeError is a ValueError
        raise BfpError(f"{place.file} is damaged or no JSON ({cut(str(error), SHOWN)}); {place.advice}") from None
