"""Pragmas agree: with each other, with what they are about, and with where the compiler looks for them."""

from __future__ import annotations

from collections.abc import Iterator

from clang.cindex import Cursor, CursorKind, TypeKind

from codegen.lint.expressions import arithmetic_operator, initialiser, lies_in, modifies, parameters
from codegen.lint.kernel import Finding, Kernel, Scope, at_pragma
from codegen.lint.pragmas import KNOWN
from codegen.lint.rules.dataflow import handed_over
from codegen.lint.rules.pragmas import IS, pointee, resolve
from codegen.lint.tree import children_of, walk
from codegen.simulation.source_text import Pragma

K = CursorKind


def pragma_conflicts(kernel: Kernel) -> Iterator[Finding]:
    """Of two pragmas about the same thing in one place, the compiler takes one; which is not said."""
    for scope in kernel.scopes:
        seen: dict[tuple, Pragma] = {}
        for pragma in scope.pragmas:
            known = KNOWN.get(pragma.name)
            if known is None:
                continue
            first = seen.setdefault((pragma.name, *((o, pragma.get(o), pragma.has(o)) for o in known.about)), pragma)
            if first is not pragma:
                sentence = f"{pragma.name} of the same stands in line {first.line} already; leave one of them"
                yield at_pragma(pragma, "pragma_conflicts", sentence)
        pipeline, unroll = scope.pragma("PIPELINE"), scope.pragma("UNROLL")
        if pipeline and unroll:
            sentence = "a loop that is unrolled is no pipeline; leave PIPELINE or UNROLL"
            yield at_pragma(unroll, "pragma_conflicts", sentence)


def pragma_heads(kernel: Kernel) -> Iterator[Finding]:
    """What is said of a whole loop or function stands before its first statement, where it is looked for."""
    for scope in kernel.scopes:
        statements = [c for c in children_of(scope.body) if scope.body.kind == K.COMPOUND_STMT]
        asserted = (K.STATIC_ASSERT, K.DECL_STMT)  # an assertion is no statement that runs
        first = next((c for c in statements if not (c.kind in asserted and _only_asserts(c))), None)
        for pragma in scope.pragmas:
            known = KNOWN.get(pragma.name)
            if known is not None and known.head and first is not None and first.extent.start.line < pragma.line:
                sentence = f"{pragma.name} stands behind a statement; move it to the head of the loop or function"
                yield at_pragma(pragma, "pragma_heads", sentence)


def _only_asserts(statement: Cursor) -> bool:
    declared = children_of(statement)
    return statement.kind == K.STATIC_ASSERT or all(c.kind == K.STATIC_ASSERT for c in declared)


def bound_operations(kernel: Kernel) -> Iterator[Finding]:
    """BIND_OP is about an operation whose result a variable holds; without one it does nothing, and nothing is said."""
    for pragma, scope in kernel.owners.items():
        variable, operation = pragma.get("variable"), pragma.get("op")
        if pragma.name != "BIND_OP" or scope is None or not variable:
            continue
        target = resolve(variable, pragma, scope, kernel)
        if target is None or not IS["an integer"](pointee(target.type)):
            continue  # the business of pragma_scope, and of pragma_types
        if operation not in [arithmetic_operator(value) for value in _values(target, scope.function)]:
            sentence = f"{variable} holds the result of no {operation}; name the variable that does, or leave it out"
            yield at_pragma(pragma, "bound_operations", sentence)


def _values(variable: Cursor, function: Scope) -> Iterator[Cursor]:
    """Expressions that a variable starts from or is assigned."""
    start = initialiser(variable)
    if start is not None:
        yield start
    for c in walk(function.body):
        children = children_of(c)
        if c.kind == K.BINARY_OPERATOR and len(children) == 2 and lies_in(children[0], variable):
            yield children[1]
        elif c.kind == K.COMPOUND_ASSIGNMENT_OPERATOR and lies_in(children[0], variable):
            yield c


def stable_arguments(kernel: Kernel) -> Iterator[Finding]:
    """STABLE takes an argument of a dataflow region out of its synchronisation: nothing may write it meanwhile."""
    for pragma, scope in kernel.owners.items():
        variable = pragma.get("variable")
        if pragma.name != "STABLE" or scope is None or not variable:
            continue
        reason = _not_stable(variable, resolve(variable, pragma, scope, kernel), scope, kernel)
        if reason:
            yield at_pragma(pragma, "stable_arguments", reason)


def _not_stable(name: str, target: Cursor | None, scope: Scope, kernel: Kernel) -> str | None:
    if scope.pragma("DATAFLOW") is None:
        return f"{scope.function.cursor.spelling} is no dataflow region, so that STABLE says nothing; leave it out"
    if target is None:
        return None  # the business of pragma_scope
    if target not in parameters(scope.function.cursor):
        return f"{name} is no argument of the dataflow region; STABLE is for what comes from outside"
    if target.type.get_canonical().kind in (TypeKind.POINTER, TypeKind.INCOMPLETEARRAY, TypeKind.CONSTANTARRAY):
        return f"{name} is memory; STABLE is for scalars and structs of them, which come with the call"
    if target.type.get_canonical().kind == TypeKind.LVALUEREFERENCE and modifies(target.type):
        return f"{name} may be written by the dataflow region; pass it by value or as const"
    for process, _, argument, parameter in handed_over(scope, kernel):
        if lies_in(argument, target) and modifies(parameter.type):
            return f"{name} may be written by process {process.spelling}; what is stable is only read"
    return None
