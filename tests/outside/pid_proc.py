"""pid-proc, seen by nsenter, ls, findmnt and ps."""

from harness.held import Held


def numbers(lab: Held, actor: str) -> list[str]:
    """What ls lists in the actor's /proc: it enters the mounts, not the processes."""
    names = lab.inside(actor, "m", "ls", "/proc").split()
    return sorted((name for name in names if name.isdigit()), key=int)


def check_before_its_mount_the_tenant_s_shell_has_a_strange_number(lab: Held) -> None:
    lab.until("The tenant mounts")
    look = ("sh", "-c", "echo $$; exec readlink /proc/self")
    own, listed = lab.inside("tenant", "mp", *look).split()
    assert own != listed


def check_ls_finds_two_processes_in_the_tenant_s_proc(lab: Held) -> None:
    lab.until("The host's own /proc")
    assert numbers(lab, "tenant") == ["1", "2"]


def check_ls_finds_the_tenant_and_others_in_the_host_s_proc(lab: Held) -> None:
    lab.until("The host's own /proc")
    level = len(lab.status("host", "NSpid")) - 1
    cast = {lab.status(who, "NSpid")[level] for who in ("host", "tenant", "child")}
    assert cast < set(numbers(lab, "host"))
    assert not cast < set(numbers(lab, "tenant"))


def check_ps_inside_names_the_tenant_as_number_1(lab: Held) -> None:
    lab.until("The host's own /proc")
    assert lab.inside("tenant", "mp", "ps", "-o", "comm=", "1") == "tenant\n"


def check_findmnt_shows_the_new_mount_over_the_old(lab: Held) -> None:
    lab.until("The host's own /proc")
    mounts = {}
    for who in ("host", "tenant"):
        pid = str(lab.pid(who))
        find = ("findmnt", "-n", "-o", "FSTYPE", "-N", pid, "-M", "/proc")
        mounts[who] = lab.look(*find).split()
    assert mounts["tenant"] == mounts["host"] + ["proc"]
    assert lab.status("tenant", "NSpid")[-1] == "1"
