"""Second moments of many dimensions: x x^T, of which every product is computed once."""

from __future__ import annotations

import torch

BLOCK = 128  # rows at a time


def gram(x: torch.Tensor) -> torch.Tensor:
    """x x^T of each of some matrices [..., K, samples], [..., K, K]: what lies below the diagonal is copied from above it."""
    count = x.shape[-2]
    if count <= BLOCK:
        return x @ x.mT
    result = x.new_empty((*x.shape[:-1], count))
    for start in range(0, count, BLOCK):
        stop = min(start + BLOCK, count)
        rows = x[..., start:stop, :] @ x[..., start:, :].mT
        result[..., start:stop, start:] = rows
        result[..., stop:, start:stop] = rows[..., stop - start :].mT
    return result
