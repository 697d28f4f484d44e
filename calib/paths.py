"""Where the paths in a network's file begin."""

from __future__ import annotations

import os
import re
from pathlib import Path

from bfp.errors import BfpError
from bfp.names import shown

MOST_PATH = 1000  # characters of a path
MOST_NAME = 255  # bytes of a file's name


def sbfp_data() -> str | None:
    """The folder of measuring data: $SBFP_DATA, or ``shared`` beside the project where that exists."""
    beside = Path(__file__).resolve().parents[2] / "shared"
    return os.environ.get("SBFP_DATA") or (str(beside) if beside.is_dir() else None)


def resolve(text: str, base: Path) -> str:
    """Expand environment variables and ``~``; a relative path is relative to ``base``.

    An unset variable stays as it is, so that the message about the missing
    file, or the fallback's, names it.
    """
    data = sbfp_data()
    if data:
        text = re.sub(r"\$(SBFP_DATA\b|\{SBFP_DATA\})", lambda _: data, text)
    text = os.path.expanduser(os.path.expandvars(text))
    longest = max(len(part.encode("utf-8", "replace")) for part in text.split(os.sep))
    if len(text) > MOST_PATH or longest > MOST_NAME or any(c < " " for c in text):
        raise BfpError(
            f"{shown(text)} can be no path; give printable text of at most {MOST_PATH} characters, and {MOST_NAME} bytes a name"
        )
    return text if text.startswith("$") else os.path.join(base, text)
