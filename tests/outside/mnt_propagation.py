"""mnt-propagation, seen by findmnt and in /proc/PID/mountinfo."""

from pathlib import Path

from harness.held import Held


def targets(lab: Held, actor: str) -> dict[str, str]:
    """findmnt's view of an actor's namespace: mount points in /tmp, propagation."""
    pid = str(lab.pid(actor))
    rows = lab.look("findmnt", "-N", pid, "-rn", "-o", "TARGET,PROPAGATION")
    found = dict(row.split() for row in rows.splitlines())
    return {
        target.removeprefix("/tmp/"): propagation
        for target, propagation in found.items()
        if target.startswith("/tmp/")
    }


def mounts(lab: Held, actor: str) -> tuple[set[str], list[str]]:
    """The mount IDs in an actor's mountinfo, and its lines without IDs and groups."""
    lines = Path(f"/proc/{lab.pid(actor)}/mountinfo").read_text().splitlines()
    fields = [line.split() for line in lines]
    return {f[0] for f in fields}, sorted(" ".join(f[2:5]) for f in fields)


def check_the_tenants_list_is_a_copy_of_the_landlords(lab: Held) -> None:
    lab.until("A new mount namespace begins")
    outer_ids, outer = mounts(lab, "landlord")
    inner_ids, inner = mounts(lab, "tenant")
    assert inner == outer
    assert not inner_ids & outer_ids


def check_findmnt_names_the_types(lab: Held) -> None:
    lab.until("Below each of the four")
    outer, inner = targets(lab, "landlord"), targets(lab, "tenant")
    names = ("private", "shared", "slave", "unbindable")
    types = ["private", "shared", "shared", "private,unbindable"]
    assert [outer[name] for name in names] == types
    assert [inner[name] for name in names[:3]] == ["private", "shared", "private,slave"]


def check_only_the_shared_mount_sends_out_what_the_tenant_mounts(lab: Held) -> None:
    lab.until("Which of the tenant's mounts")
    below = {"private/tenant", "shared/tenant", "slave/tenant", "unbindable/tenant"}
    assert below <= targets(lab, "tenant").keys()
    assert below & targets(lab, "landlord").keys() == {"shared/tenant"}


def check_the_shared_and_the_slave_let_in_what_the_landlord_mounts(lab: Held) -> None:
    lab.until("Which of the landlord's mounts")
    below = {"private/landlord", "shared/landlord", "slave/landlord"}
    assert below <= targets(lab, "landlord").keys()
    assert below & targets(lab, "tenant").keys() == {
        "shared/landlord",
        "slave/landlord",
    }


def check_everything_of_the_lodger_is_private(lab: Held) -> None:
    lab.until("Has the lodger's mount come out")
    outer, inner = targets(lab, "landlord"), targets(lab, "lodger")
    assert set(inner.values()) == {"private"}
    assert "shared/lodger" in inner
    assert "shared/lodger" not in outer
    assert outer["shared"] == "shared"


def check_nothing_is_mounted_where_the_observer_is(lab: Held) -> None:
    lab.until("Which of the landlord's mounts")
    here = lab.look("findmnt", "-rn", "-o", "TARGET").split()
    assert "/tmp/shared/landlord" not in here
    assert lab.look("readlink", "/proc/self/ns/mnt").strip() not in {
        lab.link("landlord", "mnt"),
        lab.link("tenant", "mnt"),
    }
    assert lab.link("landlord", "mnt") != lab.link("tenant", "mnt")
