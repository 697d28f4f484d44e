"""How structs lie in memories and channels: whole words, none wider than the compiler makes."""

from __future__ import annotations

from collections.abc import Iterator

from clang.cindex import Cursor, CursorKind, Type, TypeKind

from codegen.lint.expressions import element
from codegen.lint.kernel import Finding, Kernel, Scope, at
from codegen.lint.rules.dataflow import holds_array

K = CursorKind
ARRAYS = (TypeKind.CONSTANTARRAY, TypeKind.DEPENDENTSIZEDARRAY)


def lane_arrays(kernel: Kernel) -> Iterator[Finding]:
    """An array of structs is taken apart, and all lanes of a struct then lie in one narrow memory with two ports."""
    for function in kernel.functions.values():
        aggregated = {p.get("variable") for s in _scopes(function, kernel) for p in s.pragmas if p.name == "AGGREGATE"}
        for variable in _arrays_of_structs(function, kernel):
            if variable.spelling not in aggregated:
                sentence = f"{variable.spelling} is an array of structs with lanes, which lie in one memory"
                sentence += f"; add #pragma HLS AGGREGATE variable={variable.spelling} to {function.cursor.spelling}"
                yield at(variable, "lane_arrays", sentence)


def _scopes(function: Scope, kernel: Kernel) -> list[Scope]:
    return [s for s in kernel.scopes if s.function is function]


def _arrays_of_structs(function: Scope, kernel: Kernel) -> list[Cursor]:
    """Arrays of structs with lanes that a function declares, and those outside any function that it uses."""
    declared = [c for c in function.body.walk_preorder() if c.kind == K.VAR_DECL]
    used = {c.referenced.hash for c in function.body.walk_preorder() if c.kind == K.DECL_REF_EXPR and c.referenced}
    return [v for v in (*declared, *(g for g in kernel.globals if g.hash in used)) if _has_lanes(v.type)]


def _has_lanes(kind: Type) -> bool:
    of = element(kind).get_canonical()
    is_array = kind.get_canonical().kind in ARRAYS
    return is_array and of.kind == TypeKind.RECORD and holds_array(of) and "hls::stream<" not in of.spelling
