"""How structs lie in memories and channels: whole words, none wider than the compiler makes."""

from __future__ import annotations

from collections.abc import Iterator

from clang.cindex import Cursor, CursorKind, Type, TypeKind

from codegen.lint.expressions import element, is_constant_variable, parameters, unwrap, variables
from codegen.lint.kernel import Finding, Kernel, Scope, at, at_pragma
from codegen.lint.rules.dataflow import holds_array
from codegen.lint.rules.pragmas import pointee, resolve
from codegen.lint.tree import children_of, walk

K = CursorKind
ARRAYS = (TypeKind.CONSTANTARRAY, TypeKind.DEPENDENTSIZEDARRAY)
WIDEST = 4096  # bits of a word that the compiler makes of a struct ([HLS 214-256])


def lane_arrays(kernel: Kernel) -> Iterator[Finding]:
    """An array of structs is taken apart, and all lanes of a struct then lie in one narrow memory with two ports."""
    for function in kernel.functions.values():
        aggregated = {p.get("variable") for s in _scopes(function, kernel) for p in s.pragmas if p.name == "AGGREGATE"}
        for variable in _arrays_of_structs(function, kernel):
            if variable.spelling not in aggregated:
                sentence = f"{variable.spelling} is an array of structs with lanes, which lie in one memory"
                sentence += f"; add #pragma HLS AGGREGATE variable={variable.spelling} to {function.cursor.spelling}"
                yield at(variable, "lane_arrays", sentence)


def chosen_lanes(kernel: Kernel) -> Iterator[Finding]:
    """An index that is known only when it runs makes a memory of a word's lanes, with two ports for all of them."""
    for function in kernel.functions.values():
        for c in walk(function.body):
            if c.kind != K.ARRAY_SUBSCRIPT_EXPR:
                continue
            lanes, index = (unwrap(child) for child in children_of(c))
            if lanes.kind == K.MEMBER_REF_EXPR and _of_word(lanes) and not _is_fixed(index, function, kernel, 4):
                sentence = "the lane that is taken is known only when it runs; choose among fixed ones"
                yield at(c, "chosen_lanes", sentence)


def _of_word(member: Cursor) -> bool:
    """Whether a member is all that its struct has."""
    struct = next(iter(children_of(member)), None)
    if struct is None:  # of the own struct
        return False
    kind = struct.type.get_canonical()
    inside = children_of(kind.get_declaration())  # of a template's own, fields are not known to the type
    fields = list(kind.get_fields()) or [c for c in inside if c.kind == K.FIELD_DECL]
    return len(fields) == 1


def _is_fixed(index: Cursor, function: Scope, kernel: Kernel, depth: int) -> bool:
    """Whether an index is known once the loops below a pipeline are unrolled and, through ``depth`` calls, inlined."""
    if any(c.kind in (K.MEMBER_REF_EXPR, K.CALL_EXPR) for c in walk(index)):
        return False
    given = []
    for variable in variables(index):
        loop = kernel.counters.get(variable.hash)
        if variable.kind == K.PARM_DECL:
            given.append(variable.spelling)
        elif loop is not None and loop.pragma("PIPELINE") is None:
            continue  # that it is unrolled is the business of pipelines
        elif not is_constant_variable(variable, kernel):
            return False
    names = [p.spelling for p in parameters(function.cursor)]
    return not given or depth > 0 and all(
        _is_fixed(list(call.get_arguments())[names.index(name)], caller, kernel, depth - 1)
        for name in given
        for caller, calls in kernel.callers(function).items()
        for call in calls
    )


def struct_choices(kernel: Kernel) -> Iterator[Finding]:
    """``first ? a : b`` of structs chooses between two addresses, so that both lie in memories, lanes and all."""
    for c in kernel.cursors:
        if c.kind == K.CONDITIONAL_OPERATOR and c.type.get_canonical().kind == TypeKind.RECORD:
            yield at(c, "struct_choices", "?: chooses between the addresses of two structs; choose member by member")


def scalars_first(kernel: Kernel) -> Iterator[Finding]:
    """A struct whose scalars stand behind an array is built wrongly by one open HLS compiler, and padded by others."""
    for struct in kernel.cursors:
        if struct.kind not in (K.STRUCT_DECL, K.CLASS_DECL, K.CLASS_TEMPLATE):
            continue
        array = None
        for member in (c for c in children_of(struct) if c.kind == K.FIELD_DECL):
            if holds_array(member.type) or member.type.get_canonical().kind in ARRAYS:
                array = array or member
            elif array is not None:
                sentence = f"scalar {member.spelling} of {struct.spelling} stands behind array {array.spelling}"
                yield at(member, "scalars_first", f"{sentence}; put scalars first")


def _scopes(function: Scope, kernel: Kernel) -> list[Scope]:
    return [s for s in kernel.scopes if s.function is function]


def _arrays_of_structs(function: Scope, kernel: Kernel) -> list[Cursor]:
    """Arrays of structs with lanes that a function declares, and those outside any function that it uses."""
    declared = [c for c in walk(function.body) if c.kind == K.VAR_DECL]
    used = {c.referenced.hash for c in walk(function.body) if c.kind == K.DECL_REF_EXPR and c.referenced}
    return [v for v in (*declared, *(g for g in kernel.globals if g.hash in used)) if _has_lanes(v.type)]


def _has_lanes(kind: Type) -> bool:
    of = element(kind).get_canonical()
    is_array = kind.get_canonical().kind in ARRAYS
    return is_array and of.kind == TypeKind.RECORD and holds_array(of) and "hls::stream<" not in of.spelling


def wide_words(kernel: Kernel) -> Iterator[Finding]:
    """A struct on a stream or under AGGREGATE is one word, and a wider one than WIDEST is refused."""
    for pragma, scope in kernel.owners.items():
        variable = pragma.get("variable")
        target = resolve(variable, pragma, scope, kernel) if variable and scope is not None else None
        if pragma.name == "AGGREGATE" and target is not None:
            bits = 8 * element(pointee(target.type)).get_canonical().get_size()
            if bits > WIDEST:
                yield at_pragma(pragma, "wide_words", _too_wide(variable, bits))
    for function in kernel.functions.values():
        for c in (*function.cursor.get_arguments(), *walk(function.body)):
            item = _item(c) if c.kind in (K.VAR_DECL, K.PARM_DECL) else None
            if item is not None and 8 * item.get_size() > WIDEST:
                yield at(c, "wide_words", _too_wide(f"an item of {c.spelling}", 8 * item.get_size()))


def _too_wide(what: str, bits: int) -> str:
    return f"{what} is a word of {bits} bits, more than {WIDEST}; split it into several"


def _item(stream: Cursor) -> Type | None:
    """What a stream carries, None for any other variable."""
    kind = pointee(stream.type).get_canonical()
    return kind.get_template_argument_type(0).get_canonical() if kind.spelling.startswith("hls::stream<") else None
