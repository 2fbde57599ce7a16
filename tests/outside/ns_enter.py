"""ns-enter, seen by readlink, nsenter, lsns and /proc/PID/status."""

from pathlib import Path

from harness.held import Held


def links(lab: Held, actor: str) -> dict[str, str]:
    """The actor's namespaces, read from outside; where children go is left out."""
    own = (path.name for path in Path("/proc/self/ns").iterdir())
    return {name: lab.link(actor, name) for name in own if "_for_" not in name}


def shared(lab: Held, actor: str, other: str) -> set[str]:
    """The types of namespace in which both are in the same one."""
    mine, theirs = links(lab, actor), links(lab, other)
    return {name for name in mine if mine[name] == theirs[name]}


def every_type(lab: Held) -> set[str]:
    return set(links(lab, "host"))


def check_the_target_shares_no_namespace_and_the_visitor_then_all_but_one(
    lab: Held,
) -> None:
    lab.until("The visitor is outside")
    assert shared(lab, "target", "visitor") == set()
    assert shared(lab, "host", "visitor") == every_type(lab)
    lab.until("All at once")
    assert shared(lab, "target", "visitor") == every_type(lab) - {"pid"}
    assert lab.link("visitor", "pid_for_children") == lab.link("target", "pid")
    assert lab.link("visitor", "pid") == lab.link("host", "pid")


def check_nsenter_finds_the_target_s_hostname_with_the_visitor(lab: Held) -> None:
    lab.until("All at once")
    assert lab.inside("target", "u", "hostname") == "inside\n"
    assert lab.inside("visitor", "u", "hostname") == "inside\n"
    assert lab.inside("host", "u", "hostname") == "outside\n"


def check_the_child_is_number_2_of_the_target_s_pid_namespace(lab: Held) -> None:
    lab.until("Its child begins inside")
    assert lab.link("child", "pid") == lab.link("target", "pid")
    assert lab.status("target", "NSpid")[-1] == "1"
    assert lab.status("child", "NSpid")[-1] == "2"
    rows = lab.look(
        "lsns", "-n", "-t", "pid", "-o", "NPROCS", "-p", f"{lab.pid('child')}"
    )
    assert rows.split() == ["2"]


def check_the_walker_has_no_capabilities_at_first_and_all_inside(lab: Held) -> None:
    lab.until("In a user namespace that its user made")
    assert int(lab.status("walker", "CapPrm")[0], 16) == 0
    assert shared(lab, "target", "walker") == set()
    lab.until("The walker has come")
    assert int(lab.status("walker", "CapEff")[0], 16) != 0
    assert shared(lab, "target", "walker") == every_type(lab) - {"pid"}
    assert lab.link("walker", "pid_for_children") == lab.link("host", "pid")
