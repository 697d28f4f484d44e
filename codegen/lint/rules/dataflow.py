"""DATAFLOW regions: declarations and calls only, one producer and one consumer per channel."""

from __future__ import annotations

from collections.abc import Iterator

from clang.cindex import Cursor, CursorKind, Type, TypeKind

from codegen.lint.expressions import initialiser, is_constant, lies_in, modifies, parameters, root, unwrap, variables
from codegen.lint.kernel import Finding, Kernel, Scope, at
from codegen.lint.tree import children_of, walk

K = CursorKind
ARRAYS = (TypeKind.CONSTANTARRAY, TypeKind.INCOMPLETEARRAY, TypeKind.DEPENDENTSIZEDARRAY)


def regions(kernel: Kernel) -> list[Scope]:
    return [s for s in kernel.scopes if s.pragma("DATAFLOW")]


def dataflow_statements(kernel: Kernel) -> Iterator[Finding]:
    """Anything but declarations and calls makes the compiler build the region in sequence, or wrongly."""
    for region in regions(kernel):
        for statement in children_of(region.body):
            if statement.kind == K.NULL_STMT:
                continue
            if statement.kind == K.DECL_STMT:
                for variable in children_of(statement):
                    if _computed(variable, kernel):
                        sentence = f"{variable.spelling} is computed in a dataflow region; move that into a process"
                        yield at(variable, "dataflow_statements", sentence)
                continue
            call = unwrap(statement)
            if call.kind != K.CALL_EXPR or kernel.callee(call) is None:
                yield at(
                    statement, "dataflow_statements", "a dataflow region holds only declarations and calls of processes"
                )
            elif call.type.get_canonical().kind != TypeKind.VOID:
                sentence = f"process {call.spelling} returns a value; hand it on by a stream or a reference"
                yield at(statement, "dataflow_statements", sentence)
            elif any(c.kind == K.CALL_EXPR for a in call.get_arguments() for c in _below(a)):
                sentence = f"an argument of process {call.spelling} is computed by a call; move that into the process"
                yield at(statement, "dataflow_statements", sentence)


def _below(cursor: Cursor) -> list[Cursor]:
    """Cursors of an expression, less the copies of objects that are passed by value."""
    return [c for c in walk(cursor) if not (c.kind == K.CALL_EXPR and len(children_of(c)) == 1)]


def _computed(variable: Cursor, kernel: Kernel) -> bool:
    value = initialiser(variable)
    if variable.kind != K.VAR_DECL or value is None:
        return False
    if value.kind == K.CALL_EXPR:  # a default constructor
        return bool(list(value.get_arguments()))
    # the sizes of an array are among the children of its declaration
    return variable.type.get_canonical().kind not in ARRAYS and not is_constant(value, kernel)


def dataflow_channels(kernel: Kernel) -> Iterator[Finding]:
    """Each channel: written by one process, then read by one; what comes from outside: used by one."""
    for region in regions(kernel):
        local = [v for s in children_of(region.body) if s.kind == K.DECL_STMT for v in children_of(s)]
        uses = _uses(region, kernel)
        for channel in local:
            mine = [(process, access) for process, variable, access in uses if variable == channel]
            reason = _broken(mine)
            if reason and channel.kind == K.VAR_DECL and not channel.type.is_const_qualified():
                yield at(channel, "dataflow_channels", f"channel {channel.spelling} {reason}")
        seen: list[Cursor] = []
        for process, variable, access in uses:
            if any(variable == v for v in local) or access == "scalar":
                continue
            if any(variable == v for v in seen):
                sentence = (
                    f"{variable.spelling} is used by process {process.spelling} and by another; give it to one only"
                )
                yield at(process, "dataflow_channels", sentence)
            seen.append(variable)


def stable_jobs(kernel: Kernel) -> Iterator[Finding]:
    """A struct that several processes of a region read is a queue for each of its members to each of them, unless it
    is declared not to change meanwhile.
    """
    for region in regions(kernel):
        stable = {p.get("variable") for p in region.pragmas if p.name == "STABLE"}
        readers: dict[str, int] = {}
        for _, variable, access in _uses(region, kernel):
            if access == "scalar" and variable.kind == K.PARM_DECL and _is_struct(variable):
                readers[variable.spelling] = readers.get(variable.spelling, 0) + 1
        for name, count in readers.items():
            if count > 1 and name not in stable:
                sentence = f"{name} is a struct that {count} processes read; add #pragma HLS STABLE variable={name}"
                yield at(region.cursor, "stable_jobs", sentence)


def _is_struct(variable: Cursor) -> bool:
    kind = variable.type.get_canonical()
    bare = kind.get_pointee() if kind.kind == TypeKind.LVALUEREFERENCE else kind
    return bare.get_canonical().kind == TypeKind.RECORD


def _broken(uses: list[tuple[Cursor, str]]) -> str | None:
    writers = [i for i, (_, access) in enumerate(uses) if access == "writes"]
    readers = [i for i, (_, access) in enumerate(uses) if access in ("reads", "scalar")]
    both = [p.spelling for p, access in uses if access == "both"]
    if both:
        return f"is read and written by process {both[0]}; split the process or the channel"
    names = " and ".join(uses[i][0].spelling for i in writers)
    if len(writers) != 1:
        return f"has {len(writers)} producers ({names}); it needs exactly one" if writers else "has no producer"
    if len(readers) != 1:
        return f"has {len(readers)} consumers; it needs exactly one"
    if readers[0] < writers[0]:
        return f"is read by {uses[readers[0]][0].spelling} before {names} writes it; turn the calls round"
    return None


def handed_over(region: Scope, kernel: Kernel) -> Iterator[tuple[Cursor, Scope, Cursor, Cursor]]:
    """(process, what it calls, argument, parameter) of every argument of every process, in source order."""
    for statement in children_of(region.body):
        call = unwrap(statement)
        callee = kernel.callee(call) if call.kind == K.CALL_EXPR else None
        if callee is not None:
            for argument, parameter in zip(call.get_arguments(), parameters(callee.cursor)):
                yield call, callee, argument, parameter


def _uses(region: Scope, kernel: Kernel) -> list[tuple[Cursor, Cursor, str]]:
    """(process, variable, access) of every argument of every process, in source order."""
    found = []
    for call, callee, argument, parameter in handed_over(region, kernel):
        variable = root(argument)
        if variable is not None and variable.kind in (K.VAR_DECL, K.PARM_DECL):
            found.append((call, variable, _access(parameter, callee, kernel)))
        else:
            found += [(call, v, "scalar") for v in variables(argument) if v.kind == K.VAR_DECL]
    return found


def _access(parameter: Cursor, function: Scope, kernel: Kernel) -> str:
    """ "reads", "writes", "both", or "scalar" for what is copied to every process that wants it."""
    kind = parameter.type.get_canonical()
    bare = kind.get_pointee() if kind.kind == TypeKind.LVALUEREFERENCE else kind
    if "hls::stream<" in bare.get_canonical().spelling:
        accesses = _stream_accesses(parameter, function, kernel, 8)
        return "both" if len(accesses) == 2 else next(iter(accesses), "both")
    if modifies(kind):
        return "writes"
    if kind.kind in (TypeKind.POINTER, *ARRAYS) or holds_array(bare):
        return "reads"
    return "scalar"


def _stream_accesses(parameter: Cursor, function: Scope, kernel: Kernel, depth: int) -> set[str]:
    """What a function does with a stream, itself or in what it calls."""
    accesses: set[str] = set()
    for c in walk(function.body):
        if c.kind != K.CALL_EXPR:
            continue
        children = children_of(c)
        if c.spelling in ("read", "write") and children and lies_in(children[0], parameter):
            accesses.add("reads" if c.spelling == "read" else "writes")
        callee = kernel.callee(c)
        if callee is not None and depth:
            for argument, inner in zip(c.get_arguments(), parameters(callee.cursor)):
                if lies_in(argument, parameter):
                    accesses |= _stream_accesses(inner, callee, kernel, depth - 1)
    return accesses


def holds_array(kind: Type) -> bool:
    """Whether a type is an array or a struct with one, at any depth."""
    kind = kind.get_canonical()
    if kind.kind in ARRAYS:
        return True
    if kind.kind != TypeKind.RECORD:
        return False
    return any(holds_array(f.type) for f in kind.get_fields())
