"""Where a network's weights come from: a file, the model itself, or a seeded random draw."""

from __future__ import annotations

import os
import pickle
import re
import socket
import sys
import zipfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Union

import numpy as np
import torch
from torch import nn

from bfp.errors import BfpError
from bfp.names import SHOWN, cut, printable, shown
from calib.eval_mode import to_eval
from calib.frontend.inputs import arranged
from calib.zoo.containers import COUNTER, unwrapped

TORCH_SUFFIXES = (".pth", ".th", ".pt", ".ckpt", ".tar", ".bin")
SUFFIXES = (*TORCH_SUFFIXES, ".safetensors", ".npz")
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
MAX_IMAGES = 32  # for batch norm statistics: they pass through the network at once
# what NumPy's numbers beside the tensors are made of, such as an epoch's accuracy; nothing else is called
NUMBERS = [
    (np.core.multiarray.scalar, "numpy.core.multiarray.scalar"),
    (np.core.multiarray.scalar, "numpy._core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")),
]
TENSORS = ("torch._utils", "torch.storage", "torch._tensor")  # of tensors themselves, where torch cannot read a damaged file
FOLDER = 0x10  # among the attributes of a part of a zip archive
VARIANCE_FLOOR = 0.1  # of a layer's mean variance: channels that hardly vary would amplify noise
DOWNLOAD_TIMEOUT = 30.0  # seconds without any data
Images = Union[np.ndarray, torch.Tensor]
Calibration = Union[Images, Mapping[str, Images]]  # normalised, [N, C, H, W]


def load_weights(
    module: nn.Module,
    spec: str | None,
    seed: int = 0,
    calibration: Calibration | None = None,
) -> tuple[str, ...]:
    """Give ``module`` its weights, in place; it ends in eval mode. Returns notes of what was taken off around them.

    spec: path of a state dict (.pth, .th, .pt, .safetensors, .npz); "random"
    for a draw from ``seed``, with batch norm statistics measured on
    ``calibration`` (normalised images [N, C, H, W], of several inputs by name); "model" or None to leave
    it as it is. Containers and prefixes of training frameworks are taken off. Raises BfpError, one sentence, for an unreadable or wrong file.
    """
    notes = ()
    if spec == "random":
        randomise(module, seed, calibration)
    elif spec not in (None, "model"):
        state, took = read_state_dict(Path(spec), module.state_dict().keys())
        check_state_dict(module, state, spec)
        # what counts batches is not needed, and may be of any kind
        module.load_state_dict({k: v for k, v in state.items() if not k.endswith(COUNTER)}, strict=False)
        notes = (f"of weights {spec}, {took} was taken off",) if took else ()
    to_eval(module)
    return notes


def read_state_dict(path: Path, wanted: Collection[str] = ()) -> tuple[dict[str, torch.Tensor], str]:
    """Tensors of a weights file by key, and the container and prefixes that were taken off so that they fit ``wanted``.

    Raises BfpError, one sentence, for a file that is missing, damaged, or holds anything but tensors.
    """
    if path.suffix not in SUFFIXES:
        raise BfpError(f"weights file {path} is of an unknown kind; known are {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise BfpError(f'weights file {path} does not exist; give an existing file, or weights = "random"')
    try:
        state = _read(path)
    except BfpError:
        raise
    except Exception as error:  # the readers raise whatever the damaged bytes lead them to
        foreign = re.search(r"(?:GLOBAL |but got <class ')([\w.]{1,100})", str(error))
        if foreign and not foreign[1].startswith(TENSORS):
            raise BfpError(
                f"weights file {path} holds more than tensors ({foreign[1]}), such as a whole module; save "
                "module.state_dict() alone"
            ) from None
        words = str(error).partition("WeightsUnpickler error:")[2] or str(error)  # without torch's advice to trust the file
        reason = printable(re.sub(r"\s+", " ", words.strip().split("\n")[0]))[:120].rstrip(". ") or "it is empty"
        raise BfpError(
            f"weights file {path} is damaged or holds more than tensors ({reason}); give a state dict"
        ) from None
    found, took = unwrapped(state, wanted)
    if found is None:
        raise BfpError(f"weights file {path} does not hold a state dict (names and tensors); save module.state_dict()")
    return found, took


def _read(path: Path) -> object:
    if path.suffix in TORCH_SUFFIXES:
        check_sums(path)
        with torch.serialization.safe_globals(NUMBERS):
            return torch.load(path, map_location="cpu", weights_only=True)
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            return {k: torch.from_numpy(archive[k]) for k in archive.files}
    try:
        from safetensors.torch import load_file
    except ImportError:
        raise BfpError(f"weights file {path} needs the package safetensors; run pip install safetensors") from None
    return load_file(path)


def check_sums(path: Path) -> None:
    """Raise BfpError where a part of a file that torch saved is damaged: torch itself does not look at its check sums.

    A part that is marked as a folder it takes for an empty one, and gives whatever its memory held.
    """
    if not zipfile.is_zipfile(path):  # as torch wrote them before 1.6
        return
    with zipfile.ZipFile(path) as archive:
        folders = [m.filename for m in archive.infolist() if m.file_size and m.external_attr & FOLDER]
        damaged = folders[0] if folders else archive.testzip()
    if damaged is not None:
        raise BfpError(f"weights file {path} is damaged (the check sum of its part {shown(damaged)} is wrong, or its kind); copy it again")


def check_state_dict(module: nn.Module, state: dict[str, torch.Tensor], path: str | Path) -> None:
    """Raise BfpError, naming file, model and the first keys, unless the tensors are exactly the module's.

    Shapes must be equal, and so must be kinds: copying integers, bits or complex numbers into a float parameter would
    give numbers, and mean nothing.
    """
    own = module.state_dict()
    wanted = {k: tuple(v.shape) for k, v in own.items()}
    model = type(module).__name__
    # older checkpoints do not count batches, and inference does not need it
    counters = {k for k in (*wanted, *state) if k.endswith(COUNTER)}
    problems = []
    for what, keys in (
        ("lacks", [k for k in wanted if k not in state and k not in counters]),
        ("has too many", [k for k in state if k not in wanted and k not in counters]),
    ):
        if keys:
            named = ", ".join(map(short, keys[:3])) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
            problems.append(f"{what} {named}")
    for key in [k for k in wanted if k in state and tuple(state[k].shape) != wanted[k]][:1]:
        problems.append(f"has {short(key)} of shape {tuple(state[key].shape)} where the model needs {wanted[key]}")
    for key in [k for k in wanted if k in state and k not in counters and kind(state[k]) != kind(own[k])][:1]:
        found, needed = (f"{kind(s[key])} ({str(s[key].dtype).removeprefix('torch.')})" for s in (state, own))
        problems.append(f"has {short(key)} as {found} where the model needs {needed}")
    if problems:
        raise BfpError(f"weights file {path} does not belong to model {model}: it {', and '.join(problems)}")


def short(key: str) -> str:
    """A tensor's name as a message has room for it."""
    return cut(printable(key), SHOWN)


def kind(tensor: torch.Tensor) -> str:
    """What a tensor's values are: floats, integers, booleans, complex, quantised, sparse of any of these, or none."""
    if tensor.is_meta:
        return "no values"
    if tensor.layout != torch.strided:
        return "sparse"
    if tensor.is_quantized:
        return "quantised"
    if tensor.dtype == torch.bool:
        return "booleans"
    if tensor.is_complex():
        return "complex"
    return "floats" if tensor.is_floating_point() else "integers"


def randomise(module: nn.Module, seed: int, calibration: Calibration | None) -> None:
    """Seeded random weights that keep activations alive through any depth.

    Kaiming normal by fan-in (He et al., 2015), small random biases, batch norm
    scales and shifts around 1: a shift of one standard deviation keeps most of
    ReLU's inputs positive; without it a random network of this depth is
    chaotic and amplifies the smallest rounding to the size of its output.
    Running statistics are those of (at most 32 of) the calibration images,
    set layer after layer in one forward pass.
    """
    draw = torch.Generator().manual_seed(seed)
    norms = [m for m in module.modules() if isinstance(m, BATCH_NORMS)]
    with torch.no_grad():
        for m in module.modules():
            if isinstance(m, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(m.weight, nonlinearity="relu", generator=draw)
                if m.bias is not None:
                    nn.init.normal_(m.bias, 0.0, 0.05, generator=draw)
            elif m in norms and m.affine:
                nn.init.uniform_(m.weight, 0.75, 1.25, generator=draw)
                nn.init.normal_(m.bias, 1.0, 0.3, generator=draw)
    module.float()  # as the images are; what is quantised has no other precision
    to_eval(module)
    if norms:
        _measure_batch_norms(module, norms, calibration)


def _measure_batch_norms(module: nn.Module, norms: list[nn.Module], calibration: object) -> None:
    inputs = calibration if isinstance(calibration, Mapping) else {"": calibration}
    if any(images is None or len(images) < 2 for images in inputs.values()):
        raise BfpError(
            f"random weights for {type(module).__name__} need at least two calibration images for its batch norms; "
            "name calibration images in the network file"
        )
    images = {name: torch.as_tensor(x, dtype=torch.float32)[:MAX_IMAGES] for name, x in inputs.items()}
    measured: set[nn.Module] = set()

    def measure(norm: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if norm in measured or norm.running_mean is None:
            return
        measured.add(norm)
        axes = [d for d in range(inputs[0].ndim) if d != 1]
        var, mean = torch.var_mean(inputs[0], axes, correction=0)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(var.clamp(min=VARIANCE_FLOOR * float(var.mean())))
        print(f"\rbatch norm statistics: layer {len(measured)}/{len(norms)}", end="", file=sys.stderr, flush=True)

    # Unlike training mode, this feeds each layer what it will see in eval mode, to the last bit: with
    # maps of one pixel and few images the difference would grow from layer to layer.
    hooks = [m.register_forward_pre_hook(measure) for m in norms]
    try:
        with torch.no_grad():
            module(*arranged(module, images, type(module).__name__).values())
        print(file=sys.stderr)
    except (ValueError, RuntimeError) as error:
        reason = re.sub(r"\s+", " ", str(error).split("\n")[0])[:160].rstrip(". ")
        sizes = " and ".join(str(tuple(x.shape[1:])) for x in images.values())
        raise BfpError(
            f"random weights for {type(module).__name__}: the calibration images of shape {sizes} "
            f"do not pass through it ({reason}); check the input size"
        ) from None
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def published_weights(model: str, url: str) -> Iterator[None]:
    """Around code that downloads weights: only tensors are unpickled, and a failure becomes one sentence."""
    timeout, forced = socket.getdefaulttimeout(), os.environ.get("TORCH_FORCE_WEIGHTS_ONLY_LOAD")
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
    # the packages call torch.load themselves and may allow arbitrary pickles
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    try:
        yield
    except (OSError, HTTPException, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = re.sub(r"\s+", " ", str(error).split("\n")[0])[:120].rstrip(". ")
        raise BfpError(
            f"the published weights of {model} could not be downloaded from {url} ({reason}); "
            'give a weights file, or weights = "random", with pretrained = false'
        ) from None
    finally:
        socket.setdefaulttimeout(timeout)
        if forced is None:
            del os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"]
        else:
            os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = forced
