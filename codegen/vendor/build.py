"""From generated sources to a bitstream, with the vendor's tools where they are installed: the steps in their order.

The steps are in codegen/vendor/hls.py (synthesis, co-simulation), implement.py (bitstream) and package.py (package); what
they may be asked for is in request.py. docs/vendor-flow.md says what is checked when.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bfp.errors import BfpError
from bfp.kernel import Implementation
from codegen.performance.board import Board
from codegen.vendor.hls import accept, cosimulate, cosimulation_is_current, synthesis_is_current, synthesise
from codegen.vendor.implement import check_tools, implement, show_implementation
from codegen.vendor.lock import held
from codegen.vendor.package import check_samples, has_bitstream, package_is_current, use_again
from codegen.vendor.request import FlowOptions, Request, open_request
from codegen.vendor.results import Cosim, Csynth, Modelled, read_results
from codegen.vendor.tools import find_hls


def csynth(folder: Path, board: Board, options: FlowOptions, model: Callable[[], Modelled]) -> Csynth | None:
    """Synthesise a generated network; None for a dry run.

    model: the project's own figures. Raises BfpError naming what is missing, the tool's first error, or what in the
    report stops the build.
    """
    request = open_request(folder, board, options)
    with held(request.vendor):
        result = synthesise(request, model)
        if result:
            accept(request, result)
        return result


def cosim(folder: Path, board: Board, options: FlowOptions, write_golden: Callable[[Path], None]) -> Cosim | None:
    """Co-simulate a generated network; None for a dry run. write_golden: see codegen/vendor/hls.py."""
    request = open_request(folder, board, options)
    with held(request.vendor):
        return cosimulate(request, write_golden)


def build_bitstream(
    folder: Path, board: Board, options: FlowOptions, model: Callable[[], Modelled]
) -> Implementation | None:
    """Synthesise, implement and package a generated network; None for a dry run.

    A bitstream of the same kernel, board and clock is used again: the package then gets what is new around it, and no
    tool has to be there. Raises BfpError before anything runs where a tool or file is missing, and afterwards with the
    tool's first error and its log.
    """
    request = open_request(folder, board, options)
    with held(request.vendor):
        return _bitstream(request, model)


def _bitstream(request: Request, model: Callable[[], Modelled]) -> Implementation | None:
    if request.options.dry_run:
        synthesise(request, model)
        show_implementation(request)
        return None
    if not request.options.minimal:
        check_samples(request.folder, request.deployment)
    current = synthesis_is_current(request)
    if current:
        accept(request, read_results(request.folder).csynth)
    if has_bitstream(request):
        return use_again(request)
    if not current:
        find_hls(request.options.tool)
    check_tools(request)
    synthesised = synthesise(request, model)
    accept(request, synthesised)
    return implement(request, synthesised)


def is_current(step: str, folder: Path, board: Board, options: FlowOptions) -> bool:
    """Whether csynth, cosim or bitstream has been done, and accepted, for exactly what the folder holds now."""
    try:
        request = open_request(folder, board, options)
        if step == "cosim":
            return cosimulation_is_current(request)
        synthesised = synthesis_is_current(request)
        if synthesised:
            accept(request, read_results(request.folder).csynth)
        return {"csynth": lambda _: synthesised, "bitstream": package_is_current}[step](request)
    except BfpError:
        return False  # the step itself says why
