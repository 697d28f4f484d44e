"""From a PyTorch module to the engine's graph.

torch.export traces the module; its ATen operators become graph nodes one by
one (calib.frontend.aten); passes then fold and fuse (calib.frontend.passes). What the
engine cannot compute is refused here, by name.
"""

from __future__ import annotations

import torch
from torch.fx import Node as FxNode
from torch.export.graph_signature import OutputKind

from bfp.errors import BfpError
from bfp.graph import Node
from calib.frontend.builder import Draft
from calib.network.float_network import FloatNetwork
from calib.frontend import host_tail
from calib.frontend.aten import translate
from calib.frontend.host_tail import Step
from calib.frontend.passes import simplify
from calib.frontend.refusals import Refusal, Refusals
from calib.frontend.tracing import as_module, trace
from calib.frontend.translation import Translation, shape_of
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
    program = trace(module, input_shape, name)
    signature = program.graph_signature
    state = {**program.state_dict, **program.constants}
    owners = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    rows = (1,) if len(input_shape) == 2 else ()
    draft = Draft(name, "input", {"input": (input_shape[0], *rows, *input_shape[1:])})
    translation = Translation(draft, module)
    obstacles = _state(name, program)
    results = _results(program)
    steps = host_tail.tail(results[0]) if len(results) == 1 else []
    behind = host_tail.on_host(steps)
    needed = _needed(program, steps, behind)
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in owners:
            translation.constants[node] = state[owners[node.name]]
        elif node.op == "placeholder":
            translation.views[node] = View(draft.input)
        elif node.op == "call_function" and node in needed and not translation.depends_on_lost(node):
            try:
                translate(translation, node)
            except Refusal as obstacle:
                obstacles.append(obstacle)
                translation.assume(node)
    if obstacles:
        raise Refusals(name, obstacles)
    _check_output(translation, results, steps, behind)
    draft.output, draft.host = host_tail.finish(translation, results[0], steps)
    simplify(draft)
    if draft.output == draft.input:
        # the engine stores what a node computes, so an empty network is one copy
        draft.output = draft.unique("copy")
        draft.shapes[draft.output] = draft.shapes[draft.input]
        draft.nodes.append(Node(draft.output, "identity", (draft.input,), draft.output))
    return draft.finish()


def _state(name: str, program: torch.export.ExportedProgram) -> list[Refusal]:
    """What the network keeps between images: an obstacle for each of its buffers that it writes to."""
    changed = sorted(program.graph_signature.buffers_to_mutate.values())
    reason = "writes to it while it runs; the engine keeps no state between images"
    return [Refusal(name, "aten.copy_", f"buffer {buffer}", reason) for buffer in changed]


def _results(program: torch.export.ExportedProgram) -> list[FxNode]:
    """The values that the module returns; numbers and None beside them say nothing of the image."""
    # an input that is changed in place is listed among the results as well
    kinds = [spec.kind for spec in program.graph_signature.output_specs]
    (output,) = (n for n in program.graph.nodes if n.op == "output")
    values = [r for r, kind in zip(output.args[0], kinds) if kind == OutputKind.USER_OUTPUT]
    return [r for r in values if isinstance(r, FxNode)]


def _needed(program: torch.export.ExportedProgram, steps: list[Step], behind: set[FxNode]) -> set[FxNode]:
    """The calls that the engine's part of a result depends on; ``behind`` are those that the host computes."""
    host = [step for step in steps if step.fx in behind]
    found = {host[0].operand} if host else set(_results(program))
    for node in reversed(program.graph.nodes):
        if node in found:
            found.update(node.all_input_nodes)
    return found


def _check_output(t: Translation, results: list[FxNode], steps: list[Step], behind: set[FxNode]) -> None:
    """Refuse any other number of results than one, and one that is not computed from the image."""
    name = t.draft.name
    if len(results) != 1:
        names = ", ".join(str(r) for r in results)
        raise BfpError(f"network {name} returns {len(results)} values ({names}); give a module that returns one")
    last = next((step.operand for step in steps if step.fx in behind), results[0])
    if last not in t.views:
        raise BfpError(
            f"network {name} returns {last}, which does not depend on its input; "
            "return what the network computes from the image"
        )
    if host_tail.image_shape(last) is None:
        shape = shape_of(last)
        t.refuse(last, f"reshaping the result to {shape} is not supported; the batch axis must stay")
