"""Claims against kernels: which hold where, and where kernels differ.

A column is a kernel, with the results that `nslab run` or `nslab vm run` delivered as
JSON. A row is a lab or, in detail, a claim in a mode. Whatever is shown is computed
from the results alone, so two runs over the same kernels give the same matrix.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

AGREES, DISAGREES, SKIPPED, BROKEN = "agrees", "disagrees", "skipped", "broken"
WORST_FIRST = (BROKEN, DISAGREES, SKIPPED, AGREES)
NOT_RUN = "not run"

Document = Mapping[str, Any]


@dataclass(frozen=True)
class Fact:
    """What one kernel answered to one claim in one mode."""

    state: str  # agrees, disagrees, skipped, broken, or not run
    value: str  # the observed values, or the reason
    varies: str | None = None

    @property
    def decided(self) -> bool:
        """Whether the kernel was asked at all."""
        return self.state not in (NOT_RUN, BROKEN)


@dataclass
class Column:
    """A kernel and what it answered."""

    name: str
    release: str = ""
    where: str = ""
    seconds: float = 0.0
    error: str | None = None
    results: dict[tuple[str, str], Document] = field(default_factory=dict)

    @staticmethod
    def of(name: str, document: Document, seconds: float) -> Column:
        """The column of a JSON report."""
        column = Column(name, document.get("kernel") or "", document["where"], seconds)
        for result in document["results"]:
            column.results[result["lab"], result["mode"]] = result
        return column

    def lab(self, name: str) -> tuple[str, list[str]]:
        """The worst of a lab's modes, and every reason that was given."""
        results = [r for (lab, _), r in self.results.items() if lab == name]
        if not results:
            return NOT_RUN, [self.error] if self.error else []
        verdicts = [result["verdict"] for result in results]
        worst = next(verdict for verdict in WORST_FIRST if verdict in verdicts)
        reasons = [r["reason"] for r in results if r["reason"]]
        return worst, list(dict.fromkeys(reasons))

    def undecided(self, name: str) -> int:
        """Claims of a lab that this kernel could not answer, both modes."""
        return sum(
            claim["holds"] is None
            for (lab, _), result in self.results.items()
            for claim in result["claims"]
            if lab == name and result["verdict"] == AGREES
        )

    def fact(self, lab: str, mode: str, claim: str) -> Fact:
        """The answer to one claim."""
        result = self.results.get((lab, mode))
        if result is None:
            return Fact(NOT_RUN, self.error or "")
        for row in result["claims"]:
            if row["id"] == claim:
                return _fact(row)
        if result["verdict"] == BROKEN:
            return Fact(BROKEN, result["reason"] or "")
        return Fact(NOT_RUN, result["reason"] or "")


def _fact(row: Document) -> Fact:
    if row["holds"] is None:
        return Fact(SKIPPED, row["reason"] or "", row["varies"])
    value = f"{row['left']} = {row['left_value']}"
    if row["relation"] in ("SAME_AS", "DIFFERS_FROM"):
        value += f", {row['right']} = {row['right_value']}"
    return Fact(AGREES if row["as_expected"] else DISAGREES, value, row["varies"])


@dataclass(frozen=True)
class Difference:
    """A claim that kernels answer differently."""

    lab: str
    mode: str
    claim: str
    text: str
    facts: Mapping[str, Fact]  # by the name of the kernel
    declared: str | None  # what the claim itself says of it


class Matrix:
    """All columns, oldest kernel first."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = list(columns)

    @property
    def labs(self) -> list[str]:
        """Every lab that ran somewhere."""
        found = {lab for column in self.columns for lab, _ in column.results}
        return sorted(found)

    def claims(self, lab: str) -> Iterator[tuple[str, str, str, bool]]:
        """Mode, id, sentence and whether it is a premise, of every claim of a lab."""
        seen: dict[tuple[str, str], tuple[str, bool]] = {}
        for column in self.columns:
            for (name, mode), result in column.results.items():
                for claim in result["claims"] if name == lab else ():
                    text = (claim["text"], claim["premise"])
                    seen.setdefault((mode, claim["id"]), text)
        for mode in ("experiment", "control"):
            for (of, identity), (sentence, premise) in seen.items():
                if of == mode:
                    yield mode, identity, sentence, premise

    def differences(self) -> list[Difference]:
        """Where the kernels that were asked did not answer alike."""
        found = []
        for lab in self.labs:
            for mode, claim, text, _ in self.claims(lab):
                facts = {c.name: c.fact(lab, mode, claim) for c in self.columns}
                states = {fact.state for fact in facts.values() if fact.decided}
                if len(states) > 1:
                    declared = next(
                        (f.varies for f in facts.values() if f.varies), None
                    )
                    found.append(Difference(lab, mode, claim, text, facts, declared))
        return found

    def exit_code(self, strict: bool) -> int:
        """Broken before disagrees before, with strict, an undeclared difference."""
        states = [c.lab(lab)[0] for c in self.columns for lab in self.labs]
        if BROKEN in states or any(column.error for column in self.columns):
            return 99
        if DISAGREES in states:
            return 1
        if strict and any(not d.declared for d in self.differences()):
            return 1
        return 4 if states and set(states) == {SKIPPED} else 0

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "v": 1,
            "kernels": [
                {
                    "name": c.name,
                    "release": c.release,
                    "where": c.where,
                    "seconds": round(c.seconds, 3),
                    "error": c.error,
                    "results": list(c.results.values()),
                }
                for c in self.columns
            ],
            "labs": {
                lab: {c.name: c.lab(lab)[0] for c in self.columns} for lab in self.labs
            },
            "differences": [
                {
                    "lab": d.lab,
                    "mode": d.mode,
                    "claim": d.claim,
                    "declared": d.declared,
                    "states": {name: fact.state for name, fact in d.facts.items()},
                }
                for d in self.differences()
            ],
        }
