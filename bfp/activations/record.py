"""What an activation is, said once."""

from __future__ import annotations

from dataclasses import dataclass

from bfp.operators.record import Scaling


@dataclass(frozen=True)
class Activation:
    """An activation that limits its operand to a range; real numbers.

    low: the least value, None for no limit; high: the largest. scaling: what becomes of the function where a channel
    is multiplied by a positive factor (``ABSORBED``: a layer with weights takes the factor into limits of its own, one
    for each channel).
    """

    name: str
    low: float | None
    high: float | None
    scaling: Scaling

    @property
    def is_identity(self) -> bool:
        """Whether every value stays as it is."""
        return self.low is None and self.high is None

    @property
    def non_negative(self) -> bool:
        """Whether no result is below zero."""
        return self.low is not None and self.low >= 0
