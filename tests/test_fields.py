"""bfp.fields: what each kind takes and refuses, and that records are read and written by one declaration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from bfp.artifact import ARRAY, CHANNEL_ORDERS, INTERPOLATIONS
from bfp.errors import BfpError
from bfp.fields import (
    FILE_NAME, FLAG, NAME, TEXT, Place, checked, choice, dump, fixed, free, hexadecimal, in_order, limited, mapping,
    number, optional, parse, record, tuple_of, whole,
)  # fmt: skip
from host import image

PLACE = Place("file f", "write it again")
NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    "kind, good, bad",
    [
        (whole(-2, 5), [-2, 0, 5], [-3, 6, True, False, 1.0, "1", None, [1], 10**400, NAN]),
        (number(-1, 1e30), [-1, 0, 0.5, 1e30], [-1.01, 2e30, 10**400, True, "0", None, NAN, INF, -INF]),
        (FLAG, [True, False], [0, 1, "true", None]),
        (NAME, ["a", "_x.y-Z0", "x" * 200], ["", ".", "-a", "a b", "a/b", "x" * 201, "ü", 3, None, "a\n"]),
        (FILE_NAME, ["a.bit", "x" * 208], ["", "..", ".a", "a/b", "/a", "x" * 209]),
        (TEXT, ["", "<b>", "ü 名"], ["a\nb", "\x1b", "\ud800", "x" * 1001, 3]),
        (hexadecimal(4), ["00af"], ["", "00AF", "0af", "000af", "00ag", "٠٠٠٠", 1234]),
        (hexadecimal(4, empty=True), ["00af", ""], ["0", None]),
        (choice("a", "b"), ["a", "b"], ["c", "", None, 0, ["a"]]),
        (optional(whole(0, 1)), [None, 0], [2, "None", False]),
        (in_order(whole(0, 1), FLAG), [], [[0], [0, True, 1], [True, 0], {}, None, "01"]),
        (limited(whole(0, 9), lambda v: v % 2 == 0, "even"), [0, 8], [1, 10]),
        (free(depth=2, most=20), [None, {"a": [1, 0.5, "x", True]}, []], [[[[1]]], NAN, 1e31, "\ud800", "x" * 21, [0] * 20]),
    ],
    ids=lambda x: getattr(x, "words", None),
)
def test_kinds(kind, good, bad):
    for value in good:
        read = kind.read(value, PLACE)
        assert read == value and kind.read(kind.write(read), PLACE) == read
    for value in bad:
        with pytest.raises(BfpError, match="^file f: .*; write it again$") as error:
            kind.read(value, PLACE)
        assert str(error.value).isprintable() and len(str(error.value)) < 300


def test_lists_and_objects_become_tuples_and_dicts_of_bounded_size():
    pair = tuple_of(whole(0, 9), 1, 2)
    assert pair.read([3], PLACE) == (3,) and pair.write((3, 4)) == [3, 4]
    for bad, message in (([], "it has 0 entries; it must be a list of 1 to 2"), ([1] * 3, "it has 3 entries"), ((1,), "is \\(1,\\)")):
        with pytest.raises(BfpError, match=message):
            pair.read(bad, PLACE)
    with pytest.raises(BfpError, match=r"file f: \[1\] is 10, not a whole number from 0 to 9; write"):
        pair.read([0, 10], PLACE)
    table = mapping(fixed(whole(0, 9), 1), 2)
    assert table.read({"a": [1]}, PLACE) == {"a": (1,)} and table.write({"a": (1,)}) == {"a": [1]}
    for bad, message in (({"a b": [1]}, "is 'a b', not a name"), ({"a": [1, 2]}, "a: it has 2 entries"), ({"a": [1], "b": [1], "c": [1]}, "has 3 entries")):
        with pytest.raises(BfpError, match=message):
            table.read(bad, PLACE)


@dataclass(frozen=True)
class Inner:
    values: tuple[int, ...] = checked(tuple_of(whole(0, 9), 0, 3))

    def __post_init__(self):
        if sum(self.values) > 9:
            raise BfpError("the values are too large")


@dataclass(frozen=True)
class Outer:
    inner: Inner = checked(record(Inner))
    ratio: float = checked(number(0, 1))
    note: str | None = checked(TEXT, omitted=True, default=None)


def test_records_are_read_and_written_by_one_declaration():
    kind = record(Outer)
    data = {"inner": {"values": [1, 2]}, "ratio": 1}
    assert kind.read(data, PLACE) == Outer(Inner((1, 2)), 1.0)
    assert kind.write(Outer(Inner((1, 2)), 0.5)) == {"inner": {"values": [1, 2]}, "ratio": 0.5}
    assert kind.read({**data, "note": "x"}, PLACE).note == "x"
    for bad, message in (
        ({"ratio": 1}, "file f: the key 'inner' is missing; write it again"),
        ({**data, "more": 1}, "the key 'more' is not known"),
        ({**data, "note": None}, "note is None, not printable text"),
        ({**data, "inner": {"values": [1, True]}}, r"file f: inner.values\[1\] is True, not a whole number"),
        ({**data, "inner": {"values": [9, 9]}}, "file f: inner: the values are too large; write"),
        ({**data, "inner": []}, r"inner is \[\], not an object"),
        ([], r"its content is \[\], not an object"),
    ):
        with pytest.raises(BfpError, match=message):
            kind.read(bad, PLACE)


def test_what_could_not_be_read_again_is_not_dumped():
    kind = record(Outer)
    assert dump(kind, Outer(Inner((np.int64(3),)), np.float32(0.5)), PLACE) == {"inner": {"values": [3]}, "ratio": 0.5}
    for bad in (Outer(Inner((1,)), NAN), Outer(Inner((1,)), 2.0), Outer(Inner((True,)), 0.5), Outer(Inner((1,)), "0.5")):
        with pytest.raises(BfpError):
            dump(kind, bad, PLACE)


def test_a_record_whose_fields_are_not_all_declared_cannot_be_read():
    @dataclass(frozen=True)
    class Half:
        a: int = checked(whole(0, 1))
        b: int = 0

    for cls in (Half, int):
        with pytest.raises(TypeError, match="every field needs checked"):
            record(cls)


def test_long_paths_and_values_are_cut():
    place = PLACE
    for _ in range(40):
        place = place.key("x" * 50).item(3)
    with pytest.raises(BfpError) as error:
        whole(0, 1).read(["y" * 1000] * 1000, place)
    assert len(str(error.value)) < 250


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b'{"a": 1, "a": 2}', b"[NaN]", b"[Infinity]", b"[" * 10**5, b"[1] 2"])
def test_what_is_no_json_is_refused(text):
    with pytest.raises(BfpError, match="^file f is damaged or no JSON .*; write it again$"):
        parse(text, PLACE)


def test_the_words_of_preprocessing_are_those_that_the_board_knows():
    assert set(INTERPOLATIONS) == set(image.INTERPOLATIONS) and set(CHANNEL_ORDERS) == {*image.MODES, ARRAY}
