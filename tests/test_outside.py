"""Second programs, outside, confirm what the labs say, and catch a liar."""

from __future__ import annotations

import importlib
import inspect
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import labs
from harness.held import Held

Check = Callable[[Held], None]
CLUES = (AssertionError, LookupError, OSError)
"""How a check says no: what it saw is wrong, or what it looks for is not there."""

LIAR = Path(__file__).parent / "harness" / "liar.py"


def all_checks() -> list[tuple[str, Check]]:
    """Every check_… function of tests/outside, with its lab."""
    found = []
    for name in labs.NAMES:
        path = Path(__file__).parent / "outside" / f"{name.replace('-', '_')}.py"
        if path.exists():
            module = importlib.import_module(f"outside.{path.stem}")
            for function, check in inspect.getmembers(module, inspect.isfunction):
                if function.startswith("check_"):
                    found.append((name, check))
    return found


CHECKS = [pytest.param(n, c, id=f"{n}-{c.__name__[6:]}") for n, c in all_checks()]


def skip_if_not_here(name: str, player: labs.Player) -> None:
    """A lab that this machine cannot host can be looked at by nobody."""
    run = labs.run(name, "--format=json", player=player)
    if run.code == labs.SKIPPED:
        pytest.skip(run.end["reason"])


@pytest.mark.parametrize("name", labs.NAMES)
def test_every_lab_has_an_outside_check(name: str) -> None:
    assert name in {lab for lab, _ in all_checks()}


@pytest.mark.parametrize("player", labs.players(), ids=str)
@pytest.mark.parametrize("name, check", CHECKS)
def test_a_second_program_confirms(
    name: str, check: Check, player: labs.Player
) -> None:
    skip_if_not_here(name, player)
    with Held(name, player=player) as lab:
        check(lab)


@pytest.mark.parametrize("name, check", CHECKS)
def test_the_second_program_sees_the_control_fail(name: str, check: Check) -> None:
    skip_if_not_here(name, labs.players()[-1])
    with Held(name, "--control", player=labs.players()[-1]) as lab:
        with pytest.raises(CLUES):
            check(lab)


@pytest.mark.parametrize("name, check", CHECKS)
def test_a_liar_is_caught(name: str, check: Check, tmp_path: Path) -> None:
    """The liar prints what the lab prints, with living PIDs, and does nothing."""
    skip_if_not_here(name, labs.players()[0])
    recorded = labs.run(name, "--format=json").out
    (tmp_path / "trace").write_text(recorded)
    liar = tmp_path / "liar"
    liar.write_text(f"#!/bin/sh\nexec {sys.executable} {LIAR} {tmp_path}/trace\n")
    liar.chmod(liar.stat().st_mode | stat.S_IXUSR)
    assert os.access(liar, os.X_OK)
    with Held(liar) as lab:
        with pytest.raises(CLUES):
            check(lab)
