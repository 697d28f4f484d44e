"""Layers that take several pictures at once, so that their weights are read once for all of them.

A fully connected layer has one output pixel, and takes as long as its weights do, while all lanes of pixels but one
idle. With the engine option ``batch`` the last layers of a network, as far as each makes one pixel of its whole map, take
that many pictures: their maps are one map to the layer, one picture's rows below the other's, and its window goes on by a
picture. All other layers run for one picture at a time.

Each picture has an arena of its own, a copy of the first one's layout, and they lie one behind the other. Where a picture's
map lies is therefore a constant number of words behind where the picture before has it, which bursts step by. The host
moves the pointers of the feature maps to run the other layers for a picture (docs/architecture.md, "Several pictures").
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from bfp.graph import Node
from codegen.lowering.fusion import InputPool
from codegen.lowering.job import Job
from codegen.lowering.schedule import EngineLayer


def makes_one_pixel(job: Job) -> bool:
    """Whether a layer makes one pixel of its whole map, and nothing else."""
    window, source, target = job.reader.window, job.source, job.target
    whole = window.kernel == (source.height, source.width) and window.padding == (0, 0, 0, 0)
    plain = job.pool is None and job.planes_again == 0 and window.dilation == (1, 1)
    # what multiplies its sums by numbers of its own takes these by the rows of its output
    return (target.height, target.width) == (1, 1) and whole and plain and not job.op.traits.scaled


def stacked(job: Job, count: int) -> Job:
    """The layer for so many pictures: the window of what reads the map goes on by one of them."""

    def by_pictures(node: Node) -> Node:
        return replace(node, window=replace(node.window, stride=(job.source.height, 1)))

    if job.input_pool is not None:
        return replace(job, input_pool=InputPool(by_pictures(job.input_pool.node), job.input_pool.whole), pictures=count)
    return replace(job, node=by_pictures(job.node), pictures=count)


def first_shared(jobs: list[Job], fits: Callable[[Job], bool]) -> int:
    """The first of the last layers that all can take several pictures; of these, the first that has weights.

    fits: whether the engine's buffers hold what such a layer needs. The number of layers where none can.
    """
    first = len(jobs)
    while first > 0 and makes_one_pixel(jobs[first - 1]) and fits(jobs[first - 1]):
        first -= 1
    return next((n for n in range(first, len(jobs)) if jobs[n].op.weighted), len(jobs))


def placed_apart(layer: EngineLayer, words: int) -> EngineLayer:
    """A layer that knows how many words lie from one picture's arena to the next one's."""
    fields = layer.fields
    if not fields.pictures.several:
        return layer
    return replace(layer, fields=replace(fields, pictures=replace(fields.pictures, apart=words)))
