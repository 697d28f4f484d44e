"""From a PyTorch module to the engine's graph.

torch.export traces the module; its ATen operators become graph nodes one by
one (calib.frontend.aten); passes then fold and fuse (calib.frontend.passes). What the
engine cannot compute is refused here, by name.
"""

from __future__ import annotations

import torch
from torch.export.graph_signature import OutputKind
from torch.fx import Node as FxNode

from bfp.errors import BfpError
from calib.frontend.builder import Draft
from calib.frontend.decoding import Constants
from calib.network.float_network import FloatNetwork
from calib.frontend import host_tail
from calib.frontend.aten import translate
from calib.frontend.frames import frames_view
from calib.frontend.host_joins import end_of, finish_all, sources
from calib.frontend.inputs import InputShapes, by_name, map_shape
from calib.frontend.outputs import name_outputs, returned_values
from calib.frontend.passes import simplify
from calib.frontend.refusals import Refusal, Refusals
from calib.frontend.tracing import as_module, trace
from calib.frontend.translation import Translation, shape_of
from calib.frontend.views import View


def import_module(module: torch.nn.Module, input_shape: InputShapes, name: str) -> FloatNetwork:
    """Trace ``module`` for one image and return its graph and float weights.

    input_shape: (channels, height, width); (channels, length) of a sequence,
    which is a map of one row; or (channels, frames, height, width), whose map has the channels of all frames,
    frame after frame. Of several inputs, a mapping from their names,
    which are those of ``forward``, to such shapes, all of one size; the network
    has them in this order. name: the network's, for messages
    and the artifact. Batch norm is folded, activations, residual adds and
    padding are fused. The module is put into eval mode. Raises BfpError naming
    the layer, its module path and its type for whatever is not supported.
    """
    shapes = by_name(input_shape, name)
    module = as_module(module)
    if module is None:
        raise BfpError(f"network {name}: give a torch.nn.Module or a torch.export program")
    program, order = trace(module, shapes, name)
    try:
        return _imported(module, program, order, shapes, name, joins=False)
    except Refusals:
        # where the engine lacks something, more of a network's end may be the host's
        return _imported(module, program, order, shapes, name, joins=True)


def _imported(
    module: torch.nn.Module,
    program: torch.export.ExportedProgram,
    order: list[str],
    shapes: dict[str, tuple[int, ...]],
    name: str,
    joins: bool,
) -> FloatNetwork:
    """The network of a traced program. joins: whether the host puts together what is concatenated at its end."""
    signature = program.graph_signature
    state = {**program.state_dict, **program.constants}
    owners = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    draft = Draft(name, tuple(shapes), {t: map_shape(s) for t, s in shapes.items()})
    entries = iter(order)
    translation = Translation(draft, module)
    obstacles = _state(name, program)
    stored = {node: state[owners[node.name]] for node in program.graph.nodes if node.op == "placeholder" and node.name in owners}
    translation.constants.update(stored)
    known = Constants(translation, program.graph.nodes)
    results = returned_values(program, name)
    ends = [end_of(value, known, joins) for _, value in results]
    needed = _needed(program, [source for end in ends for source in sources(end)])
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in signature.user_inputs:  # others are objects, such as generators
            tensor = next(entries)
            shape = shapes[tensor]
            view = frames_view(tensor, shape[0], shape[1], shape[2:]) if len(shape) == 4 else View(tensor)
            translation.views[node] = view
        elif node.op == "call_function" and node in needed and not translation.depends_on_lost(node):
            try:
                translate(translation, node)
            except Refusal as obstacle:
                obstacles.append(obstacle)
                translation.assume(node)
    if obstacles:
        raise Refusals(name, obstacles)
    for source in (source for end in ends for source in sources(end)):
        _check_output(translation, source)
    finish_all(translation, ends)
    simplify(draft)
    check_inputs(draft)
    if len(results) > 1:
        name_outputs(draft, [place for place, _ in results])
    return draft.finish()


def check_inputs(draft: Draft) -> None:
    """Raise BfpError for an input that nothing reads that the network returns."""
    read = {t for node in draft.nodes for t in node.inputs}
    for tensor in draft.inputs:
        if tensor not in read:
            raise BfpError(f"network {draft.name}: nothing that it returns depends on its input {tensor}; leave it out")


def _state(name: str, program: torch.export.ExportedProgram) -> list[Refusal]:
    """What the network keeps between images: an obstacle for each of its buffers that it writes to, and that counts.

    A counter that no result depends on may be left as it is.
    """
    signature, (output,) = program.graph_signature, (n for n in program.graph.nodes if n.op == "output")
    specs = zip(output.args[0], signature.output_specs)
    results = [value for value, spec in specs if spec.kind == OutputKind.USER_OUTPUT and isinstance(value, FxNode)]
    read = {signature.inputs_to_buffers.get(node.name) for node in _needed(program, results)}
    changed = sorted(set(signature.buffers_to_mutate.values()) & read)
    reason = "writes to it while it runs; the engine keeps no state between images"
    return [Refusal(name, "aten.copy_", f"buffer {buffer}", reason) for buffer in changed]


def _needed(program: torch.export.ExportedProgram, sources: list[FxNode]) -> set[FxNode]:
    """The calls that the engine's part of the results depends on; sources: the values that it ends with."""
    found = set(sources)
    for node in reversed(program.graph.nodes):
        if node in found:
            found.update(node.all_input_nodes)
    return found


def _check_output(t: Translation, source: FxNode) -> None:
    """Refuse a result that is not computed from the image."""
    if source not in t.views:
        raise BfpError(
            f"network {t.draft.name} returns {source}, which does not depend on its input; "
            "return what the network computes from the image"
        )
    if host_tail.image_shape(source) is None:
        t.refuse(source, f"reshaping the result to {shape_of(source)} is not supported; the batch axis must stay")
