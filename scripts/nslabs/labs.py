"""Where the labs are: their programs and their pages, found on disk."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import UserError, suggestion


@dataclass(frozen=True)
class Lab:
    """One lab. `program` is None while it is not built, `page` while unwritten."""

    name: str
    program: Path | None
    page: Path | None


@dataclass(frozen=True)
class House:
    """A place with labs: a source tree, or a prefix it was installed to."""

    pages: Path
    programs: Path
    sources: Path | None  # labs/ of a source tree; None when installed
    chosen: bool = False  # somebody named the folder of the programs

    def labs(self) -> list[Lab]:
        """All labs, by name.

        In a source tree the sources decide, so that a lab that is not built is
        seen, and a program whose source is gone is not. In a folder somebody
        named, what is there decides.
        """
        names: set[str] = set()
        if self.sources is not None and not self.chosen:
            names = {d.name for d in _folders(self.sources) if _is_source(d)}
        if not names:
            names = {e.name for e in _entries(self.programs) if self._program(e.name)}
        return [self._lab(name) for name in sorted(names)]

    def choose(self, wanted: Sequence[str]) -> list[Lab]:
        """The labs of these names or patterns, in their order; all for none."""
        labs = self.labs()
        if not labs:
            raise UserError(f"there are no labs in {self.programs}: {self.remedy()}")
        chosen: dict[str, Lab] = {}
        for word in wanted or ["*"]:
            name = os.path.basename(word.rstrip("/")) if "/" in word else word
            found = [lab for lab in labs if fnmatch.fnmatchcase(lab.name, name)]
            if not found and self.sources and _is_source(self.sources / name):
                found = [self._lab(name)]
            if not found:
                near = suggestion(name, [lab.name for lab in labs])
                raise UserError(f"there is no lab called '{name}'.{near}")
            chosen.update((lab.name, lab) for lab in found)
        return list(chosen.values())

    def choose_built(self, wanted: Sequence[str]) -> list[Lab]:
        """The same, when at least one of them can be started."""
        labs = self.choose(wanted)
        if not any(lab.program for lab in labs):
            names = labs[0].name if len(labs) == 1 else "the labs"
            verb = "is" if len(labs) == 1 else "are"
            raise UserError(
                f"{names} {verb} not built (looked in {self.programs}): "
                f"{self.remedy()}"
            )
        return labs

    def one(self, name: str) -> Lab:
        """Exactly one lab."""
        labs = self.choose([name])
        if len(labs) > 1:
            names = ", ".join(lab.name for lab in labs)
            raise UserError(f"one lab, please; '{name}' is all of {names}")
        return labs[0]

    def remedy(self) -> str:
        """What to do when programs are missing."""
        if self.sources is None:
            return "install nslabs again with 'make install'"
        return f"run 'make' in {self.sources.parent}"

    def _lab(self, name: str) -> Lab:
        page = self.pages / name / "README.md"
        return Lab(name, self._program(name), page if page.is_file() else None)

    def _program(self, name: str) -> Path | None:
        for path in (self.programs / name / name, self.programs / name):
            if path.is_file() and os.access(path, os.X_OK):
                return path
        return None


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []


def _folders(folder: Path) -> list[Path]:
    return [entry for entry in _entries(folder) if entry.is_dir()]


def _is_source(folder: Path) -> bool:
    return (folder / f"{folder.name}.c").is_file()


def find_house(build: str | None = None) -> House:
    """The labs beside this package, or where BUILD or NSLABS_BUILD says."""
    build = build or os.environ.get("NSLABS_BUILD") or None
    here = Path(__file__).resolve().parent
    sources: Path | None = None
    pages = programs = Path()
    for root in here.parents:
        if root / "scripts" / "nslabs" == here and (root / "Makefile").is_file():
            sources = pages = root / "labs"
            programs = root / "build" / "labs"
            break
        if (root / "libexec" / "nslabs" / "labs").is_dir():
            pages = root / "share" / "nslabs" / "labs"
            programs = root / "libexec" / "nslabs" / "labs"
            break
    else:
        if not build:
            raise UserError(
                f"no labs belong to {here}: neither a source tree nor an installation; "
                "--build DIR names a folder with labs/NAME/NAME"
            )
    if not build:
        return House(pages, programs, sources)
    if not Path(build).is_dir():
        raise UserError(f"--build {build}: no such folder; 'make' makes it")
    return House(pages, Path(build).resolve() / "labs", sources, chosen=True)
