"""The project from Python: calibrate a module, emulate it bit for bit, generate its engine, simulate and estimate it.

    from static_bfp import calibrate, csim, estimate, generate

    artifact = calibrate(module, images)           # a torch.nn.Module, normalised images [N, C, H, W] or a DataLoader
    answers = artifact.emulate()(images)           # the engine's own answers, batched, on CPU or GPU
    print(artifact.evaluate(loader))               # beside those of the float network
    generate(artifact, "engine")                   # C++ sources, weight image and manifest
    print(csim(artifact, "engine", images)["mismatches"], estimate(artifact)["frames_per_second"])
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from static_bfp.artifact import Artifact, calibrate, load
    from static_bfp.engine import csim, estimate, generate

__all__ = ["Artifact", "calibrate", "csim", "estimate", "generate", "load"]
_ENGINE = ("csim", "estimate", "generate")


def __getattr__(name: str) -> object:
    """The names above, imported when they are asked for: the tasks, which lie in this package, do without PyTorch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module("static_bfp.engine" if name in _ENGINE else "static_bfp.artifact"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
