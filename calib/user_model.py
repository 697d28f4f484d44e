"""What a network's file names of the user's own: the module, built by a callable, and the names of its classes."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from bfp.errors import BfpError
from bfp.names import check_text, cut, printable, shown
from calib.config import NetworkConfig
from calib.data.classes import Classes
from calib.data.imagenet_ids import IMAGENET_IDS
from calib.data.texts import read_text
from calib.frontend.onnx.network import onnx_module
from calib.frontend.tracing import as_module
from calib.user_metric import UserMetric

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
REASON = 150  # characters of what the user's own code says


def build_module(config: NetworkConfig) -> torch.nn.Module:
    """Call the file's ``module:callable``, or read its ONNX file; a module beside the file is importable.

    Raises BfpError.
    """
    if config.onnx is not None:
        return onnx_module(config.onnx, config.input_shape)
    where = f"{config.path}: model {config.model!r}"
    try:
        module = named_callable(config.model, config.path.parent, where)(**config.arguments)
    except BfpError:
        raise
    except SystemExit as error:
        raise BfpError(
            f"{where} ends the program (exit status {shown(error.code)}) when it is imported or called; "
            "put what is a program of its own below `if __name__ == \"__main__\":`"
        ) from None
    except Exception as error:  # the user's own code may raise anything
        reason = cut(printable(str(error).strip().split("\n")[0]), REASON)
        raise BfpError(
            f"{where} with arguments {shown(config.arguments)} cannot be built ({type(error).__name__}: {reason}); "
            "correct it"
        ) from None
    found = as_module(unwrapped(module))
    # whoever asks for shapes alone has set that device
    wants_values = torch.get_default_device().type != "meta"
    if found is not None and wants_values and any(tensor.is_meta for tensor in found.state_dict().values()):
        raise BfpError(f"{where} has tensors without values (device meta); build it on the CPU")
    if found is None:
        raise BfpError(f"{where} returns {type(module).__name__}; it must return a torch.nn.Module or a torch.export program")
    return found


def named_callable(name: str, folder: Path, where: str) -> Callable:
    """What ``module:callable`` names; a module in the folder of the network's file is importable.

    Raises BfpError, which begins with ``where``, where Python takes another module of that name; and whatever the
    user's own code raises.
    """
    module, function = name.split(":")
    top = module.split(".")[0]
    beside = folder / top
    if beside.is_dir() or beside.with_suffix(".py").is_file():
        take_from(folder)
    found = importlib.import_module(module)
    if beside.with_suffix(".py").is_file():
        check_own(top, folder, where)
    return getattr(found, function)


def load_metric(config: NetworkConfig) -> UserMetric | None:
    """The user's metric, where the file names one. Raises BfpError where it cannot be imported, or is no callable."""
    if config.metric is None:
        return None
    where = f"{config.path}: metric"
    try:
        function = named_callable(config.metric, config.path.parent, f"{where} {config.metric!r}")
    except BfpError:
        raise
    except (Exception, SystemExit) as error:  # the user's own code may raise anything
        reason = cut(printable(str(error).strip().split("\n")[0]), REASON)
        raise BfpError(f"{where} {config.metric!r} cannot be imported ({type(error).__name__}: {reason}); correct it") from None
    if not callable(function):
        raise BfpError(f"{where} {config.metric!r} is {shown(function)}; it must be a callable of output, reference and label")
    return UserMetric(config.metric, function, where)


# folders of networks' files that Python was told of, as it was
_FOLDERS: set[str] = set()


def take_from(folder: Path) -> None:
    """Have Python look for modules in the folder of a network's file first, even where another file's folder has them too.

    Modules of Python's own, and of other packages, stay as they are.
    """
    others = _FOLDERS - {str(folder)}
    for name, module in list(sys.modules.items()) if others else ():
        file, top = getattr(module, "__file__", None), name.split(".")[0]
        parent = "" if file is None else os.path.dirname(file)
        if parent not in others and os.path.dirname(parent) not in others:
            continue
        if (folder / top).is_dir() or (folder / f"{top}.py").is_file():
            del sys.modules[name]
    if others:
        importlib.invalidate_caches()
        sys.path[:] = [place for place in sys.path if place != str(folder)]
    _FOLDERS.add(str(folder))
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def unwrapped(module: object) -> object:
    """The module inside what only says how it is run: on several devices, or compiled."""
    while True:
        if isinstance(module, (torch.nn.DataParallel, torch.nn.parallel.DistributedDataParallel)):
            module = module.module
        elif isinstance(module, torch.nn.Module) and isinstance(getattr(module, "_orig_mod", None), torch.nn.Module):
            module = module._orig_mod
        else:
            return module


def check_own(name: str, folder: Path, where: str) -> None:
    """Raise BfpError where another module of this name was imported than the one in the folder of the network's file."""
    found = getattr(sys.modules.get(name), "__file__", None)
    if found is None or Path(found).resolve().parent not in (folder.resolve(), (folder / name).resolve()):
        source = "Python itself" if found is None else found
        raise BfpError(
            f"{where}: {name} is the name of another module, too, which Python takes first ({source}); "
            f"give {name}.py beside the file another name"
        )


def same_weights(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    """Whether all parameters and buffers of two modules are equal."""
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def load_classes(config: NetworkConfig) -> Classes:
    """The classes of the file, or none. Raises BfpError where their list cannot be read."""
    source = config.classes
    if source is None or isinstance(source, tuple):
        return Classes(checked_classes(source or (), config))
    if source == "cifar10":
        return Classes(CIFAR10)
    if source == "imagenet":
        try:
            from torchvision.models._meta import _IMAGENET_CATEGORIES
        except ImportError:
            raise BfpError('classes = "imagenet" needs the package torchvision; run pip install torchvision') from None
        return Classes(tuple(_IMAGENET_CATEGORIES), IMAGENET_IDS)
    return Classes(checked_classes(listed_classes(source, config), config))


def listed_classes(source: str, config: NetworkConfig) -> tuple[str, ...]:
    """The names in a text file with one a line, or in a JSON file with an array of them. Raises BfpError."""
    advice = "give a text file with one name a line"
    text = read_text(source, f"{config.path}: class names", advice)
    if not text.lstrip().startswith(("[", "{")):
        return tuple(line.strip() for line in text.splitlines() if line.strip())
    try:
        names = json.loads(text)
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise BfpError(f"{config.path}: class names {source} is no JSON array of names; {advice}, or such an array")
    return tuple(names)


def checked_classes(names: tuple[str, ...], config: NetworkConfig) -> tuple[str, ...]:
    """The names of classes. Raises BfpError for one that is no printable text."""
    for name in names:
        check_text(name, "class name", f"{config.path}: classes")
    return names
