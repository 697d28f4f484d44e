"""Seeded damage to JSON and to arrays, of the kinds that hand edits, other programs and ill will make."""

from __future__ import annotations

import copy

import numpy as np

VALUES = (
    *(None, True, False, 0, 1, -1, 2, 3, 7, 16, 255, 2**16, 2**31 - 1, 2**31, 2**63, 10**40, -(10**40)),
    *(0.0, -0.5, 1.5, 1e-40, 1e300, -1e300, float("nan"), float("inf"), float("-inf")),
    *("", "a", "input", "conv", "0" * 64, "x" * 5000, "x" * 300, "n" * 300 + ":f", "n" * 300 + ".onnx", "../weights.bin", "/etc/passwd", "a b", "ü", "名前"),
    *("\0", "a\nb", "\x1b[2J", "\u202e", "\ud800", "<script>alert(1)</script>", '"', "]]>", "$(touch x)", ";", "\\"),
    *([], [[]], [None], [0], ["a"], [[[[1]]]], {}, {"a": 1}, {"": {}}, {"\n": []}),
)
KEYS = ("a", "", "schema", "name", "__class__", "a\nb", "<script>", "x" * 500, "0")


def places(data: object, path: tuple = ()) -> list[tuple]:
    """Paths of all values inside, the top one first."""
    found = [path]
    if isinstance(data, dict):
        for key, value in data.items():
            found += places(value, (*path, key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            found += places(value, (*path, index))
    return found


def at(data: object, path: tuple) -> object:
    for part in path:
        data = data[part]
    return data


def nested(depth: int) -> list:
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


def mutate(data: dict, rng: np.random.Generator) -> dict:
    """A copy of parsed JSON with one change somewhere; long lists of numbers are no likelier than short ones."""
    data = copy.deepcopy(data)
    path: tuple = ()
    while True:  # down from the top, so that every level has its share
        here = at(data, path)
        inner = list(here) if isinstance(here, dict) else list(range(len(here))) if isinstance(here, list) else []
        if not inner or (path and rng.random() < 0.15):
            break
        path = (*path, inner[int(rng.integers(len(inner)))])
    parent, last = at(data, path[:-1]), path[-1]
    value = parent[last]
    kind = int(rng.integers(8))
    if kind == 0:
        del parent[last]
    elif kind == 1 and isinstance(parent, dict):
        parent[KEYS[int(rng.integers(len(KEYS)))]] = parent[last]
    elif kind == 1:
        parent.insert(last, copy.deepcopy(value))
    elif kind == 2 and type(value) in (int, float):
        parent[last] = value + (1, -1, 0.5, 40, -40, 10**9)[int(rng.integers(6))]
    elif kind == 3 and isinstance(value, list):
        parent[last] = value[::-1] if rng.random() < 0.5 else value * 2
    elif kind == 4:
        other = places(data)
        parent[last] = copy.deepcopy(at(data, other[int(rng.integers(len(other)))]))
    elif kind == 5 and isinstance(value, str):
        parent[last] = (value + "\n", value.upper(), value[:-1], value + " ")[int(rng.integers(4))]
    elif kind == 6:
        parent[last] = nested(int(rng.choice([3, 50, 400])))
    else:
        parent[last] = copy.deepcopy(VALUES[int(rng.integers(len(VALUES)))])
    return data


def mutate_array(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An array of another type, byte order, shape, or with other values; sometimes the same."""
    kind = int(rng.integers(12))
    if kind == 0:
        return array.view(array.dtype.newbyteorder())
    if kind == 1:
        return array.astype(rng.choice(["<i8", "<f8", "<f4", "u1", "i1", "<i4", "?", "<c8"])) if array.dtype.kind != "U" else array
    if kind == 2:
        return array.reshape(-1)
    if kind == 3:
        return array.reshape(*array.shape, 1)
    if kind == 4:
        return array[:-1]
    if kind == 5:
        return np.concatenate([array, array[:1]])
    if kind == 6:
        return array[:0]
    if kind == 7:
        return np.asfortranarray(array)
    if kind == 8:
        return array[::-1].copy()
    if kind == 9:
        return np.array(("text", b"bytes", 1.5, 3 + 1j)[int(rng.integers(4))])
    raw = np.frombuffer(rng.bytes(max(array.nbytes, 1)), np.uint8)[: array.nbytes]
    if kind == 10:
        return raw.view(array.dtype).reshape(array.shape)
    return np.zeros(3, [("a", "<i4"), ("b", "<f4")])
