"""A network's TOML file: what it may say, and its checks.

Everything is validated before any work starts. An unknown key is refused by
name, with the section that holds it and the nearest known key.
"""

from __future__ import annotations

import re
import tomllib
from copy import deepcopy
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from bfp.artifact import ARRAY, Preprocessing
from bfp.errors import BfpError
from bfp.files import read_file
from bfp.format import MAX_BITS, MIN_BITS
from bfp.limits import MAX_ALIGN_SHIFT
from bfp.names import NAME_WORDS, cut, is_name, printable, shown
from calib.data.items import NotThere
from calib.data.packages import PACKAGE, package_files
from calib.detection_options import DetectionOptions
from calib.image_options import only_arrays, read_images, texts
from calib.input_options import read_input
from calib.options import (
    AUTO,
    DESCENT,
    DSCONV,
    DSCONV_BLOCK,
    EQUALISATIONS,
    FAN2019,
    GPTQ,
    METHODS,
    NEAREST,
    OUTPUTS,
    REFERENCES,
    ROUNDINGS,
    WEIGHT_METHODS,
    BfpOptions,
    ImageOptions,
    Override,
    method_name,
)
from calib.paths import resolve
from calib.section import Section
from calib.sweep_options import SweepOptions, read_sweep
from calib.task_options import is_callable, read_metric, read_task, read_threshold

SHIPPED = Path(__file__).parent / "networks"
AUTO_GROUP = 16  # channels that share an exponent where the file leaves it to us: a memory word
WEIGHT_WORDS = ("model", "random")
ONNX = ".onnx"
MOST_BYTES = 2**20  # of a network's file
NARROW = 4  # bits of weights from which on their rounding is judged at the output
MOST_REASON = 120  # characters of what its reader says


@dataclass(frozen=True)
class NetworkConfig:
    """One network's file, validated. Paths are absolute or words; see the sections' own classes.

    task: what the network is for, None where its output's shape says it. task_output: of which of several outputs the
    task's figure is, None for the first. threshold: of a binary network's output, None: where a sigmoid is a half.
    metric: "module:callable", the user's own figure (calib.user_metric). detection: of a detector, None where the file has
    no such section. length: of a sequence, where the module takes
    [N, channels, length], a map of one row here. frames: where it takes [N, channels, frames, height, width], a map of all
    frames' channels here, frame after frame. inputs: name and channels of each of several, empty where there is only
    one. notes: what may be meant otherwise, one sentence each. engine: the
    options of the engine by name; board: of it, None where the file names none. Which options and boards
    there are is for code generation to say.
    """

    path: Path
    name: str
    model: str
    arguments: dict
    weights: str
    weights_fallback: str | None
    seed: int
    classes: str | tuple[str, ...] | None
    input: Preprocessing
    calibration: ImageOptions
    evaluation: ImageOptions | None
    bfp: BfpOptions
    engine: dict[str, int] = field(default_factory=dict)
    board: str | None = None
    sweep: SweepOptions = SweepOptions()
    notes: tuple[str, ...] = ()
    length: int | None = None
    frames: int | None = None
    inputs: tuple[tuple[str, int], ...] = ()
    task: str | None = None
    task_output: str | None = None
    threshold: float | None = None
    metric: str | None = None
    detection: DetectionOptions | None = None

    @property
    def onnx(self) -> Path | None:
        """The ONNX file that the network comes from, None where a callable makes it. Raises BfpError where its package is gone."""
        return onnx_file(self.model, self.path.parent) if self.model.endswith(ONNX) else None

    @property
    def input_shape(self) -> tuple[int, ...] | dict[str, tuple[int, ...]]:
        """What the module takes of one image, see calib.frontend.inputs; of several inputs, by their names."""
        channels, size = len(self.input.mean), self.input.size[self.length is not None :]
        if self.frames is not None:
            return (channels // self.frames, self.frames, *size)
        return {name: (count, *size) for name, count in self.inputs} if self.inputs else (channels, *size)

    def as_taken(self, images: np.ndarray) -> np.ndarray | dict[str, np.ndarray]:
        """Images [N, C, H, W] as the module takes them; of several inputs, by their names."""
        if self.frames is not None:
            channels, frames, *size = self.input_shape
            return images.reshape(len(images), frames, channels, *size).swapaxes(1, 2)
        if not self.inputs:
            return images.reshape(len(images), *self.input_shape)
        ends = np.cumsum([count for _, count in self.inputs])
        parts = zip(self.input_shape.items(), np.split(images, ends[:-1], axis=1))
        return {name: part.reshape(len(images), *shape) for (name, shape), part in parts}


def find_network(name_or_path: str | Path) -> Path:
    """A TOML file by path, or a shipped one by name. Raises BfpError listing the shipped ones."""
    path = Path(name_or_path)
    shipped = SHIPPED / f"{name_or_path}.toml"
    if path.suffix == ".toml" and path.is_file():
        return path.resolve()
    if path.name == str(name_or_path) and shipped.is_file():
        return shipped
    names = ", ".join(sorted(p.stem for p in SHIPPED.glob("*.toml")))
    raise BfpError(f"there is no network {name_or_path}; give the path of a .toml file, or one of {names}")


@lru_cache
def _table(content: bytes) -> dict:
    """A file's TOML, parsed once for all who read it; not to be changed. Raises ValueError or RecursionError."""
    return tomllib.loads(content.decode("utf-8-sig"))


def load_config(path: str | Path, replaced: dict | None = None) -> NetworkConfig:
    """Read and check a network's file. Raises BfpError: file, section, key, and what it must be.

    replaced: top-level keys and whole sections that hold instead of the file's.
    """
    path = Path(path).resolve()
    raw = read_file(path, "the network's file", "give the path of a network's .toml file", MOST_BYTES)
    try:
        table = deepcopy(_table(raw))
    except (ValueError, RecursionError) as error:  # of TOML, of UTF-8, of numbers of thousands of digits
        raise BfpError(f"{path} is not valid TOML ({cut(printable(str(error)), MOST_REASON)}); correct it") from None
    table |= replaced or {}
    top = Section(path, "", table)
    engine = Section(path, "engine", top.take("engine", {}, _same, "a table"))
    base = path.parent
    name = top.text("name", path.stem)
    if not is_name(name):
        raise top.fail("name", f"is {shown(name)}; it must be {NAME_WORDS} (it names a folder)")
    weights, fallback = top.text("weights", "model"), top.text("weights_fallback", None)
    entry = Section(path, "input", top.take("input", ..., _same, "a table with size, mean and std"))
    taken = read_input(entry)
    pre, inputs = taken.preprocessing, taken.several
    task, detection = read_task(top)
    config = NetworkConfig(
        path=path,
        name=name,
        model=_model(top, base),
        arguments=top.take("arguments", {}, dict, "a table of arguments"),
        weights=weights if weights in WEIGHT_WORDS else resolve(weights, base),
        weights_fallback=fallback if fallback is None or fallback in WEIGHT_WORDS else resolve(fallback, base),
        seed=top.integer("seed", 0, 0, 2**63 - 1),
        classes=_classes(top, base),
        input=pre,
        length=taken.length,
        frames=taken.frames,
        inputs=inputs,
        task=task,
        task_output=top.text("task_output", None),
        threshold=read_threshold(top, task),
        metric=read_metric(top),
        detection=detection,
        calibration=read_images(Section(path, "calibration", top.take("calibration", ..., _same, "a table")), base, True, inputs),
        evaluation=(
            read_images(Section(path, "evaluation", top.take("evaluation", None, _same, "")), base, False, inputs)
            if top.take("evaluation", None, _same, "") is not None
            else None
        ),
        bfp=_bfp(Section(path, "bfp", top.take("bfp", {}, _same, "a table")), _lanes(table)),
        engine=_engine(engine),
        board=engine.text("board", None),
        sweep=read_sweep(Section(path, "sweep", top.take("sweep", {}, _same, "a table")), (*METHODS, AUTO, *REFERENCES)),
        notes=taken.notes,
    )
    top.done()
    for name, images in (("calibration", config.calibration), ("evaluation", config.evaluation)):
        if pre.channels == ARRAY and images is not None:
            only_arrays(path, name, images)
    return config


def _same(value: object) -> object:
    return value


def _model(top: Section, base: Path) -> str:
    model = top.text("model", ...)
    if model.endswith(ONNX):
        try:
            onnx_file(model, base)
        except NotThere as missing:
            raise top.fail("model", f"cannot be found: {missing}; install it, or correct the name") from None
    elif not is_callable(model):
        raise top.fail("model", f"is {shown(model)}; it must be 'module:callable', or the path of an {ONNX} file")
    return model


def onnx_file(model: str, base: Path) -> Path:
    """The file that ``model`` names, of an installed package or from the folder ``base`` on. Raises BfpError."""
    path = Path(resolve(model, base))
    if not model.startswith(PACKAGE):
        return path
    found = package_files(model, "models")
    if len(found) > 1:
        raise BfpError(f"models {model} are {len(found)} files; give the name of one")
    return found[0]


def _classes(top: Section, base: Path) -> str | tuple[str, ...] | None:
    value = top.take("classes", None, texts, '"imagenet", "cifar10", a text file, or an array of names')
    if value is None or not isinstance(top.table["classes"], str):
        return value
    return value[0] if value[0] in ("imagenet", "cifar10") else resolve(value[0], base)


def _lanes(table: dict) -> int:
    """Channels of the engine's memory word, as far as the file says: groups may not end inside one."""
    engine = table.get("engine", {})
    lanes = engine.get("lanes", 0) if isinstance(engine, dict) else 0
    return lanes if isinstance(lanes, int) else 0


def _method(section: Section, key: str, default: str | None, choices: tuple[str, ...]) -> str | None:
    """A method by its name, or by the one that earlier versions gave it."""

    def check(value: object) -> object:
        name = method_name(value)
        if name not in choices:
            raise ValueError
        return name

    return section.take(key, default, check, f"one of {', '.join(choices)}")


def _overrides(section: Section) -> tuple[Override, ...]:
    overrides = []
    for table in section.take("override", [], list, "written as [[bfp.override]]"):
        one = Section(section.path, "bfp.override", table)
        override = Override(
            layers=one.text("layers", ...),
            weights=one.integer("weights", None, MIN_BITS, MAX_BITS),
            activations=one.integer("activations", None, MIN_BITS, MAX_BITS),
            weight_group=one.integer("weight_group", None, 0),
            method=_method(one, "method", None, METHODS),
            weight_method=_method(one, "weight_method", None, WEIGHT_METHODS),
        )
        one.done()
        overrides.append(override)
    return tuple(overrides)


def bfp_options(table: dict, where: str) -> BfpOptions:
    """Options of a ``[bfp]`` section given from Python. Raises BfpError, which begins with ``where``, for what none is."""
    return _bfp(Section(where, "bfp", dict(table)), lanes=0)


def _bfp(section: Section, lanes: int) -> BfpOptions:
    def boolean(value: object) -> bool:
        if not isinstance(value, bool):
            raise ValueError
        return value

    def width(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not MIN_BITS <= value <= MAX_BITS:
            raise ValueError
        return float(value)

    mean_width = f"a mean width in bits, {MIN_BITS} to {MAX_BITS}"
    # the published method has no unsigned mantissas, and its own rule for weights
    method = method_name(section.table.get("method", AUTO))
    published, auto = (method == word for word in (FAN2019, AUTO))
    weight_method = FAN2019 if published else "mse" if auto else "max"
    group = max(AUTO_GROUP, lanes)
    bits = section.integer("weights", 8, MIN_BITS, MAX_BITS)
    weight_group, activation_group = (group, group) if auto else (64, 0)
    if method == DSCONV:
        weight_group = activation_group = DSCONV_BLOCK
    options = BfpOptions(
        weights=bits,
        activations=section.integer("activations", 8, MIN_BITS, MAX_BITS),
        weight_group=section.integer("weight_group", weight_group, 0),
        activation_group=section.integer("activation_group", activation_group, 0),
        method=_method(section, "method", AUTO, (*METHODS, AUTO, *REFERENCES)),
        weight_method=_method(section, "weight_method", weight_method, WEIGHT_METHODS),
        unsigned=section.take("unsigned", not published, boolean, "true or false"),
        max_spread=section.integer("max_spread", 7, 0, MAX_ALIGN_SHIFT),
        sensitive=section.integer("sensitive", 0, 0, MAX_BITS),
        rounding=section.text("rounding", (DESCENT if bits <= NARROW else GPTQ) if auto else NEAREST, ROUNDINGS),
        centre=section.take("centre", auto, boolean, "true or false"),
        sort_channels=section.take("sort_channels", auto, boolean, "true or false"),
        equalise=section.text("equalise", "ranges" if auto else "none", EQUALISATIONS),
        output=section.text("output", None if auto else "values", OUTPUTS),
        weight_budget=section.take("weight_budget", None, width, mean_width),
        activation_budget=section.take("activation_budget", None, width, mean_width),
        bias_correction=section.take("bias_correction", auto, boolean, "true or false"),
        input_bits=_end_width(section, "input_bits", None if auto else 0),
        output_bits=_end_width(section, "output_bits", MAX_BITS if auto else 0),
        overrides=_overrides(section),
    )
    section.done()
    return options


def _end_width(section: Section, key: str, default: int | None) -> int | None:
    found = section.integer(key, default, 0, MAX_BITS)
    if found is not None and 0 < found < MIN_BITS:
        raise section.fail(key, f"is {found}; it must be a whole number from {MIN_BITS} to {MAX_BITS}, or 0 for that of the activations")
    return found


def _engine(section: Section) -> dict[str, int]:
    """The whole numbers of the section: all but the board's name."""
    return {key: section.integer(key, ..., 0) for key in section.table if key != "board"}
