"""Functions: what a pipeline calls becomes a part of it, and what stays a block of its own is built once."""

from __future__ import annotations

from collections.abc import Iterator

from codegen.lint.kernel import Finding, Kernel, Scope, at


def inlined_helpers(kernel: Kernel) -> Iterator[Finding]:
    """Whether the compiler inlines a helper of its own accord depends on its version; in a pipeline it must."""
    seen: list[Scope] = []
    for scope in kernel.scopes:
        pragma = scope.pragma("PIPELINE")
        if pragma is None or pragma.has("off"):
            continue
        for function in kernel.reachable(scope):
            if function not in seen and function.pragma("INLINE") is None:
                name = function.cursor.spelling
                sentence = f"{name} is called in a pipelined loop and does not say INLINE; add #pragma HLS INLINE"
                yield at(function.cursor, "inlined_helpers", sentence)
            seen.append(function)


def single_instances(kernel: Kernel) -> Iterator[Finding]:
    """A function that is not inlined gets hardware for every call, unless its caller limits it to one instance."""
    for function in kernel.functions.values():
        inline = function.pragma("INLINE")
        if inline is None or not inline.has("off"):
            continue
        callers = kernel.callers(function)
        name = function.cursor.spelling
        if len(callers) > 1:
            names = " and ".join(caller.cursor.spelling for caller in callers)
            yield at(function.cursor, "single_instances", f"{name} is called by {names}, each of which builds its own")
        for caller, calls in callers.items():
            if len(calls) > 1 and not _limited(caller, name):
                sentence = f"{name} is called {len(calls)} times in {caller.cursor.spelling}"
                sentence += f"; add #pragma HLS ALLOCATION function instances={name} limit=1 there"
                yield at(calls[1], "single_instances", sentence)


def _limited(caller: Scope, name: str) -> bool:
    return any(
        p.name == "ALLOCATION" and p.get("instances") == name and p.get("limit") == "1" for p in caller.pragmas
    )
