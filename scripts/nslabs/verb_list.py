"""List the labs in reading order: what they ask and need, and do they run here.

Whether it runs is found out by running it; that takes milliseconds.

Exit code: 0, or 99 when a lab cannot say what it claims.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from .errors import BROKEN, OK, errno_text
from .labs import Lab, find_house
from .report import Report, follow
from .runner import run_all
from .terminal import Screen, cells, me, pad, safe, wrap
from .trace import EXPERIMENT, Result
from .verb_run import make_orders, positive, processors, stage_argument

SUMMARY = "the labs: their questions, what they need, do they run here"
ORDER = 1
CLAIMS_SECONDS = 10


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `nslab list`."""
    parser.add_argument("labs", metavar="LAB", nargs="*", help="labs; default: all")
    parser.add_argument("--json", action="store_true", help="as one JSON document")
    parser.add_argument(
        "--jobs", "-j", metavar="N", type=positive, help="tried at once"
    )
    stage_argument(parser)


@dataclass(frozen=True)
class Card:
    """What a lab says of itself without running."""

    question: str | None
    needs: list[str]
    claims: list[Any]
    problem: str | None = None
    rung: int = 0  # its place in the reading order; 0: after the others


def main(args: argparse.Namespace) -> int:
    """List what was asked for."""
    house = find_house(args.build)
    labs = house.choose_built(args.labs)
    not_built = f"it is not built: {house.remedy()}"
    orders = make_orders(labs, [EXPERIMENT], stage=args.stage, not_built=not_built)
    results = follow(run_all(orders, args.jobs or processors()), [Report(orders)])
    rows = [(lab, ask(lab, not_built), result) for lab, result in zip(labs, results)]
    if not args.labs:
        rows.sort(key=lambda row: (row[1].rung == 0, row[1].rung))
    if args.json:
        documents = [_document(*row) for row in rows]
        print(json.dumps({"v": 1, "labs": documents}, indent=1))
    else:
        _show(rows)
    return BROKEN if any(card.problem for _, card, _ in rows) else OK


def ask(lab: Lab, not_built: str) -> Card:
    """The question, the needs and the claims of a lab, from its program."""
    if lab.program is None:
        return Card(None, [], [], not_built)
    try:
        run = subprocess.run(
            [str(lab.program), "--claims", "--format=json"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=CLAIMS_SECONDS,
            check=False,
        )
        data = json.loads(run.stdout)
        question, needs = str(data["question"]), data["needs"]
        card = Card(
            question,
            [needs] if isinstance(needs, str) else [str(need) for need in needs],
            list(data["claims"]),
            rung=int(data.get("rung") or 0),
        )
    except subprocess.TimeoutExpired:
        return Card(None, [], [], f"--claims: no end after {CLAIMS_SECONDS} s")
    except OSError as error:
        return Card(None, [], [], errno_text(error))
    except (ValueError, KeyError, TypeError) as error:
        problem = f"--claims --format=json: {type(error).__name__}: {error}"
        return Card(None, [], [], problem)
    if run.returncode != 0 or data.get("lab") != lab.name:
        problem = f"--claims: exit {run.returncode}, of lab {data.get('lab')!r}"
        return Card(None, [], [], problem)
    return card


def _document(lab: Lab, card: Card, result: Result) -> dict[str, Any]:
    return {
        "lab": lab.name,
        "question": card.question,
        "rung": card.rung,
        "needs": card.needs,
        "claims": card.claims,
        "runs_here": result.verdict in ("agrees", "disagrees"),
        "verdict": result.verdict,
        "reason": result.reason or card.problem,
        "stage": result.stage,
        "program": str(lab.program) if lab.program else None,
        "page": str(lab.page) if lab.page else None,
    }


def _show(rows: list[tuple[Lab, Card, Result]]) -> None:
    screen = Screen(sys.stdout)
    width = max([3, *(cells(lab.name) for lab, _, _ in rows)])
    needs_width = max([5, *(cells(", ".join(card.needs)) for _, card, _ in rows)])
    needs_width = min(needs_width, 13)
    indent = 4 + width + 2
    room = screen.width - indent - needs_width - 2
    if room < 24:  # a narrow terminal
        needs_width, room = 0, screen.width - indent
    head = f"    {pad('lab', width)}  "
    head += f"{pad('needs', needs_width)}  question" if needs_width else "question"
    lines = ["", screen.paint(head, "bold"), f"  {screen.rule(screen.width - 4)}"]
    for lab, card, result in rows:
        lines += _rows(screen, lab, card, result, width, needs_width, room)
    runs = sum(result.verdict in ("agrees", "disagrees") for _, _, result in rows)
    lines += ["", f"  {screen.mark('agrees')} runs here: {runs} of {len(rows)}"]
    for line in wrap(f"{me()} explain LAB shows its page", screen.width - 2):
        lines.append(f"  {screen.paint(line, 'dim')}")
    lines.append("")
    print("\n".join(lines))


def _rows(
    screen: Screen,
    lab: Lab,
    card: Card,
    result: Result,
    width: int,
    needs_width: int,
    room: int,
) -> list[str]:
    indent = 4 + width + 2
    needs = wrap(safe(", ".join(card.needs)), needs_width) if needs_width else []
    question = wrap(safe(card.question or card.problem or ""), room)
    mark = "agrees" if result.verdict == "disagrees" else result.verdict
    if card.problem:
        mark = "broken"
    lines = []
    for number in range(max(len(needs), len(question))):
        need = pad(needs[number] if number < len(needs) else "", needs_width)
        text = question[number] if number < len(question) else ""
        if number == 0:
            name = screen.paint(pad(lab.name, width), "bold")
            start = f"  {screen.mark(mark)} {name}  "
        else:
            start = " " * indent
        line = start
        if needs_width:
            line += f"{screen.paint(need, 'dim')}  "
        line += text
        lines.append(line.rstrip())
    reason = result.reason if result.verdict in ("skipped", "broken") else None
    if result.verdict == "disagrees":
        reason = f"disagrees here: {me()} run {lab.name}"
    if reason and reason != card.problem:
        for line in wrap(safe(reason), screen.width - indent):
            lines.append(" " * indent + screen.paint(line, "yellow"))
    return lines
