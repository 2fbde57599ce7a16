"""Out of a kernel's files: the uncompressed kernel, and modules with what they need.

A guest starts faster from the uncompressed vmlinux than from the bzImage that holds
it (Documentation/arch/x86/boot.rst: payload_offset, payload_length). Modules name
what they depend on in their .modinfo section, so no depmod(8) is needed.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import shutil
import struct
import subprocess
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, cast

from ..errors import BROKEN, UserError

ELF = b"\x7fELF"
# Of a package: kernels and modules, at places below the folder it is unpacked to.
WANTED = re.compile(r"(\./)?(boot/vmlinuz-|(usr/)?lib/modules/)(?!.*\.\.)")


def with_tool(tool: str, data: bytes) -> bytes:
    """Decompress with a program that Python has no module for."""
    if not shutil.which(tool):
        raise UserError(f"{tool} is missing: install the package '{tool}'", BROKEN)
    done = subprocess.run(
        [tool, "-dcq"], input=data, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    return done.stdout  # a trailing size field makes some tools complain


def decompress(data: bytes) -> bytes:
    """Whatever it is packed with, by its first bytes; unpacked data as it is."""
    if data.startswith(b"\x1f\x8b"):
        return gzip.decompress(data)
    if data.startswith((b"\xfd7zXZ\x00", b"\x5d\x00\x00")):
        return lzma.LZMADecompressor().decompress(data)
    if data.startswith(b"BZh"):
        return bz2.BZ2Decompressor().decompress(data)
    if data.startswith(b"\x28\xb5\x2f\xfd"):
        return with_tool("zstd", data)
    if data.startswith(b"\x02\x21\x4c\x18"):
        return with_tool("lz4", data)
    return data


def vmlinux(image: bytes) -> bytes:
    """The ELF kernel inside a bzImage, or the image itself if it is one."""
    if image.startswith(ELF):
        return image
    if image[0x202:0x206] != b"HdrS":
        raise UserError("not a Linux kernel: neither a bzImage nor a vmlinux")
    sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    begin = (sectors + 1) * 512 + offset
    # The payload ends with its unpacked size, four bytes.
    for end in (begin + length - 4, begin + length):
        try:
            kernel = decompress(image[begin:end])
        except (EOFError, OSError, lzma.LZMAError):
            continue
        if kernel.startswith(ELF):
            return kernel
    raise UserError("the kernel's payload cannot be unpacked", BROKEN)


def package(path: Path, into: Path) -> None:
    """Unpack of a Debian package (deb(5)) the kernel and its modules."""
    with path.open("rb") as file:
        if file.read(8) != b"!<arch>\n":
            raise UserError(f"{path.name}: not a Debian package", BROKEN)
        while len(head := file.read(60)) == 60:
            name, size = head[:16].strip().rstrip(b"/"), int(head[48:58])
            if name.startswith(b"data.tar"):
                data = file.read(size)
                break
            file.seek(size + size % 2, 1)
        else:
            raise UserError(f"{path.name}: no files in it", BROKEN)
    try:
        with tarfile.open(fileobj=_opened(data), mode="r|") as archive:
            for member in archive:
                content = archive.extractfile(member) if member.isfile() else None
                if content and WANTED.match(member.name):
                    target = into / member.name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(content.read())
    except (EOFError, lzma.LZMAError, tarfile.TarError, zlib.error) as error:
        raise UserError(f"{path.name} is damaged: {error}", BROKEN) from None


def _opened(data: bytes) -> IO[bytes]:
    """Packed data as a file of what it holds, unpacked as it is read."""
    raw = io.BytesIO(data)
    if data.startswith(b"\xfd7zXZ\x00"):
        return lzma.open(raw)
    if data.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.open(raw))
    return io.BytesIO(decompress(data))


def module_files(tree: Path) -> dict[str, Path]:
    """Every module below a folder, by name (hyphens are underscores)."""
    found = {}
    for path in sorted(tree.rglob("*.ko*")):
        name = re.sub(r"\.ko(\.\w+)?$", "", path.name).replace("-", "_")
        found[name] = path
    return found


def builtin(tree: Path) -> set[str]:
    """Names of what is built in, where the tree says so."""
    names = set()
    for path in tree.rglob("modules.builtin"):
        for line in path.read_text().splitlines():
            names.add(Path(line).stem.replace("-", "_"))
    return names


def closure(
    wanted: Sequence[str], files: dict[str, Path]
) -> tuple[dict[str, bytes], list[str]]:
    """The modules wanted and all they need, in load order; and those not found."""
    loaded: dict[str, bytes] = {}
    missing: list[str] = []

    def add(name: str) -> None:
        if name in loaded or name in missing:
            return
        if name not in files:
            missing.append(name)
            return
        data = decompress(files[name].read_bytes())
        match = re.search(rb"\0depends=([^\0]*)\0", b"\0" + data)
        for needed in match.group(1).decode().split(",") if match else []:
            if needed:
                add(needed.replace("-", "_"))
        loaded[name] = data

    for name in wanted:
        add(name)
    return loaded, missing
