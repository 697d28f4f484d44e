"""Loops: counted, bounded, and unrolled where a pipeline lies around them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from clang.cindex import Cursor, CursorKind

from codegen.lint.expressions import (
    binary_operator,
    bound,
    has_constant_bound,
    integer_value,
    lies_in,
    parts,
    unary_operator,
    variables,
    written,
)
from codegen.lint.kernel import Finding, Kernel, Scope, at, at_pragma
from codegen.lint.tree import children_of, walk

K = CursorKind


def bounded_loops(kernel: Kernel) -> Iterator[Finding]:
    """Every loop counts towards a bound that does not change while it runs."""
    for c in kernel.cursors:
        if c.kind in (K.GOTO_STMT, K.INDIRECT_GOTO_STMT):
            yield at(c, "bounded_loops", "goto makes a loop without a bound; write a for loop")
    for loop in kernel.loops:
        reason = _unbounded(loop)
        if reason:
            yield at(loop.cursor, "bounded_loops", reason)


def _unbounded(loop: Scope) -> str | None:
    if loop.cursor.kind != K.FOR_STMT:
        return "this loop has no counter; write for (int32_t i = 0; i < bound; ++i)"
    found, limit = parts(loop), bound(loop)
    if found is None:
        return "this loop must declare one counter, compare it and step it; write for (int32_t i = 0; i < bound; ++i)"
    counter, _, condition, step = found
    if limit is None:
        return f"the condition must compare the counter {counter.spelling} with a bound by <, <=, > or >="
    if any(c.kind == K.CALL_EXPR for c in walk(limit)):
        return f"the bound of {counter.spelling} is a call, made again in each iteration; compute it before the loop"
    changed = written(loop.body)
    if any(v == counter for v in changed):
        return f"the counter {counter.spelling} is changed within the loop; count in the loop's head only"
    moving = next((v for v in variables(limit) if any(v == w for w in changed)), None)
    if moving is not None:
        return f"the bound {moving.spelling} is changed within the loop; copy it before the loop"
    up = _direction(step, counter)
    if up is None:
        return f"the step of {counter.spelling} must be ++, --, += or -= of a constant, or = bounded<MOST>({counter.spelling} + 1)"
    if up != binary_operator(condition).startswith("<"):
        return f"the counter {counter.spelling} is stepped away from its bound; turn the comparison or the step round"
    return None


def _direction(step: Cursor, counter: Cursor) -> bool | None:
    """True for a step upwards, False for one downwards, None for any other."""
    children = children_of(step)
    if not children or not lies_in(children[0], counter):
        return None
    if step.kind == K.BINARY_OPERATOR and binary_operator(step) == "=":
        # no wider than its bound needs (hls/bounded.hpp), by one
        return True if re.fullmatch(r"(\w+)=bounded<[^;]+>\(\1\+1\)", text(step)) else None
    if step.kind == K.UNARY_OPERATOR:
        return {"++": True, "--": False}.get(unary_operator(step))
    constants = all(v.type.is_const_qualified() or v.kind != K.VAR_DECL for v in variables(children[-1]))
    value = integer_value(children[-1])
    if step.kind == K.COMPOUND_ASSIGNMENT_OPERATOR and constants and (value is None or value > 0):
        return {"+=": True, "-=": False}.get(binary_operator(step))
    return None


def text(cursor: Cursor) -> str:
    """The source of an expression, without blanks."""
    return "".join(token.spelling for token in cursor.get_tokens())


def tripcounts(kernel: Kernel) -> Iterator[Finding]:
    """Without a trip count the vendor's report has no cycles for a loop with a run-time bound; others need none."""
    for loop in kernel.loops:
        if has_constant_bound(loop, kernel) and loop.pragma("LOOP_TRIPCOUNT"):
            sentence = "the number of iterations is constant; leave LOOP_TRIPCOUNT out, which could say another"
            yield at_pragma(loop.pragma("LOOP_TRIPCOUNT"), "tripcounts", sentence)
        if bound(loop) is not None and not has_constant_bound(loop, kernel) and not loop.pragma("LOOP_TRIPCOUNT"):
            sentence = "the bound is known only when it runs; add #pragma HLS LOOP_TRIPCOUNT min=.. max=.."
            yield at(loop.cursor, "tripcounts", sentence)


def pipelines(kernel: Kernel) -> Iterator[Finding]:
    """A PIPELINE unrolls every loop below it, in called functions, too; so they must say so."""
    for scope in kernel.scopes:
        pragma = scope.pragma("PIPELINE")
        if pragma is None or pragma.has("off"):
            continue
        inside = [s for s in kernel.loops if _within(s, scope)]
        for function in kernel.reachable(scope):
            inside += [s for s in kernel.loops if s.function is function]
        for loop in inside:
            unroll = loop.pragma("UNROLL")
            if unroll and unroll.get("factor") is None and has_constant_bound(loop, kernel):
                continue
            where = f"{loop.cursor.location.file.name}:{loop.cursor.location.line}"
            sentence = f"the loop at {where} lies below this PIPELINE and is not one of constant bounds with UNROLL and no factor"
            yield at_pragma(pragma, "pipelines", sentence)


def unrolls(kernel: Kernel) -> Iterator[Finding]:
    """UNROLL of a loop whose bound is not constant, without a factor, does nothing."""
    for loop in kernel.loops:
        pragma = loop.pragma("UNROLL")
        if pragma and pragma.get("factor") is None and not has_constant_bound(loop, kernel):
            yield at_pragma(
                pragma, "unrolls", "the loop's bounds are not constant, so it cannot be unrolled; add a factor"
            )


def _within(inner: Scope, outer: Scope) -> bool:
    scope = inner.parent
    while scope is not None:
        if scope is outer:
            return True
        scope = scope.parent
    return False
