"""How a quantised network's outputs compare with the float network's: sums over images, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from bfp.graph import Graph
from calib.data.images import ImageSet
from calib.progress import Progress

ENOUGH = 30  # labelled images that tell chance from a network that has learnt something


@dataclass
class Tally:
    """Sums over the images done so far.

    done: images. float_hits, bfp_hits: right classes, where labels are known;
    same: images with the same class in both. signal, noise: sums of squares
    of the float network's outputs, and of the differences. seconds: spent.
    """

    done: int = 0
    float_hits: int = 0
    bfp_hits: int = 0
    same: int = 0
    signal: float = 0.0
    noise: float = 0.0
    seconds: float = 0.0

    def add(self, reference: np.ndarray, quantised: np.ndarray, labels: np.ndarray | None) -> None:
        """Add the next batch: outputs of both networks, float64 [N, outputs]; labels: of all images, or None."""
        best_float, best_bfp = reference.argmax(1), quantised.argmax(1)
        self.same += int((best_float == best_bfp).sum())
        if labels is not None:
            truth = labels[self.done : self.done + len(reference)]
            self.float_hits += int((best_float == truth).sum())
            self.bfp_hits += int((best_bfp == truth).sum())
        self.signal += float((reference**2).sum())
        self.noise += float(((reference - quantised) ** 2).sum())
        self.done += len(reference)

    def figures(self, labelled: bool) -> dict:
        """The comparison, for JSON.

        images; top1_float, top1_bfp: fractions 0..1, None without labels;
        agreement: fraction of images with the same top class; sqnr_db: signal
        to quantisation noise of the network's output over all images, in dB
        (None where there is no noise or no signal).
        """
        return {
            "images": self.done,
            "top1_float": self.float_hits / self.done if labelled else None,
            "top1_bfp": self.bfp_hits / self.done if labelled else None,
            "agreement": self.same / self.done,
            "sqnr_db": 10 * float(np.log10(self.signal / self.noise)) if self.signal > 0 and self.noise > 0 else None,
        }


def chance_note(figures: dict, outputs: int) -> str:
    """A sentence where the float network is right about as often as by chance, and images are enough to say so; else empty.

    figures: as of ``Tally.figures``; outputs: of the network. Images are enough from ENOUGH on.
    """
    images, top1 = figures["images"], figures["top1_float"]
    if top1 is None or images < ENOUGH or outputs < 2:
        return ""
    expected = images / outputs
    if top1 * images > expected + (expected * (1 - 1 / outputs)) ** 0.5:
        return ""
    return (
        f"the float network is right on {100 * top1:.2f} % of the images, as by chance among {outputs} classes: labels and "
        "network hardly belong together; check the order of the classes, the weights, and the input's mean and std"
    )


def labels_of(images: ImageSet, graph: Graph) -> np.ndarray | None:
    """The images' labels, int64 [images], or None. Raises BfpError where one is no class of the network."""
    images.check_labels(int(np.prod(graph.shapes[graph.output])))
    return images.labels


def remaining(tally: Tally, images: ImageSet, size: int, what: str) -> Iterator[np.ndarray]:
    """Batches of the images that are not counted yet, float32 [at most size, C, H, W]; shows progress on ``what``."""
    with Progress(what, len(images)) as progress:
        progress.done = tally.done
        for batch in _ahead(images.batches(size, tally.done)):
            yield batch
            progress.step(len(batch))


def _ahead(batches: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """The same batches; the next one is read while one is being computed on."""
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = reader.submit(next, batches, None)
            yield batch
