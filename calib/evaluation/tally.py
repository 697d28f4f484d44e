"""How a quantised network's outputs compare with the float network's: sums over images, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from calib.data.images import ImageSet
from calib.evaluation.average_precision import mean_average_precision, seen
from calib.evaluation.intervals import loss_interval, share_interval
from calib.judge import LEAST_SCORE, Judge
from calib.progress import Progress

ENOUGH = 30  # labelled images that tell chance from a network that has learnt something


@dataclass(frozen=True)
class Portion:
    """What one batch adds to a ``Tally``: its ``images``, a row of the measure for each, and the rest as there."""

    images: int
    rows: list[list[float]]
    signal: float
    noise: float
    float_hits: int = 0
    bfp_hits: int = 0
    lost: int = 0
    won: int = 0
    same: float = 0.0
    float_boxes: list[list[float]] = field(default_factory=list)
    bfp_boxes: list[list[float]] = field(default_factory=list)
    wanted: list[int] = field(default_factory=list)
    float_maps: list[float] = field(default_factory=list)
    bfp_maps: list[float] = field(default_factory=list)

    @staticmethod
    def of(judge: Judge, reference: np.ndarray, quantised: np.ndarray, first: int) -> Portion:
        """Compare one batch: outputs of both networks, float64 [N, outputs]; first: which image its first one is."""
        task, labels, found = judge.task, judge.labels, {}
        if task.alike is not None:
            theirs, ours = (judge.answers(x) for x in (reference, quantised))
            found["same"] = float(task.alike(theirs, ours).sum())
            if labels is not None and task.right is not None:
                truth = labels[first : first + len(reference)]
                rights = [task.right(x, truth) for x in (theirs, ours)]
                found["float_hits"], found["bfp_hits"] = (int(right.sum()) for right in rights)
                found["lost"], found["won"] = int((rights[0] & ~rights[1]).sum()), int((rights[1] & ~rights[0]).sum())
        if judge.truths is not None:
            truths = judge.known(first, len(reference))
            for name, outputs in (("float_boxes", reference), ("bfp_boxes", quantised)):
                found[name] = seen(judge.placed(judge.boxes(outputs, LEAST_SCORE), first), truths)
            found["wanted"] = [int(label) for boxes in truths for label in boxes.classes]
        if judge.maps is not None:
            for name, outputs in (("float_maps", reference), ("bfp_maps", quantised)):
                found[name] = judge.maps.rows(outputs, first).sum(0).tolist()
        return Portion(
            images=len(reference),
            rows=judge.rows(reference, quantised, first).tolist(),
            signal=float((reference**2).sum()),
            noise=float(((reference - quantised) ** 2).sum()),
            **found,
        )


@dataclass
class Tally:
    """Sums over the images done so far.

    done: images. float_hits, bfp_hits: right answers, where labels are known; lost, won: images that only the float network,
    and only the quantised one, answers rightly; same: images with the same answer in
    both, in parts where an image has several. signal, noise: sums of squares of the float network's outputs, and of the
    differences. seconds: spent. rows: the measure's of all images, merged. float_boxes, bfp_boxes: of detectors with a
    ground truth, calib.evaluation.average_precision's record of the boxes that each network found; wanted: of those there are.
    float_maps, bfp_maps: what outputs and the truth's maps have in common, added up, where there are such maps.
    """

    done: int = 0
    float_hits: int = 0
    bfp_hits: int = 0
    lost: int = 0
    won: int = 0
    same: float = 0.0
    signal: float = 0.0
    noise: float = 0.0
    seconds: float = 0.0
    rows: list[float] = field(default_factory=list)
    float_boxes: list[list[float]] = field(default_factory=list)
    bfp_boxes: list[list[float]] = field(default_factory=list)
    wanted: list[int] = field(default_factory=list)
    float_maps: list[float] = field(default_factory=list)
    bfp_maps: list[float] = field(default_factory=list)

    def add(self, judge: Judge, reference: np.ndarray, quantised: np.ndarray) -> None:
        """Compare and add the next batch: outputs of both networks, float64 [N, outputs]."""
        self.take(judge, Portion.of(judge, reference, quantised, self.done))

    def take(self, judge: Judge, portion: Portion) -> None:
        """Add the next batch. The same batches in their order give the same sums, wherever each was compared."""
        if not portion.images:
            return
        before = [self.rows] if self.rows else []
        self.rows = judge.measure.merged(np.array([*before, *portion.rows])).tolist()
        self.float_hits += portion.float_hits
        self.bfp_hits += portion.bfp_hits
        self.lost += portion.lost
        self.won += portion.won
        self.same += portion.same
        self.signal += portion.signal
        self.noise += portion.noise
        self.float_boxes += portion.float_boxes
        self.bfp_boxes += portion.bfp_boxes
        self.wanted += portion.wanted
        if judge.maps is not None:
            self.float_maps = _added(self.float_maps, np.array(portion.float_maps))
            self.bfp_maps = _added(self.bfp_maps, np.array(portion.bfp_maps))
        self.done += portion.images

    def figures(self, judge: Judge) -> dict:
        """The comparison, for JSON.

        images; task; metric, figure: name and value of the task's own, or the user's;
        top1_float, top1_bfp: fractions of right answers 0..1, None without labels; map50_float, map50_bfp: of detectors
        with a ground truth alone, see calib.evaluation.average_precision; miou_float, miou_bfp or target_psnr_float,
        target_psnr_bfp: of maps with a ground truth alone, see calib.truth_maps; agreement: fraction of images, or of pixels, with
        the same answer, None where the task has values for answers; sqnr_db: signal to quantisation noise of the
        network's output over all images, in dB (None where there is no noise or no signal). Of tasks with one answer an
        image agreement_interval has both ends of its interval of 95 %, and, with labels, loss_interval half that of
        top1_float - top1_bfp, see calib.evaluation.intervals; else None.
        """
        labelled = judge.task.right is not None and judge.labels is not None
        single = self.done > 0 and judge.task.right is not None and judge.outputs in (1, judge.classes)
        measure, truth = judge.measure, {}
        if judge.truths is not None:
            found = {"map50_float": self.float_boxes, "map50_bfp": self.bfp_boxes}
            truth = {name: mean_average_precision(one, self.wanted) for name, one in found.items()}
        if judge.maps is not None:
            sides = {"float": self.float_maps, "bfp": self.bfp_maps}
            truth = {f"{judge.maps.name}_{side}": judge.maps.figure(np.array(row)) for side, row in sides.items()}
        return {
            "images": self.done,
            "task": judge.task.name,
            "metric": measure.name,
            "figure": measure.figure(np.array(self.rows)),
            "top1_float": self.float_hits / self.done if labelled else None,
            "top1_bfp": self.bfp_hits / self.done if labelled else None,
            **truth,
            "loss_interval": loss_interval(self.lost, self.won, self.done) if labelled else None,
            "agreement": self.same / self.done if judge.task.alike is not None else None,
            "agreement_interval": list(share_interval(self.same, self.done)) if single else None,
            "sqnr_db": 10 * float(np.log10(self.signal / self.noise)) if self.signal > 0 and self.noise > 0 else None,
        }


def _added(total: list[float], row: np.ndarray) -> list[float]:
    return (row if not total else np.array(total) + row).tolist()


def chance_note(figures: dict, judge: Judge) -> str:
    """A sentence where the float network is right about as often as by chance, and images are enough to say so; else empty.

    figures: as of ``Tally.figures``, of a judge of classes. Images are enough from ENOUGH on.
    """
    images, top1, outputs = figures["images"], figures.get("top1_float"), judge.classes
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
