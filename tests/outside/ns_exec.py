"""ns-exec, seen by ps, nsenter and /proc."""

from __future__ import annotations

from pathlib import Path

from harness.held import Held


def program(lab: Held, actor: str) -> str:
    """The name under which the actor's program was started."""
    return Path(f"/proc/{lab.pid(actor)}/cmdline").read_bytes().split(b"\0")[0].decode()


def parent(lab: Held, actor: str) -> int:
    return int(lab.look("ps", "-o", "ppid=", "-p", str(lab.pid(actor))))


def check_the_program_has_the_process_and_namespace_of_unshare(lab: Held) -> None:
    lab.until("Then unshare has itself replaced")
    pid, namespace = lab.pid("unshare"), lab.link("unshare", "uts")
    assert program(lab, "unshare") != "sh"
    lab.until("The new program lives")
    assert program(lab, "unshare") == "sh"
    assert lab.pid("unshare") == pid
    assert parent(lab, "unshare") == lab.pid("shell")
    assert lab.link("unshare", "uts") == namespace != lab.link("shell", "uts")


def check_nsenter_finds_the_new_name_with_the_program_only(lab: Held) -> None:
    lab.until("The new program lives")
    assert lab.inside("unshare", "u", "hostname") == "inside\n"
    assert lab.inside("shell", "u", "hostname") == "outside\n"


def check_with_fork_a_process_stays_between(lab: Held) -> None:
    lab.until("Meanwhile unshare is still there")
    assert program(lab, "child") == "init"
    assert parent(lab, "child") == lab.pid("unshare-f")
    assert parent(lab, "unshare-f") == lab.pid("shell")
    assert lab.link("unshare-f", "pid") == lab.link("shell", "pid")
    assert lab.link("unshare-f", "pid_for_children") == lab.link("child", "pid")
    assert lab.link("child", "pid") != lab.link("unshare-f", "pid")


def check_the_program_has_pid_1_at_the_innermost_level(lab: Held) -> None:
    lab.until("Meanwhile unshare is still there")
    outer, inner = lab.status("unshare-f", "NSpid"), lab.status("child", "NSpid")
    assert len(inner) == len(outer) + 1
    assert inner[-1] == "1"
