"""Guests: labs on other kernels, and every way in which a guest can go wrong.

Two real kernels are booted, an old and a new one, taken from the cache or fetched.
What no kernel does on demand is done by a made-up QEMU.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import guests, labs
from harness.guests import Nslab

from nslabs import runner  # type: ignore[attr-defined] # isort: skip
from nslabs.vm import guest, image, kernels  # type: ignore[attr-defined] # isort: skip

PATIENCE = 60
BROKEN = labs.BROKEN

needs_qemu = pytest.mark.skipif(
    not shutil.which(guests.QEMU), reason=f"install {guests.QEMU_PACKAGE}"
)


def a_kernel(names: tuple[str, ...]) -> str:
    try:
        return guests.get(names)
    except LookupError as why:
        pytest.skip(f"no kernel is here and none can be fetched: {why}")


@pytest.fixture(scope="session")
def old() -> str:
    """The name of an old kernel with its modules."""
    return a_kernel(guests.OLD)


@pytest.fixture(scope="session")
def new() -> str:
    """The name of a new one."""
    return a_kernel(guests.NEW)


@pytest.fixture(scope="session")
def guest_lab(public: Path) -> Path:
    """The program of all made-up labs, linked for a guest."""
    program = public / "guest_lab"
    source = Path(__file__).parent / "fixtures" / "guest_lab.c"
    subprocess.run(["cc", "-O1", "-static", "-o", program, source], check=True)
    return program


@pytest.fixture
def made_up(guest_lab: Path, tmp_path: Path) -> Callable[[str], Nslab]:
    """Makes an nslab whose labs are made up; what they do, their names say."""
    number = itertools.count()

    def make(names: str) -> Nslab:
        folder = tmp_path / f"build{next(number)}"
        return Nslab(guests.made_up_labs(folder, guest_lab, names))

    return make


# --- Two kernels -------------------------------------------------------------------


@needs_qemu
@pytest.mark.timeout(600)
@pytest.mark.parametrize("age", ["old", "new"])
def test_labs_agree_on_another_kernel_and_mount_with_its_own_iso9660(
    age: str, request: pytest.FixtureRequest
) -> None:
    name = request.getfixturevalue(age)
    names = ["mnt-iso", "uts-hostname", "pid-first"]
    done = Nslab()("vm", "run", *names, "--both", "--json", "--kernel", name)
    assert done.code == 0, done.out + done.err
    results = done.results
    assert {result["verdict"] for result in results.values()} == {"agrees"}
    assert sorted(results) == sorted(n + c for n in names for c in ("", ".control"))
    released = next(k.release for k in kernels.fetched() if k.name == name)
    assert {result["kernel"] for result in results.values()} == {released}
    assert done.report["kernel"] == released
    filesystem = next(
        claim for claim in results["mnt-iso"]["claims"] if claim["id"] == "same-way"
    )
    assert filesystem["left_value"] == "iso9660" == filesystem["right_value"]


@pytest.mark.skipif(
    not shutil.which("linux.uml"), reason=f"install {guests.UML_PACKAGE}"
)
def test_user_mode_linux_runs_labs_the_same_way(tmp_path: Path) -> None:
    nslab = Nslab(env={"TMPDIR": str(tmp_path)})
    done = nslab("vm", "run", "uts-hostname", "--both", "--json", "--kernel", "uml")
    assert done.code == 0, done.out + done.err
    assert "user-mode Linux" in done.report["where"]
    assert done.report["kernel"] != os.uname().release
    assert not list(tmp_path.iterdir())


# --- Real guests that go wrong -------------------------------------------------------


@needs_qemu
def test_a_lab_that_is_killed_or_says_too_little_is_broken_and_others_go_on(
    made_up: Callable[[str], Nslab], old: str
) -> None:
    nslab = made_up("good stops killed floods last")
    done = nslab("vm", "run", "--json", "--kernel", old)
    assert done.code == BROKEN, done.out + done.err
    results = done.results
    verdicts = {name: result["verdict"] for name, result in results.items()}
    assert verdicts == {
        **{name: "agrees" for name in ("good", "floods", "last")},
        **{name: "broken" for name in ("stops", "killed")},
    }
    assert "killed by SIGKILL" in results["killed"]["reason"]
    assert "The step before it happens." in results["killed"]["reason"]
    assert "stops after 2 events" in results["stops"]["reason"]
    assert results["stops"]["stderr"] == "no more\n"
    assert results["floods"]["status"] == 0  # 250 KB that no packing makes smaller


@needs_qemu
@pytest.mark.parametrize(
    ("lab", "reason", "console"),
    [
        ("panics", "kernel panicked: Kernel panic - not syncing: sysrq", "Trigger"),
        ("reboots", "it was rebooted or switched off from inside", "Restarting"),
    ],
)
def test_what_was_reported_before_a_guest_died_is_kept_the_rest_is_broken(
    made_up: Callable[[str], Nslab], old: str, lab: str, reason: str, console: str
) -> None:
    nslab = made_up(f"good {lab} zlast")
    done = nslab("vm", "run", "--json", "--kernel", old)
    assert done.code == BROKEN, done.out + done.err
    results = done.results
    assert results["good"]["verdict"] == "agrees"
    assert results[lab]["verdict"] == results["zlast"]["verdict"] == "broken"
    assert f"ended during {lab}: " in results[lab]["reason"]
    assert reason in results[lab]["reason"]
    assert console in results[lab]["stderr"]
    assert results["zlast"]["reason"].startswith("not run: the guest")


@needs_qemu
def test_a_guest_without_memory_says_so(
    made_up: Callable[[str], Nslab], old: str
) -> None:
    nslab = made_up("good hogs last")
    done = nslab("vm", "run", "--json", "--kernel", old)
    assert done.code == BROKEN, done.out + done.err
    results = done.results
    assert "ran out of memory" in results["hogs"]["reason"]
    assert results["good"]["verdict"] == results["last"]["verdict"] == "agrees"
    # So little that not even its files fit into it.
    done = nslab("vm", "run", "good", "--json", "--kernel", old, "--memory", "64")
    assert done.code == BROKEN, done.out + done.err
    assert re.search("memory|unpacking", done.results["good"]["reason"]), done.out


@needs_qemu
def test_an_init_that_hangs_is_waited_for_no_longer_than_it_may(
    made_up: Callable[[str], Nslab], guest_lab: Path, old: str
) -> None:
    nslab = made_up("good")
    assert nslab.build
    shutil.copy2(guest_lab, nslab.build / "guest" / "init")
    done = nslab("vm", "run", "--json", "--kernel", old, "--slow", "0.1")
    assert done.code == BROKEN, done.out + done.err
    assert "no word from it within 2 s" in done.results["good"]["reason"]


@needs_qemu
def test_a_kernel_that_panics_at_boot_is_quoted(
    made_up: Callable[[str], Nslab], old: str
) -> None:
    nslab = made_up("good")
    assert nslab.build
    (nslab.build / "guest" / "init").write_bytes(b"no program")
    done = nslab("vm", "run", "--json", "--kernel", old)
    assert done.code == BROKEN, done.out + done.err
    reason = done.results["good"]["reason"]
    assert "its kernel panicked: Kernel panic - not syncing: No working init" in reason


def orders_of(names: str, build: Path, **more: Any) -> list[runner.Order]:
    return [
        runner.Order(name, build / "labs" / name / name, **more)
        for name in names.split()
    ]


def finished(one: guest.Guest) -> dict[str, Any]:
    """Run it to its end: results by lab."""
    return {
        happening.order.lab: happening.result
        for happening in one.run()
        if isinstance(happening, runner.Finished)
    }


def parts_of(nslab: Nslab, names: str, **more: Any) -> guest.Parts:
    assert nslab.build
    programs = {name: nslab.build / "labs" / name / name for name in names.split()}
    return guest.Parts(nslab.build / "guest" / "init", programs, **more)


@needs_qemu
def test_a_lab_that_hangs_is_ended_in_the_guest(
    made_up: Callable[[str], Nslab], old: str
) -> None:
    nslab = made_up("hangs last")
    assert nslab.build
    one = guest.Guest(
        guest.Machine(kernels.find(old)),
        parts_of(nslab, "hangs last"),
        orders_of("hangs last", nslab.build, grace=-9.0),  # beyond its own ten
    )
    results = finished(one)
    assert "no end after 1 s in the guest" in results["hangs"].reason
    assert "(last step: The step before it happens.)" in results["hangs"].reason
    assert results["last"].verdict == "agrees"


@needs_qemu
@pytest.mark.parametrize("size", [0.5, 0.9])
def test_a_truncated_file_system_is_never_believed(
    made_up: Callable[[str], Nslab],
    old: str,
    monkeypatch: pytest.MonkeyPatch,
    size: float,
) -> None:
    nslab = made_up("good")
    assert nslab.build
    whole = image.base
    monkeypatch.setattr(
        image,
        "base",
        lambda *a: (lambda data: data[: int(len(data) * size)])(whole(*a)),
    )
    one = guest.Guest(
        guest.Machine(kernels.find(old)),
        parts_of(nslab, "good"),
        orders_of("good", nslab.build),
        boot_seconds=5.0,  # some kernels hang, some panic, and some just say so
    )
    result = finished(one)["good"]
    assert result.verdict == "broken"
    assert re.search("is damaged|panicked|no word from it within 5 s", result.reason)


@needs_qemu
def test_a_module_that_is_missing_or_no_module_is_named(
    made_up: Callable[[str], Nslab], old: str, tmp_path: Path
) -> None:
    nslab = made_up("good")
    assert nslab.build
    tree = tmp_path / "modules"
    (tree / "kernel").mkdir(parents=True)
    (tree / "kernel" / "garbage.ko").write_bytes(b"no module")
    kernel = kernels.find(old)
    one = guest.Guest(
        guest.Machine(kernels.Kernel("own", kernel.release, kernel.image, tree)),
        parts_of(nslab, "good", modules=["garbage", "no_such_module"]),
        orders_of("good", nslab.build),
    )
    assert finished(one)["good"].verdict == "agrees"
    assert one.missing == ["no_such_module"]
    assert one.trouble == [
        "the guest could not load /nslabs/modules/garbage.ko: "
        "ENOEXEC (Exec format error)"
    ]


@needs_qemu
def test_results_that_nobody_reads_yet_wait_and_none_is_lost(
    made_up: Callable[[str], Nslab], old: str
) -> None:
    nslab = made_up("floods last")
    assert nslab.build
    one = guest.Guest(
        guest.Machine(kernels.find(old)),
        parts_of(nslab, "floods last"),
        orders_of("floods last", nslab.build),
    )
    results, begun = {}, False
    for happening in one.run():
        if isinstance(happening, runner.Traced) and not begun:
            begun = True
            wait_until_full(os.getpid())
        if isinstance(happening, runner.Finished):
            results[happening.order.lab] = happening.result.verdict
    assert begun
    assert results == {"floods": "agrees", "last": "agrees"}


def wait_until_full(pid: int) -> None:
    """Until a socket of the process holds as much unread as it ever will.

    QEMU sends byte by byte, so that is not much.
    """
    sockets = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if os.readlink(entry).startswith("socket:"):
                sockets.append(int(entry.name))
        except OSError:
            pass
    deadline = time.monotonic() + PATIENCE
    before, quiet = 0, 0
    while quiet < 20 and time.monotonic() < deadline:
        count = struct.pack("i", 0)
        now = max(
            struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, count))[0]
            for fd in sockets
        )
        quiet = quiet + 1 if now == before and now > 100 else 0
        before = now
        select.select([], [], [], 0.02)  # nothing tells when a buffer is full
    assert quiet, before


# --- Ended from outside --------------------------------------------------------------


def children(pid: int) -> list[int]:
    """Living processes below this one."""
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found += [int(child), *children(int(child))]
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] != "Z"
    except FileNotFoundError:
        return False


def until(condition: Callable[[], Any], what: str) -> Any:
    """Its value once it is true; other processes tell nobody when."""
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < deadline, what
        select.select([], [], [], 0.01)
    return value


@needs_qemu
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_run_leaves_no_guest_and_no_file(
    made_up: Callable[[str], Nslab], old: str, tmp_path: Path, signum: int
) -> None:
    place = tmp_path / "tmp"
    place.mkdir()
    nslab = made_up("good hangs")
    nslab.env["TMPDIR"] = str(place)
    words = ["vm", "run", "good", "hangs", "--format=ktap", "--kernel", old]
    with subprocess.Popen(
        nslab.words(*words),
        env=nslab.environ(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout
        told = ""
        while "ok 1 good" not in told.splitlines():
            line = process.stdout.readline()
            assert line, told
            told += line
        guests_of = children(process.pid)
        assert guests_of
        # As Ctrl-C does: the whole group, to which the guest does not belong.
        os.killpg(process.pid, signum)
        rest, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == -signum
    if signum != signal.SIGKILL:
        assert "Bail out! ended by SIG" in rest
    until(lambda: not any(alive(pid) for pid in guests_of), "the guest is left")
    assert not list(place.iterdir())


# --- A shell in a guest --------------------------------------------------------------


class Terminal:
    """A terminal with nslab on it."""

    def __init__(self, nslab: Nslab, *words: str) -> None:
        self.master, self.slave = pty.openpty()
        self.resize(31, 97)
        self.before = termios.tcgetattr(self.slave)
        self.shown = ""
        self.process = subprocess.Popen(
            nslab.words(*words),
            env={**nslab.environ(), "TERM": "linux"},
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )

    def resize(self, rows: int, columns: int) -> None:
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, size)

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def read(self) -> str:
        ready, _, _ = select.select([self.master], [], [], PATIENCE)
        assert ready, f"nothing more after {self.shown!r}"
        return os.read(self.master, 4096).decode(errors="replace")

    def until(self, pattern: str) -> re.Match[str]:
        """Wait until it is shown; what came before is forgotten."""
        while not (match := re.search(pattern, self.shown)):
            self.shown += self.read()
        self.shown = self.shown[match.end() :]
        return match

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def terminal(old: str) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def make(*words: str) -> Terminal:
        opened.append(Terminal(Nslab(), "vm", "shell", "--kernel", old, *words))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


PROMPT = r"guest:\S+# "


@needs_qemu
def test_a_shell_in_a_guest_is_a_terminal_as_any_other(
    terminal: Callable[..., Terminal],
) -> None:
    shell = terminal()
    shell.until(PROMPT)
    shell.type("tty; stty size; type uts-hostname\n")
    shell.until("/dev/ttyS0\r\n")
    shell.until("31 97\r\n")
    shell.until("uts-hostname is /nslabs/bin/uts-hostname\r\n")
    shell.resize(42, 123)
    shell.type("while [ \"$(stty size)\" != '42 123' ]; do :; done; echo re''sized\n")
    shell.until("resized\r\n")
    # Ctrl-C ends what runs inside, and neither the shell nor nslab.
    # The shell itself has moments in which a signal is lost; so from a program.
    shell.type("sh -c 'echo be\\gun; exec sleep 1000'; echo no''t\n")
    shell.until("begun\r\n")
    shell.type("\x03")
    shell.until(PROMPT)
    shell.type("echo $? is the status\n")
    shell.until("130 is the status\r\n")
    shell.type("exit 7\n")
    assert shell.process.wait(PATIENCE) == 7
    assert termios.tcgetattr(shell.slave) == shell.before
    assert "not\r\n" not in shell.shown


@needs_qemu
def test_a_guest_that_hangs_can_be_left(terminal: Callable[..., Terminal]) -> None:
    shell = terminal("--", "sh", "-c", "echo st''uck; trap '' INT; sleep 1000")
    shell.until("stuck")
    guests_of = until(lambda: children(shell.process.pid), "no guest")
    shell.type("\x1d\x1d\x1d")
    assert shell.process.wait(PATIENCE) == BROKEN
    assert termios.tcgetattr(shell.slave) == shell.before
    until(lambda: not any(alive(pid) for pid in guests_of), "the guest is left")


@needs_qemu
def test_a_guest_that_dies_under_its_shell_gives_the_terminal_back(
    terminal: Callable[..., Terminal],
) -> None:
    shell = terminal("--", "sh", "-c", "echo c >/proc/sysrq-trigger; sleep 1000")
    shell.until(r"the guest ended before its shell did: its kernel panicked")
    assert shell.process.wait(PATIENCE) == BROKEN
    assert termios.tcgetattr(shell.slave) == shell.before


@needs_qemu
@pytest.mark.parametrize("kind", ["pipe", "file"])
def test_without_a_terminal_a_shell_is_a_filter(
    old: str, tmp_path: Path, kind: str
) -> None:
    script = "uname -r; seq 2000; printf 'a\\tb'; tty >/dev/null && exit 3"
    source = tmp_path / "script"
    source.write_text(script)
    with source.open() as file:
        done = subprocess.run(
            Nslab().words("vm", "shell", "--kernel", old),
            stdin=file if kind == "file" else None,
            input=script if kind == "pipe" else None,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
    assert done.returncode == 3, done.stderr
    released = next(k.release for k in kernels.fetched() if k.name == old)
    numbers = "".join(f"{n}\n" for n in range(1, 2001))
    assert done.stdout == f"{released}\n{numbers}a\tb"
    assert done.stderr == ""


# --- A made-up QEMU ------------------------------------------------------------------


@pytest.fixture
def fake(tmp_path: Path, guest_lab: Path) -> Callable[..., Nslab]:
    """Makes an nslab with one kernel, whose QEMU does what a story says."""

    def make(story: str = "good", names: str = "first second") -> Nslab:
        cache = tmp_path / "cache"
        if not cache.exists():
            guests.fake_kernel(cache)
            guests.made_up_labs(tmp_path / "build", guest_lab, names)
        place = guests.fake_qemu(tmp_path)
        env = {
            "PATH": f"{place}:{os.environ['PATH']}",
            "XDG_CACHE_HOME": str(cache),
            "NSLABS_FAKE": story,
            "NSLABS_FAKE_LOG": str(tmp_path),
        }
        return Nslab(tmp_path / "build", env)

    return make


def test_what_a_guest_reports_is_shown_as_that_of_this_machine(
    fake: Callable[..., Nslab],
) -> None:
    done = fake()("vm", "run", "--both")
    assert done.code == 0, done.err
    rows = [line.split() for line in done.out.splitlines() if "✔ agrees" in line]
    assert [(row[0], row[1], row[2]) for row in rows] == [
        ("first", "experiment", "1/1"),
        ("first", "control", "0/1"),
        ("second", "experiment", "1/1"),
        ("second", "control", "0/1"),
    ]
    assert "Linux 9.9.9-made-up, QEMU (tcg)" in done.out


@pytest.mark.parametrize(
    ("story", "reason"),
    [
        ("panics in second", "kernel panicked: Kernel panic - not syncing: x"),
        ("cut off in second", "rebooted or switched off from inside"),
        ("garbage in second", "its results are damaged: it refers 65535"),
        ("hangs in second", "it hung: no end of the lab after"),
        ("all but the end in second", None),
        ("another nonce", None),
    ],
)
def test_what_was_delivered_is_kept_and_the_rest_is_broken(
    fake: Callable[..., Nslab], story: str, reason: str | None
) -> None:
    nslab = fake(story)
    more = ["--slow", "0.01"] if story.startswith("hangs") else []
    done = nslab("vm", "run", "--json", *more)
    results = done.results
    assert results["first"]["verdict"] == "agrees"
    if reason is None:  # both labs told everything, and only the last word is amiss
        assert results["second"]["verdict"] == "agrees"
        assert done.code == 0
        return
    assert done.code == BROKEN
    assert results["second"]["verdict"] == "broken"
    assert reason in results["second"]["reason"]
    assert "ended during second" in results["second"]["reason"]
    if story.startswith("panics"):
        told = results["second"]["stderr"].splitlines()
        assert [line.split("] ")[1] for line in told] == [
            "a reason",
            "Kernel panic - not syncing: x",
        ]


@pytest.mark.parametrize(
    ("story", "reason"),
    [
        (
            "refuses",
            "QEMU ended before the guest's first word with exit 1: qemu-system",
        ),
        ("mute", "no word from it within 0.2 s"),
        ("initramfs", "its file system is damaged or its memory small: Initramfs"),
        ("hangs before a lab", "it hung after its start"),
    ],
)
def test_a_guest_that_never_begins_breaks_every_lab(
    fake: Callable[..., Nslab], story: str, reason: str
) -> None:
    slow = "0.01" if story in ("mute", "hangs before a lab") else "1"
    done = fake(story)("vm", "run", "--json", "--slow", slow)
    assert done.code == BROKEN
    for result in done.results.values():
        assert result["verdict"] == "broken"
        assert reason in result["reason"]
        assert result["reason"].startswith("not run: the guest (9.9.9-made-up) ended")


def test_trouble_of_a_guest_is_told_and_does_not_hide_its_results(
    fake: Callable[..., Nslab],
) -> None:
    done = fake("trouble")("vm", "run", "--json")
    assert done.code == 0
    assert done.err == (
        "nslab: the guest could not load veth.ko: ENOENT (No such file or directory)\n"
    )


@pytest.mark.parametrize("form", ["ktap", "text", "table"])
def test_every_format_says_when_a_guest_died(
    fake: Callable[..., Nslab], form: str, tmp_path: Path
) -> None:
    report = [] if form == "text" else ["--junit", str(tmp_path / "report.xml")]
    done = fake("panics in second")("vm", "run", "--format", form, *report)
    assert done.code == BROKEN
    assert "Kernel panic" in done.out
    if report:
        assert "Kernel panic" in (tmp_path / "report.xml").read_text()


def test_the_guest_gets_what_it_needs_and_no_more(
    fake: Callable[..., Nslab], tmp_path: Path
) -> None:
    done = fake()("vm", "run", "second", "--control", "--timeout", "3", "--stage=user")
    assert done.code == 0, done.err
    results, nonce, run = (tmp_path / "job").read_text().splitlines()
    assert results == "results\t/dev/ttyS1"
    assert re.fullmatch(r"nonce\t[0-9a-f]{16}", nonce)
    assert run.split("\t")[1:] == [
        *("0", "8", "/nslabs/bin/second", "--format=json"),
        *("--control", "--stage=user", "--timeout=3"),
    ]
    arguments = (tmp_path / "arguments").read_text()
    for word in ("-nodefaults", "-no-reboot", "microvm,acpi=off", "oops=panic"):
        assert word in arguments
    assert "-netdev" not in arguments and "-drive" not in arguments


def test_a_kvm_that_hangs_its_guest_is_noticed_once(
    fake: Callable[..., Nslab], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nslabs.vm import accel  # type: ignore[attr-defined]

    kvm = tmp_path / "kvm"
    kvm.touch()
    monkeypatch.setattr(accel, "KVM", str(kvm))
    monkeypatch.setattr(accel, "SECONDS", 0.5)
    monkeypatch.setenv("NSLABS_FAKE_KVM", "1")
    for story, found in (("kvm hangs", "tcg"), ("mute", "tcg")):
        for name, value in fake(story).env.items():
            monkeypatch.setenv(name, value)
        kernel = kernels.find("9.9")
        init = tmp_path / "build" / "guest" / "init"
        # The second answer is remembered: a guest that is mute would say otherwise.
        assert accel.accelerator("auto", kernel, init) == found
    shutil.rmtree(tmp_path / "cache" / "nslabs" / "kvm")
    monkeypatch.setenv("NSLABS_FAKE", "good")
    assert accel.accelerator("auto", kernel, init) == "kvm"
    monkeypatch.setenv("NSLABS_FAKE", "mute")
    assert accel.accelerator("auto", kernel, init) == "kvm"
    assert accel.accelerator("tcg", kernel, init) == "tcg"
    kvm.unlink()
    assert accel.accelerator("auto", kernel, init) == "tcg"


# --- What is missing -----------------------------------------------------------------


def without(tmp_path: Path, *missing: str) -> str:
    """A PATH with all programs but these."""
    place = tmp_path / "path"
    place.mkdir()
    for folder in ("/usr/sbin", "/usr/bin", "/sbin", "/bin"):
        for program in Path(folder).iterdir():
            link = place / program.name
            if program.name not in missing and not link.is_symlink():
                link.symlink_to(program)
    return str(place)


def test_without_qemu_the_package_is_named(
    fake: Callable[..., Nslab], tmp_path: Path
) -> None:
    nslab = fake()
    nslab.env["PATH"] = without(tmp_path, guests.QEMU)
    for words in (["vm", "run"], ["vm", "shell"], ["matrix"]):
        done = nslab(*words)
        assert done.code == BROKEN
        assert "qemu-system-x86_64 is missing: install qemu-system-x86" in done.err


def test_without_user_mode_linux_the_package_is_named(
    fake: Callable[..., Nslab], tmp_path: Path
) -> None:
    nslab = fake()
    nslab.env["PATH"] = without(tmp_path, "linux.uml")
    done = nslab("vm", "run", "--kernel", "uml")
    assert done.code == BROKEN
    assert "install user-mode-linux" in done.err


def test_without_lz4_the_image_is_bigger_and_that_is_all(
    fake: Callable[..., Nslab], tmp_path: Path
) -> None:
    nslab = fake()
    path = without(tmp_path, "lz4")
    nslab.env["PATH"] = f"{tmp_path / 'bin'}:{path}"
    assert nslab("vm", "run").code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--kernel", "9.8"], "kernel 9.8 is not here. Did you mean 9.9? Get it with:"),
        (["--kernel", "./nothing"], "./nothing: ENOENT (No such file or directory)"),
        (["--kernel", "/etc/passwd"], "not a Linux kernel: neither a bzImage nor"),
        (["--modules", "/"], "--modules goes with --kernel PATH"),
        (["--slow", "0"], "0 is not a number of seconds"),
        (["nolab"], "there is no lab called 'nolab'."),
    ],
)
def test_wrong_usage_is_explained(
    fake: Callable[..., Nslab], words: list[str], said: str
) -> None:
    done = fake()("vm", "run", *words)
    assert done.code == labs.USAGE
    assert said in done.err


def test_without_any_kernel_the_way_to_one_is_told(tmp_path: Path) -> None:
    path = without(tmp_path, "linux.uml")
    nslab = Nslab(env={"XDG_CACHE_HOME": str(tmp_path), "PATH": path})
    done = nslab("vm", "run")
    if done.code == BROKEN and "no kernel is here yet" not in done.err:
        pytest.skip("this machine's own kernel can be read")
    assert done.code == BROKEN
    assert "'nslab vm fetch 6.12' gets one" in done.err
    assert nslab("matrix", "--kernels", "fetched").code == labs.USAGE


def test_a_cache_without_space_is_named_and_nothing_half_is_left(
    fake: Callable[..., Nslab], tmp_path: Path
) -> None:
    nslab = fake()
    cache = tmp_path / "cache" / "nslabs"
    # A file system of 64 KB in a namespace of its own, in the place of the images.
    (cache / "images").mkdir()
    script = 'mount -t tmpfs -o size=64k none "$0" && shift 0 && exec "$@"'
    command = ["unshare", "-rm", "sh", "-c", script, str(cache / "images")]
    done = subprocess.run(
        [*command, *nslab.words("vm", "run")],
        env=nslab.environ(),
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare:" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == BROKEN
    assert "ENOSPC (No space left on device); free some space, or" in done.stderr
    assert nslab("vm", "run").code == 0
