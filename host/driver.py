"""The accelerator as Python sees it: PYNQ loads the bitstream, this drives the engine.

The same code runs on a real board and, with ``device=SimulatedBoard(...)``, on
a development machine. Only ``Overlay``, ``MMIO``, ``Clocks`` and ``allocate``
of PYNQ are used.
"""

from __future__ import annotations

import asyncio
import os
import time
import warnings
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from bfp.artifact import NetworkOutput
from bfp.deployment import Deployment, read_deployment
from bfp.errors import BfpError
from bfp.layout import HOST, PlacedTensor
from host.arena import Arena, Batch, Lap, no_lap
from host.board import Board
from host.chip_trace import ChipTrace
from host.detect import Box, boxes_in
from host.inputs import Inputs, Prepared
from host.opened import Opened
from host.outputs import Outputs, Values
from host.predictions import Prediction, likeliest
from host.runs import Runs
from host.stream import Stages, Stream
from host.turns import Turns


class Accelerator:
    """One network on one engine. Use it as a context manager, or call close().

    deploy_dir: the folder with manifest.json, weights.bin and the bitstream.
    device: a pynq Device; default PYNQ's active one. bitfile: default the
    device's own (simulated board) or the manifest's. timeout_s: longest time
    for one run of the engine. network: which one, of a bitstream with several;
    the others come from ``network``, without loading anything.

    Refuses, with a BfpError of one sentence, files that are damaged or do not
    belong together, and boards that are not as the network needs them: before
    any layer runs. Threads may share it: they take turns.
    """

    def __init__(
        self,
        deploy_dir: str | Path,
        device=None,
        bitfile: str | Path | None = None,
        timeout_s: float | None = None,
        network: str | None = None,
    ):
        package = read_deployment(deploy_dir)
        self._take(package.of(network))
        self._join(Opened(package, Path(deploy_dir), device, bitfile, timeout_s))

    def network(self, name: str) -> Accelerator:
        """Another network of the same bitstream, which stays loaded: both can be run in turns.

        They share engine and memory: their calls wait for each other, and closing one closes all. Raises BfpError for a
        name that the deployment does not have.
        """
        found = Accelerator.__new__(Accelerator)
        found._take(self._opened.deployment.of(name))
        found._join(self._opened)
        return found

    def _take(self, deployment: Deployment) -> None:
        """Be one network's. deployment: with that alone."""
        self.deployment = deployment
        self._inputs, self._outputs = Inputs(deployment), Outputs(deployment)

    def _join(self, opened: Opened) -> None:
        """Use what all networks of the bitstream share."""
        self._opened, self._runs = opened, Runs(opened, self.deployment, self._outputs)

    def __enter__(self) -> Accelerator:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            self.close()
        except BfpError as trouble:
            if error is None:
                raise
            warnings.warn(str(trouble), RuntimeWarning, stacklevel=2)  # the first error is the one to be seen

    @property
    def folder(self) -> Path:
        """The deployment's."""
        return self._opened.folder

    @property
    def timeout_s(self) -> float:
        """Longest time for one run of the engine, seconds."""
        return self._board.timeout_s

    @timeout_s.setter
    def timeout_s(self, seconds: float) -> None:
        self._board.timeout_s = seconds

    @property
    def clock_mhz(self) -> float:
        """The engine's clock as it is set now."""
        return self._board.clock_mhz()

    def close(self) -> None:
        """Stop the engine and free the buffers; a run of another thread is waited for. A second call does nothing.

        Raises BfpError, with all of that done, where an engine that did not finish could not be loaded again.
        """
        self._opened.close()

    @property
    def _board(self) -> Board:
        return self._opened.board

    @property
    def _turns(self) -> Turns:
        return self._opened.turns

    @property
    def _arena(self) -> Arena:
        """Of the picture that was computed last."""
        return self._opened.batch.last

    def run(self, image: object, draft: bool = False) -> Values:
        """Network output, float64 [values], for one image of any kind that host.inputs lists.

        Of a network with several outputs a dict of them, by name. draft: decode large JPEGs smaller, see host.image. Raises BfpError for
        what is no image of the network's, and when the engine does not finish.
        """
        return self._run(self._inputs.prepare(image, draft))

    def run_mantissas(self, mantissas: np.ndarray | dict[str, np.ndarray]) -> Values:
        """As ``run``, for the inputs' own integers [C, H, W]: the channels of all inputs, or each input's by its name."""
        return self._run(self._inputs.mantissas(mantissas))

    async def run_async(self, image: object, draft: bool = False) -> Values:
        """As ``run``, without holding up the event loop: a thread waits for the engine, on its interrupt where it has one."""
        return await asyncio.to_thread(self.run, image, draft)

    def run_many(self, images: Iterable, threads: int | None = None, draft: bool = False) -> Iterator[Values]:
        """What ``run`` gives for each image, in the order of the images, of any kind that ``run`` takes.

        While the engine works on one image, the next are decoded by several threads (default: as many as processor
        cores) and packed into a second memory, and the last result is read. Little is read ahead of a slow consumer.
        Where the network's last layers take several pictures at once, the engine works on a batch of so many: it waits
        for them, and the last batch may have fewer.
        What is wrong with an image is raised in its place, after the results before it. Until its end, or its
        close(), no other run begins: one of the same thread is refused, others wait.
        """
        if threads is not None and threads < 1:
            raise BfpError(f"{threads} threads cannot decode images; give at least 1")
        images = self._inputs.several(images)
        with self._turns.turn("run_many", lasting=True) as turn:
            prepare = partial(self._inputs.prepare, draft=draft)
            work = (partial(stage, turn) for stage in (self._runs.start, self._runs.finish, self._runs.check))
            stages = Stages(prepare, self._put, *work, self._read)
            with self._turns.kept(turn):  # the stream's threads work from its beginning on: whoever closes must find it
                self._runs.check_open()
                batches, places = self._opened.two_batches(), self.deployment.pictures_at_once
                stream = Stream(images, stages, batches, threads or os.cpu_count() or 1, places)
                self._opened.stream = stream
            try:
                for output in stream:
                    yield output
                    self._turns.check(turn)
                self._turns.check(turn)
            finally:
                stream.close()
                self._opened.stream = None

    def profile(self, image: object, draft: bool = False) -> tuple[Values, dict[str, float]]:
        """As ``run``, and how many seconds each step took: decode, pack, copy, engine, unpack."""
        steps: dict[str, float] = {}
        before = time.perf_counter()

        def lap(step: str) -> None:
            nonlocal before
            now = time.perf_counter()
            steps[step] = steps.get(step, 0.0) + now - before
            before = now

        prepared = self._inputs.prepare(image, draft)
        lap("decode")
        return self._run(prepared, lap), steps

    def run_batch(self, images: Iterable[np.ndarray | dict[str, np.ndarray]]) -> list[Values]:
        """As ``run_mantissas`` for several images, as many as the network takes at once or fewer; ``tensor`` tells of each."""
        prepared = [self._inputs.mantissas(mantissas) for mantissas in images]
        self._check_count(len(prepared))
        with self._turns.turn("run") as turn:
            self._runs.check_open()
            batch = self._opened.batch
            for place, one in enumerate(prepared):
                self._put(one, batch, place)
            self._runs.compute(turn, batch)
            return self._read(batch)

    def run_engine(self, pictures: int = 1) -> None:
        """The engine alone, on the images that lie in its memory, so many of a batch: to measure it."""
        self._check_count(pictures)
        with self._turns.turn("run") as turn:
            self._runs.check_open()
            batch = self._opened.batch
            batch.used = pictures
            self._runs.fill(batch.arenas)
            self._runs.compute(turn, batch)

    def returned(self, image: object) -> Values:
        """What the network returns for one image, as of ``run``: the host computes what lies behind the last tensor."""
        return self._outputs.returned(self.run(image))

    def trace(self, image: object) -> Iterator[tuple[str, np.ndarray]]:
        """Run layer by layer; yield name and mantissas, int16 [C, H, W], of every tensor when it is complete.

        Where something differs, the first tensor that does is where it began. Until its end, or its close(), no other
        run begins: one of the same thread is refused, others wait. ``tensor`` of the same thread reads.
        """
        self._runs.check_open()
        return self._trace(self._inputs.prepare(image))

    def trace_mantissas(self, mantissas: np.ndarray | dict[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
        """As ``trace``, for integers as of ``run_mantissas``."""
        self._runs.check_open()
        return self._trace(self._inputs.mantissas(mantissas))

    def _trace(self, prepared: tuple[Prepared, ...]) -> Iterator[tuple[str, np.ndarray]]:
        by_layer: dict[int, list[PlacedTensor]] = {}
        for tensor in self.deployment.tensors:
            by_layer.setdefault(tensor.layer_index, []).append(tensor)
        chip = ChipTrace(self.deployment)
        with self._turns.turn("trace", lasting=True) as turn:
            with self._turns.kept(turn):
                self._runs.check_open()
                self._board.prepare()
                self._put(prepared, self._opened.batch)
            for layer in (HOST, *range(self.deployment.only.begin, self.deployment.only.end)):
                with self._turns.kept(turn):
                    if layer != HOST:
                        self._run_alone(self._arena, layer, layer + 1)
                    found = [(tensor.name, self._arena.read(tensor)) for tensor in by_layer.get(layer, ())]
                    if chip.made_by(layer):
                        self._run_alone(self._opened.chip(), *self.deployment.copies_chip)
                        found += chip.read(layer, self._opened.chip())
                for name, mantissas in found:
                    yield name, mantissas
                    self._turns.check(turn)

    def _run_alone(self, arena: Arena, begin: int, end: int) -> None:
        """Layers [begin, end) in an arena."""
        self._board.prepare()
        self._opened.use(arena)
        self._board.run(begin, end)

    def tensor(self, name: str, picture: int | None = None) -> np.ndarray:
        """Mantissas, int16 [C, H, W], of a stored tensor; every one has a place of its own.

        picture: of the last batch, by its number there; None: the last one. Raises BfpError for a name that the deployment
        does not have.
        """
        tensor = self.deployment.tensor(name)
        with self._turns.reading("look at a tensor"):
            self._runs.check_open()
            if self._opened.stream is not None:
                raise BfpError("no tensor can be looked at while run_many is under way; finish or close that first")
            batch = self._opened.batch
            if picture is not None and not 0 <= picture < batch.used:
                raise BfpError(f"the last batch had {batch.used} pictures, and none is number {picture}; count from 0")
            return (batch.last if picture is None else batch.pictures[picture]).read(tensor)

    def detect(self, image: object, draft: bool = False) -> list[Box]:
        """A detector's objects in an image of any kind, the most certain first, in pixels of the upright picture."""
        return self.boxes(self.run(image, draft), image)

    def boxes(self, values: Values, image: object) -> list[Box]:
        """The objects that outputs, as of ``run``, show in their image. Raises BfpError for no detector."""
        return boxes_in(self.deployment, self._outputs.heads(values), self._inputs.placement(image))

    def classify(self, image: object, top: int = 5, output: str | None = None) -> list[Prediction]:
        """The ``top`` most likely classes of an image of any kind, most likely first. output: as of ``predictions``."""
        return self.predictions(self.run(image), top, output)

    def output(self, name: str | None = None) -> NetworkOutput:
        """The output of this name; for None as of ``predictions``. Raises BfpError for a name that no output has."""
        return self._outputs.named(name)

    def predictions(self, values: Values, top: int = 5, output: str | None = None) -> list[Prediction]:
        """Softmax over one output, the ``top`` largest first; ties in the order of the values. values: as ``run`` gives.

        output: its name; None for the first that has names of classes, or the first. Raises BfpError for no output, and for
        a detector.
        """
        if self.deployment.detection is not None:
            raise BfpError(f"network {self.deployment.network} is a detector, whose outputs are boxes; call detect")
        end = self._outputs.named(output)
        return likeliest(self._outputs.by_name(values)[end.tensor], end.classes, top)

    def _check_count(self, pictures: int) -> None:
        """Raise BfpError for more pictures at once than the network takes, or none."""
        most = self.deployment.pictures_at_once
        if not 1 <= pictures <= most:
            raise BfpError(f"{self.deployment.network} takes 1 to {most} images at once, not {pictures}; give so many")

    def _run(self, prepared: tuple[Prepared, ...], lap: Lap = no_lap) -> Values:
        with self._turns.turn("run") as turn:
            self._runs.check_open()
            batch = self._opened.batch
            self._put(prepared, batch, lap=lap)
            self._runs.compute(turn, batch, lap)
            return self._outputs.read(batch.last, lap)

    def _put(self, prepared: tuple[Prepared, ...], batch: Batch, place: int = 0, lap: Lap = no_lap) -> None:
        """Make a place of a batch, in which the engine does not work, ready for a run: the picture's inputs reach the engine,
        and the places of its results are overwritten."""
        batch.put(self._inputs, prepared, place, lap)
        self._opened.guard.check()
        self._runs.fill([batch.last])
        lap("copy")

    def _read(self, batch: Batch) -> list[Values]:
        """The outputs of all pictures of a batch."""
        return [self._outputs.read(arena) for arena in batch.arenas]
