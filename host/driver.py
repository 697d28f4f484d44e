"""The accelerator as Python sees it: PYNQ loads the bitstream, this drives the engine.

The same code runs on a real board and, with ``device=SimulatedBoard(...)``, on
a development machine. Only ``Overlay``, ``allocate`` and ``register_map`` of
PYNQ are used.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from bfp.deployment import check_file, read_deployment, read_weights
from bfp.errors import BfpError
from bfp.format import dequantise
from bfp.layout import HOST
from host import hwh
from host.arena import Arena, Lap, no_lap
from host.inputs import ImageInput, Prepared
from host.stream import Stages, Stream

AP_START, AP_DONE, AP_IDLE = 0x1, 0x2, 0x4
BOARD_TIMEOUT_S = 10.0
SIMULATION_MARK = b"SBFP SIMULATION, NOT A BITSTREAM"


@dataclass(frozen=True)
class Prediction:
    """One class: index of the output, its name, softmax probability 0..1."""

    index: int
    name: str
    probability: float


class Accelerator:
    """One network on one engine. Use it as a context manager, or call close().

    deploy_dir: the folder with manifest.json, weights.bin and the bitstream.
    device: a pynq Device; default PYNQ's active one. bitfile: default the
    device's own (simulated board) or the manifest's. timeout_s: longest time
    for one run of the engine.

    Refuses, with a BfpError of one sentence, files that are damaged or do not
    belong together: the identity register is read, and compared with the
    manifest, before any buffer is allocated and before any layer runs.
    """

    def __init__(
        self,
        deploy_dir: str | Path,
        device=None,
        bitfile: str | Path | None = None,
        timeout_s: float | None = None,
    ):
        self._buffers: list = []
        self._overlay = None
        self._running = False
        self.folder = Path(deploy_dir)
        self.deployment = read_deployment(deploy_dir)
        entry = self.deployment.input
        self._images = ImageInput(self.deployment.network, entry, self.deployment.tensor(entry.tensor))
        self._result = self.deployment.output
        weights = read_weights(self.deployment, deploy_dir)
        if timeout_s is None:
            timeout_s = getattr(device, "timeout_s", BOARD_TIMEOUT_S)
        self.timeout_s = timeout_s
        bitfile = Path(bitfile or getattr(device, "bitfile", None) or self.folder / self.deployment.bitfile)
        self._pynq = _import_pynq()
        try:
            self._load(bitfile, device)
            self._check_identity(bitfile)
            self._weights = self._allocate(max(self.deployment.weights_words, 1))  # pooling alone has no weights
            self._weights[: len(weights)] = weights
            self._weights.flush()
            self._write_address("weights", self._weights)
            self._arenas: list[Arena] = []
            self._use(self._another_arena())
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Accelerator:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the buffers. A second call does nothing."""
        buffers, self._buffers = self._buffers, []
        if self._running and buffers:
            # A run that timed out may still write; loading the bitstream again stops it.
            self._overlay.download()
            self._running = False
        for buffer in buffers:
            buffer.freebuffer()

    def run(self, image: object, draft: bool = False) -> np.ndarray:
        """Network output, float64 [outputs], for one image of any kind that host.inputs lists.

        draft: decode large JPEGs smaller, see host.image. Raises BfpError for
        what is no image of the network's, and when the engine does not finish.
        """
        return self._run(self._images.prepare(image, draft))

    def run_mantissas(self, mantissas: np.ndarray) -> np.ndarray:
        """Network output, float64 [outputs], for the input tensor's own integers [C, H, W]."""
        return self._run(self._images.mantissas(mantissas))

    def run_many(self, images: Iterable, threads: int | None = None, draft: bool = False) -> Iterator[np.ndarray]:
        """Network outputs, float64 [outputs], in the order of the images, of any kind that ``run`` takes.

        While the engine works on one image, the next are decoded by several threads (default: as many as processor
        cores) and packed into a second memory, and the last result is read. Little is read ahead of a slow consumer.
        What is wrong with an image is raised in its place, after the results before it.
        """
        stages = Stages(partial(self._images.prepare, draft=draft), self._put, self._compute, self._output)
        stream = Stream(images, stages, self._two_arenas(), threads or os.cpu_count() or 1)
        try:
            yield from stream
        finally:
            stream.close()

    async def run_async(self, image: object, draft: bool = False) -> np.ndarray:
        """As ``run``, without holding up the event loop: a thread waits for the engine."""
        return await asyncio.to_thread(self.run, image, draft)

    def profile(self, image: object, draft: bool = False) -> tuple[np.ndarray, dict[str, float]]:
        """As ``run``, and how many seconds each step took: decode, pack, copy, engine, unpack."""
        steps: dict[str, float] = {}
        before = time.perf_counter()

        def lap(step: str) -> None:
            nonlocal before
            now = time.perf_counter()
            steps[step] = steps.get(step, 0.0) + now - before
            before = now

        prepared = self._images.prepare(image, draft)
        lap("decode")
        return self._run(prepared, lap), steps

    def run_engine(self) -> None:
        """The engine alone, on the image that lies in its memory: to measure it."""
        self._compute(self._arena)

    def _run(self, prepared: Prepared, lap: Lap = no_lap) -> np.ndarray:
        self._check_open()
        self._put(prepared, self._arena, lap)
        self._compute(self._arena)
        lap("engine")
        return self._output(self._arena, lap)

    def _put(self, prepared: Prepared, arena: Arena, lap: Lap = no_lap) -> None:
        arena.put(self._images, prepared, lap)

    def _compute(self, arena: Arena) -> None:
        self._check_open()
        if arena is not self._arena:
            self._use(arena)
        self._start(0, self.deployment.layers)

    def _output(self, arena: Arena, lap: Lap = no_lap) -> np.ndarray:
        result = self._result
        tensor = self.deployment.tensor(result.tensor)
        output = result.values(dequantise(arena.read(tensor, lap), tensor.format)[None])[0]
        lap("unpack")
        return output

    def trace(self, image: object) -> Iterator[tuple[str, np.ndarray]]:
        """Run layer by layer; yield name and mantissas, int16 [C, H, W], of every tensor when it is complete.

        Where something differs, the first tensor that does is where it began.
        """
        return self._trace(self._images.prepare(image))

    def trace_mantissas(self, mantissas: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """As ``trace``, for the input tensor's own integers [C, H, W]."""
        return self._trace(self._images.mantissas(mantissas))

    def _trace(self, prepared: Prepared) -> Iterator[tuple[str, np.ndarray]]:
        self._check_open()
        self._put(prepared, self._arena)
        by_layer: dict[int, list[str]] = {}
        for tensor in self.deployment.tensors:
            by_layer.setdefault(tensor.layer_index, []).append(tensor.name)
        for layer in range(HOST, self.deployment.layers):
            if layer != HOST:
                self._start(layer, layer + 1)
            for name in by_layer.get(layer, ()):
                yield name, self.tensor(name)

    def tensor(self, name: str) -> np.ndarray:
        """Mantissas, int16 [C, H, W], of a stored tensor; every one has a place of its own.

        Raises BfpError for a name that the deployment does not have.
        """
        tensor = self.deployment.tensor(name)
        self._check_open()
        return self._arena.read(tensor)

    def classify(self, image: object, top: int = 5) -> list[Prediction]:
        """The ``top`` most likely classes of an image of any kind, most likely first."""
        return self.predictions(self.run(image), top)

    def predictions(self, logits: np.ndarray, top: int = 5) -> list[Prediction]:
        """Softmax over the network output, the ``top`` largest first; ties in the order of the outputs."""
        if top < 1:
            raise BfpError(f"top {top} classes cannot be shown; ask for at least 1")
        exponentials = np.exp(logits - logits.max())
        probability = exponentials / exponentials.sum()
        names = self._result.classes
        order = np.argsort(-logits, kind="stable")[:top]
        return [Prediction(int(i), names[i] if names else f"class {i}", float(probability[i])) for i in order]

    def _load(self, bitfile: Path, device) -> None:
        for needed in (bitfile, bitfile.with_suffix(".hwh")):
            if not needed.is_file():
                raise BfpError(f"{needed} does not exist; put NAME.bit and NAME.hwh of `doit build-bitstream` there")
            if needed.parent.resolve() == self.folder.resolve():
                check_file(self.deployment, self.folder, needed.name, "build it again with `doit build-bitstream`")
        if device is None:
            with open(bitfile, "rb") as f:
                if f.read(len(SIMULATION_MARK)) == SIMULATION_MARK:
                    raise BfpError(f"{bitfile} is the simulated board's marker; build a bitstream or use --simulate")
        try:
            if device is None:
                # PYNQ caches the metadata of the bitstream loaded last, by hash of
                # the .bit alone; stale base addresses would hang the bus.
                self._pynq.PL.reset()
            self._overlay = self._pynq.Overlay(str(bitfile), device=device)
            description = self._overlay.ip_dict
        except BfpError:
            raise
        except Exception as error:  # PYNQ raises bare Exception classes of many modules
            raise BfpError(f"PYNQ cannot load {bitfile} ({error}); run on the board as root, or --simulate") from error
        ip = self.deployment.ip
        if ip not in description:
            raise BfpError(f"{bitfile.with_suffix('.hwh')} has no IP {ip!r}; use the files built for this network")
        self._registers = getattr(self._overlay, ip).register_map
        needed = [f"{p}_{half}" for p in hwh.POINTERS for half in (1, 2)] + list(hwh.SCALARS_IN + hwh.SCALARS_OUT)
        missing = [name for name in needed if not hasattr(self._registers, name)]
        if missing:
            raise BfpError(f"IP {ip!r} of {bitfile} has no register {missing[0]!r}; it is not this project's engine")

    def _check_identity(self, bitfile: Path) -> None:
        # An empty range of layers touches no memory and reports the identity.
        self._start(0, 0)
        identity = f"{int(self._registers.identity_high) << 32 | int(self._registers.identity_low):016x}"
        if identity != self.deployment.identity:
            raise BfpError(
                f"the kernel in {bitfile} has identity {identity}, but {self.folder} was generated for "
                f"{self.deployment.identity}; build the kernel again, or deploy the files that belong to it"
            )

    def _allocate(self, words: int):
        shape = (words, self.deployment.lanes)
        try:
            buffer = self._pynq.allocate(shape, np.uint8, target=self._overlay.device)
        except (RuntimeError, MemoryError, OSError) as error:
            size, network = words * self.deployment.lanes, self.deployment.network
            raise BfpError(f"no {size} contiguous bytes for {network} ({error}); free other buffers") from error
        self._buffers.append(buffer)
        return buffer

    def _write_address(self, name: str, buffer) -> None:
        address = buffer.device_address
        setattr(self._registers, f"{name}_1", address & 0xFFFF_FFFF)
        setattr(self._registers, f"{name}_2", address >> 32)

    def _another_arena(self) -> Arena:
        """One more memory of feature maps, of zeros."""
        buffer = self._allocate(self.deployment.fmap_words)
        buffer[:] = 0
        buffer.flush()
        self._arenas.append(Arena(buffer))
        return self._arenas[-1]

    def _two_arenas(self) -> list[Arena]:
        """For two images at once; the second is made when it is first needed."""
        self._check_open()
        if len(self._arenas) == 1:
            self._another_arena()
        return self._arenas

    def _use(self, arena: Arena) -> None:
        """Let the engine work in one of the arenas: a layer reads, adds and writes wherever its constants say."""
        for name in ("fmap_in", "fmap_shortcut", "fmap_out"):
            self._write_address(name, arena)
        self._arena = arena

    def _start(self, begin: int, end: int) -> None:
        """Run layers [begin, end) and wait for ap_done."""
        if self._running:
            raise BfpError("an earlier run did not finish; close the accelerator and open it again")
        if not int(self._registers.CTRL) & AP_IDLE:
            raise BfpError(f"the engine of {self.deployment.network} is busy before it was started; open it again")
        self._registers.layer_begin = begin
        self._registers.layer_end = end
        self._running = True
        self._registers.CTRL = AP_START
        deadline = time.monotonic() + self.timeout_s
        pause = 20e-6
        while not int(self._registers.CTRL) & AP_DONE:  # clears on read, and this is its only reader
            if time.monotonic() > deadline:
                raise BfpError(
                    f"layers {begin} to {end} of {self.deployment.network} did not finish within {self.timeout_s:g} s; "
                    "check clock and addresses, or allow more time"
                )
            time.sleep(pause)
            pause = min(2 * pause, 1e-3)
        self._running = False

    def _check_open(self) -> None:
        if not self._buffers:
            raise BfpError(f"the accelerator for {self.deployment.network} is closed; open it again")


def _import_pynq():
    try:
        import pynq
    except ImportError as error:
        raise BfpError(f"PYNQ is not installed ({error}); use the board's Python, or `pip install pynq`") from None
    return pynq
