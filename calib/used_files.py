"""The files that decide what a network's TOML file gives: when one changes, its results are outdated."""

from __future__ import annotations

import glob
import hashlib
import re
from pathlib import Path

from calib.config import WEIGHT_WORDS, NetworkConfig
from calib.options import ImageOptions


def module_files(config: NetworkConfig) -> list[str]:
    """Python files of a model that lies beside the network's file; of an ONNX file, it and what begins with its name."""
    if config.onnx is not None:
        return sorted(str(p) for p in config.onnx.parent.glob(f"{glob.escape(config.onnx.stem)}*") if p.is_file())
    beside = config.path.parent / config.model.split(":")[0].split(".")[0]
    found = beside.rglob("*.py") if beside.is_dir() else [beside.with_suffix(".py")]
    return sorted(str(p) for p in found if p.is_file())


def image_files(*sections: ImageOptions | None) -> list[str]:
    """Those image sources that are files (archives without the names of their arrays)."""
    sources = [s for section in sections if section is not None for s in section.images]
    files = {re.sub(r"\.npz:.*", ".npz", source) for source in sources}
    return sorted(f for f in files if Path(f).is_file())


def weight_files(config: NetworkConfig) -> list[str]:
    """The weights' file, if ``weights`` names one that exists."""
    return [config.weights] if config.weights not in WEIGHT_WORDS and Path(config.weights).is_file() else []


def digest(files: list[str] | list[Path]) -> str:
    """SHA-256 over the contents of the files, in order; their names do not count."""
    total = hashlib.sha256()
    for file in files:
        with open(file, "rb") as f:
            total.update(hashlib.file_digest(f, "sha256").digest())
    return total.hexdigest()
