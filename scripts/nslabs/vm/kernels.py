"""The kernels that can be booted here: the host's, fetched ones, a user's own file."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import BROKEN, UserError, errno_text, suggestion
from . import cache, unpack
from .apt import Archive, Offer, Progress, Unavailable

UML = "uml"
HOST = "host"
GONE = "its modules are gone from the archive"


@dataclass(frozen=True)
class Kernel:
    """A kernel on this machine, ready to boot."""

    name: str  # "6.12", "host", "uml" or a file's path
    release: str | None  # None: only its guest knows
    image: Path  # vmlinux, or linux.uml
    modules: Path | None  # a folder with .ko files somewhere below
    remark: str = ""
    version: str = ""  # of its package

    @property
    def uml(self) -> bool:
        """Whether it is a user-mode Linux, a program instead of a machine's kernel."""
        return self.name == UML


def order(name: str) -> tuple[bool, tuple[int, ...], str]:
    """Sorts names: by version, then the ones that are words."""
    numbers = tuple(int(number) for number in re.findall(r"\d+", name))
    return not name[:1].isdigit(), numbers, name


def fetched() -> list[Kernel]:
    """The kernels in the cache, oldest first."""
    found = [_fetched(place) for place in cache.folder("kernels").iterdir()]
    return sorted((k for k in found if k), key=lambda kernel: order(kernel.name))


def _fetched(place: Path) -> Kernel | None:
    """The kernel in a folder of the cache, if there is one."""
    try:
        info = json.loads((place / "info.json").read_text())
        size = (place / "vmlinux").stat().st_size
        if size != int(info.get("size", size)):
            return None  # damaged: to be fetched again
        modules = place / "modules"
        return Kernel(
            name=place.name,
            release=info["release"],
            image=place / "vmlinux",
            modules=modules if modules.is_dir() else None,
            remark=info["remark"],
            version=info.get("version", ""),
        )
    except (OSError, ValueError, KeyError):
        return None


def host() -> Kernel | None:
    """The host's own kernel, where its file can be read."""
    release = os.uname().release
    tree = Path("/lib/modules", release)
    for path in (Path(f"/boot/vmlinuz-{release}"), tree / "vmlinuz"):
        if os.access(path, os.R_OK):
            return of_file(str(path), str(tree), HOST, release)
    return None


def uml() -> Kernel | None:
    """User-mode Linux, where it is installed."""
    program = shutil.which("linux.uml")
    if not program:
        return None
    trees = sorted(Path("/usr/lib/uml/modules").glob("*"), key=lambda p: order(p.name))
    release = trees[-1].name if trees else None
    return Kernel(UML, release, Path(program), trees[-1] if trees else None)


def of_file(
    path: str,
    modules: str | None = None,
    name: str | None = None,
    release: str | None = None,
) -> Kernel:
    """A kernel from a file of the user's: a bzImage or a vmlinux."""
    source = Path(path)
    try:
        data = source.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {errno_text(error)}") from None
    if modules and not Path(modules).is_dir():
        if name:
            modules = None
        else:
            raise UserError(f"--modules {modules}: no such folder")
    place = cache.folder("own")
    info = source.stat()
    target = place / f"{source.name}-{info.st_size}-{info.st_mtime_ns}"
    if not target.exists():
        elf = unpack.vmlinux(data)
        with tempfile.NamedTemporaryFile(dir=place, delete=False) as fresh:
            fresh.write(elf)
        os.replace(fresh.name, target)
    tree = Path(modules) if modules else None
    return Kernel(name or path, release, target, tree)


def find(name: str, modules: str | None = None) -> Kernel:
    """The kernel of that name, or of that path."""
    if "/" in name or Path(name).is_file():
        return of_file(name, modules)
    if name == HOST:
        kernel = host()
        if kernel is None:
            raise UserError(
                f"the host's kernel {os.uname().release} has no readable file in "
                "/boot; 'nslab vm kernels' lists others",
                BROKEN,
            )
        return kernel
    if name == UML:
        kernel = uml()
        if kernel is None:
            raise UserError(
                "user-mode Linux is missing: install user-mode-linux", BROKEN
            )
        return kernel
    here = fetched()
    for kernel in here:
        if name in (kernel.name, kernel.release):
            return kernel
    near = suggestion(name, [kernel.name for kernel in here])
    raise UserError(
        f"kernel {name} is not here.{near} Get it with: nslab vm fetch {name}"
    )


def default() -> Kernel:
    """The newest one that was fetched; else the host's; else user-mode Linux."""
    here = [kernel for kernel in fetched() if kernel.modules] or fetched()
    found = here[-1] if here else host() or uml()
    if found is None:
        raise UserError(
            "no kernel is here yet: 'nslab vm fetch 6.12' gets one, "
            "'nslab vm kernels' lists what there is",
            BROKEN,
        )
    return found


def fetch(archive: Archive, offers: Sequence[Offer], progress: Progress) -> Kernel:
    """The first of these kernels that can be had, into the cache; nothing is installed.

    What the archive lists but does not give is named, and the next one is tried.
    """
    downloads = cache.folder("downloads")
    refused: Unavailable | None = None
    with cache.locked(downloads):
        for offer in offers:
            here = _fetched(cache.folder("kernels") / offer.series)
            if here and here.version == offer.version:
                return here
            try:
                packages = archive.download(offer, downloads, progress)
            except Unavailable as error:
                progress(str(error), None)
                refused = refused or error
                continue
            remark = "" if offer.modules else GONE
            progress("unpacking", None)
            kernel = install(packages, offer.series, offer.version, remark)
            for package in packages:
                package.unlink(missing_ok=True)
            return kernel
    assert refused
    raise UserError(f"{refused}\nnslab vm fetch --update reads the lists again", BROKEN)


def install(
    packages: Sequence[Path], name: str | None, version: str, remark: str = ""
) -> Kernel:
    """Keep of packages what a guest needs: the kernel, unpacked, and its modules."""
    kernels = cache.folder("kernels")
    with tempfile.TemporaryDirectory(dir=kernels, prefix=".unpacked-") as scratch:
        tree = Path(scratch)
        for package in packages:
            try:
                unpack.package(package, tree)
            except UserError:
                package.unlink(missing_ok=True)  # a bad one must not be kept
                raise
            except OSError as error:
                raise cache.unwritable(kernels, error) from None
        images = [*tree.glob("boot/vmlinuz-*"), *tree.glob("usr/lib/modules/*/vmlinuz")]
        if not images:
            names = ", ".join(package.name for package in packages)
            raise UserError(f"{names}: no kernel in it", BROKEN)
        image = images[0]
        release = image.name.partition("-")[2] or image.parent.name
        series = re.match(r"\d+\.\d+", release)
        name = name or (series[0] if series else release)
        with cache.growing(kernels / name) as fresh:
            (fresh / "vmlinux").write_bytes(unpack.vmlinux(image.read_bytes()))
            for modules in (
                *tree.glob("lib/modules/*"),
                *tree.glob("usr/lib/modules/*"),
            ):
                if (modules / "kernel").is_dir():
                    shutil.move(str(modules), fresh / "modules")
                    break
            size = (fresh / "vmlinux").stat().st_size
            info = {"release": release, "version": version, "remark": remark}
            info["size"] = str(size)
            (fresh / "info.json").write_text(json.dumps(info, indent=1) + "\n")
    return find(name)
