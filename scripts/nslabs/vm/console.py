"""A shell in a guest, on this terminal: raw, resized with it, Ctrl-C going inside."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ..errors import BROKEN, UserError
from .guest import BEGUN, BOOT_SECONDS, Machine, Parts, Process, booted, death, read
from .squeeze import Unsqueezer

LEAST_MEMORY = 512  # megabytes: somebody will try things
CONSOLE_KEPT = 64 << 10
KEYS_KEPT = 4 << 10  # typed ahead of the guest; more stays where it is
END_OF_FILE = b"\x04\x04"  # once for what stands on the line, once for the end
BOOTED = f"{BEGUN}\r\n".encode()
AWAY = b"\x1d"  # Ctrl-]
AWAY_TIMES, AWAY_SECONDS = 3, 1.0
BATCH = ["bash", "-c", ". /dev/stdin"]


@contextmanager
def raw_terminal() -> Iterator[None]:
    """This terminal passes every key on; afterwards it is as before."""
    if not os.isatty(0):
        yield
        return
    before = termios.tcgetattr(0)
    try:
        tty.setraw(0)
        yield
    finally:
        termios.tcsetattr(0, termios.TCSANOW, before)


def size() -> tuple[int, int]:
    """Rows and columns of this terminal."""
    for descriptor in (1, 0, 2):
        with suppress(OSError):
            columns, rows = os.get_terminal_size(descriptor)
            if columns and rows:
                return rows, columns
    return 24, 80


def shell(machine: Machine, parts: Parts, term: str, command: list[str]) -> int:
    """Boot, and be the guest's console until its shell has ended."""
    person = os.isatty(0)
    words = command or (["bash", "-l"] if person else BATCH)
    if any("\t" in word or "\n" in word for word in words):
        raise UserError("a command for the guest cannot hold tabs or line ends")
    # Without a terminal here, the guest's must not behave as one for people.
    kind = "shell" if person and os.isatty(1) else "plain"
    rows, columns = size()
    lines = [
        f"set\tTERM\t{term}",
        "\t".join([kind, str(rows), str(columns), machine.terminal, *words]),
    ]
    with booted(machine, parts, lines, subprocess.PIPE, LEAST_MEMORY) as guest:
        if person and not command:
            print(
                "nslab: the guest starts; the labs are on its PATH, 'exit' leaves it "
                "(Ctrl-] three times: at once)",
                file=sys.stderr,
                flush=True,
            )
        with raw_terminal():
            return _Conversation(guest, machine, (rows, columns)).hold()


class _Conversation:
    """Keys in, characters out, until the guest says how its shell has ended."""

    def __init__(
        self, guest: Process, machine: Machine, rows_columns: tuple[int, int]
    ) -> None:
        assert guest.popen.stdin and guest.popen.stdout
        self.size = rows_columns  # as the guest was told
        self.guest = guest
        self.machine = machine
        self.keys = guest.popen.stdin.fileno()
        self.screen = guest.popen.stdout.fileno()
        self.selector = selectors.DefaultSelector()
        self.unsqueezer = Unsqueezer()
        self.told = bytearray()  # of the results
        self.shown = bytearray()  # on the console
        self.typed = bytearray()  # what the guest has not taken yet
        self.booted = b""  # once the console is the shell's
        self.begun = False  # once the shell takes keys
        self.input = True  # whether there is more to come from our standard input
        self.listening = False  # whether it is being waited for
        self.file = False  # whether it need not be
        self.away: list[float] = []

    def hold(self) -> int:
        """Returns the shell's exit status."""
        os.set_blocking(self.keys, False)
        wake, waker = os.pipe()
        os.set_blocking(waker, False)
        before = signal.signal(signal.SIGWINCH, lambda *_: _write_some(waker, b"w"))
        try:
            with self.selector:
                for source in (self.screen, self.guest.results.fileno(), wake):
                    self.selector.register(source, selectors.EVENT_READ)
                return self._talk(wake)
        finally:
            signal.signal(signal.SIGWINCH, before)
            os.close(wake)
            os.close(waker)

    def _talk(self, wake: int) -> int:
        patience = BOOT_SECONDS * self.machine.slow
        while True:
            limit = None if self.begun else patience
            ready = self.selector.select(0 if self.file else limit)
            if not ready and not self.begun:
                raise UserError(f"no word from the guest within {patience:g} s", BROKEN)
            for key, _ in ready:
                if key.fd == self.keys:
                    self._push()
                elif key.fd == wake:
                    os.read(wake, 64)
                    self._tell_size()
                elif key.fd == 0:
                    self._type()
                elif key.fd == self.screen:
                    self._show(read(key.fd))
                else:
                    status = self._hear(read(key.fd))
                    if status is not None:
                        self._drain()
                        return status
            self._want_keys()

    def _want_keys(self) -> None:
        """Wait for keys once there is somebody to give them to, but hoard none.

        Sent before the shell begins, they would be lost or shown twice.
        """
        wanted = self.begun and self.input and len(self.typed) < KEYS_KEPT
        self.file = False
        if wanted == self.listening:
            return
        self.listening = wanted
        if not wanted:
            self.selector.unregister(0)
            return
        try:
            self.selector.register(0, selectors.EVENT_READ)
        except PermissionError:  # a regular file, which can always be read
            self.listening = False
            self._type()
            self.file = self.input and len(self.typed) < KEYS_KEPT

    def _type(self) -> None:
        """Keys for the guest; the end of our input is the end of its input."""
        data = read(0)
        if os.isatty(0) and self._leaves(data):
            raise UserError("left the guest as it was", BROKEN)
        if not data:
            self.input = False
        self.typed += data or END_OF_FILE
        self._push()

    def _leaves(self, data: bytes) -> bool:
        """Whether Ctrl-] came three times within a second."""
        now = time.monotonic()
        for byte in data:
            self.away = [*self.away, now] if byte == AWAY[0] else []
        self.away = [then for then in self.away if now - then < AWAY_SECONDS]
        return len(self.away) >= AWAY_TIMES

    def _push(self) -> None:
        """As many keys as the guest takes now; the rest when it can."""
        del self.typed[: _write_some(self.keys, self.typed)]
        waiting = self.keys in self.selector.get_map()
        if self.typed and not waiting:
            self.selector.register(self.keys, selectors.EVENT_WRITE)
        elif not self.typed and waiting:
            self.selector.unregister(self.keys)

    def _show(self, data: bytes) -> None:
        if not data:
            status = self.guest.popen.wait()
            why = death(self.machine, bytes(self.shown), status, self.begun)
            raise UserError(f"the guest ended before its shell did: {why}", BROKEN)
        self.shown += data
        if not self.booted:  # how it boots is of interest only if it fails
            _, self.booted, data = bytes(self.shown).partition(BOOTED)
        del self.shown[:-CONSOLE_KEPT]
        while data:
            data = data[os.write(1, data) :]

    def _drain(self) -> None:
        """The last of what the shell wrote is in the pipe by now."""
        os.set_blocking(self.screen, False)
        with suppress(BlockingIOError):
            while data := read(self.screen):
                self._show(data)

    def _tell_size(self) -> None:
        if self.begun and size() != self.size:
            self.size = size()
            with suppress(OSError):
                self.guest.results.send("{} {}\n".format(*self.size).encode())

    def _hear(self, data: bytes) -> int | None:
        """The shell's exit status, once the guest has told it."""
        if not data:
            self.selector.unregister(self.guest.results.fileno())
        self.told += self.unsqueezer.feed(data)
        *lines, rest = bytes(self.told).split(b"\n")
        self.told = bytearray(rest)
        for line in lines:
            letter, _, text = line.decode("utf-8", "replace").partition(" ")
            if letter == "S":
                self.begun = True
                self._tell_size()
            elif letter == "X":
                code = os.waitstatus_to_exitcode(int(text.split()[1]))
                return code if code >= 0 else 128 - code
        return None


def _write_some(descriptor: int, data: bytes | bytearray) -> int:
    """How many bytes could be written at once."""
    try:
        return os.write(descriptor, data) if data else 0
    except (BlockingIOError, BrokenPipeError):
        return 0
