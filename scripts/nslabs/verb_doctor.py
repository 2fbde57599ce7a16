"""Look at each prerequisite of the labs by trying it, and name the remedy.

Nothing is decided by a version or by who you are: namespaces are made and used,
an image is written and mounted, a program is compiled. When root asks, the labs'
own way is tried, as an ordinary user, and said so.

Exit code: 0 everything required is there, 1 something required is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from .doctor import Check, asked_as, examine
from .errors import OK, UserError
from .labs import find_house
from .terminal import Screen, cells, pad, safe, wrap

SUMMARY = "what this machine has, lacks, and how to mend it"
ORDER = 5


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `nslab doctor`."""
    parser.add_argument("--json", action="store_true", help="as one JSON document")
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="say of each how it was tried"
    )


def main(args: argparse.Namespace) -> int:
    """Examine the machine."""
    try:
        sources = find_house(args.build).sources
    except UserError:
        sources = None
    checks = list(examine(sources))
    missing = [check for check in checks if check.required and not check.found]
    code = 1 if missing else OK
    if args.json:
        document = {
            "v": 1,
            "system": _system(),
            "uid": os.geteuid(),
            "checks": [check.to_json() for check in checks],
            "missing": [check.name for check in missing],
            "exit": code,
        }
        print(json.dumps(document, indent=1))
    else:
        _show(checks, args.verbose)
    return code


def _show(checks: list[Check], verbose: bool) -> None:
    screen = Screen(sys.stdout)
    lines = [""]
    for text in (_system(), f"tried {asked_as()}"):
        for line in wrap(safe(text), screen.width - 2):
            lines.append(f"  {screen.paint(line, 'dim')}")
    width = max(cells(check.group or check.name) for check in checks)
    for section in dict.fromkeys(check.section for check in checks):
        lines += ["", f"  {screen.paint(section, 'bold')}"]
        here = [check for check in checks if check.section == section]
        for check in _joined(here):
            lines += _rows(screen, check, width, verbose)
    missing = [check for check in checks if not check.found]
    required = [check for check in missing if check.required]
    if required:
        names = ", ".join(check.name for check in required)
        text = screen.paint("missing and required", "bold", "red") + f": {names}"
    elif missing:
        names = ", ".join(check.name for check in missing)
        text = "Everything required is there."
        text += f" Optional and missing: {names}."
    else:
        text = "Everything is there."
    lines.append("")
    lines += [f"  {line}" for line in wrap(text, screen.width - 2)]
    print("\n".join(lines), end="\n\n")


def _joined(checks: list[Check]) -> list[Check]:
    """Those of a group as one, when all were found."""
    joined: list[Check] = []
    for check in checks:
        group = [
            other for other in checks if check.group and other.group == check.group
        ]
        if group and all(other.found for other in group):
            if check is group[0]:
                names = ", ".join(other.name.split()[0] for other in group)
                joined.append(
                    Check(
                        str(check.group),
                        check.section,
                        check.required,
                        True,
                        check.tried,
                        f"{names}: each made in a user namespace",
                    )
                )
        else:
            joined.append(check)
    return joined


def _rows(screen: Screen, check: Check, width: int, verbose: bool) -> list[str]:
    indent = 4 + width + 2
    room = screen.width - indent
    mark = "agrees" if check.found else "disagrees" if check.required else "skipped"
    first, *rest = wrap(safe(check.answer), room)
    lines = [f"  {screen.mark(mark)} {pad(check.name, width)}  {first}"]
    lines += [" " * indent + line for line in rest]
    extra = []
    if verbose:
        extra.append((f"tried: {check.tried}", "dim"))
    if check.remedy and not check.found:
        extra.append((f"remedy: {check.remedy}", "bold"))
    if check.lost and not check.found:
        extra.append((f"without: {check.lost}", "dim"))
    for text, style in extra:
        for line in wrap(safe(text), room):
            lines.append(" " * indent + screen.paint(line, style))
    return lines


def _system() -> str:
    name = "an unknown distribution"
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        try:
            text = Path(path).read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        for line in text.splitlines():
            if line.startswith("PRETTY_NAME="):
                name = line.partition("=")[2].strip("\"'")
        break
    system = os.uname()
    return f"{name}, Linux {system.release}, {system.machine}"
