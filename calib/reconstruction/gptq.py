"""Weight mantissas that minimise a layer's output error: closed form, no labels, no gradients.

GPTQ (Frantar et al., 2023): weights are rounded one input at a time, and what
each rounding did to the output is made good by the inputs not yet rounded.
The weights it starts from are first moved to the least-squares fit of the
float layer's output from the inputs that the quantised network really has.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch

DAMPING = 0.01  # ridge of the inverse, as a share of the mean diagonal
LAZY = 64  # columns between two updates of all that follow


def fits(weight: torch.Tensor, hessian: torch.Tensor, cross: torch.Tensor, ridges: Iterable[float]) -> Iterator[torch.Tensor]:
    """Least-squares weights [B, F, K], drawn towards ``weight`` by each of the ridges times the mean diagonal.

    hessian: sum of x x^T over samples, [B, K, K]; cross: sum of target x^T, [B, F, K].
    """
    missing = (cross - weight @ hessian).transpose(1, 2)
    for ridge in ridges:
        damped = torch.linalg.cholesky(_damp(hessian, ridge))
        yield weight + torch.cholesky_solve(missing, damped).transpose(1, 2)


def gptq(
    weight: torch.Tensor, hessian: torch.Tensor, step: torch.Tensor, low: int, high: int, damping: float = DAMPING
) -> torch.Tensor:
    """Mantissas [B, F, K], float64 integers in low..high, of weights [B, F, K] with steps [B, F, K].

    hessian: [B, K, K] of the inputs, float64. B layers are solved at once
    (depthwise: one filter each). Inputs of largest power are rounded first.
    """
    batch, _, count = weight.shape
    order = torch.argsort(hessian.diagonal(dim1=1, dim2=2), dim=1, descending=True, stable=True)
    pick = order[:, None, :].expand_as(weight)
    h = _damp(hessian, damping)
    h = h.gather(1, order[:, :, None].expand_as(h)).gather(2, order[:, None, :].expand(batch, count, count))
    upper = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(h)), upper=True)
    # column after column, [K, B, F], so that each lies in one piece
    w, s = (v.gather(2, pick).permute(2, 0, 1).contiguous() for v in (weight, step))
    q = torch.empty_like(w)
    for start in range(0, count, LAZY):
        stop = min(start + LAZY, count)
        errors = torch.empty_like(w[start:stop])
        block = upper[:, start:stop, start:stop].permute(1, 2, 0).contiguous()[..., None]  # [columns, columns, B, 1]
        for j in range(start, stop):
            i = j - start
            torch.clamp(torch.floor(w[j] / s[j] + 0.5), low, high, out=q[j])
            torch.div(w[j] - q[j] * s[j], block[i, i], out=errors[i])
            w[j + 1 : stop] -= errors[i] * block[i, i + 1 :]
        w[stop:] -= (upper[:, start:stop, stop:].mT @ errors.transpose(0, 1)).transpose(0, 1)
    return torch.empty_like(weight).scatter_(2, pick, q.permute(1, 2, 0))


def with_doubled_steps(
    weight: torch.Tensor,
    hessian: torch.Tensor,
    step: torch.Tensor,
    mantissas: torch.Tensor,
    limits: tuple[int, int],
    room: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """``gptq`` of the filters that err less with twice the step: mantissas [B, F, K] of all, and which those are, bool [B, F].

    mantissas: of ``gptq`` with the steps as they are, which the others keep; weight, hessian, step: as of ``gptq``, limits:
    its low and high. room: whether a filter's step may be doubled, bool [B, F]. Exponents are chosen for the least error of
    the trained weights; those that GPTQ has to place, since each makes up for others, may reach further.
    """
    coarser, damped = gptq(weight, hessian, 2 * step, *limits), _damp(hessian, DAMPING)

    def cost(found: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        error = weight - found * steps
        return ((error @ damped) * error).sum(dim=2)

    better = (cost(coarser, 2 * step) < cost(mantissas, step)) & room
    return torch.where(better[:, :, None], coarser, mantissas), better


def _damp(hessian: torch.Tensor, share: float) -> torch.Tensor:
    mean = hessian.diagonal(dim1=1, dim2=2).mean(dim=1)
    # a layer that never saw a signal: any positive ridge keeps its weights as they are
    ridge = torch.where(mean > 0, share * mean, torch.ones_like(mean))
    damped = hessian.clone()
    damped.diagonal(dim1=1, dim2=2).add_(ridge[:, None])
    return damped
