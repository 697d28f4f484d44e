"""The accelerator as Python sees it: PYNQ loads the bitstream, this drives the engine.

The same code runs on a real board and, with ``device=SimulatedBoard(...)``, on
a development machine. Only ``Overlay``, ``allocate`` and ``register_map`` of
PYNQ are used.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bfp import layout
from bfp.deployment import check_file, read_deployment, read_weights
from bfp.errors import BfpError
from bfp.format import dequantise, quantise
from bfp.layout import HOST, PlacedTensor
from host import hwh
from host.image import load_image, normalise

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
        self._input = self.deployment.tensor(self.deployment.input.tensor)
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
            self._arena = self._allocate(self.deployment.fmap_words)
            self._arena[:] = 0
            self._arena.flush()
            # One arena: a layer reads, adds and writes wherever its constants say.
            self._write_address("weights", self._weights)
            for name in ("fmap_in", "fmap_shortcut", "fmap_out"):
                self._write_address(name, self._arena)
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

    def run(self, image: np.ndarray) -> np.ndarray:
        """Network output, float64 [outputs], for one preprocessed image.

        image: float [C, H, W], quantised here with the input tensor's format,
        or integer mantissas of the same shape. Raises BfpError for another
        shape, for values that are not finite, and when the engine does not finish.
        """
        self._load_input(image)
        self._start(0, self.deployment.layers)
        result = self._result
        values = dequantise(self.tensor(result.tensor), self.deployment.tensor(result.tensor).format)
        return result.values(values[None])[0]

    def returned(self, image: np.ndarray) -> np.ndarray:
        """What the network returns for one image, as of ``run``: the host computes what lies behind the last tensor."""
        return self._result.returned(self.run(image)[None])[0]

    def trace(self, image: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """Run layer by layer; yield name and mantissas, int16 [C, H, W], of every tensor when it is complete.

        Where something differs, the first tensor that does is where it began.
        """
        self._load_input(image)
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
        for part in self._parts(tensor):
            part.invalidate()
        return layout.unpack(tensor, self._arena)

    def classify(self, path: str | Path, top: int = 5) -> list[Prediction]:
        """The ``top`` most likely classes of a photograph, most likely first."""
        pre = self.deployment.input.preprocessing
        logits = self.run(normalise(load_image(path, pre)[None], pre)[0])
        return self.predictions(logits, top)

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

    def _load_input(self, image: np.ndarray) -> None:
        self._check_open()
        tensor, image = self._input, np.asarray(image)
        if image.shape != tensor.shape:
            raise BfpError(
                f"network {self.deployment.network} takes an image of {'x'.join(map(str, tensor.shape))} (channels, height, "
                f"width), not {'x'.join(map(str, image.shape)) or 'a number'}; resize it first"
            )
        if not np.issubdtype(image.dtype, np.integer):
            if not np.issubdtype(image.dtype, np.floating) or not np.isfinite(image).all():
                raise BfpError(f"the image for {self.deployment.network} holds values that are not finite numbers")
            image = quantise(self.deployment.input.preprocessing.scaled(image), tensor.format)
        layout.pack(tensor, image, self._arena)
        for part in self._parts(tensor):
            part.flush()

    def _parts(self, tensor: PlacedTensor) -> Iterator:
        """The parts of the arena's buffer that hold a tensor's segments."""
        for segment in tensor.segments:
            words = tensor.segment_words(segment, self.deployment.lanes)
            yield self._arena[segment.address : segment.address + words]

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
