"""Runs points on a Dask cluster, and keeps every one that is done.

Each result is a file of its own, named after a digest of everything that
decides it: the point's options, the network's file, its weights and modules,
its images, and the sources of the calibrator and, where its engine is modelled,
of the code generator; with it stands what else was read to build the network. What is found there, and still holds, is not computed again,
so that an interrupted run goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

from bfp.files import write_json
from calib.config import load_config
from calib.evaluation.cluster import cluster_client, finished, model_digest, sentence, source_digest
from calib.progress import Progress
from calib.evaluation.sweep.points import Point, measure
from calib.used_files import class_files, digest, files_hold, image_files, module_files, pictures_digest, weight_files

FILES = "files"  # of a result that is kept: what was read to build its network


class Store:
    """The folder of results that are done, a JSON file each."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.digests, self.pictures = folder, {}, {}
        self.sources, self.model = source_digest(), model_digest()

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
        code = [self.sources, *([] if point.target is None else [self.model])]
        key = json.dumps([job, sources, self.pictures[sections], [self.digests[f] for f in files], code], sort_keys=True)
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
