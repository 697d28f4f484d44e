"""The ``[input]`` section of a network's file: what becomes of a picture or an array before the network sees it."""

from __future__ import annotations

from dataclasses import dataclass

from bfp.artifact import ARRAY, Preprocessing
from bfp.limits import MAX_ENDS
from bfp.names import is_name
from calib.section import Section
from host.image import INTERPOLATIONS

CHANNELS = {"rgb": 3, "bgr": 3, "gray": 1}
MOST_CHANNELS = 64  # of arrays
MOST_LENGTH = 8192
LETTERBOX_GRAY = 114  # of the bars, as detectors are mostly trained
UNITS = {"0..255": 1.0, "0..1": 255.0}  # what mean and std count in, and how many pixel units that is


@dataclass(frozen=True)
class InputOptions:
    """What the section says.

    length: of an input that is a sequence; frames: of one that has several, whose channels lie frame after frame in the
    preprocessing; notes: one sentence each; several: names and channels of several inputs.
    """

    preprocessing: Preprocessing
    length: int | None
    frames: int | None
    notes: tuple[str, ...]
    several: tuple[tuple[str, int], ...]


def read_input(section: Section) -> InputOptions:
    """The section, in pixel units.

    Of several inputs, all of them arrays, names and numbers of channels; the preprocessing is of all their channels, one
    input after the other. Raises BfpError: file, section, key, and what it must be; also where mean and std can hardly be meant in pixel units.
    """
    words = f"rgb, bgr, gray, or 1 to {MOST_CHANNELS} of arrays; of several inputs a table of names and such numbers"
    channels, count, inputs = section.take("channels", ("rgb", 3, ()), _channels, words)
    expected = "a whole number of pixels, or [height, width], 1 to 8192"
    length = section.integer("length", None, 1, MOST_LENGTH) if channels == ARRAY else None
    frames = section.integer("frames", None, 1, MOST_CHANNELS) if length is None and not inputs else None
    if frames is not None and channels != ARRAY:
        raise section.fail("frames", f'is {frames}, and channels = "{channels}" says photographs; give `channels = {count}`')
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

    photographs, units = {}, None
    if channels != ARRAY:
        photographs["resize"] = section.integer("resize", None, 1, 16384)
        photographs["letterbox"] = section.take("letterbox", None, _gray, "true, or the gray of the bars, 0 to 255")
        photographs["interpolation"] = section.text("interpolation", "bicubic", tuple(INTERPOLATIONS))
        units = section.text("units", None, tuple(UNITS))
    what = "the arrays' units" if channels == ARRAY else f"pixel units ({units or '0..255'})"
    mean = section.take("mean", ..., per_channel, f"{count} number(s) in {what}")
    std = section.take("std", ..., scales, f"{count} number(s) above 0 in {what}")
    notes = check_units(section, mean, std) if channels != ARRAY and units is None else ()
    factor = 1.0 if units is None else UNITS[units]
    ends = {"mean": tuple(v * factor for v in mean) * (frames or 1), "std": tuple(v * factor for v in std) * (frames or 1)}
    pre = Preprocessing(size=size, channels=channels, **ends, **photographs)
    if pre.resize is not None and pre.resize < max(pre.size):
        raise section.fail("resize", f"is {pre.resize}, less than size {pre.size}; make it at least as large")
    if pre.resize is not None and pre.letterbox is not None:
        raise section.fail("letterbox", "keeps the whole picture, and resize crops it; leave one of them out")
    section.done()
    return InputOptions(pre, length, frames, notes, inputs)


def check_units(section: Section, mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[str, ...]:
    """A note where mean and std may be meant for pixels of 0..1, and the file does not say which.

    Raises BfpError where they must be.
    """
    values = [(pixel - m) / s for m, s in zip(mean, std) for pixel in (0.0, 255.0)]
    meant = f'say units = "0..1" if they are as torchvision counts pixels (std {spoken(std, 255)} in pixels of 0..255), '
    meant += f'or units = "0..255" if the network takes inputs of {min(values):.4g} to {max(values):.4g}'
    if max(std) < 1:
        raise section.fail("std", f"is {spoken(std)}, less than one step of a pixel of 0..255; {meant}")
    if max(std) <= 1 and max(map(abs, mean)) <= 1:
        return (f"{section.path}: [input] mean {spoken(mean)} and std {spoken(std)} are taken for pixels of 0..255; {meant}",)
    return ()


def spoken(values: tuple[float, ...], factor: float = 1.0) -> str:
    """Numbers as people write them; one number where all are the same."""
    texts = [f"{v * factor:.4g}" for v in values]
    return texts[0] if len(set(texts)) == 1 else f"[{', '.join(texts)}]"


def _channels(value: object) -> tuple[str, int, tuple[tuple[str, int], ...]]:
    """Kind of the channels, their number, and that of each of several inputs by name."""
    if isinstance(value, dict):
        if not 1 < len(value) <= MAX_ENDS or not all(map(is_name, value)):
            raise ValueError
        return ARRAY, sum(_count(n) for n in value.values()), tuple(value.items())
    if type(value) is int:
        return ARRAY, _count(value), ()
    if not isinstance(value, str) or value not in CHANNELS:
        raise ValueError
    return value, CHANNELS[value], ()


def _count(value: object) -> int:
    if type(value) is not int or not 1 <= value <= MOST_CHANNELS:
        raise ValueError
    return value


def _gray(value: object) -> int | None:
    if isinstance(value, bool):
        return LETTERBOX_GRAY if value else None
    if type(value) is not int or not 0 <= value <= 255:
        raise ValueError
    return value


def _size(value: object) -> tuple[int, int]:
    sizes = (value, value) if type(value) is int else tuple(value)
    if len(sizes) != 2 or any(type(s) is not int or not 1 <= s <= 8192 for s in sizes):
        raise ValueError
    return sizes


def _numbers(value: object) -> tuple[float, ...]:
    if any(isinstance(v, bool) or not isinstance(v, (int, float)) or not abs(v) < 1e30 for v in value):
        raise ValueError
    return tuple(float(v) for v in value)
