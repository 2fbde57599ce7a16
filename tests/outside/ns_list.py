"""ns-list, seen by lsns(8) and findmnt(8), and our lister compared with lsns."""

from __future__ import annotations

import json

from harness.held import Held
from harness.labs import binary
from outside.tools import lsns

COLUMNS = "NS,TYPE,NPROCS,PID"
FOUND = "The host looks at every process"


def rows_of_lsns(lab: Held) -> dict[str, list[str]]:
    """What lsns(8) says of every namespace: type, processes, lowest PID."""
    rows = [line.split() for line in lsns(lab, "-o", COLUMNS).splitlines()]
    return {row[0]: row[1:] for row in rows}


def rows_of_ours(lab: Held) -> dict[str, list[str]]:
    """The same by our lister, as a program of its own."""
    told = lab.look(str(binary("ns-list")), "--list", "--json")
    return {
        str(row["ns"]): [row["type"], str(row["nprocs"]), str(row["pid"])]
        for row in json.loads(told)["namespaces"]
    }


def number(lab: Held, actor: str, namespace: str) -> str:
    return lab.link(actor, namespace).split("[")[1].rstrip("]")


def check_lsns_lists_the_tenant_alone_in_its_namespace(lab: Held) -> None:
    lab.until(FOUND)
    rows = rows_of_lsns(lab)
    alone = ["uts", "1", str(lab.pid("tenant"))]
    assert rows.get(number(lab, "tenant", "uts")) == alone


def check_our_rows_of_the_stage_are_those_of_lsns(lab: Held) -> None:
    lab.until(FOUND)
    mine = {
        number(lab, a, t) for a in ("host", "tenant") for t in ("user", "uts", "mnt")
    }
    mine.add(number(lab, "nested", "pid"))
    ours, theirs = rows_of_ours(lab), rows_of_lsns(lab)
    assert {n: ours.get(n) for n in mine} == {n: theirs.get(n) for n in mine}
    assert ours[number(lab, "tenant", "uts")][1] == "1"


def check_our_lister_finds_what_only_a_mount_keeps(lab: Held) -> None:
    lab.until(FOUND)
    task = str(lab.pid("host"))
    options = ("--task", task, "-n", "-t", "nsfs", "-o", "SOURCE,TARGET")
    mounts = lab.look("findmnt", *options)
    assert [line.split()[1] for line in mounts.splitlines()] == ["/tmp/place"]
    line = mounts.strip()
    found = line.split("[")[-1].split("]")[0].split(":")[-1]
    assert rows_of_ours(lab)[found] == ["uts", "0", "None"]


def check_our_lister_finds_what_only_an_open_file_keeps(lab: Held) -> None:
    lab.until(FOUND)
    links = lab.look(
        "find", f"/proc/{lab.pid('host')}/fd", "-lname", "uts:*", "-printf", "%l"
    )
    held = links.split("[")[1].rstrip("]")
    assert rows_of_ours(lab)[held] == ["uts", "0", "None"]
