"""The whole host, before and after: what a lab has left behind.

A `Host` runs labs in a mount namespace of its own, with an empty /tmp and
/dev/shm, so that a file left there is the lab's and nobody else's. Everything
else is that of the machine. Each lab carries a mark in its environment, which all
its processes inherit: by it a process is told from those of other tests, which run
at the same time, and of the rest of the machine.

For an ordinary user the mount namespace belongs to a user namespace, and there the
kernel itself can be asked whether any namespace still exists: creating one fails
with ENOSPC while a limit of one is used up (see namespaces(7), max_*_namespaces).
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from .held import Held
from .labs import Player, Run, binary, run

MARK = "NSLABS_TEST_MARK"
PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")
FOLDERS = ("tmp", "tmp/home", "tmp/run", "tmp/queues", "dev/shm")

# The kernel frees namespaces and what they hold later, from its work queues, and
# tells nobody: no event says that a mount, a link or a count is gone. So what is
# left is looked for again, this often and at most this long, in seconds.
PAUSE, PATIENCE = 0.01, 15.0

# Makes the private directories, then counts: each line of the input is a type and a
# limit; "none" is answered when one more namespace of that type fits below the limit.
HOLDER = """
mount -t tmpfs -o mode=1777 none /tmp && mount -t tmpfs -o mode=1777 none /dev/shm &&
mkdir /tmp/bin /tmp/queues && mkdir -m 777 /tmp/home /tmp/run || exit
mount -t mqueue none /tmp/queues 2>/dev/null # the machine's: for root alone
echo ready
while read -r type limit; do
    echo $limit >/proc/sys/user/max_${type}_namespaces
    [ $type = mnt ] && type=mount
    unshare --$type true 2>/dev/null && echo none || echo some
done
"""

Item = tuple[str, str]


def lines_of(path: str | Path) -> list[str]:
    """A file's lines; none where it cannot be read."""
    try:
        return Path(path).read_text(errors="replace").splitlines()
    except OSError:
        return []


def names_in(path: str | Path) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []


# --- Processes ----------------------------------------------------------------


@dataclass(frozen=True)
class Process:
    """A process that no other can be mistaken for: PIDs come again."""

    pid: int
    started: str

    def link(self, namespace: str) -> str:
        try:
            return os.readlink(f"/proc/{self.pid}/ns/{namespace}")
        except OSError:
            return ""

    def lives(self) -> bool:
        return stat_of(self.pid)[1] == self.started


def stat_of(pid: int) -> tuple[str, str]:
    """State and start time of a process, as /proc/PID/stat has them."""
    text = "".join(lines_of(f"/proc/{pid}/stat"))
    words = text.rpartition(") ")[2].split()
    return (words[0], words[19]) if words else ("", "")


def processes() -> Iterator[tuple[Process, str]]:
    """All processes that are more than zombies, with their environment."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            state, started = stat_of(int(name))
            if started and state not in "ZX":
                environment = "\0".join(lines_of(f"/proc/{name}/environ"))
                yield Process(int(name), started), environment


def marked(mark: str) -> list[Process]:
    """The processes that carry a mark."""
    wanted = f"{MARK}={mark}"
    return [process for process, env in processes() if wanted in env.split("\0")]


def describe(process: Process) -> str:
    command = " ".join(lines_of(f"/proc/{process.pid}/cmdline")).replace("\0", " ")
    return f"{process.pid} ({command.strip()})"


# --- The rest of the machine ------------------------------------------------------


@dataclass
class Witness:
    """A process that lives in a namespace of the machine, and shows what is there."""

    process: Process
    namespace: str
    kind: str

    def lives(self) -> bool:
        """Still the same process in the same namespace."""
        return self.process.lives() and self.process.link(self.kind) == self.namespace

    def sees(self) -> Iterator[Item]:
        if self.kind == "mnt":
            for line in lines_of(f"/proc/{self.process.pid}/mountinfo"):
                words = line.split()
                what = " ".join(words[words.index("-") + 1 :][:2])
                yield "mount", f"{self.namespace} {words[0]} {words[4]} {what}"
        elif self.kind == "net":
            for line in lines_of(f"/proc/{self.process.pid}/net/dev")[2:]:
                yield "link", f"{self.namespace} {line.split(':')[0].strip()}"


def witnesses() -> list[Witness]:
    """One process for each mount and network namespace of the machine."""
    found: dict[tuple[str, str], Witness] = {}
    for kind in ("mnt", "net"):
        found[kind, me().link(kind)] = Witness(me(), me().link(kind), kind)
    for process, environment in processes():
        if MARK in environment:
            continue
        for kind in ("mnt", "net"):
            namespace = process.link(kind)
            if namespace and (kind, namespace) not in found:
                found[kind, namespace] = Witness(process, namespace, kind)
    return list(found.values())


def me() -> Process:
    return Process(os.getpid(), stat_of(os.getpid())[1])


def own_namespaces() -> Iterator[Item]:
    for kind in NAMESPACES:
        yield "own namespace", me().link(kind)


def names_of_the_machine() -> Iterator[Item]:
    yield "hostname", os.uname().nodename
    yield "domain name", " ".join(lines_of("/proc/sys/kernel/domainname"))


def loop_devices() -> Iterator[Item]:
    for path in Path("/sys/block").glob("loop*/loop/backing_file"):
        yield "loop device", f"{path.parts[3]} {lines_of(path)}"


def system_v_objects() -> Iterator[Item]:
    for kind in ("msg", "sem", "shm"):
        for line in lines_of(f"/proc/sysvipc/{kind}")[1:]:
            yield kind, " ".join(line.split()[:2])


def cgroups() -> Iterator[Item]:
    for line in lines_of("/proc/self/mountinfo"):
        words = line.split()
        if words[words.index("-") + 1].startswith("cgroup"):
            for folder, names, _ in os.walk(words[4]):
                for name in names:
                    # systemd makes and removes units of its own all the time
                    if not name.endswith((".scope", ".service", ".slice", ".mount")):
                        yield "cgroup", f"{folder}/{name}"


def adopt_orphans(adopt: bool) -> None:
    """Whether we, not the machine's init, reap what a killed supervisor leaves."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, int(adopt), 0, 0, 0)


# --- The host -------------------------------------------------------------------


class CannotHold(RuntimeError):
    """This machine has no namespace for the private directories; the reason."""


@dataclass
class Host:
    """The machine while labs run; leaving the context fails if they left a thing."""

    player: Player
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    what: str = ""  # the run of the moment, for the message
    placed: set[Path] = field(default_factory=set)

    def __enter__(self) -> Host:
        adopt_orphans(True)
        namespaces = ["--mount", "--propagation=private"]
        if self.player.uid:
            me_too = [f"--map-user={self.player.uid}", f"--map-group={self.player.uid}"]
            namespaces = ["--user", "--keep-caps", *me_too, *namespaces]
        self.holder = subprocess.Popen(
            ["unshare", *namespaces, "sh", "-c", HOLDER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, MARK: "holder"},
            **self.player.popen,
        )
        assert self.holder.stdout
        if self.holder.stdout.readline() != "ready\n":
            raise CannotHold(self.holder.communicate()[1].strip())
        self.root = Path(f"/proc/{self.holder.pid}/root")
        self.witnesses = witnesses()
        self.before = [set(witness.sees()) for witness in self.witnesses]
        self.before_all = set(self.sees())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self.check()
                if self.player.uid:
                    self.check_counts()
        finally:
            for process in marked(self.mark):
                os.kill(process.pid, signal.SIGKILL)
            self.holder.communicate()
            adopt_orphans(False)

    # --- Running ---

    @property
    def environment(self) -> dict[str, str]:
        return {
            MARK: self.mark,
            "HOME": "/tmp/home",
            "XDG_RUNTIME_DIR": "/tmp/run",
            "TMPDIR": "/tmp",
        }

    @property
    def prefix(self) -> list[str]:
        """Enters the holder's namespaces; the process stays the same one."""
        target = ["nsenter", "-t", str(self.holder.pid), "--mount"]
        if self.player.uid:
            target += ["--user", "--preserve-credentials"]
        return [*target, "--"]

    def place(self, program: str | Path) -> Path:
        """A program where the labs of this host see it: not in the real /tmp."""
        path = program if isinstance(program, Path) else binary(program)
        inside = Path("/tmp/bin") / path.name
        if path not in self.placed:
            with path.open("rb") as content:
                subprocess.run(
                    [*self.prefix, "sh", "-c", f"cat >{inside}; chmod 755 {inside}"],
                    stdin=content,
                    check=True,
                    **self.player.popen,
                )
            self.placed.add(path)
        return inside

    def run(self, program: str | Path, *args: str, **more: Any) -> Run:
        """Run a lab to its end. See labs.run()."""
        self.what = f"{program} {' '.join(args)}"
        return run(self.place(program), *args, **self.launch(more))

    def hold(self, program: str | Path, *args: str, **more: Any) -> Held:
        """Start a lab that is held at its steps. See Held."""
        self.what = f"{program} {' '.join(args)}"
        return Held(self.place(program), *args, **self.launch(more))

    def launch(self, more: dict[str, Any]) -> dict[str, Any]:
        """Arguments of run() and Held(); wrap is a command that runs the lab."""
        env = {**self.environment, **more.pop("env", {})}
        prefix = [*self.prefix, *more.pop("wrap", [])]
        return {"player": self.player, "prefix": prefix, "env": env, **more}

    # --- Looking ---

    def sees(self) -> Iterator[Item]:
        """What could be new: things of the whole machine, and the private files."""
        for process in marked(self.mark):
            yield "process", describe(process)
        for look in LOOKS:
            yield from look()
        for folder in FOLDERS:
            for name in names_in(self.root / folder):
                yield "file", f"/{folder}/{name}"

    def left(self) -> set[Item]:
        """What was not there before; and where we live, also what is there no more."""
        self.reap()
        found = set(self.sees()) - self.before_all
        for witness, before in zip(self.witnesses, self.before):
            now = set(witness.sees())
            if witness.lives():
                found |= now ^ before
        return found

    def reap(self) -> None:
        """Bury the orphans: a zombie keeps its PID namespace from being freed."""
        while found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if found.si_pid == self.holder.pid:
                break
            os.waitpid(found.si_pid, 0)

    def check(self) -> None:
        """Wait until nothing is left; fail when something stays."""
        left = self.left()
        until = time.monotonic() + PATIENCE
        while left and time.monotonic() < until:
            time.sleep(PAUSE)
            left &= self.left()
        assert not left, f"{self.what} left behind: {sorted(left)}"

    def check_counts(self) -> None:
        """Ask the kernel whether any namespace of the labs still exists."""
        assert self.holder.stdin and self.holder.stdout
        until = time.monotonic() + PATIENCE
        for kind in filter(lambda kind: me().link(kind), NAMESPACES):
            own = 1 if kind == "mnt" else 0  # the holder's
            answer = ""
            while answer != "none" and time.monotonic() < until:
                if answer:
                    time.sleep(PAUSE)
                    self.reap()
                self.holder.stdin.write(f"{kind} {own + 1}\n")
                self.holder.stdin.flush()
                answer = self.holder.stdout.readline().strip()
            assert answer == "none", f"{self.what} left a {kind} namespace"


LOOKS: list[Callable[[], Iterator[Item]]] = [
    own_namespaces,
    names_of_the_machine,
    loop_devices,
    system_v_objects,
    cgroups,
]
