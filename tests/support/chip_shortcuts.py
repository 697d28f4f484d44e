"""Engines in which every shortcut stays on chip for which there is room, whether that saves anything or not."""

from __future__ import annotations

import pytest

from codegen.lowering import chip_plan, program
from codegen.lowering.layer_fields import MapPlace


def keep_all(patch: pytest.MonkeyPatch) -> None:
    """Have plans chosen by how many shortcuts they keep on chip, and programs that keep any."""

    def modelled(self, planned, limit=None) -> int:
        return -sum(plan.job.shortcut is not None and plan.job.shortcut.place is MapPlace.CHIP for plan in planned)

    patch.setattr(chip_plan.ChipPlanner, "modelled", modelled)
    patch.setattr(program, "fits", lambda program, board: any(layer.joins_chip for layer in program.layers))
