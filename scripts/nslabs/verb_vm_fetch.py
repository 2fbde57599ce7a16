"""Get kernels into the cache: downloaded and checked by apt, unpacked, not installed.

A download that was interrupted is continued. Exit code: 0 all are here, 99 not.
"""

from __future__ import annotations

import argparse

from .errors import OK, UserError, suggestion
from .vm import kernels
from .vm.options import Progress, archive_arguments, the_archive

SUMMARY = "get a kernel; nothing is installed"
ORDER = 9


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `nslab vm fetch`."""
    parser.add_argument(
        "names", metavar="NAME", nargs="+", help="such as 6.12 (see vm kernels), or all"
    )
    parser.add_argument(
        "--again", action="store_true", help="also those that are here already"
    )
    archive_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Get them."""
    archive = the_archive(args)
    offers = {offer.series: offer for offer in archive.offers()}
    names = list(offers) if args.names == ["all"] else args.names
    for name in names:
        if name not in offers:
            near = suggestion(name, list(offers))
            raise UserError(f"the archive offers no kernel {name}.{near}")
    here = {kernel.name: kernel.release for kernel in kernels.fetched()}
    for name in names:
        offer = offers[name]
        if here.get(name) == offer.release and not args.again:
            print(f"{name}: Linux {offer.release} is here already", flush=True)
            continue
        progress = Progress(f"Linux {offer.release}, {offer.size / 1e6:.0f} MB")
        try:
            kernel = kernels.fetch(archive, offer, progress)
        finally:
            progress.live.clear()
        remark = f" ({kernel.remark})" if kernel.remark else ""
        print(f"{name}: Linux {kernel.release} is ready{remark}", flush=True)
    return OK
