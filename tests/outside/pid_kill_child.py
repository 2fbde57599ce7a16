"""pid-kill-child, seen by /proc: who lives, whose child it is, how it ended."""

import os
import select
from signal import SIGHUP, SIGKILL

from harness.held import Held

DEAD = "unshare is dead."


def exit_code(lab: Held, actor: str) -> int:
    """How a zombie ended, as wait(2) will say it; see proc_pid_stat(5)."""
    pidfd = os.pidfd_open(lab.pid(actor))
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    ended = poll.poll(5000)
    os.close(pidfd)
    assert ended, f"{actor} has not ended"
    assert lab.status(actor, "State")[0] == "Z"
    stat = lab.look("cat", f"/proc/{lab.pid(actor)}/stat")
    return int(stat.rpartition(")")[2].split()[49])


def check_without_the_option_the_orphan_lives(lab: Held) -> None:
    lab.until(DEAD)
    assert lab.status("init", "NSpid")[-1] == "1"
    assert lab.status("init", "PPid") == [str(lab.pid("host"))]
    assert lab.look("readlink", f"/proc/{lab.pid('init')}/exe")
    assert lab.link("init", "pid") == lab.link("member", "pid")


def check_with_the_option_the_end_of_unshare_is_that_of_all(lab: Held) -> None:
    lab.until(DEAD)
    lab.until(DEAD)
    assert lab.status("init", "NSpid")[-1] == "1"
    assert exit_code(lab, "member") == SIGKILL


def check_sighup_spares_an_init_that_does_not_handle_it(lab: Held) -> None:
    for _ in range(3):
        lab.until(DEAD)
    assert lab.status("init", "NSpid")[-1] == "1"
    assert not int(lab.status("init", "SigCgt")[0], 16) & 1 << SIGHUP - 1
    assert lab.status("init", "PPid") == [str(lab.pid("host"))]
    assert lab.look("readlink", f"/proc/{lab.pid('init')}/exe")


def check_sighup_ends_an_init_that_handles_it_and_the_member_by_sigkill(
    lab: Held,
) -> None:
    for _ in range(4):
        lab.until(DEAD)
    assert lab.status("init", "NSpid")[-1] == "1"
    assert exit_code(lab, "member") == SIGKILL
