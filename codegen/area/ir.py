"""LLVM's textual intermediate representation, as far as functions without loops need it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from bfp.errors import BfpError

NAME = r'[%@](?:"[^"]*"|[\w.$-]+)'
TYPE_LINE = re.compile(rf"({NAME}) = type (.*)")
GLOBAL_LINE = re.compile(rf"({NAME}) = .*?\bconstant (.*)")
DEFINE_LINE = re.compile(rf"define .*?({NAME})\((.*)\).*\{{$")
# what follows an instruction's operands, and flags that do not change what is computed where it is defined
METADATA = re.compile(r", !.*$|, align \d+.*$| #\d+$")
FLAGS = re.compile(r"\b(?:nsw|nuw|exact|inbounds|disjoint|nneg|samesign|tail|notail|musttail|volatile)\b ?")


@dataclass(frozen=True)
class Array:
    count: int
    element: object


@dataclass(frozen=True)
class Struct:
    members: tuple[object, ...]


@dataclass(frozen=True)
class Integer:
    bits: int


@dataclass(frozen=True)
class Pointer:
    """Opaque, as of LLVM 15."""


@dataclass(frozen=True)
class Instruction:
    """result: its name, None where it has none. text: its operands."""

    result: str | None
    opcode: str
    text: str


@dataclass
class Function:
    """parameters: names in order. blocks: instructions by label, the entry first."""

    parameters: list[str]
    blocks: dict[str, list[Instruction]] = field(default_factory=dict)


@dataclass
class Module:
    types: dict[str, str] = field(default_factory=dict)
    constants: dict[str, str] = field(default_factory=dict)
    functions: dict[str, Function] = field(default_factory=dict)

    def type_of(self, text: str) -> object:
        """A type from its text. Raises BfpError for one that is neither integer, pointer, array nor struct."""
        text = text.strip()
        if re.fullmatch(r"i\d+", text):
            return Integer(int(text[1:]))
        if text == "ptr":
            return Pointer()
        if text in self.types:
            return self.type_of(self.types[text])
        if text.startswith("["):
            count, element = text[1:-1].split(" x ", 1)
            return Array(int(count), self.type_of(element))
        if text.startswith("{"):
            return Struct(tuple(self.type_of(part) for part in split(text[1:-1])))
        raise BfpError(f"type {text} of LLVM is not known here; only integers, arrays and structs are measured")


def size(of: object) -> int:
    """Bytes."""
    if isinstance(of, Integer):
        return 1 << ((of.bits + 7) // 8 - 1).bit_length()
    if isinstance(of, Array):
        return of.count * size(of.element)
    if isinstance(of, Struct):
        return _up(offset(of, len(of.members)), alignment(of))
    raise BfpError("a pointer in memory cannot be measured")


def alignment(of: object) -> int:
    """Bytes; of a 64-bit machine."""
    if isinstance(of, Array):
        return alignment(of.element)
    if isinstance(of, Struct):
        return max((alignment(member) for member in of.members), default=1)
    return size(of)


def offset(of: Struct, index: int) -> int:
    """Bytes before a member, with the padding before it; of no member, those up to the end of the last one."""
    at = 0
    for number, member in enumerate(of.members):
        at = _up(at, alignment(member))
        if number == index:
            return at
        at += size(member)
    return at


def _up(value: int, to: int) -> int:
    return -(-value // to) * to


def split(text: str) -> list[str]:
    """Parts between commas that stand in no bracket and no quotes."""
    parts, depth, quoted, start = [], 0, False, 0
    for at, c in enumerate(text):
        quoted ^= c == '"'
        if not quoted:
            depth += (c in "([{<") - (c in ")]}>")
            if c == "," and depth == 0:
                parts.append(text[start:at].strip())
                start = at + 1
    return [*parts, text[start:].strip()] if text.strip() else []


def parse(text: str) -> Module:
    """The types, constants and functions of a module."""
    module, function, block = Module(), None, ""
    lines = iter(text.splitlines())
    for line in lines:
        while line.rstrip().endswith("["):  # the cases of a switch stand on lines of their own
            line += " ".join(iter(lambda: next(lines).strip(), "]")) + " ]"
        line = re.sub(r"\s*;.*$", "", line) if '"' not in line else line
        if found := TYPE_LINE.match(line):
            module.types[found[1]] = found[2]
        elif found := GLOBAL_LINE.match(line):
            module.constants[found[1]] = METADATA.sub("", found[2])
        elif found := DEFINE_LINE.match(line):
            parameters = [part.split()[-1] for part in split(found[2])]
            function = module.functions[found[1].lstrip("@")] = Function(parameters)
            block = f"%{len(parameters)}"
            function.blocks[block] = []
        elif line == "}":
            function = None
        elif function is not None and (found := re.match(r"([\w.$-]+):", line)):
            if not function.blocks[block]:  # the entry, where it has a name
                del function.blocks[block]
            block = f"%{found[1]}"
            function.blocks[block] = []
        elif function is not None and line.startswith("  "):
            function.blocks[block].append(_instruction(line.strip()))
    return module


def _instruction(line: str) -> Instruction:
    found = re.match(rf"(?:({NAME}) = )?(.*)", line)
    opcode, _, operands = FLAGS.sub("", METADATA.sub("", found[2])).partition(" ")
    return Instruction(found[1], opcode, operands)
