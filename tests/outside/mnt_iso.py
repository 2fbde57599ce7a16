"""mnt-iso, seen by findmnt, cat, isoinfo, losetup and in /proc."""

import json
import os
import select
import time
from pathlib import Path

from harness.held import Held

MOUNTS = "/tmp/mnt/"
PATIENCE = 15.0  # seconds until a loop device must be free; no event says so


def images(lab: Held, actor: str) -> dict[str, tuple[str, str]]:
    """What findmnt finds in an actor's namespace: image, file system and source."""
    pid = str(lab.pid(actor))
    rows = lab.look("findmnt", "-N", pid, "-rn", "-o", "TARGET,FSTYPE,SOURCE")
    found = [row.split() for row in rows.splitlines() if row.startswith(MOUNTS)]
    return {target.removeprefix(MOUNTS): (kind, src) for target, kind, src in found}


def daemons(lab: Held) -> list[int]:
    """The fuseiso processes of the lab's stage."""
    stage = lab.link("landlord", "pid")
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if (path / "comm").read_text() == "fuseiso\n":
                if os.readlink(path / "ns/pid") == stage:
                    found.append(int(path.name))
        except OSError:  # not ours to see, or just gone
            continue
    return found


def loop_devices(lab: Held, *names: str) -> dict[str, tuple[str, str, bool]]:
    """Which file each loop device has, and whether it frees itself."""
    columns = "NAME,BACK-INO,BACK-MAJ:MIN,AUTOCLEAR"
    table = json.loads(lab.look("losetup", "--list", "--json", "-O", columns) or "{}")
    return {
        row["name"]: (str(row["back-ino"]), row["back-maj:min"], row["autoclear"])
        for row in table.get("loopdevices", [])
        if row["name"] in names
    }


def check_both_images_are_there_inside_only_the_first_outside(lab: Held) -> None:
    lab.until("Then the tenant unmounts")
    assert images(lab, "tenant").keys() == {"iso1", "iso2"}
    assert images(lab, "landlord").keys() == {"iso1"}


def check_after_the_unmounting_each_has_the_other_image(lab: Held) -> None:
    lab.until("Which images does the landlord see")
    inner, outer = images(lab, "tenant"), images(lab, "landlord")
    assert inner.keys() == {"iso2"}
    assert outer.keys() == {"iso1"}
    kinds = {inner["iso2"][0], outer["iso1"][0]}
    assert kinds == {lab.value("filesystem")}
    assert kinds < {"iso9660", "fuse.fuseiso"}


def check_another_program_reads_each_image_where_it_is(lab: Held) -> None:
    lab.until("Which images does the landlord see")
    first = lab.inside("landlord", "m", "cat", MOUNTS + "iso1/file")
    second = lab.inside("tenant", "m", "cat", MOUNTS + "iso2/file")
    assert (first, second) == ("I am the first image", "I am the second image")
    assert lab.inside("landlord", "m", "ls", MOUNTS + "iso2") == ""
    assert lab.inside("tenant", "m", "ls", MOUNTS + "iso1") == ""


def check_proc_pid_root_leads_to_what_each_has_mounted(lab: Held) -> None:
    lab.until("Which images does the landlord see")
    roots = {who: f"/proc/{lab.pid(who)}/root{MOUNTS}" for who in lab.pids}
    assert lab.look("ls", roots["tenant"] + "iso2") == "file\n"
    assert lab.look("ls", roots["landlord"] + "iso2") == ""


def check_isoinfo_finds_real_images_with_a_file_in_each(lab: Held) -> None:
    lab.until("Which images does the landlord see")
    for actor, image in ("landlord", "1"), ("tenant", "2"):
        path = f"/tmp/iso/{image}.iso"
        listed = lab.inside(actor, "m", "isoinfo", "-f", "-R", "-i", path)
        assert listed == "/file\n"
        assert f"iso{image}" in images(lab, actor)


def check_what_holds_the_images_ends_with_the_lab(lab: Held) -> None:
    """A daemon of the stage, or a loop device that frees itself; for each image."""
    lab.until("Which images does the landlord see")
    held = images(lab, "landlord") | images(lab, "tenant")
    assert held.keys() == {"iso1", "iso2"}
    assert lab.process
    if lab.value("filesystem") == "iso9660":
        loops = loop_devices(lab, *(source for _, source in held.values()))
        assert len(loops) == 2
        assert all(autoclear for _, _, autoclear in loops.values())
        lab.process.kill()
        until = time.monotonic() + PATIENCE
        while still := loop_devices(lab, *loops).items() & loops.items():
            assert time.monotonic() < until, still
            time.sleep(0.01)
    else:
        found = daemons(lab)
        assert len(found) == 2
        ends = [os.pidfd_open(pid) for pid in found]
        lab.process.kill()
        for end in ends:
            assert select.select([end], [], [], PATIENCE)[0], found
            os.close(end)
