"""Proof, for one program, that no step reads a word of on-chip memory but as what its layer's input or shortcut is."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bfp.errors import BfpError
from codegen.lowering.compute_jobs import position, store_fields
from codegen.lowering.layer_fields import MapPlace
from codegen.lowering.load_jobs import coming_fields, coming_start, fetch_fields, tile_columns, tile_rows
from codegen.lowering.schedule import ChipMap, Program
from codegen.lowering.walk import Load, Walk, Work

NOTHING = -1


def bursts(plane: int, inside: int, first: int, each: int, step: int, plane_step: int, count: int) -> Iterator[int]:
    """Where so many bursts begin, as hls/bursts.hpp goes from one to the next. first: of the first plane, are left."""
    at, left = plane + inside, first
    for _ in range(count):
        yield at
        left -= 1
        if left == 0:
            plane, left = plane + plane_step, each
            at = plane
        else:
            at += step


def words_read(walk: Walk, load: Load) -> np.ndarray:
    """Words of on-chip memory that lines of a tile come from, int64, in their order."""
    layer = walk.layers[load.layer]
    columns = tile_columns(layer, load.tile)
    job = fetch_fields(layer, load, columns, tile_rows(layer, load.tile, columns))
    if job.fetch_from is not MapPlace.CHIP:
        return np.zeros(0, np.int64)
    starts = bursts(
        job.fetch_plane, job.fetch_inside, job.fetch_first_bursts, job.fetch_plane_bursts, job.fetch_step,
        job.fetch_plane_step, job.fetch_bursts,
    )  # fmt: skip
    lengths = [job.fetch_length] * job.fetch_bursts
    lengths[-1], lengths[0] = job.fetch_last, job.fetch_first
    return np.concatenate([np.arange(at, at + n) for at, n in zip(starts, lengths)])


def words_joined(walk: Walk, work: Work) -> np.ndarray:
    """Words of on-chip memory that are a pass's shortcut, int64, in their order."""
    layer = walk.layers[work.layer]
    job = coming_fields(layer, work)
    if not job.coming_beats:
        return np.zeros(0, np.int64)
    each, count = job.coming_plane_bursts, job.coming_beats // job.coming_length
    starts = bursts(coming_start(layer, work), 0, each, each, job.coming_step, job.coming_plane_step, count)
    return np.concatenate([np.arange(at, at + job.coming_length) for at in starts])


def words_written(walk: Walk, work: Work) -> np.ndarray:
    """Words of on-chip memory that a pass writes, int64, in their order."""
    layer = walk.layers[work.layer]
    job, where = store_fields(layer, work), position(layer, work, 0, 0)
    if job.store_to is not MapPlace.CHIP or not job.store_turns:
        return np.zeros(0, np.int64)
    length, step, plane_step, each, plane = (
        (job.map_length, job.map_step, job.map_plane_step, job.map_plane_bursts, where.map_plane)
        if job.keeps_map
        else (job.pooled_length, job.pooled_step, job.pooled_plane_step, job.pooled_plane_bursts, where.pooled_plane)
    )
    starts = bursts(plane, 0, each, each, step, plane_step, job.store_turns)
    return np.concatenate([np.arange(at, at + length) for at in starts])


def verify_chip_maps(program: Program) -> None:
    """Go through all steps and what each reads and writes of on-chip memory. Raises BfpError naming the first layer
    that reads a word which holds no word of its input or shortcut, or none yet: one that the same step writes is none.
    """
    if not program.chip_words:
        return
    walk, holds = Walk(program), np.full(program.chip_words, NOTHING, np.int64)  # words of the arena

    def check(index: int, what: str, read: np.ndarray, map: ChipMap, written: np.ndarray) -> None:
        wrong = (holds[read] != map.homes(read)) | np.isin(read, written)
        if wrong.any():
            name, word = program.layers[index].name, read[wrong.argmax()]
            raise BfpError(f"layer {name} would read word {word} of on-chip memory before its {what} is there")

    begun = NOTHING
    for step in walk.steps:
        if step.enters and step.layer > 0 and not step.waits:
            continue  # only a run that starts with this layer enters it
        if step.layer != begun:  # its map's words hold nothing until it writes them
            begun = step.layer
            holds[program.layers[begun].chip.own] = NOTHING
        written = words_written(walk, step.work) if step.work else np.zeros(0, np.int64)
        if step.load and len(read := words_read(walk, step.load)):
            check(step.load.layer, "input", read, program.layers[step.load.layer].chip.read, written)
        loads = step.weights is not None and (not step.enters or step.layer == 0)  # later ones have theirs already
        if loads and len(read := words_joined(walk, step.weights)):
            check(step.weights.layer, "shortcut", read, program.layers[step.weights.layer].chip.joined, written)
        if len(written):
            holds[written] = program.layers[step.layer].chip.written.homes(written)
