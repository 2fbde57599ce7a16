"""Results as JUnit XML: a suite for each lab and mode, a case for each claim."""

from __future__ import annotations

import re
from collections.abc import Iterable
from xml.etree import ElementTree

from .trace import Claim, Result

# Characters that XML 1.0 cannot hold, not even escaped.
ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def document(results: Iterable[Result]) -> bytes:
    """The whole file, UTF-8."""
    root = ElementTree.Element("testsuites", name="nslabs")
    totals = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    seconds = 0.0
    for result in results:
        suite = _suite(result)
        root.append(suite)
        seconds += result.seconds
        for key in totals:
            totals[key] += int(suite.get(key, "0"))
    for key, total in totals.items():
        root.set(key, str(total))
    root.set("time", f"{seconds:.6f}")
    ElementTree.indent(root)
    data: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return data + b"\n"


def _suite(result: Result) -> ElementTree.Element:
    name = f"{result.lab}.{result.mode}"
    suite = ElementTree.Element("testsuite", name=_legal(name))
    properties = ElementTree.SubElement(suite, "properties")
    for key in ("lab", "mode", "verdict", "stage", "kernel", "version", "question"):
        value = getattr(result, key)
        if value is not None:
            ElementTree.SubElement(
                properties, "property", name=key, value=_legal(value)
            )
    for claim in result.claims:
        _case(suite, result, claim)
    # What befell the lab as a whole must not hide behind the claims it reported.
    if result.verdict == "broken":
        _whole(suite, result, "error")
    elif result.verdict == "skipped" and not any(
        claim.holds is None for claim in result.claims
    ):
        _whole(suite, result, "skipped")
    elif not result.claims:
        kind = "failure" if result.verdict == "disagrees" else None
        _whole(suite, result, kind)
    if result.stderr:
        ElementTree.SubElement(suite, "system-err").text = _legal(result.stderr)
    counts = {
        "tests": len(suite.findall("testcase")),
        "failures": len(suite.findall("testcase/failure")),
        "errors": len(suite.findall("testcase/error")),
        "skipped": len(suite.findall("testcase/skipped")),
    }
    for key, count in counts.items():
        suite.set(key, str(count))
    suite.set("time", f"{result.seconds:.6f}")
    return suite


def _case(suite: ElementTree.Element, result: Result, claim: Claim) -> None:
    case = ElementTree.SubElement(
        suite,
        "testcase",
        classname=_legal(f"{result.lab}.{result.mode}"),
        name=_legal(claim.id),
    )
    values = f"{claim.text}\n{claim.observed()}; {claim.expectation()}"
    if claim.holds is None:
        reason = claim.reason or "not decided on this machine"
        ElementTree.SubElement(case, "skipped", message=_legal(reason))
    elif claim.as_expected is False:
        message = f"{claim.observed()}; {claim.expectation()}"
        if claim.holds:
            message = f"holds in the control too: {claim.observed()}"
        failure = ElementTree.SubElement(case, "failure", message=_legal(message))
        failure.set("type", "disagrees")
        failure.text = _legal(values)
    else:
        ElementTree.SubElement(case, "system-out").text = _legal(values)


def _whole(suite: ElementTree.Element, result: Result, kind: str | None) -> None:
    case = ElementTree.SubElement(
        suite,
        "testcase",
        classname=_legal(f"{result.lab}.{result.mode}"),
        name="(the run)",
    )
    if kind is not None:
        reason = _legal(result.reason or result.verdict)
        ElementTree.SubElement(case, kind, message=reason)


def _legal(text: str) -> str:
    return ILLEGAL.sub("\ufffd", text)
