"""Pragmas: spelt as the compiler knows them, in a place where they count, about variables that exist."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator

from clang.cindex import Cursor, CursorKind, Type, TypeKind

from codegen.lint.expressions import constant_value, element, expression_value, lies_in
from codegen.lint.kernel import Finding, Kernel, Scope, at_pragma
from codegen.lint.pragmas import KNOWN, NAME, OPERATIONS, VARIABLE, Known, Whole, options_of
from codegen.lint.tree import children_of, walk
from codegen.simulation.source_text import Pragma, blank_comments

K = CursorKind
ARRAYS = (TypeKind.CONSTANTARRAY, TypeKind.INCOMPLETEARRAY, TypeKind.DEPENDENTSIZEDARRAY)
INTEGERS = (TypeKind.INT, TypeKind.UINT, TypeKind.LONG, TypeKind.ULONG, TypeKind.SHORT, TypeKind.LONGLONG)
LANES = ("LANES", "PIXELS", "FILTERS", "BANKS")
SMALL = 16
CONSTANT = r"[\w+\-*/().:]+"  # as pragmas have it: the compiler is asked whether it is one


def nearest(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, 1)
    return f"did you mean {near[0]}" if near else f"known are {', '.join(known)}"


def pragma_spelling(kernel: Kernel) -> Iterator[Finding]:
    """Unknown pragmas, options and values: the compiler would skip them with a warning at most."""
    for name, text in kernel.sources.items():
        for number, line in enumerate(blank_comments(text).split("\n"), 1):
            match = re.match(r"\s*#\s*pragma\s+(\w+)", line)
            if match and match.group(1) not in ("once", "HLS"):
                sentence = f"#pragma {match.group(1)} is not known; {nearest(match.group(1), ['HLS', 'once'])}"
                yield Finding(name, number, "pragma_spelling", sentence)
            elif re.search(r"\b_Pragma\b", line):
                yield Finding(
                    name, number, "pragma_spelling", "write the pragma out on a line of its own, without _Pragma"
                )
    for pragma in kernel.pragmas:
        known = KNOWN.get(pragma.name)
        if known is None:
            sentence = f"pragma {pragma.name} is not in the table of known ones; {nearest(pragma.name, list(KNOWN))}"
            yield at_pragma(pragma, "pragma_spelling", sentence)
        else:
            for sentence in _wrong_options(pragma, known):
                yield at_pragma(pragma, "pragma_spelling", f"{pragma.name}: {sentence}")


def _wrong_options(pragma: Pragma, known: Known) -> Iterator[str]:
    names = [name for name, _ in pragma.options]
    options = options_of(pragma.name, pragma.get("mode"))
    for name, value in pragma.options:
        if names.count(name) > 1:
            yield f"option {name} is given twice"
        allowed = options.get(name)
        if value is None:
            if name not in known.words or allowed not in (None, ()):
                yield f"{name} is not known; {nearest(name, [*known.words, *(f'{o}=' for o in options)])}"
        elif allowed is None or allowed == ():
            of_mode = f" of mode={pragma.get('mode')}" if pragma.name == "INTERFACE" else ""
            yield f"option {name}= is not known{of_mode}; {nearest(name, list(options))}"
        elif allowed in (NAME, VARIABLE):
            members = r"(\.[A-Za-z_]\w*)*" if allowed == VARIABLE else ""
            if not re.fullmatch(rf"[A-Za-z_]\w*{members}", value):
                yield f"{name}={value} is not a name"
        elif isinstance(allowed, Whole) and not re.fullmatch(CONSTANT, value):
            yield f"{name}={value} is no constant of names, whole numbers, + - * / and parentheses"
        elif isinstance(allowed, tuple) and value not in allowed:
            yield f"{name}={value} is not known; {nearest(value, list(allowed))}"
    for group in known.needs:
        if not set(group) & set(names):
            words = [f"{name}=" if name in options else name for name in group]
            yield f"{'option ' if len(group) == 1 else ''}{' or '.join(words)} is missing"
    for group in known.apart:
        given = [name for name in names if name in group]
        if len(given) > 1:
            yield f"{' and '.join(given)} exclude each other"
    if known.first and names and names[0] not in known.first:
        yield f"{' or '.join(known.first)} must come first, since it says what the other options may be"
    if "register" in names and "register" not in options:
        yield f"register is not known of mode={pragma.get('mode')}"


def pragma_place(kernel: Kernel) -> Iterator[Finding]:
    """Pragmas where they have no effect: UNROLL outside a loop, INTERFACE below the top, PIPELINE where inlined."""
    for pragma, scope in kernel.owners.items():
        known = KNOWN.get(pragma.name)
        if known is None:
            continue
        if scope is None:
            yield at_pragma(
                pragma, "pragma_place", f"{pragma.name} stands outside any function; move it into its scope"
            )
        elif not any(_stands(place, scope, kernel) for place in known.place):
            words = {"top": f"the function {kernel.top}", "function": "a function", "loop": "a loop", "block": "a block"}
            sentence = f"{pragma.name} must stand directly in {' or '.join(words[p] for p in known.place)}"
            yield at_pragma(pragma, "pragma_place", sentence)
        elif scope.is_function and pragma.name in DISSOLVED and _is_inlined(scope):
            sentence = f"{pragma.name} is lost where {scope.cursor.spelling} is inlined; move it to the caller"
            yield at_pragma(pragma, "pragma_place", sentence)


# Pragmas about a function, which the compiler drops with the function that it inlines.
DISSOLVED = ("EXPRESSION_BALANCE", "ALLOCATION", "DATAFLOW", "PIPELINE", "LATENCY")


def _is_inlined(function: Scope) -> bool:
    inline = function.pragma("INLINE")
    return inline is not None and not inline.has("off")


def _stands(place: str, scope: Scope, kernel: Kernel) -> bool:
    return {
        "loop": scope.is_loop,
        "block": not (scope.is_loop or scope.is_function),
        "function": scope.is_function,
        "top": scope.is_function and scope.cursor.spelling == kernel.top,
    }[place]


def pragma_scope(kernel: Kernel) -> Iterator[Finding]:
    """What a pragma names is looked up where it stands: so the compiler is given a statement there that says the same.

    A variable must be declared before; a value must be a constant expression within its bounds.
    """
    lines = {name: text.split("\n") for name, text in kernel.sources.items()}
    stood: dict[tuple[str, int], Pragma] = {}
    for pragma, scope in kernel.owners.items():
        known = KNOWN.get(pragma.name)
        if known is not None and scope is not None:
            lines[pragma.file][pragma.line - 1] = _statement(pragma)
            stood[pragma.file, pragma.line] = pragma
    for file, line, error in kernel.errors_with({name: "\n".join(text) for name, text in lines.items()}):
        pragma = stood.get((file, line))
        if pragma is not None:
            sentence = f"{pragma.name}: {error}; what a pragma names must be visible where it stands"
            yield at_pragma(pragma, "pragma_scope", f"{sentence}: declare it before, qualify it, or correct it")


def _statement(pragma: Pragma) -> str:
    """C++ that is an error where an option's variable or constant is not visible, or out of its bounds."""
    checks, options = [], options_of(pragma.name, pragma.get("mode"))
    for name, value in pragma.options:
        allowed = options.get(name)
        if value is None or not re.fullmatch(CONSTANT if isinstance(allowed, Whole) else r"[\w.]+", value):
            continue  # the business of pragma_spelling
        if isinstance(allowed, Whole):
            checks.append(f'static_assert(__is_integral(decltype(({value}) + 0)), "{name} is no whole number");')
            checks.append(f'static_assert(({value}) >= {allowed.least}, "{name} is less than {allowed.least}");')
            checks.append(f'static_assert(({value}) <= {allowed.most}, "{name} is more than {allowed.most}");')
        elif allowed == VARIABLE and value != "return":
            checks.append(f"(void)sizeof({value});")
    low, high = pragma.get("min"), pragma.get("max")
    if low and high:
        checks.append(f'static_assert(({low}) <= ({high}), "min is more than max");')
    return " ".join(checks)


def pragma_types(kernel: Kernel) -> Iterator[Finding]:
    """A pragma about a variable of another kind is ignored: STREAM of an array, ARRAY_PARTITION of a struct."""
    for pragma, scope in kernel.owners.items():
        if scope is None:
            continue
        if pragma.name == "ALLOCATION" and pragma.has("operation") and pragma.get("instances") not in OPERATIONS:
            sentence = f"operation {pragma.get('instances')} is not known; {nearest(pragma.get('instances') or '', list(OPERATIONS))}"
            yield at_pragma(pragma, "pragma_types", sentence)
        if pragma.name == "ALLOCATION" and pragma.has("function"):
            called = {callee.cursor.spelling for _, callee in kernel.calls(scope.body)}
            if pragma.get("instances") not in called:
                sentence = f"no function {pragma.get('instances')} is called here; correct the name"
                yield at_pragma(pragma, "pragma_types", sentence)
        variable = pragma.get("variable")
        target = resolve(variable, pragma, scope, kernel) if variable and pragma.name in OBJECTS else None
        if target is not None and not any(IS[kind](pointee(target.type)) for kind in OBJECTS[pragma.name]):
            sentence = f"{pragma.name} is about {' or '.join(OBJECTS[pragma.name])}, which {variable} is not"
            yield at_pragma(pragma, "pragma_types", sentence)


def _is_stream(kind: Type) -> bool:
    return "hls::stream<" in kind.get_canonical().spelling


def _is_array(kind: Type) -> bool:
    return kind.get_canonical().kind in ARRAYS


def _is_struct(kind: Type) -> bool:
    return element(kind).get_canonical().kind in (TypeKind.RECORD, TypeKind.UNEXPOSED) and not _is_stream(kind)


def _is_integer(kind: Type) -> bool:
    return kind.get_canonical().kind in INTEGERS


def _is_number(kind: Type) -> bool:
    return _is_integer(kind) or kind.get_canonical().kind in (TypeKind.BOOL, TypeKind.SCHAR, TypeKind.UCHAR, TypeKind.USHORT)


IS = {
    "a stream": _is_stream, "an array": _is_array, "a struct": _is_struct, "an integer": _is_integer,
    "a number": _is_number,
}  # fmt: skip
# What the variable of a pragma may be, as the compiler's own list of pragmas says (docs/pragmas.md).
OBJECTS = {
    "STREAM": ("a stream",),
    "ARRAY_PARTITION": ("an array",),
    "ARRAY_RESHAPE": ("an array",),
    "BIND_STORAGE": ("an array",),
    "DEPENDENCE": ("an array",),
    "AGGREGATE": ("a struct",),
    "DISAGGREGATE": ("a struct",),
    "BIND_OP": ("an integer",),
    "STABLE": ("a number", "a struct"),
}


def resolve(path: str, pragma: Pragma, scope: Scope, kernel: Kernel) -> Cursor | None:
    """The variable or member that ``a.b`` names where the pragma stands."""
    first, *members = path.split(".")
    function = scope.function.cursor
    local = [
        c
        for c in walk(function)
        if c.kind in (K.VAR_DECL, K.PARM_DECL) and c.spelling == first and c.location.line <= pragma.line
    ]
    places = [s.body for s in kernel.scopes if _holds(s, scope)]
    found = next((c for c in reversed(local) if c.kind == K.PARM_DECL or _declared_in(c, places)), None)
    found = found or next((c for c in kernel.globals if c.spelling == first), None)
    for member in members:
        if found is None:
            return None
        # of the type, since the declaration of a template's instance has no children
        record = element(pointee(found.type)).get_canonical()
        fields = record.get_fields() if record.kind == TypeKind.RECORD else ()
        found = next((c for c in fields if c.spelling == member), None)
    return found


def _holds(outer: Scope, inner: Scope | None) -> bool:
    while inner is not None:
        if inner is outer:
            return True
        inner = inner.parent
    return False


def _declared_in(variable: Cursor, places: list[Cursor]) -> bool:
    """Whether a variable is declared directly in one of the blocks."""
    statements = (c for place in places for c in children_of(place) if c.kind == K.DECL_STMT)
    return any(c == variable for s in statements for c in children_of(s))


def pointee(kind: Type) -> Type:
    """The type that a pointer or reference leads to."""
    kind = kind.get_canonical()
    return kind.get_pointee() if kind.kind in (TypeKind.POINTER, TypeKind.LVALUEREFERENCE) else kind


def dimensions(kind: Type) -> list[int]:
    """Sizes of an array's dimensions, outermost first; 0 where a template decides."""
    sizes = []
    kind = pointee(kind).get_canonical()
    while kind.kind in ARRAYS:
        sizes.append(max(kind.element_count, 0) if kind.kind == TypeKind.CONSTANTARRAY else 0)
        kind = kind.element_type.get_canonical()
    return sizes


def partitions(kernel: Kernel) -> Iterator[Finding]:
    """Every register of a complete partition is a multiplexer input of every access."""
    limit = max([SMALL, *(constant_value(name, kernel) or 0 for name in LANES)])
    for pragma, scope in kernel.owners.items():
        variable = pragma.get("variable")
        if pragma.name not in ("ARRAY_PARTITION", "ARRAY_RESHAPE") or not variable or scope is None:
            continue
        target = resolve(variable, pragma, scope, kernel)
        if target is None:
            continue  # the business of pragma_scope
        sizes = dimensions(target.type)
        dim = pragma.get("dim") or "1"
        chosen = sizes if dim == "0" else sizes[int(dim) - 1 : int(dim)] if dim.isdigit() else []
        if not chosen:
            sentence = f"{variable} has {len(sizes)} dimensions, so dim={dim} cannot be partitioned"
            yield at_pragma(pragma, "partitions", sentence)
            continue
        if pragma.has("block") or pragma.has("cyclic") or pragma.get("type") in ("block", "cyclic"):
            factor = expression_value(pragma.get("factor") or "", kernel)
            if factor is None:
                sentence = f"{variable} falls into parts whose number is not known; give it a factor= that is constant"
                yield at_pragma(pragma, "partitions", sentence)
                continue
            chosen = [factor]
        if max(chosen) > limit:
            sentence = f"{variable} falls into {max(chosen)} parts, more than the {limit} of a lane-sized dimension"
            yield at_pragma(pragma, "partitions", f"{sentence}; partition a smaller dimension")


def aggregates(kernel: Kernel) -> Iterator[Finding]:
    """Only a struct of plain members and arrays becomes one wide word."""
    for pragma, scope in kernel.owners.items():
        variable = pragma.get("variable")
        if pragma.name != "AGGREGATE" or not variable or scope is None:
            continue
        target = resolve(variable, pragma, scope, kernel)
        if target is None:
            continue  # the business of pragma_scope
        kind = element(target.type).get_canonical()
        for member in kind.get_fields() if kind.kind == TypeKind.RECORD else ():
            if element(member.type).get_canonical().kind == TypeKind.RECORD:
                sentence = f"{variable} holds structs within a struct ({member.spelling}), which AGGREGATE does not take"
                yield at_pragma(pragma, "aggregates", f"{sentence}; make that member an array")


def unchecked_dependences(kernel: Kernel) -> Iterator[Finding]:
    """A dependence that is denied must be asserted in C simulation: DependenceCheck<..> check("x", distance)."""
    for pragma, scope in kernel.owners.items():
        if pragma.name != "DEPENDENCE" or not pragma.has("false") or scope is None:
            continue
        name, body = pragma.get("variable"), scope.function.body
        checks = [c for c in walk(body) if c.kind == K.VAR_DECL and _checks(c, name)]
        told = {c.spelling for c in walk(body) if c.kind == K.CALL_EXPR and _is_of(c, checks)}
        if not {"read", "write"} <= told:
            sentence = f"the claim about {name} is not asserted; declare DependenceCheck<SIZE> check(\"{name}\", distance)"
            yield at_pragma(pragma, "unchecked_dependences", f"{sentence}, and tell it every read and write")


def _checks(variable: Cursor, name: str | None) -> bool:
    """Whether a variable is a check of the array of this name."""
    names = [s.spelling.strip('"') for s in walk(variable) if s.kind == K.STRING_LITERAL]
    return "DependenceCheck" in variable.type.spelling and name in names


def _is_of(call: Cursor, variables: list[Cursor]) -> bool:
    """Whether a member of one of the variables is called."""
    children = children_of(call)
    return bool(children) and any(lies_in(children[0], variable) for variable in variables)
