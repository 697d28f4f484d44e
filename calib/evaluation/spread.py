"""An evaluation spread over processes or machines by Dask: shares of a few batches, whose sums are added up in their order.

A share that is done is a file of its own until all before it are done; then it joins the tallies that an evaluation in
one process keeps, too. So either goes on where the other one was interrupted, and both end with the same figures. A share
whose worker dies is done again.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from bfp import artifact_file
from bfp.artifact import Artifact
from bfp.errors import BfpError
from bfp.files import write_json
from calib import pipeline
from calib.config import load_config
from calib.data.images import ImageSet
from calib.evaluation.average_precision import checked_box
from calib.evaluation.cluster import cluster_client, finished, forget_modules, one_job, sentence, worker_died
from calib.evaluation.evaluate import METRIC, STATE, Comparison, counted_before, images_to_evaluate, written
from calib.evaluation.integer_model import choose_device
from calib.evaluation.outputs import OutputTallies
from calib.evaluation.resume import save_tallies
from calib.evaluation.tally import Portion
from calib.pipeline import Prepared
from calib.progress import Progress
from calib.used_files import files_hold

BATCHES = 4  # of a share
TRIES = 3  # of a share whose worker dies
SHARES = "evaluation.shares"  # folder of those that are done, but for one before them
Share = tuple[int, int]  # number of the first image, and of the first one behind


@dataclass(frozen=True)
class Workers:
    """Where shares are computed: behind a scheduler's address, or in ``count`` processes here (default: one a core)."""

    scheduler: str | None = None
    count: int | None = None


def evaluate(
    prepared: Prepared, artifact: Artifact, folder: Path, workers: Workers, limit: int | None = None, device: str = "auto"
) -> dict:
    """As ``calib.evaluation.evaluate.evaluate``, with the same figures; the artifact is ``folder``/artifact.npz, too.

    Workers must see the same files under the same paths. device: where their torch computes; "auto" is what this machine
    would choose. ``seconds`` are those of all workers together. Raises BfpError where the cluster is not there or not
    usable, and where a worker finds other files.
    """
    images = images_to_evaluate(prepared, limit)
    comparison, kind = Comparison(prepared, artifact, images), device_kind(device, workers)
    key = comparison.key(kind)
    tallies = comparison.tallies(counted_before(folder / STATE, key, prepared, images))
    kept = Kept(folder, key, tallies)
    waiting = [s for s in shares(tallies.main.done, len(images), comparison.size) if not kept.has(s)]
    job = {
        "network": os.path.abspath(prepared.config.path), "artifact": os.path.abspath(folder / "artifact.npz"),
        "limit": limit, "device": kind, "key": key,
    }  # fmt: skip
    if waiting:
        compute(job, waiting, kept, workers, f"{artifact.graph.name}: evaluation on {len(images)} images", len(images))
    kept.join()
    figures = {**tallies.figures(), "device": kind, "seconds": round(tallies.main.seconds, 3)}
    result = written(prepared, artifact, folder, figures, limit)
    kept.remove()
    return result


def device_kind(device: str, workers: Workers) -> str:
    """Where torch computes, cpu or cuda. Raises BfpError for other names, and for a GPU that is asked for here and missing."""
    return device if workers.scheduler is not None and device == "cuda" else choose_device(device).type


def shares(done: int, images: int, size: int) -> list[Share]:
    """The shares of all images but the first ``done``, cut at the same places whatever is done; size: of a batch."""
    step = size * BATCHES
    cuts = [done, *range((done // step + 1) * step, images, step), images]
    return [(a, b) for a, b in zip(cuts, cuts[1:]) if a < b]


def compute(job: dict, waiting: list[Share], kept: Kept, workers: Workers, what: str, images: int) -> None:
    """Let the workers compute all shares, those of dead workers again. Raises BfpError, with what is done kept."""
    count = min(workers.count or os.cpu_count() or 1, len(waiting))
    with cluster_client(workers.scheduler, count) as client, Progress(what, images) as shown:
        shown.step(images - sum(b - a for a, b in waiting))
        for attempt in range(TRIES):
            jobs = [(i, {**job, "share": share}) for i, share in enumerate(waiting)]
            lost = []
            for i, future in finished(client, compute_share, jobs):
                error = future.exception()
                if error is not None and worker_died(error):
                    lost.append(waiting[i])
                    continue
                if error is not None:
                    raise BfpError(sentence(error))
                kept.keep(waiting[i], future.result())
                shown.step(waiting[i][1] - waiting[i][0])
            if not lost:
                return
            waiting = lost
    first, stop = waiting[0]
    raise BfpError(
        f"images {first} to {stop - 1} ended their worker process {TRIES} times, probably for lack of memory; give fewer workers"
    )


# -- what is done ---------------------------------------------------------------------------


class Kept:
    """The tallies, and the shares that are done but cannot join them yet; both on disk.

    key: of the evaluation; what is there of another one is not used.
    """

    def __init__(self, folder: Path, key: dict, tallies: OutputTallies) -> None:
        self.state, self.folder, self.key, self.tallies = folder / STATE, folder / SHARES, key, tallies
        self.ahead: dict[Share, dict] = {}

    def has(self, share: Share) -> bool:
        """Whether the share was done before, by what its file says."""
        try:
            content = json.loads(self.path(share).read_text(encoding="utf-8"))
            if content["key"] != self.key:
                return False
            check_share(content, share, list(self.tallies.each))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return False
        self.ahead[share] = content
        return True

    def keep(self, share: Share, result: dict) -> None:
        """A share is done: it joins the tallies, or waits on disk until all before it have."""
        self.ahead[share] = result
        if share[0] != self.tallies.main.done:
            write_json(self.path(share), {**result, "key": self.key}, indent=None)
        self.join()

    def join(self) -> None:
        """Add what follows on the tallies, in its order."""
        joined = []
        while share := next((s for s in self.ahead if s[0] == self.tallies.main.done), None):
            content = self.ahead.pop(share)
            for portions in content["batches"]:
                self.tallies.take({name: Portion(**values) for name, values in portions.items()})
            self.tallies.main.seconds += content["seconds"]
            joined.append(share)
        if joined:
            save_tallies(self.state, self.key, self.tallies.each)
        for share in joined:
            self.path(share).unlink(missing_ok=True)

    def remove(self) -> None:
        """Take away what other evaluations have left, too."""
        for path in self.folder.glob("*.json"):
            path.unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def path(self, share: Share) -> Path:
        """The file of a share."""
        return self.folder / f"{share[0]}-{share[1]}.json"


def check_share(content: dict, share: Share, outputs: list[str]) -> None:
    """Raise ValueError, KeyError or TypeError where this is not what ``compute_share`` returns of the share."""
    for name in outputs:
        found = [Portion(**batch[name]) for batch in content["batches"]]
        if sum(p.images for p in found) != share[1] - share[0] or any(len(p.rows) != p.images for p in found):
            raise ValueError("another number of images")
        for portion in found:
            numbers = [np.ravel(getattr(portion, f.name)) for f in fields(Portion) if not f.name.endswith("boxes")]
            numbers += [checked_box(box) for box in (*portion.float_boxes, *portion.bfp_boxes)]
            if not np.isfinite(np.concatenate([content["seconds"] * np.ones(1), *numbers])).all():
                raise ValueError("no number")


# -- inside a worker ------------------------------------------------------------------------

_ready: dict[str, Comparison] = {}  # the last evaluation that this process took part in, by its job


def compute_share(job: dict) -> dict:
    """Compare the images of one share. Runs in a worker; raises BfpError where it finds other files than the job's key says.

    job: paths of network and artifact, limit, device, key of the evaluation, and the share. Returns ``batches``, of each
    batch a ``Portion`` by output, in types that JSON knows, and ``seconds``.
    """
    with one_job():
        start = time.perf_counter()
        comparison = ready(job)
        first, stop = job["share"]
        found = []
        for batch in parts(comparison.images, comparison.size, first, stop):
            portions = comparison.portions(batch, first, torch.device(job["device"]))
            found.append({name: asdict(portion) for name, portion in portions.items()})
            first += len(batch)
        return {"batches": found, "seconds": time.perf_counter() - start}


def parts(images: ImageSet, size: int, first: int, stop: int) -> Iterator[np.ndarray]:
    """The batches of images ``first`` to ``stop``, as one process would read them."""
    return islice(images.batches(size, first), -(-(stop - first) // size))


def ready(job: dict) -> Comparison:
    """The job's evaluation, prepared once for all of its shares in a process. Raises BfpError."""
    name = json.dumps([job[k] for k in ("network", "artifact", "limit", "device", "key")], sort_keys=True)
    if name not in _ready:
        _ready.clear()
        config = load_config(job["network"])
        forget_modules(config)
        choose_device(job["device"])
        prepared = pipeline.prepare(config, adapted=False)
        comparison = Comparison(prepared, artifact_file.load(job["artifact"]), images_to_evaluate(prepared, job["limit"]))
        # what a process has read before counts among the metric's files: the other one's must be here, no more
        own = {**comparison.key(job["device"]), METRIC: job["key"][METRIC]}
        changed = [k for k in own if own[k] != job["key"].get(k)]
        changed += [] if files_hold(job["key"][METRIC]) else [METRIC]
        if changed:
            raise BfpError(
                f"a worker finds other {', '.join(changed)} by {job['network']} and {job['artifact']} than there are here; "
                "let it see the same files, and a model whose weights stay"
            )
        _ready[name] = comparison
    return _ready[name]
