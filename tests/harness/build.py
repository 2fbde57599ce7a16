"""C programs of the tests, compiled against the labs' own common/."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from .labs import BUILD, ROOT

COMPILER = shlex.split(os.environ.get("CC", "cc"))
FLAGS = ["-std=gnu17", "-O0", "-D_GNU_SOURCE", '-DNSLABS_VERSION="test"', "-Icommon"]


@cache
def packages(name: str) -> tuple[list[str], list[str]]:
    """Compiler and linker flags of what a lab names in its lab.mk."""
    file = ROOT / "labs" / name / "lab.mk"
    lines = file.read_text().splitlines() if file.exists() else []
    for line in lines:
        key, _, value = line.partition("=")
        if key.strip() == "PKGS" and value.split():
            return pkg_config("--cflags", value), pkg_config("--libs", value)
    return [], []


def pkg_config(option: str, names: str) -> list[str]:
    command = [os.environ.get("PKG_CONFIG", "pkg-config"), option, *names.split()]
    return subprocess.check_output(command, text=True).split()


def compile_lab(
    source: Path,
    program: Path,
    like: str = "",
    archive: Path | None = BUILD / "libcommon.a",
    more: Sequence[Path] = (),
    flags: Sequence[str] = (),
) -> subprocess.CompletedProcess[str]:
    """One call of the compiler; like names a lab whose libraries are wanted."""
    cflags, libs = packages(like) if like else ([], [])
    own = [f"-Ilabs/{like}"] if like else []
    inputs = [str(path) for path in (source, *more, *([archive] if archive else []))]
    return subprocess.run(
        [*COMPILER, *FLAGS, *flags, *own, *cflags, "-o", str(program), *inputs, *libs],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
