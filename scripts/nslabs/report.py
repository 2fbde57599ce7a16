"""Shows results: as a table for people, as KTAP, as JSON, as the labs' own text.

A report is told what happens (`take`), in whatever order, and prints results in
the order of the orders. It does not care who ran the labs.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Generator, Sequence
from contextlib import closing, suppress
from typing import IO, Any, TextIO

from .errors import BROKEN, Interrupted, UserError, errno_text
from .runner import Finished, Order, Progress, Started, Tick, Traced
from .terminal import (
    MARKS,
    LiveLine,
    Screen,
    bare,
    cells,
    cut,
    duration,
    me,
    pad,
    safe,
    wrap,
)
from .trace import CONTROL, Claim, Result, broken, exit_code

VERDICTS = ("agrees", "disagrees", "skipped", "broken")
TICK = 0.5  # seconds without any news after which the live line appears


class Report:
    """Brings results into order; what is printed is the heirs' affair."""

    def __init__(self, orders: Sequence[Order]) -> None:
        self.orders = orders
        self.finished: dict[int, Finished] = {}
        self.shown = 0

    def take(self, happening: Progress) -> None:
        """Something happened."""
        if isinstance(happening, Finished):
            self.finished[happening.index] = happening
            while self.shown in self.finished:
                self.show(self.finished[self.shown])
                self.shown += 1

    def end(self) -> None:
        """All is over."""

    def abandon(self, why: str) -> None:
        """Show what was finished; the rest will never be."""
        for index in sorted(self.finished):
            if index >= self.shown:
                self.show(self.finished[index])
        self.shown = len(self.orders)
        self.end()

    def show(self, finished: Finished) -> None:
        """The next result, in order."""

    @property
    def results(self) -> list[Result]:
        """Those that are known, in order."""
        return [self.finished[index].result for index in sorted(self.finished)]

    @property
    def unfinished(self) -> list[Order]:
        """The orders without a result."""
        return [o for i, o in enumerate(self.orders) if i not in self.finished]


def follow(
    progress: Generator[Progress, None, None], reports: Sequence[Report]
) -> list[Result]:
    """Tell the reports all that happens. However it ends, the labs are ended."""
    ended = 0
    with closing(progress):
        try:
            for happening in progress:
                for report in reports:
                    report.take(happening)
            for report in reports:
                ended += 1
                report.end()
        except BaseException as error:
            progress.close()
            why = "the run was ended"
            if isinstance(error, Interrupted):
                why = f"ended by {_signal_name(error.signum)}"
            for report in reports[ended:]:
                with suppress(OSError, UserError):
                    report.abandon(why)
            raise
    return reports[0].results


class TableReport(Report):
    """A row for each run, as it comes, and a line that sums up."""

    def __init__(
        self,
        orders: Sequence[Order],
        out: TextIO,
        live: TextIO | None = None,
        verbose: bool = False,
        where: str | None = None,
        verb: str = "run",
    ) -> None:
        super().__init__(orders)
        self.verb = verb  # how one of the labs is run again
        self.screen = Screen(out)
        self.live = LiveLine(live) if live else None
        self.verbose = verbose
        self.where = where
        self.began = time.monotonic()
        self.running: dict[int, Started] = {}
        self.steps: dict[int, str] = {}
        self.modes = len({order.mode for order in orders}) > 1
        self.name_width = max([3, *(cells(order.lab) for order in orders)])
        self.headed = False
        self.previous: str | None = None
        # On a narrow terminal: no times, and names that may be cut.
        full = 2 + self.name_width + (12 if self.modes else 0) + 13 + 9 + 14
        self.narrow = full > self.screen.width
        if self.narrow:
            room = self.screen.width - (full - self.name_width - 9 - 5)
            self.name_width = max(8, min(self.name_width, room))

    def take(self, happening: Progress) -> None:
        if isinstance(happening, Started):
            self.running[happening.index] = happening
        elif isinstance(happening, Traced):
            if happening.event.get("event") == "step":
                self.steps[happening.index] = str(happening.event.get("text"))
        elif isinstance(happening, Finished):
            self.running.pop(happening.index, None)
        super().take(happening)
        self._refresh(isinstance(happening, Tick))

    def show(self, finished: Finished) -> None:
        result = finished.result
        lines = [] if self.headed else self._head()
        self.headed = True
        lines.append(self._row(result))
        lines += self._below(result)
        self.previous = result.lab
        self._print(lines)

    def end(self) -> None:
        lines = [] if self.headed else self._head()
        self._print([*lines, *self._summary()])

    def abandon(self, why: str) -> None:
        left = len(self.unfinished)
        super().abandon(why)
        if left:
            runs = "1 run" if left == 1 else f"{left} runs"
            names = ", ".join(sorted({order.lab for order in self.unfinished}))
            text = f"{why}: {runs} without a result: {names}"
            self._print([f"  {line}" for line in wrap(text, self.screen.width - 2)])

    def _refresh(self, tick: bool) -> None:
        """The live line, when there was no news for a while."""
        if self.live is None or not self.running or not (tick or self.live.shown):
            return
        names = ", ".join(started.order.lab for started in self.running.values())
        text = f"  {len(self.finished)} of {len(self.orders)} · running {names}"
        text += f" · {time.monotonic() - self.began:.0f} s"
        if len(self.running) == 1:
            step = self.steps.get(next(iter(self.running)))
            text += f" · {step}" if step else ""
        if not self.live.screen.unicode:
            text = text.replace("·", "|")
        self.live.show(text)

    def _print(self, lines: list[str]) -> None:
        if self.live:
            self.live.clear()
        self.screen.stream.write("".join(f"{line}\n" for line in lines))
        self.screen.stream.flush()

    def _head(self) -> list[str]:
        screen = self.screen
        head = f"  {pad('lab', self.name_width)}"
        if self.modes:
            head += f"  {pad('mode', 10)}"
        head += "  claims   verdict" if self.narrow else "  claims held     time"
        head += "" if self.narrow else "   verdict"
        lines = [screen.paint(head, "bold"), f"  {screen.rule(cells(head) + 2)}"]
        return ["", *lines]

    def _row(self, result: Result) -> str:
        screen = self.screen
        again = self.modes and result.lab == self.previous
        name = pad(cut(safe(result.lab), self.name_width), self.name_width)
        row = "  " + screen.paint(name, "dim" if again else "bold")
        if self.modes:
            row += f"  {pad(result.mode, 10)}"
        claims = f"{result.held}/{len(result.real_claims)}" if result.claims else "-"
        row += f"  {pad(claims, 6 if self.narrow else 11, right=True)}"
        seconds = duration(result.seconds) if result.status is not None else "-"
        if not self.narrow:
            row += f"  {screen.paint(pad(seconds, 7, right=True), 'dim')}"
        row += f"   {screen.mark(result.verdict)} {_painted(screen, result.verdict)}"
        partly = result.skipped and result.verdict != "skipped"
        if partly and not self.narrow:
            row += screen.paint(f", {result.skipped} skipped", "yellow")
        return row

    def _below(self, result: Result) -> list[str]:
        """What a row alone does not say: why, and what was observed."""
        screen = self.screen
        lines: list[str] = []
        if result.reason and result.verdict != "agrees":
            lines += self._wrapped(result.reason, 4)
        if result.verdict == "broken" and result.stderr.strip():
            for line in result.stderr.strip().splitlines()[-4:]:
                lines += self._wrapped(f"| {line}", 4, "dim")
        for claim in result.claims:
            if claim.as_expected is False:
                lines += self._claim(result, claim, "disagrees")
            elif claim.as_expected and self.verbose:
                lines += self._claim(result, claim, "agrees")
        skipped = [claim for claim in result.claims if claim.holds is None]
        reasons = dict.fromkeys(claim.reason or "no reason" for claim in skipped)
        for reason in reasons:
            ids = ", ".join(
                c.id for c in skipped if (c.reason or "no reason") == reason
            )
            if reason != result.reason or self.verbose:
                first, *rest = wrap(safe(f"{ids}: {reason}"), screen.width - 6)
                lines.append(
                    f"    {screen.mark('skipped')} {screen.paint(first, 'dim')}"
                )
                lines += [f"      {screen.paint(line, 'dim')}" for line in rest]
        return lines

    def _claim(self, result: Result, claim: Claim, mark: str) -> list[str]:
        screen = self.screen
        first, *rest = wrap(safe(f"{claim.id}: {claim.text}"), screen.width - 6)
        lines = [f"    {screen.mark(mark)} {first}"]
        lines += [f"      {line}" for line in rest]
        values = claim.observed()
        if mark != "agrees":
            values += f"; {claim.expectation()}"
            if claim.holds and result.mode == CONTROL:
                values = f"holds in the control too, so it proves nothing: {values}"
        return lines + self._wrapped(values, 6, "dim")

    def _wrapped(self, text: str, indent: int, *styles: str) -> list[str]:
        screen = self.screen
        lines = wrap(safe(text), screen.width - indent)
        return [" " * indent + screen.paint(line, *styles) for line in lines]

    def _summary(self) -> list[str]:
        screen = self.screen
        results = self.results
        parts = []
        for verdict in VERDICTS:
            count = sum(result.verdict == verdict for result in results)
            if count:
                # One agrees, several agree; the others are adjectives.
                word = {"agrees": "agree", "disagrees": "disagree"}.get(
                    verdict, verdict
                )
                word = verdict if count == 1 else word
                parts.append(f"{count} {_painted(screen, verdict, word)}")
        labs = len({result.lab for result in results})
        head = f"{labs} lab{'' if labs == 1 else 's'}"
        if self.modes:
            head += f", {len(results)} runs"
        parts.append(screen.paint(duration(time.monotonic() - self.began), "dim"))
        parts[0] = f"{screen.paint(head, 'bold')}: {parts[0]}"
        line, *rest = parts
        lines = [""]
        for part in rest:
            if cells(bare(line)) + 3 + cells(bare(part)) > screen.width - 2:
                lines.append(f"  {line}")
                line = f"  {part}"
            else:
                line += f" {screen.dot} {part}"
        lines.append(f"  {line}")
        if self.where:
            lines.append(f"  {screen.paint(self.where, 'dim')}")
        bad = [r for r in results if r.verdict in ("disagrees", "broken")]
        bad = [result for result in bad if result.status is not None]
        if bad:
            mode = " --control" if bad[0].mode == CONTROL else ""
            hint = f"to look closer: {me()} {self.verb} {bad[0].lab}{mode} "
            hint += "--format text"
            lines += self._wrapped(hint, 2, "dim")
        return [*lines, ""]


class TextReport(Report):
    """The labs' own words, one lab after the other, and the summary of the table."""

    def __init__(self, orders: Sequence[Order], out: TextIO) -> None:
        super().__init__(orders)
        self.out = out

    def show(self, finished: Finished) -> None:
        self.out.write(finished.text)
        result = finished.result
        if finished.order.capture and result.stderr:
            self.out.write(result.stderr)
        if result.verdict == "broken" and result.reason:
            self.out.write(f"nslab: {result.lab} is broken: {safe(result.reason)}\n")
        self.out.flush()


class JsonReport(Report):
    """One JSON document at the end."""

    def __init__(
        self, orders: Sequence[Order], out: TextIO, where: str | None = None
    ) -> None:
        super().__init__(orders)
        self.out = out
        self.where = where
        self.why: str | None = None

    def abandon(self, why: str) -> None:
        self.why = why
        super().abandon(why)

    def end(self) -> None:
        results = self.results
        summary = {v: sum(r.verdict == v for r in results) for v in VERDICTS}
        document: dict[str, Any] = {
            "v": 1,
            "kernel": next((r.kernel for r in results if r.kernel), None),
            "where": self.where or "this machine",
            "results": [result.to_json() for result in results],
            "summary": summary,
            "interrupted": self.why,
            "not_run": [{"lab": o.lab, "mode": o.mode} for o in self.unfinished],
            "exit": exit_code(results),
        }
        json.dump(document, self.out, indent=1)
        self.out.write("\n")
        self.out.flush()


class KtapReport(Report):
    """KTAP version 1: a test for each run, its claims as subtests."""

    def __init__(self, orders: Sequence[Order], out: TextIO) -> None:
        super().__init__(orders)
        self.out = out
        self.headed = False

    def show(self, finished: Finished) -> None:
        number = finished.index + 1
        self._head()
        self.out.write("".join(f"{line}\n" for line in _ktap(number, finished.result)))
        self.out.flush()

    def abandon(self, why: str) -> None:
        super().abandon(why)
        self._head()
        self.out.write(f"Bail out! {_ktap_text(why)}\n")
        self.out.flush()

    def end(self) -> None:
        self._head()
        self.out.flush()

    def _head(self) -> None:
        if not self.headed:
            self.out.write(f"KTAP version 1\n1..{len(self.orders)}\n")
        self.headed = True


class JunitReport(Report):
    """A JUnit XML file, written when all is over."""

    def __init__(self, orders: Sequence[Order], path: str) -> None:
        super().__init__(orders)
        self.path = path
        self.why: str | None = None
        try:
            self.file: IO[bytes] = open(path, "wb")
        except OSError as error:
            raise UserError(f"--junit {path}: {errno_text(error)}") from None

    def abandon(self, why: str) -> None:
        self.why = why
        super().abandon(why)

    def end(self) -> None:
        results = self.results
        if self.why:
            for order in self.unfinished:
                results.append(broken(order.lab, order.mode, f"not run: {self.why}"))
        from . import junit  # XML takes longer to load than a lab to run

        try:
            self.file.write(junit.document(results))
            self.file.close()
        except OSError as error:
            raise UserError(
                f"--junit {self.path}: {errno_text(error)}", BROKEN
            ) from None


def _painted(screen: Screen, verdict: str, word: str | None = None) -> str:
    return screen.paint(word or verdict, MARKS[verdict][2])


def _signal_name(signum: int) -> str:
    return signal.Signals(signum).name


def _ktap(number: int, result: Result) -> list[str]:
    """The lines of one run: its claims as subtests, then the run itself."""
    name = result.lab + (".control" if result.mode == CONTROL else "")
    lines = ["  KTAP version 1"]
    if result.claims:
        lines.append(f"  1..{len(result.claims)}")
    elif result.verdict == "skipped":
        lines.append(f"  1..0 # SKIP {_ktap_text(result.reason or '')}".rstrip())
    else:
        lines.append("  1..0")
    for count, claim in enumerate(result.claims, 1):
        test = f"{count} {name}.{claim.id}"
        if claim.holds is None:
            lines.append(
                f"  ok {test} # SKIP {_ktap_text(claim.reason or '')}".rstrip()
            )
        else:
            if not claim.as_expected:
                text = f"{claim.observed()}; {claim.expectation()}"
                lines.append(f"  # {_ktap_text(text)}")
            lines.append(f"  {'ok' if claim.as_expected else 'not ok'} {test}")
    reason = _ktap_text(result.reason or "")
    if result.verdict == "broken":
        lines.append(f"not ok {number} {name} # ERROR {reason}".rstrip())
    elif result.verdict == "skipped":
        lines.append(f"ok {number} {name} # SKIP {reason}".rstrip())
    else:
        word = "ok" if result.verdict == "agrees" else "not ok"
        lines.append(f"{word} {number} {name}")
    return lines


def _ktap_text(text: str) -> str:
    return safe(text).replace("#", "\\#")
