"""ns-api, seen by ps, lsns, nsenter and /proc."""

from __future__ import annotations

import re

from harness.held import Held

from .tools import lsns


def children(lab: Held, actor: str) -> list[int]:
    rows = lab.look("sh", "-c", f"ps -o pid= --ppid {lab.pid(actor)} || :")
    return [int(row) for row in rows.split()]


def number(link: str) -> str:
    """The number in a link such as "uts:[4026531838]"."""
    found = re.search(r"\d+", link)
    assert found
    return found[0]


def check_the_cloned_child_is_elsewhere_and_its_parent_is_not(lab: Held) -> None:
    lab.until("clone(2) makes a child")
    before = lab.link("caller", "uts")
    lab.until("The child has renamed its machine")
    found = children(lab, "caller")
    assert len(found) == 1
    lab.pids["newborn"] = found[0]
    assert lab.status("newborn", "State")[0] == "T"
    assert lab.link("caller", "uts") == before != lab.link("newborn", "uts")
    assert lab.inside("newborn", "u", "hostname") == "newborn\n"
    assert lab.inside("caller", "u", "hostname") == "caller\n"


def check_unshare_moves_the_process_that_calls_it(lab: Held) -> None:
    lab.until("unshare(2) makes no process")
    pid = lab.pid("mover")
    assert lab.link("mover", "uts") == lab.link("caller", "uts")
    lab.until("Is it the same process")
    assert children(lab, "caller") == [lab.pid("mover")] == [pid]
    assert children(lab, "mover") == []
    assert lab.link("mover", "uts") != lab.link("caller", "uts")


def check_lsns_names_the_same_owner_and_parent(lab: Held) -> None:
    lab.until("User and PID namespaces have parents")
    tenant = str(lab.pid("tenant"))
    user, above = lab.link("tenant", "user"), lab.link("caller", "user")
    owner = lsns(lab, "-t", "uts", "-o", "ONS", "-p", tenant)
    parent = lsns(lab, "-t", "user", "-o", "PNS", "-p", tenant)
    assert owner.strip() == number(user) == lab.value("asked.owner")
    assert parent.strip() == number(above) != owner.strip()


def check_the_guest_is_where_the_tenant_is(lab: Held) -> None:
    lab.until("Now the guest is where the tenant is")
    for namespace in ("uts", "ipc"):
        tenant = lab.link("tenant", namespace)
        assert lab.link("guest", namespace) == tenant != lab.link("caller", namespace)


def check_the_guest_has_a_pid_namespace_for_children_only(lab: Held) -> None:
    lab.until("Now the guest is where the tenant is")
    assert lab.link("guest", "pid") == lab.link("caller", "pid")
    assert lab.link("guest", "pid_for_children") == lab.link("tenant", "pid")
    assert lab.link("guest", "pid") != lab.link("tenant", "pid")
