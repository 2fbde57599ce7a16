"""Get kernels into the cache: downloaded and checked by apt, unpacked, not installed.

A download that was interrupted is continued. Without apt: --package names a package
of a kernel, a file or a URL, which nobody has checked then.

Exit code: 0 all are here, 99 not, 2 no such kernel.
"""

from __future__ import annotations

import argparse
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from .errors import BROKEN, OK, UserError, errno_text, suggestion
from .vm import cache, kernels
from .vm.apt import Progress as Told
from .vm.apt import of_series
from .vm.options import Progress, archive_arguments, the_archive

SUMMARY = "get a kernel; nothing is installed"
ORDER = 9


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `nslab vm fetch`."""
    parser.add_argument(
        "names", metavar="NAME", nargs="*", help="such as 6.12 (see vm kernels), or all"
    )
    parser.add_argument(
        "--package",
        metavar="FILE|URL",
        nargs="+",
        help="unpack these packages of one kernel instead (linux-image, or its "
        "linux-binary and linux-modules)",
    )
    archive_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Get them."""
    if bool(args.names) == bool(args.package):
        raise UserError("name a kernel such as 6.12, or give --package FILE")
    if args.package:
        return _of_packages(args.package)
    archive = the_archive(args)
    everything = archive.all_offers()
    best = [offer.series for offer in archive.offers()]
    names = best if args.names == ["all"] else args.names
    for name in names:
        if not of_series(everything, name):
            near = suggestion(name, best)
            raise UserError(f"the archive offers no kernel {name}.{near}")
    for name in names:
        offers = of_series(everything, name)
        first = offers[0]
        progress = Progress(f"Linux {first.release}, {first.size / 1e6:.0f} MB")
        try:
            kernel = kernels.fetch(archive, offers, progress)
        finally:
            progress.live.clear()
        _tell(kernel)
    return OK


def _tell(kernel: kernels.Kernel) -> None:
    remark = f" ({kernel.remark})" if kernel.remark else ""
    print(f"{kernel.name}: Linux {kernel.release} is ready{remark}", flush=True)


def _of_packages(places: list[str]) -> int:
    """One kernel from packages that the user vouches for."""
    progress = Progress("packages")
    try:
        with tempfile.TemporaryDirectory(dir=cache.folder("downloads")) as folder:
            files = []
            for number, place in enumerate(places):
                copy = Path(folder, f"{number}-{place.rpartition('/')[2]}")
                _copy(place, copy, progress)
                files.append(copy)
            progress("unpacking", None)
            kernel = kernels.install(files, None, "")
    finally:
        progress.live.clear()
    _tell(kernel)
    return OK


def _copy(place: str, target: Path, progress: Told) -> None:
    """From a URL or a file."""
    url = place if "://" in place else Path(place).resolve().as_uri()
    try:
        with urllib.request.urlopen(url) as source, target.open("wb") as file:
            total = int(source.headers.get("Content-Length") or 0)
            while part := source.read(1 << 20):
                file.write(part)
                progress(place, 100 * file.tell() / total if total else None)
    except (urllib.error.URLError, OSError, ValueError) as error:
        why = getattr(error, "reason", None) or error
        text = errno_text(why) if isinstance(why, OSError) else str(why)
        raise UserError(f"{place}: {text}", BROKEN) from None
