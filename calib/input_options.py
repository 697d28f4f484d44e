"""The ``[input]`` section of a network's file."""

from __future__ import annotations

from bfp.artifact import ARRAY, Preprocessing
from calib.section import Section
from host.image import INTERPOLATIONS

CHANNELS = {"rgb": 3, "bgr": 3, "gray": 1}
MOST_CHANNELS = 64  # of arrays
MOST_LENGTH = 8192


def read_input(section: Section) -> tuple[Preprocessing, int | None]:
    """Preprocessing, and the length of an input that is a sequence. Raises BfpError: file, section, key, and what it must be."""
    channels, count = section.take("channels", ("rgb", 3), _channels, f"rgb, bgr, gray, or 1 to {MOST_CHANNELS} of arrays")
    expected = "a whole number of pixels, or [height, width], 1 to 8192"
    length = section.integer("length", None, 1, MOST_LENGTH) if channels == ARRAY else None
    size = (1, length) if length is not None else section.take("size", ..., _size, expected)

    def per_channel(value: object) -> tuple[float, ...]:
        values = _numbers([value] * count if isinstance(value, (int, float)) else value)
        if len(values) != count:
            raise ValueError
        return values

    def scales(value: object) -> tuple[float, ...]:
        values = per_channel(value)
        if any(not v > 1e-30 for v in values):
            raise ValueError
        return values

    units = "the arrays' units" if channels == ARRAY else "pixel units (0..255)"
    photographs = {}
    if channels != ARRAY:
        photographs["resize"] = section.integer("resize", None, 1, 16384)
        photographs["interpolation"] = section.text("interpolation", "bicubic", tuple(INTERPOLATIONS))
    pre = Preprocessing(
        size=size,
        mean=section.take("mean", ..., per_channel, f"{count} number(s) in {units}"),
        std=section.take("std", ..., scales, f"{count} number(s) above 0 in {units}"),
        channels=channels,
        **photographs,
    )
    if pre.resize is not None and pre.resize < max(pre.size):
        raise section.fail("resize", f"is {pre.resize}, less than size {pre.size}; make it at least as large")
    section.done()
    return pre, length


def _channels(value: object) -> tuple[str, int]:
    if type(value) is int and 1 <= value <= MOST_CHANNELS:
        return ARRAY, value
    if not isinstance(value, str) or value not in CHANNELS:
        raise ValueError
    return value, CHANNELS[value]


def _size(value: object) -> tuple[int, int]:
    sizes = (value, value) if type(value) is int else tuple(value)
    if len(sizes) != 2 or any(type(s) is not int or not 1 <= s <= 8192 for s in sizes):
        raise ValueError
    return sizes


def _numbers(value: object) -> tuple[float, ...]:
    if any(isinstance(v, bool) or not isinstance(v, (int, float)) or not abs(v) < 1e30 for v in value):
        raise ValueError
    return tuple(float(v) for v in value)
