"""ns-lifetime, seen by nsenter, /proc and another process on the same account."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from harness.held import Held, is_root

JOIN_AND_UNSHARE = """
import ctypes, errno, sys
NEWUTS, NEWUSER = 0x04000000, 0x10000000
libc = ctypes.CDLL(None, use_errno=True)
owner = open(f"/proc/{sys.argv[1]}/ns/user")
joined = libc.setns(owner.fileno(), NEWUSER)
assert joined == 0, errno.errorcode[ctypes.get_errno()]
made = libc.unshare(NEWUTS)
print("made" if made == 0 else errno.errorcode[ctypes.get_errno()])
"""
"""In one process: its capabilities there would not survive an execve(2)."""


def another(lab: Held) -> str:
    """What becomes of one more UTS namespace on the landlord's account."""
    pid = lab.pid("landlord")
    owner = Path(f"/proc/{pid}").stat().st_uid
    command = [sys.executable, "-c", JOIN_AND_UNSHARE, str(pid)]
    if is_root(lab.player):  # each user has an account of its own
        command[:0] = ["setpriv", f"--reuid={owner}", "--clear-groups"]
    return lab.look(*command).strip()


def open_namespaces(lab: Held) -> list[str]:
    """The UTS namespaces that the landlord has open."""
    listed = lab.look("ls", "-l", f"/proc/{lab.pid('landlord')}/fd")
    return re.findall(r"-> (uts:\[\d+\])", listed)


def mounted_namespaces(lab: Held) -> list[str]:
    """The namespaces that are mounted where the landlord is."""
    mounts = lab.look("cat", f"/proc/{lab.pid('landlord')}/mountinfo")
    return re.findall(r" (uts:\[\d+\]) /tmp/place ", mounts)


def check_nsenter_finds_the_mark_with_the_tenant_only(lab: Held) -> None:
    lab.until("A process is in it")
    assert lab.inside("tenant", "u", "hostname") == "kept\n"
    assert lab.inside("landlord", "u", "hostname") != "kept\n"


def check_an_open_file_holds_a_namespace_without_processes(lab: Held) -> None:
    lab.until("The landlord opens")
    namespace = lab.link("tenant", "uts")
    lab.until("No process is in it")
    assert open_namespaces(lab) == [namespace]
    assert not Path(f"/proc/{lab.pid('tenant')}").exists()
    assert lab.link("landlord", "uts") != namespace
    assert another(lab) == "ENOSPC"


def check_a_mount_holds_it_with_nothing_open(lab: Held) -> None:
    lab.until("A process is in it")
    namespace = lab.link("tenant", "uts")
    lab.until("Nobody is in it")
    assert mounted_namespaces(lab) == [namespace]
    assert open_namespaces(lab) == []
    assert lab.link("landlord", "uts") != namespace
    assert another(lab) == "ENOSPC"


def check_the_guest_alone_holds_it(lab: Held) -> None:
    lab.until("A process is in it")
    namespace = lab.link("tenant", "uts")
    lab.until("The mount is taken away")
    assert lab.link("guest", "uts") == namespace
    assert lab.link("landlord", "uts") != namespace
    assert lab.inside("guest", "u", "hostname") == "kept\n"


def check_there_is_room_when_all_are_gone(lab: Held) -> None:
    lab.until("The mount is taken away")
    assert another(lab) == "ENOSPC"
    lab.until("The last process has ended")
    assert mounted_namespaces(lab) == open_namespaces(lab) == []
    assert another(lab) == "made"
