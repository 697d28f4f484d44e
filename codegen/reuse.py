"""An existing bitstream, and whether what is generated now is what it was built for."""

from __future__ import annotations

import hashlib
from dataclasses import astuple, is_dataclass
from enum import Enum
from pathlib import Path

from bfp.deployment import Deployment, check_file, read_deployment
from bfp.errors import BfpError
from bfp.kernel import Kernel, KernelLayer
from bfp.names import COMMAND
from codegen.lowering.layer_fields import LayerFields
from codegen.lowering.schedule import EngineLayer, Program
from codegen.performance.board import Board

BUILD = f"build one with `{COMMAND} build-bitstream`"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _constants(fields: LayerFields) -> str:
    """All constants of a layer, of which its jobs are made."""
    groups = (astuple(value) if is_dataclass(value) else (value,) for value in vars(fields).values())
    return _digest(" ".join(str(v.value if isinstance(v, Enum) else int(v)) for group in groups for v in group))


def _shifts(program: Program, layer: EngineLayer) -> str:
    """A layer's rows of the tables of static shifts and limits, and of the table of its function."""
    rows = {name: [v.tolist() for owner, v in blocks if owner == layer.name] for name, blocks in program.tables.items()}
    table = layer.fields.epilogue.table
    function = program.lookups[table].values.tolist() if table >= 0 else []
    return _digest(repr((sorted(rows.items()), function)))


def kernel_of(program: Program) -> Kernel:
    """What a program's bitstream holds, layer by layer."""
    layers = (
        KernelLayer(x.name, x.fields.weights.has_align, _constants(x.fields), _shifts(program, x))
        for x in program.layers
    )
    return Kernel(program.align_bits, tuple(layers))


def lies_as(program: Program, kernel: Kernel) -> bool:
    """Whether a program's layers are those of a bitstream, but for their names, shifts and limits."""
    own, built = ([(x.aligned, x.constants) for x in one.layers] for one in (kernel_of(program), kernel))
    return own == built


def bitstream_in(folder: Path, board: Board) -> Deployment | None:
    """The deployment whose complete bitstream for this board and clock lies in a folder; None where there is none."""
    try:
        found = read_deployment(folder)
        if found.implementation is None or (found.board, found.clock_mhz) != (board.name, board.clock_mhz):
            return None
        for name in (found.bitfile, found.handoff):
            check_file(found, folder, name, BUILD)
    except BfpError:
        return None
    return found


def refusal(folder: Path, older: Deployment, reason: str) -> BfpError:
    """The refusal of what an existing bitstream was not built for. reason: a sentence without its full stop."""
    return BfpError(
        f"the bitstream in {folder} was not built for this: {reason}; keep exponents and engine as they were, or "
        "generate without keep_bitstream=1 and build another"
    )
