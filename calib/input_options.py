"""The ``[input]`` section of a network's file: what becomes of a picture before the network sees it."""

from __future__ import annotations

from bfp.artifact import Preprocessing
from calib.section import Section
from host.image import INTERPOLATIONS

CHANNELS = {"rgb": 3, "bgr": 3, "gray": 1}
UNITS = {"0..255": 1.0, "0..1": 255.0}  # what mean and std count in, and how many pixel units that is
LARGEST_SIDE, LARGEST_RESIZE = 8192, 16384


def read_input(section: Section) -> tuple[Preprocessing, tuple[str, ...]]:
    """The preprocessing, with mean and std in pixel units, and notes about it, one sentence each.

    Raises BfpError for what it cannot be, and where mean and std can hardly be meant in the units of pixels.
    """

    def size(value: object) -> tuple[int, int]:
        sizes = (value, value) if type(value) is int else tuple(value)
        if len(sizes) != 2 or any(type(s) is not int or not 1 <= s <= LARGEST_SIDE for s in sizes):
            raise ValueError
        return sizes

    channels = section.text("channels", "rgb", tuple(CHANNELS))
    count = CHANNELS[channels]

    def per_channel(value: object) -> tuple[float, ...]:
        values = numbers([value] * count if isinstance(value, (int, float)) else value)
        if len(values) != count:
            raise ValueError
        return values

    def scales(value: object) -> tuple[float, ...]:
        values = per_channel(value)
        if any(not v > 1e-30 for v in values):
            raise ValueError
        return values

    units = section.text("units", None, tuple(UNITS))
    what = f"in units of pixels, {units or '0..255'}"
    mean = section.take("mean", ..., per_channel, f"{count} number(s) {what}")
    std = section.take("std", ..., scales, f"{count} number(s) above 0 {what}")
    notes = check_units(section, mean, std) if units is None else ()
    factor = UNITS[units or "0..255"]
    pre = Preprocessing(
        size=section.take("size", ..., size, f"a whole number of pixels, or [height, width], 1 to {LARGEST_SIDE}"),
        mean=tuple(v * factor for v in mean),
        std=tuple(v * factor for v in std),
        resize=section.integer("resize", None, 1, LARGEST_RESIZE),
        interpolation=section.text("interpolation", "bicubic", tuple(INTERPOLATIONS)),
        channels=channels,
    )
    if pre.resize is not None and pre.resize < max(pre.size):
        raise section.fail("resize", f"is {pre.resize}, less than size {pre.size}; make it at least as large")
    section.done()
    return pre, notes


def numbers(value: object) -> tuple[float, ...]:
    """Finite numbers of ordinary size. Raises ValueError or TypeError for anything else."""
    if any(isinstance(v, bool) or not isinstance(v, (int, float)) or not abs(v) < 1e30 for v in value):
        raise ValueError
    return tuple(float(v) for v in value)


def check_units(section: Section, mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[str, ...]:
    """A note where mean and std may be meant for pixels of 0..1, and the file does not say which. Raises BfpError where they must."""
    meant = f'say units = "0..1" if mean and std are for pixels of 0..1 as torchvision counts them (std {spoken(std, 255)} '
    meant += f'in pixels of 0..255), or units = "0..255" if the network takes inputs of {spoken(ends(mean, std))}'
    if max(std) < 1:
        raise section.fail("std", f"is {spoken(std)}, less than one step of a pixel of 0..255; {meant}")
    if max(std) <= 1 and max(map(abs, mean)) <= 1:
        return (f"{section.path}: [input] mean {spoken(mean)} and std {spoken(std)} are taken for pixels of 0..255; {meant}",)
    return ()


def ends(mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[float, float]:
    """The least and the largest input that a pixel of 0..255 can become."""
    values = [(pixel - m) / s for m, s in zip(mean, std) for pixel in (0.0, 255.0)]
    return min(values), max(values)


def spoken(values: tuple[float, ...], factor: float = 1.0) -> str:
    """Numbers as people write them; one number where all are the same."""
    texts = [f"{v * factor:.4g}" for v in values]
    return texts[0] if len(set(texts)) == 1 else f"[{', '.join(texts)}]"
