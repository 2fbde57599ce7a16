"""pid-nested, seen by /proc, lsns, kill and nsenter."""

import os
import subprocess
from pathlib import Path

from harness.held import Held, is_root


def pid_namespace(lab: Held, actor: str) -> list[str]:
    """Namespace and parent namespace of an actor, as lsns lists them."""
    return lab.look(
        "lsns", "-n", "-t", "pid", "-o", "NS,PNS", "-p", str(lab.pid(actor))
    ).split()


def deepest_below(pid: int) -> tuple[int, list[str]]:
    """The last of a chain of only children: its PID and all its numbers."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path(f"/proc/{entry}/stat").read_text(encoding="utf-8")
            except OSError:
                continue
            parents[int(stat.rpartition(")")[2].split()[1])] = int(entry)
    while pid in parents:
        pid = parents[pid]
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("NSpid:"):
            return pid, line.split()[1:]
    raise LookupError("NSpid")


def check_the_kernel_gives_one_number_for_each_level(lab: Held) -> None:
    lab.until("The host looks down")
    host, ns1, ns2 = (lab.status(who, "NSpid") for who in ("host", "ns1", "ns2"))
    assert [len(ns1) - len(host), len(ns2) - len(host)] == [1, 2]
    assert ns1[-1] == ns2[-1] == "1"
    assert lab.value("ns2.pids").split() == ns2[len(host) - 1 :]


def check_lsns_shows_each_namespace_below_the_other(lab: Held) -> None:
    lab.until("The host looks down")
    host, ns1, ns2 = (pid_namespace(lab, who) for who in ("host", "ns1", "ns2"))
    assert ns1[1] == host[0]
    assert ns2[1] == ns1[0]
    assert len({host[0], ns1[0], ns2[0]}) == 3


def check_nsenter_finds_three_hostnames(lab: Held) -> None:
    lab.until("ns2 looks up")
    names = [lab.inside(who, "u", "hostname") for who in ("host", "ns1", "ns2")]
    assert names == ["host\n", "ns1\n", "ns2\n"]


def check_kill_finds_ns2_from_above_but_not_ns1_from_below(lab: Held) -> None:
    lab.until("ns2 looks up")
    level = len(lab.status("host", "NSpid")) - 1
    ns1, ns2 = (lab.status(who, "NSpid")[level] for who in ("ns1", "ns2"))
    assert ns1 != "2"  # else the shell below would find itself
    look = "kill -0 {} 2>&1 && echo seen || true"
    assert lab.inside("host", "p", "sh", "-c", look.format(ns2)) == "seen\n"
    below = lab.inside("ns2", "p", "sh", "-c", look.format(ns1))
    assert "No such process" in below


def check_nobody_can_go_below_the_deepest_level(lab: Held) -> None:
    lab.until("All levels live")
    host = lab.status("host", "NSpid")
    pid, numbers = deepest_below(lab.pid("host"))
    assert len(numbers) - len(host) == int(lab.value("levels.below.host")) > 0
    assert numbers[-1] == "1"
    owner = ["-U"] if is_root(lab.player) else ["-U", "--preserve-credentials"]
    if lab.link("host", "user") == lab.look("readlink", "/proc/self/ns/user").strip():
        owner = []  # a root stage; else who is no kin of the owner gets EINVAL
    done = subprocess.run(
        ["nsenter", "-t", str(pid), *owner, "-p", "unshare", "-p", "true"],
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
        **(lab.player.popen if lab.player else {}),
    )
    assert "unshare failed: No space left on device" in done.stderr


def check_one_signal_has_ended_all_levels(lab: Held) -> None:
    lab.until("One signal")
    _, numbers = deepest_below(lab.pid("host"))
    assert len(numbers) - len(lab.status("host", "NSpid")) > 0
    lab.go_on()
    while (event := lab.read()) and event.get("key") != "left":
        pass
    assert lab.value("left") == "none"
