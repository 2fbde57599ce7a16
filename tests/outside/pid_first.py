"""pid-first, seen by /proc, lsns and nsenter."""

import subprocess

from harness.held import Held, is_root


def check_the_kernel_numbers_red_and_blue_alike(lab: Held) -> None:
    lab.until("Both live")
    assert lab.status("red", "NSpid")[-1] == "1"
    assert lab.status("blue", "NSpid")[-1] == "1"
    assert lab.status("red-child", "NSpid")[-1] == "2"
    assert lab.pid("red") != lab.pid("blue")


def check_lsns_lists_red_and_blue_in_namespaces_below_the_host_s(lab: Held) -> None:
    lab.until("Both live")
    rows = {}
    for actor in ("host", "red", "blue"):
        rows[actor] = lab.look(
            "lsns", "-n", "-t", "pid", "-o", "NS,PNS,NPROCS", "-p", str(lab.pid(actor))
        ).split()
    host = rows["host"][0]
    assert rows["red"][1:] == [host, "2"]
    assert rows["blue"][1:] == [host, "1"]
    assert len({row[0] for row in rows.values()}) == 3


def check_a_shell_that_enters_red_s_namespace_is_number_3(lab: Held) -> None:
    lab.until("Both live")
    assert lab.inside("red", "p", "sh", "-c", "echo $$; kill -0 1 2") == "3\n"


def check_the_caller_of_unshare_stays_and_its_children_do_not(lab: Held) -> None:
    lab.until("While the first child lives")
    assert lab.link("shell", "pid") == lab.link("host", "pid")
    assert lab.link("shell", "pid_for_children") == lab.link("first", "pid")
    assert lab.link("first", "pid") != lab.link("shell", "pid")
    assert lab.status("first", "PPid") == [str(lab.pid("shell"))]
    assert lab.status("first", "NSpid")[-1] == "1"


def check_nsenter_cannot_fork_where_number_1_has_ended(lab: Held) -> None:
    lab.until("The first child has ended")
    namespace = f"--pid=/proc/{lab.pid('shell')}/ns/pid_for_children"
    user = [] if is_root(lab.player) else ["-U", "--preserve-credentials"]
    done = subprocess.run(
        ["nsenter", "-t", str(lab.pid("shell")), *user, namespace, "true"],
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
        **(lab.player.popen if lab.player else {}),
    )
    assert done.returncode != 0
    assert "fork" in done.stderr and "Cannot allocate memory" in done.stderr
