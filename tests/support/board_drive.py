"""What the driver does on a simulated board, through whichever pynq this Python has: run by several of them.

    python tests/support/board_drive.py LIBRARY DEPLOY OUT.npz      every tensor that lies in memory, and the output
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np

from host.driver import Accelerator
from host.faults import Faults
from host.simulated_board import SimulatedBoard


def main(library: str, deploy: str, out: Path) -> None:
    """Trace and run an image of random integers, on an engine that takes its time: its interrupt must come."""
    warnings.simplefilter("error", RuntimeWarning)
    board = SimulatedBoard(library, deploy, folder=out.with_suffix(""), faults=Faults(finishes_late_s=0.05))
    with Accelerator(deploy, device=board) as accelerator:
        tensor = accelerator.deployment.tensor(accelerator.deployment.input.tensor)
        lowest, highest = (-9, 9) if tensor.format.signed else (0, 9)
        image = np.random.default_rng(4).integers(lowest, highest + 1, tensor.shape).astype(np.int16)
        seen = dict(accelerator.trace_mantissas(image))
        output = accelerator.run_mantissas(image)
    assert board._interrupt is not None and board._interrupt.closed and not board._memories
    np.savez(out, output=output, **{f"tensor_{n}": values for n, values in enumerate(seen.values())})


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
