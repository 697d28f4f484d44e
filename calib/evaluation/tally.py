"""How a quantised network's outputs compare with the float network's: sums over images, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from bfp.graph import Graph, Shape
from calib.data.images import ImageSet
from calib.tasks import Task, task_of
from calib.progress import Progress

ENOUGH = 30  # labelled images that tell chance from a network that has learnt something


@dataclass
class Tally:
    """Sums over the images done so far.

    done: images. float_hits, bfp_hits: right answers, where labels are known;
    same: images with the same answer in both, in parts where an image has several. figure: the task's, summed. signal, noise: sums of squares
    of the float network's outputs, and of the differences. seconds: spent.
    """

    done: int = 0
    float_hits: int = 0
    bfp_hits: int = 0
    same: float = 0.0
    figure: float = 0.0
    signal: float = 0.0
    noise: float = 0.0
    seconds: float = 0.0

    def add(self, judge: Judge, reference: np.ndarray, quantised: np.ndarray) -> None:
        """Add the next batch: outputs of both networks, float64 [N, outputs]."""
        task, labels = judge.task, judge.labels
        ours, theirs = (x.reshape(len(x), *judge.shape) for x in (quantised, reference))
        if task.alike is not None:
            self.same += float(task.alike(theirs, ours).sum())
        self.figure += float(task.figure(theirs, ours).sum())
        if labels is not None:
            truth = labels[self.done : self.done + len(reference)]
            self.float_hits += int(task.right(theirs, truth).sum())
            self.bfp_hits += int(task.right(ours, truth).sum())
        self.signal += float((reference**2).sum())
        self.noise += float(((reference - quantised) ** 2).sum())
        self.done += len(reference)

    def figures(self, judge: Judge) -> dict:
        """The comparison, for JSON.

        images; task; metric, figure: name and value of the task's own; top1_float, top1_bfp: fractions of right answers
        0..1, None without labels; agreement: fraction of images, or of pixels, with the same answer, None where the task
        has values for answers; sqnr_db: signal to quantisation noise of the network's output over all images, in dB
        (None where there is no noise or no signal).
        """
        labelled = judge.labels is not None
        return {
            "images": self.done,
            "task": judge.task.name,
            "metric": judge.task.metric,
            "figure": self.figure / self.done,
            "top1_float": self.float_hits / self.done if labelled else None,
            "top1_bfp": self.bfp_hits / self.done if labelled else None,
            "agreement": self.same / self.done if judge.task.alike is not None else None,
            "sqnr_db": 10 * float(np.log10(self.signal / self.noise)) if self.signal > 0 and self.noise > 0 else None,
        }


@dataclass(frozen=True)
class Judge:
    """How outputs are judged. shape: of one image's output; labels: of all images, int64 [images], or None.

    note: what the task was found by, or empty.
    """

    task: Task
    shape: Shape
    labels: np.ndarray | None = None
    note: str = ""


def judge_of(images: ImageSet, graph: Graph, stated: str | None, output: str | None = None) -> Judge:
    """The judge of a network's images, by one of its outputs, None for the first.

    Raises BfpError where a label is no answer of the network, or the task none.
    """
    shape = graph.shapes[graph.output_named(output)]
    task, note = task_of(stated, graph.image_shape, shape)
    if task.right is None:
        return Judge(task, shape, None, note)
    images.check_labels(task.labels(int(np.prod(shape))))
    return Judge(task, shape, images.labels, note)


def chance_note(figures: dict, judge: Judge) -> str:
    """A sentence where the float network is right about as often as by chance, and images are enough to say so; else empty.

    figures: as of ``Tally.figures``, of a judge of classes. Images are enough from ENOUGH on.
    """
    images, top1, outputs = figures["images"], figures.get("top1_float"), judge.task.labels(int(np.prod(judge.shape)))
    if judge.task.right is None or top1 is None or images < ENOUGH or outputs < 2:
        return ""
    expected = images / outputs
    if top1 * images > expected + (expected * (1 - 1 / outputs)) ** 0.5:
        return ""
    return (
        f"the float network is right on {100 * top1:.2f} % of the images, as by chance among {outputs} classes: labels and "
        "network hardly belong together; check the order of the classes, the weights, and the input's mean and std"
    )


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
