"""Second programs whose ways must be known to be trusted."""

from __future__ import annotations

from harness.held import Held


def lsns(lab: Held, *arguments: str) -> str:
    """What lsns(8) lists. It gives up, without a word, when a process ends while it
    reads /proc (util-linux 2.38); then it is asked again."""
    for _ in range(9):
        try:
            return lab.look("lsns", "--noheadings", "--raw", *arguments)
        except AssertionError:
            continue
    return lab.look("lsns", "--noheadings", "--raw", *arguments)
