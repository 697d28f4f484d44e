"""What the comparison and a tool's own process hand each other: a folder with module, images and widths, and one of outputs.

The module is pickled whole, images are the network's input, float32 [N, C, H, W]. A tool's process (``side_*.py``) writes
``NAME.npy``, outputs [N, values] in float32, of every row that it offers, and ``rows.json``. It runs in an environment of its
own, and imports nothing of this project but this file.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

BATCH = 32  # images that are computed at a time
FLOAT = "float"  # name of the row of the network as the tool has it, before it quantises
ROWS = "rows.json"
Model = Callable[[torch.Tensor], object]


@dataclass(frozen=True)
class Row:
    """What a tool offers. name: of its file; settings: for people; weights, activations: widths in bits.

    make(given): the quantised network, a callable of a batch.
    """

    name: str
    settings: str
    weights: int
    activations: int
    make: Callable[[Given], Model]


@dataclass(frozen=True)
class Given:
    """A network with its images. module: in evaluation mode; calibration, evaluation: float32 [N, C, H, W]; widths: pairs
    (weights, activations) that are asked for."""

    module: torch.nn.Module
    calibration: np.ndarray
    evaluation: np.ndarray
    widths: tuple[tuple[int, int], ...]

    @property
    def example(self) -> torch.Tensor:
        """A few images, for tools that trace."""
        return torch.from_numpy(np.array(self.calibration[:2]))

    def batches(self) -> Iterator[torch.Tensor]:
        """The calibration images."""
        for start in range(0, len(self.calibration), BATCH):
            yield torch.from_numpy(np.array(self.calibration[start : start + BATCH]))

    def feed(self, model: Model) -> None:
        """Show the model all calibration images."""
        with torch.no_grad():
            for batch in self.batches():
                model(batch)


def write(folder: Path, given: Given, beside: str) -> None:
    """Write what tools are given; beside: the folder of the user's own modules."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(given.module, folder / "module.pt")
    np.save(folder / "calibration.npy", given.calibration)
    np.save(folder / "evaluation.npy", given.evaluation)
    (folder / "given.json").write_text(json.dumps({"widths": given.widths, "beside": beside}), encoding="utf-8")


def read(folder: Path) -> Given:
    """What ``write`` wrote."""
    words = json.loads((folder / "given.json").read_text(encoding="utf-8"))
    sys.path.append(words["beside"])
    module = torch.load(folder / "module.pt", weights_only=False).eval()
    calibration, evaluation = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("calibration", "evaluation"))
    return Given(module, calibration, evaluation, tuple(tuple(pair) for pair in words["widths"]))


def serve(version: str, offered: Callable[[tuple[tuple[int, int], ...]], Iterable[Row]]) -> None:
    """A tool's program, ``side_X.py FOLDER OUT``: quantise and run every row that is not in OUT yet.

    version: of the tool; offered(widths): its rows of those widths. What fails in a row is written down as a sentence.
    """
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    given = read(folder)
    rows = [Row(FLOAT, "", 32, 32, lambda given: given.module), *offered(given.widths)]
    listed = []
    for row in rows:
        entry = {k: v for k, v in asdict(row).items() if k != "make"}
        start = time.process_time()
        path = out / f"{row.name}.npy"
        try:
            if not path.is_file():
                save(path, outputs(row.make(given), given.evaluation))
                entry["seconds"] = round(time.process_time() - start, 1)
        except Exception as error:  # whatever another tool raises
            entry["error"] = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:200]}"
        listed.append(entry)
        save_text(out / ROWS, json.dumps({"version": version, "torch": torch.__version__, "rows": listed}, indent=1))


def outputs(model: Model, images: np.ndarray) -> np.ndarray:
    """Outputs [N, values] of all images, float32."""
    found = []
    with torch.no_grad():
        for start in range(0, len(images), BATCH):
            batch = torch.from_numpy(np.array(images[start : start + BATCH]))
            result = model(batch)
            value = getattr(result, "value", result)  # of tensors that bring their quantisation along
            found.append(np.asarray(value, np.float32).reshape(len(batch), -1))
    return np.concatenate(found)


def save(path: Path, array: np.ndarray) -> None:
    """Write an array whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with open(part, "wb") as file:
        np.save(file, array)
    os.replace(part, path)


def save_text(path: Path, text: str) -> None:
    """Write a text whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)
