"""Kernels from a Debian archive, with apt but without touching the host's apt.

apt works in a state folder of its own, in the cache: no root, no lock, no hook of the
host's is run and nothing is installed. Which mirror and which proxy: the machine's own
configuration says; signatures are checked by apt as ever.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

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
# How to reach the archive is the host's affair; what to do afterwards is not.
NETWORK = re.compile(r"Acquire::(https?|tor\S*|Force\w+|Proxy\S*)\b")

Progress = Callable[[str, "float | None"], None]
"""Told what is going on and how far it is, from 0 to 100, where that is known."""


class Unavailable(UserError):
    """The archive did not give what it lists; another version may be had."""


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

    @property
    def rank(self) -> tuple[bool, bool, tuple[int, ...], bool]:
        """Modules first, then no release candidate, then the newest, then signed."""
        final = "rc" not in self.version
        signed = not self.package.endswith("-unsigned")
        return self.modules, final, _numbers(self.version), signed


class Archive:
    """The archive that the machine's apt is configured for, seen apart from it."""

    def __init__(self, mirror: str | None = None) -> None:
        for tool in ("apt-get", "apt-cache"):
            if not shutil.which(tool):
                raise UserError(
                    f"{tool} is missing: without apt, give a package of a kernel with "
                    "'vm fetch --package FILE', or a kernel with 'vm run --kernel FILE "
                    "--modules FOLDER'",
                    BROKEN,
                )
        self.folder = cache.folder("apt")
        self.mirror = mirror
        for sub in ("state/lists/partial", "cache/archives/partial"):
            (self.folder / sub).mkdir(parents=True, exist_ok=True)
        self._write("status", "")
        sources = "".join(f"{line}\n" for line in self._sources())
        if self._write("sources.list", sources):
            (self.folder / "offers.json").unlink(missing_ok=True)
        self._write("apt.conf", "".join(f"{line}\n" for line in self._settings()))

    def _write(self, name: str, text: str) -> bool:
        path = self.folder / name
        if path.exists() and path.read_text() == text:
            return False
        cache.write(path, text.encode())
        return True

    def _settings(self) -> Iterator[str]:
        """Lines of an apt.conf: nothing is read from the host's but how to connect."""
        yield 'Dir::Etc::main "/dev/null";'
        yield 'Dir::Etc::parts "/dev/null";'
        yield f'Dir::Etc::SourceList "{self.folder}/sources.list";'
        yield 'Dir::Etc::SourceParts "/dev/null";'
        yield f'Dir::State "{self.folder}/state";'
        yield f'Dir::State::status "{self.folder}/status";'
        yield f'Dir::Cache "{self.folder}/cache";'
        yield 'APT::Architecture "amd64";'
        yield 'APT::Architectures { "amd64"; };'
        yield 'APT::Sandbox::User "";'
        yield 'Acquire::Languages "none";'
        yield 'Acquire::Retries "2";'
        for line in _said(["apt-config", "dump"]).splitlines():
            if NETWORK.match(line):
                yield line

    def _sources(self) -> Iterator[str]:
        """Lines of a sources.list: the machine's mirrors, with every suite."""
        mirrors = {"debian": self.mirror, "security": None}
        if not self.mirror:
            wanted = "$(ORIGIN)\t$(RELEASE)\t$(REPO_URI)"
            targets = _said(["apt-get", "indextargets", "--format", wanted])
            for line in targets.splitlines():
                origin, suite, uri = (line.split("\t") + ["", ""])[:3]
                if origin in ("Debian", "") and uri:
                    kind = "security" if suite.endswith("-security") else "debian"
                    mirrors[kind] = mirrors[kind] or uri
        if not mirrors["debian"]:
            raise UserError(
                "apt is not configured for a Debian archive: name one with "
                "--mirror URL",
                BROKEN,
            )
        options = f"[signed-by={KEYRING}] " if os.path.exists(KEYRING) else ""
        for suite in SUITES:
            yield f"deb {options}{mirrors['debian']} {suite} main"
        for suite in SECURITY if mirrors["security"] else ():
            yield f"deb {options}{mirrors['security']} {suite} main"

    @property
    def _environ(self) -> dict[str, str]:
        config = f"{self.folder}/apt.conf"
        return {**os.environ, "APT_CONFIG": config, "LC_ALL": "C"}

    @property
    def known(self) -> bool:
        """Whether package lists were fetched before."""
        return any((self.folder / "state" / "lists").glob("*Packages*"))

    def update(self, progress: Progress, again: bool = False) -> None:
        """Fetch the package lists. Suites that the mirror has not are left out."""
        with cache.locked(self.folder):
            if self.known and not again:
                return  # somebody else just did
            _, errors = self._with_progress(["apt-get", "update"], progress)
            (self.folder / "offers.json").unlink(missing_ok=True)
        if not self.known:
            if not os.path.exists(KEYRING):
                errors += "\ninstall debian-archive-keyring to check its signatures"
            raise UserError(f"no package lists could be fetched:\n{errors}", BROKEN)

    def download(self, offer: Offer, into: Path, progress: Progress) -> list[Path]:
        """The packages of an offer, checked by apt; what was begun is continued."""
        command = ["apt-get", "download", *offer.parts]
        status, errors = self._with_progress(command, progress, cwd=into)
        found = []
        for part in offer.parts:
            name, _, version = part.partition("=")
            files = sorted(into.glob(f"{name}_{version.replace(':', '%3a')}_*.deb"))
            if status != 0 or not files:
                why = errors or f"apt-get ended with exit code {status}"
                raise Unavailable(f"{part} could not be downloaded:\n{why}", BROKEN)
            found.append(files[0])
        return found

    def _with_progress(
        self, command: list[str], progress: Progress, cwd: Path | None = None
    ) -> tuple[int, str]:
        """Run apt with a status channel: its exit code, and its complaints."""
        read, write = os.pipe()
        process = subprocess.Popen(
            [*command, "-q", "-o", f"APT::Status-Fd={write}"],
            env=self._environ,
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
                process.terminate()
                process.communicate()
        lines = [line for line in errors.splitlines() if line.startswith(("E:", "W:"))]
        return process.returncode, "\n".join(lines[:6])

    def offers(self) -> list[Offer]:
        """The best of each series: with its modules, final, the newest."""
        best: dict[str, Offer] = {}
        for offer in self.all_offers():
            best.setdefault(offer.series, offer)
        return [best[series] for series in sorted(best, key=_numbers)]

    def all_offers(self) -> list[Offer]:
        """Everything that is listed, the best first."""
        kept = self.folder / "offers.json"
        try:
            rows: list[dict[str, Any]] = json.loads(kept.read_text())
            for row in rows:
                row["parts"] = tuple(row["parts"])
            found = [Offer(**row) for row in rows]
        except (OSError, ValueError, TypeError, KeyError):
            found = sorted(self._offers(), key=lambda offer: offer.rank, reverse=True)
            cache.write(kept, json.dumps([asdict(offer) for offer in found]).encode())
        return found

    def _offers(self) -> Iterator[Offer]:
        names = self._ask("search", "--names-only", PACKAGES)
        packages = [line.split(" ")[0] for line in names.splitlines()]
        wanted = [name for name in packages if not name.endswith("-dbg")]
        shown = self._ask("show", *wanted) if wanted else ""
        records: dict[str, list[dict[str, str]]] = {}
        for record in _records(shown):
            if "Version" in record:
                records.setdefault(record["Package"], []).append(record)
        images = [name for name in records if IMAGE.fullmatch(name)]
        suites = _suites(self._ask("madison", *images) if images else "")
        for name in images:
            match = IMAGE.fullmatch(name)
            for record in records[name]:
                if match and "linux-image-" not in record.get("Depends", ""):
                    suite = suites.get((name, record["Version"]), "")
                    yield _offer(match, record, records, suite)

    def _ask(self, *words: str) -> str:
        return _said(["apt-cache", *words], self._environ)


def _said(command: list[str], environ: dict[str, str] | None = None) -> str:
    try:
        done = subprocess.run(
            command, env=environ, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return ""
    return done.stdout


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


def _suites(madison: str) -> dict[tuple[str, str], str]:
    """Where `apt-cache madison` says that a version of a package is."""
    found: dict[tuple[str, str], str] = {}
    for line in madison.splitlines():
        name, version, place = ([p.strip() for p in line.split("|")] + ["", ""])[:3]
        match = re.search(r" (\S+)/main ", place)
        if match:
            found.setdefault((name, version), match[1])
    return found


def _offer(
    match: re.Match[str],
    image: dict[str, str],
    records: dict[str, list[dict[str, str]]],
    suite: str,
) -> Offer:
    """What must be unpacked. From 6.19 on the image only names other packages."""
    parts = [(image["Package"], image)]
    modules = True
    if "linux-binary-" in image.get("Depends", ""):
        parts = []
        for kind in ("binary", "modules"):
            name = f"linux-{kind}-{match['release']}"
            for record in records.get(name, ()):
                if record["Version"] == image["Version"]:
                    parts.append((name, record))
                    break
        modules = any(name.startswith("linux-modules-") for name, _ in parts)
    return Offer(
        series=match["series"],
        release=match["release"],
        package=image["Package"],
        version=image["Version"],
        suite=suite or "Debian",
        parts=tuple(f"{name}={image['Version']}" for name, _ in parts),
        modules=modules,
        size=sum(int(record.get("Size", 0)) for _, record in parts),
    )


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text))


def of_series(offers: Iterable[Offer], name: str) -> list[Offer]:
    """Those with that name: a series, or a release."""
    return [offer for offer in offers if name in (offer.series, offer.release)]
