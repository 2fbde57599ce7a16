"""From the lines of a trace to a Result.

A lab prints one JSON object a line; its last event is its verdict. Here the lines
are read with suspicion: a verdict counts only when the trace is whole, its claims
bear it out and the process ended as it says. Everything else is *broken*, with
the reason. It does not matter where the lines come from: a process of this
machine (`runner`) or a guest.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

VERSION = 1
EXIT_CODES = {"agrees": 0, "disagrees": 1, "skipped": 4, "broken": 99}
EXPERIMENT = "experiment"
CONTROL = "control"
LINE_LIMIT = 1 << 20

Event = Mapping[str, Any]


class TraceError(ValueError):
    """The trace is not one: says what is wrong, and where."""


@dataclass(frozen=True)
class Claim:
    """One row of a lab's claims, with what this run saw."""

    id: str
    text: str
    premise: bool
    left: str
    relation: str
    right: str
    left_value: str | None
    right_value: str | None
    holds: bool | None
    reason: str | None
    as_expected: bool | None
    varies: str | None = None

    @staticmethod
    def of(event: Event, mode: str) -> Claim:
        """The claim of an event, its own arithmetic checked."""
        claim = Claim(
            id=_string(event, "id"),
            text=_string(event, "text"),
            premise=_boolean(event, "premise"),
            left=_string(event, "left"),
            relation=_string(event, "relation"),
            right=_string(event, "right"),
            left_value=_maybe_string(event, "left_value"),
            right_value=_maybe_string(event, "right_value"),
            holds=_maybe_boolean(event, "holds"),
            reason=_maybe_string(event, "reason"),
            as_expected=_maybe_boolean(event, "as_expected"),
            varies=_maybe_string(event, "varies"),
        )
        should = claim.should_hold(mode)
        expected = None if claim.holds is None else claim.holds == should
        if claim.as_expected != expected:
            raise TraceError(
                f"claim {claim.id}: holds is {_json(claim.holds)} in the {mode}, "
                f"but as_expected is {_json(claim.as_expected)}"
            )
        really = claim.recomputed()
        if really is not None and claim.holds is not None and really != claim.holds:
            raise TraceError(
                f"claim {claim.id}: holds is {_json(claim.holds)}, but "
                f"'{claim.left_value}' {claim.relation} '{claim.right_value}' "
                f"is {_json(really)}"
            )
        return claim

    def should_hold(self, mode: str) -> bool:
        """A premise always should; a claim not in the control."""
        return self.premise or mode != CONTROL

    def recomputed(self) -> bool | None:
        """Whether it holds, from the values alone; None when they do not say."""
        literal = self.relation in ("IS", "IS_NOT")
        right = self.right if literal else self.right_value
        if self.left_value is None or right is None:
            return None
        if self.relation in ("SAME_AS", "IS"):
            return self.left_value == right
        if self.relation in ("DIFFERS_FROM", "IS_NOT"):
            return self.left_value != right
        return None

    def observed(self) -> str:
        """The values, as a sentence."""
        left = f"{self.left} is {_quoted(self.left_value)}"
        if self.relation in ("IS", "IS_NOT"):
            return left
        return f"{left}, {self.right} is {_quoted(self.right_value)}"

    def expectation(self) -> str:
        """What the claim says of them, as the end of a sentence."""
        if self.relation == "IS":
            return f"expected {_quoted(self.right)}"
        if self.relation == "IS_NOT":
            return f"expected anything but {_quoted(self.right)}"
        same = self.relation == "SAME_AS"
        return f"expected {'the same' if same else 'a difference'}"


@dataclass(frozen=True)
class Result:
    """What one run of one lab came to.

    `seconds` is the time of the whole process, seen from outside. `status` is its
    exit code, or minus the number of the signal that ended it; None where nobody
    could see it.
    """

    lab: str
    mode: str
    verdict: str
    reason: str | None
    seconds: float
    claims: tuple[Claim, ...] = ()
    question: str | None = None
    stage: str | None = None
    kernel: str | None = None
    version: str | None = None
    status: int | None = None
    stderr: str = ""

    @property
    def real_claims(self) -> list[Claim]:
        """The claims without the premises."""
        return [claim for claim in self.claims if not claim.premise]

    @property
    def held(self) -> int:
        """How many claims hold."""
        return sum(claim.holds is True for claim in self.real_claims)

    @property
    def skipped(self) -> int:
        """How many claims and premises this machine could not decide."""
        return sum(claim.holds is None for claim in self.claims)

    @property
    def surprises(self) -> list[Claim]:
        """Claims and premises that are not as this mode expects."""
        return [claim for claim in self.claims if claim.as_expected is False]

    def to_json(self) -> dict[str, Any]:
        """As plain data, for JSON."""
        return asdict(self)

    @staticmethod
    def of(data: Mapping[str, Any]) -> Result:
        """A result from what `to_json` made of it."""
        claims = tuple(Claim(**claim) for claim in data["claims"])
        fields: dict[str, Any] = {**data, "claims": claims}
        return Result(**fields)


def broken(lab: str, mode: str, reason: str, seconds: float = 0.0) -> Result:
    """The result of a run that never came to anything."""
    return Result(lab, mode, "broken", reason, seconds)


def exit_code(results: list[Result]) -> int:
    """Of many runs: broken before disagrees, before all skipped, before agrees."""
    verdicts = {result.verdict for result in results}
    for verdict in ("broken", "disagrees"):
        if verdict in verdicts:
            return EXIT_CODES[verdict]
    return EXIT_CODES["skipped"] if verdicts == {"skipped"} else 0


def how_it_ended(status: int) -> str:
    """A wait status, for people: "exit 3", "killed by SIGSEGV"."""
    if status >= 0:
        return f"exit {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"


@dataclass
class Collector:
    """Takes the lines of one trace, in order, and ends with a Result."""

    lab: str
    mode: str
    claims: list[Claim] = field(default_factory=list)
    last_step: str | None = None
    _lines: int = 0
    _head: Event | None = None
    _end: Event | None = None
    _problem: str | None = None

    def feed(self, line: str) -> Event | None:
        """One line, with its newline. None for a line that is no event."""
        self._lines += 1
        try:
            event = self._parse(line)
            self._take(event)
            return event
        except TraceError as error:
            if self._problem is None:
                self._problem = f"line {self._lines} of its trace: {error}"
            return None

    def finish(
        self,
        seconds: float,
        status: int | None = None,
        stderr: str = "",
        killed: str | None = None,
    ) -> Result:
        """The result, once there will be no more lines.

        `killed` says why the runner ended the lab itself, when it did.
        """
        verdict, reason = self._judge(status, killed)
        head = self._head or {}
        return Result(
            lab=self.lab,
            mode=self.mode,
            verdict=verdict,
            reason=reason,
            seconds=seconds,
            claims=tuple(self.claims),
            question=_if_string(head.get("question")),
            stage=_if_string(head.get("stage")),
            kernel=_if_string(head.get("kernel")),
            version=_if_string(head.get("version")),
            status=status,
            stderr=stderr,
        )

    def _parse(self, line: str) -> Event:
        if not line.endswith("\n"):
            raise TraceError("cut off in the middle")
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            raise TraceError(f"not JSON: {_shortened(line)}") from None
        if not isinstance(event, dict):
            raise TraceError(f"not an object: {_shortened(line)}")
        if event.get("v") != VERSION:
            raise TraceError(f"version {event.get('v')!r}; only {VERSION} is known")
        if event.get("seq") != self._lines:
            raise TraceError(
                f"its number is {event.get('seq')!r}, not {self._lines}: "
                "an event is missing or out of order"
            )
        _string(event, "event")
        return event

    def _take(self, event: Event) -> None:
        kind = event["event"]
        if self._end is not None:
            raise TraceError(f"'{kind}' after the end")
        if self._head is None and kind != "lab":
            raise TraceError(f"begins with '{kind}', not with 'lab'")
        if kind == "lab":
            self._take_head(event)
        elif kind == "step":
            self.last_step = _string(event, "text")
        elif kind == "claim":
            claim = Claim.of(event, self.mode)
            if any(claim.id == other.id for other in self.claims):
                raise TraceError(f"claim {claim.id} comes twice")
            self.claims.append(claim)
        elif kind == "end":
            if _string(event, "verdict") not in EXIT_CODES:
                raise TraceError(f"unknown verdict '{event['verdict']}'")
            self._end = event

    def _take_head(self, event: Event) -> None:
        if self._head is not None:
            raise TraceError("a second 'lab' event")
        self._head = event
        if _string(event, "name") != self.lab:
            raise TraceError(f"it is lab '{event['name']}', not '{self.lab}'")
        if _string(event, "mode") != self.mode:
            raise TraceError(f"it ran the {event['mode']}, not the {self.mode}")

    def _judge(self, status: int | None, killed: str | None) -> tuple[str, str | None]:
        """Verdict and reason. The lab's own verdict must survive every doubt."""
        reason = killed or self._problem or self._ending(status)
        if reason is None and self._end is not None:
            verdict = str(self._end["verdict"])
            reason = self._contradiction(verdict)
            if reason is None:
                told = _if_string(self._end.get("reason"))
                if verdict == "broken":
                    told = told or "it gives no reason"
                return verdict, told
        step = f" (last step: {self.last_step})" if self.last_step else ""
        return "broken", f"{reason}{step if self._end is None else ''}"

    def _ending(self, status: int | None) -> str | None:
        """What is wrong with how the trace and its process ended."""
        how = "" if status is None else how_it_ended(status)
        if self._end is None:
            if self._lines == 0:
                return f"it printed no trace; {how}" if how else "it printed no trace"
            tail = f"; {how}" if how else ""
            return f"its trace stops after {self._lines} events, without an end{tail}"
        verdict = str(self._end["verdict"])
        if status is not None and status != EXIT_CODES[verdict]:
            return f"its trace says {verdict}, its process ended with {how}"
        return None

    def _contradiction(self, verdict: str) -> str | None:
        """A verdict that its own claims do not bear out."""
        surprises = [claim.id for claim in self.claims if claim.as_expected is False]
        if verdict in ("agrees", "skipped") and surprises:
            return f"it says {verdict}, but not so claim {', '.join(surprises)}"
        if verdict == "disagrees" and not surprises:
            return "it says disagrees, but no claim does"
        decided = any(c.as_expected and not c.premise for c in self.claims)
        if verdict == "agrees" and not decided:
            return "it says agrees, but decided no claim"
        return None


def _string(event: Event, key: str) -> str:
    value = event.get(key)
    if not isinstance(value, str):
        raise TraceError(f"'{key}' is {_json(value)}, not a string")
    return value


def _maybe_string(event: Event, key: str) -> str | None:
    return None if event.get(key) is None else _string(event, key)


def _boolean(event: Event, key: str) -> bool:
    value = event.get(key)
    if not isinstance(value, bool):
        raise TraceError(f"'{key}' is {_json(value)}, not true or false")
    return value


def _maybe_boolean(event: Event, key: str) -> bool | None:
    return None if event.get(key) is None else _boolean(event, key)


def _if_string(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _json(value: object) -> str:
    return _shortened(json.dumps(value))


def _quoted(value: str | None) -> str:
    return "not known" if value is None else f"'{value}'"


def _shortened(text: str, limit: int = 60) -> str:
    text = text.strip()
    return text if len(text) <= limit else text[: limit - 1] + "…"
