"""A device with a network's bitstream: owned, loaded and checked; its engine started, recovered and stopped."""

from __future__ import annotations

import atexit
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from bfp.deployment import Deployment, check_file
from bfp.errors import BfpError
from bfp.names import COMMAND
from host.conditions import check_clock, check_memory, load_stamp, stop_clock
from host.ending import later_signals
from host.engine import Engine
from host.handoff import Handoff, compare, read_handoff
from host.interrupt import open_interrupt
from host.ownership import Ownership
from host.standstill import standstill

SIMULATION_MARK = b"SBFP SIMULATION, NOT A BITSTREAM"
GRACE_S = 1.0  # for an engine to finish by itself before it is stopped


class Board:
    """The engine of one network, and the memory that it works on. Close it, whatever happens.

    folder: of the deployment. device: a pynq Device; None: PYNQ's active one. timeout_s: longest time of a run.
    sizes: words of each buffer that will be allocated, in the order of that.

    Raises BfpError, one sentence, before any layer runs: for files that are missing or do not belong together, a
    device that is in use, too little memory, another clock, metadata or identity than the network's.
    """

    def __init__(
        self,
        deployment: Deployment,
        folder: Path,
        bitfile: Path,
        device: Any,
        timeout_s: float,
        sizes: tuple[int, ...],
    ):
        self._deployment, self._bitfile, self.timeout_s = deployment, bitfile, timeout_s
        self._overlay: Any = None
        self._engine: Engine | None = None
        self._buffers: list = []
        self._running = False
        self._reachable = True  # an access to registers that are not there would hang the bus
        self._pointed: dict[str, int] = {}
        self._stamp: object = None
        self._pynq = import_pynq()
        self._handoff = check_bitfile(deployment, folder, bitfile, device)
        self._device = self._active() if device is None else device
        self._ownership = Ownership(self._device, deployment.name)
        atexit.register(_close_at_exit, weakref.ref(self))
        try:
            check_memory([words * deployment.lanes for words in sizes], deployment.name, self._device)
            self._load(reset=device is None)
        except BaseException:
            self.close()
            raise

    def __del__(self) -> None:
        if hasattr(self, "_ownership"):
            with suppress(Exception):  # nobody is left to be told
                self.close()

    @property
    def closed(self) -> bool:
        """Whether the buffers have been given back."""
        return self._engine is None

    @property
    def running(self) -> bool:
        """Whether something was started that has not been waited for to its end."""
        return self._running

    def allocate(self, words: int) -> Any:
        """A buffer, uint8 [words, lanes]. Raises BfpError where the system has no room for it."""
        shape = (words, self._deployment.lanes)
        check_memory([words * self._deployment.lanes], self._deployment.name, self._device)
        try:
            buffer = self._pynq.allocate(shape, np.uint8, target=self._device)
        except (RuntimeError, MemoryError, OSError) as error:
            size, network = words * self._deployment.lanes, self._deployment.name
            raise BfpError(f"no {size} contiguous bytes for {network} ({error}); free other buffers") from error
        self._buffers.append(buffer)
        return buffer

    def point(self, addresses: Mapping[str, int]) -> None:
        """Set the addresses of the engine's memories, by pointer. Those that were set before are in the registers still."""
        before, self._pointed = self._pointed, {name: int(address) for name, address in addresses.items()}
        self._engine.point(self._pointed, before)

    def prepare(self) -> bool:
        """Make sure that the engine is this network's, has its addresses, and can be started.

        Returns whether the last run had not finished in time; unless it has finished since, the bitstream was loaded
        again. Raises BfpError where another program has the engine, or it cannot be loaded.
        """
        self._ownership.check()
        network = self._deployment.name
        if self._replaced():
            raise BfpError(
                f"another bitstream was loaded since the accelerator for {network} was opened; open it again"
            )
        unfinished = self._running
        if unfinished:
            self._recover()
        if not self._engine.idle():
            raise BfpError(f"the engine of {network} is busy before it was started; open it again")
        self._check_identity()
        if self._engine.addresses() != self._pointed:
            raise BfpError(
                f"the addresses of the engine of {network} were changed by another program; end that, and open it again"
            )
        return unfinished

    def run(self, begin: int, end: int) -> None:
        """Run layers [begin, end). Raises BfpError as ``finish`` does."""
        self.start(begin, end)
        self.finish()

    def start(self, begin: int, end: int) -> None:
        """Start layers [begin, end) of an engine that is prepared."""
        self._running = True
        self._engine.start(begin, end)

    def finish(self, given_up: Callable[[], bool] = lambda: False) -> None:
        """Wait for what was started.

        given_up: asked while the engine works, whether nobody waits for it any more. Raises BfpError, which says where
        the engine stands, where it takes too long or is given up.
        """
        if not self._engine.wait(self.timeout_s, given_up):
            if given_up():
                raise BfpError(f"a run of {self._deployment.name} was given up; the next one loads the bitstream again")
            try:
                clock_mhz = self.clock_mhz()
            except BfpError:
                clock_mhz = None
            state = self._engine.state()
            raise BfpError(standstill(self._deployment, state, self._pointed, self.timeout_s, clock_mhz))
        self._running = False

    def close(self) -> None:
        """Stop the engine, then free the buffers and give the device back. A second call does nothing.

        Nor does one in a forked process, whose parent has all of that. Raises BfpError, with all of that done, where the
        bitstream could not be loaded again to stop the engine.
        """
        if self._ownership.inherited():
            return
        with later_signals():
            trouble = self._stop() if self._running else ""
            self._running = False
            if self._engine is not None:
                self._engine.close()
                self._engine = None
            buffers, self._buffers = self._buffers, []
            for buffer in buffers:
                buffer.freebuffer()
            self._ownership.release()
        if trouble:
            raise BfpError(trouble)

    def _active(self) -> Any:
        try:
            return self._pynq.Device.active_device
        except Exception as error:  # PYNQ raises bare Exception classes of many modules
            raise self._not_loaded(error) from error

    def _load(self, reset: bool) -> None:
        """Load the bitstream, and check what is there now. reset: PYNQ's memory of the bitstream before."""
        ip = self._deployment.ip
        try:
            if reset:
                # by hash of the .bit alone; stale base addresses would hang the bus
                self._pynq.PL.reset()
            self._overlay = self._pynq.Overlay(str(self._bitfile), device=self._device)
            mmio = self._pynq.MMIO(self._handoff.base, self._handoff.span, device=self._device)
        except BfpError:
            raise
        except Exception as error:  # PYNQ raises bare Exception classes of many modules
            raise self._not_loaded(error) from error
        description = self._overlay.ip_dict
        if ip not in description:
            handoff = self._bitfile.with_suffix(".hwh")
            raise BfpError(f"PYNQ finds no IP {ip!r} in {handoff}; use the files of this network")
        compare(self._handoff, description[ip], self._bitfile)
        interrupt = open_interrupt(self._handoff.interrupt, self._device)
        self._engine = Engine(mmio, self._handoff.offsets, interrupt)
        self._check_loaded()

    def _check_loaded(self) -> None:
        """What must hold after each loading: the clock and the identity."""
        self._stamp = load_stamp(self._device)
        self._engine.enable_interrupt()
        check_clock(self.clock_mhz(), self._deployment.engine_clock_mhz, self._deployment.name)
        if not self._engine.idle():
            raise BfpError(f"the engine in {self._bitfile} is busy before it was started; restart the board")
        # an empty range of layers touches no memory and reports the identity
        self.run(0, 0)
        self._check_identity()

    def _check_identity(self) -> None:
        identity = self._engine.identity()
        if identity != self._deployment.identity:
            raise BfpError(
                f"the kernel in {self._bitfile} has identity {identity}, but the deployment was generated for "
                f"{self._deployment.identity}; build the kernel again, or deploy the files that belong to it"
            )

    def _recover(self) -> None:
        """After a run that took too long: wait no more if it has ended since, otherwise load the bitstream again."""
        if not (self._reachable and self._engine.finished()):
            try:
                self._load_again()
            except Exception as error:  # PYNQ raises bare Exception classes of many modules
                raise BfpError(
                    f"the engine of {self._deployment.name} did not finish, and {self._bitfile} cannot be loaded "
                    f"again ({error}); close the accelerator, and restart the board if it cannot be opened"
                ) from error
            self._check_loaded()
            for buffer in self._buffers:
                buffer.flush()
            self._engine.point(self._pointed, {})
        self._running = False

    def _load_again(self) -> None:
        """Load the bitstream once more, which stops the engine. Where that fails, nothing may answer any more."""
        self._reachable = False
        try:
            self._overlay.download()
        finally:
            self._stamp = load_stamp(self._device)
        self._reachable = True

    def _replaced(self) -> bool:
        """Whether another bitstream was loaded since, so that the engine is no more."""
        return not self._overlay.is_loaded() or load_stamp(self._device) != self._stamp

    def _stop(self) -> str:
        """Make sure that the engine writes to no memory any more. What is left to be said where that was not easy."""
        try:
            if self._replaced():
                return ""
            if not (self._reachable and self._engine.wait(min(GRACE_S, self.timeout_s))):
                self._load_again()
            return ""
        except Exception as error:  # PYNQ raises bare Exception classes of many modules
            stopped = self._stop_clock()
            how = "its clock is stopped" if stopped else "it may still write to memory"
            return (
                f"the engine of {self._deployment.name} did not finish, and {self._bitfile} could not be loaded "
                f"again to stop it ({error}); {how}, and its buffers are free: load another bitstream, or restart the "
                "board"
            )

    def _stop_clock(self) -> bool:
        try:
            return stop_clock(self._pynq, self._handoff.system, self._device)
        except Exception:  # of PYNQ: then it is said that nothing could be stopped
            return False

    def clock_mhz(self) -> float:
        """The clock as it is set now. Raises BfpError where PYNQ cannot tell."""
        activate = getattr(self._device, "activate", None)
        if activate is not None:
            activate()
        try:
            return float(self._pynq.Clocks.fclk0_mhz)
        except Exception as error:  # PYNQ raises bare Exception classes of many modules
            raise BfpError(f"PYNQ cannot tell the engine's clock ({error}); use the PYNQ of the image") from error

    def _not_loaded(self, error: Exception) -> BfpError:
        return BfpError(f"PYNQ cannot load {self._bitfile} ({error}); run on the board as root, or --simulate")


def _close_at_exit(reference: weakref.ref) -> None:
    """An engine that still runs when the program ends would write to memory that is given away."""
    board = reference()
    if board is not None:
        with suppress(Exception):  # nobody is left to be told
            board.close()


def check_bitfile(deployment: Deployment, folder: Path, bitfile: Path, device: Any) -> Handoff:
    """The handoff of a bitstream. Raises BfpError where either is missing, or not what the manifest says.

    device: None for a real board, which the simulated board's marker would hang.
    """
    for needed in (bitfile, bitfile.with_suffix(".hwh")):
        if not needed.is_file():
            raise BfpError(f"{needed} does not exist; put NAME.bit and NAME.hwh of `{COMMAND} build-bitstream` there")
        if needed.parent.resolve() == folder.resolve():
            check_file(deployment, folder, needed.name, f"build it again with `{COMMAND} build-bitstream`")
    if device is None:
        with open(bitfile, "rb") as f:
            if f.read(len(SIMULATION_MARK)) == SIMULATION_MARK:
                raise BfpError(f"{bitfile} is the simulated board's marker; build a bitstream or use --simulate")
    return read_handoff(bitfile.with_suffix(".hwh"), deployment.ip)


def import_pynq() -> Any:
    """The module pynq. Raises BfpError where it is not installed."""
    try:
        import pynq
    except ImportError as error:
        raise BfpError(f"PYNQ is not installed ({error}); use the board's Python, or `pip install pynq`") from None
    return pynq
