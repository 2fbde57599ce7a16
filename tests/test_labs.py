"""Every lab, in both modes and all formats, for root and everybody: it agrees."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from harness import ktap, labs, schema
from harness.labs import Event, Player, Run

WIDTH = 80  # columns of a projector
ESCAPE = re.compile(r"\033\[[0-9;]*m")
FORMATS = ("text", "ktap", "json")
MODES: dict[str, list[str]] = {"experiment": [], "control": ["--control"]}
SHARED = ("id", "text", "premise", "left", "relation", "right")

PLACES = [
    pytest.param(player, stage, id=f"{player}-on-{stage}")
    for player in labs.players()
    for stage in (("auto", "user", "root") if player.uid == 0 else ("auto", "user"))
]
each_lab = pytest.mark.parametrize("name", labs.NAMES)
each_mode = pytest.mark.parametrize("mode", MODES)
each_player = pytest.mark.parametrize("player", labs.players(), ids=str)


def squeezed(text: str) -> str:
    """C source without its blanks, for a comparison with a stringified call."""
    return re.sub(r"\s+", "", text)


def check_speakers(events: list[Event]) -> None:
    """Who speaks was started before, and has the PID that its parent saw."""
    pids: dict[str, int] = {}
    for event in events:
        if event["event"] == "spawn":
            pids[event["child"]] = event["child_pid"]
        if "pid" in event and event["who"] != "stage":
            assert pids.get(event["who"]) == event["pid"], event


def check_sources(name: str, calls: list[Event]) -> None:
    """What is shown as a call stands in the lab's source, at the line it names."""
    lines = (labs.ROOT / "labs" / name / f"{name}.c").read_text().splitlines()
    for call in calls:
        if call["source"] == "become":  # in common/, on behalf of the lab
            continue
        file, number = call["source"].split(":")
        assert file == f"{name}.c"
        near = squeezed("".join(lines[int(number) - 1 : int(number) + 9]))
        assert squeezed(call["expr"]) in near, call


def check_trace(name: str, run: Run) -> None:
    """The trace keeps the schema, and says what --claims says."""
    assert schema.complaints(run.events) == []
    check_speakers(run.events)
    check_sources(name, run.of("call"))
    if run.code in (labs.AGREES, labs.DISAGREES):
        listed = [{key: c[key] for key in SHARED} for c in labs.claims(name)["claims"]]
        told = [{key: c[key] for key in SHARED} for c in run.of("claim")]
        assert told == listed


def check_ktap(name: str, run: Run, trace: Run) -> None:
    """The same claims with the same results as in the trace."""
    doc = ktap.parse(run.out)
    if trace.code == labs.SKIPPED and not trace.of("claim"):
        assert doc.skip == trace.end["reason"]
    assert doc.bail_out is None
    assert [(r.name, r.ok, r.skip) for r in doc.results] == [
        (f"{name}.{c['id']}", c["as_expected"] is not False, c["reason"])
        for c in trace.of("claim")
    ]


def check_text(run: Run, trace: Run) -> None:
    """It fits a projector, has no colours, and ends with the verdict."""
    lines = run.out.splitlines()
    assert [line for line in lines if len(line) > WIDTH] == []
    assert not ESCAPE.search(run.out)
    last = run.out.rsplit("\n\n", 1)[1]
    assert last.startswith(f"     {trace.verdict}: ")


@pytest.mark.parametrize("player, stage", PLACES)
@each_mode
@each_lab
def test_a_lab_agrees_in_every_format(
    name: str, mode: str, player: Player, stage: str
) -> None:
    runs = {
        form: labs.run(
            name, *MODES[mode], f"--stage={stage}", f"--format={form}", player=player
        )
        for form in FORMATS
    }
    trace = runs["json"]
    assert {form: run.code for form, run in runs.items()} == dict.fromkeys(
        FORMATS, trace.code
    ), trace.why()
    assert [run.err for run in runs.values()] == ["", "", ""]
    assert trace.events[0]["mode"] == mode
    check_trace(name, trace)
    check_ktap(name, runs["ktap"], trace)
    check_text(runs["text"], trace)
    if trace.code == labs.SKIPPED:
        pytest.skip(trace.end["reason"])
    assert trace.code == labs.AGREES, trace.why()
    assert stage in ("auto", trace.events[0]["stage"])


@each_player
@each_mode
@each_lab
def test_every_claim_is_answered_on_this_machine(
    name: str, mode: str, player: Player
) -> None:
    """A lab may agree though a claim is skipped; then that is seen here."""
    run = labs.run(name, *MODES[mode], "--format=json", player=player)
    if run.code == labs.SKIPPED:
        pytest.skip(run.end["reason"])
    unknown = [f"{c['id']}: {c['reason']}" for c in run.of("claim") if c["reason"]]
    if unknown:
        pytest.skip("; ".join(unknown))
    assert len(run.of("claim")) == len(labs.claims(name)["claims"])


@each_lab
def test_an_ordinary_user_is_told_why_there_is_no_root_stage(name: str) -> None:
    run = labs.run(name, "--stage=root", "--format=json", player=labs.players()[-1])
    if os.geteuid() != 0 and run.events[0]["stage"] == "user":
        pytest.fail("a root stage was asked for")
    assert run.code == labs.SKIPPED
    assert "as root" in run.end["reason"]


@each_lab
def test_claims_are_listed_in_every_format_without_a_run(name: str) -> None:
    listed = labs.claims(name)
    ids = [c["id"] for c in listed["claims"]]
    assert listed["lab"] == name
    assert len(set(ids)) == len(ids)
    assert [c for c in listed["claims"] if not c["premise"]], "no claim at all"
    text = labs.run(name, "--claims").out
    assert [line for line in text.splitlines() if len(line) > WIDTH] == []
    for c in listed["claims"]:
        kind = "premise" if c["premise"] else "claim"
        row = f"{kind}: {c['left']} {c['relation']} {c['right']}"
        assert squeezed(row) in squeezed(text)
    out = labs.run(name, "--claims", "--format=ktap").out.splitlines()
    assert out[:2] == ["KTAP version 1", f"1..{len(ids)}"]
    assert [line.split()[2] for line in out[2:]] == [f"{name}.{id}" for id in ids]


@each_lab
def test_no_two_claims_of_a_lab_say_the_same(name: str) -> None:
    rows = [(c["left"], c["relation"], c["right"]) for c in labs.claims(name)["claims"]]
    assert len(set(rows)) == len(rows)


def on_a_terminal(name: str, **env: str) -> str:
    """A lab's output on a pseudo-terminal, its line ends as in a pipe."""
    master, slave = pty.openpty()
    environment = {k: v for k, v in os.environ.items() if k != "NO_COLOR"}
    with subprocess.Popen(
        [str(labs.binary(name))],
        stdin=subprocess.DEVNULL,
        stdout=slave,
        env={**environment, "TERM": "xterm", "LC_ALL": "C", **env},
    ):
        os.close(slave)
        out = b""
        while chunk := read_terminal(master):
            out += chunk
    os.close(master)
    return out.decode().replace("\r\n", "\n")


def read_terminal(master: int) -> bytes:
    """The next bytes; none after the last writer has gone, where Linux says EIO."""
    try:
        return os.read(master, 65536)
    except OSError:
        return b""


@each_lab
def test_colours_are_for_terminals_that_want_them(name: str) -> None:
    coloured = on_a_terminal(name)
    assert ESCAPE.search(coloured)
    assert not ESCAPE.search(on_a_terminal(name, NO_COLOR="1"))
    assert not ESCAPE.search(on_a_terminal(name, TERM="dumb"))
    assert ESCAPE.search(on_a_terminal(name, NO_COLOR=""))  # empty: not set
    bare = ESCAPE.sub("", coloured)
    assert "\033" not in bare
    assert bare.isascii()


@pytest.mark.parametrize("locale", ("C", "POSIX", "de_DE.ISO-8859-1"))
@each_lab
def test_a_locale_without_utf8_gets_ascii(name: str, locale: str) -> None:
    assert labs.run(name, env={"LC_ALL": locale}).out.isascii()


def test_a_utf8_locale_gets_check_marks() -> None:
    name = labs.NAMES[-1]
    assert "\u2714" in labs.run(name, env={"LC_ALL": "C.UTF-8"}).out


@each_lab
def test_steps_run_on_at_the_end_of_input(name: str) -> None:
    held = labs.run(name, "--step", "--format=json")
    free = labs.run(name, "--format=json")
    assert held.code == free.code, held.why()
    assert [e["text"] for e in held.of("step")] == [e["text"] for e in free.of("step")]


def broken_traces() -> dict[str, Any]:
    """A good trace, spoilt in one way each."""
    good: Event = {"v": 1, "seq": 1, "event": "lab", "name": "a-b", "question": "?"}
    good |= {"mode": "control", "stage": "user", "kernel": "6", "version": "0"}
    end: Event = {"v": 1, "seq": 2, "event": "end", "verdict": "agrees", "reason": None}
    end |= {"seconds": 0.1}
    exit_: Event = {
        "v": 1,
        "seq": 2,
        "event": "exit",
        "who": "a",
        "code": 0,
        "signal": None,
    }
    last = {**end, "seq": 3}
    return {
        "good": [good, exit_, last],
        "a gap": [good, {**end, "seq": 3}],
        "no end": [good, exit_],
        "two ends": [good, end, last],
        "no lab": [{**end, "seq": 1}],
        "a member too many": [{**good, "x": 1}, end],
        "a member too few": [{k: good[k] for k in good if k != "stage"}, end],
        "another version": [{**good, "v": 2}, end],
        "an unknown event": [good, {**exit_, "event": "leave"}, last],
        "an end and a signal": [good, {**exit_, "signal": "SIGHUP"}, last],
        "neither end nor signal": [good, {**exit_, "code": None}, last],
        "broken without a reason": [good, {**end, "verdict": "broken"}],
        "agrees with a reason": [good, {**end, "reason": "so"}],
        "an unknown verdict": [good, {**end, "verdict": "passed"}],
    }


@pytest.mark.parametrize("fault", broken_traces())
def test_the_schema_refuses(fault: str) -> None:
    """The check itself can fail."""
    assert bool(schema.complaints(broken_traces()[fault])) == (fault != "good")


@pytest.mark.parametrize(
    "text",
    (
        "KTAP version 1\n1..1\n",
        "KTAP version 1\n1..1\nok 1 a\nok 2 b\n",
        "KTAP version 1\n1..2\nok 2 a\nok 1 b\n",
        "KTAP version 1\nok 1 a\n1..1\n",
        "KTAP version 1\n1..1\nok 1 a",
        "KTAP version 1\n1..1\nstray\nok 1 a\n",
        "KTAP version 1\n1..0\n",
        "KTAP version 1\n1..1\n1..1\nok 1 a\n",
        "KTAP version 1\nBail out! x\n1..0 # SKIP y\n",
        "TAP version 13\n1..1\nok 1 a\n",
    ),
)
def test_the_ktap_reader_refuses(text: str) -> None:
    with pytest.raises(ktap.NotKtap):
        ktap.parse(text)


def test_the_schema_names_every_event_kind_of_the_source() -> None:
    """A kind that the writer knows and the schema does not could go unchecked."""
    source = (labs.ROOT / "common" / "write_json.c").read_text()
    written = set(re.findall(r"\[REC_\w+\] = \"(\w+)\"", source))
    described = json.loads(Path(labs.ROOT / "docs/trace.schema.json").read_text())
    assert written == set(described["properties"]["event"]["enum"])
