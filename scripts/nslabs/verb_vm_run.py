"""Boot a kernel in a guest of a few megabytes and run labs in it.

Needs no root, no network once a kernel is here ('nslab vm fetch 6.12'), and no KVM:
without it QEMU emulates the machine. '--kernel uml' is user-mode Linux, a kernel that
is a program.

Exit code: as that of nslab run; 99 for what a guest that died did not deliver.
"""

from __future__ import annotations

import argparse
import os
import sys

from .errors import errno_text
from .labs import find_house
from .report import TICK, JunitReport, Report, follow
from .trace import exit_code
from .verb_run import make_orders, make_report, modes_of, run_arguments
from .vm import guest
from .vm.options import how, the_accelerator, the_kernel, which_kernel
from .vm.parts import parts_for

SUMMARY = "run labs on another kernel, in a guest"
ORDER = 6


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `nslab vm run`."""
    run_arguments(parser, ["table", "json", "ktap"])
    which_kernel(parser)


def main(args: argparse.Namespace) -> int:
    """Run what was asked for."""
    form = "json" if args.json else args.format or "table"
    labs = find_house(args.build).choose_built(args.labs)
    kernel = the_kernel(args)
    accel = the_accelerator(args, kernel)
    orders = make_orders(labs, modes_of(args), args.stage, args.timeout)
    vm = guest.Guest(kernel, parts_for(labs, args.build), orders, accel)
    reports: list[Report] = [
        make_report(form, orders, args.verbose, how(kernel, accel))
    ]
    if args.junit:
        reports.append(JunitReport(orders, args.junit))
    results = follow(vm.run(TICK), reports)
    for trouble in vm.trouble:
        path, _, number = trouble.rpartition(" ")
        name = os.path.basename(path)
        why = errno_text(int(number)) if number.isdigit() else number
        print(f"nslab: the guest could not load {name}: {why}", file=sys.stderr)
    return exit_code(results)
