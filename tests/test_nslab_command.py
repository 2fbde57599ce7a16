"""The command nslab: each verb, each way to fail, with made-up labs.

The labs here are shell scripts that print a prepared trace, in a copy of the source
tree that belongs to the test; the real labs are tested elsewhere. What nslab says is
compared with what the made-up lab is known to have done.
"""

from __future__ import annotations

import compileall
import ctypes
import errno
import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ROOT / "scripts"
sys.path.insert(0, str(SCRIPTS))

from nslabs import (  # type: ignore # noqa: E402
    doctor,
    labs,
    markdown,
    packages,
    probe,
    runner,
    terminal,
    trace,
)

PATIENCE = 30
STRANGER = 12345
USERS = ["myself", "stranger"] if os.geteuid() == 0 else ["myself"]
Event = dict[str, Any]


# --- Made-up labs ------------------------------------------------------------------


def a_claim(
    name: str = "apart",
    holds: bool | None = True,
    mode: str = "experiment",
    **more: Any,
) -> Event:
    """A claim SAME_AS, whose values bear out what it says."""
    premise = bool(more.get("premise", False))
    expected = None if holds is None else holds == (premise or mode == "experiment")
    event: Event = {
        "event": "claim",
        "id": name,
        "text": f"the sentence of {name}",
        "premise": premise,
        "left": f"{name}.left",
        "relation": "SAME_AS",
        "right": f"{name}.right",
        "left_value": None if holds is None else "one",
        "right_value": None if holds is None else "one" if holds else "two",
        "holds": holds,
        "reason": "no such thing here" if holds is None else None,
        "as_expected": expected,
    }
    return {**event, **more}


def a_trace(
    lab: str,
    claims: Sequence[Event] | None = None,
    mode: str = "experiment",
    verdict: str = "agrees",
    reason: str | None = None,
) -> list[Event]:
    """The events of a whole run."""
    if claims is None:
        holds = (mode == "experiment") == (verdict == "agrees")
        claims = (
            [] if verdict in ("skipped", "broken") else [a_claim("apart", holds, mode)]
        )
    events: list[Event] = [
        {
            "event": "lab",
            "name": lab,
            "question": f"What does {lab} ask?",
            "mode": mode,
            "stage": "user",
            "kernel": "9.9.9",
            "version": "7",
        },
        {"event": "step", "who": "host", "pid": 2, "ns": {}, "text": "First, look."},
        *claims,
        {"event": "end", "verdict": verdict, "reason": reason, "seconds": 0.001},
    ]
    return [{"v": 1, "seq": n, **event} for n, event in enumerate(events, 1)]


def as_lines(events: Sequence[Event]) -> str:
    return "".join(json.dumps(event) + "\n" for event in events)


class House:
    """A source tree with a copy of nslab and labs of the test's making."""

    def __init__(self, folder: Path, scripts: Path) -> None:
        self.folder = folder
        shutil.copytree(scripts, folder / "scripts")
        (folder / "Makefile").touch()
        (folder / "labs").mkdir()
        (folder / "build" / "labs").mkdir(parents=True)
        self.user = "myself"

    @property
    def nslab(self) -> Path:
        return self.folder / "scripts" / "nslab"

    def program(self, name: str) -> Path:
        return self.folder / "build" / "labs" / name / name

    def log(self, name: str) -> Path:
        return self.program(name).with_name("log")

    def arguments(self, name: str) -> list[list[str]]:
        """With which arguments the lab was started, each time."""
        if not self.log(name).exists():
            return []
        return [line.split() for line in self.log(name).read_text().splitlines()]

    def source(self, name: str, page: str | None = "# A page\n") -> None:
        folder = self.folder / "labs" / name
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.c").touch()
        if page is not None:
            (folder / "README.md").write_text(page)

    def script(self, name: str, body: str) -> Path:
        """A lab that is this shell script."""
        self.source(name)
        program = self.program(name)
        program.parent.mkdir(exist_ok=True)
        self.log(name).touch()
        self.log(name).chmod(0o666)
        program.write_text(f'#!/bin/sh\necho "$@" >>"${{0%/*}}/log"\n{body}\n')
        program.chmod(0o755)
        return program

    def lab(
        self,
        name: str,
        verdict: str = "agrees",
        claims: Sequence[Event] | None = None,
        control: Sequence[Event] | None = None,
        reason: str | None = None,
        before: str = "",
        after: str = "",
        status: int | None = None,
        lines: str | None = None,
        rung: int = 0,
    ) -> None:
        """A lab that prints the trace of a run with this verdict."""
        code = {"agrees": 0, "disagrees": 1, "skipped": 4, "broken": 99}[verdict]
        code = code if status is None else status
        told = {
            "experiment": a_trace(name, claims, "experiment", verdict, reason),
            "control": a_trace(name, control, "control", verdict, reason),
        }
        body = "mode=experiment form=json\n"
        body += "for word; do case $word in --control) mode=control;;"
        body += " --format=text) form=text;; --claims) mode=claims;; esac; done\n"
        body += 'test $mode = claims && exec cat "${0%/*}/claims"\n'
        body += f'test $form = text && echo "{name} tells" && exit {code}\n'
        body += f'{before}\ncat "${{0%/*}}/$mode"\n{after}\n'
        self.script(name, f"{body}exit {code}")
        for mode, events in told.items():
            text = as_lines(events) if lines is None else lines
            self.program(name).with_name(mode).write_text(text)
        card: Event = {"v": 1, "lab": name, "question": f"What does {name} ask?"}
        card["rung"] = rung
        card |= {"needs": ["user", "libmnl"], "claims": [{"id": "apart"}]}
        self.program(name).with_name("claims").write_text(json.dumps(card))

    def command(self, *words: str) -> list[str]:
        return [str(self.nslab), *words]

    def options(self, more: Any) -> Any:
        environ = {k: v for k, v in os.environ.items() if k not in ("NSLABS_BUILD",)}
        environ |= {"PYTHONDONTWRITEBYTECODE": "1", **more.pop("env", {})}
        options: dict[str, Any] = {"cwd": "/", "env": environ, **more}
        if self.user == "stranger":
            options |= {"user": STRANGER, "group": STRANGER, "extra_groups": []}
        return options

    def run(self, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """nslab, run to its end, from another folder."""
        more = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
        return subprocess.run(
            self.command(*words), text=True, timeout=PATIENCE, **self.options(more)
        )

    def start(self, *words: str, **more: Any) -> subprocess.Popen[str]:
        more = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
        return subprocess.Popen(self.command(*words), text=True, **self.options(more))

    def result(self, *words: str) -> Event:
        """The only result of a run."""
        run = self.run("run", "--json", *words)
        results: list[Event] = json.loads(run.stdout)["results"]
        assert len(results) == 1
        assert json.loads(run.stdout)["exit"] == run.returncode
        return results[0]


@pytest.fixture(scope="session")
def compiled_scripts() -> Iterator[Path]:
    """nslab and its package alone, compiled, so that each copy starts at once."""
    with tempfile.TemporaryDirectory() as folder:
        scripts = Path(folder, "scripts")
        scripts.mkdir()
        for name in ("nslab", "packages.tsv"):
            shutil.copy2(SCRIPTS / name, scripts)
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(SCRIPTS / "nslabs", scripts / "nslabs", ignore=ignore)
        compileall.compile_dir(scripts, quiet=2)
        yield scripts


@pytest.fixture
def bare_house(compiled_scripts: Path) -> Iterator[House]:
    """A house for one user; a folder that everybody may enter."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        yield House(Path(folder, "tree"), compiled_scripts)


@pytest.fixture(params=USERS)
def house(bare_house: House, request: pytest.FixtureRequest) -> House:
    """A house for root, and for an ordinary user."""
    bare_house.user = request.param
    return bare_house


# --- The command line --------------------------------------------------------------


def test_without_a_verb_it_gives_a_short_help_that_names_every_verb(
    bare_house: House,
) -> None:
    run = bare_house.run()
    assert run.returncode == 0
    for verb in ("list", "run", "step", "explain", "doctor"):
        assert re.search(rf"^  {verb} +\S", run.stdout, re.MULTILINE)
    assert len(run.stdout.splitlines()) < 25


@pytest.mark.parametrize("verb", ["list", "run", "step", "explain", "doctor"])
def test_every_verb_has_help(bare_house: House, verb: str) -> None:
    for words in ((verb, "--help"), (verb, "-h"), ("help", verb)):
        run = bare_house.run(*words)
        assert (run.returncode, run.stderr) == (0, "")
        assert f"usage: nslab {verb}" in run.stdout


def test_the_version_is_that_of_the_tree(bare_house: House) -> None:
    (bare_house.folder / "VERSION").write_text("12.34\n")
    assert bare_house.run("--version").stdout == "nslab (nslabs) 12.34\n"


@pytest.mark.parametrize(
    "words, hint",
    [
        (["rum"], "Did you mean run?"),
        (["dokter"], "Did you mean doctor?"),
        (["run", "pid-frist"], "Did you mean pid-first?"),
        (["run", "first"], "Did you mean pid-first?"),
        (["step", "pid-frist"], "Did you mean pid-first?"),
        (["explain", "pid-frist"], "Did you mean pid-first?"),
        (["list", "pid-frist"], "Did you mean pid-first?"),
        (["run", "--contrl"], "--contrl"),
        (["run", "--cont"], "--cont"),
        (["--verbose"], "--verbose"),
        (["run", "--jobs", "0"], "0 is not 1 or more"),
        (["run", "--timeout", "nan"], "nan is not a number of seconds"),
        (["run", "--control", "--both"], "not allowed with"),
        (["run", "--format", "text", "--junit", "/dev/null"], "--junit"),
        (["step"], "LAB"),
        (["step", "*"], "one lab, please"),
        (["--build", "/nonexistent", "run"], "/nonexistent"),
    ],
)
def test_wrong_usage_exits_2_with_one_message_and_runs_nothing(
    bare_house: House, words: list[str], hint: str
) -> None:
    bare_house.lab("pid-first")
    bare_house.lab("uts-hostname")
    run = bare_house.run(*words)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.startswith("nslab: ") and hint in run.stderr
    assert len(run.stderr.splitlines()) <= 2
    assert bare_house.arguments("pid-first") == []


def test_it_works_through_a_symlink_and_from_a_folder_that_is_gone(
    house: House,
) -> None:
    house.lab("pid-first")
    link = house.folder / "elsewhere"
    link.symlink_to(house.nslab)
    gone = house.folder.parent / "gone"
    gone.mkdir()
    start = house.start(
        "run", cwd=gone, executable=str(link), preexec_fn=lambda: os.rmdir(gone)
    )
    out, err = start.communicate(timeout=PATIENCE)
    assert (start.returncode, err) == (0, "") and "1 agrees" in out


def test_it_works_installed(bare_house: House, tmp_path: Path) -> None:
    bare_house.lab("pid-first")
    inner = bare_house.folder / "usr" / "libexec" / "nslabs"
    share = bare_house.folder / "usr" / "share" / "nslabs" / "labs"
    shutil.copytree(bare_house.folder / "scripts", inner / "scripts")
    shutil.copytree(bare_house.folder / "build" / "labs", inner / "labs")
    shutil.copytree(bare_house.folder / "labs", share)
    (inner / "VERSION").write_text("5\n")
    (bare_house.folder / "usr" / "bin").mkdir()
    nslab = bare_house.folder / "usr" / "bin" / "nslab"
    nslab.symlink_to("../libexec/nslabs/scripts/nslab")
    shutil.rmtree(bare_house.folder / "build")

    def run(*words: str) -> str:
        return subprocess.run([nslab, *words], capture_output=True, text=True).stdout

    assert "1 agrees" in run("run")
    assert "A page" in run("explain", "pid-first")
    assert run("--version") == "nslab (nslabs) 5\n"
    document = json.loads(run("list", "--json"))
    assert document["labs"][0]["program"] == str(inner / "labs/pid-first/pid-first")


def test_a_hint_can_be_typed_as_it_stands(bare_house: House) -> None:
    bare_house.lab("aa", "disagrees")
    for name in ("", "labs", "scripts", "/usr/lib"):
        folder = bare_house.folder / name
        run = bare_house.run("run", cwd=folder)
        hint = re.search(r"to look closer: (.*)", " ".join(run.stdout.split()))
        assert hint is not None
        again = subprocess.run(
            hint[1], shell=True, cwd=folder, capture_output=True, text=True
        )
        assert (again.returncode, again.stdout) == (1, "aa tells\n")


def test_labs_built_elsewhere_are_found_by_option_and_by_environment(
    bare_house: House,
) -> None:
    bare_house.lab("pid-first")
    other = bare_house.folder / "other"
    shutil.move(bare_house.folder / "build", other)
    assert bare_house.run("run").returncode == 2
    assert bare_house.run("run", "--build", str(other)).returncode == 0
    assert bare_house.run("--build", str(other), "run").returncode == 0
    assert bare_house.run("run", env={"NSLABS_BUILD": str(other)}).returncode == 0


def test_in_a_folder_one_names_only_its_own_labs_count(bare_house: House) -> None:
    bare_house.lab("pid-first")
    bare_house.source("not-built-there")
    run = bare_house.run("run", "--build", str(bare_house.folder / "build"))
    assert run.returncode == 0 and "not-built-there" not in run.stdout


def test_an_unbuilt_house_is_an_error_that_names_make(bare_house: House) -> None:
    bare_house.source("pid-first")
    for words in (["run"], ["list"], ["step", "pid-first"], ["run", "pid-first"]):
        run = bare_house.run(*words)
        assert (run.returncode, run.stdout) == (2, "")
        assert "not built" in run.stderr
        assert f"run 'make' in {bare_house.folder}" in run.stderr


def test_one_unbuilt_lab_is_broken_and_the_others_run(bare_house: House) -> None:
    bare_house.source("ns-api")
    bare_house.lab("pid-first")
    run = bare_house.run("run")
    assert run.returncode == 99
    assert re.search(r"ns-api .* broken\n +it is not built: run 'make'", run.stdout)
    assert "to look closer" not in run.stdout
    assert re.search(r"pid-first .* agrees", run.stdout)


def test_a_program_without_a_source_is_no_lab(bare_house: House) -> None:
    bare_house.lab("pid-first")
    bare_house.lab("old-lab")
    shutil.rmtree(bare_house.folder / "labs" / "old-lab")
    assert "old-lab" not in bare_house.run("run").stdout


def test_labs_may_be_named_by_pattern_and_by_path_and_only_once(
    bare_house: House,
) -> None:
    for name in ("pid-first", "pid-nested", "ns-api"):
        bare_house.lab(name)
    run = bare_house.run("run", "--json", "labs/pid-nested/", "pid-*", "pid-nested")
    names = [result["lab"] for result in json.loads(run.stdout)["results"]]
    assert names == ["pid-nested", "pid-first"]


def test_it_needs_nothing_but_the_standard_library() -> None:
    allowed = set(sys.stdlib_module_names) | {"nslabs"}
    pattern = re.compile(r"^\s*(?:import|from) ([A-Za-z_]\w*)", re.MULTILINE)
    for path in (SCRIPTS / "nslab", *(SCRIPTS / "nslabs").glob("*.py")):
        code = re.sub(r'(?s)""".*?"""', "", path.read_text())
        assert set(pattern.findall(code)) <= allowed, path
    words = ["/usr/bin/python3", "-I", "-S", str(SCRIPTS / "nslab"), "--version"]
    assert subprocess.run(words, capture_output=True).returncode == 0


def test_it_leaves_no_files_of_root_in_the_tree_of_somebody_else(
    bare_house: House,
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can run in the tree of somebody else")
    bare_house.lab("pid-first")
    shutil.rmtree(bare_house.folder / "scripts" / "nslabs" / "__pycache__")
    for folder in (bare_house.folder / "scripts").glob("**"):
        os.chown(folder, STRANGER, STRANGER)
    assert bare_house.run("run", env={"PYTHONDONTWRITEBYTECODE": ""}).returncode == 0
    assert not (bare_house.folder / "scripts" / "nslabs" / "__pycache__").exists()


# --- Verdicts ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "verdicts, code",
    [
        (["agrees"], 0),
        (["disagrees"], 1),
        (["skipped"], 4),
        (["broken"], 99),
        (["agrees", "skipped"], 0),
        (["skipped", "skipped"], 4),
        (["skipped", "disagrees"], 1),
        (["disagrees", "broken", "agrees"], 99),
    ],
)
def test_the_exit_code_is_that_of_the_worst_verdict(
    bare_house: House, verdicts: list[str], code: int
) -> None:
    for number, verdict in enumerate(verdicts):
        bare_house.lab(f"lab-{number}", verdict, reason="because")
    assert bare_house.run("run").returncode == code


@pytest.mark.parametrize("form", ["table", "json", "ktap", "text"])
def test_the_exit_code_is_the_same_in_every_format(house: House, form: str) -> None:
    for verdict in ("agrees", "skipped", "disagrees"):
        house.lab(f"lab-{verdict}", verdict, reason="because")
    assert house.run("run", "--format", form).returncode == 1


def test_the_table_tells_what_held_and_why_not(house: House) -> None:
    premise = a_claim("settled", premise=True)
    claims = [premise, a_claim("first"), a_claim("second")]
    house.lab("aa", claims=claims)
    house.lab("bb", claims=[*claims, a_claim("third", None)])
    house.lab("cc", "disagrees", claims=[a_claim("first"), a_claim("second", False)])
    house.lab("dd", "skipped", reason="this kernel has no such thing")
    house.lab("ee", "broken", reason="tenant died", before="echo oh dear >&2")
    run = house.run("run")
    table = run.stdout
    assert re.search(r"^  aa +2/2 +\d+ ms   ✔ agrees$", table, re.MULTILINE)
    assert re.search(r"^  bb +2/3 +\d+ ms   ✔ agrees, 1 skipped$", table, re.MULTILINE)
    assert "○ third: no such thing here" in table
    assert re.search(r"^  cc +1/2 +\d+ ms   ✘ disagrees$", table, re.MULTILINE)
    assert "✘ second: the sentence of second" in table
    values = "second.left is 'one', second.right is 'two'; expected the same"
    assert values in table
    assert re.search(r"^  dd +- +\d+ ms   ○ skipped\n    this kernel has", table, re.M)
    assert re.search(r"^  ee .*‼ broken\n    tenant died\n    \| oh dear$", table, re.M)
    summary = "5 labs: 2 agree · 1 disagrees · 1 skipped · 1 broken"
    assert summary in table
    assert max(map(len, table.splitlines())) <= 80
    assert "\033" not in table and "\r" not in table
    assert run.stderr == ""


def test_in_the_control_a_claim_that_holds_disagrees(bare_house: House) -> None:
    survivor = [a_claim("gone", False, "control"), a_claim("stays", True, "control")]
    bare_house.lab("aa", "disagrees", control=survivor)
    run = bare_house.run("run", "--control")
    assert run.returncode == 1
    assert re.search(r"^  aa +1/2 .*✘ disagrees$", run.stdout, re.MULTILINE)
    assert "✘ stays: the sentence of stays" in run.stdout
    flat = " ".join(run.stdout.split())
    assert "holds in the control too, so it proves nothing: stays.left is" in flat
    assert "gone:" not in run.stdout


def test_both_runs_the_experiment_and_then_the_control(house: House) -> None:
    house.lab("aa")
    house.lab("bb")
    run = house.run("run", "--both", "--json", "--stage", "user", "--timeout", "3")
    results = json.loads(run.stdout)["results"]
    expected = [(lab, mode) for lab in "ab" for mode in ("experiment", "control")]
    assert [(r["lab"][0], r["mode"]) for r in results] == expected
    options = ["--stage=user", "--timeout=3"]
    assert sorted(house.arguments("aa")) == [
        ["--format=json", "--control", *options],
        ["--format=json", *options],
    ]
    table = house.run("run", "--both").stdout
    assert re.search(r"aa +experiment +1/1 .*\n  aa +control +0/1 .*agrees", table)
    assert "2 labs, 4 runs: 4 agree" in table


def test_verbose_lists_the_claims_that_agree_too(bare_house: House) -> None:
    bare_house.lab("aa")
    assert "apart.left is 'one'" not in bare_house.run("run").stdout
    assert "apart.left is 'one'" in bare_house.run("run", "-v").stdout


def test_a_broken_trace_is_never_a_verdict() -> None:
    """Each of these says "agrees" in some way, and none of them may count."""
    good = a_trace("aa")

    def renumbered(events: Sequence[Event]) -> str:
        return as_lines([{**e, "seq": n} for n, e in enumerate(events, 1)])

    def changed(at: int, **more: Any) -> str:
        events = [dict(event) for event in good]
        events[at].update(more)
        return as_lines(events)

    cases = {
        "its trace stops after 3 events, without an end; exit 0": as_lines(good[:-1]),
        "(last step: First, look.)": as_lines(good[:-1]),
        "it printed no trace; exit 0": "",
        "line 2 of its trace: its number is 3, not 2": as_lines(good[:1] + good[2:]),
        "line 1 of its trace: begins with 'step'": renumbered(good[1:]),
        "line 1 of its trace: it is lab 'bb', not 'aa'": as_lines(a_trace("bb")),
        "it ran the control, not the experiment": as_lines(
            a_trace("aa", mode="control", claims=[a_claim()])
        ),
        "line 4 of its trace: cut off in the middle": as_lines(good)[:-1],
        "line 1 of its trace: not JSON: hello": "hello\n" + as_lines(good),
        "line 5 of its trace: not an object: [1]": as_lines(good) + "[1]\n",
        "'step' after the end": renumbered([*good, good[1]]),
        "a second 'lab' event": renumbered([good[0], *good]),
        "version 2; only 1 is known": changed(0, v=2),
        "unknown verdict 'great'": changed(3, verdict="great"),
        "'verdict' is null, not a string": changed(3, verdict=None),
        "'premise' is 0, not true or false": changed(2, premise=0),
        "claim apart: holds is true in the experiment, but as_expected is false": (
            changed(2, as_expected=False)
        ),
        "claim apart: holds is true, but 'one' SAME_AS 'two' is false": (
            changed(2, right_value="two")
        ),
        "claim apart: holds is true, but 'one' IS 'one' is false": (
            changed(2, relation="IS", right="eins")
        ),
        "claim apart comes twice": renumbered([*good[:3], *good[2:]]),
        "it says agrees, but not so claim apart": as_lines(
            a_trace("aa", [a_claim(holds=False), a_claim("other")])
        ),
        "it says skipped, but not so claim apart": as_lines(
            a_trace("aa", [a_claim(holds=False)], verdict="skipped")
        ),
        "it says disagrees, but no claim does": as_lines(
            a_trace("aa", [a_claim()], verdict="disagrees")
        ),
        "it says agrees, but decided no claim": as_lines(a_trace("aa", [])),
    }
    unconvincing = [a_claim(premise=True), a_claim("other", None)]
    cases["it says agrees, but decided no claim "] = as_lines(
        a_trace("aa", unconvincing)
    )
    for reason, lines in cases.items():
        code = 0
        if '"verdict": "skipped"' in lines:
            code = 4
        elif '"verdict": "disagrees"' in lines:
            code = 1
        collector = trace.Collector("aa", "experiment")
        for line in lines.splitlines(keepends=True):
            collector.feed(line)
        result = collector.finish(0.1, code)
        assert result.verdict == "broken", reason
        assert reason.strip() in str(result.reason)


@pytest.mark.parametrize(
    "cut, reason",
    [
        (0, "it printed no trace; exit 0"),
        (3, "its trace stops after 3 events, without an end; exit 0"),
    ],
)
def test_a_lab_that_prints_half_a_trace_is_broken(
    house: House, cut: int, reason: str
) -> None:
    house.lab("aa", lines=as_lines(a_trace("aa")[:cut]))
    house.lab("bb")
    run = house.run("run")
    assert run.returncode == 99 and reason in run.stdout
    assert re.search(r"bb .*agrees", run.stdout)


@pytest.mark.parametrize(
    "verdict, status, how",
    [("agrees", 1, "exit 1"), ("disagrees", 0, "exit 0"), ("agrees", 3, "exit 3")],
)
def test_an_exit_code_that_does_not_match_the_verdict_is_broken(
    bare_house: House, verdict: str, status: int, how: str
) -> None:
    bare_house.lab("aa", verdict, status=status)
    result = bare_house.result()
    assert result["verdict"] == "broken"
    said = f"its trace says {verdict}, its process ended with {how}"
    assert result["reason"] == said


def test_a_lab_that_dies_from_a_signal_is_broken_though_its_trace_agrees(
    house: House,
) -> None:
    house.lab("aa", after="kill -SEGV $$")
    result = house.result()
    assert (result["verdict"], result["status"]) == ("broken", -signal.SIGSEGV)
    assert "its process ended with killed by SIGSEGV" in result["reason"]
    assert [claim["id"] for claim in result["claims"]] == ["apart"]


def test_a_lab_that_crashes_in_the_middle_is_broken_with_its_last_step(
    bare_house: House,
) -> None:
    bare_house.lab("aa", lines=as_lines(a_trace("aa")[:2]), after="kill -ABRT $$")
    reason = bare_house.result()["reason"]
    assert "stops after 2 events, without an end; killed by SIGABRT" in reason
    assert "(last step: First, look.)" in reason


def test_a_lab_that_refuses_its_options_is_broken_with_what_it_says(
    bare_house: House,
) -> None:
    bare_house.script("aa", "echo 'aa: no such option' >&2; exit 2")
    run = bare_house.run("run")
    assert run.returncode == 99
    assert "it printed no trace; exit 2\n    | aa: no such option" in run.stdout


def test_a_lab_that_cannot_be_started_is_broken(bare_house: House) -> None:
    bare_house.script("aa", "")
    bare_house.program("aa").write_text("#!/nonexistent/shell\n")
    bare_house.lab("bb")
    run = bare_house.run("run")
    assert run.returncode == 99
    assert "it cannot be started: ENOENT (No such file or directory)" in run.stdout
    assert re.search(r"bb .*agrees", run.stdout)


def an_order(program: Path, **more: Any) -> runner.Order:
    return runner.Order(program.name, program, **more)


def is_gone(pid: int) -> bool:
    try:
        return (
            Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        )
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_lab_that_hangs_is_killed_with_all_its_group_and_broken(
    bare_house: House,
) -> None:
    body = "trap '' TERM; sleep 1000 & echo $! >&2; wait"
    program = bare_house.script("aa", body)
    result = runner.run_one(an_order(program, seconds=0.1, grace=0.2))
    assert result.verdict == "broken" and result.status == -signal.SIGKILL
    assert "no end after 0.3 s" in str(result.reason)
    wait_until(lambda: is_gone(int(result.stderr)))


def test_a_lab_that_leaves_a_process_with_its_output_is_broken(
    bare_house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "LINGER_SECONDS", 0.2)
    bare_house.lab("aa", after="sleep 1000 & echo $! >&2")
    result = runner.run_one(an_order(bare_house.program("aa")))
    assert result.verdict == "broken"
    assert "it ended (exit 0), but a process that it left behind" in str(result.reason)
    wait_until(lambda: is_gone(int(result.stderr)))


def test_a_lab_that_prints_without_end_is_killed_and_broken(bare_house: House) -> None:
    program = bare_house.script("aa", "exec cat /dev/zero")
    result = runner.run_one(an_order(program))
    assert result.verdict == "broken"
    assert "a line of its trace is longer than" in str(result.reason)


def test_where_there_is_no_pidfd_labs_run_as_well(
    bare_house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_pid: int, _flags: int = 0) -> int:
        raise OSError(errno.ENOSYS, "no pidfd")

    monkeypatch.setattr(os, "pidfd_open", refused)
    bare_house.lab("aa")
    bare_house.lab("bb", "disagrees")
    assert runner.run_one(an_order(bare_house.program("aa"))).verdict == "agrees"
    assert runner.run_one(an_order(bare_house.program("bb"))).verdict == "disagrees"
    told = an_order(bare_house.program("aa"), told=True, capture=False)
    assert runner.run_one(told).verdict == "agrees"


def test_events_of_yields_the_events_and_returns_the_result(bare_house: House) -> None:
    bare_house.lab("aa")
    events = runner.events_of(an_order(bare_house.program("aa")))
    kinds = []
    while True:
        try:
            kinds.append(next(events)["event"])
        except StopIteration as end:
            assert end.value.verdict == "agrees"
            break
    assert kinds == ["lab", "step", "claim", "end"]


def test_a_collector_reads_a_trace_of_which_nobody_saw_the_process() -> None:
    whole = trace.Collector("aa", "experiment")
    for line in as_lines(a_trace("aa")).splitlines(keepends=True):
        whole.feed(line)
    assert whole.finish(0.1).verdict == "agrees"
    lost = trace.Collector("aa", "experiment")
    for line in as_lines(a_trace("aa")[:2]).splitlines(keepends=True):
        lost.feed(line)
    assert lost.finish(0.1, killed="the guest panicked").reason == (
        "the guest panicked (last step: First, look.)"
    )


def test_the_order_of_results_does_not_depend_on_jobs(house: House) -> None:
    """The first lab ends last: it waits for a word from the last one."""
    word = house.folder / "word"
    os.mkfifo(word)
    word.chmod(0o666)
    house.lab("aa", before=f"read x <{word}")
    house.lab("bb")
    house.lab("cc", after=f"echo go >{word}")
    outputs = []
    for form in ("table", "json", "ktap", "text"):
        run = house.run("run", "--jobs", "3", "--format", form)
        assert run.returncode == 0
        outputs.append(run.stdout)
        places = [run.stdout.index(name) for name in ("aa", "bb", "cc")]
        assert places == sorted(places), form


def test_jobs_run_at_the_same_time_and_no_more_than_asked(bare_house: House) -> None:
    log = bare_house.folder / "order"
    for name in ("aa", "bb", "cc", "dd"):
        before = f"echo + >>{log}; sleep 0.2; echo - >>{log}"
        bare_house.lab(name, before=before)
    assert bare_house.run("run", "--jobs", "2").returncode == 0
    running = most = 0
    for line in log.read_text().split():
        running += 1 if line == "+" else -1
        most = max(most, running)
    assert most == 2


# --- Formats -----------------------------------------------------------------------


def test_json_has_claims_values_and_the_summary(bare_house: House) -> None:
    bare_house.lab("aa", "disagrees", claims=[a_claim("first", False)])
    bare_house.lab("bb", "skipped", reason="no such thing")
    document = json.loads(bare_house.run("run", "--json").stdout)
    assert document["v"] == 1 and document["exit"] == 1
    assert document["interrupted"] is None and document["not_run"] == []
    assert document["summary"] == {
        "agrees": 0,
        "disagrees": 1,
        "skipped": 1,
        "broken": 0,
    }
    first, second = document["results"]
    assert first["question"] == "What does aa ask?" and first["kernel"] == "9.9.9"
    assert first["claims"][0]["right_value"] == "two"
    assert (second["verdict"], second["reason"]) == ("skipped", "no such thing")
    assert 0 < first["seconds"] < PATIENCE


def test_ktap_has_a_test_for_each_lab_and_subtests_for_its_claims(
    bare_house: House,
) -> None:
    claims = [a_claim("first"), a_claim("second", False), a_claim("third", None)]
    bare_house.lab("aa", "disagrees", claims=claims)
    bare_house.lab("bb", "skipped", reason="no #1")
    bare_house.lab("cc", "broken", claims=[], reason="tenant died")
    assert bare_house.run("run", "--format", "ktap").stdout == (
        "KTAP version 1\n"
        "1..3\n"
        "  KTAP version 1\n"
        "  1..3\n"
        "  ok 1 aa.first\n"
        "  # second.left is 'one', second.right is 'two'; expected the same\n"
        "  not ok 2 aa.second\n"
        "  ok 3 aa.third # SKIP no such thing here\n"
        "not ok 1 aa\n"
        "  KTAP version 1\n"
        "  1..0 # SKIP no \\#1\n"
        "ok 2 bb # SKIP no \\#1\n"
        "  KTAP version 1\n"
        "  1..0\n"
        "not ok 3 cc # ERROR tenant died\n"
    )


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_text_is_what_the_labs_tell_one_after_the_other(
    bare_house: House, jobs: str
) -> None:
    bare_house.lab("aa")
    bare_house.lab("bb", "disagrees")
    bare_house.script("cc", "echo half of it; kill -SEGV $$")
    run = bare_house.run("run", "--format", "text", "--jobs", jobs)
    assert run.returncode == 99
    told = "aa tells\nbb tells\nhalf of it\n"
    assert run.stdout == told + "nslab: cc is broken: it ended with killed by SIGSEGV\n"


def junit(path: Path) -> dict[str, ElementTree.Element]:
    return {
        str(suite.get("name")): suite
        for suite in ElementTree.parse(path).getroot().iter("testsuite")
    }


def test_junit_has_a_suite_for_each_run_and_a_case_for_each_claim(
    house: House,
) -> None:
    claims = [a_claim("first"), a_claim("second", False), a_claim("third", None)]
    house.lab("aa", "disagrees", claims=claims, control=[a_claim("c", True, "control")])
    house.lab("bb", "skipped", reason="no such thing")
    house.lab("cc", "broken", reason="tenant died", before="echo oh dear >&2")
    path = house.folder.parent / "junit.xml"
    run = house.run("run", "--both", "--junit", str(path))
    assert run.returncode == 99 and "‼ broken" in run.stdout
    suites = junit(path)
    assert list(suites) == [
        f"{lab}.{mode}"
        for lab in ("aa", "bb", "cc")
        for mode in ("experiment", "control")
    ]
    cases = {str(case.get("name")): case for case in suites["aa.experiment"]}
    assert list(cases["first"].iter("failure")) == []
    failure = cases["second"].find("failure")
    assert failure is not None
    values = "second.left is 'one', second.right is 'two'; expected the same"
    assert failure.get("message") == values and values in str(failure.text)
    skipped = cases["third"].find("skipped")
    assert skipped is not None and skipped.get("message") == "no such thing here"
    counts = {
        k: suites["aa.experiment"].get(k) for k in ("tests", "failures", "skipped")
    }
    assert counts == {"tests": "3", "failures": "1", "skipped": "1"}
    survived = suites["aa.control"].find("testcase/failure")
    assert survived is not None
    assert str(survived.get("message")).startswith("holds in the control too")
    whole = suites["bb.experiment"].find("testcase/skipped")
    assert whole is not None and whole.get("message") == "no such thing"
    error = suites["cc.experiment"].find("testcase/error")
    assert error is not None and error.get("message") == "tenant died"
    assert suites["cc.experiment"].findtext("system-err") == "oh dear\n"
    totals = ElementTree.parse(path).getroot()
    assert (totals.get("failures"), totals.get("errors")) == ("2", "2")


def test_what_no_terminal_and_no_xml_can_hold_does_no_harm(bare_house: House) -> None:
    nasty = "a\x1b[31mb\x00c\nd\ud800e"
    claims = [a_claim("first", False, left_value=nasty, text=nasty)]
    bare_house.lab("aa", "disagrees", claims=claims)
    path = bare_house.folder.parent / "junit.xml"
    run = bare_house.run("run", "--junit", str(path))
    assert run.returncode == 1
    assert "\033" not in run.stdout and "\0" not in run.stdout
    assert "a\\x1b[31mb\\x00c\\nd\\ud800e" in run.stdout
    failure = junit(path)["aa.experiment"].find("testcase/failure")
    assert failure is not None and "a\ufffd[31mb\ufffdc" in str(failure.text)
    assert bare_house.run("run", "--format", "ktap").returncode == 1
    assert "\\ud800" in bare_house.run("run", "--json").stdout


def test_a_terminal_without_unicode_gets_plain_marks(bare_house: House) -> None:
    bare_house.lab("aa", "disagrees")
    environ = {"PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"}
    run = bare_house.run("run", env=environ, encoding="latin-1")
    assert run.returncode == 1 and "x disagrees" in run.stdout
    assert run.stdout.isascii()


# --- Files and pipes that fail -----------------------------------------------------


@pytest.mark.parametrize("place", ["/nonexistent/junit.xml", "/"])
def test_a_junit_file_that_cannot_be_opened_stops_it_before_any_lab_runs(
    house: House, place: str
) -> None:
    house.lab("aa")
    run = house.run("run", "--junit", place)
    assert (run.returncode, run.stdout) == (2, "")
    assert re.match(rf"nslab: --junit {place}: (ENOENT|EISDIR) \(", run.stderr)
    assert house.arguments("aa") == []


def test_a_junit_file_on_a_full_disk_is_an_error_after_the_table(
    bare_house: House,
) -> None:
    bare_house.lab("aa")
    run = bare_house.run("run", "--junit", "/dev/full")
    assert run.returncode == 99
    assert "1 agrees" in run.stdout
    said = "nslab: --junit /dev/full: ENOSPC (No space left on device)\n"
    assert run.stderr == said


@pytest.mark.parametrize(
    "words",
    [
        ["run"],
        ["run", "--json"],
        ["run", "--format", "ktap"],
        ["list"],
        ["list", "--json"],
        ["doctor", "--json"],
        ["explain", "aa"],
        [],
        ["--version"],
        ["run", "--help"],
    ],
)
def test_a_full_disk_is_an_error_without_a_traceback(
    bare_house: House, words: list[str]
) -> None:
    bare_house.lab("aa")
    with open("/dev/full", "w") as full:
        run = bare_house.run(*words, stdout=full)
    assert run.returncode == 99
    assert run.stderr == "nslab: standard output: ENOSPC (No space left on device)\n"


@pytest.mark.parametrize(
    "words",
    [
        ["run"],
        ["run", "--json"],
        ["run", "--format", "text"],
        ["list"],
        ["explain", "aa"],
    ],
)
def test_a_closed_pipe_ends_it_by_sigpipe_and_in_silence(
    bare_house: House, words: list[str]
) -> None:
    bare_house.lab("aa")
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        run = bare_house.run(*words, stdout=pipe)
    assert run.returncode == -signal.SIGPIPE
    assert run.stderr == ""


def test_a_closed_standard_output_is_an_error(bare_house: House) -> None:
    bare_house.lab("aa")
    run = bare_house.run("run", preexec_fn=lambda: os.close(1))
    assert run.returncode == 2 and bare_house.arguments("aa") == []
    assert run.stderr == "nslab: standard output is closed\n"


def test_a_closed_standard_error_does_no_harm(bare_house: House) -> None:
    bare_house.lab("aa")
    run = bare_house.run("run", preexec_fn=lambda: os.close(2))
    assert run.returncode == 0 and "1 agrees" in run.stdout
    assert bare_house.run("rum", preexec_fn=lambda: os.close(2)).returncode == 2


def test_a_reader_that_leaves_ends_the_labs_still_running(house: House) -> None:
    word = house.folder / "word"
    os.mkfifo(word)
    word.chmod(0o666)
    house.lab("aa")
    house.lab("bb", before=f"echo $$ >{word}; read x <{word}")
    house.lab("cc", before="exec sleep 1000")
    process = house.start("run", "--jobs", "1")
    assert process.stdout is not None
    while "aa" not in process.stdout.readline():
        pass
    process.stdout.close()
    pid = int(word.read_text())
    os.kill(pid, signal.SIGKILL)  # the next row meets a closed pipe
    assert process.wait(PATIENCE) == -signal.SIGPIPE
    assert is_gone(pid)
    assert process.stderr is not None and process.stderr.read() == ""
    process.stderr.close()


# --- Interrupts --------------------------------------------------------------------


def wait_until(true: Callable[[], bool]) -> None:
    """For what the kernel does soon, and tells nobody."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("form", ["table", "json", "ktap"])
def test_a_signal_ends_the_labs_shows_what_was_finished_and_kills_nslab(
    house: House, name: str, form: str
) -> None:
    word = house.folder / "word"
    os.mkfifo(word)
    word.chmod(0o666)
    house.lab("aa")
    deaf = "trap '' TERM;" if (form, name) == ("json", "SIGINT") else ""
    house.lab("bb", before=f"{deaf} sleep 1000 & echo $$ $! >{word}; wait")
    house.lab("cc")
    path = house.folder.parent / "junit.xml"
    process = house.start("run", "--jobs", "1", "--format", form, "--junit", str(path))
    pids = [int(pid) for pid in word.read_text().split()]
    process.send_signal(signal.Signals[name])
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == -signal.Signals[name]
    assert err == ""
    wait_until(lambda: all(is_gone(pid) for pid in pids))
    assert house.arguments("cc") == []
    if form == "table":
        assert re.search(r"aa .*✔ agrees", out)
        assert f"ended by {name}: 2 runs without a result: bb, cc" in out
    elif form == "json":
        document = json.loads(out)
        assert [result["lab"] for result in document["results"]] == ["aa"]
        assert document["interrupted"] == f"ended by {name}"
        assert [left["lab"] for left in document["not_run"]] == ["bb", "cc"]
    else:
        assert "ok 1 aa\n" in out and out.endswith(f"Bail out! ended by {name}\n")
    suites = junit(path)
    assert suites["aa.experiment"].get("errors") == "0"
    for lab in ("bb", "cc"):
        error = suites[f"{lab}.experiment"].find("testcase/error")
        assert error is not None
        assert error.get("message") == f"not run: ended by {name}"


def test_an_interrupt_shows_results_that_wait_for_their_turn(bare_house: House) -> None:
    word = bare_house.folder / "word"
    os.mkfifo(word)
    word.chmod(0o666)
    bare_house.lab("aa", before=f"echo $$ >{word}; exec sleep 1000")
    bare_house.lab("bb")
    process = bare_house.start("run", "--jobs", "2")
    word.read_text()
    wait_until(lambda: bool(bare_house.arguments("bb")) and only_aa(process))
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=PATIENCE)
    assert re.search(r"bb .*✔ agrees", out)
    assert "1 run without a result: aa" in out


def only_aa(process: subprocess.Popen[str]) -> bool:
    """nslab has reaped bb: one child is left."""
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return len(path.read_text().split()) == 1


def test_a_signal_that_is_ignored_from_outside_stays_ignored(bare_house: House) -> None:
    word = bare_house.folder / "word"
    os.mkfifo(word)
    word.chmod(0o666)
    bare_house.lab("aa", before=f"echo >{word}; read x <{word}")

    def as_nohup() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    process = bare_house.start("run", preexec_fn=as_nohup)
    word.read_text()
    process.send_signal(signal.SIGHUP)
    word.write_text("go on\n")
    out, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0 and "1 agrees" in out


# --- Terminals ---------------------------------------------------------------------


class Terminal:
    """nslab on a pseudo-terminal."""

    def __init__(
        self, house: House, *words: str, columns: int = 80, env: Any = None
    ) -> None:
        self.master, slave = pty.openpty()
        size = struct.pack("HHHH", 24, columns, 0, 0)
        fcntl.ioctl(slave, termios.TIOCSWINSZ, size)
        environ = {"TERM": "xterm-256color", "NO_COLOR": "", "PAGER": "", **(env or {})}
        files = {"stdin": slave, "stdout": slave, "stderr": slave}
        self.process = house.start(*words, env=environ, start_new_session=True, **files)
        os.close(slave)
        self.text = ""

    def read(self) -> bool:
        """Take what it says next; False at its end."""
        ready, _, _ = select.select([self.master], [], [], PATIENCE)
        assert ready, self.text
        try:
            data = os.read(self.master, 65536)
        except OSError:
            return False
        self.text += data.decode()
        return bool(data)

    def until(self, pattern: str) -> None:
        """Read until it has said this."""
        while not re.search(pattern, self.text):
            assert self.read(), self.text

    def end(self) -> str:
        """All it says, with the plain newlines of a file."""
        while self.read():
            pass
        os.close(self.master)
        self.process.wait(PATIENCE)
        return self.text.replace("\r\n", "\n")

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())


def test_colours_are_shown_on_a_terminal_alone_and_never_with_no_color(
    bare_house: House,
) -> None:
    bare_house.lab("aa")
    assert "\033[32m✔\033[0m" in Terminal(bare_house, "run").end()
    for name, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
        text = Terminal(bare_house, "run", env={name: value}).end()
        assert "✔ agrees" in text and "\033[3" not in text
    assert "\033" not in bare_house.run("run", env={"TERM": "xterm"}).stdout


def test_a_live_line_says_what_runs_when_it_takes_long_and_leaves_nothing(
    bare_house: House,
) -> None:
    word = bare_house.folder / "word"
    os.mkfifo(word)
    bare_house.lab("aa", before=f"head -2 {bare_house.program('aa').parent}/experiment")
    body = bare_house.program("aa").read_text()
    slow = f"read x <{word}; tail -n +3 {bare_house.program('aa').parent}/experiment"
    bare_house.program("aa").write_text(re.sub(r'(?m)^cat ".*$', slow, body))
    terminal_ = Terminal(bare_house, "run")
    terminal_.until(r"0 of 1 · running aa · \d+ s · First, look\.")
    word.write_text("go\n")
    text = terminal_.end()
    assert text.rpartition("running aa")[2].startswith(" · ")
    after = text.rpartition("First, look.")[2]
    assert after.startswith("\033[0m\r\033[K")
    assert "1 agrees" in terminal.bare(after)


def test_a_quick_run_shows_no_live_line(bare_house: House) -> None:
    bare_house.lab("aa")
    assert "running" not in Terminal(bare_house, "run").end()


@pytest.mark.parametrize("columns", [40, 60, 80, 132])
def test_no_line_is_wider_than_the_terminal(bare_house: House, columns: int) -> None:
    long = "a reason of many words that goes on and on " * 5
    bare_house.lab("a-lab-with-a-name", "disagrees", claims=[a_claim("x", False)])
    bare_house.lab("bb", "skipped", reason=long + "/a/path/" + "long" * 30)
    bare_house.script("cc", f"echo {'x' * 200} >&2; exit 3")
    page = f"# T\n\n{long}\n\n| a | b | c |\n|---|---|---|\n| {long} | {long} | x |\n"
    bare_house.source("bb", page)
    for words in (["run", "--control"], ["list"], ["explain", "bb"], ["doctor"]):
        text = Terminal(bare_house, *words, columns=columns).end()
        plain = re.sub(r"\033\[[0-9;]*[mK]", "", text)
        widest = max(plain.splitlines(), key=terminal.cells)
        assert terminal.cells(widest) <= columns, (words, widest)


def test_ctrl_c_on_a_terminal_ends_the_labs_though_they_ignore_it(
    bare_house: House,
) -> None:
    word = bare_house.folder / "word"
    os.mkfifo(word)
    bare_house.lab("aa", before=f"trap '' INT; echo $$ >{word}; sleep 1000")
    master, slave = pty.openpty()

    def own_terminal() -> None:
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

    process = bare_house.start(
        "run", stdin=slave, stdout=slave, stderr=slave, preexec_fn=own_terminal
    )
    pid = int(word.read_text())
    os.write(master, b"\x03")
    assert process.wait(PATIENCE) == -signal.SIGINT
    wait_until(lambda: is_gone(pid))
    os.close(slave)
    os.close(master)


# --- list --------------------------------------------------------------------------


def test_list_asks_each_lab_and_tries_whether_it_runs_here(house: House) -> None:
    house.lab("aa")
    house.lab("bb", "skipped", reason="this kernel has no such thing")
    house.lab("cc", "disagrees")
    house.lab("dd", status=3)
    run = house.run("list")
    assert run.returncode == 0
    assert re.search(r"✔ aa +user, libmnl +What does aa ask\?", run.stdout)
    assert re.search(r"○ bb .*\n +this kernel has no such thing", run.stdout)
    assert re.search(r"✔ cc .*\n +disagrees here: .*nslab run cc", run.stdout)
    assert re.search(r"‼ dd .*\n +its trace says agrees, its process", run.stdout)
    assert "runs here: 2 of 4" in run.stdout
    rows = json.loads(house.run("list", "--json").stdout)["labs"]
    assert [row["runs_here"] for row in rows] == [True, False, True, False]
    assert rows[0]["needs"] == ["user", "libmnl"]
    assert rows[0]["claims"] == [{"id": "apart"}]
    assert rows[1]["reason"] == "this kernel has no such thing"


def test_list_is_in_reading_order_and_labs_without_a_place_come_last(
    bare_house: House,
) -> None:
    for name, rung in (("aa", 0), ("bb", 20), ("cc", 10), ("dd", 0)):
        bare_house.lab(name, rung=rung)
    rows = json.loads(bare_house.run("list", "--json").stdout)["labs"]
    assert [row["lab"] for row in rows] == ["cc", "bb", "aa", "dd"]
    rows = json.loads(bare_house.run("list", "--json", "bb", "cc").stdout)["labs"]
    assert [row["lab"] for row in rows] == ["bb", "cc"]


@pytest.mark.parametrize(
    "card, problem",
    [
        ("nonsense", "JSONDecodeError"),
        ("{}", "KeyError"),
        (
            '{"lab": "zz", "question": "?", "needs": [], "claims": []}',
            "--claims: exit 0, of lab 'zz'",
        ),
    ],
)
def test_a_lab_that_cannot_say_what_it_claims_is_listed_as_broken(
    bare_house: House, card: str, problem: str
) -> None:
    bare_house.lab("aa")
    bare_house.program("aa").with_name("claims").write_text(card)
    run = bare_house.run("list")
    assert run.returncode == 99
    assert "‼ aa" in run.stdout and problem in " ".join(run.stdout.split())


# --- step --------------------------------------------------------------------------


def test_step_becomes_the_lab_on_this_terminal(house: House) -> None:
    asks = "test -t 0 && test -t 1 || exit 7; echo pid $$; read x; echo got $x; exit 4"
    house.script("aa", asks)
    terminal_ = Terminal(house, "step", "aa", "--control", "--stage", "user")
    terminal_.until(r"pid \d+")
    assert f"pid {terminal_.process.pid}\r" in terminal_.text
    terminal_.type("a word\n")
    assert "got a word" in terminal_.end()
    assert terminal_.process.returncode == 4
    assert house.arguments("aa") == [["--step", "--control", "--stage=user"]]


def test_a_lab_that_is_stepped_dies_from_a_closed_pipe_like_any_program(
    house: House,
) -> None:
    house.script("aa", "grep SigIgn /proc/self/status")
    run = house.run("step", "aa")
    assert int(run.stdout.split()[1], 16) & (1 << (signal.SIGPIPE - 1)) == 0


# --- explain -----------------------------------------------------------------------

PAGE = """\
<!-- a note for authors -->
# The page of aa

What *does* the **tenant** see with `unshare -u`?
It is explained in [namespaces(7)](https://man7.example/ns.7.html), and it is a long
sentence that has to be wrapped.

Under
-----

- one, which goes on
  in the next line
- two
  1. inner
  2. other

> a quotation

```console
$ unshare --uts    # <!-- stays -->
```

| key | value |
|-----|------:|
| a   | `x|y` |
| bb  | 2 |

<details><summary>The answer</summary>

Forty-two &amp; more.

</details>
"""

RENDERED = """\
The page of aa
══════════════

What does the tenant see with `unshare -u`? It is explained in namespaces(7)
[1], and it is a long sentence that has to be wrapped.

Under
─────

  • one, which goes on in the next line
  • two
      1. inner
      2. other

│ a quotation

    $ unshare --uts    # <!-- stays -->

key  value
───  ─────
a    `x|y`
bb       2

▸ The answer

Forty-two & more.

Links
  [1] https://man7.example/ns.7.html
"""


def test_explain_shows_the_page_as_plain_text_where_there_is_no_terminal(
    bare_house: House,
) -> None:
    bare_house.lab("aa")
    bare_house.source("aa", PAGE)
    run = bare_house.run("explain", "aa")
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout == RENDERED


def test_a_page_with_characters_that_the_output_lacks_is_shown_all_the_same(
    bare_house: House,
) -> None:
    bare_house.lab("aa")
    bare_house.source("aa", "caf\u00e9 \u2192 tea\n")
    environ = {"PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"}
    run = bare_house.run("explain", "aa", env=environ, encoding="latin-1")
    assert run.stdout == "caf\u00e9 \\u2192 tea\n"


def test_explain_goes_through_the_pager_on_a_terminal_alone(bare_house: House) -> None:
    bare_house.lab("aa")
    bare_house.source("aa", PAGE)
    pager = bare_house.folder / "pager"
    pager.write_text("#!/bin/sh\necho paged by $1; exec cat\n")
    pager.chmod(0o755)
    text = Terminal(bare_house, "explain", "aa", env={"PAGER": f"{pager} me"}).end()
    assert text.startswith("paged by me\n")
    assert "\033[1mThe page of aa\033[0m" in text
    assert (
        "paged" not in bare_house.run("explain", "aa", env={"PAGER": str(pager)}).stdout
    )
    for missing in ("", "/nonexistent/pager"):
        text = Terminal(bare_house, "explain", "aa", env={"PAGER": missing}).end()
        assert "The page of aa" in text


@pytest.mark.parametrize("pager", ["true", "false"])
def test_a_pager_that_is_left_early_is_no_error(bare_house: House, pager: str) -> None:
    bare_house.lab("aa")
    bare_house.source("aa", PAGE * 300)
    terminal_ = Terminal(bare_house, "explain", "aa", env={"PAGER": pager})
    assert terminal_.end() == ""
    assert terminal_.process.returncode == 0


def test_a_lab_without_a_page_is_an_error_that_names_the_file(
    bare_house: House,
) -> None:
    bare_house.lab("aa")
    (bare_house.folder / "labs" / "aa" / "README.md").unlink()
    run = bare_house.run("explain", "aa")
    assert run.returncode == 2
    assert f"{bare_house.folder}/labs/aa/README.md" in run.stderr


def rendered(text: str, width: int = 40) -> str:
    with open(os.devnull, "w") as nowhere:
        screen = terminal.Screen(nowhere, {})
        return markdown.render(text, screen, width)


@pytest.mark.parametrize(
    "text, shown",
    [
        ("a *b c* d_e_f __g__", "a b c d_e_f g"),
        ("2 * 3 * 4 and \\*x\\*", "2 * 3 * 4 and *x*"),
        ("``a ` b``", "`a ` b`"),
        ("**bold `code`**, (*so*).", "bold `code`, (so)."),
        ("[text](page.md) ![a picture](x.svg)", "text a picture"),
        ("<https://x.example>", "https://x.example"),
        ("### Deep", "### Deep"),
        ("a  \nb", "a\nb"),
        ("    code\n\n    more", "    code\n\n    more"),
        ("~~~\n# not a heading\n~~~", "    # not a heading"),
        ("```\nnever closed", "    never closed"),
        ("* a\n\n* b", "  • a\n\n  • b"),
        ("3. c\n4. d", "  3. c\n  4. d"),
        ("- a\n\n      code", "  • a\n\n        code"),
        ("> > deep", "│ │ deep"),
        ("名字空间名字空间名字空间名字空间名字空间名字空间", "名字空间" * 5 + "\n名字空间"),
        ("x\x1b[31my", "x[31my"),
        ("---", "─" * 40),
        ("a &lt; b <b>c</b>", "a < b c"),
        ("| a |\n|---|\n| \\| |", "a\n─\n|"),
        ("1 | 2 is not a table", "1 | 2 is not a table"),
    ],
)
def test_markdown_is_shown_as_it_is_meant(text: str, shown: str) -> None:
    assert rendered(text) == shown + "\n"


# --- doctor ------------------------------------------------------------------------


def checks(run: subprocess.CompletedProcess[str]) -> dict[str, Event]:
    document = json.loads(run.stdout)
    assert document["v"] == 1 and document["exit"] == run.returncode
    missing = [
        c["name"] for c in document["checks"] if c["required"] and not c["found"]
    ]
    assert document["missing"] == missing
    assert run.returncode == (1 if missing else 0)
    return {check["name"]: check for check in document["checks"]}


def test_doctor_tries_each_prerequisite_and_gives_a_remedy_for_the_missing(
    house: House,
) -> None:
    found = checks(house.run("doctor", "--json"))
    for name in (
        "C compiler",
        "make",
        "user namespaces",
        "clone3",
        *(f"{kind} namespaces" for kind in probe.TYPES),
        "/proc in a PID namespace",
        "veth",
        "genisoimage",
        "FUSE",
        "fuseiso",
        "iso9660 in the kernel",
        "loop devices",
        "util-linux",
        "iproute2",
        "pytest",
    ):
        check = found.pop(name)
        assert check["tried"] and check["answer"]
        assert (check["remedy"] is None) == check["found"], name
    rest = {"qemu-system-" + os.uname().machine}
    if house.user == "myself" and os.geteuid() == 0:
        rest |= {"user namespaces, as root", "FUSE, as root"}
    assert set(found) == rest


def test_doctor_agrees_with_other_programs_about_this_machine(house: House) -> None:
    """The same questions, asked with util-linux and iproute2."""
    found = checks(house.run("doctor", "--json"))
    ordinary = os.geteuid() == 0
    user: dict[str, Any] = {}
    if ordinary:
        user = {"user": 65534, "group": 65534, "extra_groups": []}

    def works(command: str) -> bool:
        words = ["unshare", "-Urmpf", "--mount-proc", *command.split()]
        return subprocess.run(words, capture_output=True, **user).returncode == 0

    plain = subprocess.run(["unshare", "-Ur", "true"], capture_output=True, **user)
    assert found["user namespaces"]["found"] == (plain.returncode == 0)
    assert found["/proc in a PID namespace"]["found"] == works("true")
    names = {"net": "-n", "uts": "-u", "ipc": "-i", "cgroup": "-C", "time": "-T"}
    for kind, option in names.items():
        expected = works(f"unshare {option} true")
        assert found[f"{kind} namespaces"]["found"] == expected, kind
    veth = "unshare -n ip link add va type veth peer name vb"
    assert found["veth"]["found"] == works(veth)


def test_doctor_leaves_nothing_behind(house: House) -> None:
    place = house.folder.parent / "tmp"  # all its files, images and mounts are here
    place.mkdir()
    place.chmod(0o777)

    def look() -> tuple[object, ...]:
        loops = subprocess.run(["losetup", "-a"], capture_output=True, text=True).stdout
        lines = Path("/proc/self/mountinfo").read_text() + loops
        ours = [line for line in lines.splitlines() if str(place) in line]
        links = {name for name in os.listdir("/sys/class/net") if name in ("va", "vb")}
        return ours, links, os.uname().nodename, sorted(os.listdir(place))

    before = look()
    assert before[0] == []
    house.run("doctor", env={"TMPDIR": str(place)})
    assert look() == before


def test_doctor_names_the_package_of_a_program_that_is_missing(house: House) -> None:
    (house.folder / "scripts" / "packages.tsv").write_text(
        "# a comment\nwhat\tfor\tapt\tdnf\tpacman\tapk\tzypper\twhy\n"
        "make\trun\tmy-make\tmy-make\tmy-make\tmy-make\tmy-make\tx\n"
    )
    empty = house.folder / "empty"
    empty.mkdir()
    (empty / "python3").symlink_to("/usr/bin/python3")
    run = house.run("doctor", "--json", env={"PATH": str(empty)})
    found = checks(run)
    assert run.returncode == 1
    sudo = "" if house.user == "myself" and os.geteuid() == 0 else "sudo "
    install = packages.FAMILIES[packages.family() or "apt"][1]
    assert not found["make"]["found"]
    assert found["make"]["remedy"] == f"{sudo}{install} my-make"
    assert not found["C compiler"]["found"]
    assert "gcc" in found["C compiler"]["remedy"]
    assert "not found on PATH" in found["genisoimage"]["answer"]
    text = house.run("doctor", env={"PATH": str(empty)}).stdout
    assert re.search(r"✘ make +make: not found on PATH\n +remedy: .*my-make", text)
    assert re.search(r"missing and required: C compiler, make", text)


def test_doctor_is_not_fooled_by_programs_that_only_have_the_name(
    bare_house: House,
) -> None:
    fake = bare_house.folder / "fake"
    fake.mkdir()
    scripts = dict.fromkeys(("gcc", "fuseiso", "unshare"), "exit 0")
    scripts["make"] = "echo GNU Make 4.3; exit 1"
    scripts["genisoimage"] = 'head -c 99999 /dev/zero >"$4"'  # -quiet -R -o FILE
    for name, script in scripts.items():
        (fake / name).write_text(f"#!/bin/sh\n{script}\n")
        (fake / name).chmod(0o755)
    path = f"{fake}:{os.environ['PATH']}"
    found = checks(bare_house.run("doctor", "--json", env={"PATH": path}))
    for name in ("C compiler", "make", "genisoimage", "fuseiso", "util-linux"):
        assert not found[name]["found"], name
    assert found["genisoimage"]["answer"] == "what it wrote is no ISO image"


def test_doctor_finds_the_libraries_that_the_labs_ask_for(bare_house: House) -> None:
    bare_house.source("aa")
    (bare_house.folder / "labs" / "aa" / "lab.mk").write_text("PKGS = no-such-lib\n")
    found = checks(bare_house.run("doctor", "--json"))
    check = found["library no-such-lib"]
    assert check["required"] and not check["found"] and "aa" in check["tried"]


def within(house: House, script: str) -> subprocess.CompletedProcess[str]:
    """The doctor, in namespaces where root has prepared something."""
    words = ["unshare", "-Urmpf", "--mount-proc", "sh", "-ec"]
    words.append(f"{script}\nexec {house.nslab} doctor --json")
    options = house.options({})
    return subprocess.run(
        words, capture_output=True, text=True, timeout=PATIENCE, **options
    )


@pytest.mark.parametrize("kind", ["user", "uts", "net"])
def test_doctor_names_the_limit_that_is_0(house: House, kind: str) -> None:
    run = within(house, f"echo 0 >/proc/sys/user/max_{kind}_namespaces")
    check = checks(run)[f"{kind} namespaces"]
    assert not check["found"]
    assert run.returncode == 1
    assert "ENOSPC" in check["answer"]
    sysctl = f"user.max_{kind}_namespaces"
    assert f"the limit {sysctl} is 0: sysctl -w {sysctl}=10000" in check["remedy"]


def test_doctor_sees_that_a_masked_proc_forbids_a_new_one(house: House) -> None:
    run = within(house, "mount -t tmpfs mask /proc/sys")
    check = checks(run)["/proc in a PID namespace"]
    assert not check["found"] and "EPERM" in check["answer"]
    assert "mounted over parts of /proc" in check["remedy"]
    assert run.returncode == 0  # most labs do without


def test_doctor_says_when_root_cannot_step_down(house: House) -> None:
    run = within(house, "true")
    tried = checks(run)["user namespaces"]["tried"]
    assert tried.startswith("as root, who cannot step down (set")


def refuse_unshare(number: int) -> Callable[[], None]:
    """A seccomp filter, as a container's: unshare(2) fails with this errno."""
    nr = {"x86_64": 272, "aarch64": 97}[os.uname().machine]
    code = [
        struct.pack("=HBBI", 0x20, 0, 0, 0),  # load the number of the call
        struct.pack("=HBBI", 0x15, 0, 1, nr),  # unshare?
        struct.pack("=HBBI", 0x06, 0, 0, 0x00050000 | number),
        struct.pack("=HBBI", 0x06, 0, 0, 0x7FFF0000),  # anything else: allowed
    ]
    filters = ctypes.create_string_buffer(b"".join(code))
    program = struct.pack("@HP", len(code), ctypes.addressof(filters))
    pointer = ctypes.create_string_buffer(program)
    libc = ctypes.CDLL(None, use_errno=True)

    def install() -> None:
        if libc.prctl(38, 1, 0, 0, 0) != 0:  # PR_SET_NO_NEW_PRIVS
            os._exit(71)
        keep = filters  # the program points into it
        if libc.prctl(22, 2, pointer, 0, 0) != 0 or not keep:  # PR_SET_SECCOMP
            os._exit(72)

    return install


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS])
def test_doctor_names_a_seccomp_filter_that_refuses_unshare(
    house: House, number: int
) -> None:
    run = house.run("doctor", "--json", preexec_fn=refuse_unshare(number))
    assert run.returncode == 1
    check = checks(run)["user namespaces"]
    assert not check["found"] and errno.errorcode[number] in check["answer"]
    assert "seccomp filter" in check["remedy"]


def test_a_user_namespace_without_power_does_not_count(house: House) -> None:
    """As AppArmor leaves it: unshare works, sethostname does not."""
    real = SCRIPTS / "nslabs" / "probe.py"
    text = real.read_text().replace(
        "socket.sethostname(", "raise OSError(errno.EPERM, 'no'); print("
    )
    (house.folder / "scripts" / "nslabs" / "probe.py").write_text(text)
    run = house.run("doctor", "--json")
    assert run.returncode == 1
    answer = checks(run)["user namespaces"]["answer"]
    assert answer.startswith("sethostname in its own UTS namespace: EPERM")


EPERM = probe.Answer(False, "", "unshare(CLONE_NEWUSER)", errno.EPERM)


@pytest.mark.parametrize(
    "answer, facts, words",
    [
        (
            EPERM,
            doctor.Facts(apparmor_restrict="1"),
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        (
            EPERM,
            doctor.Facts(unprivileged_userns_clone="0"),
            "sysctl -w kernel.unprivileged_userns_clone=1",
        ),
        (EPERM, doctor.Facts(chrooted=True), "this is a chroot"),
        (EPERM, doctor.Facts(), "a security policy"),
        (
            probe.Answer(False, "", None, errno.EINVAL),
            doctor.Facts(),
            "built without user namespaces",
        ),
        (
            probe.Answer(False, "", None, errno.ENOSPC),
            doctor.Facts(limits={"user": "5"}),
            "user.max_user_namespaces (here 5) is used up",
        ),
    ],
)
def test_the_remedy_names_what_is_in_the_way(
    answer: probe.Answer, facts: doctor.Facts, words: str
) -> None:
    assert words in doctor.remedy_for(answer, "user", facts)


def test_facts_are_read_from_proc(tmp_path: Path) -> None:
    for name in ("self", "sys/kernel", "sys/user"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "self/status").write_text("Name:\tx\nSeccomp:\t2\n")
    mounts = "22 27 0:21 / /proc rw - proc proc rw\n"
    (tmp_path / "self/mountinfo").write_text(mounts)
    restrict = "sys/kernel/apparmor_restrict_unprivileged_userns"
    (tmp_path / restrict).write_text("1\n")
    (tmp_path / "sys/user/max_net_namespaces").write_text("0\n")
    facts = doctor.Facts.read(tmp_path)
    assert facts == doctor.Facts(None, "1", {"net": "0"}, True, True)
    (tmp_path / "self/mountinfo").write_text(mounts + "1 0 0:2 / / rw - ext4 x rw\n")
    assert not doctor.Facts.read(tmp_path).chrooted


@pytest.mark.parametrize(
    "release, manager",
    [
        ("ID=debian\n", "apt"),
        ('ID=linuxmint\nID_LIKE="ubuntu debian"\n', "apt"),
        ("ID=fedora\n", "dnf"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', "dnf"),
        ("ID=manjaro\nID_LIKE=arch\n", "pacman"),
        ("ID=alpine\n", "apk"),
        ('ID="opensuse-tumbleweed"\nID_LIKE="opensuse suse"\n', "zypper"),
    ],
)
def test_the_distribution_decides_how_to_install(release: str, manager: str) -> None:
    assert packages.family(release) == manager
    command = packages.FAMILIES[manager][1]
    name = packages.table()["iproute2"][manager]
    assert packages.remedy("iproute2", manager).endswith(f"{command} {name}")


def test_a_distribution_without_a_package_hears_what_debian_calls_it() -> None:
    assert packages.table()["musl"]["apk"] == "-"
    said = "this distribution has no package of it; Debian's is musl-tools"
    assert packages.remedy("musl", "apk") == said


def test_a_kernel_without_veth_is_named_with_its_errno(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = probe._new_veth

    def of_another_kind(one: str, other: str) -> bytes:
        return bytes(made(one, other).replace(b"veth", b"nope"))

    monkeypatch.setattr(probe, "_new_veth", of_another_kind)
    answer = probe.in_child(probe.veth)
    assert (answer.ok, answer.number) == (False, errno.EOPNOTSUPP)
    assert answer.call == "RTM_NEWLINK (kind veth)"


def test_without_the_table_a_remedy_has_the_names_of_debian(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(packages, "table", dict)
    assert packages.remedy("iso-writer", "apt").endswith("apt-get install genisoimage")
    assert set(packages.FALLBACK) >= {"compiler", "make", "pytest", "qemu"}


def test_every_need_of_the_doctor_is_in_the_table_of_packages() -> None:
    rows = packages.table()
    for need, debian in packages.FALLBACK.items():
        assert rows[need]["apt"] == debian


# --- Small things ------------------------------------------------------------------


def test_wrapping_counts_columns_not_characters() -> None:
    assert terminal.wrap("名字空间 abc", 8) == ["名字空间", "abc"]
    assert terminal.cells("e\u0301名") == 3
    assert terminal.wrap("", 10) == [""]
    assert all(terminal.cells(line) <= 9 for line in terminal.wrap("x" * 50, 9))


@pytest.mark.parametrize(
    "seconds, text",
    [(0.0004, "0.4 ms"), (0.012, "12 ms"), (0.9994, "999 ms"), (3.14, "3.1 s")],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert terminal.duration(seconds) == text


def test_a_house_without_labs_says_so(tmp_path: Path) -> None:
    empty = labs.House(tmp_path, tmp_path, None)
    with pytest.raises(Exception, match="there are no labs in"):
        empty.choose([])
