"""What is drawn around the engine in the block design: converters, reset, connections of the processing system.

A memory port of the engine meets the processing system's directly where both are as wide and speak AXI4; elsewhere a
converter stands between them. Published figures are in docs/performance.md, with sources.
"""

from __future__ import annotations

from bfp.errors import BfpError
from codegen.performance.board import Board
from codegen.performance.memories import PORTS
from codegen.performance.ranges import Part, Range, Resource

CONVERTER_LUTS = Range(454, 963, 2373)  # a SmartConnect with one port on each side
REGISTER_PATH_LUTS = Range(454, 963, 1291)  # from the processor's port to the engine's registers
RESET_LUTS = Range(17, 19, 40)
PROCESSOR_LUTS = Range(0, 264, 264)
AXI4_PORTS = {"zynq_ultra_ps_e": True, "processing_system7": False}  # whether memory ports speak it; the other has AXI3


def converters(board: Board, lanes: int) -> int:
    """How many stand between the engine's memory ports and the board's. Raises BfpError for an unknown processor."""
    if board.processing_system not in AXI4_PORTS:
        raise BfpError(
            f"processing_system {board.processing_system!r} of {board.name} is not known to the model of area; known "
            f"are {', '.join(AXI4_PORTS)}"
        )
    direct = AXI4_PORTS[board.processing_system] and board.memory_port_bits == 8 * lanes
    return 0 if direct else PORTS


def surrounding_parts(board: Board, lanes: int) -> list[Part]:
    """Everything around an engine whose memory words have so many lanes of a byte."""
    found = [
        ("converters of the memory ports", CONVERTER_LUTS.times(converters(board, lanes)),
         "442 to 963 for one of one port, 2373 for one of two; by version and widths"),
        ("path to the registers", REGISTER_PATH_LUTS,
         "as converters; most is a width and a protocol converter of 874 and 417"),
        ("reset", RESET_LUTS, "19 in a published build"),
        ("connections of the processing system", PROCESSOR_LUTS, "264 inverters or buffers, of which all may vanish"),
    ]  # fmt: skip
    return [Part(name, Resource.LUT, luts, reason, around=True) for name, luts, reason in found]
