"""Starts labs, reads their traces as they come, and ends what must end.

One loop for all: it waits on the pipes and the pidfds of every running lab at once,
so nothing is polled and an interrupt arrives in one place. Use `run_all` for many
labs, `events_of` for one.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Union

from . import signals
from .errors import errno_text
from .trace import (
    EXIT_CODES,
    EXPERIMENT,
    LINE_LIMIT,
    Collector,
    Event,
    Result,
    broken,
    how_it_ended,
)

LAB_SECONDS = 10.0  # the labs' own default time limit
STDERR_KEPT = 16 << 10
LINGER_SECONDS = 2.0  # for the end of its pipes after the end of the process


@dataclass(frozen=True)
class Order:
    """One lab to run, and how.

    `capture` is how a run told as text is kept: True collects it (see
    `Finished.text`), False lets the lab write to this process's own output.
    """

    lab: str
    program: Path | None
    mode: str = EXPERIMENT
    stage: str | None = None
    seconds: float | None = None  # the lab's time limit
    grace: float = 5.0  # how much longer than that we wait before we kill it
    told: bool = False  # as text for people instead of a trace
    capture: bool = True
    not_built: str = "it is not built: run 'make'"

    def command(self) -> list[str]:
        """What is executed."""
        words = [str(self.program), "--format=text" if self.told else "--format=json"]
        if self.mode != EXPERIMENT:
            words.append(f"--{self.mode}")
        if self.stage:
            words.append(f"--stage={self.stage}")
        if self.seconds is not None:
            words.append(f"--timeout={self.seconds:g}")
        return words

    @property
    def patience(self) -> float:
        """Seconds after which the lab has hung, whatever it promises."""
        return (self.seconds if self.seconds is not None else LAB_SECONDS) + self.grace


@dataclass(frozen=True)
class Started:
    """A lab was started."""

    index: int
    order: Order


@dataclass(frozen=True)
class Traced:
    """A running lab wrote an event."""

    index: int
    order: Order
    event: Event


@dataclass(frozen=True)
class Finished:
    """A lab has ended; `text` is what it told, when that was asked for."""

    index: int
    order: Order
    result: Result
    text: str = ""


@dataclass(frozen=True)
class Tick:
    """Nothing happened for a while."""


Progress = Union[Started, Traced, Finished, Tick]


def run_all(
    orders: Sequence[Order], jobs: int = 1, tick: float | None = None
) -> Generator[Progress, None, None]:
    """Run the orders, `jobs` at a time, and yield what happens as it happens.

    When the generator is closed, or an exception (an interrupt) passes through
    it, the labs still running are ended.
    """
    waiting = list(enumerate(orders))[::-1]
    running: dict[int, _Process] = {}
    with selectors.DefaultSelector() as selector:
        try:
            while waiting or running:
                while waiting and len(running) < max(1, jobs):
                    index, order = waiting.pop()
                    yield Started(index, order)
                    with signals.held():
                        process = _start(index, order, selector)
                        if isinstance(process, _Process):
                            running[index] = process
                    if isinstance(process, Finished):
                        yield process
                if not running:
                    continue
                yield from _wait(running, selector, tick)
        finally:
            _end_all(list(running.values()))


def events_of(order: Order) -> Generator[Event, None, Result]:
    """Run one lab: yields its events, returns its result."""
    with closing(run_all([order])) as progress:
        for happening in progress:
            if isinstance(happening, Traced):
                yield happening.event
            elif isinstance(happening, Finished):
                return happening.result
    raise AssertionError("a run always finishes")


def run_one(order: Order) -> Result:
    """Run one lab to its end."""
    events = events_of(order)
    while True:
        try:
            next(events)
        except StopIteration as end:
            result: Result = end.value
            return result


@dataclass
class _Process:
    """A running lab and what is known of it so far."""

    index: int
    order: Order
    popen: subprocess.Popen[bytes]
    selector: selectors.BaseSelector
    pidfd: int | None
    collector: Collector
    began: float
    deadline: float
    streams: dict[IO[bytes], bytearray] = field(default_factory=dict)
    text: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)
    pidfd_works: bool = True
    ended: float | None = None
    killed: str | None = None

    def watch(self) -> None:
        """Have the selector report this lab's pipes and its end."""
        for stream in (self.popen.stdout, self.popen.stderr):
            if stream is not None:
                os.set_blocking(stream.fileno(), False)
                self.streams[stream] = bytearray()
                self.selector.register(stream, selectors.EVENT_READ, (self, stream))
        if self.pidfd is not None:
            self.selector.register(self.pidfd, selectors.EVENT_READ, (self, None))

    def ready(self, stream: IO[bytes] | None) -> Iterator[Event]:
        """Something can be read: a pipe, or (None) that the process has ended."""
        if stream is None:
            assert self.pidfd is not None
            self.selector.unregister(self.pidfd)
            os.close(self.pidfd)
            self.pidfd = None
            self.ended = time.monotonic()
            # What it wrote is in the pipes by now; so is their end, unless a
            # process that it left behind still holds them.
            self.deadline = min(self.deadline, self.ended + LINGER_SECONDS)
        elif stream in self.streams:
            yield from self._read(stream)
        if not self.streams and not self.pidfd_works and self.ended is None:
            self.popen.wait()
            self.ended = time.monotonic()

    @property
    def done(self) -> bool:
        """Ended, and everything it wrote was read."""
        return self.ended is not None and not self.streams

    def overdue(self) -> Iterator[Event]:
        """The deadline has passed: end it, whatever state it is in."""
        lingering = self.ended is not None
        # Not reaped yet, so the number of its group is still its own.
        self.signal(signal.SIGKILL)
        status = self.popen.wait()
        if lingering:
            self.killed = (
                f"it ended ({how_it_ended(status)}), but a process that it left "
                "behind still holds its output"
            )
        else:
            self.ended = time.monotonic()
            self.killed = (
                f"no end after {self.order.patience:g} s, although its own limit "
                "is shorter: killed"
            )
        for stream in list(self.streams):
            yield from self._read(stream)
            self._close(stream)

    def finished(self) -> Finished:
        """What it came to."""
        assert self.ended is not None
        seconds = self.ended - self.began
        status = self.popen.wait()
        stderr = bytes(self.stderr).decode("utf-8", "replace")
        if self.order.told:
            result = by_exit_code(self.order, status, self.killed, seconds, stderr)
        else:
            result = self.collector.finish(seconds, status, stderr, self.killed)
        text = bytes(self.text).decode("utf-8", "replace")
        return Finished(self.index, self.order, result, text)

    def signal(self, signum: int) -> None:
        """To the lab and all that it started and that did not leave its group."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.popen.pid, signum)

    def release(self) -> None:
        """Let go of every descriptor."""
        for stream in list(self.streams):
            self._close(stream)
        if self.pidfd is not None:
            with suppress(KeyError):
                self.selector.unregister(self.pidfd)
            os.close(self.pidfd)
            self.pidfd = None

    def _close(self, stream: IO[bytes]) -> None:
        if self.streams.pop(stream, None) is not None:
            self.selector.unregister(stream)
            stream.close()

    def _read(self, stream: IO[bytes]) -> Iterator[Event]:
        while True:
            try:
                data = os.read(stream.fileno(), 1 << 16)
            except BlockingIOError:
                return
            if stream is self.popen.stderr:
                self.stderr += data
                del self.stderr[:-STDERR_KEPT]
            elif self.order.told:
                self.text += data
            else:
                yield from self._lines(stream, data)
            if not data:
                self._close(stream)
                return

    def _lines(self, stream: IO[bytes], data: bytes) -> Iterator[Event]:
        """Whole lines become events; at the end, so does what is left of one."""
        rest = self.streams[stream]
        rest += data
        while rest:
            cut = rest.find(b"\n") + 1 or (0 if data else len(rest))
            if not cut and len(rest) <= LINE_LIMIT:
                return
            if not cut:
                self.killed = f"a line of its trace is longer than {LINE_LIMIT} bytes"
                self.signal(signal.SIGKILL)
                rest.clear()
                return
            line = bytes(rest[:cut]).decode("utf-8", "replace")
            del rest[:cut]
            event = self.collector.feed(line)
            if event is not None:
                yield event


def _start(
    index: int, order: Order, selector: selectors.BaseSelector
) -> _Process | Finished:
    if order.program is None:
        return Finished(
            index, order, broken(order.lab, order.mode, order.not_built), ""
        )
    began = time.monotonic()
    pipe: Any = subprocess.PIPE
    inherit = order.told and not order.capture
    try:
        popen = subprocess.Popen(
            order.command(),
            stdin=subprocess.DEVNULL,
            stdout=None if inherit else pipe,
            stderr=None if inherit else pipe,
            # Its own session: Ctrl-C reaches us alone, and we end the labs.
            start_new_session=True,
        )
    except OSError as error:
        why = f"it cannot be started: {errno_text(error)}: {order.program}"
        return Finished(index, order, broken(order.lab, order.mode, why), "")
    try:
        pidfd: int | None = os.pidfd_open(popen.pid)
    except (AttributeError, OSError):
        pidfd = None  # before Linux 5.3: the end of its pipes tells as much
    process = _Process(
        index,
        order,
        popen,
        selector,
        pidfd,
        Collector(order.lab, order.mode),
        began,
        began + order.patience,
    )
    process.pidfd_works = pidfd is not None
    process.watch()
    if pidfd is None and not process.streams:
        popen.wait()
        process.ended = time.monotonic()
    return process


def _wait(
    running: dict[int, _Process],
    selector: selectors.BaseSelector,
    tick: float | None,
) -> Iterator[Progress]:
    """Wait for the next thing to happen, and yield it."""
    now = time.monotonic()
    limit = max(0.0, min(p.deadline for p in running.values()) - now)
    if any(process.done for process in running.values()):
        limit = 0.0
    idle = tick is not None and tick < limit
    ready = selector.select(tick if idle else limit)
    for key, _ in ready:
        process, stream = key.data
        for event in process.ready(stream):
            yield Traced(process.index, process.order, event)
    now = time.monotonic()
    for process in list(running.values()):
        if not process.done and now >= process.deadline:
            for event in process.overdue():
                yield Traced(process.index, process.order, event)
        if process.done:
            del running[process.index]
            process.release()
            yield process.finished()
    if not ready and idle:
        yield Tick()


def _end_all(processes: list[_Process]) -> None:
    """End labs that nobody waits for any more: ask, then insist."""
    for process in processes:
        process.signal(signal.SIGTERM)
    deadline = time.monotonic() + 1.0
    for process in processes:
        if process.pidfd is not None:
            with selectors.DefaultSelector() as end:
                end.register(process.pidfd, selectors.EVENT_READ)
                end.select(max(0.0, deadline - time.monotonic()))
        process.signal(signal.SIGKILL)
        process.popen.wait()
        process.release()


def by_exit_code(
    order: Order, status: int, killed: str | None, seconds: float, stderr: str
) -> Result:
    """The result of a run told as text, of which only the exit code is known."""
    verdict = {code: word for word, code in EXIT_CODES.items()}.get(status, "broken")
    reason = killed
    if reason is None and status not in EXIT_CODES.values():
        reason = f"it ended with {how_it_ended(status)}"
    return Result(
        order.lab,
        order.mode,
        "broken" if killed else verdict,
        reason,
        seconds,
        status=status,
        stderr=stderr,
    )
