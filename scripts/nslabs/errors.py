"""Errors that are the reader's to mend, and how errno is written."""

from __future__ import annotations

import errno
import os

OK = 0
USAGE = 2
BROKEN = 99


class UserError(Exception):
    """Ends the command with one line on standard error, and a code."""

    def __init__(self, message: str, code: int = USAGE) -> None:
        super().__init__(message)
        self.code = code


class Interrupted(Exception):
    """A signal asks this process to end; it dies from it once all is tidy."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


def errno_text(error: OSError | int) -> str:
    """Name and text: "ENOSPC (No space left on device)"."""
    number = error if isinstance(error, int) else error.errno
    if number is None:
        return str(error)
    name = errno.errorcode.get(number, f"errno {number}")
    return f"{name} ({os.strerror(number)})"


def suggestion(word: str, words: list[str]) -> str:
    """A question that names the nearest words, or nothing."""
    import difflib

    near = difflib.get_close_matches(word, words, n=2, cutoff=0.6)
    if not near:
        near = [known for known in words if word and word in known][:3]
    return f" Did you mean {' or '.join(near)}?" if near else ""
