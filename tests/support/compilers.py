"""The compilers that are here. Debian's clang packages name theirs by version only."""

import shutil


def find_clang() -> str | None:
    """``clang++`` on PATH, else the newest of ``clang++-14`` to ``clang++-21``, else None."""
    names = ["clang++", *(f"clang++-{version}" for version in range(21, 13, -1))]
    return next((name for name in names if shutil.which(name)), None)


GCC = "g++" if shutil.which("g++") else None
CLANG = find_clang()
NO_CLANG = "clang++ is not installed (Debian: apt install clang)"
EVERY = {"g++": GCC, "clang++": CLANG}
