"""Engines in which every shortcut stays on chip for which there is room, whether that saves anything or not."""

from __future__ import annotations

import pytest

from codegen.lowering import chip_plan, program
from codegen.lowering.layer_fields import MapPlace


def keep_all(patch: pytest.MonkeyPatch, bands: bool = True) -> None:
    """Have plans chosen by how many shortcuts they keep on chip, and programs that keep any.

    bands: whether those of bands count each, so that there are many.
    """

    def modelled(self, planned, limit=None) -> int:
        kept = [p.job for p in planned if p.job.shortcut is not None and p.job.shortcut.place is MapPlace.CHIP]
        return -len(kept if bands else {job.node.name for job in kept})

    patch.setattr(chip_plan.ChipPlanner, "modelled", modelled)
    patch.setattr(program, "fits", lambda program, board: any(layer.joins_chip for layer in program.layers))
