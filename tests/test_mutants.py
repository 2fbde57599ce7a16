"""Each claim can fail: a lab with one thing wrong is caught, whatever it is.

A mutant is killed by the experiment, by the control, or by an outside check; it is
killed when it no longer agrees, and a skip kills nobody. All mutants of a lab are
one program (tests/harness/mutants.py), so that a lab costs one compilation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest
from harness import labs, mutants
from harness.held import Held
from harness.labs import Run
from test_outside import CLUES, all_checks

USER = labs.players()[-1]
# A mutant may wait for what does not come: so long at least, in seconds, and so many
# times as long as the lab itself takes. Meanwhile others run, in threads.
LEAST, TIMES, AT_ONCE = 0.5, 30, 8

# What may survive, by its text, with the reason.
EQUIVALENT = {
    r"drop CALL\((waitid|waitpid|link_await|poll)\(": "without a wait a lab may look "
    "too early, but need not: often enough what it waits for has happened",
    r"^ns-lifetime, .*: no CLONE_NEWUSER": "on a user stage the limit is already that "
    "of a private user namespace; on a root stage it would be the machine's",
}

T = TypeVar("T")

each_lab = pytest.mark.parametrize("name", labs.NAMES)


def play(program: Path, env: dict[str, str], *args: str) -> Run:
    return labs.run(program, "--format=json", *args, player=USER, env=env)


def is_killed(run: Run) -> bool:
    return run.code not in (labs.AGREES, labs.SKIPPED)


def seen_from_outside(name: str, program: Path, env: dict[str, str]) -> bool:
    """Whether one of the lab's outside checks notices."""
    for lab, check in all_checks():
        if lab == name:
            with Held(program, player=USER, env=env) as held:
                try:
                    check(held)
                except CLUES:
                    return True
    return False


def compiled(name: str, public: Path) -> tuple[mutants.Mutated, Path, str]:
    """The program of a lab's mutants and their time limit; skips where the lab does."""
    folder = public / f"mutants-{name}"
    folder.mkdir(exist_ok=True)
    mutated = mutants.mutate(name)
    program = mutated.compile(folder)
    seconds = 0.0
    for mode in ((), ("--control",)):
        run = play(program, {}, *mode)
        seconds = max(seconds, run.end["seconds"])
        if run.code == labs.SKIPPED:
            pytest.skip(run.end["reason"])
        assert run.code == labs.AGREES, f"without a mutation: {run.why()}"
    return mutated, program, f"--timeout={max(LEAST, TIMES * seconds)}"


def survivors(mutants: Sequence[T], is_killed: Callable[[T], bool]) -> list[T]:
    """The mutants that nobody kills."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        killed = list(pool.map(is_killed, mutants))
    return [mutant for mutant, dead in zip(mutants, killed) if not dead]


@each_lab
def test_no_call_and_no_flag_can_be_left_out(name: str, public: Path) -> None:
    mutated, program, limit = compiled(name, public)

    def dies(mutant: mutants.Mutant) -> bool:
        env = {"NSLABS_MUTANT": str(mutant.number)}
        return (
            is_killed(play(program, env, limit))
            or is_killed(play(program, env, limit, "--control"))
            or seen_from_outside(name, program, env)
        )

    alive = [f"{name}, {mutant}" for mutant in survivors(mutated.mutants, dies)]
    assert [m for m in alive if not any(re.search(e, m) for e in EQUIVALENT)] == []


@each_lab
def test_no_claim_can_be_turned_round(name: str, public: Path) -> None:
    """Its relation, its right side, and whether it is a premise."""
    _, program, limit = compiled(name, public)
    changed = []
    for place, claim in enumerate(play(program, {}).of("claim")):
        if claim["holds"] is None:
            continue  # this machine cannot tell; test_labs.py says so
        changes = ["relation", "premise"]
        if claim["relation"] in ("IS", "IS_NOT"):
            end = "~" if claim["relation"] == "IS" else ""
            changes.append(f"right={claim['left_value']}{end}")
        elif claim["relation"] == "DIFFERS_FROM" or not claim["premise"]:
            changes.append(f"right={claim['left']}")  # nothing differs from itself
        changed += [(claim["id"], str(place), change) for change in changes]

    def dies(mutant: tuple[str, str, str]) -> bool:
        _, place, change = mutant
        env = {"NSLABS_CLAIM": place, "NSLABS_CHANGE": change}
        # premises and claims both hold in the experiment
        modes: list[list[str]] = (
            [["--control"]] if change == "premise" else [[], ["--control"]]
        )
        return any(is_killed(play(program, env, limit, *mode)) for mode in modes)

    assert survivors(changed, dies) == []


def test_the_experiment_in_which_nothing_is_isolated_is_killed(public: Path) -> None:
    """The first killer works: a control that passes for an experiment."""
    mutated, program, _ = compiled("uts-hostname", public)
    (isolate,) = [m for m in mutated.mutants if m.text.startswith("0 for isolate")]
    run = play(program, {"NSLABS_MUTANT": str(isolate.number)})
    assert run.code == labs.DISAGREES
    wrong = {c["id"] for c in run.of("claim") if not c["as_expected"]}
    assert wrong == {c["id"] for c in run.of("claim") if not c["premise"]}


def test_a_mutant_that_changes_nothing_survives(public: Path) -> None:
    """No number is asked for here: the killers do not kill whatever they see."""
    _, program, _ = compiled("uts-hostname", public)
    env = {"NSLABS_MUTANT": "4711"}
    assert not is_killed(play(program, env))
    assert not is_killed(play(program, env, "--control"))
    assert not seen_from_outside("uts-hostname", program, env)
