"""The ports of the top function."""

from __future__ import annotations

from collections.abc import Iterator

from clang.cindex import Cursor, CursorKind, TypeKind

from codegen.lint.expressions import lies_in, parameters
from codegen.lint.kernel import Finding, Kernel, Scope, at, at_pragma
from codegen.lint.rules.language import is_progress
from codegen.lint.tree import children_of, walk

CONTROL = ("s_axilite", "ap_ctrl_hs", "ap_ctrl_chain", "ap_ctrl_none")
# The defaults of these differ between the flows and versions of the HLS compiler.
EXPLICIT = ("bundle", "offset", "depth", "latency")
MEMORIES = ("m_axi", "axis", "ap_memory", "bram", "ap_fifo")


def _is_array(port: Cursor, top: Scope) -> bool:
    """Whether a pointer is indexed or handed on; one that is only dereferenced is a register, as is the progress."""
    if is_progress(port, [top.cursor.spelling]):
        return False
    for c in walk(top.body):
        children = children_of(c)
        if c.kind == CursorKind.ARRAY_SUBSCRIPT_EXPR and lies_in(children[0], port):
            return True
        if c.kind == CursorKind.CALL_EXPR and any(lies_in(a, port) for a in c.get_arguments()):
            return True
    return False


def _top(kernel: Kernel) -> Scope | None:
    return next((f for f in kernel.functions.values() if f.cursor.spelling == kernel.top), None)


def interface(kernel: Kernel) -> Iterator[Finding]:
    """Every port is declared, and nothing else is."""
    top = _top(kernel)
    if top is None:
        yield Finding(
            str(kernel.unit.spelling), 1, "interface", f"there is no top function {kernel.top}; name it rightly"
        )
        return
    ports = {p.spelling: p for p in parameters(top.cursor)}
    modes: dict[str, list[str]] = {}
    bundles: dict[str | None, str] = {}
    registers: dict[str, str | None] = {}
    for pragma in top.pragmas:
        port = pragma.get("port")
        if pragma.name != "INTERFACE" or port is None:
            continue
        mode = pragma.get("mode") or ""
        modes.setdefault(port, []).append(mode)
        if port not in ports and port != "return":
            sentence = f"port={port} is no argument of {kernel.top}; its arguments are {', '.join(ports)}"
            yield at_pragma(pragma, "interface", sentence)
        elif mode == "m_axi":
            first = bundles.setdefault(pragma.get("bundle"), port)
            if pragma.get("bundle") and first != port:
                sentence = f"ports {first} and {port} share a bundle, where one waits for the other; give each its own"
                yield at_pragma(pragma, "interface", sentence)
            if pragma.get("offset") not in (None, "slave"):
                sentence = f"m_axi port {port} has offset={pragma.get('offset')}, so that no register sets its address"
                yield at_pragma(pragma, "interface", f"{sentence}; write offset=slave")
            missing = [o for o in EXPLICIT if pragma.get(o) is None]
            if missing:
                sentence = f"m_axi port {port} leaves {', '.join(missing)} to defaults that differ by flow; write them"
                yield at_pragma(pragma, "interface", sentence)
        elif mode == "s_axilite" and pragma.get("bundle") != registers.setdefault("bundle", pragma.get("bundle")):
            sentence = f"port {port} is in another s_axilite bundle than the ports before it; the design connects one"
            yield at_pragma(pragma, "interface", sentence)
    for name, parameter in ports.items():
        declared = modes.get(name, [])
        pointer = parameter.type.get_canonical().kind == TypeKind.POINTER
        if not declared:
            yield at(parameter, "interface", f"port {name} has no INTERFACE pragma; add one")
        elif "m_axi" in declared and "s_axilite" not in declared:
            yield at(parameter, "interface", f"m_axi port {name} has no s_axilite pragma for its address; add one")
        elif pointer and not any(mode in MEMORIES for mode in declared) and _is_array(parameter, top):
            yield at(
                parameter, "interface", f"port {name} is read or written as an array and has no m_axi pragma; add one"
            )
        elif "m_axi" in declared and not pointer:
            yield at(parameter, "interface", f"m_axi port {name} is no plain pointer; make it one")
    if not any(mode in CONTROL for mode in modes.get("return", [])):
        sentence = "there is no INTERFACE pragma with port=return, so that nothing starts the kernel; add one"
        yield at(top.cursor, "interface", sentence)
