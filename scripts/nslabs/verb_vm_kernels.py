"""List the kernels that can be had here: fetched ones, the machine's own, offers."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from .errors import BROKEN, OK, UserError
from .terminal import Screen, pad
from .vm import kernels
from .vm.options import archive_arguments, the_archive

SUMMARY = "the kernels that can be had here"
ORDER = 8


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `nslab vm kernels`."""
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--offline", action="store_true", help="only what is here")
    archive_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """List them."""
    here = [*kernels.fetched()]
    for other in (kernels.host(), kernels.uml()):
        if other:
            here.append(other)
    rows: list[dict[str, Any]] = [
        {
            "name": kernel.name,
            "release": kernel.release,
            "here": True,
            "modules": kernel.modules is not None,
            "remark": kernel.remark,
            "source": "fetched" if kernel.name[:1].isdigit() else "this machine",
            "bytes": None,
        }
        for kernel in here
    ]
    why = ""
    if not args.offline:
        try:
            known = {row["name"] for row in rows}
            rows += [
                {
                    "name": offer.series,
                    "release": offer.release,
                    "here": False,
                    "modules": offer.modules,
                    "remark": "" if offer.modules else kernels.GONE,
                    "source": offer.suite,
                    "bytes": offer.size,
                }
                for offer in the_archive(args).offers()
                if offer.series not in known
            ]
        except UserError as error:
            why = str(error)
    rows.sort(key=lambda row: kernels.order(row["name"]))
    if args.json:
        print(
            json.dumps({"v": 1, "kernels": rows, "why_no_more": why or None}, indent=1)
        )
        return OK
    _table(rows)
    if why:
        print(f"nslab: {why}", file=sys.stderr)
    return OK if rows else BROKEN


def _table(rows: list[dict[str, Any]]) -> None:
    screen = Screen(sys.stdout)
    print(screen.paint(f"  {pad('kernel', 8)}  {pad('release', 30)}  where", "bold"))
    for row in rows:
        where = (
            row["source"] if row["here"] else f"{row['source']}: vm fetch {row['name']}"
        )
        if row["bytes"]:
            where += f", {row['bytes'] / 1e6:.0f} MB"
        if row["remark"]:
            where += f"; {row['remark']}"
        elif not row["modules"]:
            where += "; without modules"
        mark = screen.mark("agrees") if row["here"] else " "
        print(
            f"{mark} {pad(row['name'], 8)}  {pad(row['release'] or '-', 30)}  {where}"
        )
