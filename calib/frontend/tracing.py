"""A module of any form as an exported program: its ATen operators, in an order in which they can be computed."""

from __future__ import annotations

import contextlib
import io
import logging
import re
from collections.abc import Mapping

import torch

from bfp.errors import BfpError
from calib.eval_mode import to_eval
from calib.frontend.aten import FRESH
from calib.frontend.inputs import arranged
from calib.frontend.translation import operator_name


def as_module(value: object) -> torch.nn.Module | None:
    """A module in eval mode of what a callable returns: of a module or an exported program; None for anything else."""
    if isinstance(value, torch.export.ExportedProgram):
        return value.module()
    if not isinstance(value, torch.nn.Module):
        return None
    return to_eval(value)


def trace(
    module: torch.nn.Module, shapes: Mapping[str, tuple[int, ...]], name: str
) -> tuple[torch.export.ExportedProgram, tuple[str, ...]]:
    """ATen graph of the module, and the names of its inputs, in the order of the program's.

    Its in-place operators, if any, mean the same as their functional forms. shapes: of each input, by name.
    """
    ordered = arranged(module, shapes, name)
    example = next((p for p in module.parameters() if p.is_floating_point()), torch.zeros(()))
    images = [torch.zeros(1, *shape, dtype=example.dtype, device=example.device) for shape in ordered.values()]
    # when tracing fails, torch logs and prints pages of its own; the sentence below is for the user
    level, logging.root.manager.disable = logging.root.manager.disable, logging.CRITICAL
    try:
        with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            return _export(module, tuple(images)), tuple(ordered)
    except _NoScript as error:
        raise BfpError(
            f"network {name} is a TorchScript module that torch cannot export ({error}); give the module it was made from"
        ) from None
    except Exception as error:  # torch raises many types here, all mean that the module is not traceable
        reason = re.sub(r"\s+", " ", str(error).strip().split("\n")[0])[:200].rstrip(".")
        sizes = " and ".join(str(tuple(shape)) for shape in ordered.values())
        raise BfpError(
            f"network {name} cannot be traced with an input of shape {sizes} "
            f"({type(error).__name__}: {reason}); check the input size, and that forward has no control flow on data"
        ) from None
    finally:
        logging.root.manager.disable = level


class _NoScript(Exception):
    """A TorchScript module that torch does not bring into an exported program."""


def _from_script(module: torch.jit.ScriptModule, images: tuple[torch.Tensor, ...]) -> torch.export.ExportedProgram:
    """A traced or scripted module as an exported program. Raises _NoScript where this torch does not make one of it."""
    try:
        from torch._export.converter import TS2EPConverter

        return TS2EPConverter(module, images, {}).convert()
    except Exception as error:  # torch raises many types here
        raise _NoScript(re.sub(r"\s+", " ", str(error).strip().split("\n")[0])[:200].rstrip(".")) from None


def _export(module: torch.nn.Module, images: tuple[torch.Tensor, ...]) -> torch.export.ExportedProgram:
    if isinstance(module, torch.jit.ScriptModule):
        program = _from_script(module, images)
    else:
        program = torch.export.export(module, images)
    # decompositions {} only functionalises; it takes longer than the export, and few modules need it
    nested = any(isinstance(node.target, torch._ops.HigherOrderOperator) for node in program.graph.nodes)
    return program.run_decompositions({}) if nested or _writes_shared_values(program.graph) else program


def _writes_shared_values(graph: torch.fx.Graph) -> bool:
    """Whether an in-place operator may write to what another node reads, perhaps through a view.

    It cannot where its operand is newly computed and has no other reader: then it is the same as its
    functional form.
    """
    for node in graph.nodes:
        if node.op == "call_function" and getattr(node.target, "_schema", None) and node.target._schema.is_mutable:
            operand = node.args[0]
            fresh = operand.op == "call_function" and operator_name(operand).rstrip("_") in FRESH
            if not fresh or len(operand.users) != 1:
                return True
    return False
