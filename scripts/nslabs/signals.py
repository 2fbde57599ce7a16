"""Signals that ask this process to end, turned into one exception."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from .errors import Interrupted

ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_held = 0
_pending: int | None = None


def install() -> None:
    """From now on SIGINT, SIGTERM and SIGHUP raise Interrupted, once.

    A signal that the caller has us ignore (nohup) stays ignored. After the first
    one the others are ignored: what is done then is short and must be finished.
    """
    for signum in ASKING:
        if signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, _handler)


@contextmanager
def held() -> Iterator[None]:
    """A stretch of code that an interrupt must not tear apart."""
    global _held
    _held += 1
    try:
        yield
    finally:
        _held -= 1
        if not _held and _pending is not None:
            raise Interrupted(_pending)


def die_from(signum: int) -> None:
    """End as the signal's default action does, so that the caller can see it."""
    signal.signal(signum, signal.SIG_DFL)
    os.kill(os.getpid(), signum)


def _handler(signum: int, _frame: object) -> None:
    global _pending
    for other in ASKING:
        signal.signal(other, signal.SIG_IGN)
    if _held:
        _pending = signum
    else:
        raise Interrupted(signum)
