"""Step through a lab on this terminal: it waits for Enter before each step.

This process becomes the lab (exec), so its keys, its signals and its exit code are
the lab's own.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys

from .errors import BROKEN, UserError, errno_text
from .labs import find_house
from .verb_run import seconds, stage_argument

SUMMARY = "go through a lab step by step on this terminal"
ORDER = 3


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `nslab step`."""
    parser.add_argument("lab", metavar="LAB")
    parser.add_argument("--control", action="store_true", help="step the control")
    stage_argument(parser)
    parser.add_argument(
        "--format", choices=["text", "json", "ktap"], help="what the lab prints"
    )
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=seconds, help="the lab's time limit"
    )


def main(args: argparse.Namespace) -> int:
    """Become the lab."""
    house = find_house(args.build)
    lab = house.one(args.lab)
    if lab.program is None:
        raise UserError(f"{lab.name} is not built: {house.remedy()}")
    words = [str(lab.program), "--step"]
    if args.control:
        words.append("--control")
    if args.stage:
        words.append(f"--stage={args.stage}")
    if args.format:
        words.append(f"--format={args.format}")
    if args.timeout is not None:
        words.append(f"--timeout={args.timeout:g}")
    sys.stdout.flush()
    # Python ignores these, and an ignored signal stays so through exec.
    for name in ("SIGPIPE", "SIGXFSZ"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    try:
        os.execv(lab.program, words)
    except OSError as error:
        raise UserError(f"{lab.program}: {errno_text(error)}", BROKEN) from None
