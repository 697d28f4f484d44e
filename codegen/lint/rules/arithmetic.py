"""Operators that hardware has no cheap form of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from clang.cindex import Cursor, CursorKind

from codegen.lint.expressions import (
    arithmetic_operator,
    below_casts,
    binary_operator,
    division_operator,
    factors,
    integer_value,
    is_constant,
)
from codegen.lint.kernel import Finding, Kernel, Scope, at
from codegen.lint.tree import children_of, walk

K = CursorKind
OPERATORS = (K.BINARY_OPERATOR, K.COMPOUND_ASSIGNMENT_OPERATOR)

# Products that are meant, by file and function: the array's, the means', and those of two maps; fits() asks the compiler alone. Any number.
MEANT = {
    ("depthwise.hpp", "operator()"),
    ("products.hpp", "fits"),
    ("products.hpp", "packed_products"),
    ("products.hpp", "single_products"),
    ("epilogue.hpp", "product_of"),
    ("rounding.hpp", "mean"),
}


def arithmetic(kernel: Kernel) -> Iterator[tuple[tuple[str, str], Cursor]]:
    """Every operator with the file and function that it stands in, initialisers and default arguments included.

    What stands outside any function, in a struct, has the function "".
    """
    inside: set[int] = set()
    for function in kernel.functions.values():
        name = function.cursor.spelling.split("<")[0]
        for c in walk(function.cursor):
            if c.kind in OPERATORS and c.hash not in inside:
                inside.add(c.hash)
                yield (Path(c.location.file.name).name, name), c
    for c in kernel.cursors:
        if c.kind in OPERATORS and c.hash not in inside:
            yield (Path(c.location.file.name).name, ""), c


def run_time_division(kernel: Kernel) -> Iterator[Finding]:
    """A division that is left to the hardware takes a divider of some 36 cycles, or a wide multiplier."""
    for _, c in arithmetic(kernel):
        operator = division_operator(c)
        if not operator:
            continue
        _, divisor = children_of(c)
        if is_constant(c, kernel) or _power_of_two(divisor, kernel):
            continue
        sentence = f"{operator} is computed when it runs, by something that is no power of two; count instead"
        yield at(c, "run_time_division", f"{sentence}, or let code generation compute it")


def run_time_products(kernel: Kernel) -> list[tuple[tuple[str, str], Cursor]]:
    """Products of two values that are both known only when it runs, with the file and function."""
    found = ((place, c) for place, c in arithmetic(kernel) if arithmetic_operator(c) == "mul")
    return [(p, c) for p, c in found if not any(is_constant(side, kernel) for side in children_of(c))]


def run_time_product(kernel: Kernel) -> Iterator[Finding]:
    """A product of two values of 32 bits takes 3 DSPs, which are the array's; the control counts instead."""
    for place, c in run_time_products(kernel):
        if place not in MEANT:
            sentence = f"the product {_text(c)} is computed when it runs; count instead"
            yield at(c, "run_time_product", f"{sentence}, or let code generation compute it")


def _text(cursor: Cursor) -> str:
    return " ".join(token.spelling for token in cursor.get_tokens())


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
    return walk(loop.body) if loop.pragma("UNROLL") else []


def _adds_product(c: Cursor, kernel: Kernel) -> bool:
    """Whether a statement adds a product of two values that are known only when it runs to a sum."""
    children = children_of(c)
    if c.kind == K.COMPOUND_ASSIGNMENT_OPERATOR and binary_operator(c) == "+=":
        terms = children[1:]
    elif c.kind == K.BINARY_OPERATOR and binary_operator(c) == "=" and arithmetic_operator(children[1]) == "add":
        terms = children_of(below_casts(children[1]))
    else:
        return False
    products = [found for found in map(factors, terms) if found is not None]
    return any(not any(is_constant(side, kernel) for side in found) for found in products)


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
