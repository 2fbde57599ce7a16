"""A lab held at a step, so that others can look while its processes live."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from .labs import Event, Player, binary

Launch = Callable[[], "subprocess.Popen[str]"]


class Held:
    """A run with --step and --format=json; leaving the context ends it.

    `until()` lets it go on to a step and holds it there. The PIDs are those of
    the real host, so that nsenter(1), lsns(8) or /proc can be asked about them.
    """

    def __init__(
        self,
        program: str | Path,
        *args: str,
        player: Player | None = None,
        prefix: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        path = program if isinstance(program, Path) else binary(program)
        self.args = [*prefix, str(path), "--step", "--format=json", *args]
        self.player = player
        self.env = {**os.environ, **env} if env else None
        self.events: list[Event] = []
        self.pids: dict[str, int] = {}
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Held:
        self.process = subprocess.Popen(
            self.args,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.env,
            **(self.player.popen if self.player else {}),
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self.process
        self.process.kill()
        self.process.communicate()

    def read(self) -> Event | None:
        """The next event, or None at the end of the trace."""
        assert self.process and self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            return None
        event: Event = json.loads(line)
        self.events.append(event)
        for name, number in (("who", "pid"), ("child", "child_pid")):
            if number in event:
                self.pids[event[name]] = event[number]
        return event

    def next_step(self) -> Event | None:
        """Read on to the next step, where the lab waits; None if there is none."""
        while event := self.read():
            if event["event"] == "step":
                return event
        return None

    def go_on(self) -> None:
        """Let the held step happen."""
        assert self.process and self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def until(self, beginning: str) -> Event:
        """Hold the lab at the step whose sentence begins so."""
        if self.events and self.events[-1]["event"] == "step":
            self.go_on()
        while event := self.next_step():
            if event["text"].startswith(beginning):
                return event
            self.go_on()
        raise LookupError(
            f"no step begins with {beginning!r}; last: {self.events[-1:]}"
        )

    def finish(self) -> Event:
        """Let it run to its end: the last event."""
        assert self.process and self.process.stdin
        self.process.stdin.close()
        self.process.stdin = None
        while self.read():
            pass
        return self.events[-1]

    def close_output(self) -> int:
        """Read no more, as a pager that was left, and let it run on: how it ended."""
        assert self.process and self.process.stdin and self.process.stdout
        self.process.stdout.close()
        self.process.stdin.close()
        self.process.stdin = self.process.stdout = None
        return self.process.wait()

    def pid(self, actor: str) -> int:
        """The actor's PID on the real host."""
        return self.pids[actor]

    def value(self, key: str) -> str:
        """What the lab itself said it observed under a key."""
        for event in self.events:
            if event["event"] == "observation" and event["key"] == key:
                return str(event["value"])
        raise LookupError(f"{key} was not observed yet")

    # --- Looking from outside, with other programs ----------------------------

    def look(self, *command: str) -> str:
        """Output of a command of the host, run by the player; it must succeed."""
        return run_command(list(command), self.player)

    def inside(self, actor: str, namespaces: str, *command: str) -> str:
        """Output of a command that nsenter(1) ran in some of the actor's namespaces.

        namespaces are nsenter's letters, such as "un" for UTS and network.
        """
        letters = [f"-{letter}" for letter in namespaces]
        if not is_root(self.player):
            letters = ["-U", "--preserve-credentials", *letters]
        return self.look(
            "nsenter", "-t", str(self.pid(actor)), *letters, "--", *command
        )

    def link(self, actor: str, namespace: str) -> str:
        """The actor's namespace link, such as "uts:[4026531838]"."""
        return self.look("readlink", f"/proc/{self.pid(actor)}/ns/{namespace}").strip()

    def status(self, actor: str, field: str) -> list[str]:
        """A line of /proc/PID/status as words: NSpid, PPid, State, …"""
        for line in Path(f"/proc/{self.pid(actor)}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return line.split()[1:]
        raise LookupError(field)


def is_root(player: Player | None) -> bool:
    return (player.uid if player else os.geteuid()) == 0


def run_command(command: list[str], player: Player | None = None) -> str:
    """Output of a command that must succeed within ten seconds.

    lsns(8) gives up, without a word, when any process of the machine ends while it
    looks at it: it is asked again.
    """
    popen: dict[str, Any] = player.popen if player else {}
    for _ in range(20 if command[0] == "lsns" else 1):
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
            **popen,
        )
        if done.returncode == 0:
            break
    assert done.returncode == 0, f"{command}: {done.stderr or done.returncode}"
    return str(done.stdout)
