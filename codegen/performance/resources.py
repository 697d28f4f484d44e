"""What an engine and its surroundings take of a board's chip, by the model; and whether that fits.

Parts are modelled in codegen/performance/{logic,memories,control,surroundings}.py, each with a range and its reason.
Nothing has been checked against synthesis of an engine.
"""

from __future__ import annotations

import math

from bfp.errors import BfpError
from codegen.features import Features, features
from codegen.lowering.schedule import Program
from codegen.lowering.step_tables import StepTables
from codegen.performance.board import Board
from codegen.performance.control import control_parts
from codegen.performance.logic import logic_parts
from codegen.performance.memories import memory_parts
from codegen.performance.ranges import Area, Part, Range, Resource
from codegen.performance.surroundings import surrounding_parts

LEAST_OF_ARRAY = 0.95  # of the DSPs that are written out
ADVICE = {
    Resource.DSP: "lower the engine options pixels or filters",
    Resource.BRAM36: "lower the engine options chip_words, weights_ahead, input_words, weight_steps or tile_blocks",
    Resource.LUT: "lower the engine options pixels or filters",
}


def dsp_parts(program: Program, use: Features) -> list[Part]:
    """DSPs of the array and of means."""
    a = program.array
    array = math.ceil(a.lanes * a.filters * a.pixels / a.products)
    # a sum by a reciprocal of 23 bits, in two parts
    means = a.lanes if use.scaled or use.input_mean else 0
    return [
        Part(
            "array", Resource.DSP, Range(math.floor(LEAST_OF_ARRAY * array), array, array),
            "written out product by product; synthesis moved 2 of 40 into logic in a published build",
        ),
        Part("means", Resource.DSP, Range(means, 2 * means, 2 * means), "one does where a sum is narrow"),
    ]  # fmt: skip


def area(program: Program, board: Board) -> Area:
    """Modelled DSP, BRAM36 and LUT of the engine and of what is drawn around it, by part."""
    use, tables = features(program), StepTables(program).built
    return Area(
        (
            *dsp_parts(program, use),
            *memory_parts(program, use, tables),
            *logic_parts(program, use),
            *control_parts(program, use, tables),
            *surrounding_parts(board, program.options.lanes),
        )
    )


class ChipTooSmall(BfpError):
    """The modelled engine takes more of a chip than there is; another engine may fit."""


def fits(program: Program, board: Board) -> bool:
    """Whether a program's engine likely fits the board."""
    built = area(program, board)
    return all(built.total(resource).likely <= getattr(board, resource.value) for resource in ADVICE)


def refuse_what_does_not_fit(program: Program, board: Board, built: Area | None = None) -> None:
    """Raise BfpError, with what to change, where a program likely exceeds the board: ChipTooSmall for its engine.

    built: its area, where that is known.
    """
    built, name = built or area(program, board), program.title
    for resource, advice in ADVICE.items():
        needed, there = built.total(resource).likely, getattr(board, resource.value)
        if needed > there:
            raise ChipTooSmall(
                f"the engine for {name} needs {needed} {resource.value} (modelled), {board.name} has {there}; {advice}"
            )
    size = (program.map_words + program.weight_words) * program.array.lanes / 2**20
    if size > board.memory_mb / 2:
        raise BfpError(
            f"weights and feature maps of {name} take {size:.0f} MB, {board.name} has {board.memory_mb} MB in all; use "
            "a smaller input or narrower weights"
        )


def warnings(built: Area, name: str, board: Board) -> list[str]:
    """At most one sentence: what of the chip may not be enough, at the high ends of the ranges."""
    short = [
        f"{built.total(resource).high} {resource.value} where {board.name} has {getattr(board, resource.value)}"
        for resource in ADVICE
        if built.total(resource).high > getattr(board, resource.value)
    ]
    if not short:
        return []
    advice = " or ".join(dict.fromkeys(a for r, a in ADVICE.items() if built.total(r).high > getattr(board, r.value)))
    return [
        f"the engine for {name} may need up to {' and '.join(short)} (modelled); should synthesis say so, {advice}"
    ]
