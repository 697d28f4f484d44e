"""Runs points on a Dask cluster, and keeps every one that is done.

Each result is a file of its own, named after a digest of everything that
decides it: the point's options, the network's file, its weights and modules,
its images, and the calibrator's sources; with it stands what else was read to
build the network. What is found there, and still holds, is not computed again,
so that an interrupted run goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bfp.errors import BfpError
from bfp.files import write_json
from calib.config import load_config
from calib.progress import Progress
from calib.evaluation.sweep.points import Point, measure
from calib.used_files import class_files, digest, files_hold, image_files, module_files, pictures_digest, weight_files

ROOT = Path(__file__).resolve().parents[3]
CONNECT = 15  # seconds for a scheduler to answer
FILES = "files"  # of a result that is kept: what was read to build its network
NO_EFFECT = ("report", "sweep")  # folders of calib/evaluation/ that change no result


def source_digest() -> str:
    """Digest of the sources that decide a result; workers must have the same."""
    files = [p for part in ("bfp", "calib") for p in sorted((ROOT / part).rglob("*.py"))]
    files = [p for p in files if p.parent.name not in NO_EFFECT]
    return digest([*files, ROOT / "host" / "image.py", ROOT / "calib" / "evaluation" / "sweep" / "points.py"])


class Store:
    """The folder of results that are done, a JSON file each."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.digests, self.pictures = folder, {}, {}
        self.sources = source_digest()

    def path(self, point: Point) -> Path:
        """Where the point's result is, or will be. Raises BfpError for a wrong file."""
        config = load_config(point.network, point.replaced)
        files = [str(config.path), *weight_files(config), *module_files(config), *class_files(config)]
        files += image_files(config.calibration, config.evaluation)
        for file in files:
            if file not in self.digests:
                self.digests[file] = digest([file])
        job = {k: v for k, v in point.job().items() if k != "network"}
        sources = [config.weights, config.calibration.images, config.evaluation and config.evaluation.images]
        sections = config.calibration, config.evaluation, config.input, config.seed
        if sections not in self.pictures:
            self.pictures[sections] = pictures_digest(config)
        key = json.dumps(
            [job, sources, self.pictures[sections], [self.digests[f] for f in files], self.sources], sort_keys=True
        )
        return self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.json"

    def read(self, path: Path) -> dict | None:
        """A result, or None where there is none that can be read, or one of which a file is no longer as it was."""
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
            return result if files_hold(result.pop(FILES)) else None
        except (OSError, ValueError, TypeError, AttributeError, KeyError):
            return None


def run_points(
    points: list[Point],
    folder: Path,
    title: str,
    scheduler: str | None = None,
    workers: int | None = None,
    function: Callable[[dict, str], dict] = measure,
) -> tuple[list[dict | None], dict[str, str]]:
    """Results in the points' order, None where one failed, and the failures by name, a sentence each.

    folder: of the results that are done. scheduler: address of a Dask
    scheduler; without it ``workers`` processes of one thread each on this
    machine (default: one a core). Raises BfpError where the cluster is not
    there or not usable.
    """
    store = Store(folder)
    paths = [store.path(p) for p in points]
    results = [store.read(path) for path in paths]
    waiting = [i for i, r in enumerate(results) if r is None]
    failures: dict[str, str] = {}
    if not waiting:
        return results, failures
    count = min(workers or os.cpu_count() or 1, len(waiting))
    jobs = [(i, points[i].job(), str(paths[i].with_suffix(".part.json"))) for i in waiting]
    with cluster_client(scheduler, count) as client, Progress(f"{title}: {len(points)} points", len(points)) as shown:
        shown.step(len(points) - len(waiting))
        for i, future in finished(client, function, jobs):
            error = future.exception()
            if error is None:
                results[i] = future.result()
                write_json(paths[i], results[i])
                results[i].pop(FILES)
                paths[i].with_suffix(".part.json").unlink(missing_ok=True)
            else:
                failures[points[i].name] = sentence(error)
            shown.step()
    ordered = {p.name: failures[p.name] for p in points if p.name in failures}
    return results, ordered


def finished(
    client, function: Callable[[dict, str], dict], jobs: list[tuple[int, dict, str]]
) -> Iterator[tuple[int, object]]:
    """Number and future of every job, as they finish. A job is its number, and the function's arguments.

    No more are submitted than there are threads to take them: Dask blames the
    death of a worker on all jobs that wait there.
    """
    from distributed import as_completed

    waiting, running = list(reversed(jobs)), {}
    done = as_completed()
    while waiting or running:
        while waiting and len(running) < max(1, sum(client.nthreads().values())):
            number, *arguments = waiting.pop()
            future = client.submit(function, *arguments, pure=False, retries=0)
            running[future] = number
            done.add(future)
        future = next(done)
        yield running.pop(future), future


def sentence(error: BaseException) -> str:
    """One line: a BfpError's own words, or the kind of the error and its first line."""
    if type(error).__name__ == "KilledWorker":
        return "its worker process died, probably for lack of memory; give fewer workers"
    text = str(error).strip().split("\n")[0][:300]
    return text if isinstance(error, BfpError) else f"{type(error).__name__}: {text}"


@contextmanager
def cluster_client(scheduler: str | None, workers: int):
    """A client of the scheduler at an address, or of a cluster of processes on this machine."""
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError:
        raise BfpError('a sweep needs the package dask; run pip install "dask[distributed]"') from None
    # a point that kills its worker would kill the next one, too; and one that computes for minutes without leaving
    # Python's lock to the worker's heartbeat is not dead
    with dask.config.set(
        {"distributed.scheduler.allowed-failures": 0, "distributed.scheduler.worker-ttl": None}
    ):
        if scheduler is None:
            # processes, not threads: torch and NumPy hold Python's lock between their kernels, and a point that
            # dies takes no other with it; one thread each, so that results do not depend on how many there are
            with local_cluster(LocalCluster, workers) as cluster, Client(cluster) as client:
                yield client
            return
        with remote_client(Client, scheduler) as client:
            yield client


def local_cluster(make: Callable, workers: int):
    """A cluster of processes on this machine. Raises BfpError where they do not start."""
    try:
        return make(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            memory_limit=0,  # a worker that pauses for lack of memory would never go on
            silence_logs=logging.CRITICAL,  # what fails is told in one sentence, and that a busy worker is slow concerns nobody
        )
    except (OSError, RuntimeError) as error:
        raise BfpError(
            f"the processes that compute did not start ({sentence(error)}); make room in {tempfile.gettempdir()} and in "
            "memory, or give fewer --workers"
        ) from None


@contextmanager
def remote_client(make: Callable, scheduler: str):
    try:
        client = make(scheduler, timeout=CONNECT)
    except (OSError, ValueError, TimeoutError) as error:
        raise BfpError(
            f"no Dask scheduler answers at {scheduler} ({type(error).__name__}); start one with `dask scheduler`, "
            "correct the address, or leave it out to compute on this machine"
        ) from None
    with client:
        check_workers(client, scheduler)
        yield client


def check_workers(client, scheduler: str) -> None:
    """Raises BfpError unless there are workers, and they and the scheduler run these sources."""
    help = "start scheduler and workers in this project's folder, with PYTHONPATH=. and its environment"
    try:
        found = {**client.run(source_digest), "the scheduler": client.run_on_scheduler(source_digest)}
    except Exception as error:  # whatever happens on the other side comes back here
        raise BfpError(
            f"the Dask cluster at {scheduler} cannot run the calibrator ({type(error).__name__}: "
            f"{str(error).splitlines()[0][:150] if str(error) else ''}); {help}"
        ) from None
    if len(found) == 1:
        raise BfpError(f"the Dask cluster at {scheduler} has no workers; {help}")
    own = source_digest()
    for name, other in found.items():
        if other != own:
            raise BfpError(f"the Dask cluster at {scheduler}: {name} runs another version of the calibrator; {help}")
