"""Weight mantissas that minimise a layer's output error: closed form, no labels, no gradients.

GPTQ (Frantar et al., 2023): weights are rounded one input at a time, and what
each rounding did to the output is made good by the inputs not yet rounded.
The weights it starts from are first moved to the least-squares fit of the
float layer's output from the inputs that the quantised network really has.
"""

from __future__ import annotations

import torch

DAMPING = 0.01  # ridge of the inverse, as a share of the mean diagonal
LAZY = 64  # columns between two updates of all that follow


def fit(weight: torch.Tensor, hessian: torch.Tensor, cross: torch.Tensor, ridge: float) -> torch.Tensor:
    """Least-squares weights [B, F, K], drawn towards ``weight`` by ``ridge`` times the mean diagonal.

    hessian: sum of x x^T over samples, [B, K, K]; cross: sum of target x^T, [B, F, K].
    """
    damped = torch.linalg.cholesky(_damp(hessian, ridge))
    return weight + torch.cholesky_solve((cross - weight @ hessian).transpose(1, 2), damped).transpose(1, 2)


def gptq(
    weight: torch.Tensor, hessian: torch.Tensor, step: torch.Tensor, low: int, high: int, damping: float = DAMPING
) -> torch.Tensor:
    """Mantissas [B, F, K], float64 integers in low..high, of weights [B, F, K] with steps [B, F, K].

    hessian: [B, K, K] of the inputs, float64. B layers are solved at once
    (depthwise: one filter each). Inputs of largest power are rounded first.
    """
    batch, _, count = weight.shape
    order = torch.argsort(hessian.diagonal(dim1=1, dim2=2), dim=1, descending=True, stable=True)
    pick = order[:, None, :]
    w = weight.gather(2, pick.expand_as(weight)).clone()
    s = step.gather(2, pick.expand_as(step))
    h = _damp(hessian, damping)
    h = h.gather(1, order[:, :, None].expand_as(h)).gather(2, pick.expand(batch, count, count))
    upper = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(h)), upper=True)
    q = torch.empty_like(w)
    for start in range(0, count, LAZY):
        stop = min(start + LAZY, count)
        errors = torch.empty_like(w[:, :, start:stop])
        for j in range(start, stop):
            q[:, :, j] = torch.clamp(torch.floor(w[:, :, j] / s[:, :, j] + 0.5), low, high)
            error = (w[:, :, j] - q[:, :, j] * s[:, :, j]) / upper[:, j, j, None]
            w[:, :, j + 1 : stop] -= error[:, :, None] * upper[:, None, j, j + 1 : stop]
            errors[:, :, j - start] = error
        w[:, :, stop:] -= errors @ upper[:, start:stop, stop:]
    result = torch.empty_like(q)
    return result.scatter_(2, pick.expand_as(q), q)


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
    return hessian + ridge[:, None, None] * torch.eye(hessian.shape[1], dtype=hessian.dtype)
