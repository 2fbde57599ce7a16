"""mnt-iso on machines that lack something, and what its two ways leave behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import labs

LAB = "mnt-iso"
USER = labs.players()[-1]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="makes a device: needs root")
needs_fuse = pytest.mark.skipif(
    not Path("/dev/fuse").exists(), reason="no /dev/fuse: as root, modprobe fuse"
)

# Another /dev/fuse, of a mode of our own, in a mount namespace of our own.
WITH_FUSE = """
mount -t tmpfs none /dev/shm && mknod /dev/shm/fuse c 10 229 &&
chmod $1 /dev/shm/fuse && mount --bind /dev/shm/fuse /dev/fuse && shift || exit 77
exec setpriv --reuid=$1 --regid=$1 --clear-groups -- "${@:2}"
"""


def with_fuse(mode: str) -> list[str]:
    """A prefix: run as the ordinary user where /dev/fuse has that mode."""
    script = ["bash", "-c", WITH_FUSE, "bash", mode, str(labs.ORDINARY_USER)]
    return ["unshare", "--mount", *script]


@needs_root
@needs_fuse
def test_an_open_fuse_device_is_enough_for_everybody() -> None:
    modes: list[list[str]] = [[], ["--control"]]
    for args in modes:
        run = labs.run(LAB, *args, "--format=json", prefix=with_fuse("0666"))
        if run.code == labs.SKIPPED and "not installed" in run.end["reason"]:
            pytest.skip(run.end["reason"])
        assert run.code == labs.AGREES, run.why()
        seen = {event["key"]: event["value"] for event in run.of("observation")}
        assert seen["filesystem"] == "fuse.fuseiso"


@needs_root
@needs_fuse
def test_a_closed_fuse_device_is_a_skip_with_the_way_out() -> None:
    run = labs.run(LAB, "--format=json", prefix=with_fuse("0600"))
    assert run.code == labs.SKIPPED, run.why()
    if "not installed" in run.end["reason"]:
        pytest.skip(run.end["reason"])
    assert "/dev/fuse: Permission denied" in run.end["reason"]
    assert "chmod 0666 /dev/fuse" in run.end["reason"]
    assert "nslab vm run mnt-iso" in run.end["reason"]


@pytest.fixture
def programs() -> Iterator[Path]:
    """A folder for programs that the lab, which covers /tmp, can still find."""
    with tempfile.TemporaryDirectory(prefix="nslabs-", dir="/dev/shm") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def installed(name: str) -> str:
    """The path of a program; the test skips where it is missing."""
    path = shutil.which(name)
    if not path:
        pytest.skip(f"{name} is not installed")
    return path


def run_with(programs: Path, *args: str) -> labs.Run:
    path = {"PATH": str(programs)}
    return labs.run(LAB, *args, "--format=json", env=path, player=USER)


def test_without_genisoimage_its_package_is_named(programs: Path) -> None:
    run = run_with(programs)
    assert run.code == labs.SKIPPED, run.why()
    assert "install the package genisoimage" in run.end["reason"]


def test_without_fuseiso_its_package_is_named(programs: Path) -> None:
    (programs / "genisoimage").symlink_to(installed("genisoimage"))
    run = run_with(programs, "--stage=user")
    assert run.code == labs.SKIPPED, run.why()
    assert "install the package fuseiso" in run.end["reason"]


def test_a_kin_of_genisoimage_will_do(programs: Path) -> None:
    (programs / "xorrisofs").symlink_to(installed("genisoimage"))
    (programs / "fuseiso").symlink_to(installed("fuseiso"))
    run = run_with(programs)
    if run.code == labs.SKIPPED:
        pytest.skip(run.end["reason"])
    assert run.code == labs.AGREES, run.why()
    seen = {event["key"]: event["value"] for event in run.of("observation")}
    assert seen["writer"] == "xorrisofs"


def test_what_a_failing_program_says_is_passed_on(programs: Path) -> None:
    failing = programs / "genisoimage"
    failing.write_text("#!/bin/sh\necho the disk is on fire >&2\nexit 3\n")
    failing.chmod(0o755)
    run = run_with(programs)
    assert run.code == labs.BROKEN, run.why()
    assert "the disk is on fire" in run.end["reason"]


@pytest.mark.skipif(
    os.geteuid() != 0 or not os.access("/dev/loop-control", os.W_OK),
    reason="attaches a loop device: needs root and /dev/loop-control",
)
def test_libmount_attaches_an_image_and_marks_it_in_one_call(tmp_path: Path) -> None:
    """No moment at which a SIGKILL could leave a loop device without AUTOCLEAR."""
    (tmp_path / "image").write_bytes(bytes(1 << 16))
    (tmp_path / "on").mkdir()
    mount = ["mount", "-t", "iso9660", "-o", "ro,loop", f"{tmp_path}/image"]
    done = subprocess.run(
        [installed("strace"), "-f", "-e", "trace=ioctl", "--"]
        + ["unshare", "--mount", *mount, f"{tmp_path}/on"],
        capture_output=True,
        text=True,
        check=False,
    )
    calls = [line for line in done.stderr.splitlines() if "LOOP_" in line]
    attached = [line for line in calls if "LOOP_CONFIGURE" in line]
    assert attached, done.stderr
    assert all("LO_FLAGS_AUTOCLEAR" in line for line in attached)
    assert not [line for line in calls if "LOOP_SET_" in line]
