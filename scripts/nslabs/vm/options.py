"""The options that the verbs about guests have in common."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from ..errors import UserError
from ..terminal import LiveLine
from ..verb_run import positive, seconds
from . import apt, kernels
from .accel import accelerator
from .guest import Machine, Parts


def which_kernel(parser: argparse.ArgumentParser) -> None:
    """Which kernel, and how its machine is made."""
    parser.add_argument(
        "--kernel",
        metavar="NAME|PATH",
        help="a name of 'nslab vm kernels', or a bzImage or vmlinux file "
        "(default: the newest that was fetched)",
    )
    parser.add_argument(
        "--modules", metavar="FOLDER", help="the modules of a kernel given by its path"
    )
    parser.add_argument(
        "--accel",
        choices=["auto", "kvm", "tcg"],
        default="auto",
        help="the processor's help or emulation (default: what works)",
    )
    parser.add_argument(
        "--memory",
        metavar="MB",
        type=positive,
        help="the guest's memory (default: as much as its image needs)",
    )
    parser.add_argument(
        "--slow",
        metavar="TIMES",
        type=seconds,
        default=1.0,
        help="multiply all time limits, where many guests share a processor",
    )


def the_machine(args: argparse.Namespace, parts: Parts) -> Machine:
    """The kernel that was asked for, and what it is run by."""
    if args.modules and not args.kernel:
        raise UserError("--modules goes with --kernel PATH")
    kernel = (
        kernels.find(args.kernel, args.modules) if args.kernel else kernels.default()
    )
    machine = Machine(kernel, memory=args.memory, slow=args.slow)
    machine.need()
    return replace(machine, accel=accelerator(args.accel, kernel, parts.init))


def how(machine: Machine) -> str:
    """What it runs on, for a report."""
    kernel = machine.kernel
    engine = "user-mode Linux" if kernel.uml else f"QEMU ({machine.accel})"
    return f"Linux {kernel.release or kernel.name}, {engine}"


def archive_arguments(parser: argparse.ArgumentParser) -> None:
    """Where kernels come from."""
    parser.add_argument(
        "--mirror", metavar="URL", help="a Debian archive (default: apt's own)"
    )
    parser.add_argument(
        "--update", action="store_true", help="fetch the package lists again"
    )


class Progress:
    """A bar on a terminal; elsewhere a line for each thing that begins."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.live = LiveLine(sys.stderr)
        self.told = False

    def __call__(self, doing: str, percent: float | None) -> None:
        if not self.live.screen.live:
            if not self.told:
                print(f"nslab: {self.what} ...", file=sys.stderr, flush=True)
            self.told = True
            return
        bar = ""
        if percent is not None:
            done = int(percent / 100 * 24)
            bar = f"  [{'#' * done}{'.' * (24 - done)}] {percent:3.0f} %"
        self.live.show(f"  {self.what}{bar}  {doing}")


def the_archive(args: argparse.Namespace) -> apt.Archive:
    """The archive, its package lists fetched if need be."""
    archive = apt.Archive(args.mirror)
    if args.update or not archive.known:
        progress = Progress("fetching the package lists")
        try:
            archive.update(progress, args.update)
        finally:
            progress.live.clear()
    return archive
