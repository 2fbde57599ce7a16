"""pid-orphans, seen by /proc and ps."""

from pathlib import Path

from harness.held import Held


def check_the_kernel_names_init_as_the_orphan_s_parent(lab: Held) -> None:
    lab.until("The orphan's parent has ended")
    assert lab.status("orphan", "PPid") == [str(lab.pid("init"))]
    assert lab.status("orphan", "NSpid")[-1] == lab.value("orphan.pid")
    assert lab.status("init", "NSpid")[-1] == "1"
    assert not Path(f"/proc/{lab.pid('parent')}").exists()


def check_ps_lists_the_orphan_among_the_children_of_init(lab: Held) -> None:
    lab.until("The orphan's parent has ended")
    children = lab.look("ps", "-o", "pid=", "--ppid", str(lab.pid("init")))
    assert children.split() == [str(lab.pid("orphan"))]


def check_the_ended_orphan_waits_for_init_s_wait(lab: Held) -> None:
    lab.until("The orphan has ended")
    zombie = Path(f"/proc/{lab.pid('orphan')}")
    assert zombie.exists()
    assert lab.status("orphan", "PPid") == [str(lab.pid("init"))]
    lab.until("reaper, a child of init")
    assert not zombie.exists()


def check_the_second_orphan_is_a_child_of_reaper(lab: Held) -> None:
    lab.until("The second orphan's parent has ended")
    assert lab.status("orphan2", "PPid") == [str(lab.pid("reaper"))]
    assert lab.status("reaper", "PPid") == [str(lab.pid("init"))]
