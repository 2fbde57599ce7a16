"""Labs as programs: where they are, how to run one, who runs it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(
    os.environ.get("NSLABS_REACHABLE_TREE") or Path(__file__).resolve().parents[2]
)
BUILD = Path(os.environ.get("NSLABS_BUILD", ROOT / "build"))
NAMES = sorted(
    path.name
    for path in (ROOT / "labs").iterdir()
    if (path / f"{path.name}.c").exists()
)

AGREES, DISAGREES, USAGE, SKIPPED, BROKEN = 0, 1, 2, 4, 99

ORDINARY_USER = 12345
"""The user that root becomes to try things as everybody: one without a name."""

Event = dict[str, Any]


@dataclass(frozen=True)
class Player:
    """Who runs a lab: the user of the test run, or, for root, an ordinary one."""

    uid: int

    @property
    def popen(self) -> dict[str, Any]:
        """Arguments for subprocess that make the player run it."""
        if self.uid == os.geteuid():
            return {}
        return {"user": self.uid, "group": self.uid, "extra_groups": []}

    def __str__(self) -> str:
        return "root" if self.uid == 0 else "user"


def players() -> list[Player]:
    """Root tries everything as root and as an ordinary user, others as they are."""
    if os.geteuid() == 0:
        return [Player(0), Player(ORDINARY_USER)]
    return [Player(os.geteuid())]


@dataclass
class Run:
    """A finished run of a lab."""

    code: int
    out: str
    err: str
    events: list[Event] = field(default_factory=list)

    def of(self, kind: str) -> list[Event]:
        """All events of a kind, in order."""
        return [event for event in self.events if event["event"] == kind]

    @property
    def end(self) -> Event:
        """The last event, which carries the verdict."""
        assert self.events, f"no trace; standard error: {self.err}"
        assert self.events[-1]["event"] == "end", self.events[-1]
        return self.events[-1]

    @property
    def verdict(self) -> str:
        return str(self.end["verdict"])

    def why(self) -> str:
        """What a failed assertion should show."""
        wrong = [c for c in self.of("claim") if c["as_expected"] is False]
        return f"exit {self.code}, end {self.events[-1:]}, claims {wrong}, {self.err}"


def binary(name: str) -> Path:
    """The program of a lab."""
    return BUILD / "labs" / name / name


def run(
    program: str | Path,
    *args: str,
    player: Player | None = None,
    env: Mapping[str, str] | None = None,
    prefix: Sequence[str] = (),
    timeout: float = 60,
    **popen: Any,
) -> Run:
    """Run a lab (by name or path) to its end; a JSON trace is parsed."""
    path = program if isinstance(program, Path) else binary(program)
    done = subprocess.run(
        [*prefix, str(path), *args],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={**os.environ, **env} if env else None,
        **{**(player.popen if player else {}), **popen},
    )
    result = Run(done.returncode, done.stdout, done.stderr)
    if "--format=json" in args and "--claims" not in args:
        result.events = [json.loads(line) for line in done.stdout.splitlines()]
    return result


def claims(name: str) -> dict[str, Any]:
    """What a lab says of itself without running."""
    out = run(name, "--claims", "--format=json").out
    parsed: dict[str, Any] = json.loads(out)
    return parsed
