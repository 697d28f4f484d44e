"""From a PyTorch module to the engine's graph.

torch.export traces the module; its ATen operators become graph nodes one by
one (calib.frontend.aten); passes then fold and fuse (calib.frontend.passes). What the
engine cannot compute is refused here, by name.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

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
from calib.frontend.host_graph import finish_program, host_program
from calib.frontend.host_joins import end_of, finish_all, sources
from calib.frontend.host_values import NoHost
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
    job = _Job(module, program, tuple(order), shapes, name)
    try:
        return _on_both(job)
    except Refusals:
        # what ends a network the host computes more exactly than tables; in front of a layer there is no other way
        return _on_both(replace(job, tables=True))


@dataclass(frozen=True)
class _Job:
    """One import. program: of the module, and the names of its inputs, in its order; shapes: of each input by its name;
    tables: as of Translation."""

    module: torch.nn.Module
    program: torch.export.ExportedProgram
    order: tuple[str, ...]
    shapes: dict[str, tuple[int, ...]]
    name: str
    tables: bool = False

    def begun(self) -> tuple[Translation, Constants]:
        """A translation that knows what the program has stored, and its constants."""
        program, signature = self.program, self.program.graph_signature
        state = {**program.state_dict, **program.constants}
        owners = {
            **signature.inputs_to_parameters,
            **signature.inputs_to_buffers,
            **signature.inputs_to_lifted_tensor_constants,
        }
        draft = Draft(self.name, tuple(self.shapes), {t: map_shape(s) for t, s in self.shapes.items()})
        t = Translation(draft, self.module, self.tables)
        t.constants.update({n: state[owners[n.name]] for n in program.graph.nodes if n.op == "placeholder" and n.name in owners})
        return t, Constants(t, program.graph.nodes)


def _on_both(job: _Job) -> FloatNetwork:
    """The network on the engine; where that lacks something, as much of its end as it takes on the host."""
    try:
        return _imported(job, joins=False)
    except Refusals as refusals:
        return _with_host(job, refusals)


def _imported(job: _Job, joins: bool) -> FloatNetwork:
    """The network of a traced program. joins: whether the host puts together what is concatenated at its end."""
    translation, known = job.begun()
    results = returned_values(job.program, job.name)
    ends = [end_of(value, known, joins) for _, value in results]
    ending = [source for end in ends for source in sources(end)]
    computed = [source for source in ending if known.depends(source)]
    _translate(job, translation, computed)
    if computed and len(computed) < len(ending):
        raise Refusals(job.name, ())  # the host returns what is constant
    for source in ending:
        _check_output(translation, source)
    finish_all(translation, ends)
    return _finished(translation.draft, [place for place, _ in results])


def _with_host(job: _Job, refusals: Refusals) -> FloatNetwork:
    """The network of a program of which the engine cannot compute all, where what it cannot is the host's. Raises the refusals."""
    if len(refusals.calls) < len(refusals.obstacles):
        raise refusals
    translation, known = job.begun()
    results = returned_values(job.program, job.name)
    values = [value for _, value in results]
    joined = [source for value in values for source in sources(end_of(value, known, joins=True))]
    if _needed(job.program, joined).isdisjoint(refusals.calls):
        try:
            return _imported(job, joins=True)
        except Refusals:
            pass  # what is put together is not all that the engine lacks
    try:
        program = host_program(list(job.program.graph.nodes), values, set(refusals.calls), known)
        _translate(job, translation, [v for v, made in program.values.items() if made.source is not None])
        finish_program(translation, program, values)
    except (NoHost, Refusal, Refusals):
        if refusals.obstacles:
            raise refusals from None
        raise BfpError(f"network {job.name} returns a constant that the host cannot hold; return only what it computes") from None
    return _finished(translation.draft, [place for place, _ in results])


def _translate(job: _Job, t: Translation, sources: list[FxNode]) -> None:
    """Add all calls to the draft that some values are computed from. Raises Refusals."""
    needed, entries = _needed(job.program, sources), iter(job.order)
    obstacles, calls = _state(job.name, job.program), []
    entered = job.program.graph_signature.user_inputs  # gathered anew whenever it is asked for
    for node in job.program.graph.nodes:
        if node.op == "placeholder" and node.name in entered:  # others are objects, such as generators
            tensor = next(entries)
            shape = job.shapes[tensor]
            t.views[node] = frames_view(tensor, shape[0], shape[1], shape[2:]) if len(shape) == 4 else View(tensor)
        elif node.op == "call_function" and node in needed and not t.depends_on_lost(node):
            try:
                translate(t, node)
            except Refusal as obstacle:
                obstacles.append(obstacle)
                calls.append(node)
                t.assume(node)
    if obstacles:
        raise Refusals(job.name, obstacles, calls)


def _finished(draft: Draft, places: list[str]) -> FloatNetwork:
    """The network of a draft that has its outputs. places: of what the module returns."""
    simplify(draft)
    check_inputs(draft)
    if len(places) > 1:
        name_outputs(draft, places)
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
        try:
            t.refuse(source, f"reshaping the result to {shape_of(source)} is not supported; the batch axis must stay")
        except Refusal as obstacle:
            raise Refusals(t.draft.name, [obstacle], [source]) from None
