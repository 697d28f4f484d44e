"""Operators that hardware has no cheap form of."""

from __future__ import annotations

from collections.abc import Iterator

from clang.cindex import Cursor, CursorKind

from codegen.lint.expressions import binary_operator, division_operator, factors, integer_value, is_constant
from codegen.lint.kernel import Finding, Kernel, Scope, at

K = CursorKind

def run_time_division(kernel: Kernel) -> Iterator[Finding]:
    """A division that is left to the hardware takes a divider of some 36 cycles, or a wide multiplier."""
    for function in kernel.functions.values():
        for c in function.body.walk_preorder():
            operator = division_operator(c)
            if not operator:
                continue
            _, divisor = c.get_children()
            if is_constant(c, kernel) or _power_of_two(divisor, kernel):
                continue
            sentence = f"{operator} is computed when it runs, by something that is no power of two; count instead"
            yield at(c, "run_time_division", f"{sentence}, or let code generation compute it")


def _power_of_two(divisor: Cursor, kernel: Kernel) -> bool:
    value = integer_value(divisor) if is_constant(divisor, kernel) else None
    return value is not None and value > 0 and value & (value - 1) == 0


def balanced_chains(kernel: Kernel) -> Iterator[Finding]:
    """Sums of products that are unrolled are chains of DSPs; the compiler makes trees of them, unless told not to.

    It must be told in the function that stays a block of its own, into which the one with the chain is inlined.
    """
    for function in kernel.functions.values():
        if any(_adds_product(c, kernel) for s in kernel.loops if s.function is function for c in _unrolled(s)):
            for scope in _built_into(function, kernel):
                pragma = scope.pragma("EXPRESSION_BALANCE")
                if pragma is None or not pragma.has("off"):
                    sentence = f"{scope.cursor.spelling} has a chain of products, of which the compiler makes a tree"
                    sentence += "; add #pragma HLS EXPRESSION_BALANCE off"
                    yield at(scope.cursor, "balanced_chains", sentence)


def _unrolled(loop: Scope) -> list[Cursor]:
    return list(loop.body.walk_preorder()) if loop.pragma("UNROLL") else []


def _adds_product(c: Cursor, kernel: Kernel) -> bool:
    """Whether a statement adds a product of two values that are known only when it runs."""
    if c.kind != K.COMPOUND_ASSIGNMENT_OPERATOR or binary_operator(c) != "+=":
        return False
    found = factors(list(c.get_children())[1])
    return found is not None and not any(is_constant(side, kernel) for side in found)


def _built_into(function: Scope, kernel: Kernel) -> list[Scope]:
    """The functions that stay blocks of their own, of which a function becomes a part; itself, if it is one."""
    found: list[Scope] = []
    todo, seen = [function], [function]
    while todo:
        callee = todo.pop()
        inline = callee.pragma("INLINE")
        if inline is None or inline.has("off"):
            found.append(callee)
            continue
        callers = kernel.callers(callee)
        todo += [f for f in callers if f not in seen]
        seen += callers
    return found
