"""What a guest for these labs is made of."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ..errors import BROKEN, UserError
from ..labs import Lab, find_house
from .guest import Parts

SHELL_TOOLS = (
    *"awk basename bash capsh cat chgrp chmod chown chroot clear cmp cp cut".split(),
    *"date dd df diff dirname dmesg domainname du echo env expr false find".split(),
    *"findmnt free getpcaps grep head hostname id ip ipcmk ipcrm ipcs kill".split(),
    *"killall less ln losetup ls lsmod lsns md5sum mkdir mkfifo mknod mktemp".split(),
    *"more mount mountpoint mv nft nproc nsenter od pgrep ping pivot_root".split(),
    *"printf prlimit ps pstree pwd readlink realpath rm rmdir sed seq".split(),
    *"setpriv sh sleep sort ss stat strace stty sync sysctl tail tee test".split(),
    *"timeout touch tr true tty umount uname uniq unlink unshare uptime vi".split(),
    *"wc which whoami xargs".split(),
)

PROMPT = b"PS1='guest:\\w# '\nunset HISTFILE\n"
SHELL_FILES = {"etc/profile": PROMPT, "etc/bash.bashrc": PROMPT}


def parts_for(labs: Sequence[Lab], build: str | None, shell: bool = False) -> Parts:
    """The init, the labs that are built, the modules their lab.mk names."""
    house = find_house(build)
    guest = house.programs.parent / "guest"
    programs = {
        lab.name: _quicker(guest / "labs" / lab.name, lab.program)
        for lab in labs
        if lab.program
    }
    modules: dict[str, None] = {}
    tools: dict[str, None] = {}
    for lab in labs:
        makefile = house.pages / lab.name / "lab.mk"
        for name in _words(makefile, "MODULES"):
            modules.setdefault(name)
        for name in _words(makefile, "TOOLS"):
            tools.setdefault(name)
    extra = {}
    if shell:
        tools.update(dict.fromkeys(SHELL_TOOLS))
        extra = {**SHELL_FILES, **terminfo(terminal()), **locale()}
    return Parts(_init(guest), programs, list(tools), list(modules), extra)


def terminal() -> str:
    """This terminal's type, when a guest can be told how it works."""
    term = os.environ.get("TERM") or "dumb"
    return term if term == "dumb" or terminfo(term) else "vt100"


def terminfo(term: str) -> dict[str, bytes]:
    """What programs must know about that type of terminal (terminfo(5))."""
    for folder in ("/etc/terminfo", "/lib/terminfo", "/usr/share/terminfo"):
        path = Path(folder, term[:1], term)
        if re.fullmatch(r"[\w.+-]+", term) and path.is_file():
            return {f"etc/terminfo/{term[:1]}/{term}": path.read_bytes()}
    return {}


def locale() -> dict[str, bytes]:
    """The locale that a guest speaks."""
    files = Path("/usr/lib/locale/C.utf8").glob("**/*")
    return {str(path)[1:]: path.read_bytes() for path in files if path.is_file()}


def _words(makefile: Path, variable: str) -> list[str]:
    """What a lab.mk says of its needs in a guest.

    `MODULES = loop isofs`: what a kernel may have to load for the lab; `TOOLS`: the
    programs of this machine that it runs.
    """
    try:
        text = makefile.read_text()
    except OSError:
        return []
    match = re.search(rf"^{variable} *= *(.*)$", text, re.MULTILINE)
    return match.group(1).split() if match else []


def _quicker(static: Path, program: Path) -> Path:
    """The same program linked for a guest, where it was built and is not older."""
    with suppress(OSError):
        if static.stat().st_mtime_ns >= program.stat().st_mtime_ns:
            return static
    return program


def _init(guest: Path) -> Path:
    """The guest's first process, built beside the labs."""
    path = guest / "init"
    if not os.access(path, os.R_OK):
        raise UserError(f"{path} is not built: run 'make'", BROKEN)
    return path
