"""A module of any form as an exported program: its ATen operators, in an order in which they can be computed."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import logging
import re
import sys
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch.utils import _pytree

from bfp.errors import BfpError
from calib.eval_mode import to_eval
from calib.frontend.aten import ALIASES, FRESH
from calib.frontend.in_place import without_scatters
from calib.frontend.inputs import arranged
from calib.frontend.taken_apart import apart
from calib.frontend.trace_advice import advice
from calib.frontend.translation import bind, operator_name


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
    try:
        with torch.no_grad(), silent():
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
            f"({type(error).__name__}: {reason}); {advice(module, f'{type(error).__name__}: {reason}', next(iter(ordered.values())))}"
        ) from None


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """While it lasts, nothing is logged or printed: when tracing fails, torch does so by the page, and users get a sentence."""
    level, logging.root.manager.disable = logging.root.manager.disable, logging.CRITICAL
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
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
        with plain_normalisation():
            program = _export_any_result(module, images)
    taken_apart = {node.target for node in program.graph.nodes if _is_short_for_others(program, node)}
    if taken_apart:
        known = torch.export.default_decompositions()
        program = program.run_decompositions({target: known[target] for target in taken_apart})
    # decompositions {} only functionalises; it takes longer than the export, and few modules need it
    nested = any(isinstance(node.target, torch._ops.HigherOrderOperator) for node in program.graph.nodes)
    if nested or _writes_shared_values(program.graph):
        program = program.run_decompositions({})
        without_scatters(program.graph)
    apart(program.graph)
    return program


def _is_short_for_others(program: torch.export.ExportedProgram, node: torch.fx.Node) -> bool:
    """Whether a call is of an operator that torch makes of others which are known here; a sum of products, of one image alone."""
    if node.target == torch.ops.aten.glu.default:
        return True
    if node.target not in (torch.ops.aten.einsum.default, torch.ops.aten.tensordot.default):
        return False
    images = set(program.graph_signature.user_inputs)
    return sum(_depends(operand, images) for operand in node.all_input_nodes) == 1


def _depends(node: torch.fx.Node, names: set[str]) -> bool:
    """Whether a node of one of these names is among those that a value is computed from."""
    waiting, seen = [node], set()
    while waiting:
        one = waiting.pop()
        if one.name in names:
            return True
        if one not in seen:
            seen.add(one)
            waiting += one.all_input_nodes
    return False


def _export_any_result(module: torch.nn.Module, images: tuple[torch.Tensor, ...]) -> torch.export.ExportedProgram:
    """The program of a module, dataclasses in what it returns included: torch takes them once they are made known to it."""
    try:
        return torch.export.export(module, images)
    except RuntimeError as error:
        if "in output, which is not a known type" not in str(error):
            raise
        found = set(_dataclasses(module(*images)))
        if not found:
            raise
    for kind in found:
        torch.export.register_dataclass(kind)
    return torch.export.export(module, images)


def _dataclasses(result: object) -> Iterator[type]:
    """The types of all dataclasses that torch does not know yet in a result, however deep."""
    if dataclasses.is_dataclass(result):
        if type(result) not in _pytree.SUPPORTED_NODES:
            yield type(result)
        result = vars(result)
    parts = result.values() if isinstance(result, dict) else result if isinstance(result, (tuple, list)) else ()
    for part in parts:
        yield from _dataclasses(part)


@contextlib.contextmanager
def plain_normalisation() -> Iterator[None]:
    """While it lasts, torchvision's normalisation of tensors checks its standard deviations as numbers, not as tensors.

    What a network does to its picture may be traced then; of a tensor's values a tracer takes no branch.
    """
    functions = sys.modules.get("torchvision.transforms._functional_tensor")
    if functions is None:
        yield
        return

    def normalise(tensor: torch.Tensor, mean: Sequence[float], std: Sequence[float], inplace: bool = False) -> torch.Tensor:
        if 0 in list(std):
            raise ValueError("std of 0")
        shift, scale = (torch.tensor(list(v), dtype=tensor.dtype, device=tensor.device).view(-1, 1, 1) for v in (mean, std))
        return (tensor - shift) / scale

    kept, functions.normalize = functions.normalize, normalise
    try:
        yield
    finally:
        functions.normalize = kept


def _writes_shared_values(graph: torch.fx.Graph) -> bool:
    """Whether an in-place operator may write to what another node reads, perhaps through a view.

    It cannot where its operand is newly computed, or a view of what is, and nothing else reads either: then it is the
    same as its functional form. Dropout that does nothing writes nothing.
    """
    for node in graph.nodes:
        if node.op == "call_function" and getattr(node.target, "_schema", None) and node.target._schema.is_mutable:
            idle = "dropout" in operator_name(node) and not bind(node)["train"]
            if not idle and not _fresh(node.args[0]):
                return True
    return False


def _fresh(value: object) -> bool:
    """Whether a value is newly computed, or a view of one, and nothing but one call reads it."""
    while isinstance(value, torch.fx.Node) and value.op == "call_function" and len(value.users) == 1:
        name = operator_name(value).rstrip("_")
        if name in FRESH:
            return True
        if name not in ALIASES:
            return False
        value = value.args[0]
    return False
