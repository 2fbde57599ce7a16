"""Boots a guest, runs orders in it, and tells what happens as it happens.

The guest's init (scripts/guest/init.c) delivers results over a serial line of their
own, apart from the console. What a guest that died had delivered is kept; what it
had not is broken, with the last lines of the console. No root, no network, no KVM.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import selectors
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from .. import signals
from ..errors import BROKEN, UserError
from ..runner import Finished, Order, Progress, Started, Tick, Traced
from ..trace import Collector, Result
from . import cache, image, unpack
from .kernels import Kernel

BOOT_SECONDS = 20.0  # to the guest's first word; longer when guests share a core
SLACK_SECONDS = 15.0  # beyond the limits of all labs
CONSOLE_KEPT = 64 << 10
QEMU = "qemu-system-x86_64"
KVM_SECONDS = 5.0
CMDLINE = (
    "console=ttyS0 quiet loglevel=3 panic=-1 reboot=t cryptomgr.notests=1 "
    "random.trust_cpu=on tsc=reliable no_timer_check"
)
LAB_TOOLS = ("genisoimage",)


@dataclass(frozen=True)
class Parts:
    """What goes into every guest: its init, the labs, tools; modules by name."""

    init: Path
    programs: dict[str, Path]
    tools: Sequence[str] = LAB_TOOLS
    modules: Sequence[str] = ()


def accelerator(mode: str = "auto") -> str:
    """ "kvm" where a guest really runs on it, else "tcg".

    A /dev/kvm that exists may hang its guest: it is tried once, with a short limit,
    and the answer is remembered for this boot of the host and this QEMU.
    """
    if mode != "auto":
        return mode
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    version = subprocess.run(
        [QEMU, "--version"], capture_output=True, text=True, check=False
    ).stdout
    key = hashlib.sha256(f"{boot}{version}".encode()).hexdigest()[:16]
    answer = cache.folder("kvm") / key
    if answer.exists():
        return answer.read_text()
    works = _kvm_works()
    answer.write_text("kvm" if works else "tcg")
    return answer.read_text()


# A boot sector that writes K to the debug console and halts.
_PROBE = bytes.fromhex("b04bbae900eefaf4ebfc").ljust(510, b"\0") + b"\x55\xaa"


def _kvm_works() -> bool:
    """Run a few instructions of a boot sector under KVM and look for their mark."""
    with tempfile.NamedTemporaryFile() as disk:
        disk.write(_PROBE)
        disk.flush()
        process = subprocess.Popen(
            [QEMU, "-accel", "kvm", "-M", "pc", "-m", "16", "-nodefaults"]
            + ["-display", "none", "-debugcon", "stdio", "-no-reboot"]
            + ["-drive", f"file={disk.name},format=raw,if=ide,readonly=on"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            assert process.stdout
            with selectors.DefaultSelector() as selector:
                selector.register(process.stdout, selectors.EVENT_READ)
                if not selector.select(KVM_SECONDS):
                    return False
                return os.read(process.stdout.fileno(), 1) == b"K"
        finally:
            process.kill()
            process.communicate()


@contextmanager
def initramfs(
    kernel: Kernel, parts: Parts, lines: list[str]
) -> Iterator[tuple[Path, int]]:
    """The guest's file system with its job, and the megabytes of memory it wants."""
    base = image.base(parts.init, parts.programs, image.find_tools(parts.tools))
    modules: dict[str, bytes] = {}
    if kernel.modules:
        files = unpack.module_files(kernel.modules)
        modules, _ = unpack.closure(list(parts.modules), files)
    packed = base.read_bytes()
    archive = image.job_archive(lines, modules)
    with tempfile.NamedTemporaryFile(prefix="nslabs-guest-") as file:
        file.write(archive + packed)
        file.flush()
        # Unpacked partially, a guest would run with files missing.
        room = 128 + 3 * (len(archive) + 3 * len(packed)) // (1 << 20)
        yield Path(file.name), max(192, room)


@dataclass
class _Lab:
    """What the guest has told of one order so far."""

    order: Order
    collector: Collector
    stderr: str = ""
    started: bool = False
    done: bool = False


@dataclass
class Guest:
    """One guest with its orders. Iterate over `run()` to its end."""

    kernel: Kernel
    parts: Parts
    orders: Sequence[Order]
    accel: str = "tcg"
    crowd: int = 1  # guests for each core, which all take longer then
    boot_seconds: float = BOOT_SECONDS
    release: str | None = None
    console: bytearray = field(default_factory=bytearray)
    first_result: float | None = None
    seconds: float = 0.0
    delivered: bool = False
    trouble: list[str] = field(default_factory=list)

    def run(self, tick: float | None = None) -> Generator[Progress, None, None]:
        """Boot, and yield what happens; every order ends with a Finished."""
        self._labs = [_Lab(o, Collector(o.lab, o.mode)) for o in self.orders]
        nonce = secrets.token_hex(8)
        lines = [f"nonce\t{nonce}"]
        for index, order in enumerate(self.orders):
            words = [f"/nslabs/bin/{order.lab}", *order.command()[1:]]
            limit = order.patience * self.crowd
            lines.append("\t".join(["run", str(index), f"{limit:g}", *words]))
        began = time.monotonic()
        with initramfs(self.kernel, self.parts, lines) as (initrd, megabytes):
            yield from self._boot(initrd, megabytes, nonce, tick)
        self.seconds = time.monotonic() - began

    def _command(self, initrd: Path, megabytes: int, results: int) -> list[str]:
        if self.kernel.uml:
            return [
                str(self.kernel.image),
                f"mem={megabytes}M",
                f"initrd={initrd}",
                "con=null",
                "con0=null,fd:1",
                f"con1=fd:{results},fd:{results}",
                "quiet",
                "root=/dev/ram0",
            ]
        return qemu(self.kernel, initrd, megabytes, self.accel, results)

    def _boot(
        self, initrd: Path, megabytes: int, nonce: str, tick: float | None
    ) -> Iterator[Progress]:
        ours, theirs = socket.socketpair()
        command = self._command(initrd, megabytes, theirs.fileno())
        with signals.held():
            try:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
            except FileNotFoundError:
                raise UserError(
                    f"{command[0]} is missing: install qemu-system-x86", BROKEN
                ) from None
        theirs.close()
        try:
            yield from self._listen(process, ours, nonce, tick)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            ours.close()
            assert process.stdout
            process.stdout.close()

    def _listen(
        self,
        process: subprocess.Popen[bytes],
        results: socket.socket,
        nonce: str,
        tick: float | None,
    ) -> Iterator[Progress]:
        """Read results and console until the last word, or until it goes wrong."""
        assert process.stdout
        pending = bytearray()
        began = time.monotonic()
        patience = sum(order.patience for order in self.orders) + SLACK_SECONDS
        deadline = began + self.boot_seconds * self.crowd
        reason: str | None = None
        open_ends = 2
        with selectors.DefaultSelector() as selector:
            selector.register(results, selectors.EVENT_READ)
            selector.register(process.stdout, selectors.EVENT_READ)
            while open_ends and not self.delivered:
                left = deadline - time.monotonic()
                if left <= 0:
                    boot = f"{self.boot_seconds * self.crowd:g} s"
                    reason = f"no word from it within {boot}"
                    if self.release:
                        reason = "it did not answer in time"
                    break
                ready = selector.select(min(left, tick) if tick else left)
                if not ready:
                    yield Tick()
                for key, _ in ready:
                    data = os.read(key.fd, 1 << 16)
                    if not data:
                        selector.unregister(key.fileobj)
                        open_ends -= 1
                    elif key.fileobj is process.stdout:
                        self.console += data
                        del self.console[:-CONSOLE_KEPT]
                        if b"Kernel panic" in data:
                            deadline = min(deadline, time.monotonic() + 2)
                    else:
                        pending += data
                        while (end := pending.find(b"\n")) >= 0:
                            line = bytes(pending[:end])
                            del pending[: end + 1]
                            if self.release is None and line.startswith(b"H "):
                                deadline = began + patience * self.crowd
                            yield from self._take(line, nonce)
        if not self.delivered:
            yield from self._give_up(reason or "it ended early")

    def _take(self, raw: bytes, nonce: str) -> Iterator[Progress]:
        """One line of the results."""
        text = raw.decode("utf-8", "replace")
        letter, _, rest = text.partition(" ")
        if letter == "H":
            self.release = rest
        elif letter == "M":
            self.trouble.append(rest)
        elif letter == "Z":
            self.delivered = rest == nonce
        elif letter in "SOEX":
            index, _, rest = rest.partition(" ")
            if not index.isdigit() or int(index) >= len(self._labs):
                return
            lab = self._labs[int(index)]
            if letter == "S":
                lab.started = True
                yield Started(int(index), lab.order)
            elif letter == "O":
                event = lab.collector.feed(rest + "\n")
                if event is not None:
                    yield Traced(int(index), lab.order, event)
            elif letter == "E":
                lab.stderr += rest + "\n"
            elif not lab.done:
                yield self._finished(int(index), lab, rest)

    def _finished(self, index: int, lab: _Lab, rest: str) -> Finished:
        status, _, milliseconds = rest.partition(" ")
        lab.done = True
        if self.first_result is None:
            self.first_result = time.monotonic()
        killed = None
        if status == "-1":
            killed = f"no end after {lab.order.patience:g} s in the guest: killed"
            code = -signal.SIGKILL
        else:
            code = os.waitstatus_to_exitcode(int(status))
        result = lab.collector.finish(
            float(milliseconds or 0) / 1000, code, lab.stderr, killed
        )
        return Finished(index, lab.order, result)

    def _give_up(self, reason: str) -> Iterator[Finished]:
        """Every order without a result is broken, and the console says why."""
        words = self.console.decode("utf-8", "replace").replace("\r", "")
        lines = [line for line in words.splitlines() if line.strip()]
        if any("Kernel panic" in line for line in lines):
            reason = "its kernel panicked"
        elif any("Out of memory" in line for line in lines):
            reason = "its kernel ran out of memory"
        elif any("Initramfs unpacking failed" in line for line in lines):
            reason = "its file system is damaged (Initramfs unpacking failed)"
        running = [lab.order for lab in self._labs if lab.started and not lab.done]
        during = f" during {running[0].lab}" if running else ""
        where = self.release or self.kernel.release or self.kernel.name
        why = f"the guest ({where}) ended{during}: {reason}"
        for index, lab in enumerate(self._labs):
            if not lab.done:
                lab.done = True
                told = "\n".join(lines[-4:])
                yield Finished(index, lab.order, _broken(lab.order, why, where, told))


def _broken(order: Order, why: str, kernel: str, console: str) -> Result:
    return Result(
        order.lab, order.mode, "broken", why, 0.0, kernel=kernel, stderr=console
    )


def qemu(
    kernel: Kernel, initrd: Path, megabytes: int, accel: str, results: int, tty: int = 0
) -> list[str]:
    """QEMU's command line: a microvm with two serial lines, and nothing else."""
    cpu = "max"
    return [
        QEMU,
        *("-accel", accel, "-M", "microvm,acpi=off", "-cpu", cpu),
        *("-m", str(megabytes), "-nodefaults", "-no-user-config"),
        *("-display", "none", "-no-reboot"),
        *("-chardev", "stdio,id=c,signal=off", "-serial", "chardev:c"),
        *("-chardev", f"socket,id=r,fd={results}"),
        *("-device", "isa-serial,chardev=r,iobase=0x2f8,irq=3,index=1"),
        *("-kernel", str(kernel.image), "-initrd", str(initrd)),
        *("-append", CMDLINE),
    ]


def need_qemu(kernel: Kernel) -> None:
    """Say at once what is missing."""
    if not kernel.uml and not shutil.which(QEMU):
        raise UserError(
            f"{QEMU} is missing: install qemu-system-x86 "
            "(scripts/setup vm does), or use --kernel uml",
            BROKEN,
        )
