"""The one exception that users are meant to read."""


class BfpError(Exception):
    """Bad input: one clear sentence that says what, where, and what to do."""
