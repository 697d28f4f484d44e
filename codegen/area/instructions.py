"""What Verilog each instruction of LLVM becomes. What is not here is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from bfp.errors import BfpError
from codegen.area.ir import Instruction, Pointer, size, split
from codegen.area.memory import Byte, Place

if TYPE_CHECKING:
    from codegen.area.verilog import Converter

BINARY = {"add": "+", "sub": "-", "mul": "*", "and": "&", "or": "|", "xor": "^"}
SHIFTS = {"shl": "<<", "lshr": ">>", "ashr": ">>>"}
DIVISIONS = ("sdiv", "udiv", "srem", "urem")
COMPARISONS = {"eq": "==", "ne": "!=", "gt": ">", "ge": ">=", "lt": "<", "le": "<="}
EXTREMES = {"smin": "<", "smax": ">", "umin": "<", "umax": ">"}
IGNORED = ("llvm.lifetime.", "llvm.experimental.noalias.", "llvm.assume")
DIVIDER = "divider"
MOST_TERMS = 3  # of a product by a constant that is a sum


def local(name: str) -> str:
    """A wire's name of LLVM's name of a value."""
    return "v" + re.sub(r"\W", "_", name.lstrip("%"))


def signed(value: str) -> str:
    return f"$signed({value})"


def typed(text: str) -> tuple[str, str]:
    """Type and value of an operand, attributes between them left out."""
    words = text.rsplit(" ", 1)
    kind = words[0] if words[0][0] in "[{%" else words[0].split()[0]
    return kind, words[1]


def operands(text: str) -> tuple[str, list[str]]:
    """The common type of ``type a, b``, and a and b."""
    first, *rest = split(text)
    kind, value = typed(first)
    return kind, [value, *rest]


def binary(c: Converter, block: str, i: Instruction) -> None:
    kind, values = operands(i.text)
    bits = c.bits(kind)
    a, b = (c.value(v, bits) for v in values)
    if i.opcode == "mul" and is_constant(values[1]):
        c.result(i, bits, times(a, int(values[1]), b))
    else:
        c.result(i, bits, f"{signed(a)} {BINARY[i.opcode]} {signed(b)}")


def is_constant(text: str) -> bool:
    return re.fullmatch(r"-?\d+", text) is not None


def times(value: str, constant: int, operand: str) -> str:
    """A product by a constant: of shifted values where these are few, as compilers make it, else a multiplication."""
    terms, left = [], constant
    while left and len(terms) <= MOST_TERMS:
        place = (left & -left).bit_length() - 1
        digit = 1 << place if (left >> place) & 3 != 3 else -(1 << place)
        terms.append(f"{'+' if digit > 0 else '-'} ({signed(value)} <<< {place})")
        left -= digit
    return " ".join(["0", *terms]) if not left and len(terms) <= MOST_TERMS else f"{signed(value)} * {signed(operand)}"


def shift(c: Converter, block: str, i: Instruction) -> None:
    kind, values = operands(i.text)
    bits = c.bits(kind)
    a, b = (c.value(v, bits) for v in values)
    c.result(i, bits, f"{a if i.opcode == 'lshr' else signed(a)} {SHIFTS[i.opcode]} {b}")


def division(c: Converter, block: str, i: Instruction) -> None:
    kind, (a, b) = operands(i.text)
    bits, is_signed = c.bits(kind), i.opcode.startswith("s")
    value, by = c.value(a, bits), c.value(b, bits)
    known = (value, by, is_signed)
    if known not in c.quotients:
        if is_constant(b):
            c.quotients[known] = quotient_by(c, value, bits, int(b), is_signed)
        else:
            c.quotients[known] = divided(c, value, by, bits, is_signed)
    quotient = c.quotients[known]
    if i.opcode.endswith("rem"):
        product = times(quotient, int(b), by) if is_constant(b) else f"{signed(quotient)} * {signed(by)}"
        quotient = f"{signed(value)} - ({product})"
    c.result(i, bits, quotient)


def divided(c: Converter, value: str, by: str, bits: int, is_signed: bool) -> str:
    """A quotient by a variable."""
    quotient = f"t{len(c.lines)}"
    c.widths[quotient] = bits
    ports = f".a({value}), .b({by}), .quotient({quotient})"
    divider = f"{DIVIDER} #(.BITS({bits}), .SIGNED({int(is_signed)})) {quotient}_divider ({ports});"
    c.lines.append(f"wire [{bits - 1}:0] {quotient}; {divider}")
    return quotient


def quotient_by(c: Converter, value: str, bits: int, divisor: int, is_signed: bool) -> str:
    """A quotient, towards zero, by a constant: multiplication by its reciprocal and a shift."""
    if divisor <= 0:
        raise BfpError(f"a division by {divisor} is not known here")
    more = (divisor - 1).bit_length()
    if divisor == 1 << more:  # only signed ones are left: of negative values, divisor - 1 more
        return c.fresh(bits, f"$signed({value} + ({value}[{bits - 1}] ? {bits}'d{divisor - 1} : {bits}'d0)) >>> {more}")
    shifted = bits - is_signed + more
    reciprocal = -(-(1 << shifted) // divisor)  # of so many bits that every quotient is exact
    constant = f"{reciprocal.bit_length() + 1}'d{reciprocal}"
    extended = value if is_signed else f"{{1'b0, {value}}}"
    product = c.fresh(bits + reciprocal.bit_length() + 1, f"{signed(extended)} * {signed(constant)}")
    quotient = c.fresh(bits, f"{signed(product)} >>> {shifted}")
    return c.fresh(bits, f"{quotient} + {value}[{bits - 1}]") if is_signed else quotient


def comparison(c: Converter, block: str, i: Instruction) -> None:
    predicate, _, rest = i.text.partition(" ")
    kind, values = operands(rest)
    if isinstance(c.module.type_of(kind), Pointer):
        raise BfpError("pointers that are compared cannot be measured")
    bits = c.bits(kind)
    a, b = (c.value(v, bits) for v in values)
    if not predicate.startswith("u"):
        a, b = signed(a), signed(b)
    c.result(i, 1, f"{a} {COMPARISONS[predicate[-2:]]} {b}")


def select(c: Converter, block: str, i: Instruction) -> None:
    condition, *values = split(i.text)
    when = c.value(typed(condition)[1], 1)
    kinds = [typed(v) for v in values]
    if kinds[0][0] == "ptr":
        yes, no = (c.pointer(v) for _, v in kinds)
        c.point(i.result, when, yes, no)
        return
    bits = c.bits(kinds[0][0])
    yes, no = (c.value(v, bits) for _, v in kinds)
    c.result(i, bits, f"{when} ? {yes} : {no}")


def cast(c: Converter, block: str, i: Instruction) -> None:
    source, _, target = i.text.rpartition(" to ")
    kind, text = typed(source)
    before, after = c.bits(kind), c.bits(target)
    value = c.value(text, before)
    extension = {"trunc": value, "zext": value, "sext": f"{{{{{after - before}{{{value}[{before - 1}]}}}}, {value}}}"}
    c.result(i, after, extension[i.opcode])


def freeze(c: Converter, block: str, i: Instruction) -> None:
    kind, text = typed(i.text)
    c.result(i, c.bits(kind), c.value(text, c.bits(kind)))


def phi(c: Converter, block: str, i: Instruction) -> None:
    kind, rest = i.text.split(" ", 1)
    values = {before: value for value, before in re.findall(r"\[ (.*?), (%[^ ]+) \]", rest) if before in c.edges[block]}
    if kind == "ptr":
        *others, last = values.items()
        c.pointers[i.result] = c.pointer(last[1])
        for before, value in reversed(others):
            c.point(i.result, c.fresh(1, c.taken(block, before)), c.pointer(value), c.pointers[i.result])
        return
    bits = c.bits(kind)
    c.result(i, bits, c.chosen(block, {before: c.value(v, bits) for before, v in values.items()}, bits))


def load(c: Converter, block: str, i: Instruction) -> None:
    kind, pointer = split(i.text)
    bits = c.bits(kind)
    value = c.load(c.pointer(pointer.removeprefix("ptr ")), (bits + 7) // 8)
    c.result(i, bits, value)


def store(c: Converter, block: str, i: Instruction) -> None:
    value, pointer = split(i.text)
    kind, text = typed(value)
    place = c.pointer(pointer.removeprefix("ptr "))
    if kind == "ptr":
        raise BfpError("a pointer in memory cannot be measured")
    bits = c.bits(kind)
    c.store(place, c.bytes_of(c.value(text, bits), bits))


def alloca(c: Converter, block: str, i: Instruction) -> None:
    kind = split(i.text)[0]
    c.memory[i.result] = [Byte(None, 0)] * size(c.module.type_of(kind))
    c.pointers[i.result] = Place(i.result)


def element(c: Converter, block: str, i: Instruction) -> None:
    c.pointers[i.result] = c.element(i.text)


def call(c: Converter, block: str, i: Instruction) -> None:
    found = re.match(r"(?:.* )?([\w\[\]]+) @([\w.$]+)\((.*)\)$", i.text)
    if not found:
        raise BfpError(f"the call {i.text[:80]} is not known here")
    kind, name, arguments = found[1], found[2], split(found[3])
    if name.startswith(IGNORED):
        return
    values = [typed(a)[1] for a in arguments if a]
    intrinsic = name.removeprefix("llvm.").split(".")[0]
    if not name.startswith("llvm.") or intrinsic not in INTRINSICS:
        raise BfpError(f"a call of {name} was not inlined, or is not known here")
    INTRINSICS[intrinsic](c, i, intrinsic, kind, values)


def extreme(c: Converter, i: Instruction, name: str, kind: str, values: list[str]) -> None:
    bits = c.bits(kind)
    a, b = (c.value(v, bits) for v in values)
    x, y = (signed(a), signed(b)) if name.startswith("s") else (a, b)
    c.result(i, bits, f"({x} {EXTREMES[name]} {y}) ? {a} : {b}")


def absolute(c: Converter, i: Instruction, name: str, kind: str, values: list[str]) -> None:
    bits = c.bits(kind)
    a = c.value(values[0], bits)
    c.result(i, bits, f"{a}[{bits - 1}] ? -{signed(a)} : {signed(a)}")


def copied(c: Converter, i: Instruction, name: str, kind: str, values: list[str]) -> None:
    target, source, length = values[:3]
    value = c.load(c.pointer(source), int(length))
    c.store(c.pointer(target), c.bytes_of(value, 8 * int(length)))


def filled(c: Converter, i: Instruction, name: str, kind: str, values: list[str]) -> None:
    target, value, length = values[:3]
    c.store(c.pointer(target), [Byte(None, int(value) % 256)] * int(length))


def nothing(c: Converter, block: str, i: Instruction) -> None:
    """Branches: their conditions are known before the blocks are converted."""


INTRINSICS: dict[str, Callable] = {
    **dict.fromkeys(EXTREMES, extreme),
    "abs": absolute,
    "memcpy": copied,
    "memset": filled,
}
INSTRUCTIONS: dict[str, Callable] = {
    **dict.fromkeys(BINARY, binary),
    **dict.fromkeys(SHIFTS, shift),
    **dict.fromkeys(DIVISIONS, division),
    **dict.fromkeys(("zext", "sext", "trunc"), cast),
    **dict.fromkeys(("br", "switch", "ret", "unreachable"), nothing),
    "icmp": comparison,
    "select": select,
    "freeze": freeze,
    "phi": phi,
    "load": load,
    "store": store,
    "alloca": alloca,
    "getelementptr": element,
    "call": call,
}
