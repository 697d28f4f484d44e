"""Integers of a layer's weights that err less at the network's output: coordinate descent from those that GPTQ found.

GPTQ rounds every filter by itself, for the least error of its own sums. At the
network's output errors of several filters meet, and may add up or cancel. Where
the inputs x and the output's gradients are taken as independent, weights that
are wrong by E [F, K] cost

    J = sum over f, g, j, k of  G[f, g] E[f, j] E[g, k] H[j, k]

with the second moments H of the inputs and G of the gradients (the curvature is
taken as their Kronecker product, as in K-FAC, Martens and Grosse, 2015). One
step up or down of a single integer changes J by a known amount; steps that
lessen it are taken until there is none, or enough of them.
"""

from __future__ import annotations

import numpy as np
import torch

RIDGE = 0.1  # of H and of G, as a share of the mean diagonal: other images have other moments
MOST_ROUNDS = 200  # in each of which every filter may change one weight
LEAST = 1e-9  # of the mean cost of a weight, below which a change is none


def descend(
    mantissas: torch.Tensor,
    wanted: torch.Tensor,
    step: torch.Tensor,
    moments: tuple[torch.Tensor, torch.Tensor],
    low: int,
    high: int,
) -> torch.Tensor:
    """Mantissas [F, K], float64 integers in low..high, of no larger cost J than those given.

    wanted: real weights that they stand for, step: their steps, [F, K]. moments: H [K, K] of the inputs and G [F, F] of
    the output's gradients, float64.
    """
    hessian, curvature = (_damped(m) for m in moments)
    across, twice = curvature.T.contiguous(), 2 * step
    costs = step**2 * curvature.diagonal()[:, None] * hessian.diagonal()
    found = mantissas.clone()
    slope = curvature @ (wanted - found * step) @ hessian  # of J, halved, less its sign
    least = -LEAST * float((slope * (wanted - found * step)).sum()) / found.numel()
    # no further than this does a slope count: of a mantissa at the end of its range nothing in one direction
    ends = _ends(found, low, high)
    rows, change = torch.arange(len(found)), torch.empty_like(found)
    for _ in range(MOST_ROUNDS):
        torch.clamp(slope, *ends, out=change).abs_().mul_(twice)
        best, columns = torch.sub(costs, change, out=change).min(dim=1)
        taken = _taken(best, slope, step, (hessian, curvature), columns, least)
        if not len(taken):
            break
        at, columns = rows[taken], columns[taken]
        moved = slope[at, columns].sign()
        found[at, columns] += moved
        for end, now in zip(ends, _ends(found[at, columns], low, high)):
            end[at, columns] = now
        slope.addmm_(across[at].T, (moved * step[at, columns])[:, None] * hessian[columns], alpha=-1)
    return found


def _ends(found: torch.Tensor, low: int, high: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Of each mantissa, float64: minus infinity where it may become less, else 0; infinity where it may become more, else 0."""
    nothing = torch.zeros_like(found)
    return nothing.masked_fill(found > low, -torch.inf), nothing.masked_fill(found < high, torch.inf)


def _taken(
    best: torch.Tensor,
    slope: torch.Tensor,
    step: torch.Tensor,
    moments: tuple[torch.Tensor, torch.Tensor],
    columns: torch.Tensor,
    least: float,
) -> torch.Tensor:
    """The filters whose best step is taken, the most useful first, each only if it still helps after those before it.

    best: change of J [F] by the step of each filter's weight in its column [F].
    """
    order = np.argsort(best.numpy(), kind="stable")
    order = order[best.numpy()[order] < least]  # of the others none would be taken
    columns = columns.numpy()[order]
    hessian, curvature = (m.numpy() for m in moments)
    # of the slope, by a step of another filter, both in this order
    meeting = np.take(curvature[order], order, axis=1) * np.take(hessian[columns], columns, axis=1)
    now, sizes = (v.numpy()[order, columns] for v in (slope, step))
    moves, costs = sizes * np.sign(now), sizes**2 * meeting.diagonal()
    taken = []
    for f in range(len(order)):
        if costs[f] - 2 * moves[f] * now[f] < least:
            taken.append(int(order[f]))
            now[f + 1 :] -= moves[f] * meeting[f, f + 1 :]
    return torch.tensor(taken, dtype=torch.int64)


def _damped(moment: torch.Tensor) -> torch.Tensor:
    """A second moment with a ridge; of a layer that never saw a signal, as it is."""
    return moment + RIDGE * moment.diagonal().mean() * torch.eye(len(moment), dtype=moment.dtype)
