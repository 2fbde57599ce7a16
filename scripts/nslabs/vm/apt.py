"""Kernels from a Debian archive, with apt but without touching the host's apt.

apt works in a state folder of its own, in the cache: no root, no lock, nothing is
installed. Which mirror, which proxy and which keys: the machine's own configuration
says; signatures are checked by apt as ever.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import BROKEN, UserError
from . import cache

SUITES = (
    "bullseye",
    "bookworm",
    "bookworm-backports",
    "trixie",
    "trixie-backports",
    "forky",
    "sid",
    "experimental",
)
SECURITY = ("bullseye-security", "bookworm-security", "trixie-security")
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
PACKAGES = r"^linux-(image|binary|modules)-[0-9].*-cloud-amd64"
IMAGE = re.compile(
    r"linux-image-(?P<release>(?P<series>\d+\.\d+)\S*-cloud-amd64)(-unsigned)?"
)

Progress = Callable[[str, float | None], None]
"""Told what is going on and how far it is, from 0 to 100, where that is known."""


@dataclass(frozen=True)
class Offer:
    """A kernel that the archive offers."""

    series: str  # "6.12"
    release: str  # "6.12.117+deb13-cloud-amd64"
    package: str
    version: str
    suite: str
    parts: tuple[str, ...]  # packages to unpack, each as NAME=VERSION
    modules: bool  # False: the modules are gone from the archive
    size: int  # bytes to download


class Archive:
    """The archive that the machine's apt is configured for, seen apart from it."""

    def __init__(self, mirror: str | None = None) -> None:
        if not shutil.which("apt-get"):
            raise UserError(
                "there is no apt here: give a kernel with --kernel PATH (a bzImage or "
                "vmlinux) and its modules with --modules FOLDER",
                BROKEN,
            )
        self.folder = cache.folder("apt")
        self.mirror = mirror
        for sub in ("state/lists/partial", "cache/archives/partial"):
            (self.folder / sub).mkdir(parents=True, exist_ok=True)
        (self.folder / "status").touch()
        self._write("sources.list", "".join(f"{line}\n" for line in self._sources()))
        self._write(
            "apt.conf",
            f'Dir::State "{self.folder}/state";\n'
            f'Dir::State::status "{self.folder}/status";\n'
            f'Dir::Cache "{self.folder}/cache";\n'
            f'Dir::Etc::SourceList "{self.folder}/sources.list";\n'
            'Dir::Etc::SourceParts "/dev/null";\n'
            'APT::Architecture "amd64";\nAPT::Architectures { "amd64"; };\n'
            'Acquire::Languages "none";\nAPT::Sandbox::User "";\n'
            'Acquire::Retries "2";\nBinary::apt::APT::Keep-Downloaded-Packages "1";\n',
        )

    def _write(self, name: str, text: str) -> None:
        path = self.folder / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)

    def _sources(self) -> Iterator[str]:
        """Lines of a sources.list: the machine's mirrors, with every suite."""
        mirrors = {"debian": self.mirror, "security": None}
        if not self.mirror:
            done = subprocess.run(
                [
                    "apt-get",
                    "indextargets",
                    "--format",
                    "$(ORIGIN)\t$(RELEASE)\t$(REPO_URI)",
                ],
                capture_output=True,
                text=True,
                check=False,
            )
            for line in done.stdout.splitlines():
                origin, suite, uri = (line.split("\t") + ["", ""])[:3]
                if origin in ("Debian", "") and uri:
                    kind = "security" if suite.endswith("-security") else "debian"
                    mirrors[kind] = mirrors[kind] or uri
        if not mirrors["debian"]:
            raise UserError(
                "apt is not configured for a Debian archive: name one with "
                "--mirror URL, or give a kernel with --kernel PATH",
                BROKEN,
            )
        options = f"[signed-by={KEYRING}] " if os.path.exists(KEYRING) else ""
        for suite in SUITES:
            yield f"deb {options}{mirrors['debian']} {suite} main"
        for suite in SECURITY if mirrors["security"] else ():
            yield f"deb {options}{mirrors['security']} {suite} main"

    def _apt(self, *words: str) -> str:
        done = subprocess.run(
            words,
            env={**os.environ, "APT_CONFIG": f"{self.folder}/apt.conf", "LC_ALL": "C"},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout

    @property
    def known(self) -> bool:
        """Whether package lists were fetched before."""
        return any((self.folder / "state" / "lists").glob("*Packages*"))

    def update(self, progress: Progress) -> None:
        """Fetch the package lists. Suites that the mirror has not are left out."""
        errors = self._with_progress(["apt-get", "update"], progress)
        if not self.known:
            raise UserError(f"no package lists could be fetched:\n{errors}", BROKEN)
        (self.folder / "offers").unlink(missing_ok=True)

    def download(self, offer: Offer, into: Path, progress: Progress) -> list[Path]:
        """The packages of an offer, checked by apt; what was begun is continued."""
        into.mkdir(parents=True, exist_ok=True)
        errors = self._with_progress(
            ["apt-get", "download", *offer.parts], progress, cwd=into
        )
        found = []
        for part in offer.parts:
            name = part.partition("=")[0]
            match = sorted(into.glob(f"{name}_*.deb"))
            if not match:
                raise UserError(
                    f"{part} could not be downloaded:\n{errors.strip()}", BROKEN
                )
            found.append(match[-1])
        return found

    def _with_progress(
        self, command: list[str], progress: Progress, cwd: Path | None = None
    ) -> str:
        """Run apt with a status channel; returns its complaints (apt-get(8))."""
        read, write = os.pipe()
        words = [*command, "-q", "-o", f"APT::Status-Fd={write}"]
        environ = {
            **os.environ,
            "APT_CONFIG": f"{self.folder}/apt.conf",
            "LC_ALL": "C",
        }
        process = subprocess.Popen(
            words,
            env=environ,
            cwd=cwd,
            pass_fds=[write],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        os.close(write)
        try:
            with open(read, encoding="utf-8", errors="replace") as status:
                for line in status:
                    fields = line.rstrip("\n").split(":", 3)
                    if fields[0] == "dlstatus" and len(fields) == 4:
                        progress(fields[3], float(fields[2]))
            _, errors = process.communicate()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        lines = [line for line in errors.splitlines() if line.startswith(("E:", "W:"))]
        return "\n".join(lines[:6])

    def offers(self) -> list[Offer]:
        """The newest kernel of each series, preferring one that has its modules."""
        kept = self.folder / "offers"
        try:
            found = json.loads(kept.read_text())
            for offer in found:
                offer["parts"] = tuple(offer["parts"])
            return [Offer(**offer) for offer in found]
        except (OSError, ValueError, TypeError):
            pass
        names = self._apt("apt-cache", "search", "--names-only", PACKAGES)
        packages = [line.split(" ")[0] for line in names.splitlines()]
        wanted = [name for name in packages if not name.endswith("-dbg")]
        shown = self._apt("apt-cache", "show", *wanted) if wanted else ""
        records: dict[str, list[dict[str, str]]] = {}
        for record in self._records(shown):
            records.setdefault(record["Package"], []).append(record)
        best: dict[str, Offer] = {}
        for name, versions in records.items():
            match = IMAGE.fullmatch(name)
            for record in versions if match else ():
                if match and "Version" in record and not _is_meta(record):
                    offer = _offer(match, record, records)
                    known = best.get(offer.series)
                    if known is None or _rank(offer) > _rank(known):
                        best[offer.series] = offer
        offers = [best[series] for series in sorted(best, key=_numbers)]
        kept.write_text(json.dumps([asdict(offer) for offer in offers]))
        return offers

    @staticmethod
    def _records(text: str) -> Iterator[dict[str, str]]:
        """Paragraphs of `apt-cache show`, folded fields left out."""
        for paragraph in text.split("\n\n"):
            record = {}
            for line in paragraph.splitlines():
                key, colon, value = line.partition(": ")
                if colon and not line.startswith(" "):
                    record[key] = value
            if record.get("Package"):
                yield record


def _is_meta(record: dict[str, str]) -> bool:
    """A package that is nothing but a name for the newest kernel of a series."""
    return "linux-image-" in record.get("Depends", "")


def _offer(
    match: re.Match[str],
    image: dict[str, str],
    records: dict[str, list[dict[str, str]]],
) -> Offer:
    """What must be unpacked. From 6.19 on the image only names other packages."""
    parts = [(image["Package"], image)]
    modules = True
    if "linux-binary-" in image.get("Depends", ""):
        parts = []
        for kind in ("binary", "modules"):
            name = f"linux-{kind}-{match['release']}"
            for record in records.get(name, ()):
                if record.get("Version") == image["Version"]:
                    parts.append((name, record))
        modules = any(name.startswith("linux-modules-") for name, _ in parts)
    return Offer(
        series=match["series"],
        release=match["release"],
        package=image["Package"],
        version=image["Version"],
        suite=_suite(image["Version"]),
        parts=tuple(f"{name}={image['Version']}" for name, _ in parts),
        modules=modules,
        size=sum(int(record.get("Size", 0)) for _, record in parts),
    )


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text))


def _rank(offer: Offer) -> tuple[bool, bool, tuple[int, ...], bool]:
    """Modules first, then no release candidate, then the newest, then signed."""
    final = "rc" not in offer.version
    signed = not offer.package.endswith("-unsigned")
    return offer.modules, final, _numbers(offer.version), signed


def _suite(version: str) -> str:
    """Where a version was built for, as far as it says so itself."""
    for mark, suite in (
        ("bpo11", "bullseye"),
        ("bpo12", "bookworm"),
        ("bpo13", "trixie"),
    ):
        if mark in version:
            return f"{suite}-backports"
    return "Debian"
