"""Show a lab's page in the terminal.

On a terminal it goes through $PAGER (less, where that is not set); anywhere else it
is plain text of at most 80 columns.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys

from .errors import BROKEN, OK, UserError, errno_text
from .labs import find_house
from .markdown import render
from .terminal import Screen

SUMMARY = "a lab's page in the terminal"
ORDER = 4


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `nslab explain`."""
    parser.add_argument("lab", metavar="LAB")
    parser.add_argument(
        "--no-pager", action="store_true", help="print the page and be done"
    )


def main(args: argparse.Namespace) -> int:
    """Show the page."""
    house = find_house(args.build)
    lab = house.one(args.lab)
    if lab.page is None:
        raise UserError(
            f"{lab.name} has no page: no {house.pages / lab.name}/README.md"
        )
    try:
        text = lab.page.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UserError(f"{lab.page}: {errno_text(error)}", BROKEN) from None
    screen = Screen(sys.stdout)
    page = render(text, screen, min(80, screen.columns))
    if args.no_pager or not screen.live or not _paged(page):
        sys.stdout.write(page)
    return OK


def _paged(page: str) -> bool:
    """Show the page through the pager; False when there is none."""
    words = shlex.split(os.environ.get("PAGER", "less"))
    if not words or shutil.which(words[0]) is None:
        return False
    # For less: leave at once when it fits, show colours, leave the page there.
    environ = {"LESS": "FRX", **os.environ}
    text = page.encode(sys.stdout.encoding, "replace")
    subprocess.run(words, input=text, env=environ, check=False)
    return True
