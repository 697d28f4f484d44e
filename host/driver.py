"""The accelerator as Python sees it: PYNQ loads the bitstream, this drives the engine.

The same code runs on a real board and, with ``device=SimulatedBoard(...)``, on
a development machine. Only ``Overlay``, ``MMIO``, ``Clocks`` and ``allocate``
of PYNQ are used.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bfp import layout
from bfp.deployment import read_deployment, read_weights
from bfp.errors import BfpError
from bfp.format import dequantise, quantise
from bfp.layout import HOST, PlacedTensor
from host.board import Board
from host.image import load_image, normalise
from host.memory_check import Guard, ResultCheck
from host.turns import Turns

BOARD_TIMEOUT_S = 10.0


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
    belong together, and boards that are not as the network needs them: before
    any layer runs. Threads may share it: they take turns.
    """

    def __init__(
        self,
        deploy_dir: str | Path,
        device=None,
        bitfile: str | Path | None = None,
        timeout_s: float | None = None,
    ):
        self.folder = Path(deploy_dir)
        self.deployment = read_deployment(deploy_dir)
        self._turns = Turns(self.deployment.network)
        self._input = self.deployment.tensor(self.deployment.input.tensor)
        self._result = self.deployment.output
        weights = read_weights(self.deployment, deploy_dir)
        if timeout_s is None:
            timeout_s = getattr(device, "timeout_s", BOARD_TIMEOUT_S)
        bitfile = Path(bitfile or getattr(device, "bitfile", None) or self.folder / self.deployment.bitfile)
        # pooling alone has no weights
        sizes = (
            max(self.deployment.weights_words, 1),
            self.deployment.fmap_words,
            Guard.words(self.deployment.lanes),
        )
        self._board = Board(self.deployment, self.folder, bitfile, device, timeout_s, sizes)
        try:
            self._weights, self._arena, guard = (self._board.allocate(words) for words in sizes)
            self._guard = Guard(guard)
            self._guard.check()
            self._weights[: len(weights)] = weights
            self._weights.flush()
            self._arena[:] = 0
            self._arena.flush()
            # One arena: a layer reads, adds and writes wherever its constants say.
            self._board.point(
                {
                    "weights": self._weights.device_address,
                    **{name: self._arena.device_address for name in ("fmap_in", "fmap_shortcut", "fmap_out")},
                }
            )
        except BaseException:
            self._board.close()
            raise

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
    def timeout_s(self) -> float:
        """Longest time for one run of the engine, seconds."""
        return self._board.timeout_s

    @timeout_s.setter
    def timeout_s(self, seconds: float) -> None:
        self._board.timeout_s = seconds

    def close(self) -> None:
        """Stop the engine and free the buffers; a run of another thread is waited for. A second call does nothing.

        Raises BfpError, with all of that done, where an engine that did not finish could not be loaded again.
        """
        with self._turns.last():
            self._board.close()

    def run(self, image: np.ndarray) -> np.ndarray:
        """Network output, float64 [outputs], for one preprocessed image.

        image: float [C, H, W], quantised here with the input tensor's format,
        or integer mantissas of the same shape. Raises BfpError for another
        shape, for values that are not finite, and when the engine does not finish.
        """
        result = self._result
        tensor = self.deployment.tensor(result.tensor)
        mantissas = self._mantissas(image)
        with self._turns.turn("run"):
            self._run(mantissas, tensor)
            values = dequantise(self._read(tensor), tensor.format)
        return result.values(values[None])[0]

    def trace(self, image: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """Run layer by layer; yield name and mantissas, int16 [C, H, W], of every tensor when it is complete.

        Where something differs, the first tensor that does is where it began. Until its end, or its close(), no other
        run begins: one of the same thread is refused, others wait. ``tensor`` of the same thread reads.
        """
        self._check_open()
        return self._trace(self._mantissas(image))

    def _trace(self, mantissas: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        by_layer: dict[int, list[PlacedTensor]] = {}
        for tensor in self.deployment.tensors:
            by_layer.setdefault(tensor.layer_index, []).append(tensor)
        with self._turns.turn("trace", lasting=True) as turn:
            self._begin(mantissas)
            for layer in range(HOST, self.deployment.layers):
                self._turns.check(turn)
                if layer != HOST:
                    self._board.prepare()
                    self._board.run(layer, layer + 1)
                for tensor in by_layer.get(layer, ()):
                    yield tensor.name, self._read(tensor)
                    self._turns.check(turn)

    def tensor(self, name: str) -> np.ndarray:
        """Mantissas, int16 [C, H, W], of a stored tensor; every one has a place of its own.

        Raises BfpError for a name that the deployment does not have.
        """
        tensor = self.deployment.tensor(name)
        with self._turns.reading("look at a tensor"):
            self._check_open()
            return self._read(tensor)

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

    def _mantissas(self, image: np.ndarray) -> np.ndarray:
        """An image as the input tensor's mantissas. Raises BfpError for another shape, or values that are not finite."""
        tensor, image = self._input, np.asarray(image)
        if image.shape != tensor.shape:
            raise BfpError(
                f"network {self.deployment.network} takes an image of {'x'.join(map(str, tensor.shape))} (channels, height, "
                f"width), not {'x'.join(map(str, image.shape)) or 'a number'}; resize it first"
            )
        if np.issubdtype(image.dtype, np.integer):
            return image
        if not np.issubdtype(image.dtype, np.floating) or not np.isfinite(image).all():
            raise BfpError(f"the image for {self.deployment.network} holds values that are not finite numbers")
        return quantise(self.deployment.input.preprocessing.scaled(image), tensor.format)

    def _run(self, mantissas: np.ndarray, result: PlacedTensor) -> None:
        """All layers. Raises BfpError where the engine ends without having written its result."""
        if result.layer_index == HOST:  # there is nothing that the engine would write
            self._begin(mantissas)
            return
        check = ResultCheck(list(self._parts(result)))
        for filling in ResultCheck.FILLINGS:
            self._begin(mantissas)
            check.fill(filling)
            self._board.run(0, self.deployment.layers)
            if check.written(filling):
                return
        raise BfpError(
            f"the engine of {self.deployment.network} ended and did not write its result, or it cannot be seen; check the "
            "memory ports of the block design and that nothing else writes the engine's registers, and open it again"
        )

    def _begin(self, mantissas: np.ndarray) -> None:
        """The engine ready, and the input in its memory."""
        self._check_open()
        self._board.prepare()
        self._guard.check()
        layout.pack(self._input, mantissas, self._arena)
        for part in self._parts(self._input):
            part.flush()

    def _read(self, tensor: PlacedTensor) -> np.ndarray:
        for part in self._parts(tensor):
            part.invalidate()
        return layout.unpack(tensor, self._arena)

    def _parts(self, tensor: PlacedTensor) -> Iterator:
        """The parts of the arena's buffer that hold a tensor's segments."""
        for segment in tensor.segments:
            words = tensor.segment_words(segment, self.deployment.lanes)
            yield self._arena[segment.address : segment.address + words]

    def _check_open(self) -> None:
        if self._board.closed:
            raise BfpError(f"the accelerator for {self.deployment.network} is closed; open it again")
