"""The options that the verbs about guests have in common."""

from __future__ import annotations

import argparse
import sys

from ..errors import UserError
from ..terminal import LiveLine
from . import apt, guest, kernels


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


def the_kernel(args: argparse.Namespace) -> kernels.Kernel:
    """The kernel that was asked for, and what it needs to boot."""
    if args.modules and not args.kernel:
        raise UserError("--modules goes with --kernel PATH")
    kernel = (
        kernels.find(args.kernel, args.modules) if args.kernel else kernels.default()
    )
    guest.need_qemu(kernel)
    return kernel


def how(kernel: kernels.Kernel, accel: str) -> str:
    """What it runs on, for a report."""
    machine = f"QEMU ({accel})" if accel else "user-mode Linux"
    return f"Linux {kernel.release or kernel.name}, {machine}"


def the_accelerator(args: argparse.Namespace, kernel: kernels.Kernel) -> str:
    """What QEMU runs the guest with; nothing for user-mode Linux."""
    return "" if kernel.uml else guest.accelerator(args.accel)


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
            archive.update(progress)
        finally:
            progress.live.clear()
    return archive
