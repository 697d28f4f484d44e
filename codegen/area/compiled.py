"""A function of the kernel as LLVM sees it: the wrapper around it, clang's output, and the layout of its arguments."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from clang.cindex import CursorKind, Index, Type, TypeKind

from bfp.errors import BfpError
from codegen.lint.kernel import INCLUDE

HLS = Path(__file__).resolve().parents[2] / "hls"
TOP = "measured"
CLANGS = tuple(f"clang++-{version}" for version in range(16, 20))  # whose output is known here
# no vectors; whatever can be inlined and unrolled is, and short branches become choices
STRAIGHT = ("-O2", "-fno-vectorize", "-fno-slp-vectorize", "-fno-exceptions")
STRAIGHT += tuple(
    word
    for option in ("inline", "inlinehint", "unroll", "two-entry-phi-node-folding")
    for word in ("-mllvm", f"-{option}-threshold=1000000")
)
RESULT = "result"  # a parameter of this name is written only


@dataclass(frozen=True)
class Case:
    """A function that is measured. parameters, body: those of a C++ function that calls it; types: C++ before that.

    widths: of parameters or their members where they have fewer bits than their types say, such as ``u8`` (0 to 255),
    ``s9`` (-256 to 255) or ``p4`` (1 to 15); by the last parts of their names, for all of that name. A parameter
    ``result`` is written only.
    """

    name: str
    include: str
    parameters: str
    body: str
    widths: dict[str, str]
    types: str = ""


@dataclass(frozen=True)
class Scalar:
    """An integer among a parameter's bytes. at, bytes: where. name: dotted, indices left out; wire: with them."""

    name: str
    wire: str
    at: int
    bytes: int
    signed: bool
    bits: int


@dataclass(frozen=True)
class Parameter:
    name: str
    bytes: int
    read: bool
    written: bool
    scalars: tuple[Scalar, ...]


def find_clang() -> str | None:
    """The oldest clang++ that is here and known, or None: what is inlined, and so counted, differs between them."""
    return next((name for name in CLANGS if shutil.which(name)), None)


def missing_clang() -> str:
    """One sentence where no clang is here that is known, else nothing."""
    return "" if find_clang() else f"none of {', '.join(CLANGS)} is installed (Debian: apt install clang-16)"


def wrapper(case: Case) -> str:
    """C++ of a function ``measured`` whose arguments lie apart from each other."""
    parameters = case.parameters.replace("&", "&__restrict ")
    return (
        f'#include "{case.include}"\nusing namespace sbfp;\n{case.types}\n'
        f'extern "C" void {TOP}({parameters}) {{\n    {case.body}\n}}\n'
    )


def flags(generated: Path) -> list[str]:
    """What any use of clang needs for the kernel's sources as synthesis sees them."""
    includes = [f"-I{path}" for path in (HLS, HLS / "synth", generated, INCLUDE)]
    return ["-x", "c++", "-std=c++14", "-nostdinc", "-nostdinc++", "-Wno-unknown-pragmas", *includes]


def compiled(source: str, generated: Path, options: tuple[str, ...]) -> str:
    """What clang prints for a source. Raises BfpError where it is not installed, or with its first error."""
    clang = find_clang()
    if clang is None:
        raise BfpError(missing_clang())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "source.cpp")
        path.write_text(source)
        command = [clang, *flags(generated), *options, "-S", "-emit-llvm", "-o", "-", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        error = next((line for line in lines if "error:" in line), lines[-1][-200:])
        raise BfpError(f"{clang}: {error}")
    return done.stdout


def layout(case: Case, generated: Path) -> list[Parameter]:
    """The parameters of a case's function, with all integers in them."""
    files = [("case.cpp", wrapper(case))]
    unit = Index.create().parse("case.cpp", args=flags(generated), unsaved_files=files)
    function = next(c for c in unit.cursor.walk_preorder() if c.spelling == TOP and c.kind == CursorKind.FUNCTION_DECL)
    found = []
    for cursor in function.get_arguments():
        of = cursor.type.get_pointee()
        scalars = []
        for name, at, kind in members(of.get_canonical(), cursor.spelling, 0):
            key = matching(case.widths, name)
            signed, bits = declared(kind) if key is None else narrowed(case.widths[key])
            wire = re.sub(r"\W+", "_", name).strip("_")
            scalars.append(Scalar(plain(name), wire, at, kind.get_size(), signed, min(bits, 8 * kind.get_size())))
        result = cursor.spelling == RESULT
        parameter = Parameter(cursor.spelling, of.get_size(), not result, not of.is_const_qualified(), tuple(scalars))
        found.append(parameter)
    return found


def members(of: Type, name: str, at: int) -> Iterator[tuple[str, int, Type]]:
    """Name, place in bytes and type of all integers in a type."""
    if of.kind == TypeKind.RECORD:
        for member in of.get_fields():
            offset = of.get_offset(member.spelling) // 8
            yield from members(member.type.get_canonical(), f"{name}.{member.spelling}", at + offset)
    elif of.kind == TypeKind.CONSTANTARRAY:
        for n in range(of.element_count):
            yield from members(of.element_type.get_canonical(), f"{name}[{n}]", at + n * of.element_type.get_size())
    else:
        yield name, at, of


SIGNED = {
    TypeKind.SCHAR: True, TypeKind.SHORT: True, TypeKind.INT: True, TypeKind.LONG: True, TypeKind.ENUM: True,
    TypeKind.UCHAR: False, TypeKind.USHORT: False, TypeKind.UINT: False, TypeKind.ULONG: False,
}  # fmt: skip


def declared(of: Type) -> tuple[bool, int]:
    """Whether a type is signed, and its bits."""
    if of.kind == TypeKind.BOOL:
        return False, 1
    if of.kind not in SIGNED:
        raise BfpError(f"a parameter of type {of.spelling} is not measured; only integers are")
    return SIGNED[of.kind], 8 * of.get_size()


def narrowed(width: str) -> tuple[bool, int]:
    """The same of a width of the table."""
    if not re.fullmatch(r"[usp]\d+", width):
        raise BfpError(f"width {width} is none; write u, s or p and bits, such as u8")
    return width[0] == "s", int(width[1:])


def plain(name: str) -> str:
    return re.sub(r"\[\d+\]", "", name)


def matching(widths: dict[str, str], name: str) -> str | None:
    """The longest key that a dotted name ends with."""
    parts = plain(name).split(".")
    endings = (".".join(parts[n:]) for n in range(len(parts)))
    return next((ending for ending in endings if ending in widths), None)
