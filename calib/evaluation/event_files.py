"""TensorBoard event files of a network's distributions, as the published code wrote them.

Two runs beside each other, ``float`` and ``bfp``, with the same tags, so that
TensorBoard overlays them: ``weights/LAYER``, ``bias/LAYER`` and
``activations/LAYER``, where LAYER is the graph's name of the node. The
network's input is ``activations/input``.

Activations are counted batch by batch (calib.observers.statistics), so that memory does
not grow with the number of images.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from bfp import golden
from bfp.artifact import Artifact
from bfp.files import replacing
from calib.network import float_model
from calib.network.fake_quant import dequantise, real_network
from calib.network.float_network import FloatNetwork
from calib.observers.observer import batch_size
from calib.pipeline import Prepared, check_artifact
from calib.progress import Progress
from calib.observers.statistics import BINS, Histogram, Statistics

IMAGES = 64
SHOWN_BINS = 256  # of a sign, of the BINS that are counted
RUNS = ("float", "bfp")


def write_event_files(prepared: Prepared, artifact: Artifact, folder: Path, limit: int = IMAGES) -> dict[str, int]:
    """Histograms over the first ``limit`` calibration images, to ``folder``/float and ``folder``/bfp.

    An older ``folder`` is replaced. Returns the number of images, layers and
    histograms. Raises BfpError where the artifact is not of this network and its
    weights, or a value is not finite (named layer).
    """
    from torch.utils.tensorboard import SummaryWriter

    network, graph = prepared.network, artifact.graph
    check_artifact(prepared, artifact)
    activations, images = gather(prepared, artifact, limit)
    count = 0
    with replacing(folder) as temporary:
        for run, weights in zip(RUNS, (network, real_network(artifact))):
            with SummaryWriter(temporary / run) as writer:
                for tag, values in parameters(weights):
                    writer.add_histogram(tag, values, bins=SHOWN_BINS)
                    count += 1
                for tensor in graph.shapes:
                    producer = graph.producer(tensor)
                    tag = f"activations/{producer.name if producer else 'input'}"
                    writer.add_histogram_raw(tag, **activations[run][tensor].raw())
                    count += 1
    return {"images": images, "layers": len(graph.nodes), "histograms": count}


def parameters(network: FloatNetwork) -> list[tuple[str, np.ndarray]]:
    """Tags and values of weights and biases, in the graph's order."""
    found = []
    for node in network.graph.weighted():
        w = network.weights[node.name]
        found += [(f"weights/{node.name}", w.weight.ravel()), (f"bias/{node.name}", w.bias.ravel())]
    return found


class Distribution:
    """What one tensor's values are, from a histogram of |x| and its negative part, and their sums."""

    def __init__(self) -> None:
        self.sum = self.squares = 0.0
        self.count = 0
        self.low, self.high = np.inf, -np.inf
        self.histogram = Histogram((0, 1))
        self.histogram.negative = Histogram((0, 1))

    def add(self, x: torch.Tensor) -> None:
        """Add a batch, any shape."""
        values = x.reshape(1, 1, -1, 1)
        low, high = (float(v) for v in torch.aminmax(values))
        exact = values.double()
        self.sum, self.squares = self.sum + float(exact.sum()), self.squares + float((exact**2).sum())
        self.count += values.numel()
        self.low, self.high = min(self.low, low), max(self.high, high)
        self.histogram.add(values.abs(), np.array([max(abs(low), abs(high))]))
        self.histogram.negative.add((-values).clamp(min=0), np.array([max(-low, 0.0)]))

    def raw(self) -> dict:
        """Arguments of ``SummaryWriter.add_histogram_raw``: bucket i ends at limit i, the zeros have their own."""
        top = float(max(self.histogram.tops[0], np.finfo(np.float32).tiny))
        shown = self.histogram.counts[0].reshape(SHOWN_BINS, -1).sum(axis=1)
        below = np.zeros(SHOWN_BINS)
        negative = self.histogram.negative
        if negative.tops[0] > 0:
            # ranges are powers of two: bins of the smaller one merge into those of the larger
            ratio = int(round(self.histogram.tops[0] / negative.tops[0]))
            merged = negative.counts[0].reshape(-1, min(ratio * BINS // SHOWN_BINS, BINS)).sum(axis=1)
            below[: len(merged)] = merged
        edges = np.arange(1, SHOWN_BINS + 1) * (top / SHOWN_BINS)
        tiny = edges[0] * 2.0**-30
        limits = [*(-edges[::-1][1:]), -tiny, tiny, *edges]
        counts = [*below[::-1], float(self.histogram.zeros[0]), *(shown - below)]
        used = np.flatnonzero(counts)
        first, last = (used[0], used[-1] + 1) if len(used) else (0, len(counts))
        return {
            "min": self.low,
            "max": self.high,
            "num": self.count,
            "sum": self.sum,
            "sum_squares": self.squares,
            "bucket_limits": [float(v) for v in limits[first:last]],
            "bucket_counts": [float(v) for v in counts[first:last]],
        }


def gather(prepared: Prepared, artifact: Artifact, limit: int) -> tuple[dict[str, dict[str, Distribution]], int]:
    """Distributions by run and tensor, and the number of images they are of."""
    network, graph = prepared.network, artifact.graph
    found = {run: {t: Distribution() for t in graph.shapes} for run in RUNS}
    finite = Statistics(graph, {})
    total, done = min(limit, len(prepared.calibration)), 0

    def observe(tensor: str, x: torch.Tensor) -> None:
        finite.observe(tensor, x)
        found["float"][tensor].add(x)

    def observe_integers(tensor: str, mantissas: np.ndarray) -> None:
        found["bfp"][tensor].add(dequantise(mantissas, artifact.formats[tensor]))

    with Progress(f"{graph.name}: distributions of {total} images", total) as progress:
        for batch in prepared.calibration.batches(batch_size(network)):
            batch = batch[: total - done]
            float_model.run(network, torch.from_numpy(batch), keep=(), observe=observe)
            golden.run(artifact, golden.quantise_input(artifact, batch), keep=(), observe=observe_integers)
            done += len(batch)
            progress.step(len(batch))
            if done == total:
                break
    return found, done
