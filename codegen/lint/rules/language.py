"""C++ that has no counterpart in hardware, or that the portable subset leaves out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from clang.cindex import Cursor, CursorKind, Diagnostic, Type, TypeKind

from codegen.lint.expressions import element, modifies
from codegen.lint.kernel import FUNCTIONS, Finding, Kernel, Scope, at
from codegen.lint.tree import walk
from codegen.simulation.source_text import blank_comments

K = CursorKind
HEADERS = ("cstdint", "hls_stream.h")
ALLOCATORS = ("malloc", "calloc", "realloc", "free", "aligned_alloc", "alloca", "strdup")
ALLOCATORS += ("operator new", "operator new[]", "operator delete", "operator delete[]")
# a line that goes on in the next one, other spellings of # and the like, strings that may hold anything
DISGUISES = re.compile(r"\\\s*$|%:|\?\?[=/'()!<>-]|\b(u8|[uUL])?R\"")
FLOAT_ARGUMENT = re.compile(r"<.*\b(float|double|half|_Float16|__fp16|__float128)\b")
FLOATS = (TypeKind.FLOAT, TypeKind.DOUBLE, TypeKind.LONGDOUBLE, TypeKind.FLOAT128, TypeKind.HALF)
ARRAYS = (TypeKind.CONSTANTARRAY, TypeKind.INCOMPLETEARRAY, TypeKind.VARIABLEARRAY, TypeKind.DEPENDENTSIZEDARRAY)
STRUCTS = (K.STRUCT_DECL, K.CLASS_DECL, K.CLASS_TEMPLATE)
DECLARATIONS = (K.VAR_DECL, K.PARM_DECL, K.FIELD_DECL, K.TYPEDEF_DECL, K.TYPE_ALIAS_DECL)
# Statics in dataflow processes that are wanted: partial sums outlive a pass, never a tile (see hls/engine.cpp); rows
# of a pooled input are written before they are read, but only a static says so to an ordinary compiler.
STATICS = {("compute", "partial"), ("input_pool", "before")}
# The one volatile that is wanted: a register that is read while the kernel runs, in which every write counts.
PROGRESS, PROGRESS_TYPE = "progress", "volatile uint32_t *"


def compiler_warnings(kernel: Kernel) -> Iterator[Finding]:
    """What an ordinary compiler doubts: shifts by too much, values that do not fit, results that are not used."""
    for d in kernel.unit.diagnostics:
        own = d.location.file and d.location.file.name in kernel.sources
        if own and d.severity == Diagnostic.Warning:
            yield Finding(d.location.file.name, d.location.line, "compiler_warnings", f"{d.spelling} ({d.option})")


def heap(kernel: Kernel) -> Iterator[Finding]:
    for c in kernel.cursors:
        if c.kind in (K.CXX_NEW_EXPR, K.CXX_DELETE_EXPR):
            word = "new" if c.kind == K.CXX_NEW_EXPR else "delete"
            yield at(c, "heap", f"{word} needs a heap; use an array of constant size")
        elif c.kind == K.CALL_EXPR and c.spelling.removeprefix("__builtin_") in ALLOCATORS:
            yield at(c, "heap", f"{c.spelling} needs a heap; use an array of constant size")


def recursion(kernel: Kernel) -> Iterator[Finding]:
    for function in kernel.functions.values():
        for call, callee in kernel.call_sites[function]:
            if callee is function or function in kernel.reachable(callee):
                sentence = f"{function.cursor.spelling} calls itself by way of {callee.cursor.spelling}; write a loop"
                yield at(call, "recursion", sentence)


def pointers(kernel: Kernel) -> Iterator[Finding]:
    for c in kernel.cursors:
        if c.kind in FUNCTIONS and c.is_definition() and _points(c.result_type):
            yield at(c, "pointers", f"{c.spelling} returns a pointer or a reference; return a value or an index")
        if c.kind not in DECLARATIONS:
            continue
        kind = c.type.get_canonical()
        if c.kind == K.VAR_DECL and _points(kind) and any(x.kind == K.CONDITIONAL_OPERATOR for x in walk(c)):
            yield at(c, "pointers", f"{c.spelling} may point to one of two variables; choose the value, or an index")
        if c.kind == K.FIELD_DECL and element(kind).kind in (TypeKind.POINTER, TypeKind.LVALUEREFERENCE):
            sentence = (
                f"member {c.spelling} is a pointer or a reference; hold an index, or pass the pointer to the function"
            )
            yield at(c, "pointers", sentence)
        elif c.kind == K.VAR_DECL and kind.kind == TypeKind.LVALUEREFERENCE and modifies(kind):
            yield at(c, "pointers", f"{c.spelling} is a second name for a variable; write the variable itself")
        elif _points(kind) and _points(element(kind.get_pointee() if _points(kind) else kind)):
            yield at(c, "pointers", f"{c.spelling} is a pointer to a pointer; use one array and an index")
        elif kind.kind in ARRAYS and _points(element(kind)):
            yield at(c, "pointers", f"{c.spelling} is an array of pointers; use one array and an index")


def _points(kind: Type) -> bool:
    return kind.get_canonical().kind in (TypeKind.POINTER, TypeKind.LVALUEREFERENCE, TypeKind.RVALUEREFERENCE)


def containers(kernel: Kernel) -> Iterator[Finding]:
    for c in kernel.cursors:
        if c.kind in DECLARATIONS or c.kind in FUNCTIONS:
            kind = _pointee(c.result_type if c.kind in FUNCTIONS else c.type)
            if kind.get_declaration().semantic_parent is not None and kind.spelling.startswith(
                ("std::", "const std::")
            ):
                yield at(
                    c, "containers", f"{c.spelling} is a {kind.spelling}; use an array of constant size or a struct"
                )


def headers(kernel: Kernel) -> Iterator[Finding]:
    for name, text in kernel.sources.items():
        for number, line in enumerate(text.split("\n"), 1):
            match = re.match(r"\s*#\s*include\s*<([^>]*)>", line)
            if match and match.group(1) not in HEADERS:
                sentence = f"<{match.group(1)}> is not for kernels; only {' and '.join(HEADERS)} are"
                yield Finding(name, number, "headers", sentence)


def run_time_dispatch(kernel: Kernel) -> Iterator[Finding]:
    rule = "run_time_dispatch"
    words = {K.CXX_TRY_STMT: "try", K.CXX_THROW_EXPR: "throw", K.CXX_TYPEID_EXPR: "typeid"}
    words[K.CXX_DYNAMIC_CAST_EXPR] = "dynamic_cast"
    for c in kernel.cursors:
        if c.kind in words:
            yield at(c, rule, f"{words[c.kind]} needs run-time support that hardware does not have; leave it out")
        elif c.kind == K.CXX_METHOD and c.is_virtual_method():
            yield at(c, rule, f"{c.spelling} is virtual; call a plain function, or make the type a template argument")
        elif c.kind in DECLARATIONS and _is_function(c.type):
            yield at(c, rule, f"{c.spelling} is a pointer to a function; use a switch over plain calls")


def constructs(kernel: Kernel) -> Iterator[Finding]:
    """What HLS compilers take in part or not at all: memory seen as something else, text for another machine."""
    names = {K.LAMBDA_EXPR: "a lambda", K.ASM_STMT: "asm", K.MS_ASM_STMT: "asm", K.UNION_DECL: "a union"}
    names[K.CXX_REINTERPRET_CAST_EXPR] = "reinterpret_cast"
    for c in kernel.cursors:
        name = names.get(c.kind)
        if c.kind == K.CSTYLE_CAST_EXPR and c.type.get_canonical().kind == TypeKind.POINTER:
            name = "a cast to a pointer"
        elif c.kind == K.FIELD_DECL and "hls::stream<" in c.type.spelling + element(c.type).spelling:
            name = f"stream {c.spelling} in a struct"
        elif c.kind == K.FIELD_DECL and c.is_bitfield():
            name = f"bit-field {c.spelling}"
        elif c.kind in FUNCTIONS and c.type.kind == TypeKind.FUNCTIONPROTO and c.type.is_function_variadic():
            name = f"{c.spelling} with any number of arguments"
        elif c.kind in DECLARATIONS and _pointee(c.type).get_canonical().kind in (TypeKind.INT128, TypeKind.UINT128):
            name = f"{c.spelling} of 128 bits"
        if name:
            sentence = f"{name} is not for kernels"
            yield at(c, "constructs", f"{sentence}; use plain functions, structs and integers up to 64 bits")


def _pointee(kind: Type) -> Type:
    """The type below references, pointers and arrays."""
    kind = element(kind)
    while _points(kind):
        kind = element(kind.get_pointee())
    return kind


def _is_function(kind: Type) -> bool:
    bare = _pointee(kind)
    return bare.kind in (TypeKind.FUNCTIONPROTO, TypeKind.FUNCTIONNOPROTO, TypeKind.MEMBERPOINTER)


def floating_point(kernel: Kernel) -> Iterator[Finding]:
    for c in kernel.cursors:
        kinds = [c.result_type if c.kind in FUNCTIONS else c.type]
        if c.kind in DECLARATIONS:
            kinds.append(_pointee(c.type))
        of_floats = c.kind in DECLARATIONS and FLOAT_ARGUMENT.search(kinds[-1].get_canonical().spelling)
        of_floats = of_floats or any(k.get_canonical().kind in FLOATS for k in kinds)
        if of_floats and (c.kind.is_expression() or c.kind.is_declaration()):
            name = f"{c.spelling} " if c.spelling else "an expression "
            yield at(c, "floating_point", f"{name}is floating point; the kernel computes with integers and shifts")


def array_sizes(kernel: Kernel) -> Iterator[Finding]:
    for c in kernel.cursors:
        if c.kind in DECLARATIONS and c.type.get_canonical().kind == TypeKind.VARIABLEARRAY:
            sentence = f"the size of array {c.spelling} is known only when it runs; give it a constant"
            yield at(c, "array_sizes", sentence)


def preprocessor(kernel: Kernel) -> Iterator[Finding]:
    """Simulation, synthesis and this lint must see the same text: only includes and pragmas, and nothing disguised."""
    for name, text in kernel.sources.items():
        for number, line in enumerate(text.split("\n"), 1):
            found = DISGUISES.search(line)
            if found:
                sentence = f"{found[0]!r} makes of a line what it does not look like; write each line, # and string out"
                yield Finding(name, number, "preprocessor", sentence)
        for number, line in enumerate(blank_comments(text).split("\n"), 1):
            match = re.match(r"\s*#\s*(\w+)", line)
            if match and match.group(1) not in ("include", "pragma"):
                sentence = f"#{match.group(1)} may give simulation and synthesis different code; use a constant"
                yield Finding(name, number, "preprocessor", sentence)


def is_progress(parameter: Cursor, functions: Iterable[str]) -> bool:
    """Whether this is the progress output, as a parameter of one of the functions of these names."""
    named = (parameter.kind, parameter.spelling, parameter.type.spelling) == (K.PARM_DECL, PROGRESS, PROGRESS_TYPE)
    return named and parameter.semantic_parent.spelling in functions


def volatile(kernel: Kernel) -> Iterator[Finding]:
    # the top function may hand its progress on to a function that it calls, and that one to nobody
    tops = [f for f in kernel.functions.values() if f.cursor.spelling == kernel.top]
    functions = {kernel.top, *(callee.cursor.spelling for top in tops for _, callee in kernel.calls(top.body))}
    outputs = [c for c in kernel.cursors if is_progress(c, functions)]
    allowed = {(c.location.file.name, c.extent.start.line, c.extent.start.column) for c in outputs}
    for name, text in kernel.sources.items():
        for number, line in enumerate(blank_comments(text).split("\n"), 1):
            places = ((name, number, match.start() + 1) for match in re.finditer(r"\bvolatile\b", line))
            if not allowed.issuperset(places):
                sentence = "volatile forbids bursts and reordering; read each word once, into a variable"
                yield Finding(name, number, "volatile", sentence)


def statics(kernel: Kernel) -> Iterator[Finding]:
    """State that survives a dataflow process, or that two may share, makes iterations depend on each other, unseen."""
    members = [c for c in kernel.cursors if c.kind == K.VAR_DECL and c.semantic_parent.kind in STRUCTS]
    for c in (*kernel.globals, *members):
        if not _constant(c):
            sentence = f"{c.spelling} is a variable that every process may use, unseen; make it constant or pass it in"
            yield at(c, "statics", sentence)
    processes: list[Scope] = []
    for scope in kernel.scopes:
        if scope.pragma("DATAFLOW"):
            processes += [f for f in kernel.reachable(scope) if f not in processes]
    for function in processes:
        for c in walk(function.body):
            if c.kind == K.VAR_DECL and _is_static(c) and not _constant(c):
                if (function.cursor.spelling, c.spelling) not in STATICS:
                    sentence = (
                        f"static {c.spelling} outlives an iteration of a dataflow region; pass it in, or document it"
                    )
                    yield at(c, "statics", sentence)


def _is_static(cursor: Cursor) -> bool:
    return cursor.storage_class.name == "STATIC"


def _constant(cursor: Cursor) -> bool:
    return cursor.type.get_canonical().is_const_qualified() or element(cursor.type).is_const_qualified()
