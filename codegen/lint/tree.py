"""What lies below a cursor of libclang, asked for once: every rule walks the same tree, and libclang makes each cursor anew."""

from __future__ import annotations

from clang.cindex import Cursor


def children_of(cursor: Cursor) -> list[Cursor]:
    """The cursors directly below one; kept with it, not to be changed."""
    found = getattr(cursor, "_children", None)
    if found is None:
        found = cursor._children = list(cursor.get_children())
    return found


def walk(cursor: Cursor) -> list[Cursor]:
    """A cursor and all that lies below it, outermost first; kept with it, not to be changed."""
    found = getattr(cursor, "_below", None)
    if found is None:
        found = [cursor]
        for child in children_of(cursor):
            found += walk(child)
        cursor._below = found
    return found
