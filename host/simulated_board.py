"""A board without a board: a PYNQ device whose IP is the engine compiled by g++.

The driver does not know the difference. Host and device memory are separate
arrays; only flush and invalidate copy between them, so that a missing one
shows as wrong data. Physical addresses are invented, above 4 GiB, and only
those inside a live buffer are translated. Registers are those of the .hwh.
What goes wrong on boards can be had on demand (``host/faults.py``).
"""

from __future__ import annotations

import ctypes
import struct
import threading
import time
from pathlib import Path

import numpy as np
from pynq.buffer import PynqBuffer
from pynq.pl_server.device import Device
from pynq.ps import Clocks, _ClocksUltrascale
from pynqmetadata.frontends import Metadata

from bfp.deployment import read_deployment
from bfp.errors import BfpError
from bfp.files import write_bytes
from bfp.names import COMMAND
from host import hwh
from host.board import SIMULATION_MARK
from host.conditions import CLOCK_ACTIVE, CLOCK_REGISTERS, FIRST_CLOCK
from host.engine import AP_DONE, AP_IDLE, AP_START, INTERRUPT_ON_DONE
from host.engine_thread import EngineThread, Job
from host.faults import Faults, SimulatedInterrupt

try:
    from pynqmetadata.views.runtime import RuntimeMetadataParser
except ImportError:  # with pynq 3.0.1 it is PYNQ's own
    from pynq.metadata.runtime_metadata_parser import RuntimeMetadataParser

PAGE = 4096
DDR_HIGH = 0x8_0000_0000  # the DDR region of Zynq UltraScale+ that needs more than 32 address bits
PS_REGISTERS = range(0xFD00_0000, 0x1_0000_0000)
AP_READY = 0x8
FIRST_CLOCK_REGISTER = CLOCK_REGISTERS + FIRST_CLOCK
# PLLs of the processing system at reset of the PYNQ image: 33.333 MHz x 90 / 2, source of the PL clocks.
_PLL_CONTROLS = (0xFF5E_0020, 0xFF5E_0030, 0xFD1A_0020, 0xFD1A_002C, 0xFD1A_0038)
_PLL_RESET = 90 << 8 | 1 << 16
_ALIGNMENT = 64


class _DeviceMemory:
    """One allocation as the engine sees it: bytes at an invented physical address."""

    def __init__(self, address: int, size: int):
        raw = np.full(size + _ALIGNMENT, 0xA5, np.uint8)  # never zero: forgotten flushes must show
        skip = -raw.ctypes.data % _ALIGNMENT
        self.data = raw[skip : skip + size]
        self.address = address

    def pointer(self, address: int) -> int:
        return self.data.ctypes.data + address - self.address


class SimulatedBoard(Device):
    """PYNQ device for one deployment folder and one compiled engine.

    library: the shared library with ``sbfp_engine``. folder: where the marker
    .bit and the .hwh are written, default ``simulated`` in the deployment
    folder. timeout_s: what the driver allows for one run of the engine, which
    is far slower here than in hardware. faults: what goes wrong. lock_file:
    that other processes with the same device would lock, None where it is this
    process's alone. meminfo: a file as /proc/meminfo, None for enough memory.

    Raises BfpError when the library is not an engine, and, while it runs, for
    any access that would hang a real bus.
    """

    def __init__(
        self,
        library: str | Path,
        deploy_dir: str | Path,
        folder: str | Path | None = None,
        timeout_s: float = 3600.0,
        faults: Faults = Faults(),
        lock_file: Path | None = None,
        meminfo: Path | None = None,
    ):
        super().__init__("simulated")
        self.name = "simulated"
        self.arch = "aarch64"  # of the processor that is simulated: PYNQ chooses its clock code by it
        self.capabilities = {"REGISTER_RW": True}
        self.timeout_s = timeout_s
        self.faults, self.lock_file, self.meminfo = faults, lock_file, meminfo
        self.loads = self.allocations = 0  # how often a bitstream was loaded and a buffer asked for
        self._interrupt: SimulatedInterrupt | None = None
        self._programmed = False
        self._deployment = read_deployment(deploy_dir)
        self._engine = _load_engine(Path(library))
        self._memories: dict[int, _DeviceMemory] = {}
        self._next_address = DDR_HIGH
        self._ps = {address: _PLL_RESET for address in _PLL_CONTROLS}
        self._lock, self._computing = threading.Lock(), threading.Lock()
        self._thread = EngineThread()
        self._reset()
        folder = Path(folder) if folder else Path(deploy_dir) / "simulated"
        deployment = self._deployment
        self.bitfile = folder / deployment.bitfile
        words = b"\nPYNQ wants a file of this name. The simulated board's engine is a shared library.\n"
        write_bytes(self.bitfile, SIMULATION_MARK + words)
        hwh.write_hwh(self.bitfile.with_suffix(".hwh"), deployment.ip, deployment.lanes, deployment.clock_mhz)

    # What Overlay asks of a device

    def get_bitfile_metadata(self, bitfile_name: str, partial: bool = False):
        parser = RuntimeMetadataParser(Metadata(input=str(Path(bitfile_name).with_suffix(".hwh"))))
        description = parser.ip_dict.get(self._deployment.ip)
        if description is None:
            raise BfpError(f"the .hwh beside {bitfile_name} has no IP {self._deployment.ip!r}")
        self.activate()
        self._base, self._range = description["phys_addr"], description["addr_range"]
        self._offsets = {name: r["address_offset"] for name, r in description["registers"].items()}
        self._names = {offset: name for name, offset in self._offsets.items()}
        return parser

    def activate(self) -> None:
        """Make PYNQ's clocks those of this board.

        PYNQ has one set of clocks in a process: of the processor that it runs on, which pynq 3.0.1 does not give where
        that is an x86, or, in 4.0.0, of the device that asked first.
        """
        before = vars(Device).get("_active_device")
        Device.active_device = self
        try:
            Clocks._real_instance = _ClocksUltrascale()
        finally:
            if before is None:
                del Device._active_device
            else:
                Device.active_device = before

    def download(self, bitstream, parser=None) -> None:
        with open(bitstream.bitfile_name, "rb") as f:
            if f.read(len(SIMULATION_MARK)) != SIMULATION_MARK:
                raise BfpError(f"{bitstream.bitfile_name} is no simulation marker; a real bitstream needs a real board")
        failing = self.faults.fails_load
        self.loads += 1
        with self._lock:
            self._programmed = False
        if failing is not None and self.loads > failing:
            raise OSError("the FPGA manager reports an error")
        with self._lock:
            self._programmed = True
            self._reset()
        self.post_download(bitstream, parser)

    def open_interrupt(self, number: int) -> SimulatedInterrupt:
        """The line that the engine's interrupt is wired to."""
        self._interrupt = SimulatedInterrupt(self.faults.loses_interrupt)
        return self._interrupt

    # Memory

    def allocate(self, shape, dtype, **kwargs) -> PynqBuffer:
        """A host array with a device array of its own behind it."""
        self.allocations += 1
        if self.faults.fails_allocation == self.allocations - 1:
            raise RuntimeError("bad alloc")
        if kwargs:
            raise BfpError(f"the simulated board's allocate() does not know {', '.join(kwargs)}")
        host = np.full(int(np.prod(shape)) * np.dtype(dtype).itemsize, 0x5A, np.uint8)
        memory = _DeviceMemory(self._next_address, host.nbytes)
        # A hole of one page behind every buffer, so that overruns are found.
        self._next_address += -(-host.nbytes // PAGE) * PAGE + PAGE
        buffer = PynqBuffer(
            shape, dtype, buffer=host, device=self, device_address=memory.address, bo=memory, coherent=False
        )
        buffer.memory, buffer.pointer, buffer.return_to = self, memory.address, self
        buffer.freed = True  # its memory is NumPy's: PYNQ must never unmap it
        self._memories[memory.address] = memory
        return buffer

    def return_pointer(self, pointer: int) -> None:
        """Called by PynqBuffer.freebuffer()."""
        self._memories.pop(pointer, None)

    def flush(self, bo: _DeviceMemory, offset: int, ptr: int, size: int) -> None:
        if not self.faults.drops_flush:
            bo.data[offset : offset + size] = _host_bytes(ptr, size)

    def invalidate(self, bo: _DeviceMemory, offset: int, ptr: int, size: int) -> None:
        if not self.faults.drops_invalidate:
            _host_bytes(ptr, size)[:] = bo.data[offset : offset + size]

    # Registers

    def read_registers(self, address: int, length: int) -> bytes:
        with self._lock:
            return b"".join(struct.pack("<I", self._read(a)) for a in range(address, address + length, 4))

    def write_registers(self, address: int, data: bytes) -> None:
        with self._lock:
            for i, (value,) in enumerate(struct.iter_unpack("<I", data)):
                self._write(address + 4 * i, value)

    def _reset(self) -> None:
        self._registers: dict[str, int] = {}
        self._control = AP_IDLE
        self._progress = ctypes.c_uint32()
        self._drive_interrupt()
        self._stop_job()

    def _stop_job(self) -> None:
        """An older job may go on; its results are no longer looked at."""
        self._job: Job | None = None

    def _register(self, address: int) -> str | None:
        """Name of the engine's register, None for one of the processing system."""
        base = getattr(self, "_base", None)
        if base is not None and base <= address < base + self._range:
            if not (self._programmed and self._ps.get(FIRST_CLOCK_REGISTER, 0) & CLOCK_ACTIVE):
                raise BfpError("a register of logic that is not loaded, or has no clock, would hang the bus")
            return self._names.get(address - base, "reserved")
        if address in PS_REGISTERS:
            return None
        raise BfpError(f"register access at address {address:#x} would hang the bus: nothing is mapped there")

    def _read(self, address: int) -> int:
        name = self._register(address)
        if name is None:
            return self._clock(address)
        if name == "CTRL":
            value = self._control
            self._control &= ~(AP_DONE | AP_READY)  # clear on read
            return value
        value = self._progress.value if name == "progress" else self._registers.get(name, 0)
        if name.endswith("_ctrl"):
            self._registers[name] = 0  # the valid flags clear on read, too
        return value

    def _write(self, address: int, value: int) -> None:
        name = self._register(address)
        if name is None:
            self._ps[address] = value
            if address == FIRST_CLOCK_REGISTER and not value & CLOCK_ACTIVE:
                self._stop_job()
        elif name == "IP_ISR":
            self._registers[name] = self._registers.get(name, 0) ^ value
            self._drive_interrupt()
        elif name == "CTRL":
            if value & AP_START and self._control & AP_IDLE:
                self._start()
        elif name != "reserved" and not name.startswith(hwh.SCALARS_OUT):
            self._registers[name] = value
            self._drive_interrupt()

    def _clock(self, address: int) -> int:
        """A register of the processing system, its first clock's at the fault's frequency where there is one."""
        value = self._ps.get(address, 0)
        if address == FIRST_CLOCK_REGISTER and self.faults.clock_mhz is not None:
            divisor = round(hwh.CLOCK_SOURCE_MHZ / self.faults.clock_mhz)
            value = value & ~0x3F3F00 | divisor << 8 | 1 << 16
        return value

    def _drive_interrupt(self) -> None:
        """The engine's wire: what is pending and let through."""
        if self._interrupt is not None:
            pending = self._registers.get("IP_ISR", 0) & self._registers.get("IP_IER", 0)
            self._interrupt.level(bool(pending and self._registers.get("GIER", 0)))

    # The engine

    def _start(self) -> None:
        begin, end = (self._registers.get(name, 0) for name in hwh.SCALARS_IN)
        pointers, keep = [0] * 4, []
        if begin != end:  # an empty range touches no memory
            lanes = self._deployment.lanes
            for i, name in enumerate(hwh.POINTERS):
                words = self._deployment.weights_words if name == "weights" else self._deployment.touched_words(begin, end)
                memory, pointers[i] = self._translate(name, words * lanes)
                keep.append(memory)
        if self.faults.writes_elsewhere and begin != end:
            elsewhere = keep[-1].data.copy()
            pointers[-1] = elsewhere.ctypes.data
            keep.append(elsewhere)
        self._control = AP_START
        self._progress = ctypes.c_uint32()  # of this job alone: an older one may go on
        # A thread, since a real engine returns at once and may never finish.
        progress = self._progress
        self._job = Job(lambda: self._run(pointers, begin, end, keep, progress), self._end)
        self._begin(self._job)

    def _begin(self, job: Job) -> None:
        self._thread.start(job)

    def _run(self, pointers: list[int], begin: int, end: int, keep: list, progress: ctypes.c_uint32) -> int | None:
        """The identity that the engine reports at its end, None where that never comes.

        keep: memories; a buffer that is freed stays valid memory while the engine may write to it.
        """
        low, high = ctypes.c_uint32(), ctypes.c_uint32()
        with self._computing:  # the engine's own memories are there once: a job that was given up may still compute
            self._engine(*pointers, begin, end, ctypes.byref(low), ctypes.byref(high), ctypes.byref(progress))
        faults = self.faults
        if begin != end and (faults.finishes_late_s or faults.never_finishes):
            progress.value = end  # it stands in the last layer
            time.sleep(faults.finishes_late_s)
        keep.clear()
        if begin != end and faults.never_finishes:
            return None
        progress.value = 0
        return high.value << 32 | low.value if faults.identity is None else faults.identity

    def _end(self, job: Job, identity: int | None) -> None:
        with self._lock:
            if identity is None or job is not self._job:
                return
            self._registers.update(identity_low=identity & 0xFFFF_FFFF, identity_high=identity >> 32)
            self._registers.update(identity_low_ctrl=1, identity_high_ctrl=1)
            self._control = AP_DONE | AP_IDLE | AP_READY
            if self._registers.get("IP_IER", 0) & INTERRUPT_ON_DONE:
                self._registers["IP_ISR"] = self._registers.get("IP_ISR", 0) | INTERRUPT_ON_DONE
            self._drive_interrupt()

    def _translate(self, name: str, size: int) -> tuple[_DeviceMemory, int]:
        address = self._registers.get(f"{name}_2", 0) << 32 | self._registers.get(f"{name}_1", 0)
        for memory in self._memories.values():
            if memory.address <= address and address + size <= memory.address + memory.data.size:
                if address % self._deployment.lanes:
                    raise BfpError(f"{name} at {address:#x} is not aligned to a word; pass a whole buffer's address")
                return memory, memory.pointer(address)
        raise BfpError(
            f"{name} at {address:#x} to {address + size:#x} would hang the bus: it is not inside one allocated buffer"
        )


def _host_bytes(ptr: int, size: int) -> np.ndarray:
    return np.frombuffer((ctypes.c_uint8 * size).from_address(ptr), np.uint8)


def _load_engine(library: Path):
    if not library.is_file():
        raise BfpError(f"engine library {library} does not exist; build it with `{COMMAND} csim`")
    try:
        engine = ctypes.CDLL(str(library.resolve())).sbfp_engine
    except (OSError, AttributeError) as error:
        raise BfpError(f"{library} is not a compiled engine ({error}); build it with `{COMMAND} csim`") from None
    engine.restype = None
    engine.argtypes = [ctypes.c_void_p] * 4 + [ctypes.c_uint32] * 2 + [ctypes.POINTER(ctypes.c_uint32)] * 3
    return engine
