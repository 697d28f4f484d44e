"""The kernel's identity: a digest of what the bitstream holds of a network, and of nothing else.

It covers the generated headers (but for ``identity.hpp``, which holds the identity itself and the extents of simulated
memories) and the hand-written sources that are synthesised, without their comments: neither a name nor a title nor an
artifact's digest is in the hardware. Weights, class names and preprocessing are not there either; the manifest has
hashes of those.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from bfp.errors import BfpError

HLS = Path(__file__).resolve().parent.parent / "hls"
OWN_HEADER = "identity.hpp"
# literals, which may hold what looks like a comment, and comments; an apostrophe inside a number separates digits
LITERAL_OR_COMMENT = re.compile(
    r"""("(?:\\.|[^"\\\n])*"|(?<![0-9A-Za-z_])'(?:\\.|[^'\\\n])+')|//(?:\\\n|[^\n])*|/\*.*?\*/""", re.S
)


def engine_sources(hls: Path = HLS) -> list[Path]:
    """The hand-written sources that are synthesised."""
    return sorted([*hls.glob("*.hpp"), *hls.glob("*.cpp"), *(hls / "synth").glob("*.hpp")])


def code_of(name: str, text: str) -> str:
    """C++ without comments, blank lines, and the spaces that a comment or an indentation leaves.

    Where lines break still counts: a directive ends with its line. Raises BfpError, naming the file, for a raw string,
    in which a comment could not be told from text.
    """
    code = LITERAL_OR_COMMENT.sub(lambda found: found[1] or " ", text)
    if re.search(r'\bu?8?R"', code):
        raise BfpError(f"source {name} holds a raw string, in which no comment can be told from text; write it plainly")
    lines = (" ".join(line.split()) for line in code.splitlines())
    return "".join(f"{line}\n" for line in lines if line)


def kernel_digest(generated: dict[str, str], sources: Iterable[Path]) -> str:
    """SHA-256, hex, of the code of generated headers, by file name, and of hand-written sources."""
    covered = {name: text for name, text in generated.items() if name != OWN_HEADER}
    written = {path.name: path.read_text(encoding="utf-8") for path in sources}
    digest = hashlib.sha256()
    for group in (covered, written):
        for name in sorted(group):
            code = code_of(name, group[name]).encode()
            digest.update(f"{name} {len(code)}\n".encode() + code)
    return digest.hexdigest()


def kernel_identity(generated: dict[str, str], sources: Iterable[Path]) -> str:
    """The kernel's identity, 16 hexadecimal digits: the start of ``kernel_digest``."""
    return kernel_digest(generated, sources)[:16]
