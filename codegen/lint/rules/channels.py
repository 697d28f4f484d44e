"""Streams of a dataflow region: both ends are built or none, whichever parts of the engine a network has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product

from clang.cindex import Cursor, CursorKind, TypeKind

from codegen.lint.expressions import initialiser, lies_in, logical_operator, parameters, unary_operator, unwrap
from codegen.lint.kernel import Finding, Kernel, Scope, at
from codegen.lint.rules.dataflow import handed_over, regions
from codegen.lint.tree import children_of, walk

K = CursorKind


@dataclass(frozen=True)
class Access:
    """A read() or write() of a stream in a process, below conditions that must be as they are for it to be built."""

    process: str
    what: str
    conditions: tuple[tuple[Cursor, bool], ...]


def channel_ends(kernel: Kernel) -> Iterator[Finding]:
    """A channel is written by one process and read by one, or not built at all, for every choice of the switches.

    Switches are the kernel's global constants of type bool. The compiler removes what they leave out, and refuses a
    channel of which one end is left.
    """
    switches = {c.spelling for c in kernel.globals if c.type.get_canonical().kind == TypeKind.BOOL}
    for region in regions(kernel):
        for channel in _streams(region):
            accesses = list(_accesses(channel, region, kernel))
            if not _one_each(accesses):
                continue  # the business of dataflow_channels
            names = sorted({name for a in accesses for c, _ in a.conditions for name in _names(c) & switches})
            for values in product((False, True), repeat=len(names)):
                chosen = dict(zip(names, values))
                built = [a for a in accesses if _built(a, chosen)]
                if built and not _one_each(built):
                    ends = {what: len({a.process for a in built if a.what == what}) for what in ("write", "read")}
                    setting = ", ".join(f"{name} {str(value).lower()}" for name, value in chosen.items())
                    sentence = f"channel {channel.spelling} has {ends['write']} producers and {ends['read']} consumers"
                    yield at(channel, "channel_ends", f"{sentence} with {setting}; build both ends or none")
                    break


def _one_each(accesses: list[Access]) -> bool:
    """Whether one process writes, and another reads."""
    writers, readers = ({a.process for a in accesses if a.what == what} for what in ("write", "read"))
    return len(writers) == 1 and len(readers) == 1 and writers != readers


def _streams(region: Scope) -> list[Cursor]:
    declared = [v for s in children_of(region.body) if s.kind == K.DECL_STMT for v in children_of(s)]
    return [v for v in declared if v.kind == K.VAR_DECL and "hls::stream<" in v.type.get_canonical().spelling]


def _accesses(channel: Cursor, region: Scope, kernel: Kernel) -> Iterator[Access]:
    """Of all processes of a region."""
    for _, callee, argument, parameter in handed_over(region, kernel):
        if lies_in(argument, channel):
            for what, conditions in _below(parameter, callee.body, (), kernel):
                yield Access(callee.cursor.spelling, what, conditions)


Conditions = tuple[tuple[Cursor, bool], ...]


def _below(stream: Cursor, cursor: Cursor, under: Conditions, kernel: Kernel) -> Iterator[tuple[str, Conditions]]:
    """("read" or "write", conditions) of every access to a stream below a cursor, in called functions, too."""
    for child, conditions in _branches(cursor, under):
        if child.kind == K.CALL_EXPR:
            own = children_of(child)
            if child.spelling in ("read", "write") and own and lies_in(own[0], stream):
                yield child.spelling, conditions
            callee = kernel.callee(child)
            for argument, parameter in zip(child.get_arguments(), parameters(callee.cursor) if callee else ()):
                if lies_in(argument, stream):
                    yield from _below(parameter, callee.body, conditions, kernel)
        yield from _below(stream, child, conditions, kernel)


def _branches(cursor: Cursor, under: Conditions) -> Iterable[tuple[Cursor, Conditions]]:
    """The children of a cursor, each with the conditions below which it stands."""
    children = children_of(cursor)
    if cursor.kind not in (K.IF_STMT, K.CONDITIONAL_OPERATOR) or len(children) < 2:
        return [(child, under) for child in children]
    condition, *ways = children
    return [(condition, under), *((way, (*under, (condition, n == 0))) for n, way in enumerate(ways))]


def _built(access: Access, switches: dict[str, bool]) -> bool:
    """Whether no condition of an access is known to be otherwise."""
    return all(_value(condition, switches) in (wanted, None) for condition, wanted in access.conditions)


def _value(condition: Cursor, switches: dict[str, bool]) -> bool | None:
    """Value of a condition with these switches, None where it is known only when it runs."""
    condition = unwrap(condition)
    operator = logical_operator(condition)
    if operator:
        values = [_value(c, switches) for c in children_of(condition)]
        decides = operator == "||"  # of which one value is enough
        return decides if decides in values else None if None in values else not decides
    if condition.kind == K.UNARY_OPERATOR and unary_operator(condition) == "!":
        value = _value(children_of(condition)[0], switches)
        return None if value is None else not value
    variable = condition.referenced if condition.kind == K.DECL_REF_EXPR else None
    if variable is None or variable.kind != K.VAR_DECL or not variable.type.is_const_qualified():
        return None
    if variable.spelling in switches:
        return switches[variable.spelling]
    value = initialiser(variable)
    return None if value is None else _value(value, switches)


def _names(condition: Cursor) -> set[str]:
    """Constants that a condition depends on, those of local constants included."""
    found: set[str] = set()
    for c in walk(condition):
        if c.kind == K.DECL_REF_EXPR and c.referenced is not None and c.referenced.kind == K.VAR_DECL:
            found.add(c.spelling)
            value = initialiser(c.referenced)
            if value is not None and c.referenced.type.is_const_qualified():
                found |= _names(value)
    return found
