"""ns-links, seen by readlink, lsns and nsenter."""

from __future__ import annotations

from harness.held import Held

from .tools import lsns

FOR_CHILDREN = ("pid", "time")


def links(lab: Held, actor: str) -> dict[str, str]:
    """All namespace links of an actor; a PID namespace may not be ready yet."""
    directory = f"/proc/{lab.pid(actor)}/ns"
    names = lab.look("ls", directory).split()
    read = lab.look("sh", "-c", f"cd {directory} && readlink {' '.join(names)} || :")
    return dict(zip(names, read.split(), strict=True))


def movers(lab: Held) -> list[str]:
    """The types that this kernel has, each of them the name of an actor."""
    listed = lab.look("ls", f"/proc/{lab.pid('reader')}/ns").split()
    return [name for name in listed if not name.endswith("_for_children")]


def check_each_mover_differs_in_its_own_link_alone(lab: Held) -> None:
    lab.until("All of them are where they moved")
    reader = links(lab, "reader")
    for actor in movers(lab):
        moved = links(lab, actor)
        changed = {name for name in reader if moved[name] != reader[name]}
        suffix = "_for_children" if actor in FOR_CHILDREN else ""
        assert changed == {actor + suffix}


def check_the_children_are_where_their_parents_are_not(lab: Held) -> None:
    lab.until("All of them are where they moved")
    for actor in set(FOR_CHILDREN) & set(movers(lab)):
        child = lab.link(f"{actor}-child", actor)
        assert child == lab.link(actor, f"{actor}_for_children")
        assert child != lab.link(actor, actor) == lab.link("reader", actor)


def check_lsns_finds_one_process_in_each_new_namespace(lab: Held) -> None:
    lab.until("All of them are where they moved")
    for actor in movers(lab):
        who = f"{actor}-child" if actor in FOR_CHILDREN else actor
        rows = lsns(lab, "-t", actor, "-o", "NPROCS,PID", "-p", pid(lab, who))
        assert rows.split() == ["1", pid(lab, who)]


def check_nsenter_comes_into_the_namespaces_that_were_made(lab: Held) -> None:
    lab.until("All of them are where they moved")
    for actor, letter in (("ipc", "i"), ("net", "n"), ("uts", "u"), ("cgroup", "C")):
        seen = lab.inside(actor, letter, "readlink", f"/proc/self/ns/{actor}").strip()
        assert seen == lab.link(actor, actor) != lab.link("reader", actor)


def pid(lab: Held, actor: str) -> str:
    return str(lab.pid(actor))
