"""Self-test of an accelerator: every stored tensor on the (simulated) board against the golden model."""

from __future__ import annotations

import sys
import time

import numpy as np

from bfp.artifact import Artifact
from bfp.errors import BfpError
from bfp.golden import quantise_input, run
from host.driver import Accelerator


def check(accelerator: Accelerator, artifact: Artifact, images: np.ndarray) -> dict:
    """Compare all tensors for float images [N, C, H, W].

    Returns images, tensors_compared, values_compared, mismatches,
    first_mismatch (a sentence or None) and seconds on the board. Raises
    BfpError where the accelerator was not generated from this artifact, and
    where there is nothing to compare, which is no success.
    """
    deployment = accelerator.deployment
    if deployment.artifact_digest != artifact.digest:
        raise BfpError(
            f"deployment {accelerator.folder} was generated from another artifact than the one given; "
            "generate it again, or give the artifact that belongs to it"
        )
    if not len(images) or not deployment.tensors:
        raise BfpError("nothing was compared: there is no image; ask for at least one (--limit), and give samples")
    result = {"images": 0, "tensors_compared": 0, "values_compared": 0, "mismatches": 0, "first_mismatch": None}
    seconds = 0.0
    for n, mantissas in enumerate(quantise_input(artifact, images)):
        golden = run(artifact, mantissas[None])
        start = time.perf_counter()
        accelerator.run_mantissas(mantissas)
        seconds += time.perf_counter() - start
        for tensor in deployment.tensors:
            got, want = accelerator.tensor(tensor.name), golden[tensor.name][0]
            wrong = np.argwhere(got != want)
            result["tensors_compared"] += 1
            result["values_compared"] += int(want.size)
            result["mismatches"] += len(wrong)
            if len(wrong) and result["first_mismatch"] is None:
                c, y, x = (int(v) for v in wrong[0])
                result["first_mismatch"] = (
                    f"image {n}, layer {tensor.layer}, tensor {tensor.name}, channel {c}, row {y}, column {x}: "
                    f"golden model {want[c, y, x]}, board {got[c, y, x]}"
                )
        result["images"] += 1
        print(f"\rboard: image {n + 1} of {len(images)}, {result['mismatches']} mismatches", end="", file=sys.stderr)
    print(file=sys.stderr)
    return {**result, "seconds": seconds}
