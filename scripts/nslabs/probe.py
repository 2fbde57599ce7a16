"""What this machine allows, found out by doing it, in children that then end.

A child makes its own namespaces with the real system calls and uses them; what it
made goes with it. Nothing here looks at a version, a user number or a file where
it can try instead.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import socket
import struct
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from .errors import errno_text

CLONE_NEWTIME = 0x00000080
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

# link in /proc/PID/ns -> flag of the types that a new user namespace can own
TYPES = {
    "mnt": CLONE_NEWNS,
    "uts": CLONE_NEWUTS,
    "ipc": CLONE_NEWIPC,
    "pid": CLONE_NEWPID,
    "net": CLONE_NEWNET,
    "cgroup": CLONE_NEWCGROUP,
    "time": CLONE_NEWTIME,
}
FLAG_NAMES = {
    "mnt": "CLONE_NEWNS",
    "user": "CLONE_NEWUSER",
    **{name: f"CLONE_NEW{name.upper()}" for name in TYPES if name != "mnt"},
}

MS_REC_PRIVATE = 0x4000 | 0x40000
MS_NOSUID_NODEV_NOEXEC = 2 | 4 | 8
PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
SYS_CLONE3 = 435  # the same number on every architecture
NOBODY = 65534

CHILD_SECONDS = 10

_libc = ctypes.CDLL(None, use_errno=True)


class Refused(Exception):
    """A call of a probe failed: which, and how."""

    def __init__(self, call: str, number: int) -> None:
        super().__init__(f"{call}: {errno_text(number)}")
        self.call = call
        self.number = number


@dataclass(frozen=True)
class Answer:
    """What a probe found: a sentence; where it was refused, the call and errno."""

    ok: bool
    text: str
    call: str | None = None
    number: int | None = None


# --- System calls ---------------------------------------------------------------


def check(call: str, returned: int) -> int:
    """The result of a libc call, or Refused."""
    if returned < 0:
        raise Refused(call, ctypes.get_errno())
    return returned


def unshare(name: str) -> None:
    """unshare(2) with the flag of one type."""
    flag = CLONE_NEWUSER if name == "user" else TYPES[name]
    check(f"unshare({FLAG_NAMES[name]})", _libc.unshare(flag))


def mount(source: str, target: str, kind: str, flags: int = 0, data: str = "") -> None:
    """mount(2)."""
    returned = _libc.mount(
        source.encode(),
        os.fsencode(target),
        kind.encode(),
        ctypes.c_ulong(flags),
        data.encode(),
    )
    check(f"mount({kind or source}, {target})", returned)


def make_private() -> None:
    """No mount made from here on is seen outside."""
    returned = _libc.mount(None, b"/", None, ctypes.c_ulong(MS_REC_PRIVATE), None)
    check("mount(/, MS_REC | MS_PRIVATE)", returned)


def enter_user_namespace() -> None:
    """Become root of a new user namespace, as the labs do."""
    uid, gid = os.geteuid(), os.getegid()
    unshare("user")
    _libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
    _write("/proc/self/uid_map", f"0 {uid} 1")
    if os.path.exists("/proc/self/setgroups"):
        _write("/proc/self/setgroups", "deny")
    _write("/proc/self/gid_map", f"0 {gid} 1")


def step_down() -> None:
    """Root becomes an ordinary user, for good; anybody else stays what he is."""
    if os.geteuid() != 0:
        return
    with _naming("setgroups"):
        os.setgroups([])
    with _naming(f"setresgid({NOBODY})"):
        os.setresgid(NOBODY, NOBODY, NOBODY)
    with _naming(f"setresuid({NOBODY})"):
        os.setresuid(NOBODY, NOBODY, NOBODY)
    # Or /proc/self would belong to root now: proc(5).
    _libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)


def in_child(body: Callable[[], str]) -> Answer:
    """Run `body` in a child of its own and have its answer.

    It returns a sentence, or raises Refused or OSError. It may not run for longer
    than CHILD_SECONDS; what it started in a PID namespace ends with it.
    """
    reader, writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _be_child(body, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        data = pipe.read()
    _, status = os.waitpid(pid, 0)
    if data:
        return Answer(**json.loads(data))
    ended = os.waitstatus_to_exitcode(status)
    if ended == -signal.SIGALRM:
        return Answer(False, f"no answer within {CHILD_SECONDS} s")
    return Answer(False, f"the probe itself died (status {ended})")


def in_first_process(body: Callable[[], str]) -> str:
    """Within a child: fork, and be PID 1 of the namespace just unshared."""
    reader, writer = os.pipe()
    try:
        pid = os.fork()
    except OSError as error:
        raise Refused("fork", error.errno or 0) from None
    if pid == 0:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        os.close(reader)
        _be_child(body, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        data = pipe.read()
    os.waitpid(pid, 0)
    answer = Answer(**json.loads(data)) if data else Answer(False, "PID 1 died")
    if answer.call is not None and answer.number is not None:
        raise Refused(answer.call, answer.number)
    if not answer.ok:
        raise OSError(answer.text)
    return answer.text


def _be_child(body: Callable[[], str], writer: int) -> NoReturn:
    """The life of a child: one answer into the pipe."""
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_DFL)
    signal.alarm(CHILD_SECONDS)
    os.set_inheritable(writer, False)
    try:
        answer = Answer(True, body())
    except Refused as refusal:
        answer = Answer(False, str(refusal), refusal.call, refusal.number)
    except OSError as error:
        place = f": {error.filename}" if error.filename else ""
        text = f"{errno_text(error)}{place}" if error.errno else str(error)
        answer = Answer(False, text, None, error.errno)
    except Exception as error:  # a mistake of ours must not look like a refusal
        answer = Answer(False, f"the probe itself failed: {error!r}")
    os.write(writer, json.dumps(vars(answer)).encode())
    os._exit(0)


class _naming:
    """OSErrors inside become Refused, with the name of the call."""

    def __init__(self, call: str) -> None:
        self.call = call

    def __enter__(self) -> None:
        return

    def __exit__(self, _kind: object, error: BaseException | None, _: object) -> None:
        if isinstance(error, OSError):
            raise Refused(self.call, error.errno or 0) from None


def _write(path: str, text: str) -> None:
    with _naming(f"writing {path}"), open(path, "w", encoding="ascii") as file:
        file.write(text)


def _link(name: str) -> str:
    return os.readlink(f"/proc/self/ns/{name}")


# --- Probes: each runs in a child ------------------------------------------------


def user_namespace() -> str:
    """A user namespace, and that it has power: it renames its own UTS namespace."""
    before = _link("user")
    enter_user_namespace()
    if _link("user") == before:
        raise OSError("unshare succeeded, but the namespace is the same")
    unshare("uts")
    with _naming("sethostname in its own UTS namespace"):
        socket.sethostname("probe")
    if os.uname().nodename != "probe":
        raise OSError("sethostname succeeded, but the name is the same")
    return "made, and root in it may set a hostname"


def namespace(name: str) -> Callable[[], str]:
    """A namespace of one type, owned by a new user namespace."""

    def body() -> str:
        link = f"{name}_for_children" if name in ("pid", "time") else name
        enter_user_namespace()
        before = _link(name)
        unshare(name)
        if name == "pid":
            return in_first_process(_be_first)
        if _link(link) == before:
            raise OSError("unshare succeeded, but the namespace is the same")
        return "made"

    return body


def _be_first() -> str:
    if os.getpid() != 1:
        raise OSError(f"the first process is PID {os.getpid()}, not 1")
    return "made, its first process is PID 1"


def procfs() -> str:
    """A /proc of a new PID namespace."""
    enter_user_namespace()
    unshare("mnt")
    unshare("pid")

    def body() -> str:
        make_private()
        mount("proc", "/proc", "proc", MS_NOSUID_NODEV_NOEXEC)
        if os.readlink("/proc/self") != "1":
            raise OSError(f"/proc/self is {os.readlink('/proc/self')}, not 1")
        return "mounted; /proc/self is 1"

    return in_first_process(body)


def veth() -> str:
    """A veth pair in a new network namespace, made by netlink itself."""
    enter_user_namespace()
    unshare("net")
    try:
        netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
        netlink.send(_new_veth("va", "vb"))
        reply = netlink.recv(4096)
    except OSError as error:
        raise Refused("netlink socket", error.errno or 0) from None
    # struct nlmsghdr (16 bytes, NLMSG_ERROR is 2), then struct nlmsgerr
    kind, code = struct.unpack_from("=H", reply, 4)[0], 0
    if kind == 2:
        code = struct.unpack_from("=i", reply, 16)[0]
    if code:
        raise Refused("RTM_NEWLINK (kind veth)", -code)
    names = {name for _, name in socket.if_nameindex()}
    if not {"va", "vb"} <= names:
        raise OSError("the kernel said yes, but there is no such link")
    return "a pair was made"


def _new_veth(one: str, other: str) -> bytes:
    """RTM_NEWLINK for a pair, with an acknowledgement; see rtnetlink(7)."""
    ifinfomsg = struct.pack("=BxHiII", 0, 0, 0, 0, 0)
    peer = _attribute(1, ifinfomsg + _attribute(3, other.encode() + b"\0"))
    info = _attribute(1, b"veth") + _attribute(2, peer)
    body = ifinfomsg + _attribute(3, one.encode() + b"\0") + _attribute(18, info)
    request_ack_create_excl = 0x1 | 0x4 | 0x400 | 0x200
    head = struct.pack("=IHHII", 16 + len(body), 16, request_ack_create_excl, 1, 0)
    return head + body


def _attribute(kind: int, data: bytes) -> bytes:
    text = struct.pack("=HH", 4 + len(data), kind) + data
    return text + bytes(-len(text) % 4)


def clone3() -> str:
    """clone3(2): asked with no arguments, it says EINVAL where it exists."""
    ctypes.set_errno(0)
    _libc.syscall(ctypes.c_long(SYS_CLONE3), None, ctypes.c_size_t(0))
    number = ctypes.get_errno()
    if number != errno.EINVAL:
        raise Refused("clone3", number)
    return "there: it refuses an empty call with EINVAL"


def fuse() -> str:
    """/dev/fuse opened, and a FUSE file system mounted without root."""
    enter_user_namespace()
    unshare("mnt")
    make_private()
    # Opened in here: the device and the mount must have the same user namespace.
    with _naming("open(/dev/fuse)"):
        device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    data = f"fd={device},rootmode=40000,user_id=0,group_id=0"
    mount("probe", tempfile.gettempdir(), "fuse", 2 | 4, data)
    return "/dev/fuse opened and mounted"


def iso_file_system() -> str:
    """Whether the kernel knows iso9660: mounting nothing must not say ENODEV."""
    unshare("mnt")
    make_private()
    try:
        mount("none", tempfile.gettempdir(), "iso9660", 1)
    except Refused as refusal:
        if refusal.number in (errno.ENODEV, errno.EPERM, errno.EACCES):
            raise
    return "mount(2) knows it"


def loop_device() -> str:
    """A loop device over a file, freed by the kernel at once (autoclear)."""
    import fcntl

    size = 1 << 20
    with tempfile.TemporaryFile() as file:
        file.truncate(size)
        with _naming("open(/dev/loop-control)"):
            control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
        for _ in range(16):
            with _naming("ioctl(LOOP_CTL_GET_FREE)"):
                number = fcntl.ioctl(control, 0x4C82)
            with _naming(f"open(/dev/loop{number})"):
                loop = os.open(f"/dev/loop{number}", os.O_RDONLY | os.O_CLOEXEC)
            # struct loop_config: fd, block size, struct loop_info64 with the
            # flags READ_ONLY | AUTOCLEAR 52 bytes in, 64 bytes reserved
            config = bytearray(304)
            struct.pack_into("=I", config, 0, file.fileno())
            struct.pack_into("=I", config, 8 + 52, 1 | 4)
            try:
                fcntl.ioctl(loop, 0x4C0A, bytes(config))
            except OSError as error:
                os.close(loop)
                if error.errno == errno.EBUSY:  # somebody was quicker
                    continue
                if error.errno not in (errno.EINVAL, errno.ENOTTY):
                    raise Refused("ioctl(LOOP_CONFIGURE)", error.errno or 0) from None
                # Before Linux 5.8 there is only the older way.
                with _naming("ioctl(LOOP_SET_FD)"):
                    fcntl.ioctl(loop, 0x4C00, file.fileno())
                fcntl.ioctl(loop, 0x4C01)
                return f"/dev/loop{number} took a file and let go of it"
            length = os.lseek(loop, 0, os.SEEK_END)
            if length != size:
                raise OSError(f"the device has {length} bytes, not {size}")
            return f"/dev/loop{number} showed a file and let go of it"
    raise Refused("ioctl(LOOP_CONFIGURE)", errno.EBUSY)


def iso_by_fuse(writer: str, reader: str) -> Callable[[], str]:
    """An ISO image written by one program and read through the other."""

    def body() -> str:
        image = _write_image(writer)
        enter_user_namespace()
        unshare("mnt")
        unshare("pid")

        def first() -> str:
            import subprocess

            make_private()
            place = tempfile.gettempdir()
            mount("probe", place, "tmpfs")
            path, point = f"{place}/a.iso", f"{place}/m"
            Path(path).write_bytes(image)
            os.mkdir(point)
            # -n: no entry in an mtab. Returns once the file system is there.
            run = subprocess.run(
                [reader, "-n", path, point], capture_output=True, text=True, check=False
            )
            if run.returncode != 0:
                said = (run.stderr or run.stdout).strip().splitlines()
                raise OSError(said[-1] if said else f"it ended with {run.returncode}")
            names = os.listdir(point)
            if "word" not in names or Path(f"{point}/word").read_text() != "true":
                raise OSError(f"the image shows {names}, not the file written to it")
            return "mounted an image and read a file from it"

        return in_first_process(first)

    return body


def iso_writer(writer: str) -> Callable[[], str]:
    """An ISO image is written."""

    def body() -> str:
        image = _write_image(writer)
        return f"wrote an image of {len(image) // 1024} KiB"

    return body


def _write_image(writer: str) -> bytes:
    import subprocess

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "in").mkdir()
        Path(folder, "in", "word").write_text("true", encoding="ascii")
        run = subprocess.run(
            [writer, "-quiet", "-R", "-o", f"{folder}/a.iso", f"{folder}/in"],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "HOME": folder},
        )
        if run.returncode != 0:
            said = run.stderr.strip().splitlines()
            raise OSError(said[-1] if said else f"it ended with {run.returncode}")
        image = Path(folder, "a.iso").read_bytes()
        if image[0x8001:0x8006] != b"CD001":
            raise OSError("what it wrote is no ISO image")
        return image
