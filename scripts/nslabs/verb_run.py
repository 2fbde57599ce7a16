"""Run labs and show which claims held.

Without a name, all labs; a name may be a pattern such as 'pid-*'.

The control is the same lab with the namespace left out: there every claim must
fail, or it was never evidence.

Exit code: 0 all agree (some may be skipped), 1 some disagree, 4 all are skipped,
99 some are broken, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import os
import sys

from .errors import UserError
from .labs import Lab, find_house
from .report import (
    TICK,
    JsonReport,
    JunitReport,
    KtapReport,
    Report,
    TableReport,
    TextReport,
    follow,
)
from .runner import Order, run_all
from .trace import CONTROL, EXPERIMENT, exit_code

SUMMARY = "run labs: which claims hold on this machine"
ORDER = 2


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `nslab run`."""
    run_arguments(parser, ["table", "json", "ktap", "text"])
    parser.add_argument(
        "--jobs",
        "-j",
        metavar="N",
        type=positive,
        help="labs at the same time (default: one for each processor)",
    )


def run_arguments(parser: argparse.ArgumentParser, formats: list[str]) -> None:
    """The options of every verb that runs labs and shows results."""
    parser.add_argument("labs", metavar="LAB", nargs="*", help="labs; default: all")
    modes = parser.add_mutually_exclusive_group()
    modes.add_argument("--control", action="store_true", help="run the control instead")
    modes.add_argument(
        "--both", action="store_true", help="run the experiment, then the control"
    )
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument(
        "--format",
        choices=formats,
        help="how results are shown; text, where offered: what the labs tell",
    )
    forms.add_argument("--json", action="store_true", help="the same as --format json")
    parser.add_argument(
        "--junit", metavar="FILE", help="also write the results as JUnit XML"
    )
    stage_argument(parser)
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=seconds,
        help="time limit of each lab (default: the labs' own, 10)",
    )
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="list the claims that agree too"
    )


def stage_argument(parser: argparse.ArgumentParser) -> None:
    """The option that labs and verbs have in common."""
    parser.add_argument(
        "--stage",
        choices=["user", "root", "auto"],
        help="where the labs play: without root, as root, or as can be had",
    )


def main(args: argparse.Namespace) -> int:
    """Run what was asked for."""
    form = "json" if args.json else args.format or "table"
    if args.junit and form == "text":
        raise UserError("--junit needs the labs' traces: not with --format text")
    house = find_house(args.build)
    labs = house.choose_built(args.labs)
    jobs = args.jobs or (1 if form == "text" else processors())
    orders = make_orders(
        labs,
        modes_of(args),
        stage=args.stage,
        limit=args.timeout,
        told=form == "text",
        capture=jobs > 1,
        not_built=f"it is not built: {house.remedy()}",
    )
    reports: list[Report] = [make_report(form, orders, args.verbose)]
    if args.junit:
        reports.append(JunitReport(orders, args.junit))
    results = follow(run_all(orders, jobs, TICK), reports)
    return exit_code(results)


def modes_of(args: argparse.Namespace) -> list[str]:
    """The modes that --control and --both ask for."""
    if args.both:
        return [EXPERIMENT, CONTROL]
    return [CONTROL] if args.control else [EXPERIMENT]


def make_orders(
    labs: list[Lab],
    modes: list[str],
    stage: str | None = None,
    limit: float | None = None,
    told: bool = False,
    capture: bool = True,
    not_built: str = "it is not built",
) -> list[Order]:
    """An order for each lab and mode, the modes of a lab side by side."""
    return [
        Order(
            lab.name,
            lab.program,
            mode=mode,
            stage=stage,
            seconds=limit,
            told=told,
            capture=capture,
            not_built=not_built,
        )
        for lab in labs
        for mode in modes
    ]


def make_report(
    form: str,
    orders: list[Order],
    verbose: bool = False,
    where: str | None = None,
    verb: str = "run",
) -> Report:
    """The report of a format, on standard output."""
    if form == "json":
        return JsonReport(orders, sys.stdout, where)
    if form == "ktap":
        return KtapReport(orders, sys.stdout)
    if form == "text":
        return TextReport(orders, sys.stdout)
    return TableReport(orders, sys.stdout, sys.stderr, verbose, where, verb)


def processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0))


def positive(text: str) -> int:
    """A whole number from 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


def seconds(text: str) -> float:
    """A positive number of seconds."""
    number = float(text)
    if not 0 < number < 1e6:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds")
    return number
