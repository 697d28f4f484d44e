"""What must hold of a board before a layer runs: handoff, metadata, clock, memory. One sentence each."""

from __future__ import annotations

import re

import pytest
from support import toy_board as toy
from support.boards import BOARD
from support.driven import board, deploy, library, random_mantissas

from bfp.deployment import Implementation
from bfp.errors import BfpError
from host import hwh
from host.driver import Accelerator
from host.faults import Faults
from host.handoff import SYSTEMS, read_handoff
from host.simulated_board import SimulatedBoard

IP = "sbfp_engine_0"


def refused(board, deploy, match):
    """Opening is refused with one sentence, nothing ran or stays allocated, and the device is free again."""
    with pytest.raises(BfpError, match=match) as error:
        Accelerator(deploy, device=board)
    assert "\n" not in str(error.value) and not board._memories
    return str(error.value)


# The handoff


@pytest.fixture
def handoff(board):
    """The simulated board's handoff, as a file to damage."""
    return board.bitfile.with_suffix(".hwh")


def test_the_handoff_says_what_pynq_says(board, deploy, handoff):
    found = read_handoff(handoff, IP)
    assert (found.base, found.span, found.system) == (hwh.BASE_ADDRESS, hwh.ADDRESS_RANGE, "zynq_ultra_ps_e")
    assert found.offsets == {name: offset for name, offset, _, _ in hwh.registers()}
    assert found.interrupt == SYSTEMS[found.system].interrupts["pl_ps_irq0"] == 121
    with Accelerator(deploy, device=board) as accelerator:
        parser = accelerator._board._overlay.parser
        ps = next(iter(parser.md.get_processing_systems().values()))
        assert ps.irq_map[0] == found.interrupt
        ends = ps.get_irqs["pl_ps_irq0"]._connections.values()
        assert [f"{end.parent().parent().name}/{end.name}" for end in ends] == [f"{IP}/interrupt"]


@pytest.mark.parametrize(
    "old, new, match",
    [
        ('NAME="progress"', 'NAME="other"', "no register 'progress'; it is not this project's engine, or an older one"),
        ('NAME="GIER"', 'NAME="other"', "no register 'GIER'"),
        ('VALUE="0x40"', 'VALUE="0x10000"', "register 'layer_begin' at offset 0x10000, outside the 0x10000 bytes"),
        ('VALUE="0x40"', 'VALUE="0x41"', "register 'layer_begin' at offset 0x41, outside"),
        ('VALUE="0x40"', 'VALUE="-4"', "register 'layer_begin' at offset -0x4, outside"),
        ('VALUE="0x40"', 'VALUE="four"', "the addresses of 'sbfp_engine_0' are no numbers"),
        ('BASEVALUE="0xa0000000"', 'BASEVALUE="0x10000000"', "puts the engine at 0x10000000 .* would hang the bus"),
        ('HIGHVALUE="0xa000ffff"', 'HIGHVALUE="0xc000ffff"', "to 0xc0010000, where the programmable logic has no"),
        ('HIGHVALUE="0xa000ffff"', 'HIGHVALUE="0x9fffffff"', "where the programmable logic has no registers"),
        ('MODTYPE="zynq_ultra_ps_e"', 'MODTYPE="versal_cips"', "has 0 processing systems"),
        (f'INSTANCE="{IP}" MODTYPE', 'INSTANCE="other_0" MODTYPE', f"has no IP '{IP}'"),
        ("</EDKSYSTEM>", "", "is damaged"),
    ],
)
def test_a_handoff_that_would_hang_the_bus_is_refused_before_loading(board, deploy, handoff, old, new, match):
    text = handoff.read_text()
    assert old in text
    handoff.write_text(text.replace(old, new, 1))
    refused(board, deploy, match)
    assert board.loads == 0


def test_metadata_that_pynq_kept_of_another_bitstream_is_noticed(board, deploy, monkeypatch):
    real = board.get_bitfile_metadata

    def stale(*words, **named):
        parser = real(*words, **named)
        parser.ip_dict[IP]["phys_addr"] = 0xA100_0000
        return parser

    monkeypatch.setattr(board, "get_bitfile_metadata", stale)
    refused(board, deploy, "PYNQ has stale metadata .* at 0xa1000000, the file says 0xa0000000; call pynq.PL.reset()")


# The clock


@pytest.mark.parametrize("clock", [100, 187.5, 300])
def test_another_clock_is_refused(library, deploy, clock):
    board = SimulatedBoard(library, deploy, faults=Faults(clock_mhz=clock))
    message = refused(board, deploy, "has a clock of [0-9.]+ MHz and was built for 250; deploy .bit and .hwh of one")
    assert float(re.search(r"clock of ([0-9.]+)", message)[1]) == pytest.approx(clock, rel=1e-3)


@pytest.mark.parametrize("clock", [250, 300, 1500 / 7, 187.5, 1500 / 64, 1500 / 77])
def test_the_clock_of_the_handoff_is_what_pynq_sets(library, tmp_path, clock):
    deploy = toy.write(tmp_path / "clocked", clock_mhz=clock)
    with Accelerator(deploy, device=SimulatedBoard(library, deploy)) as accelerator:
        assert accelerator._board.clock_mhz() == pytest.approx(clock, rel=1e-4)


def test_the_clock_of_the_implementation_counts(library, tmp_path):
    """A bitstream that missed its timing runs slower than what was generated."""
    made = Implementation(187.5, 0.1, 0.1, "default", {}, "slower")
    deploy = toy.write(tmp_path / "slower", implementation=made)
    board = SimulatedBoard(library, deploy, faults=Faults(clock_mhz=BOARD.clock_mhz))
    refused(board, deploy, "has a clock of 249.998 MHz and was built for 187.5")
    slow = SimulatedBoard(library, deploy, faults=Faults(clock_mhz=187.5))
    Accelerator(deploy, device=slow).close()


def test_two_boards_have_clocks_of_their_own(library, tmp_path):
    decks = [toy.write(tmp_path / str(clock), clock_mhz=clock) for clock in (250, 300)]
    first, second = (Accelerator(deploy, device=SimulatedBoard(library, deploy)) for deploy in decks)
    with first, second:
        clocks = [a._board.clock_mhz() for a in (first, second, first)]
        assert clocks == pytest.approx([250, 300, 250], rel=1e-4)


# Memory


def meminfo(folder, free, total=131072):
    path = folder / "meminfo"
    path.write_text(f"MemTotal: 2000000 kB\nCmaTotal:       {total} kB\nCmaFree:        {free} kB\nHugePages: 0\n")
    return path


def test_too_little_contiguous_memory_is_said_before_anything_is_loaded(library, tmp_path):
    deploy = toy.write(tmp_path / "large", fmap_words=2**23)
    board = SimulatedBoard(library, deploy, meminfo=meminfo(tmp_path, 65536))
    match = "takes 128.0 MB of contiguous memory, and 64 of 128 MB are free; .* kernel argument cma=209M"
    refused(board, deploy, match)
    assert board.loads == board.allocations == 0


def test_enough_memory_or_none_that_is_told_is_not_refused(library, deploy, tmp_path):
    for path in (meminfo(tmp_path, 12), tmp_path / "none", None):
        Accelerator(deploy, device=SimulatedBoard(library, deploy, meminfo=path)).close()
    board = SimulatedBoard(library, deploy, meminfo=meminfo(tmp_path, 11))
    refused(board, deploy, "takes 0.0 MB")  # three pages are 12 kB


def test_memory_that_others_took_meanwhile_is_told_as_well(library, deploy, tmp_path):
    board = SimulatedBoard(library, deploy, meminfo=meminfo(tmp_path, 12))
    with Accelerator(deploy, device=board) as accelerator:
        meminfo(tmp_path, 0)
        with pytest.raises(BfpError, match="network toy takes .* 0 of 128 MB are free; .* kernel argument cma="):
            accelerator._board.allocate(6)
        assert len(board._memories) == 3
