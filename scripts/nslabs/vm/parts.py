"""What a guest for these labs is made of."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from ..errors import BROKEN, UserError
from ..labs import Lab, find_house
from .guest import LAB_TOOLS, Parts

SHELL_TOOLS = (
    *LAB_TOOLS,
    *"bash sh cat chmod chown clear cp cut date dd df dmesg echo env".split(),
    *"false find findmnt free grep head hostname domainname id ip ipcmk ipcrm".split(),
    *"ipcs kill killall less ln ls lsns lsmod mkdir mknod mkfifo more mount".split(),
    *"mountpoint mv nsenter pgrep ping ps pstree pwd readlink realpath rm".split(),
    *"rmdir sed setpriv sleep sort ss stat strace stty su sync tail tee test".split(),
    *"touch tr true tty umount uname unshare vi wc which whoami".split(),
)


def parts_for(labs: Sequence[Lab], build: str | None, shell: bool = False) -> Parts:
    """The init, the labs that are built, the modules their lab.mk names."""
    programs = {lab.name: lab.program for lab in labs if lab.program}
    if not programs:
        raise UserError("no lab is built: run 'make'", BROKEN)
    house = find_house(build)
    modules: dict[str, None] = {}
    for lab in labs:
        for name in _modules(house.pages / lab.name / "lab.mk"):
            modules.setdefault(name)
    tools = SHELL_TOOLS if shell else LAB_TOOLS
    return Parts(_init(house.programs.parent), programs, tools, list(modules))


def _modules(makefile: Path) -> list[str]:
    """`MODULES = loop isofs` of a lab.mk: what a kernel may have to load for it."""
    try:
        text = makefile.read_text()
    except OSError:
        return []
    match = re.search(r"^MODULES *= *(.*)$", text, re.MULTILINE)
    return match.group(1).split() if match else []


def _init(build: Path) -> Path:
    """The guest's first process, built beside the labs."""
    path = build / "guest" / "init"
    if not os.access(path, os.R_OK):
        raise UserError(f"{path} is not built: run 'make'", BROKEN)
    return path
