"""A module as it is used: without dropout, and with the batch norms of its training."""

from __future__ import annotations

from contextlib import suppress

import torch


def to_eval(module: torch.nn.Module) -> torch.nn.Module:
    """The module itself, in eval mode.

    What torch.export has made keeps the mode that it was exported in: it has no other, and says so by
    NotImplementedError. Its graph is looked at afterwards, and refused where it still trains. A frozen TorchScript module
    has no mode at all.
    """
    with suppress(NotImplementedError, AttributeError):
        module.eval()
    return module
