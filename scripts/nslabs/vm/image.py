"""The guest's file system: an initramfs with just the labs and what they need.

The newc format of cpio is written directly (Documentation/driver-api/early-userspace/
buffer-format.rst), so that no root and no mknod is needed. The kernel accepts
several archives one after the other: the job comes first, uncompressed and new for
every run; modules and the rest are packed once and kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import BROKEN, UserError
from . import cache, unpack

KEPT = 200 << 20  # bytes of packed images in the cache
FOLDERS = (
    "proc sys dev tmp run root mnt etc var nslabs nslabs/bin nslabs/modules".split()
)


class Cpio:
    """A cpio archive in the making: paths without a leading slash."""

    def __init__(self) -> None:
        self.entries: dict[str, tuple[int, bytes]] = {}

    def folder(self, path: str, mode: int = 0o755) -> None:
        """A folder, and those above it."""
        parts = path.strip("/").split("/")
        for depth in range(1, len(parts) + 1):
            above = "/".join(parts[:depth])
            self.entries.setdefault(above, (stat.S_IFDIR | 0o755, b""))
        self.entries[path.strip("/")] = (stat.S_IFDIR | mode, b"")

    def file(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """A file, and the folders above it."""
        path = path.strip("/")
        if "/" in path and path.rpartition("/")[0] not in self.entries:
            self.folder(path.rpartition("/")[0])
        self.entries[path] = (stat.S_IFREG | mode, data)

    def link(self, path: str, target: str) -> None:
        """A symbolic link."""
        self.entries[path.strip("/")] = (stat.S_IFLNK | 0o777, target.encode())

    def bytes(self) -> bytes:
        """The archive, padded so that another may follow."""
        out = bytearray()
        entries = [*self.entries.items(), ("TRAILER!!!", (0, b""))]
        for inode, (name, (mode, data)) in enumerate(entries, 1):
            fields = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
            out += b"070701" + b"".join(b"%08X" % field for field in fields)
            out += name.encode() + b"\0"
            out += b"\0" * (-len(out) % 4) + data
            out += b"\0" * (-len(out) % 4)
        return bytes(out) + b"\0" * (-len(out) % 512)


def libraries(program: Path) -> list[Path]:
    """The shared libraries of a program and its loader, as the loader itself says."""
    done = subprocess.run(
        ["ldd", str(program)], capture_output=True, text=True, check=False
    )
    paths = re.findall(r"(/\S+) \(0x", done.stdout)
    return [Path(path) for path in dict.fromkeys(paths)]


def add_program(cpio: Cpio, program: Path, place: str) -> None:
    """A program at its place, with the libraries where it looks for them."""
    cpio.file(place, program.read_bytes(), 0o755)
    for library in libraries(program):
        if str(library).strip("/") not in cpio.entries:
            cpio.file(str(library), library.read_bytes(), 0o755)


def find_tools(names: Iterable[str]) -> list[Path]:
    """Those of the tools that this machine has."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/bin:/bin"
    found = (shutil.which(name, path=path) for name in names)
    return [Path(tool) for tool in found if tool]


def pack(data: bytes) -> bytes:
    """Compressed as every kernel can unpack quickly; as it is without lz4(1)."""
    if not shutil.which("lz4"):
        return data
    done = subprocess.run(["lz4", "-lqc"], input=data, stdout=subprocess.PIPE)
    if done.returncode != 0:
        raise UserError(f"lz4 failed with exit code {done.returncode}", BROKEN)
    return done.stdout


def _kept(name: str, make: Callable[[], bytes]) -> bytes:
    """A file of the cache, made if it is not there; of old ones some are kept."""
    place = cache.folder("images")
    target = place / name
    with suppress(OSError):
        kept = target.read_bytes()
        if kept[:4] == _checksum(kept[4:]):
            os.utime(target)
            return kept[4:]
    data = make()
    cache.write(target, _checksum(data) + data)
    ages = []
    for other in place.iterdir():
        with suppress(OSError):
            info = other.stat()
            ages.append((info.st_mtime_ns, info.st_size, other))
    room = KEPT
    for _, size, other in sorted(ages, reverse=True):
        room -= size
        if room < 0 and other != target:
            other.unlink(missing_ok=True)
    return data


def _checksum(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(4, "big")


def _fingerprint(words: Iterable[object]) -> str:
    text = hashlib.sha256(b"3")
    for word in words:
        data = word if isinstance(word, bytes) else str(word).encode()
        text.update(b"%d\0" % len(data) + data)
    return text.hexdigest()[:20]


def base(
    init: Path,
    programs: Mapping[str, Path],
    tools: Iterable[str] = (),
    extra: Mapping[str, bytes] | None = None,
) -> bytes:
    """The packed image of everything but the job and the modules."""
    contents = {name: path.read_bytes() for name, path in sorted(programs.items())}
    first = init.read_bytes()
    found = find_tools(tools)
    words: list[object] = [first]
    for place, data in [*contents.items(), *sorted((extra or {}).items())]:
        words += [place, data]
    for tool in found:
        info = tool.stat()
        words += [tool, info.st_size, info.st_mtime_ns]

    def make() -> bytes:
        cpio = _house(first)
        for name, path in programs.items():
            add_program(cpio, path, f"nslabs/bin/{name}")
        for tool in found:
            add_program(cpio, tool.resolve(), str(tool.resolve()))
            if str(tool) != str(tool.resolve()):
                cpio.link(str(tool), str(tool.resolve()))
        for place, data in (extra or {}).items():
            cpio.file(place, data)
        return pack(cpio.bytes())

    return _kept(f"base-{_fingerprint(words)}", make)


def _house(init: bytes) -> Cpio:
    """The folders and files that every guest has."""
    cpio = Cpio()
    for name in FOLDERS:
        cpio.folder(name)
    cpio.folder("tmp", 0o1777)
    cpio.folder("root", 0o700)
    for alias in ("bin", "sbin", "lib", "lib64"):
        if os.path.islink(f"/{alias}"):
            cpio.folder(f"usr/{alias}")
            cpio.link(alias, f"usr/{alias}")
    cpio.file("init", init, 0o755)
    cpio.file(
        "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:\n"
    )
    cpio.file("etc/group", b"root:x:0:\nnogroup:x:65534:\n")
    cpio.file("etc/nsswitch.conf", b"passwd: files\ngroup: files\n")
    return cpio


@dataclass(frozen=True)
class Modules:
    """Modules as an archive, the lines of a job that load them, and what is missing."""

    data: bytes
    lines: list[str]
    missing: list[str]


def modules(tree: Path | None, wanted: Sequence[str]) -> Modules:
    """Those wanted of a kernel's tree with all that they need, ready to load."""
    if tree is None or not wanted:
        return Modules(b"", [], list(wanted))
    info = tree.stat()
    words = [tree.resolve(), info.st_mtime_ns, info.st_ino, *wanted]
    folder = tree

    def make() -> bytes:
        found, missing = unpack.closure(wanted, unpack.module_files(folder))
        builtin = unpack.builtin(folder)
        cpio = Cpio()
        for name, data in found.items():
            cpio.file(f"nslabs/modules/{name}.ko", data)
        head = {
            "load": list(found),
            "missing": [name for name in missing if name not in builtin],
        }
        return json.dumps(head).encode() + b"\n" + cpio.bytes()

    head, _, data = _kept(f"modules-{_fingerprint(words)}", make).partition(b"\n")
    told = json.loads(head)
    lines = [f"module\t/nslabs/modules/{name}.ko" for name in told["load"]]
    return Modules(data if lines else b"", lines, told["missing"])


def job(lines: Iterable[str]) -> bytes:
    """An archive with just the job: the first of a guest's initramfs."""
    cpio = Cpio()
    cpio.folder("nslabs")
    cpio.file("nslabs/job", "".join(f"{line}\n" for line in lines).encode())
    return cpio.bytes()
