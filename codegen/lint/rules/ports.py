"""Memories: in one cycle none is read or written more often than it has ports, and no copy of a table."""

from __future__ import annotations

import re
from collections.abc import Iterator

from clang.cindex import Cursor, CursorKind

from codegen.lint.expressions import binary_operator, root, unwrap, variables
from codegen.lint.kernel import Finding, Kernel, at
from codegen.lint.rules.layout import ARRAYS
from codegen.lint.rules.loops import text
from codegen.lint.tree import children_of, walk

K = CursorKind
PORTS = 2  # of a block RAM


def dual_ports(kernel: Kernel) -> Iterator[Finding]:
    """A memory that is bound to simple dual-port RAM has one port that reads and one that writes: a pipelined loop, whose
    iterations begin every cycle, may hold one access of each kind in its text.
    """
    bound = {p.get("variable") for p in kernel.pragmas if p.name == "BIND_STORAGE" and p.get("type") == "ram_2p"}
    for loop in kernel.loops:
        if not loop.pragma("PIPELINE"):
            continue
        cursors = walk(loop.body)
        assignments = [c for c in cursors if binary_operator(c) == "=" or _assigns_struct(c)]
        targets = {unwrap(children_of(c)[0]).hash for c in assignments}
        found: dict[tuple[str, str], list[Cursor]] = {}
        for c in cursors:
            if c.kind == K.ARRAY_SUBSCRIPT_EXPR and (memory := root(c)) is not None and memory.spelling in bound:
                found.setdefault((memory.spelling, "written" if c.hash in targets else "read"), []).append(c)
        for (name, what), accesses in found.items():
            if len(accesses) > 1:
                sentence = f"{name} is {what} {len(accesses)} times in a pipelined loop, and has one port for that"
                yield at(accesses[1], "dual_ports", f"{sentence}; choose the address, and access it once")


def _assigns_struct(cursor: Cursor) -> bool:
    """Whether a cursor is the assignment of a struct, which is a call."""
    return cursor.kind == K.CALL_EXPR and cursor.spelling == "operator="


def table_reads(kernel: Kernel) -> Iterator[Finding]:
    """What an unrolled loop reads of a table lies in as many copies, of which two iterations may share one."""
    tables = {g.hash: g for g in kernel.globals if g.type.get_canonical().kind in ARRAYS}
    partitioned = {
        (p.get("variable"), int(p.get("dim") or 0))
        for scope in kernel.scopes
        for p in scope.pragmas
        if p.name == "ARRAY_PARTITION" and p.has("complete")
    }
    inner: set[int] = set()  # of a subscript of several, those that are not the whole
    for function in kernel.functions.values():
        for c in walk(function.body):
            if c.kind != K.ARRAY_SUBSCRIPT_EXPR or c.hash in inner:
                continue
            table, indices = _taken_apart(c, inner)
            if table is None or table.hash not in tables:
                continue
            counters = {v.hash: v for index in indices for v in variables(index) if _unrolled(v, kernel)}
            for counter in counters.values():
                spread = [
                    _shares(text(index), counter.spelling)
                    for dim, index in enumerate(indices, 1)
                    if (table.spelling, dim) in partitioned or (table.spelling, 0) in partitioned
                ]
                if not any(0 < share <= PORTS for share in spread):
                    sentence = f"each iteration over {counter.spelling} reads {table.spelling} in the same cycle, which has {PORTS} ports"
                    yield at(c, "table_reads", f"{sentence}; partition it along {counter.spelling}, two of these a copy at most")


def _taken_apart(subscript: Cursor, inner: set[int]) -> tuple[Cursor | None, list[Cursor]]:
    """The variable of a subscript, and its indices, that of the outermost array first."""
    indices: list[Cursor] = []
    base = subscript
    while base.kind == K.ARRAY_SUBSCRIPT_EXPR:
        inner.add(base.hash)
        array, index = (unwrap(child) for child in children_of(base))
        indices.insert(0, index)
        base = array
    return (base.referenced if base.kind == K.DECL_REF_EXPR else None), indices


def _unrolled(variable: Cursor, kernel: Kernel) -> bool:
    loop = kernel.counters.get(variable.hash)
    return loop is not None and loop.pragma("UNROLL") is not None


def _shares(index: str, counter: str) -> int:
    """How many iterations that follow each other have one value of an index; 0 where that is not to be seen."""
    found = re.fullmatch(rf"{re.escape(counter)}(?:/(\d+))?", index)
    return int(found[1] or 1) if found else 0
