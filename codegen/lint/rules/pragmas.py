"""Pragmas: spelt as the compiler knows them, in a place where they count, about variables that exist."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator

from clang.cindex import Cursor, CursorKind, Type, TypeKind

from codegen.lint.expressions import constant_value, element, expression_value
from codegen.lint.kernel import Finding, Kernel, Scope, at_pragma
from codegen.lint.pragmas import CONSTANT, KNOWN, NAME, VARIABLE, Known
from codegen.simulation.source_text import Pragma, blank_comments

K = CursorKind
ARRAYS = (TypeKind.CONSTANTARRAY, TypeKind.INCOMPLETEARRAY, TypeKind.DEPENDENTSIZEDARRAY)
LANES = ("LANES", "PIXELS", "FILTERS", "BANKS")
SMALL = 16


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
            for sentence in _wrong_options(pragma, known, kernel):
                yield at_pragma(pragma, "pragma_spelling", f"{pragma.name}: {sentence}")


def _wrong_options(pragma: Pragma, known: Known, kernel: Kernel) -> Iterator[str]:
    names = [name for name, _ in pragma.options]
    for name, value in pragma.options:
        if names.count(name) > 1:
            yield f"option {name} is given twice"
        if value is None:
            if name not in known.words:
                yield f"{name} is not known; {nearest(name, [*known.words, *(f'{o}=' for o in known.options)])}"
            continue
        allowed = known.options.get(name)
        if allowed is None:
            yield f"option {name}= is not known; {nearest(name, list(known.options))}"
        elif allowed == CONSTANT and not _is_constant(value, kernel):
            yield f"{name}={value} is not made of whole numbers and constants of the kernel"
        elif allowed in (NAME, VARIABLE) and not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", value):
            yield f"{name}={value} is not a name"
        elif isinstance(allowed, tuple) and value not in allowed:
            yield f"{name}={value} is not known; {nearest(value, list(allowed))}"
    for name in known.needs:
        if name not in names:
            yield f"option {name}= is missing"


def _is_constant(value: str, kernel: Kernel) -> bool:
    return expression_value(value, kernel) is not None


def pragma_place(kernel: Kernel) -> Iterator[Finding]:
    """Pragmas where they have no effect: UNROLL outside a loop, INTERFACE below the top function."""
    for pragma, scope in kernel.owners.items():
        known = KNOWN.get(pragma.name)
        if known is None:
            continue
        if scope is None:
            yield at_pragma(
                pragma, "pragma_place", f"{pragma.name} stands outside any function; move it into its scope"
            )
        elif not any(_stands(place, scope, kernel) for place in known.place):
            words = {"top": f"the function {kernel.top}", "function": "a function", "loop": "a loop"}
            sentence = f"{pragma.name} must stand directly in {' or '.join(words[p] for p in known.place)}"
            yield at_pragma(pragma, "pragma_place", sentence)


def _stands(place: str, scope: Scope, kernel: Kernel) -> bool:
    return {
        "any": True,
        "loop": scope.is_loop,
        "function": scope.is_function,
        "top": scope.is_function and scope.cursor.spelling == kernel.top,
    }[place]


def pragma_variables(kernel: Kernel) -> Iterator[Finding]:
    for pragma, scope in kernel.owners.items():
        variable = pragma.get("variable")
        if variable and scope is not None and resolve(variable, pragma, scope, kernel) is None:
            sentence = f"variable={variable} names nothing in scope; declare it before, or correct the name"
            yield at_pragma(pragma, "pragma_variables", sentence)


def resolve(path: str, pragma: Pragma, scope: Scope, kernel: Kernel) -> Cursor | None:
    """The variable or member that ``a.b`` names where the pragma stands."""
    first, *members = path.split(".")
    function = scope.function.cursor
    local = [
        c
        for c in function.walk_preorder()
        if c.kind in (K.VAR_DECL, K.PARM_DECL) and c.spelling == first and c.location.line <= pragma.line
    ]
    places = [s.body for s in kernel.scopes if _holds(s, scope)]
    found = next((c for c in reversed(local) if c.kind == K.PARM_DECL or _declared_in(c, places)), None)
    for member in members:
        if found is None:
            return None
        # of the type, since the declaration of a template's instance has no children
        record = element(_pointee(found.type)).get_canonical()
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
    statements = (c for place in places for c in place.get_children() if c.kind == K.DECL_STMT)
    return any(c == variable for s in statements for c in s.get_children())


def _pointee(kind: Type) -> Type:
    kind = kind.get_canonical()
    return kind.get_pointee() if kind.kind in (TypeKind.POINTER, TypeKind.LVALUEREFERENCE) else kind


def dimensions(kind: Type) -> list[int]:
    """Sizes of an array's dimensions, outermost first; 0 where a template decides."""
    sizes = []
    kind = _pointee(kind).get_canonical()
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
            continue  # the business of pragma_variables
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
            continue  # the business of pragma_variables
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
        checked = [
            s.spelling.strip('"')
            for c in scope.function.body.walk_preorder()
            if c.kind == K.VAR_DECL and "DependenceCheck" in c.type.spelling
            for s in c.walk_preorder()
            if s.kind == K.STRING_LITERAL
        ]
        if pragma.get("variable") not in checked:
            name = pragma.get("variable")
            sentence = (
                f'the claim about {name} is not asserted; declare DependenceCheck<SIZE> check("{name}", distance)'
            )
            yield at_pragma(pragma, "unchecked_dependences", sentence)
