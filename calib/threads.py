"""A fixed number of threads, so that the same sums are made wherever a network is calibrated.

torch, oneDNN and MKL split sums among threads; another number of them adds
in another order, and the last bits differ. Rounding that makes up for its own
errors (GPTQ) carries such a difference through all layers that follow.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

THREADS = 2  # more than there are cores would wait for each other at every layer


@contextmanager
def fixed_threads() -> Iterator[None]:
    """torch computes with THREADS threads inside, whatever OMP_NUM_THREADS or the number of cores says."""
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        yield
    finally:
        torch.set_num_threads(before)
