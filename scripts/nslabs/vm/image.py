"""The guest's file system: an initramfs with just the labs and what they need.

The newc format of cpio is written directly (Documentation/driver-api/early-userspace/
buffer-format.rst), so that no root and no mknod is needed. The kernel accepts
several archives one after the other: the job comes first, uncompressed and new for
every run; the rest is packed once and kept.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..errors import BROKEN, UserError
from . import cache

FOLDERS = "proc sys dev tmp run root mnt etc var nslabs nslabs/bin lib/modules".split()


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


def fingerprint(init: Path, programs: Mapping[str, Path], tools: list[Path]) -> str:
    """What an image is made of, as a short word: it changes when any part does."""
    text = hashlib.sha256(b"1")
    for place, path in sorted({"init": init, **programs}.items()):
        text.update(f"{place}\0".encode() + path.read_bytes())
    for tool in tools:
        info = tool.stat()
        text.update(f"{tool}\0{info.st_size}\0{info.st_mtime_ns}\0".encode())
    return text.hexdigest()[:20]


def base(init: Path, programs: Mapping[str, Path], tools: list[Path]) -> Path:
    """The packed image of everything but the job and the modules, kept in the cache."""
    place = cache.folder("images")
    target = place / f"{fingerprint(init, programs, tools)}.cpio"
    if target.exists():
        return target
    cpio = Cpio()
    for name in FOLDERS:
        cpio.folder(name)
    cpio.folder("tmp", 0o1777)
    for alias in ("bin", "sbin", "lib", "lib64"):
        if os.path.islink(f"/{alias}"):
            cpio.folder(f"usr/{alias}")
            cpio.entries.pop(f"{alias}/modules", None)
            cpio.link(alias, f"usr/{alias}")
    cpio.file("init", init.read_bytes(), 0o755)
    cpio.file(
        "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:\n"
    )
    cpio.file("etc/group", b"root:x:0:\nnogroup:x:65534:\n")
    cpio.file("etc/nsswitch.conf", b"passwd: files\ngroup: files\n")
    for name, path in programs.items():
        add_program(cpio, path, f"nslabs/bin/{name}")
    for tool in tools:
        add_program(cpio, tool.resolve(), str(tool.resolve()))
        if str(tool) != str(tool.resolve()):
            cpio.link(str(tool), str(tool.resolve()))
    for old in place.glob("*.cpio"):
        old.unlink(missing_ok=True)  # of labs that have changed since
    with cache.growing(place / f"{target.stem}.new") as fresh:
        (fresh / "image").write_bytes(pack(cpio.bytes()))
    (place / f"{target.stem}.new" / "image").replace(target)
    (place / f"{target.stem}.new").rmdir()
    return target


def job_archive(lines: list[str], modules: Mapping[str, bytes]) -> bytes:
    """The job and the modules it loads: the first archive of a guest's initramfs."""
    cpio = Cpio()
    for name in ("nslabs", "nslabs/modules"):
        cpio.folder(name)
    for name, data in modules.items():
        cpio.file(f"nslabs/modules/{name}.ko", data)
    job = [*(f"module\t/nslabs/modules/{name}.ko" for name in modules), *lines]
    cpio.file("nslabs/job", "".join(f"{line}\n" for line in job).encode())
    return cpio.bytes()
