"""Which calls of a program the host computes, where the engine lacks some of them, and what becomes of these in the draft."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from torch.fx import Node as FxNode

from bfp.combinations import CONCAT, CONSTANT
from bfp.joined import result_names
from bfp.limits import MAX_ENDS
from calib.frontend.builder import Join
from calib.frontend.decoding import Constants
from calib.frontend.host_calls import CALLS, add_call
from calib.frontend.host_moves import MOVES
from calib.frontend.host_program import HostProgram, plain_name
from calib.frontend.host_tail import ordering, tail
from calib.frontend.host_values import HostValue, NoHost, reshaped, written
from calib.frontend.translation import Translation

# what the host computes as well in front of what is its own, more exactly than tables do, of one value and constants
BEFORE = frozenset(
    "sigmoid tanh exp log sqrt softmax _softmax log_softmax _log_softmax add sub rsub mul div neg pow square abs clamp clamp_min clamp_max "
    "hardtanh reciprocal linalg_vector_norm".split()
)
BEFORE_OF_TWO = frozenset("add sub mul div maximum minimum".split())  # the same of two values, where one is a function's
FUNCTIONS = frozenset("sigmoid tanh exp log sqrt softmax _softmax pow square".split())
# moves of no elements, and of all: what only renames them costs neither side anything
COPIES = frozenset("clone alias detach contiguous lift_fresh_copy positive _to_copy to type_as dropout".split())
JOINS = frozenset("cat concat concatenate stack".split())


def host_program(nodes: Sequence[FxNode], results: Sequence[FxNode], refused: set[FxNode], known: Constants) -> HostProgram:
    """What the host has to compute where the engine cannot compute some calls: these, and all that depends on them.

    nodes: the program's, in order. Raises NoHost where it has no way to do that, or where the engine would compute nothing.
    """
    needed = _needed(nodes, results)
    calls = [n for n in nodes if n.op == "call_function" and n in needed and known.depends(n)]
    core = _dependent(calls, refused)
    chosen = _in_front(calls, core, set(results), known)
    program = HostProgram(known)
    for node in calls:
        if node in chosen:
            add_call(program, node)
    sources = [v.source for r in results for v in _reached(program.value(r)) if v.source is not None]
    if all(source.op == "placeholder" for source in sources):
        raise NoHost("the engine would compute nothing")
    return program


def _needed(nodes: Sequence[FxNode], sources: Sequence[FxNode]) -> set[FxNode]:
    """The calls that some values are computed from, these included."""
    found = set(sources)
    for node in reversed(nodes):
        if node in found:
            found.update(node.all_input_nodes)
    return found


def _dependent(calls: Sequence[FxNode], refused: set[FxNode]) -> set[FxNode]:
    """Calls that were refused, and all that depend on them; of a call with several results, all or none."""
    core = set(refused)
    while True:
        before = len(core)
        for node in calls:
            if node in core or any(v in core for v in node.all_input_nodes):
                core.add(node)
                if plain_name(node) == "getitem":
                    core.add(node.args[0])
        if len(core) == before:
            return core


def _in_front(calls: Sequence[FxNode], core: set[FxNode], results: set[FxNode], known: Constants) -> set[FxNode]:
    """The host's calls, and those in front of them that it computes as well: moves, and functions that only it reads."""
    chosen, wanted = set(core), set(calls)
    for result in results:
        end = tail(result, known)
        chosen.update(step.fx for step in end.steps[end.first :])
    for node in reversed(calls):
        readers = [user in chosen for user in node.users if user in wanted]
        if node in chosen or not (any(readers) or node in results) or plain_name(node) not in (*CALLS, "getitem"):
            continue
        operands = node.args[:1] if plain_name(node).endswith("_as") else node.all_input_nodes  # of the others the shape alone counts
        images = [v for v in operands if known.depends(v)]
        if _costs_nothing(node) and len(images) == 1 or all(readers) and _is_hosts(node, images):
            chosen.add(node)
    # of a call with several results, the host computes all of which it reads one
    chosen.update(node.args[0] for node in calls if plain_name(node) == "getitem" and node in chosen)
    return chosen


def _costs_nothing(node: FxNode) -> bool:
    """Whether a call only brings elements of one value to other places."""
    name = plain_name(node.args[0]) if plain_name(node) == "getitem" else plain_name(node)
    return name in MOVES and name not in JOINS or name in COPIES


def _is_hosts(node: FxNode, images: Sequence[FxNode]) -> bool:
    """Whether a call is better computed by the host where only that reads it."""
    name = plain_name(node)
    if name in JOINS or name in BEFORE and len(images) == 1:
        return True
    return name in BEFORE_OF_TWO and any(_origin(v) in FUNCTIONS for v in images)


def _origin(value: FxNode) -> str:
    """The name of the call that computed the elements of a value."""
    while value.op == "call_function" and _costs_nothing(value):
        value = value.args[0]
    return plain_name(value) if value.op == "call_function" else ""


def _reached(value: HostValue) -> list[HostValue]:
    """A value and all that it is made of, each once."""
    found, waiting = {}, [value]
    while waiting:
        one = waiting.pop()
        if id(one) not in found:
            found[id(one)] = one
            waiting += one.parts
    return list(found.values())


class Emission:
    """Gives a draft the outputs and joins that values of the host are made of."""

    def __init__(self, t: Translation, results: Sequence[HostValue]) -> None:
        self.t, self.draft = t, t.draft
        values = {id(v): v for r in results for v in _reached(r)}
        self.uses = Counter(id(part) for v in values.values() for part in v.parts)
        self.uses.update(id(r) for r in results)
        self.leaves = {id(v): self._leaf(v) for v in values.values() if v.source is not None}
        self.tensors = Counter(tensor for tensor, _ in self.leaves.values())
        self.outputs: dict[str, int] = {}
        self.host: list[tuple[str, ...]] = []
        self.numbers: dict[object, int] = {}

    def _leaf(self, value: HostValue) -> tuple[str, tuple[str, ...]]:
        """The tensor that the engine ends with, and the steps from it to the value. Raises Refusal."""
        t, fx = self.t, value.source
        steps = ordering(t, fx, value.held) if t.view(fx, fx).index is not None else None
        if steps is not None:
            return t.view(fx, fx).tensor, steps
        return t.tensor(fx, fx), written("reshape", *value.held)

    def number(self, value: HostValue) -> int:
        """The number of the output or join that a value is, as Join counts them; it is made where it is not there yet."""
        if id(value) not in self.numbers:
            base, steps = value, ()
            while base.how == CONCAT and len(base.parts) == 1 and self.uses[id(base.parts[0])] == 1:
                base, steps = base.parts[0], base.steps + steps
            self.numbers[id(value)] = self._made(base, steps)
        return self.numbers[id(value)]

    def _made(self, base: HostValue, steps: tuple[str, ...]) -> int:
        if base.source is not None:
            tensor, before = self.leaves[id(base)]
            alone = self.tensors[tensor] == 1 and self.uses[id(base)] == 1
            output = self._output(tensor, tidy(before + steps) if alone else ())
            return output if alone else self._join((output,), CONCAT, 1, before + steps)
        if base.how == CONSTANT:
            return self._join((), CONSTANT, 1, written("reshape", *base.held) + steps, base.data)
        if base.how == CONCAT and len(base.parts) == 1:
            part = base.parts[0]
            return self._join((self.number(part),), CONCAT, 1, written("reshape", *part.held) + base.steps + steps)
        parts = tuple(self.number(part) for part in base.parts)
        return self._join(parts, base.how, base.axis, (base.steps or written("reshape", *base.held)) + steps)

    def _output(self, tensor: str, steps: tuple[str, ...]) -> int:
        if tensor not in self.outputs:
            self.outputs[tensor] = len(self.outputs)
            self.host.append(steps)
        return self.outputs[tensor]

    def _join(self, parts: tuple[int, ...], how: str, axis: int, steps: tuple[str, ...], data: str = "") -> int:
        key = parts, how, axis, tidy(steps), data
        if how == CONSTANT and key in self.numbers:
            return self.numbers[key]
        if len(self.draft.joins) >= MAX_ENDS or len(key[3]) > MAX_ENDS:
            raise NoHost(f"the host computes at most {MAX_ENDS} values of others")
        self.draft.joins = (*self.draft.joins, Join(self.draft.unique("joined"), parts, axis, key[3], how, data))
        self.numbers[key] = ~(len(self.draft.joins) - 1)
        return self.numbers[key]


def tidy(steps: tuple[str, ...]) -> tuple[str, ...]:
    """Steps without reshapes that the next one undoes."""
    behind = (*steps[1:], "")
    return tuple(s for s, after in zip(steps, behind) if not (s.startswith("reshape.") and after.startswith("reshape.")))


def _with_batch(value: HostValue) -> HostValue:
    """A result, whose first axis is the batch again where it has one index."""
    shape = value.shape[1:] if not value.batched and value.shape[:1] == (1,) and len(value.shape) > 1 else value.shape
    return reshaped(value, shape)


def finish_program(t: Translation, program: HostProgram, results: Sequence[FxNode]) -> None:
    """Give the draft its outputs, and all that the host makes of them. Raises Refusal and NoHost."""
    found = [_with_batch(program.value(r)) for r in results]
    emission = Emission(t, found)
    numbers = [emission.number(v) for v in found]
    draft = t.draft
    draft.outputs, draft.host = tuple(emission.outputs), tuple(emission.host)
    draft.results = tuple(numbers)
    parts = {part for join in draft.joins for part in join.parts}
    names = [draft.result_name(n) for n in numbers]
    if parts.isdisjoint(numbers) and len(set(numbers)) == len(numbers) and result_names(draft.outputs, draft.joined()) == names:
        return
    copies = []
    for value, number in zip(found, numbers):
        emission._join((number,), CONCAT, 1, written("reshape", *value.held))
        copies.append(~(len(draft.joins) - 1))
    draft.results = tuple(copies)

