"""Boots a guest, runs orders in it, and tells what happens as it happens.

The guest's init (scripts/guest/init.c) delivers results over a serial line of their
own, apart from the console. What a guest that died had delivered is kept; what it
had not is broken, with the last lines of the console. No root, no network, no KVM.
"""

from __future__ import annotations

import os
import secrets
import selectors
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from .. import signals
from ..errors import BROKEN, UserError, errno_text
from ..runner import Finished, Order, Progress, Started, Tick, Traced, by_exit_code
from ..trace import Collector, Result, broken, how_it_ended
from . import image
from .kernels import Kernel
from .squeeze import Unsqueezer

QEMU = "qemu-system-x86_64"
BOOT_SECONDS = 20.0  # to the guest's first word
SLACK_SECONDS = 15.0  # for what is between labs, and beyond a lab's own limit
FATAL_SECONDS = 2.0  # for the rest of what a dying kernel says
BEGUN = "init: begun"  # said by the guest's init, after the kernel's own words
DAMAGED = b"Initramfs unpacking failed"
CONSOLE_KEPT = 64 << 10
STDERR_KEPT = 16 << 10
CMDLINE = (
    # Errors alone on the console; an oops is a panic, and a panic ends QEMU at once.
    "quiet loglevel=4 oops=panic panic=-1 reboot=t",
    # Tests of the crypto code and its noise source, which take a tenth of the boot.
    "cryptomgr.notests=1 initcall_blacklist=jent_mod_init",
    "random.trust_cpu=on no_timer_check",
)
EMULATED = "lpj=400000"  # no need to measure how fast an emulated processor waits


@dataclass(frozen=True)
class Parts:
    """What goes into a guest: its init, the labs, tools; modules by name."""

    init: Path
    programs: dict[str, Path]
    tools: Sequence[str] = ()
    modules: Sequence[str] = ()
    extra: dict[str, bytes] = field(default_factory=dict)  # other files, by their place


@dataclass(frozen=True)
class Machine:
    """What a kernel is run by, and on."""

    kernel: Kernel
    accel: str = "tcg"
    memory: int | None = None  # megabytes; None: as many as the image needs
    slow: float = 1.0  # how much longer everything takes here

    def need(self) -> None:
        """Say at once what is missing."""
        if not self.kernel.uml and not shutil.which(QEMU):
            raise UserError(
                f"{QEMU} is missing: install qemu-system-x86 "
                "('scripts/setup vm' does), or use --kernel uml",
                BROKEN,
            )

    def command(self, initrd: str, memory: int, results: int, home: str) -> list[str]:
        """What to execute: the console on its standard streams, results on a socket."""
        if self.kernel.uml:
            return [
                str(self.kernel.image),
                *(f"mem={memory}M", f"initrd={initrd}", f"uml_dir={home}"),
                *("con=null", "con0=fd:0,fd:1", f"con1=fd:{results},fd:{results}"),
                *("ssl=null", "quiet", "loglevel=4", "panic=-1", "console=tty0"),
            ]
        words = ["console=ttyS0", *CMDLINE]
        if self.accel == "tcg":
            words.append(EMULATED)
        return [
            QEMU,
            *("-accel", self.accel, "-M", "microvm,acpi=off", "-cpu", "max"),
            *("-m", str(memory), "-nodefaults", "-no-user-config"),
            *("-display", "none", "-no-reboot"),
            *("-chardev", "stdio,id=c,signal=off", "-serial", "chardev:c"),
            *("-chardev", f"socket,id=r,fd={results}"),
            *("-device", "isa-serial,chardev=r,iobase=0x2f8,irq=3,index=1"),
            *("-kernel", str(self.kernel.image), "-initrd", initrd),
            *("-append", " ".join(words)),
        ]

    @property
    def job(self) -> list[str]:
        """The lines of a job that this machine needs (scripts/guest/init.c)."""
        if self.kernel.uml:
            return ["results\t/dev/tty1", "poweroff"]
        return ["results\t/dev/ttyS1"]

    @property
    def terminal(self) -> str:
        """The console, as the guest calls it."""
        return "/dev/tty0" if self.kernel.uml else "/dev/ttyS0"


@dataclass
class Process:
    """A guest that runs: its process, and our end of its results."""

    popen: subprocess.Popen[bytes]
    results: socket.socket
    missing: list[str]  # modules that were wanted and that its kernel has not


@contextmanager
def booted(
    machine: Machine,
    parts: Parts,
    lines: Sequence[str],
    stdin: int = subprocess.DEVNULL,
    least: int = 0,
) -> Iterator[Process]:
    """A guest that does this job. When it is left, nothing of the guest is."""
    loaded = image.modules(machine.kernel.modules, parts.modules)
    packed = image.base(parts.init, parts.programs, parts.tools, parts.extra)
    job = image.job([*machine.job, *loaded.lines, *lines])
    # Unpacked partially for want of memory, a guest would run with files missing.
    size = len(job) + len(loaded.data) + 3 * len(packed)
    memory = machine.memory or max(192, least, 128 + 3 * size // (1 << 20))
    stack = ExitStack()
    _standard_streams()
    try:
        initrd = os.memfd_create("initrd")
        stack.callback(os.close, initrd)
        with open(initrd, "wb", closefd=False) as file:
            file.write(job + loaded.data + packed)
        ours, theirs = socket.socketpair()
        stack.callback(ours.close)
        stack.callback(theirs.close)
        fds = [initrd, theirs.fileno()]
        home = ""
        if machine.kernel.uml:
            home = stack.enter_context(TemporaryDirectory(prefix="nslabs-uml-"))
        command = machine.command(f"/proc/self/fd/{initrd}", memory, fds[1], home)
        with signals.held():
            popen = _start(command, stdin, fds)
            stack.callback(_end, popen)
        theirs.close()
        yield Process(popen, ours, loaded.missing)
    finally:
        with signals.held():
            stack.close()


def _standard_streams() -> None:
    """Nobody else's descriptor may get the number of one that was closed."""
    with suppress(OSError):
        while (descriptor := os.open(os.devnull, os.O_RDWR)) < 3:
            os.set_inheritable(descriptor, True)
        os.close(descriptor)


def _start(command: list[str], stdin: int, fds: list[int]) -> subprocess.Popen[bytes]:
    """In a session of its own, and killed when this process is."""
    if shutil.which("setpriv"):
        command = ["setpriv", "--pdeathsig", "KILL", *command]
    try:
        return subprocess.Popen(
            command,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=fds,
            start_new_session=True,
        )
    except OSError as error:
        raise UserError(f"{command[0]}: {errno_text(error)}", BROKEN) from None


def _end(popen: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(popen.pid, signal.SIGKILL)
    with suppress(BrokenPipeError):
        popen.communicate()


@dataclass
class _Lab:
    """What the guest has told of one order so far."""

    order: Order
    collector: Collector
    text: str = ""
    stderr: str = ""
    started: bool = False
    done: bool = False


@dataclass
class Guest:
    """One guest with its orders. Iterate over `run()` to its end."""

    machine: Machine
    parts: Parts
    orders: Sequence[Order]
    boot_seconds: float = BOOT_SECONDS
    slack_seconds: float = SLACK_SECONDS
    release: str | None = None
    console: bytearray = field(default_factory=bytearray)
    delivered: bool = False
    trouble: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def run(self, tick: float | None = None) -> Generator[Progress, None, None]:
        """Boot, and yield what happens; every order ends with a Finished."""
        self._labs = [_Lab(o, Collector(o.lab, o.mode)) for o in self.orders]
        for index, lab in enumerate(self._labs):
            if lab.order.program is None:
                lab.done = True
                order = lab.order
                result = broken(order.lab, order.mode, order.not_built)
                yield Finished(index, order, result)
        nonce = secrets.token_hex(8)
        lines = [f"nonce\t{nonce}"]
        for index, order in enumerate(self.orders):
            if order.program is None:
                continue
            words = [f"/nslabs/bin/{order.lab}", *order.command()[1:]]
            lines.append("\t".join(["run", str(index), f"{order.patience:g}", *words]))
        with booted(self.machine, self.parts, lines) as process:
            self.missing = process.missing
            reason = yield from self._listen(process, nonce, tick)
        if not self.delivered:
            yield from self._give_up(reason, process.popen.returncode)

    def _listen(
        self, guest: Process, nonce: str, tick: float | None
    ) -> Generator[Progress, None, str]:
        """Read results and console until the last word, or until it goes wrong.

        Returns what went wrong, where that is known from here.
        """
        assert guest.popen.stdout
        unsqueezer = Unsqueezer()
        pending = bytearray()
        self._allow(self.boot_seconds, "no word from it within {}")
        with selectors.DefaultSelector() as selector:
            selector.register(guest.results, selectors.EVENT_READ)
            selector.register(guest.popen.stdout, selectors.EVENT_READ)
            while selector.get_map() and not self.delivered:
                left = self._deadline - time.monotonic()
                if left <= 0:
                    return self._overdue
                ready = selector.select(min(left, tick) if tick else left)
                if not ready:
                    yield Tick()
                # What the console says may make the results worthless: it comes first.
                for key, _ in sorted(
                    ready, key=lambda r: r[0].fileobj is guest.results
                ):
                    data = read(key.fd)
                    if not data:
                        selector.unregister(key.fileobj)
                    elif key.fileobj is guest.popen.stdout:
                        self._hear(data)
                        if DAMAGED in self.console:
                            return ""
                    else:
                        pending += unsqueezer.feed(data)
                        *whole, rest = pending.split(b"\n")
                        pending = rest
                        for line in whole:
                            yield from self._take(line, nonce)
                        if unsqueezer.damage:
                            return f"its results are damaged: {unsqueezer.damage}"
        guest.popen.wait()  # both of its outputs are closed: it has ended
        return ""

    def _allow(self, seconds: float, overdue: str) -> None:
        """How long to wait for the next word, and what to say when none comes."""
        seconds *= self.machine.slow
        self._deadline = time.monotonic() + seconds
        self._overdue = overdue.format(f"{seconds:g} s")

    def _hear(self, data: bytes) -> None:
        """The console. After a panic nothing more will come but its own words."""
        self.console += data
        del self.console[:-CONSOLE_KEPT]
        if b"Kernel panic" in self.console:
            soon = time.monotonic() + FATAL_SECONDS
            self._deadline = min(self._deadline, soon)

    def _take(self, raw: bytes, nonce: str) -> Iterator[Progress]:
        """One line of the results."""
        text = raw.decode("utf-8", "replace")
        letter, _, rest = text.partition(" ")
        number, _, rest_of = rest.partition(" ")
        if letter == "H":
            self.release = rest
            self._allow(self.slack_seconds, "it hung after its start")
        elif letter == "T":
            why = errno_text(int(number)) if number.isdigit() else number
            self.trouble.append(f"the guest could not {rest_of}: {why}")
        elif letter == "Z":
            self.delivered = rest == nonce
        elif number.isdigit() and int(number) < len(self._labs):
            index = int(number)
            lab = self._labs[index]
            if letter == "S":
                lab.started = True
                limit = lab.order.patience + self.slack_seconds
                self._allow(limit, "it hung: no end of the lab after {}")
                yield Started(index, lab.order)
            elif letter == "O" and lab.order.told:
                lab.text += rest_of + "\n"
            elif letter == "O":
                event = lab.collector.feed(rest_of + "\n")
                if event is not None:
                    yield Traced(index, lab.order, event)
            elif letter == "E":
                lab.stderr = f"{lab.stderr}{rest_of}\n"[-STDERR_KEPT:]
            elif letter == "X" and not lab.done:
                self._allow(self.slack_seconds, "it hung after the lab")
                yield self._finished(index, lab, rest_of)

    def _finished(self, index: int, lab: _Lab, rest: str) -> Finished:
        status, _, milliseconds = rest.partition(" ")
        lab.done = True
        killed = None
        if status == "-1":
            limit = lab.order.patience
            killed = f"no end after {limit:g} s in the guest: killed"
            code = -signal.SIGKILL
        else:
            code = os.waitstatus_to_exitcode(int(status))
            if code == -signal.SIGKILL and _find(
                _lines(bytes(self.console)), "Out of memory"
            ):
                killed = "killed: the guest ran out of memory"
        seconds = float(milliseconds or 0) / 1000
        if lab.order.told:
            result = by_exit_code(lab.order, code, killed, seconds, lab.stderr)
        else:
            result = lab.collector.finish(seconds, code, lab.stderr, killed)
        return Finished(index, lab.order, result, lab.text)

    def _give_up(self, reason: str, status: int) -> Iterator[Finished]:
        """Every order without a result is broken, and the console says why."""
        begun = self.release is not None
        reason = death(self.machine, bytes(self.console), status, begun, reason)
        lines = _last_words(bytes(self.console))
        running = [lab.order for lab in self._labs if lab.started and not lab.done]
        during = f" during {running[0].lab}" if running else ""
        kernel = self.machine.kernel
        where = self.release or kernel.release or kernel.name
        for index, lab in enumerate(self._labs):
            if not lab.done:
                lab.done = True
                why = f"the guest ({where}) ended{during}: {reason}"
                if not lab.started:
                    why = f"not run: {why}"
                elif lab.collector.last_step:
                    why += f" (last step: {lab.collector.last_step})"
                told, lines = "\n".join(lines), []
                result = Result(
                    *(lab.order.lab, lab.order.mode, "broken", why, 0.0),
                    kernel=where,
                    stderr=lab.stderr + told,
                )
                yield Finished(index, lab.order, result, lab.text)


def death(
    machine: Machine, console: bytes, status: int, begun: bool, reason: str = ""
) -> str:
    """What a guest died of: its kernel's words, or else what was seen from outside."""
    lines = _lines(console)
    for words, meaning in (
        (
            "Initramfs unpacking failed",
            "its file system is damaged or its memory small",
        ),
        ("System is deadlocked on memory", "its kernel ran out of memory"),
        ("Kernel panic", "its kernel panicked"),
        ("init: /nslabs/job", "it has no job"),
    ):
        line = _find(lines, words)
        if line:
            return f"{meaning}: {line}"
    if not reason and not begun:
        program = "linux.uml" if machine.kernel.uml else "QEMU"
        said = f": {lines[-1]}" if lines else ""
        if status == 0 and not said:
            said = ", as when a kernel has too little memory to begin with"
        how = how_it_ended(status)
        reason = f"{program} ended before the guest's first word with {how}{said}"
    return reason or "it was rebooted or switched off from inside"


def _lines(console: bytes) -> list[str]:
    """What the console has shown."""
    words = console.decode("utf-8", "replace").replace("\r", "\n")
    return [line.strip() for line in words.split("\n") if line.strip()]


def _find(lines: list[str], words: str) -> str:
    """The first line with these words, without its time stamp; "" for none."""
    for line in lines:
        if words in line:
            return line[line.index("] ") + 2 :] if line.startswith("[") else line
    return ""


def read(descriptor: int) -> bytes:
    """Some bytes; none at the end, however it came to that."""
    try:
        return os.read(descriptor, 1 << 16)
    except ConnectionResetError:
        return b""


def _last_words(console: bytes) -> list[str]:
    """What a console said last: after its boot, and of a panic what led to it."""
    words = console.decode("utf-8", "replace")
    lines = _lines(words.rpartition(BEGUN)[2].encode())
    for index, line in enumerate(lines):
        if "Kernel panic" in line:
            lines = lines[: index + 1]
            break
    return lines[-4:]
