"""Dask clusters, of processes on this machine or behind a scheduler's address, and jobs that run on them."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bfp.errors import BfpError
from calib.config import NetworkConfig
from calib.used_files import counts, digest

ROOT = Path(__file__).resolve().parents[2]
CONNECT = 15  # seconds for a scheduler to answer
NO_EFFECT = ("report", "sweep")  # folders of calib/evaluation/ that change no result
ONE_AT_A_TIME = threading.Lock()
# Of the processes that start here. Dask's own list lets glibc give every large block back to the system at once, and so
# clear it page by page when it is asked for again, which takes as long as computing does.
WORKER_ENVIRONMENT = {name: 1 for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}


def source_digest() -> str:
    """Digest of the sources that decide what is measured; workers must have the same."""
    files = [p for part in ("bfp", "calib") for p in sorted((ROOT / part).rglob("*.py"))]
    files = [p for p in files if p.parent.name not in NO_EFFECT]
    return digest([*files, ROOT / "host" / "image.py", ROOT / "calib" / "evaluation" / "sweep" / "points.py"])


def model_digest() -> str:
    """Digest of the sources and boards that decide what is modelled of an artifact."""
    files = [p for p in sorted((ROOT / "codegen").rglob("*")) if p.suffix in (".py", ".toml")]
    return digest([*files, ROOT / "calib" / "evaluation" / "sweep" / "modelled.py"])


def all_sources() -> str:
    """Digest of everything that a job may depend on."""
    return source_digest() + model_digest()


def finished(
    client, function: Callable[..., dict], jobs: list[tuple]
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


def worker_died(error: BaseException) -> bool:
    """Whether a job failed with the process that it ran in."""
    return type(error).__name__ == "KilledWorker"


def sentence(error: BaseException) -> str:
    """One line: a BfpError's own words, or the kind of the error and its first line."""
    if worker_died(error):
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
        raise BfpError('spreading work over processes needs the package dask; run pip install "dask[distributed]"') from None
    # a point that kills its worker would kill the next one, too; and one that computes for minutes without leaving
    # Python's lock to the worker's heartbeat is not dead
    with dask.config.set(
        {
            "distributed.scheduler.allowed-failures": 0,
            "distributed.scheduler.worker-ttl": None,
            "distributed.nanny.pre-spawn-environ": WORKER_ENVIRONMENT,
        }
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
        found = {**client.run(all_sources), "the scheduler": client.run_on_scheduler(all_sources)}
    except Exception as error:  # whatever happens on the other side comes back here
        raise BfpError(
            f"the Dask cluster at {scheduler} cannot run the calibrator ({type(error).__name__}: "
            f"{str(error).splitlines()[0][:150] if str(error) else ''}); {help}"
        ) from None
    if len(found) == 1:
        raise BfpError(f"the Dask cluster at {scheduler} has no workers; {help}")
    own = all_sources()
    for name, other in found.items():
        if other != own:
            raise BfpError(f"the Dask cluster at {scheduler}: {name} runs another version of the calibrator; {help}")


# -- inside a worker ------------------------------------------------------------------------


@contextmanager
def one_job() -> Iterator[None]:
    """One job at a time in a process, in one thread but for what asks for another number, and without a word on stderr.

    So the result does not depend on the machine's cores.
    """
    # the workers import this module on arrival; torch only here
    import torch
    from threadpoolctl import threadpool_limits

    with ONE_AT_A_TIME, threadpool_limits(1), contextlib.redirect_stderr(io.StringIO()):
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def forget_modules(config: NetworkConfig) -> None:
    """Let the modules below the folder of the network's file be read again: a long-lived worker may hold older ones."""
    folder = str(config.path.parent)
    if folder in sys.path:
        sys.path.remove(folder)
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and file.startswith(folder + os.sep) and counts(file):
            del sys.modules[name]
    importlib.invalidate_caches()
