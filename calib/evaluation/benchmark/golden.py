"""The golden model's images per second on ResNet-50, against torch float32 on the same cores."""

from __future__ import annotations

import numpy as np
import torch

from bfp import golden
from calib import pipeline
from calib.network import float_model
from calib.evaluation.benchmark.results import alternate, ratio
from calib.evaluation.integer_model import IntegerModel
from calib.pipeline import Prepared

REPEATS = 7
BATCHES = (1, 8)


def measure(prepared: Prepared, repeats: int = REPEATS, batches: tuple[int, ...] = BATCHES) -> dict:
    """Images per second of torch float32, of the golden model and of the torch integer model, in alternation.

    Ratios are medians of the rounds' own, so that what else the machine does
    weighs on both sides alike.
    """
    network = prepared.network
    artifact = pipeline.quantise(prepared, pipeline.gather(prepared))
    images = pipeline.some_images(prepared, max(batches))
    mantissas = golden.quantise_input(artifact, images)
    model = IntegerModel(artifact, torch.device("cpu"))
    found, rows = {}, []
    for size in batches:
        x, q = torch.from_numpy(images[:size]), mantissas[:size]
        seconds = alternate(
            {
                "float": lambda: float_model.logits(network, x),
                "golden": lambda: golden.logits(artifact, q),
                "integer": lambda: model.logits(q),
            },
            repeats,
        )
        rate = {name: size / float(np.median(values)) for name, values in seconds.items()}
        ratios = {name: ratio(seconds["float"], seconds[name]) for name in ("golden", "integer")}
        found[str(size)] = {"images_per_second": rate, "ratio": ratios}
        rows += [
            [f"batch {size}: torch float32", rate["float"], "images/s"],
            [f"batch {size}: golden model", rate["golden"], "images/s"],
            [f"batch {size}: torch integers", rate["integer"], "images/s"],
            [f"batch {size}: golden model / torch float32", ratios["golden"], "(to be at least 0.4)"],
            [f"batch {size}: torch integers / torch float32", ratios["integer"], ""],
        ]
    return {"network": network.graph.name, "repeats": repeats, "batches": found, "table": rows}
