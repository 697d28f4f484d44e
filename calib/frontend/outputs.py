"""What a module returns: one value or several, each with a name of its own, in tuples, lists and dicts however deep."""

from __future__ import annotations

import re
from dataclasses import replace

import torch
from torch.export.graph_signature import OutputKind
from torch.fx import Node as FxNode
from torch.utils import _pytree

from bfp.errors import BfpError
from bfp.limits import MAX_ENDS
from calib.frontend.builder import Draft

MOST_NAME = 100  # characters of an output's name


def returned_values(program: torch.export.ExportedProgram, network: str) -> list[tuple[str, FxNode]]:
    """The values that a module returns, each behind its place in what it returns; numbers and None beside them say nothing.

    A place is the keys of the dicts around a value with dots between (``boxes``, ``head.scores``), and the numbers of
    tuples where two values have the same keys or none. Raises BfpError where there is none, or where there are too many.
    """
    # an input that is changed in place is listed among the results as well
    kinds = [spec.kind for spec in program.graph_signature.output_specs]
    (output,) = (n for n in program.graph.nodes if n.op == "output")
    values = [r for r, kind in zip(output.args[0], kinds) if kind == OutputKind.USER_OUTPUT]
    paths = [(path, r) for path, r in zip(_paths(program, len(values)), values) if isinstance(r, FxNode)]
    keys = [".".join(str(k) for k in path if not isinstance(k, int)) for path, _ in paths]
    places = [k if k and keys.count(k) == 1 else ".".join(map(str, path)) for k, (path, _) in zip(keys, paths)]
    found = [(place, value) for place, (_, value) in zip(places, paths)]
    if not 0 < len(found) <= MAX_ENDS:
        raise BfpError(f"network {network} returns {len(found)} values; give a module that returns 1 to {MAX_ENDS}")
    return found


def _paths(program: torch.export.ExportedProgram, count: int) -> list[list]:
    """The path to each returned value, indices and keys; numbers where the program does not say what they are parts of."""
    spec = program.call_spec.out_spec
    if spec is None or spec.num_leaves != count:
        return [[n] for n in range(count)]
    whole = _pytree.tree_unflatten(list(range(count)), spec)
    return [[_key(k) for k in path] for path, _ in _pytree.tree_flatten_with_path(whole)[0]]


def _key(entry: object) -> object:
    """What one entry of a path is called: an index, a dict's key or a field's name."""
    return next(getattr(entry, kind) for kind in ("key", "idx", "name") if hasattr(entry, kind))


def name_outputs(draft: Draft, places: list[str]) -> None:
    """Give each output's tensor, or what is joined, the name of its place; those that are parts of tuples alone keep their layer's name."""
    for number, place in zip(draft.results, places):
        if re.fullmatch(r"[0-9.]*", place):
            continue
        result = draft.result_name(number)
        name = re.sub(r"[^A-Za-z0-9_.-]", "_", place)[:MOST_NAME]
        name = name if re.match(r"[A-Za-z0-9_]", name) else f"_{name}"
        if name == result:
            continue
        if number >= 0:
            _rename(draft, result, draft.unique(name))
        else:
            joins = list(draft.joins)
            joins[~number] = replace(joins[~number], name=draft.unique(name))
            draft.joins = tuple(joins)


def _rename(draft: Draft, old: str, new: str) -> None:
    """Give a tensor of the draft another name."""

    def names(tensors: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(new if t == old else t for t in tensors)

    draft.shapes = {new if t == old else t: shape for t, shape in draft.shapes.items()}
    draft.nodes = [replace(n, inputs=names(n.inputs), output=names((n.output,))[0]) for n in draft.nodes]
    draft.outputs = names(draft.outputs)
