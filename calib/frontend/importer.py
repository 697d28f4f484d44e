"""From a PyTorch module to the engine's graph.

torch.export traces the module; its ATen operators become graph nodes one by
one (calib.frontend.aten); passes then fold and fuse (calib.frontend.passes). What the
engine cannot compute is refused here, by name.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import logging
import re

import torch
from torch.export.graph_signature import OutputKind

from bfp.errors import BfpError
from bfp.graph import Node
from calib.frontend.builder import Draft
from calib.network.float_network import FloatNetwork
from calib.frontend.aten import FRESH, translate
from calib.frontend.passes import simplify
from calib.frontend.translation import Translation, operator_name, shape_of
from calib.frontend.views import View


def import_module(module: torch.nn.Module, input_shape: tuple[int, ...], name: str) -> FloatNetwork:
    """Trace ``module`` for one image and return its graph and float weights.

    input_shape: (channels, height, width), or (channels, length) of a sequence,
    which is a map of one row. name: the network's, for messages
    and the artifact. Batch norm is folded, activations, residual adds and
    padding are fused. The module is put into eval mode. Raises BfpError naming
    the layer, its module path and its type for whatever is not supported.
    """
    if len(input_shape) not in (2, 3) or any(not isinstance(n, int) or n < 1 for n in input_shape):
        wanted = "channels, height and width, or channels and length, all at least 1"
        raise BfpError(f"network {name}: input shape {input_shape} must be {wanted}")
    module = as_module(module)
    if module is None:
        raise BfpError(f"network {name}: give a torch.nn.Module or a torch.export program")
    program = _trace(module, input_shape, name)
    signature = program.graph_signature
    state = {**program.state_dict, **program.constants}
    owners = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    if signature.buffers_to_mutate:
        changed = ", ".join(sorted(signature.buffers_to_mutate.values()))
        raise BfpError(f"network {name} writes to {changed} while it runs; the engine keeps no state between images")
    rows = (1,) if len(input_shape) == 2 else ()
    draft = Draft(name, "input", {"input": (input_shape[0], *rows, *input_shape[1:])})
    translation = Translation(draft, module)
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in owners:
            translation.constants[node] = state[owners[node.name]]
        elif node.op == "placeholder":
            translation.views[node] = View(draft.input)
        elif node.op == "output":
            # an input that is changed in place is listed among the results as well
            kinds = [spec.kind for spec in signature.output_specs]
            values = [r for r, kind in zip(node.args[0], kinds) if kind == OutputKind.USER_OUTPUT]
            results = [r for r in values if isinstance(r, torch.fx.Node)]  # numbers and None say nothing of the image
            draft.output = _only_output(translation, results)
        else:
            translate(translation, node)
    simplify(draft)
    if draft.output == draft.input:
        # the engine stores what a node computes, so an empty network is one copy
        draft.output = draft.unique("copy")
        draft.shapes[draft.output] = draft.shapes[draft.input]
        draft.nodes.append(Node(draft.output, "identity", (draft.input,), draft.output))
    return draft.finish()


def as_module(value: object) -> torch.nn.Module | None:
    """A module in eval mode of what a callable returns: of a module or an exported program; None for anything else."""
    if isinstance(value, torch.export.ExportedProgram):
        return value.module()
    if not isinstance(value, torch.nn.Module):
        return None
    with contextlib.suppress(NotImplementedError):  # what torch has exported stays in the mode it was exported in
        value.eval()
    return value


def _trace(module: torch.nn.Module, input_shape: tuple[int, ...], name: str) -> torch.export.ExportedProgram:
    """ATen graph of the module; its in-place operators, if any, mean the same as their functional forms."""
    needed = _needed_inputs(module)
    if len(needed) > 1:
        raise BfpError(f"network {name} takes {len(needed)} inputs ({', '.join(needed)}); give a module that takes one")
    example = next((p for p in module.parameters() if p.is_floating_point()), torch.zeros(()))
    image = torch.zeros(1, *input_shape, dtype=example.dtype, device=example.device)
    # when tracing fails, torch logs and prints pages of its own; the sentence below is for the user
    level, logging.root.manager.disable = logging.root.manager.disable, logging.CRITICAL
    try:
        with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            return _export(module, image)
    except _NoScript as error:
        raise BfpError(
            f"network {name} is a TorchScript module that torch cannot export ({error}); give the module it was made from"
        ) from None
    except Exception as error:  # torch raises many types here, all mean that the module is not traceable
        reason = re.sub(r"\s+", " ", str(error).strip().split("\n")[0])[:200].rstrip(".")
        raise BfpError(
            f"network {name} cannot be traced with an input of shape {tuple(input_shape)} "
            f"({type(error).__name__}: {reason}); check the input size, and that forward has no control flow on data"
        ) from None
    finally:
        logging.root.manager.disable = level


class _NoScript(Exception):
    """A TorchScript module that torch does not bring into an exported program."""


def _needed_inputs(module: torch.nn.Module) -> list[str]:
    """Names of the inputs without a default that ``forward`` has."""
    if isinstance(module, torch.jit.ScriptModule):
        arguments = module.forward.schema.arguments[1:]
        return [a.name for a in arguments if not a.has_default_value()]
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = inspect.signature(module.forward).parameters.values()
    return [p.name for p in parameters if p.default is inspect.Parameter.empty and p.kind in kinds]


def _from_script(module: torch.jit.ScriptModule, image: torch.Tensor) -> torch.export.ExportedProgram:
    """A traced or scripted module as an exported program. Raises _NoScript where this torch does not make one of it."""
    try:
        from torch._export.converter import TS2EPConverter

        return TS2EPConverter(module, (image,), {}).convert()
    except Exception as error:  # torch raises many types here
        raise _NoScript(re.sub(r"\s+", " ", str(error).strip().split("\n")[0])[:200].rstrip(".")) from None


def _export(module: torch.nn.Module, image: torch.Tensor) -> torch.export.ExportedProgram:
    if isinstance(module, torch.jit.ScriptModule):
        program = _from_script(module, image)
    else:
        program = torch.export.export(module, (image,))
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


def _only_output(translation: Translation, results: list[object]) -> str:
    """The tensor that the module returns; refuses any other number of them."""
    if len(results) != 1:
        names = ", ".join(str(r) for r in results)
        raise BfpError(
            f"network {translation.draft.name} returns {len(results)} values ({names}); give a module that returns one"
        )
    if results[0] not in translation.views:
        raise BfpError(
            f"network {translation.draft.name} returns {results[0]}, which does not depend on its input; "
            "return what the network computes from the image"
        )
    if shape_of(results[0])[0] != 1:
        shape = shape_of(results[0])
        translation.refuse(results[0], f"reshaping the result to {shape} is not supported; the batch axis must stay")
    return translation.tensor(results[0], results[0])
