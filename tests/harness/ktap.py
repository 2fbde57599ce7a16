"""A small, strict reader of KTAP version 1 (dev-tools/ktap in the kernel's docs)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

PLAN = re.compile(r"1\.\.(0|[1-9][0-9]*)(?: # SKIP (\S.*))?")
RESULT = re.compile(r"(ok|not ok) ([1-9][0-9]*) ([a-z0-9.-]+)(?: # SKIP (\S.*))?")


class NotKtap(ValueError):
    """The text is not what KTAP, or this suite's use of it, allows."""


@dataclass
class Result:
    """One test, which is one claim."""

    name: str
    ok: bool
    skip: str | None


@dataclass
class Ktap:
    """A parsed document."""

    skip: str | None = None
    bail_out: str | None = None
    results: list[Result] = field(default_factory=list)
    diagnostics: list[str] = field(default_factory=list)


def parse(text: str) -> Ktap:
    """Read a whole document; raises NotKtap on the first line that is wrong."""
    if not text.endswith("\n"):
        raise NotKtap(f"the last line is not ended: {text[-80:]!r}")
    first, *lines = text[:-1].split("\n")
    if first != "KTAP version 1":
        raise NotKtap(f"it begins with {first!r}")
    doc, planned = Ktap(), None
    for line in lines:
        if doc.bail_out is not None:
            raise NotKtap(f"after it bailed out: {line!r}")
        if line.startswith("# "):
            doc.diagnostics.append(line[2:])
        elif line.startswith("Bail out! "):
            doc.bail_out = line[10:]
        elif plan := PLAN.fullmatch(line):
            if planned is not None:
                raise NotKtap(f"a second plan: {line!r}")
            planned, doc.skip = int(plan[1]), plan[2]
            if (planned == 0) != (doc.skip is not None):
                raise NotKtap(f"only an empty plan is skipped, with a reason: {line!r}")
        elif result := RESULT.fullmatch(line):
            if planned is None:
                raise NotKtap(f"a result before the plan: {line!r}")
            if int(result[2]) != len(doc.results) + 1:
                raise NotKtap(f"out of order: {line!r}")
            doc.results.append(Result(result[3], result[1] == "ok", result[4]))
        else:
            raise NotKtap(f"neither plan, result nor diagnostic: {line!r}")
    if doc.bail_out is None and planned != len(doc.results):
        raise NotKtap(f"{planned} planned, {len(doc.results)} found")
    return doc
