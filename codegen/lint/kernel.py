"""A kernel as the rules see it: functions, loops, calls, and the pragmas that belong to them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from clang.cindex import Cursor, CursorKind, Diagnostic, Index, TranslationUnit, Type, conf

from bfp.errors import BfpError
from codegen.lint.tree import children_of, walk
from codegen.simulation.source_text import Pragma, scan

INCLUDE = Path(__file__).parent / "include"
K = CursorKind
FUNCTIONS = (K.FUNCTION_DECL, K.FUNCTION_TEMPLATE, K.CXX_METHOD, K.CONSTRUCTOR, K.DESTRUCTOR, K.CONVERSION_FUNCTION)
# of the ordinary compiler, beside those that it gives anyhow; the HLS compiler's pragmas are this lint's business
# and rules say more of recursion and of sizes
WARNINGS = ("-Wuninitialized", "-Wconditional-uninitialized", "-Wtype-limits", "-Wparentheses", "-Wno-unknown-pragmas")
WARNINGS += ("-Wno-infinite-recursion", "-Wno-vla-extension")
LOOPS = (K.FOR_STMT, K.WHILE_STMT, K.DO_STMT, K.CXX_FOR_RANGE_STMT)


@dataclass(frozen=True, order=True)
class Finding:
    """One refusal: where, by which rule, and one sentence."""

    file: str
    line: int
    rule: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: [{self.rule}] {self.sentence}"


@dataclass(eq=False)
class Scope:
    """A function, a loop, or another block in braces, with the pragmas that stand directly in it."""

    cursor: Cursor
    body: Cursor
    parent: Scope | None
    pragmas: list[Pragma] = field(default_factory=list)

    @cached_property
    def children(self) -> list[Cursor]:
        return children_of(self.cursor)

    @cached_property
    def lines(self) -> tuple[str, int, int]:
        """File, first and last line of the body."""
        extent = self.body.extent
        return extent.start.file.name, extent.start.line, extent.end.line

    @cached_property
    def is_loop(self) -> bool:
        return self.cursor.kind in LOOPS

    @cached_property
    def is_function(self) -> bool:
        return self.cursor.kind in FUNCTIONS

    @cached_property
    def function(self) -> Scope:
        scope = self
        while scope.parent is not None:
            scope = scope.parent
        return scope

    def pragma(self, name: str) -> Pragma | None:
        return next((p for p in self.pragmas if p.name == name), None)


@dataclass
class Kernel:
    """Syntax tree and source text of one kernel; everything is limited to the kernel's own files.

    functions: definitions by USR. loops: in source order. owners: the scope of
    each pragma, None outside any function. flags: those that it was parsed with.
    called: what ``reachable`` has found so far.
    """

    top: str
    flags: list[str]
    unit: TranslationUnit
    sources: dict[str, str]
    pragmas: list[Pragma]
    functions: dict[str, Scope]
    scopes: list[Scope]
    owners: dict[Pragma, Scope | None]
    constant_loops: dict[Scope, bool] = field(default_factory=dict)
    called: dict[Scope, list[Scope]] = field(default_factory=dict)

    @cached_property
    def loops(self) -> list[Scope]:
        return [s for s in self.scopes if s.is_loop]

    @cached_property
    def cursors(self) -> list[Cursor]:
        """Every cursor of the kernel's own files, outermost first."""
        own = (c for c in children_of(self.unit.cursor) if c.location.file and c.location.file.name in self.sources)
        return [cursor for child in own for cursor in walk(child)]

    @cached_property
    def globals(self) -> list[Cursor]:
        """Variables outside any function."""
        outside = (K.NAMESPACE, K.TRANSLATION_UNIT)
        return [c for c in self.cursors if c.kind == K.VAR_DECL and c.semantic_parent.kind in outside]

    @cached_property
    def counters(self) -> dict[int, Scope]:
        """The for loop that declares a variable in its head, by the hash of the variable's cursor."""
        heads = ((s, s.children[0]) for s in self.loops if s.children[0].kind == K.DECL_STMT)
        return {variable.hash: s for s, head in heads for variable in children_of(head)}

    def errors_with(self, sources: Mapping[str, str]) -> list[tuple[str, int, str]]:
        """The compiler's errors where these texts, by file name, stand in for the kernel's own: file, line, what."""
        unit = Index.create().parse(self.unit.spelling, args=self.flags, unsaved_files=list(sources.items()))
        errors = [d for d in unit.diagnostics if d.severity >= Diagnostic.Error]
        return [(d.location.file.name, d.location.line, d.spelling) for d in errors if d.location.file]

    @cached_property
    def call_sites(self) -> dict[Scope, list[tuple[Cursor, Scope]]]:
        """The calls that each function makes, with what it calls."""
        return {f: list(self.calls(f.body)) for f in self.functions.values()}

    def callers(self, function: Scope) -> dict[Scope, list[Cursor]]:
        """The calls of a function, by the function that they stand in."""
        found: dict[Scope, list[Cursor]] = {}
        for caller, sites in self.call_sites.items():
            for call, callee in sites:
                if callee is function:
                    found.setdefault(caller, []).append(call)
        return found

    def callee(self, call: Cursor) -> Scope | None:
        """The kernel's own function that a call expression calls, if it is one."""
        target = call.referenced
        if target is None:  # inside a template
            names = {c.spelling for c in walk(call) if c.kind == K.OVERLOADED_DECL_REF}
            return next((f for f in self.functions.values() if f.cursor.spelling in names), None)
        for cursor in (target, generic(target)):
            if cursor is not None and cursor.get_usr() in self.functions:
                return self.functions[cursor.get_usr()]
        return None

    def calls(self, cursor: Cursor) -> Iterator[tuple[Cursor, Scope]]:
        """Calls below ``cursor`` to functions of the kernel.

        A call that gets a struct with a call operator counts as a call of that operator, too: which one a template
        calls can only be seen where the struct is handed over.
        """
        for c in walk(cursor):
            if c.kind == K.CALL_EXPR:
                callees = [self.callee(c), *(self._call_operator(argument.type) for argument in c.get_arguments())]
                yield from ((c, callee) for callee in callees if callee is not None)

    def _call_operator(self, kind: Type) -> Scope | None:
        """The call operator of a struct of the kernel, if ``kind`` is one that has one."""
        record = kind.get_canonical().get_declaration()
        template = generic(record)
        members = children_of(template if template is not None else record)
        usrs = [m.get_usr() for m in members if m.kind == K.CXX_METHOD and m.spelling == "operator()"]
        return self.functions.get(usrs[0]) if usrs else None

    def reachable(self, scope: Scope) -> list[Scope]:
        """Functions of the kernel that are called in a scope, directly or not; not to be changed."""
        if scope in self.called:
            return self.called[scope]
        found = self.called[scope] = []
        todo = [callee for _, callee in self.call_sites.get(scope) or self.calls(scope.body)]
        while todo:
            function = todo.pop()
            if function not in found:
                found.append(function)
                todo += [callee for _, callee in self.call_sites[function]]
        return found


def generic(cursor: Cursor) -> Cursor | None:
    """The template that a cursor is an instance of."""
    return conf.lib.clang_getSpecializedCursorTemplate(cursor)


def at(cursor: Cursor, rule: str, sentence: str) -> Finding:
    """A finding at the start of a cursor."""
    return Finding(cursor.location.file.name, cursor.location.line, rule, sentence)


def at_pragma(pragma: Pragma, rule: str, sentence: str) -> Finding:
    return Finding(pragma.file, pragma.line, rule, sentence)


def body_of(cursor: Cursor) -> Cursor | None:
    """The statement that a function or loop holds, None for a declaration."""
    children = children_of(cursor)
    if cursor.kind == K.DO_STMT:
        return children[0]
    if cursor.kind in LOOPS:
        return children[-1]
    return next((c for c in children if c.kind == K.COMPOUND_STMT), None)


def collect(cursors: Iterable[Cursor], parent: Scope | None, scopes: list[Scope]) -> None:
    """Append the scopes that are or lie below ``cursors``, outermost first."""
    for child in cursors:
        scope = parent
        if child.kind in FUNCTIONS or child.kind in LOOPS:
            body = body_of(child)
            if body is not None:
                scope = Scope(child, body, None if child.kind in FUNCTIONS else parent)
                scopes.append(scope)
        elif child.kind == K.COMPOUND_STMT and parent is not None and child != parent.body:
            scope = Scope(child, child, parent)
            scopes.append(scope)
        collect(children_of(child), scope, scopes)


def owner(pragma: Pragma, scopes: Sequence[Scope]) -> Scope | None:
    """The innermost scope whose braces hold the pragma's line."""
    inside = [
        s
        for s in scopes
        if s.lines[0] == pragma.file and s.lines[1] <= pragma.line <= s.lines[2] and s.body.kind == K.COMPOUND_STMT
    ]
    return inside[-1] if inside else None  # scopes are listed outermost first


def parse(source: Path, includes: Sequence[Path], top: str) -> Kernel:
    """Parse a kernel with libclang. ``includes``: include folders besides the lint's own standard headers.

    Raises BfpError where the source does not exist or is not C++.
    """
    if not source.is_file():
        raise BfpError(f"kernel {source} does not exist; name a C++ source")
    flags = ["-x", "c++", "-std=c++14", "-ferror-limit=0", "-nostdinc", "-nostdinc++", *WARNINGS]
    flags += [*(f"-I{p}" for p in includes), f"-I{INCLUDE}"]
    unit = Index.create().parse(str(source), args=flags)
    errors = [d for d in unit.diagnostics if d.severity >= Diagnostic.Error]
    if errors:
        e = errors[0]
        where = f"{e.location.file}:{e.location.line}" if e.location.file else str(source)
        raise BfpError(
            f"{where}: the kernel cannot be parsed: {e.spelling}; the lint knows <cstdint> and hls_stream.h only"
        )
    names = {str(source)} | {i.include.name for i in unit.get_includes()}
    own = sorted(n for n in names if not Path(n).is_relative_to(INCLUDE))
    sources = {name: Path(name).read_text() for name in own}
    pragmas = [p for name in own for p in scan(name, sources[name])]
    scopes: list[Scope] = []
    own_cursors = (c for c in children_of(unit.cursor) if c.location.file and c.location.file.name in sources)
    collect(own_cursors, None, scopes)
    functions = {s.cursor.get_usr(): s for s in scopes if s.is_function}
    owners = {p: owner(p, scopes) for p in pragmas}
    for pragma, scope in owners.items():
        if scope is not None:
            scope.pragmas.append(pragma)
    return Kernel(top, flags, unit, sources, pragmas, functions, scopes, owners)
