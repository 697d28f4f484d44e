"""Self-test of an accelerator: every stored tensor on the (simulated) board against the golden model."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Union

import numpy as np

from bfp.artifact import Artifact
from bfp.artifact_file import load
from bfp.chip_tensor import ChipTensor, layer_of
from bfp.deployment import SAMPLES, Deployment, check_file
from bfp.errors import BfpError
from bfp.golden import quantise_input, run
from bfp.layout import HOST, PlacedTensor
from bfp.names import COMMAND, shown
from bfp.samples import Samples, load_samples
from host.driver import Accelerator
from host.progress import Progress


Traced = Union[PlacedTensor, ChipTensor]  # whatever is seen where layer after layer runs


class _Enough(Exception):
    """The golden model has computed all that is compared."""


@dataclass
class _Result:
    images: int = 0
    tensors_compared: int = 0
    values_compared: int = 0
    mismatches: int = 0
    first_mismatch: str | None = None
    seconds: float = 0.0

    def compare(self, image: int, tensor: Traced, got: np.ndarray, want: np.ndarray) -> None:
        wrong = np.argwhere(got != want)
        self.tensors_compared += 1
        self.values_compared += int(want.size)
        self.mismatches += len(wrong)
        if len(wrong) and self.first_mismatch is None:
            c, y, x = (int(v) for v in wrong[0])
            self.first_mismatch = (
                f"image {image}, layer {layer_of(tensor, y)}, tensor {tensor.name}, channel {c}, row {y}, column {x}: "
                f"golden model {want[c, y, x]}, board {got[c, y, x]}"
            )


def check(
    accelerator: Accelerator, artifact: Artifact, images: np.ndarray, by_layer: bool = False, until: str | None = None
) -> dict:
    """Compare all tensors for float images [N, C, H, W]; those that stay in the engine's own memory with ``by_layer`` only.

    Images go through in batches, where the network's last layers take several at once.

    by_layer: run one layer after the other, and look at its tensors before the next, so that the first difference is
    where it began; then all of them in batches, where there are any. until: the last layer to compare, or the layer of the tensor of that name; with ``by_layer`` only.
    Returns images, tensors_compared, values_compared, mismatches, first_mismatch (a sentence or None) and seconds on
    the board. Raises BfpError where the accelerator was not generated from this artifact, for a layer that it has not,
    and where there is nothing to compare, which is no success.
    """
    deployment = accelerator.deployment
    if deployment.artifact_digest != artifact.digest:
        raise BfpError(
            f"deployment {accelerator.folder} was generated from another artifact than the one given; "
            "generate it again, or give the artifact that belongs to it"
        )
    compared = tensors_until(deployment, until)
    if not len(images) or not compared:
        raise BfpError("nothing was compared: there is no image; ask for at least one (--limit), and give samples")
    result = _Result(images=len(images))
    batches = deployment.pictures_at_once > 1 and until is None
    mantissas = quantise_input(artifact, images)
    if by_layer:
        _compare(accelerator, artifact, mantissas, compared, True, result)
    if not by_layer or batches:
        _compare(accelerator, artifact, mantissas, compared, False, result)
    return asdict(result)


def _compare(
    accelerator: Accelerator,
    artifact: Artifact,
    images: np.ndarray,
    compared: list[Traced],
    by_layer: bool,
    result: _Result,
) -> None:
    """images: mantissas [N, C, H, W]."""
    together, names = 1 if by_layer else accelerator.deployment.pictures_at_once, [t.name for t in compared]
    with Progress("board: image", len(images)) as progress:
        for first in range(0, len(images), together):
            batch = images[first : first + together]
            golden = [golden_tensors(artifact, mantissas, names) for mantissas in batch]
            start = time.perf_counter()
            if by_layer:
                _trace(accelerator, batch[0], {t.name: t for t in compared}, golden[0], first, result)
            else:
                accelerator.run_batch(batch)
                for place, wanted in enumerate(golden):
                    for tensor in (t for t in compared if isinstance(t, PlacedTensor)):
                        got = accelerator.tensor(tensor.name, place)
                        result.compare(first + place, tensor, got, wanted[tensor.name])
            result.seconds += time.perf_counter() - start
            progress.step(first + len(batch), f", {result.mismatches} mismatches")


def together(name: str, results: list[dict]) -> dict:
    """What several networks of one bitstream gave, under its name: their sums, and each one's own."""
    sums = ("images", "tensors_compared", "values_compared", "mismatches", "seconds")
    first = next((f"{r['network']}, {r['first_mismatch']}" for r in results if r["first_mismatch"] is not None), None)
    return {"network": name, **{key: sum(r[key] for r in results) for key in sums}, "first_mismatch": first, "networks": results}


def tensors_until(deployment: Deployment, until: str | None) -> list[Traced]:
    """The tensors of all layers up to the one of this name, or of the tensor of this name; all of them for None."""
    found = sorted((*deployment.tensors, *deployment.on_chip), key=lambda t: t.layer_index)
    if until is None:
        return found
    last = [t.layer_index for t in found if until in (t.layer, t.name)]
    if not last:
        layers = ", ".join(dict.fromkeys(t.layer for t in found))
        raise BfpError(f"network {deployment.network} has no layer or tensor {shown(until)}; its layers are {layers}")
    return [t for t in found if t.layer_index <= max(last)]


def golden_tensors(artifact: Artifact, mantissas: np.ndarray, names: list[str]) -> dict[str, np.ndarray]:
    """The golden model's tensors of these names, int16 [C, H, W]; what comes after them is not computed."""
    found: dict[str, np.ndarray] = {}
    wanted = set(names)

    def observe(name: str, values: np.ndarray) -> None:
        if name in wanted:
            found[name] = values[0]
        if len(found) == len(wanted):
            raise _Enough

    try:
        run(artifact, mantissas[None], keep=(), observe=observe)
    except _Enough:
        pass
    return found


def _trace(
    accelerator: Accelerator,
    mantissas: np.ndarray,
    compared: dict[str, Traced],
    golden: dict[str, np.ndarray],
    image: int,
    result: _Result,
) -> None:
    last = max(t.layer_index for t in compared.values())
    layers = max(last - HOST, 1)
    seen = 0
    trace = accelerator.trace_mantissas(mantissas)
    with Progress(f"image {image + 1}: layer", layers) as progress:
        for name, got in trace:
            if name in compared:
                result.compare(image, compared[name], got, golden[name])
                progress.step(compared[name].layer_index - HOST, f", {result.mismatches} mismatches")
                seen += 1
            if seen == len(compared):
                break
    trace.close()


def reference(folder: Path, deployment: Deployment, artifact: Path | None, samples: Path | None) -> tuple[Artifact, Samples]:
    """What a deployment with one network is verified against: the files named, or those in its folder.

    Raises BfpError where they are not there, as in a folder that was made with ``minimal``, or not the manifest's.
    """
    paths = []
    for option, name, given in zip(SAMPLES, deployment.references(deployment.only), (artifact, samples)):
        path = given or folder / name
        if given is None:
            if name not in deployment.files:
                why = "it was built with minimal=1" if deployment.minimal else "it has no bitstream yet"
                raise BfpError(
                    f"{folder} has no {name} ({why}), so that nothing can be verified; build it again with "
                    f"`{COMMAND} build-bitstream`, or name the network's with --{option.split('.')[0]}"
                )
            check_file(deployment, folder, name, "copy it again")
        paths.append(path)
    return load(paths[0]), load_samples(paths[1])
