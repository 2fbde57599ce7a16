"""A shell in a guest, on this terminal: raw, resized with it, Ctrl-C going inside."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import struct
import subprocess
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from .. import signals
from ..errors import BROKEN, UserError
from .guest import Parts, initramfs, qemu
from .kernels import Kernel


@contextmanager
def raw_terminal() -> Iterator[None]:
    """This terminal passes every key on; afterwards it is as before."""
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(0)
    try:
        tty.setraw(0)
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


def size() -> tuple[int, int]:
    """Rows and columns of this terminal."""
    try:
        columns, rows = os.get_terminal_size(1)
        return rows, columns
    except OSError:
        return 24, 80


def shell(kernel: Kernel, parts: Parts, accel: str, command: list[str]) -> int:
    """Boot, and be the guest's console until its shell has ended."""
    rows, columns = size()
    words = command or ["bash", "-l"]
    lines = ["nonce\t-", "\t".join(["shell", str(rows), str(columns), *words])]
    ours, theirs = socket.socketpair()
    with initramfs(kernel, parts, lines) as (initrd, megabytes):
        if kernel.uml:
            raise UserError("nslab vm shell needs a kernel for QEMU, not uml", BROKEN)
        line = qemu(kernel, initrd, max(megabytes, 512), accel, theirs.fileno())
        with signals.held():
            guest = subprocess.Popen(
                line,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        theirs.close()
        try:
            with raw_terminal():
                return _converse(guest, ours)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(guest.pid, signal.SIGKILL)
            guest.wait()
            ours.close()


def _converse(guest: subprocess.Popen[bytes], results: socket.socket) -> int:
    """Keys in, characters out; the shell's exit status when it has ended."""
    assert guest.stdin and guest.stdout
    told = bytearray()
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    before = signal.signal(signal.SIGWINCH, lambda *_: os.write(wake_write, b"w"))
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(guest.stdout, selectors.EVENT_READ)
            selector.register(results, selectors.EVENT_READ)
            selector.register(wake_read, selectors.EVENT_READ)
            with suppress(PermissionError):  # a regular file is always ready
                selector.register(0, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    data = os.read(key.fd, 1 << 16)
                    if key.fd == 0:
                        if data:
                            guest.stdin.write(data)
                            guest.stdin.flush()
                        else:
                            selector.unregister(0)
                    elif key.fd == wake_read:
                        results.send(struct.pack(">HH", *size()))
                    elif key.fileobj is results:
                        told += data
                        status = _status(bytes(told))
                        if status is not None:
                            return status
                        if not data:
                            selector.unregister(results)
                    elif data:
                        os.write(1, data)
                    else:
                        raise UserError("the guest ended before its shell did", BROKEN)
    finally:
        signal.signal(signal.SIGWINCH, before)
        os.close(wake_read)
        os.close(wake_write)


def _status(told: bytes) -> int | None:
    """The shell's exit status, once the guest has told it."""
    for line in told.decode("utf-8", "replace").split("\n")[:-1]:
        words = line.split()
        if len(words) >= 3 and words[0] == "X":
            code = os.waitstatus_to_exitcode(int(words[2]))
            return code if code >= 0 else 128 - code
    return None
