"""Boot a kernel in a guest of a few megabytes and run labs in it.

Needs no root, no network once a kernel is here ('nslab vm fetch 6.12'), and no KVM:
without it QEMU emulates the machine. '--kernel uml' is user-mode Linux, a kernel that
is a program.

Exit code: as that of nslab run; 99 for what a guest that died did not deliver.
"""

from __future__ import annotations

import argparse
import sys

from .errors import UserError
from .labs import find_house
from .report import TICK, JunitReport, Report, follow
from .runner import LAB_SECONDS
from .trace import exit_code
from .verb_run import make_orders, make_report, modes_of, run_arguments
from .vm.guest import Guest
from .vm.options import how, the_machine, which_kernel
from .vm.parts import parts_for

SUMMARY = "run labs on another kernel, in a guest"
ORDER = 6


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `nslab vm run`."""
    run_arguments(parser, ["table", "json", "ktap", "text"])
    which_kernel(parser)


def main(args: argparse.Namespace) -> int:
    """Run what was asked for."""
    form = "json" if args.json else args.format or "table"
    if args.junit and form == "text":
        raise UserError("--junit needs the labs' traces: not with --format text")
    labs = find_house(args.build).choose_built(args.labs)
    parts = parts_for(labs, args.build)
    machine = the_machine(args, parts)
    limit = args.timeout
    if machine.slow != 1:
        limit = (limit or LAB_SECONDS) * machine.slow
    orders = make_orders(labs, modes_of(args), args.stage, limit, form == "text")
    again = f"vm run --kernel {machine.kernel.name}"
    reports: list[Report] = [
        make_report(form, orders, args.verbose, how(machine), again)
    ]
    if args.junit:
        reports.append(JunitReport(orders, args.junit))
    guest = Guest(machine, parts, orders)
    results = follow(guest.run(TICK), reports)
    _remarks(guest)
    return exit_code(results)


def _remarks(guest: Guest) -> None:
    """What was not as it should be, and may be why labs skip."""
    kernel = guest.machine.kernel
    remarks = [text.replace("/nslabs/modules/", "") for text in guest.trouble]
    if guest.missing:
        names = ", ".join(guest.missing)
        why = kernel.remark or "labs that need them skip"
        if kernel.modules is None and "/" in kernel.name and not kernel.remark:
            why = "name their folder with --modules"
        remarks.append(f"no modules {names} for {kernel.name}: {why}")
    for remark in remarks:
        print(f"nslab: {remark}", file=sys.stderr)
