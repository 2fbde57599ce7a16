"""pid-init-death, seen by nsenter, lsns, /proc/PID/status and wchan."""

from signal import SIGHUP, SIGTERM

from harness.held import Held, is_root


def check_both_inits_are_process_1_of_their_own(lab: Held) -> None:
    lab.until("From outside, an init can be stopped")
    init, nested = lab.status("init", "NSpid"), lab.status("nested", "NSpid")
    assert init[-1] == nested[-1] == "1"
    assert len(nested) == len(init) + 1


def check_the_member_is_in_the_init_s_namespace_but_not_its_child(lab: Held) -> None:
    lab.until("From outside, an init can be stopped")
    assert lab.link("member", "pid") == lab.link("init", "pid")
    assert lab.link("member", "pid") != lab.link("host", "pid")
    assert lab.status("member", "PPid") == [str(lab.pid("host"))]


def check_the_member_is_hard_to_end(lab: Held) -> None:
    lab.until("From outside, an init can be stopped")
    pid = lab.pid("member")
    assert lab.look("ps", "-o", "sid=", "-p", str(pid)).split() == [str(pid)]
    caught = int(lab.status("member", "SigCgt")[0], 16)
    for signal in (SIGTERM, SIGHUP):
        assert caught & 1 << signal - 1
    assert lab.link("member", "pid") != lab.link("host", "pid")


def check_kill_inside_does_not_end_the_init(lab: Held) -> None:
    lab.until("From inside, a signal")
    own_number = lab.status("init", "NSpid")[-1]
    for signal in ("KILL", "STOP", "TERM", "SEGV"):
        lab.inside("init", "p", "kill", f"-{signal}", own_number)
    # The lab's next step follows the answer of the init, dead or alive.
    lab.until("...and every other is dropped")
    assert lab.status("init", "State")[0] in "SR"
    assert lab.look("readlink", f"/proc/{lab.pid('init')}/exe")
    assert own_number == "1"


def check_the_init_waits_in_the_kernel_for_the_unreaped_member(lab: Held) -> None:
    lab.until("The member is dead")
    assert lab.status("member", "State")[0] == "Z"
    assert lab.status("init", "State")[0] in "SRD"
    if is_root(lab.player):
        wchan = lab.look("cat", f"/proc/{lab.pid('init')}/wchan")
        assert wchan in ("zap_pid_ns_processes", "do_wait", "0")


def check_nobody_is_left_in_the_nested_namespace(lab: Held) -> None:
    lab.until("From outside, an init can be stopped")
    namespaces = {lab.link("init", "pid"), lab.link("nested", "pid")}
    assert len(namespaces) == 2
    lab.until("Now it is.")
    rows = lab.look("lsns", "-n", "-r", "-t", "pid", "-o", "NS").split()
    assert rows
    assert not namespaces & {f"pid:[{inode}]" for inode in rows}
