"""The prerequisites of the labs: each tried, each with its remedy.

`examine` makes the list of checks; showing it is the verb's affair.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from . import packages, probe
from .errors import errno_text
from .probe import Answer

BUILD = "to build the labs"
RUN = "to run them"
SOME = "for some labs"
MORE = "for pages, tests and other kernels"

SBIN = "/usr/local/sbin:/usr/sbin:/sbin"
PROGRAM_SECONDS = 20


@dataclass(frozen=True)
class Check:
    """One prerequisite and what became of it."""

    name: str
    section: str
    required: bool
    found: bool
    tried: str  # how it was asked
    answer: str  # what came of it
    remedy: str | None = None
    lost: str | None = None  # what one does without, when it is optional
    group: str | None = None  # shown as one, when all of the group are found

    def to_json(self) -> dict[str, Any]:
        """As plain data, for JSON."""
        data = asdict(self)
        del data["group"]
        return data


@dataclass(frozen=True)
class Facts:
    """What the kernel says of its own restrictions; read to explain a refusal.

    A fact never decides whether something works: trying it does.
    """

    unprivileged_userns_clone: str | None = None
    apparmor_restrict: str | None = None
    limits: dict[str, str] = field(default_factory=dict)
    seccomp: bool = False
    chrooted: bool = False

    @staticmethod
    def read(proc: Path = Path("/proc")) -> Facts:
        """The facts of this machine and process."""
        status = _text(proc / "self/status") or ""
        mounts = _text(proc / "self/mountinfo") or ""
        limits = {}
        for name in ("user", *probe.TYPES):
            limit = _text(proc / f"sys/user/max_{name}_namespaces")
            if limit is not None:
                limits[name] = limit.strip()
        return Facts(
            _stripped(proc / "sys/kernel/unprivileged_userns_clone"),
            _stripped(proc / "sys/kernel/apparmor_restrict_unprivileged_userns"),
            limits,
            "\nSeccomp:\t2" in status,
            bool(mounts) and not any(f[4:5] == ["/"] for f in _fields(mounts)),
        )


def remedy_for(answer: Answer, kind: str, facts: Facts) -> str:
    """The way out of a namespace refused; `kind` is its type."""
    if answer.number == errno.ENOSPC:
        return _remedy_for_limit(kind, facts)
    if answer.number == errno.EUSERS:
        return "too many namespaces are nested here: run it further outside"
    if answer.number == errno.EINVAL:
        return (
            f"this kernel was built without {kind} namespaces: use another kernel, "
            f"such as {_machine()}"
        )
    if answer.number == errno.ENOENT:
        return "mount the kernel's /proc here: mount -t proc proc /proc"
    if answer.number in (errno.EPERM, errno.EACCES, errno.ENOSYS):
        return _remedy_for_refusal(answer, kind, facts)
    return "not known; the labs say more: nslab run uts-hostname --format text"


def _remedy_for_limit(kind: str, facts: Facts) -> str:
    for name in dict.fromkeys((kind, "user", "uts")):
        if facts.limits.get(name) == "0":
            sysctl = f"user.max_{name}_namespaces"
            return f"the limit {sysctl} is 0: {_root()}sysctl -w {sysctl}=10000"
    return (
        f"the limit user.max_{kind}_namespaces "
        f"(here {facts.limits.get(kind, 'not readable')}) is used up, or set to 0 "
        "further outside, or 32 levels are nested: raise it with sysctl there"
    )


def _remedy_for_refusal(answer: Answer, kind: str, facts: Facts) -> str:
    root = _root()
    if kind == "user":
        if facts.unprivileged_userns_clone == "0":
            sysctl = "kernel.unprivileged_userns_clone"
            return f"{sysctl} is 0: {root}sysctl -w {sysctl}=1"
        if facts.apparmor_restrict not in (None, "0"):
            sysctl = "kernel.apparmor_restrict_unprivileged_userns"
            return (
                f"AppArmor restricts user namespaces ({sysctl} is "
                f"{facts.apparmor_restrict}): {root}sysctl -w {sysctl}=0"
            )
    if facts.seccomp:
        return (
            "a seccomp filter is at work (Seccomp: 2 in /proc/self/status), as in a "
            "container: run on the host or in a VM, or start the container with "
            "--security-opt seccomp=unconfined"
        )
    if facts.chrooted:
        return (
            "this is a chroot, in which the kernel refuses user namespaces: enter the "
            "tree with pivot_root (systemd-nspawn, unshare and pivot_root), or a VM"
        )
    if answer.number == errno.ENOSYS:
        return f"this kernel has no such call: another kernel, or {_machine()}"
    return (
        "a security policy (AppArmor, SELinux, a container) refuses it and does not "
        f"say so in /proc: run on the host, or in {_machine()}"
    )


def examine(sources: Path | None) -> Iterator[Check]:
    """Every prerequisite, in the order in which it is needed.

    `sources` is the folder labs/ of a source tree; None where nslabs is
    installed, and nothing needs to be built.
    """
    if sources is not None:
        yield _compiler()
        yield _program("make", "make", BUILD, True, ["make", "--version"])
        yield from _libraries(sources)
    facts = Facts.read()
    users = _identities()
    yield from _namespaces(users, facts)
    yield _procfs(users)
    yield _veth(users)
    yield from _images(users)
    yield from _tools()


# --- Who asks ----------------------------------------------------------------------


@dataclass(frozen=True)
class Identity:
    """Who a probe runs as; the labs step down from root before they begin."""

    words: str
    down: bool

    def ask(self, body: Callable[[], str]) -> Answer:
        """Run a probe as this user."""

        def stepped_down() -> str:
            probe.step_down()
            return body()

        return probe.in_child(stepped_down if self.down else body)


def asked_as() -> str:
    """Who asks, and as whom the labs' own way is tried."""
    return "; ".join(user.words for user in _identities())


def _identities() -> list[Identity]:
    """The ordinary user first; for root also root itself."""
    if os.geteuid() != 0:
        return [Identity(f"as this user (uid {os.geteuid()})", False)]
    ordinary = Identity(f"as an ordinary user (uid {probe.NOBODY}), as labs do", True)
    root = Identity("and as root", False)
    answer = ordinary.ask(lambda: "possible")
    if not answer.ok:
        # The root of a namespace that has no other users.
        return [Identity(f"as root, who cannot step down ({answer.text})", False)]
    return [ordinary, root]


# --- To build ----------------------------------------------------------------------

PROGRAM = """#include <linux/sched.h>
#include <sched.h>
int main(void) { return CLONE_NEWUTS == 0 || CLONE_NEWUSER == 0; }
"""


def _compiler() -> Check:
    tried = "compiled a small program with the kernel's headers, and ran it"
    command = os.environ.get("CC") or "gcc"
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder, "a.c"), Path(folder, "a.out")
        source.write_text(PROGRAM, encoding="ascii")
        words = [*command.split(), "-D_GNU_SOURCE", "-o", str(program), str(source)]
        found, said = _run(words)
        if found:
            found, said = _run([str(program)])
        if found:
            _, said = _run([*command.split(), "--version"])
    return Check(
        "C compiler",
        BUILD,
        True,
        found,
        tried,
        f"{said}: compiled a program, which ran" if found else said,
        None if found else packages.remedy("compiler"),
    )


def _libraries(sources: Path) -> Iterator[Check]:
    """What the labs' own lab.mk files ask of pkg-config."""
    users: dict[str, list[str]] = {}
    for path in sorted(sources.glob("*/lab.mk")):
        for line in (_text(path) or "").splitlines():
            key, _, value = line.partition("=")
            if key.strip(" :+?") == "PKGS":
                for name in value.split():
                    users.setdefault(name, []).append(path.parent.name)
    if not users:
        return
    pkg_config = os.environ.get("PKG_CONFIG") or "pkg-config"
    for name, labs in users.items():
        found, said = _run([pkg_config, "--modversion", name])
        present = shutil.which(pkg_config) is not None
        need = name if name in packages.table() else f"lib{name}"
        yield Check(
            f"library {name}",
            BUILD,
            True,
            found,
            f"asked pkg-config, for {', '.join(labs)}",
            f"version {said}" if found else f"pkg-config: {said}",
            None if found else packages.remedy(need if present else "pkg-config"),
        )


# --- To run ------------------------------------------------------------------------


def _namespaces(users: list[Identity], facts: Facts) -> Iterator[Check]:
    tried = (
        "unshare(CLONE_NEWUSER), mapped itself to root, "
        "unshare(CLONE_NEWUTS), sethostname"
    )
    for index, user in enumerate(users):
        answer = user.ask(probe.user_namespace)
        yield Check(
            "user namespaces" if index == 0 else "user namespaces, as root",
            RUN,
            index == 0,
            answer.ok,
            f"{user.words}: {tried}",
            answer.text,
            None if answer.ok else remedy_for(answer, "user", facts),
            None if index == 0 else "labs started by root step down first",
        )
    user = users[0]
    answer = user.ask(probe.clone3)
    yield Check(
        "clone3",
        RUN,
        True,
        answer.ok,
        "called it without arguments, to which it says EINVAL",
        answer.text,
        None if answer.ok else remedy_for(answer, "user", facts),
    )
    for name in probe.TYPES:
        answer = user.ask(probe.namespace(name))
        yield Check(
            f"{name} namespaces",
            RUN,
            name not in ("time", "cgroup"),
            answer.ok,
            f"{user.words}: unshare({probe.FLAG_NAMES[name]}) in a user namespace",
            answer.text,
            None if answer.ok else remedy_for(answer, name, facts),
            f"the labs about {name} namespaces are skipped",
            "namespace types",
        )


def _procfs(users: list[Identity]) -> Check:
    answer = users[0].ask(probe.procfs)
    remedy = (
        "something is mounted over parts of /proc, as in containers; run on the host "
        "or in a VM (docker: --security-opt systempaths=unconfined)"
    )
    return Check(
        "/proc in a PID namespace",
        RUN,
        False,
        answer.ok,
        f"{users[0].words}: mount(proc) in new user, mount and PID namespaces",
        answer.text,
        None if answer.ok else remedy,
        "the labs that look at their own /proc are skipped",
    )


def _veth(users: list[Identity]) -> Check:
    answer = users[0].ask(probe.veth)
    remedy = f"{_root()}modprobe veth; else a kernel with CONFIG_VETH: {_machine()}"
    return Check(
        "veth",
        SOME,
        False,
        answer.ok,
        f"{users[0].words}: a pair made by netlink in a new network namespace",
        answer.text,
        None if answer.ok else remedy,
        "net-veth is skipped",
    )


def _images(users: list[Identity]) -> Iterator[Check]:
    """What mnt-iso needs: an image, and one of two ways to mount it."""
    lost = "mnt-iso is skipped"
    writer = _which("genisoimage") or _which("mkisofs") or _which("xorrisofs")
    yield _tried_program(
        "genisoimage", writer, probe.iso_writer, "iso-writer", "wrote an image", lost
    )
    for index, user in enumerate(users):
        answer = user.ask(probe.fuse)
        remedy = None if answer.ok else _remedy_for_fuse(answer)
        yield Check(
            "FUSE" if index == 0 else "FUSE, as root",
            SOME,
            False,
            answer.ok,
            f"{user.words}: opened /dev/fuse and mounted it in a user namespace",
            answer.text,
            remedy,
            f"{lost} where the kernel's iso9660 is missing too",
        )
    reader = _which("fuseiso")
    tried = "mounted an image and read a file of it"
    if reader and writer:
        answer = users[0].ask(probe.iso_by_fuse(writer, reader))
        remedy = "needs FUSE, above; else " + packages.remedy("iso-fuse")
    else:
        answer = Answer(reader is not None, "found, not tried: there is no image")
        remedy = packages.remedy("iso-fuse")
        if not reader:
            answer = Answer(False, "not found on PATH")
    yield Check(
        "fuseiso",
        SOME,
        False,
        answer.ok,
        f"{users[0].words}: {tried}",
        answer.text,
        None if answer.ok else remedy,
        f"{lost} where the kernel's iso9660 is missing too",
    )
    yield _iso9660()
    yield _loop()


def _remedy_for_fuse(answer: Answer) -> str:
    if answer.call == "open(/dev/fuse)" or answer.number == errno.ENOENT:
        if answer.number in (errno.EACCES, errno.EPERM):
            return f"{_root()}chmod 666 /dev/fuse"
        return f"{_root()}modprobe fuse"
    if answer.number == errno.EPERM:
        return f"FUSE in a user namespace is refused, or before 4.18: {_machine()}"
    return f"a kernel with FUSE: {_machine()}"


def _iso9660() -> Check:
    name = "iso9660 in the kernel"
    lost = "mnt-iso uses fuseiso instead"
    kernel = os.uname().release
    modules = f"/lib/modules/{kernel}"
    module = any(
        "/isofs.ko" in (_text(Path(modules, names)) or "")
        for names in ("modules.dep", "modules.builtin")
    )
    known = "\tiso9660\n" in (_text(Path("/proc/filesystems")) or "")
    if os.geteuid() == 0:
        tried = "as root: mount(2) of an iso9660 without a device, which says whether"
        answer = probe.in_child(probe.iso_file_system)
        if not answer.ok and answer.number in (errno.EPERM, errno.EACCES):
            answer = Answer(known, f"{answer.text}; in /proc/filesystems: {known}")
    else:
        tried = "looked into /proc/filesystems (only root can mount one)"
        text = "in /proc/filesystems" if known else "not in /proc/filesystems"
        answer = Answer(known, text)
    remedy = f"{_root()}modprobe isofs"
    if not module:
        remedy = f"no module isofs in {modules}: a kernel that has it, {_machine()}"
    return Check(
        name, SOME, False, answer.ok, tried, answer.text, _unless(answer, remedy), lost
    )


def _loop() -> Check:
    if os.geteuid() == 0:
        tried = "as root: a file on a free loop device, with autoclear"
        answer = probe.in_child(probe.loop_device)
    else:
        tried = "opened /dev/loop-control"
        try:
            os.close(os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC))
            answer = Answer(True, "/dev/loop-control opens")
        except OSError as error:
            answer = Answer(
                False, f"/dev/loop-control: {errno_text(error)}", None, error.errno
            )
    remedy = (
        f"{_root()}modprobe loop; from a container: run on the host, or in {_machine()}"
    )
    if answer.number in (errno.EACCES, errno.EPERM) and os.geteuid() != 0:
        remedy = "only root may use loop devices: sudo nslab doctor tries them"
    return Check(
        "loop devices",
        SOME,
        False,
        answer.ok,
        tried,
        answer.text,
        _unless(answer, remedy),
        "mnt-iso uses fuseiso instead",
    )


# --- For more ----------------------------------------------------------------------


def _tools() -> Iterator[Check]:
    yield _program(
        "util-linux",
        "util-linux",
        MORE,
        False,
        ["unshare", "--version"],
        ["nsenter", "--version"],
        ["lsns", "--version"],
        ["findmnt", "--version"],
        expect="util-linux",
        lost="the pages' commands by hand",
    )
    yield _program(
        "iproute2",
        "iproute2",
        MORE,
        False,
        ["ip", "-V"],
        ["ip", "-j", "link", "show", "lo"],
        lost="the network experiments by hand",
    )
    yield _program(
        "pytest",
        "pytest",
        MORE,
        False,
        [sys.executable, "-m", "pytest", "--version"],
        lost="scripts/test",
    )
    machine = os.uname().machine
    qemu = {"arm64": "aarch64", "i686": "i386"}.get(machine, machine)
    yield _program(
        f"qemu-system-{qemu}",
        "qemu",
        MORE,
        False,
        [f"qemu-system-{qemu}", "--version"],
        lost="'nslab vm' and 'nslab matrix'",
    )


def _program(
    name: str,
    need: str,
    section: str,
    required: bool,
    *commands: list[str],
    expect: str = "",
    lost: str | None = None,
) -> Check:
    """Programs that are there when each of the commands succeeds."""
    first = ""
    for words in commands:
        found, said = _run(words)
        if found and expect and expect not in said:
            found, said = False, f"{words[0]} is not of {expect}: {said}"
        if not found:
            break
        first = first or said
    names = list(dict.fromkeys(os.path.basename(words[0]) for words in commands))
    if len(names) > 1:
        first = f"{', '.join(names)}: {first}"
    return Check(
        name,
        section,
        required,
        found,
        "ran "
        + ", ".join(" ".join([os.path.basename(w[0]), *w[1:]]) for w in commands),
        first if found else said,
        None if found else packages.remedy(need),
        lost,
    )


def _tried_program(
    name: str,
    path: str | None,
    body: Callable[[str], Callable[[], str]],
    need: str,
    tried: str,
    lost: str,
) -> Check:
    if path is None:
        answer = Answer(False, "not found on PATH")
    else:
        answer = probe.in_child(body(path))
        answer = Answer(
            answer.ok, f"{path} {answer.text}" if answer.ok else answer.text
        )
    return Check(
        name,
        SOME,
        False,
        answer.ok,
        tried,
        answer.text,
        _unless(answer, packages.remedy(need)),
        lost,
    )


# --- Small things ------------------------------------------------------------------


def _unless(answer: Answer, remedy: str) -> str | None:
    return None if answer.ok else remedy


def _root() -> str:
    return "" if os.geteuid() == 0 else "sudo "


def _machine() -> str:
    """What to use instead of this kernel."""
    if Path(__file__).with_name("verb_vm.py").is_file():
        return "a virtual machine (nslab vm)"
    return "a virtual machine (see the Vagrantfile)"


def _which(name: str) -> str | None:
    """A program on PATH, or where administration programs are."""
    return shutil.which(name) or shutil.which(name, path=SBIN)


def _run(words: list[str]) -> tuple[bool, str]:
    """Whether a command succeeds, and the first line of what it says."""
    path = _which(words[0])
    if path is None:
        return False, f"{words[0]}: not found on PATH"
    try:
        run = subprocess.run(
            [path, *words[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=PROGRAM_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False, f"{words[0]}: no end after {PROGRAM_SECONDS} s"
    except OSError as error:
        return False, f"{words[0]}: {errno_text(error)}"
    said = next((line for line in run.stdout.splitlines() if line.strip()), "")
    if run.returncode != 0:
        return False, said.strip() or f"{words[0]}: exit {run.returncode}"
    return True, said.strip()


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _stripped(path: Path) -> str | None:
    text = _text(path)
    return None if text is None else text.strip()


def _fields(table: str) -> Iterator[list[str]]:
    for line in table.splitlines():
        yield line.split()
