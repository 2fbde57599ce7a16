"""Whatever ends a lab, at whatever step: nothing of it is left on the host."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import labs
from harness.held import Held
from harness.host import MARK, CannotHold, Host
from harness.labs import Event, Player, Run

SUPERVISOR, STAGE = "the supervisor", "stage"
LIMIT = "--timeout=5"  # nothing below takes nearly as long, unless it hangs
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# Root plays without a user namespace here: what it would leave is the machine's.
PLACES = [
    pytest.param(player, "root" if player.uid == 0 else "user", id=str(player))
    for player in labs.players()
]
each_place = pytest.mark.parametrize("player, stage", PLACES)
each_lab = pytest.mark.parametrize("name", labs.NAMES)


@pytest.fixture
def host(player: Player) -> Iterator[Host]:
    """The machine, looked at before and after the test."""
    try:
        with Host(player) as host:
            yield host
    except CannotHold as error:
        pytest.skip(str(error))


def undisturbed(host: Host, name: str, stage: str) -> Run:
    """A run as it should be; skips the test where the lab skips."""
    run = host.run(name, f"--stage={stage}", "--format=json")
    if run.code == labs.SKIPPED:
        pytest.skip(run.end["reason"])
    assert run.code == labs.AGREES, run.why()
    return run


def cast(run: Run) -> list[str]:
    """All actors of a run."""
    return [event["child"] for event in run.of("spawn")]


def may_be_killed(run: Run, actor: str) -> bool:
    """Whether the lab counts on the actor's violent end, or does not wait for it."""
    ends = [event for event in run.of("exit") if event["who"] == actor]
    return not ends or ends[-1]["signal"] is not None


def lives(host: Host, pid: int) -> bool:
    """Whether the process is one of this host's labs, and no zombie."""
    try:
        return f"{MARK}={host.mark}" in Path(f"/proc/{pid}/environ").read_text()
    except OSError:
        return False


def at_step(lab: Held, number: int) -> Event:
    """Let the lab go on to its step of that number, from 1."""
    for _ in range(number - 1):
        assert lab.next_step()
        lab.go_on()
    event = lab.next_step()
    assert event
    return event


def end_of(lab: Held) -> tuple[int, Event]:
    """Let the lab run on without steps: its exit status and last event."""
    last = lab.finish()
    assert lab.process
    return lab.process.wait(), last


@each_place
@each_lab
def test_nothing_is_left_after_a_run(
    name: str, player: Player, stage: str, host: Host
) -> None:
    undisturbed(host, name, stage)
    for form in ("text", "ktap", "json"):
        host.run(name, "--control", f"--stage={stage}", f"--format={form}")


@each_place
@each_lab
def test_nothing_is_left_when_somebody_is_killed(
    name: str, player: Player, stage: str, host: Host
) -> None:
    """The supervisor, the stage's init, each actor: at every step, with SIGKILL."""
    run = undisturbed(host, name, stage)
    killed = []
    for number in range(1, len(run.of("step")) + 1):
        for victim in (SUPERVISOR, STAGE, *dict.fromkeys(cast(run))):
            with host.hold(name, f"--stage={stage}", LIMIT) as lab:
                at_step(lab, number)
                assert lab.process
                pid = lab.pids.get(victim, lab.process.pid)
                if victim not in lab.pids and victim != SUPERVISOR:
                    continue  # not born yet
                if not lives(host, pid):
                    continue  # not alive any more
                os.kill(pid, signal.SIGKILL)
                code, last = end_of(lab)
            killed.append(victim)
            what = f"{victim} killed at step {number}: exit {code}, {last}"
            if victim == SUPERVISOR:
                assert code == -signal.SIGKILL, what
                assert last["event"] == "step", what
                continue
            assert last["event"] == "end", what
            if victim == STAGE:
                assert code == labs.BROKEN, what
                assert "the stage's init ended" in last["reason"], what
                continue
            assert "timed out" not in (last["reason"] or ""), what
            if code != labs.BROKEN:
                assert may_be_killed(run, victim), what
            else:
                assert victim in last["reason"], what
    assert set(killed) >= {SUPERVISOR, STAGE, cast(run)[0]}


@each_place
@each_lab
def test_nothing_is_left_after_a_signal_or_a_closed_pipe(
    name: str, player: Player, stage: str, host: Host
) -> None:
    """The run ends as the signal ends a program, and says so; at every step."""
    run = undisturbed(host, name, stage)
    steps = len(run.of("step"))
    for number in range(1, max(steps, len(SIGNALS)) + 1):
        step = min(number, steps)
        sent = SIGNALS[number % len(SIGNALS)]
        with host.hold(name, f"--stage={stage}", LIMIT) as lab:
            at_step(lab, step)
            assert lab.process
            lab.process.send_signal(sent)
            while lab.read():
                pass
            code, last = lab.process.wait(), lab.events[-1]
            told = [event for event in lab.events if event["event"] == "step"]
        assert code == -sent, f"{sent.name} at step {step}: exit {code}"
        assert last["verdict"] == "broken"
        assert last["reason"] == f"interrupted by {sent.name}"
        assert len(told) == step, "it did not wait at the step"
        with host.hold(name, f"--stage={stage}", LIMIT) as lab:
            at_step(lab, step)
            code = lab.close_output()
        assert code == -signal.SIGPIPE, f"pipe closed at step {step}: exit {code}"


# --- The look itself ---------------------------------------------------------------

# Makes one thing of a kind in namespaces of its own, between two looks.
LITTERBUG = """
import ctypes, os, sys
sys.path.insert(0, sys.argv[1])
from harness import host, labs
def make():
    libc = ctypes.CDLL(None)
    {make}
with host.Host(labs.Player(os.geteuid())) as seen:
    host.PATIENCE = 0.05
    make()
    try:
        seen.check()
    except AssertionError as error:
        print(error, flush=True)
    os._exit(0)
"""
LITTER = {
    "nothing": ("pass", ""),
    "a process": (
        "import subprocess as s; s.Popen(['sh', '-c', 'echo; read x'], "
        "env=seen.environment, stdin=s.PIPE, stdout=s.PIPE).stdout.readline()",
        "'process', '",
    ),
    "a mount": ("libc.mount(b'x', b'/mnt', b'tmpfs', 0, 0)", "/mnt tmpfs x"),
    "a mount taken away": ("libc.umount2(b'/opt', 0)", "/opt tmpfs gone"),
    "a file": ("open(seen.root / 'tmp/leaked', 'w')", "'file', '/tmp/leaked'"),
    "a file in the home": ("open(seen.root / 'tmp/home/x', 'w')", "'/tmp/home/x'"),
    "shared memory": ("open(seen.root / 'dev/shm/leaked', 'w')", "/dev/shm/leaked"),
    "a message queue": ("libc.msgget(4711, 0o1600)", "'msg', '4711"),
    "a semaphore": ("libc.semget(4712, 1, 0o1600)", "'sem', '4712"),
    "a segment": ("libc.shmget(4713, 4096, 0o1600)", "'shm', '4713"),
    "a POSIX queue": ("libc.mq_open(b'/leaked', 0o102, 0o600, 0)", "tmp/queues/leaked"),
    "a hostname": ("libc.sethostname(b'leaked', 6)", "'hostname', 'leaked'"),
    "a domain name": ("libc.setdomainname(b'leaked', 6)", "'domain name', 'leaked'"),
    "a link": ("os.system('ip link add leaked type veth')", " leaked')"),
    "a namespace": ("libc.unshare(0x04000000)", "'own namespace', 'uts:"),
}


@pytest.mark.parametrize("kind", LITTER)
def test_the_look_finds(kind: str) -> None:
    """The check itself can fail: each kind of thing, made where it harms nobody."""
    make, found = LITTER[kind]
    become_root = [] if os.geteuid() == 0 else ["--map-root-user", "--user"]
    done = subprocess.run(
        ["unshare", *become_root]
        + ["--mount", "--uts", "--ipc", "--net", "--pid", "--fork", "--mount-proc"]
        + ["--kill-child", "sh", "-c", 'mount -t tmpfs gone /opt && exec "$@"', "sh"]
        + [sys.executable, "-c", LITTERBUG.format(make=make), Path(__file__).parent],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    if kind == "nothing":
        assert done.stdout == ""
    else:
        assert found in done.stdout, done.stdout + done.stderr
