"""Threaded C simulation: a copy of the kernel in which every dataflow process runs in a thread of its own.

The arithmetic stays as it is; only DATAFLOW regions are rewritten, mechanically:

    for (...) {                        {
    #pragma HLS DATAFLOW                   csim::Region csim_region("f");
        Buffer b;                          csim::PingPong<Buffer> csim_b("b");
        hls::stream<Word> s;               hls::stream<Word> s("s", 4);
    #pragma HLS STREAM variable=s depth=4
        load(b, s);                        csim_region.process("load", [&] {
        store(b, s);                           for (...) {
    }                                              auto &b = csim_b.begin_write();
                                                   load(b, s);
                                                   csim_b.end_write();
                                               }
                                           });
                                           ...
                                           csim_region.run();
                                       }

so that iterations overlap as in hardware: the first process may be two
iterations ahead, as far as its ping-pong buffers go. See
hls/csim/threaded/processes.hpp for the other half.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from bfp.errors import BfpError
from bfp.files import write_text
from codegen.simulation.source_text import Pragma, blank_comments, scan

STREAM = re.compile(r"((?:hls::)?stream\s*<.*>)\s+(\w+)")
CALL = re.compile(r"([A-Za-z_][\w:]*)\s*\((.*)\)", re.DOTALL)
CHANNEL = re.compile(r"([A-Za-z_][\w:]*(?:\s*<[^;]*>)?)\s+(\w+)\s*((?:\[[^\]]*\]\s*)*)")
# The HLS compiler's depth of a stream without a STREAM pragma.
DEFAULT_DEPTH = "2"


@dataclass
class Region:
    """One DATAFLOW region. begin, end: offsets of what is replaced; head: ``for (...)``, "" for a function's body."""

    name: str
    line: int
    begin: int
    end: int
    head: str
    streams: dict[str, tuple[str, str]] = field(default_factory=dict)  # name: type, depth
    channels: dict[str, str] = field(default_factory=dict)  # name: type
    calls: list[tuple[str, str, int]] = field(default_factory=list)  # process, statement, line

    def text(self, file: str) -> str:
        lines = [f'{{ csim::Region csim_region("{self.name}");']
        lines += [f'{kind} {name}("{name}", {depth});' for name, (kind, depth) in self.streams.items()]
        lines += [f'csim::PingPong<{kind}> csim_{name}("{name}");' for name, kind in self.channels.items()]
        for index, (process, statement, line) in enumerate(self.calls):
            mine = [name for name in self.channels if mentions(statement, name)]
            side = {name: "write" if self.users(name)[0] == index else "read" for name in mine}
            lines += [f'csim_region.process("{process}", [&] {{', f"{self.head} {{"]
            lines += [f"auto &{name} = csim_{name}.begin_{side[name]}();" for name in mine]
            lines += [f'#line {line} "{file}"', f"{statement};"]
            lines += [*(f"csim_{name}.end_{side[name]}();" for name in mine), "}", "});"]
        return "\n".join([*lines, "csim_region.run(); }"])

    def users(self, name: str) -> list[int]:
        return [i for i, (_, statement, _) in enumerate(self.calls) if mentions(statement, name)]


def mentions(text: str, name: str) -> bool:
    return re.search(rf"\b{name}\b", text) is not None


def refuse(file: str, line: int, what: str) -> BfpError:
    return BfpError(f"{file}:{line}: the threaded simulation cannot take this DATAFLOW region apart: {what}")


def opening(text: str, offset: int) -> int:
    """Offset of the brace that the block around ``offset`` opens with, -1 outside of any."""
    depth = 0
    for at in range(offset - 1, -1, -1):
        depth += {"}": 1, "{": -1}.get(text[at], 0)
        if depth < 0:
            return at
    return -1


def closing(text: str, start: int, pair: str) -> int:
    """Offset of the bracket that closes the one at ``start``; pair: both brackets."""
    depth = 0
    for at in range(start, len(text)):
        depth += {pair[0]: 1, pair[1]: -1}.get(text[at], 0)
        if depth == 0:
            return at
    return len(text) - 1


def header(text: str, brace: int) -> tuple[str, int]:
    """(word before the parentheses that precede a brace, its offset), such as ("for", 120) or (function, 80)."""
    end = len(text[:brace].rstrip())
    if not text[:end].endswith(")"):
        return "", brace
    depth = 0
    for at in range(end - 1, -1, -1):
        depth += {")": 1, "(": -1}.get(text[at], 0)
        if depth == 0:
            match = re.search(r"(\w+)\s*$", text[:at])
            return (match.group(1), match.start()) if match else ("", brace)
    return "", brace


def function_name(text: str, brace: int) -> str:
    """Name of the function around a brace."""
    while brace >= 0:
        word, _ = header(text, brace)
        if word and word not in ("for", "if", "while", "switch"):
            return word
        brace = opening(text, brace)
    return "region"


def find_region(file: str, text: str, pragmas: list[Pragma], dataflow: Pragma) -> Region:
    """Take one region apart; ``text`` without comments. Raises BfpError with the place of what is not understood."""
    starts = [0]
    for line in text.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    brace = opening(text, starts[dataflow.line - 1])
    word, head_start = header(text, brace)
    if brace < 0 or word in ("", "if", "while", "switch"):
        raise refuse(file, dataflow.line, "it must be the body of a function or of a for loop")
    end = closing(text, brace, "{}")
    head = text[head_start:brace].strip() if word == "for" else ""
    begin = head_start if word == "for" else brace
    region = Region(function_name(text, brace), text.count("\n", 0, begin) + 1, begin, end + 1, head)
    last = text.count("\n", 0, end) + 1
    depths = {
        p.get("variable"): p.get("depth") for p in pragmas if p.name == "STREAM" and region.line <= p.line <= last
    }
    # directives are lines of their own; what is left is statements
    body = re.sub(r"^\s*#[^\n]*", lambda m: " " * len(m.group()), text[brace + 1 : end], flags=re.MULTILINE)
    at = brace + 1
    for statement in body.split(";"):
        line = text.count("\n", 0, at + len(statement) - len(statement.lstrip())) + 1
        at += len(statement) + 1
        add(region, file, line, " ".join(statement.split()), depths)
    for name in (*region.streams, *region.channels):
        users = [region.calls[i][0] for i in region.users(name)]
        if len(users) != 2:
            raise refuse(
                file, region.line, f"{name} is used by {len(users)} processes; it needs a producer and a consumer"
            )
    return region


def add(region: Region, file: str, line: int, statement: str, depths: dict) -> None:
    """Sort one statement of a region into its streams, channels and calls."""
    if not statement:
        return
    if re.search(r"[{}=]", statement):
        raise refuse(file, line, f"{statement!r} is neither a call nor a plain declaration")
    if found := STREAM.fullmatch(statement):
        region.streams[found.group(2)] = (found.group(1), depths.get(found.group(2)) or DEFAULT_DEPTH)
    elif found := CALL.fullmatch(statement):
        region.calls.append((found.group(1), statement, line))
    elif found := CHANNEL.fullmatch(statement):
        region.channels[found.group(2)] = found.group(1) + found.group(3).replace(" ", "")
    else:
        raise refuse(file, line, f"{statement!r} is neither a call nor a plain declaration")


def threaded_source(text: str, file: str) -> str:
    """A source with its DATAFLOW regions run by threads; as it is where it has none.

    file: its name for messages and for the compiler's. Raises BfpError for a
    region that holds more than plain declarations and calls.
    """
    pragmas = list(scan(file, text))
    plain = blank_comments(text)
    regions = [find_region(file, plain, pragmas, p) for p in pragmas if p.name == "DATAFLOW"]
    if not regions:
        return text
    result, at = f'#include "processes.hpp"\n#line 1 "{file}"\n', 0
    for region in sorted(regions, key=lambda r: r.begin):
        if region.begin < at:
            raise refuse(file, region.line, "it lies within another; call a function instead")
        after = plain.count("\n", 0, region.end) + 1
        result += f'{text[at : region.begin]}\n{region.text(file)}\n#line {after} "{file}"\n'
        at = region.end
    return result + text[at:]


def write_threaded(hls: Path, out: Path) -> Path:
    """Copies of all kernel sources of ``hls`` in ``out``, with threads; returns the copy of engine.cpp.

    All of them, since includes are looked up beside the including file first.
    """
    for path in sorted(hls.glob("*.[ch]pp")):
        write_text(out / path.name, threaded_source(path.read_text(), str(path)))
    return out / "engine.cpp"
