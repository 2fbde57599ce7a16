"""What a missing program's package is called here, and how to install it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

# package manager -> (distributions whose ID or ID_LIKE names it, command)
FAMILIES = {
    "apt": ({"debian", "ubuntu"}, "apt-get install"),
    "dnf": ({"fedora", "rhel", "centos"}, "dnf install"),
    "pacman": ({"arch", "archlinux"}, "pacman -S"),
    "apk": ({"alpine"}, "apk add"),
    "zypper": ({"suse", "opensuse", "sles"}, "zypper install"),
}
PROGRAMS = {"apt": "apt-get"}

# Where the table of packages is missing: Debian's names.
FALLBACK = {
    "compiler": "gcc libc6-dev",
    "make": "make",
    "pkg-config": "pkg-config",
    "libmnl": "libmnl-dev",
    "libmount": "libmount-dev",
    "iso-writer": "genisoimage",
    "iso-fuse": "fuseiso",
    "util-linux": "util-linux mount",
    "iproute2": "iproute2",
    "pytest": "python3-pytest",
    "qemu": "qemu-system-x86",
}


def family(release: str | None = None) -> str | None:
    """The package manager of this distribution; None when it is none of ours.

    `release` is the text of an os-release file; this machine's by default.
    """
    if release is None:
        release = _read(Path("/etc/os-release")) or _read(Path("/usr/lib/os-release"))
    fields = {}
    for line in release.splitlines():
        key, _, value = line.partition("=")
        fields[key.strip()] = value.strip().strip("\"'")
    words = [fields.get("ID", ""), *fields.get("ID_LIKE", "").split()]
    for word in words:
        for name, (distributions, _) in FAMILIES.items():
            if word in distributions or word.partition("-")[0] in distributions:
                return name
    for name in FAMILIES:
        if shutil.which(PROGRAMS.get(name, name)):
            return name
    return None


def remedy(what: str, manager: str | None = None) -> str:
    """The command that installs a need of the table."""
    manager = manager or family()
    rows = table()
    names = rows.get(what, {})
    debian = names.get("apt") or FALLBACK.get(what, what)
    if manager is None:
        return f"install what Debian calls {debian}"
    packages = names.get(manager) or debian
    if packages == "-":
        return f"this distribution has no package of it; Debian's is {debian}"
    sudo = "" if os.geteuid() == 0 else "sudo "
    return f"{sudo}{FAMILIES[manager][1]} {packages}"


def table() -> dict[str, dict[str, str]]:
    """need -> package manager -> packages, as scripts/packages.tsv has them."""
    here = Path(__file__).resolve().parent
    places = [here.parent / "packages.tsv", here / "packages.tsv"]
    places += [root / "share" / "nslabs" / "packages.tsv" for root in here.parents]
    text = next((text for text in map(_read, places) if text), "")
    rows: dict[str, dict[str, str]] = {}
    head: list[str] = []
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        cells = line.split("\t")
        if not head:
            head = cells
            continue
        row = dict(zip(head, cells))
        rows[cells[0]] = {name: row[name] for name in FAMILIES if row.get(name)}
    return rows


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
