"""The trace, held against docs/trace.schema.json and against itself."""

from __future__ import annotations

import json

from jsonschema import Draft202012Validator

from .labs import ROOT, Event

VALIDATOR = Draft202012Validator(
    json.loads((ROOT / "docs" / "trace.schema.json").read_text())
)


def complaints(events: list[Event]) -> list[str]:
    """What is wrong with a whole trace; empty when nothing is."""
    found = [
        f"event {event.get('seq')}: {error.message}"
        for event in events
        for error in VALIDATOR.iter_errors(event)
    ]
    numbers = [event.get("seq") for event in events]
    if numbers != list(range(1, len(events) + 1)):
        found.append(f"the numbers have gaps: {numbers}")
    kinds = [event.get("event") for event in events]
    for kind, place in (("lab", 0), ("end", -1)):
        if not kinds or kinds[place] != kind or kinds.count(kind) != 1:
            found.append(f"{kind!r} is not once at its place: {kinds}")
    return found
