"""From LLVM's representation of a function without loops to a combinational Verilog module.

Every instruction becomes a wire. Branches become conditions: where paths meet,
whatever differs between them, value or byte of memory, is chosen by the
condition under which each was taken. What the converter does not know it
refuses, by its name. Arithmetic is signed throughout, since then Yosys sees how
narrow an operand was before it was extended; low bits are the same.

A quotient by a constant is a multiplication by its reciprocal, a remainder what
such a quotient leaves, as compilers make them. A division by a variable is a
module of its own, ``divider``, which synthesis leaves out and counts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from bfp.errors import BfpError
from codegen.area.instructions import INSTRUCTIONS, local, typed
from codegen.area.ir import Function, Instruction, Integer, Module, split
from codegen.area.memory import Byte, Choice, Place, constant_bytes, joined, moved, pointed, positions

Memory = dict[str, list[Byte]]


def branches(terminator: Instruction) -> dict[str, str]:
    """Where a block goes on, and Verilog of the condition of each way."""
    labels = re.findall(r"label (%[^ ,]+)", terminator.text)
    if terminator.opcode == "br" and len(labels) == 1:
        return {labels[0]: "1'b1"}
    if terminator.opcode == "br":
        condition = typed(split(terminator.text)[0])[1]
        known = {"true": "1'b1", "false": "1'b0"}.get(condition, local(condition))
        ways = [(labels[0], known), (labels[1], f"!{known}")]
    elif terminator.opcode == "switch":
        _, value = typed(split(terminator.text)[0])
        cases = re.findall(r"i(\d+) (-?\d+), label (%[^ ,]+)", terminator.text)
        when = [(label, f"({local(value)} == {bits}'d{int(n) % (1 << int(bits))})") for bits, n, label in cases]
        ways = [*when, (labels[0], "!(" + " | ".join(text for _, text in when) + ")")]
    elif terminator.opcode in ("ret", "unreachable"):
        ways = []
    else:
        raise BfpError(f"a block that ends with {terminator.opcode} is not known here")
    found: dict[str, str] = {}
    for label, text in ways:
        found[label] = f"({found[label]} | {text})" if label in found else text
    return found


@dataclass
class Converter:
    """widths: of every wire. pointers: where they point. memory: what lies where, now; constants: for ever.

    edges: conditions of the ways to a block, by the block before. above: each block's dominators, itself last.
    ends: memory where each block ends. quotients: by operands and signedness. lines: Verilog so far.
    """

    module: Module
    function: Function
    memory: Memory
    constants: Memory = field(default_factory=dict)
    widths: dict[str, int] = field(default_factory=dict)
    pointers: dict[str, Place | Choice] = field(default_factory=dict)
    edges: dict[str, dict[str, str]] = field(default_factory=dict)
    above: dict[str, list[str]] = field(default_factory=dict)
    ends: dict[str, Memory] = field(default_factory=dict)
    quotients: dict[tuple[str, str, bool], str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    # values

    def wire(self, name: str, bits: int, value: str) -> str:
        """A new wire of a value."""
        self.widths[name] = bits
        self.lines.append(f"wire [{bits - 1}:0] {name} = {value};")
        return name

    def fresh(self, bits: int, value: str) -> str:
        return self.wire(f"t{len(self.lines)}", bits, value)

    def result(self, instruction: Instruction, bits: int, value: str) -> None:
        self.wire(local(instruction.result), bits, value)

    def bits(self, kind: str) -> int:
        of = self.module.type_of(kind)
        if not isinstance(of, Integer):
            raise BfpError(f"a value of type {kind} is not measured; only integers are")
        return of.bits

    def value(self, text: str, bits: int) -> str:
        """Verilog of an operand, unsigned."""
        if text.startswith("%"):
            return local(text)
        number = {"true": 1, "false": 0, "undef": 0, "poison": 0}.get(text)
        return f"{bits}'d{(int(text) if number is None else number) % (1 << bits)}"

    def bytes_of(self, value: str, bits: int) -> list[Byte]:
        """The bytes that a value has in memory."""
        length = (bits + 7) // 8
        name = self.fresh(8 * length, value)
        return [Byte(name, 8 * n) for n in range(length)]

    # pointers and memory

    def pointer(self, text: str) -> Place | Choice:
        if text in self.pointers:
            return self.pointers[text]
        if found := re.match(r"getelementptr \((.*)\)$", text):
            return self.element(found[1])
        if text in self.module.constants:
            self.constants[text] = constant_bytes(self.module, self.module.constants[text])
            self.pointers[text] = Place(text)
            return self.pointers[text]
        raise BfpError(f"the pointer {text} points to nothing that is measured")

    def point(self, name: str, condition: str, yes: Place | Choice, no: Place | Choice) -> None:
        """A pointer that is one of two."""
        self.pointers[name] = Choice(condition, yes, no)

    def data(self, name: str) -> list[Byte]:
        return self.constants[name] if name in self.constants else self.memory[name]

    def element(self, text: str) -> Place | Choice:
        """Where a getelementptr points."""
        kind, base, *indices = split(text)
        place = self.pointer(base.removeprefix("ptr "))
        first = place
        while isinstance(first, Choice):
            first = first.yes
        known = [part.split()[-1] for part in indices]
        numbers = [(int(i), "") if re.fullmatch(r"-?\d+", i) else (None, local(i)) for i in known]
        at, steps = pointed(self.module, kind, numbers, len(self.data(first.object)) - first.at)
        return moved(place, at, steps)

    def load(self, place: Place | Choice, length: int) -> str:
        """A wire of so many bytes."""
        bits = 8 * length
        if isinstance(place, Choice):
            yes, no = self.load(place.yes, length), self.load(place.no, length)
            return self.fresh(bits, f"{place.condition} ? {yes} : {no}")
        data = self.data(place.object)
        found = {index: place.at + at for index, at in positions(place.steps)}
        values = {i: joined(data[at : at + length], self.widths) for i, at in found.items() if at + length <= len(data)}
        if not place.steps:
            return self.fresh(bits, values[()])
        name = f"t{len(self.lines)}"
        self.widths[name] = bits
        widths = [self.widths[step.wire] for step in place.steps]
        cases = [
            "{" + ", ".join(f"{w}'d{n}" for w, n in zip(widths, index)) + f"}}: {name} = {value};"
            for index, value in values.items()
        ]
        chosen = ", ".join(step.wire for step in place.steps)
        text = "\n".join([*cases, f"default: {name} = {next(iter(values.values()))};"])
        self.lines.append(f"reg [{bits - 1}:0] {name}; always @* case ({{{chosen}}})\n{text}\nendcase")
        return name

    def store(self, place: Place | Choice, parts: list[Byte], condition: str = "") -> None:
        """Bytes into memory, under a condition if there is one."""
        if isinstance(place, Choice):
            for chosen, when in ((place.yes, place.condition), (place.no, f"!{place.condition}")):
                self.store(chosen, parts, f"{condition} && {when}" if condition else when)
            return
        data = self.memory[place.object] = list(self.memory[place.object])
        for index, further in positions(place.steps):
            at, end = place.at + further, place.at + further + len(parts)
            conditions = [f"{s.wire} == {i}" for s, i in zip(place.steps, index)] + [condition] * bool(condition)
            if not conditions:
                data[at:end] = parts
            elif end <= len(data):
                old, new = joined(data[at:end], self.widths), joined(parts, self.widths)
                name = self.fresh(8 * len(parts), f"({' && '.join(conditions)}) ? {new} : {old}")
                data[at:end] = [Byte(name, 8 * n) for n in range(len(parts))]

    # ways through the function

    def reached(self, block: str, start: str) -> str:
        """Condition under which ``start``, which every path passes, goes on to ``block``."""
        if block == start:
            return "1'b1"
        ways = [f"({self.reached(before, start)} & {edge})" for before, edge in self.edges[block].items()]
        return "(" + " | ".join(ways) + ")"

    def taken(self, block: str, before: str) -> str:
        """Condition of the way to a block from the one before, among those from the nearest that all pass."""
        return f"{self.reached(before, self.above[block][-2])} & {self.edges[block][before]}"

    def chosen(self, block: str, values: dict[str, str], bits: int) -> str:
        """The value of the way that was taken to a block. values: by the block before."""
        *others, last = values.items()
        text = last[1]
        for before, value in reversed(others):
            text = f"({self.taken(block, before)}) ? {value} : ({text})"
        return text

    def merge(self, block: str) -> None:
        """Memory where a block begins: what differs between the ways to it is chosen."""
        ways = {before: self.ends[before] for before in self.edges[block]}
        self.memory = {name: list(data) for name, data in next(iter(ways.values())).items()}
        for name, data in self.memory.items():
            differs = [any(memory[name][n] != byte for memory in ways.values()) for n, byte in enumerate(data)]
            at = 0
            while at < len(data):
                end = at + 1
                while differs[at] and end < len(data) and differs[end]:
                    end += 1
                if differs[at]:
                    values = {before: joined(memory[name][at:end], self.widths) for before, memory in ways.items()}
                    bits = 8 * (end - at)
                    data[at:end] = self.bytes_of(self.chosen(block, values, bits), bits)
                at = end

    def order(self) -> list[str]:
        """The blocks that are reached, each behind all that lead to it. Raises BfpError where there is a loop."""
        ways = {block: branches(instructions[-1]) for block, instructions in self.function.blocks.items()}
        entry = next(iter(ways))
        seen, pending = {entry}, [entry]
        while pending:
            block = pending.pop()
            for label, condition in ways[block].items():
                self.edges.setdefault(label, {})[block] = condition
                pending += [label] if label not in seen else []
                seen.add(label)
        found: list[str] = []
        while len(found) < len(seen):
            ready = [b for b in ways if b in seen and b not in found and set(self.edges.get(b, ())) <= set(found)]
            if not ready:
                raise BfpError("a loop was not unrolled; only functions whose loops have constant bounds are measured")
            found += ready
        return found

    def convert(self) -> Memory:
        """Writes the lines of the whole function; returns memory where it ends."""
        self.pointers = {name: Place(name) for name in self.memory}
        ends = []
        for block in self.order():
            if block in self.edges:
                common = set.intersection(*(set(self.above[before]) for before in self.edges[block]))
                self.above[block] = [b for b in self.above[next(iter(self.edges[block]))] if b in common] + [block]
                self.merge(block)
            else:
                self.above[block] = [block]
            for instruction in self.function.blocks[block]:
                if instruction.opcode not in INSTRUCTIONS:
                    raise BfpError(f"the instruction {instruction.opcode} of LLVM is not known here")
                INSTRUCTIONS[instruction.opcode](self, block, instruction)
            self.ends[block] = self.memory
            ends += [block] if self.function.blocks[block][-1].opcode == "ret" else []
        if len(ends) != 1:
            raise BfpError(f"a function that returns at {len(ends)} places is not measured; write one return")
        return self.ends[ends[0]]
