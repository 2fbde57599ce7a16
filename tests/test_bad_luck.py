"""What goes wrong: broken with the reason, or skipped with the way out; no hang."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from harness import build, ktap, labs, schema
from harness.held import Held
from harness.host import CannotHold, Host
from harness.labs import Player, Run

FORMATS = ("text", "ktap", "json")
BROKEN, SKIPPED, AGREES = labs.BROKEN, labs.SKIPPED, labs.AGREES
USER, ANYBODY = labs.players()[-1], labs.players()[0]

each_lab = pytest.mark.parametrize("name", labs.NAMES)
each_player = pytest.mark.parametrize("player", labs.players(), ids=str)
each_format = pytest.mark.parametrize("form", FORMATS)

# --- Stories that go wrong (tests/fixtures/unlucky.c) ----------------------------

HANG = ("--timeout=0.2",)

# Each story: how it ends, and what the reason says, as a regular expression.
STORIES: dict[str, tuple[int, str]] = {
    "fine": (AGREES, ""),
    "leave-processes": (AGREES, ""),
    "have-a-long-name": (AGREES, ""),
    "crash-first": (BROKEN, "first killed by SIGSEGV"),
    "crash-child-heard": (BROKEN, 'first waited for "I live", but child killed by SIG'),
    "crash-child-joined": (BROKEN, "child killed by SIGSEGV; first expected it to end"),
    "crash-child-unnoticed": (
        BROKEN,
        "child ended before its|before these.* did: child",
    ),
    "tell-a-crashed-child": (BROKEN, 'first wanted to tell "are you .*", but child ki'),
    "kill-everybody-else": (BROKEN, "child killed by SIGKILL; first expected it to"),
    "hang-first": (BROKEN, r"timed out after 0\.2 s; unfinished: first"),
    "hang-child": (BROKEN, r"timed out after 0\.2 s; unfinished: first, child"),
    "miss-a-word": (BROKEN, r"timed out after 0\.2 s; unfinished: first, child"),
    "stop-child": (BROKEN, r"timed out after 0\.2 s; unfinished: first, child"),
    "hear-another-word": (BROKEN, 'waited for "the word" and heard "another word"'),
    "leave-a-listener": (BROKEN, "its parent first has ended|before these.* did: chi"),
    "end-before-the-child": (BROKEN, "the story ended before these actors did: child"),
    "exit-first": (BROKEN, "first exited 0 before its part was over"),
    "exit-child": (BROKEN, "child exited 0 before its part was over"),
    "fail-child": (BROKEN, "child exited 7; first expected it to end well"),
    "exec-away": (BROKEN, "first exited 0 before its part was over"),
    "lose-all-descriptors": (BROKEN, "first exited 125"),
    "forget": (BROKEN, 'claim says-yes: "first.says" was never observed'),
    "observe-twice": (BROKEN, 'first: "first.says" was observed twice'),
    "observe-twice-by-two": (BROKEN, 'child: "first.says" was observed twice'),
    "observe-too-often": (BROKEN, r'"key\.256" is one observation too many'),
    "observe-a-megabyte": (BROKEN, '"first.text" has 1048576 bytes; 2047 fit'),
    "claim-nothing": (BROKEN, "the lab claims nothing"),
    "have-many-children": (BROKEN, "an actor has at most 64 children"),
    "have-many-descendants": (BROKEN, "more than 127 actors"),
    "break-without-a-reason": (BROKEN, "no reason was given"),
    "fail-a-call": (BROKEN, r"first at unlucky.c:\d+: close\(-1\) failed with EBADF"),
    "speak-gibberish": (BROKEN, r"receiving its event failed with EPROTO"),
    "skip-over-lines": (SKIPPED, r"this machine lacks(\n|\\n)ok 1 forged"),
    "skip-without-a-reason": (SKIPPED, "no reason was given"),
    "fail-a-need": (SKIPPED, r"close\(-1\): EBADF .*; open it first"),
    "see-nothing": (SKIPPED, "it is dark here"),
}


def play(unlucky: Path, story: str, *args: str) -> Run:
    """Run a fixture lab as everybody."""
    env = {"NSLABS_STORY": story, "LC_ALL": "C.UTF-8"}
    return labs.run(unlucky, *args, env=env, player=USER)


def reason_of(run: Run, form: str) -> str:
    """The reason of a broken or skipped run, as its format says it."""
    if form == "json":
        assert schema.complaints(run.events) == []
        return str(run.end["reason"])
    if form == "ktap":
        doc = ktap.parse(run.out)
        skips = [result.skip for result in doc.results if result.skip]
        return doc.bail_out or doc.skip or skips[0]
    verdict, _, reason = run.out.rsplit("\n\n", 1)[1].partition(": ")
    assert verdict.strip() == ("broken" if run.code == BROKEN else "skipped")
    return " ".join(reason.split())


@pytest.mark.parametrize("story", STORIES)
def test_a_misfortune_is_named_in_every_format(story: str, unlucky: Path) -> None:
    code, reason = STORIES[story]
    limit = HANG if "timed out" in reason else ()
    for form in FORMATS:
        run = play(unlucky, story, f"--format={form}", *limit)
        assert run.code == code, run.out + run.err
        assert run.err == ""
        if code != AGREES:
            said = reason_of(run, form)
            wanted = re.sub(r"\(\\n\|\\\\n\)", r"\\s*(\\\\n)?\\s*", reason)
            assert re.search(wanted, said), said
        elif form == "json":
            assert schema.complaints(run.events) == []


def test_a_claim_that_survives_its_control_is_no_evidence(unlucky: Path) -> None:
    assert play(unlucky, "claim-too-much").code == AGREES
    assert play(unlucky, "claim-too-much", "--control").code == labs.DISAGREES


def test_a_misfortune_is_the_same_in_the_control(unlucky: Path) -> None:
    for story in ("fine", "crash-first", "forget", "skip-over-lines"):
        assert play(unlucky, story, "--control").code == STORIES[story][0]


def test_bytes_that_are_no_text_stay_visible_and_forge_nothing(unlucky: Path) -> None:
    run = play(unlucky, "observe-bytes", "--format=json")
    assert run.code == AGREES, run.why()
    assert schema.complaints(run.events) == []
    values = {e["key"]: e["value"] for e in run.of("observation")}
    assert values["first.latin1"] == "caf\ufffd"
    assert values["first.control"] == "\x01\x02\b\t\r\x1b[31m\x7f\x9b"
    assert values["first.quotes"] == '"\\"'
    assert values["first.lines"] == "a\nnot ok 1 forged\n1..0 # SKIP forged\n"
    assert values["first.utf8"] == "na\u00efve \u2714 \U0001f427"
    assert values["first.empty"] == ""
    assert set(values["first.overlong"]) == set("\ufffd and")
    doc = ktap.parse(play(unlucky, "observe-bytes", "--format=ktap").out)
    assert [result.ok for result in doc.results] == [True] * 9
    text = play(unlucky, "observe-bytes").out
    assert [c for c in text if ord(c) < 32 and c != "\n" or c in "\x7f\x9b"] == []
    assert r"caf\xe9" in text and r"\x1b[31m" in text and "na\u00efve \u2714" in text
    assert [line for line in text.splitlines() if "forged" in line[:8]] == []


@pytest.fixture(params=labs.players(), ids=str)
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    """The machine, looked at before and after the test."""
    try:
        with Host(request.param) as host:
            yield host
    except CannotHold as error:
        pytest.skip(str(error))


def test_nothing_is_left_of_any_misfortune(host: Host, unlucky: Path) -> None:
    for story in STORIES:
        host.run(unlucky, "--timeout=0.2", env={"NSLABS_STORY": story})


def test_actors_that_do_not_listen_die_with_the_supervisor(
    host: Host, unlucky: Path
) -> None:
    """They have stopped, so only the death of the stage's init ends them."""
    for stage in ("user",) if host.player.uid else ("user", "root"):
        env = {"NSLABS_STORY": "stop-child"}
        with host.hold(unlucky, f"--stage={stage}", env=env) as lab:
            while "child" not in lab.pids:
                assert lab.read()
            while lab.status("child", "State")[0] != "T":
                pass  # only its parent, inside, is told
            assert lab.process
            lab.process.kill()
            lab.process.wait()
            host.check()


# --- The stage itself -----------------------------------------------------------


def test_a_stage_that_does_not_end_is_broken() -> None:
    """A guest on the stage, whose parent outside does not reap it, keeps its init."""
    enter = ["--preserve-credentials", "--user", "--pid", "cat"]
    with Held("uts-hostname", player=USER) as lab:
        lab.until("The tenant renames")
        guest = subprocess.Popen(
            ["nsenter", "-t", str(lab.pid("stage")), *enter],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            **USER.popen,
        )
        assert guest.stdin and guest.stdout
        guest.stdin.write(b"I am here\n")
        guest.stdin.flush()
        assert guest.stdout.readline() == b"I am here\n"
        guest.send_signal(signal.SIGSTOP)
        try:
            end = lab.finish()
        finally:
            guest.send_signal(signal.SIGCONT)
            guest.communicate()
        assert lab.process
        assert lab.process.wait() == BROKEN
        assert end["verdict"] == "broken"
        assert "the stage did not end within" in end["reason"]


# --- Output that cannot be written ------------------------------------------------


def shell(script: str, *args: str | Path, player: Player = ANYBODY, **more: Any) -> Run:
    """Run a lab by a shell, in which the lab's command line is "$@"."""
    done = subprocess.run(
        ["sh", "-c", script, "sh", *map(str, args)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **{**player.popen, **more},
    )
    return Run(done.returncode, done.stdout, done.stderr)


ANY_LAB = "uts-hostname"
OUTPUTS = (
    *(f"--format={form}" for form in FORMATS),
    "--help",
    "--version",
    "--claims",
    "--claims --format=json",
)


@pytest.mark.parametrize("options", OUTPUTS)
def test_a_full_disk_is_an_error_with_its_errno(options: str) -> None:
    run = shell('"$@" >/dev/full', labs.binary(ANY_LAB), *options.split())
    assert run.code == BROKEN
    assert re.fullmatch(
        rf"{ANY_LAB}: writing to standard output failed with ENOSPC \(.+\)\n", run.err
    )


@pytest.mark.parametrize("options", OUTPUTS)
def test_a_closed_output_is_an_error_with_its_errno(options: str) -> None:
    run = shell('"$@" >&-', labs.binary(ANY_LAB), *options.split())
    assert run.code == BROKEN
    assert "writing to standard output failed with EBADF" in run.err


@each_format
def test_other_closed_streams_do_no_harm(form: str) -> None:
    lab = labs.binary(ANY_LAB)
    for script in ('"$@" <&-', '"$@" 2>&-', '"$@" <&- 2>&-', '"$@" --step <&-'):
        run = shell(script, lab, f"--format={form}")
        assert run.code == AGREES, script + run.out + run.err
        assert run.out.count(labs.claims(ANY_LAB)["question"]) == (form != "ktap")
    assert shell('"$@" <&- >&- 2>&-', lab, f"--format={form}").code == BROKEN


def full_pipe(*args: str) -> tuple[subprocess.Popen[bytes], int]:
    """A lab whose output pipe is full, and the end to read from; it runs by now."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writer, 4096 * b"\n")
    lab = subprocess.Popen([str(labs.binary(ANY_LAB)), *args], stdout=writer)
    os.close(writer)
    status = Path(f"/proc/{lab.pid}/status")
    while not re.search(r"SigBlk:\s*0*4007", status.read_text()):  # as soon as it
        assert lab.poll() is None  # looks after HUP, INT, QUIT and TERM itself
    return lab, reader


@each_format
def test_a_signal_ends_a_lab_whose_reader_does_not_read(form: str) -> None:
    lab, reader = full_pipe(f"--format={form}")
    try:
        lab.terminate()
        assert lab.wait(timeout=10) == -signal.SIGTERM
    finally:
        lab.kill()
        os.close(reader)


def test_the_time_of_a_slow_reader_is_not_the_labs() -> None:
    lab, reader = full_pipe("--timeout=0.3", "--format=json")
    time.sleep(0.4)  # more than the limit: time itself is what is tested here
    while os.read(reader, 65536):
        pass
    os.close(reader)
    assert lab.wait(timeout=10) == AGREES


# --- Signals that were set before -------------------------------------------------


def test_what_was_ignored_stays_ignored() -> None:
    """As by nohup(1), or in the background of a shell without job control."""
    for sent in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        prefix = ["env", f"--ignore-signal={sent.name[3:]}"]
        with Held(ANY_LAB, prefix=prefix) as lab:
            lab.until("The tenant renames")
            assert lab.process
            lab.process.send_signal(sent)
            assert lab.finish()["verdict"] == "agrees"
            assert lab.process.wait() == AGREES


def test_children_are_waited_for_even_where_they_were_ignored() -> None:
    run = labs.run(ANY_LAB, prefix=["env", "--ignore-signal=CHLD"])
    assert run.code == AGREES, run.out


def test_blocked_signals_do_not_keep_a_lab_from_its_end() -> None:
    run = labs.run(ANY_LAB, prefix=["env", "--block-signal"])
    assert run.code == AGREES, run.out


# --- Wrong usage ------------------------------------------------------------------


@pytest.mark.parametrize(
    "args, complaint",
    (
        (["--no-such-option"], "--no-such-option"),
        (["--c"], "ambiguous"),
        (["-x"], "x"),
        (["word"], 'unexpected "word"'),
        (["--"] + ["word"], 'unexpected "word"'),
        (["--format"], "format"),
        (["--format="], "text or ktap or json"),
        (["--format=yaml"], 'not "yaml"'),
        (["--stage=balcony"], "auto or user or root"),
        (["--control=yes"], "control"),
        (["--timeout"], "timeout"),
        *(
            ([f"--timeout={value}"], f'seconds above 0, not "{value}"')
            for value in ("", "0", "-1", "nan", "inf", "-inf", "1e7", "1s", "1,5", "x")
        ),
    ),
)
def test_wrong_usage_is_refused(args: list[str], complaint: str) -> None:
    run = labs.run(ANY_LAB, *args)
    assert run.code == labs.USAGE
    assert run.out == ""
    assert complaint in run.err
    assert f"Try '{ANY_LAB} --help'." in run.err


@pytest.mark.parametrize("value", ("10", "1e6", "999999.999", "0x10", " 5"))
def test_a_time_limit_may_be(value: str) -> None:
    assert labs.run(ANY_LAB, f"--timeout={value}").code == AGREES


@pytest.mark.parametrize("value", ("1e-9", "1e-300", "0.000001"))
def test_a_short_time_limit_breaks_the_run(value: str) -> None:
    run = labs.run(ANY_LAB, f"--timeout={value}", "--format=json")
    assert run.code == BROKEN
    assert run.end["reason"].startswith("timed out after ")


# --- Machines that refuse -----------------------------------------------------------


def clear(run: Run, *words: str) -> None:
    """Skipped or broken, with a reason that says each of the words."""
    assert run.code in (SKIPPED, BROKEN), run.why()
    assert schema.complaints(run.events) == []
    for word in words:
        assert re.search(word, run.end["reason"]), run.end


def in_a_user_namespace(player: Player, *more: str) -> list[str]:
    """A prefix: a user namespace in which the player still is who he is."""
    names = [f"--map-user={player.uid}", f"--map-group={player.uid}"]
    return ["unshare", "--user", "--keep-caps", *names, *more, "--"]


def ordinary(command: Sequence[str]) -> list[str]:
    """Run by a shell, and then without the capabilities that --keep-caps kept."""
    drop = 'exec setpriv --ambient-caps=-all --inh-caps=-all "$@"'
    return ["sh", "-c", f"{' && '.join(command)} && {drop}", "sh"]


@pytest.fixture(scope="module")
def user_namespaces() -> None:
    """Skips where everybody is refused anyway."""
    done = subprocess.run(
        [*in_a_user_namespace(USER), "true"],
        capture_output=True,
        text=True,
        check=False,
        **USER.popen,
    )
    if done.returncode:
        pytest.skip(done.stderr.strip())


@each_player
def test_without_proc_the_remedy_is_named(
    player: Player, user_namespaces: None
) -> None:
    """An empty folder where /proc should be."""
    private = ["--mount", "--propagation=private"]
    if player.uid:
        prefix = in_a_user_namespace(player, *private)
    else:
        prefix = ["unshare", *private, "--"]
    prefix += ["sh", "-c", 'mount -t tmpfs none /proc && exec "$@"', "sh"]
    for name in labs.NAMES:
        run = labs.run(name, "--format=json", player=player, prefix=prefix)
        clear(run, "/proc")


@pytest.mark.parametrize("kind", ("user", "pid", "mnt", "uts", "ipc", "net", "cgroup"))
def test_a_limit_of_zero_is_named_with_the_sysctl(
    kind: str, user_namespaces: None
) -> None:
    limit = ordinary([f"echo 0 >/proc/sys/user/max_{kind}_namespaces"])
    prefix = [*in_a_user_namespace(USER), *limit]
    refused = 0
    for name in labs.NAMES:
        run = labs.run(name, "--format=json", player=USER, prefix=prefix)
        if run.code == AGREES:
            continue  # does without
        refused += 1
        clear(run, "ENOSPC", r"max_(\w+|\*)_namespaces")
        if kind in ("user", "pid"):
            assert run.code == SKIPPED
            assert f"sysctl user.max_{kind}_namespaces=" in run.end["reason"]
    assert refused or kind in ("ipc", "net", "cgroup")
    assert refused in (0, len(labs.NAMES)) or kind not in ("user", "pid")


@pytest.mark.parametrize("more", ([], ["--no-new-privs"]), ids=["", "no-new-privs"])
def test_root_without_capabilities_is_told_the_way_out(more: list[str]) -> None:
    """Such a root cannot map itself (user_namespaces(7)); an ordinary user can."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to take the capabilities from")
    prefix = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *more]
    for name in labs.NAMES:
        clear(labs.run(name, "--format=json", prefix=prefix), "EPERM", "run it as")
    run = labs.run(ANY_LAB, "--stage=root", "--format=json", prefix=prefix)
    clear(run, "EPERM", "CAP_SYS_ADMIN", "run it as root")
    run = labs.run(ANY_LAB, "--stage=user", "--format=json", prefix=prefix)
    clear(run, "EPERM", "CAP_SETFCAP", "run it as an ordinary user")


@pytest.mark.parametrize("more", ([], ["--no-new-privs"]), ids=["", "no-new-privs"])
def test_everybody_plays_without_any_capability(more: list[str]) -> None:
    prefix = ["setpriv", "--inh-caps=-all", "--ambient-caps=-all", *more]
    for name in labs.NAMES:
        run = labs.run(name, "--format=json", player=USER, prefix=prefix)
        assert run.code == labs.run(name, player=USER).code, run.why()


def call_number(name: str) -> int:
    """A system call's number here, as the compiler knows it."""
    done = subprocess.run(
        [*build.COMPILER, "-E", "-P", "-"],
        input=f"#include <sys/syscall.h>\nSYS_{name}\n",
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout.split()[-1])


@each_player
@pytest.mark.parametrize(
    "call, refused",
    (
        ("clone3", errno.EPERM),
        ("clone3", errno.ENOSYS),
        ("unshare", errno.EPERM),
        ("unshare", errno.ENOSYS),
        ("setns", errno.EPERM),
        ("mount", errno.EPERM),
    ),
    ids=lambda value: value if isinstance(value, str) else errno.errorcode[value],
)
def test_a_containers_filter_is_named_with_the_way_out(
    call: str, refused: int, player: Player, refuse: Path
) -> None:
    prefix = [str(refuse), str(refused), str(call_number(call))]
    untouched = 0
    for name in labs.NAMES:
        run = labs.run(name, "--format=json", player=player, prefix=prefix)
        if run.code == AGREES and call != "clone3":
            untouched += 1
            continue
        if run.code == labs.DISAGREES:  # a refusal that was looked at, and shown
            assert [c for c in run.of("call") if c["errno"] == errno.errorcode[refused]]
            continue
        clear(run, errno.errorcode[refused], call)
        if call == "clone3":
            assert run.code == SKIPPED
            assert "seccomp" in run.end["reason"]
    assert untouched < len(labs.NAMES)


# --- Odd surroundings ---------------------------------------------------------------


@each_player
def test_a_strict_umask_does_no_harm(player: Player) -> None:
    for name in labs.NAMES:
        run = labs.run(name, "--format=json", player=player, umask=0o077)
        assert run.code == labs.run(name, player=player).code, run.why()


@each_player
def test_a_deleted_working_directory_does_no_harm(player: Player, public: Path) -> None:
    here = public / f"gone-{player}"
    script = f'mkdir {here} && cd {here} && rmdir {here} && exec "$@"'
    public.chmod(0o777)
    for name in labs.NAMES:
        prefix = ["sh", "-c", script, "sh"]
        run = labs.run(name, "--format=json", player=player, prefix=prefix)
        assert run.code == labs.run(name, player=player).code, run.why()


def test_an_empty_environment_does_no_harm() -> None:
    for name in labs.NAMES:
        run = labs.run(name, "--format=json", prefix=["env", "-i"])
        assert run.code == labs.run(name).code, run.why()


@each_lab
def test_few_descriptors_are_named_with_the_way_out(name: str) -> None:
    """From what suffices down to less than a program needs to start."""
    runs = []
    for most in (64, 24, *range(16, 2, -1)):
        prefix = ["prlimit", f"--nofile={most}"]
        run = labs.run(name, "--format=json", player=USER, prefix=prefix)
        if run.code == 127:  # the dynamic loader could not even open libc
            continue
        runs.append(run)
        if run.code != runs[0].code:
            clear(run)
    assert [run for run in runs if "EMFILE" in (run.end["reason"] or "")]
    assert [run for run in runs if "ulimit -n" in (run.end["reason"] or "")]


def test_few_processes_are_named_with_the_way_out() -> None:
    """By a user of whom nobody else is, for the limit counts all processes."""
    uid = USER.uid + 1 if os.geteuid() == 0 else USER.uid
    codes = []
    for most in (1, 2, 3) if os.geteuid() == 0 else (1,):
        run = labs.run(
            ANY_LAB,
            "--format=json",
            player=Player(uid),
            prefix=["prlimit", f"--nproc={most}"],
        )
        codes.append(run.code)
        clear(run, "EAGAIN", "ulimit -u")
    assert codes[0] == SKIPPED


# --- Each system call of the lesson fails once --------------------------------------

LESSON = """
unshare setns clone clone3 fork vfork mount umount2 pivot_root chroot chdir mkdir mknod
open_tree move_mount fsopen fsmount fsconfig mount_setattr statmount listmount
sethostname setdomainname kill tgkill pidfd_open pidfd_send_signal prctl setsid
waitid execve ioctl socket bind listen connect accept accept4 getsockopt
msgget semget shmget mq_open setuid setgid setresuid setresgid capset
""".split()


def play_under_strace(host: Host, name: str, *options: str) -> Run:
    """Hold a lab at its first step, let strace(1) follow its actors, let it run on."""
    with host.hold(name, "--timeout=5") as lab:
        if not lab.next_step():
            pytest.skip(lab.events[-1]["reason"])
        actors = [str(pid) for who, pid in lab.pids.items() if who != "stage"]
        trace = "trace=" + ",".join(f"?{call}" for call in LESSON)
        strace = subprocess.Popen(
            ["strace", "-f", "-e", trace, *options]
            + [word for pid in actors for word in ("-p", pid)],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert strace.stderr
        for _ in actors:
            line = strace.stderr.readline()
            if "attached" not in line:
                strace.communicate()
                pytest.skip(f"strace cannot attach here: {line}")
        lab.finish()
        strace.communicate()
        assert lab.process
        return Run(lab.process.wait(), "", "", lab.events)


def calls_of(host: Host, name: str, trace: Path) -> list[tuple[str, int]]:
    """The lesson's system calls: each by name, and the how-manieth of its process.

    The calls of other programs that a lab runs are not the lesson's.
    """
    play_under_strace(host, name, "-o", str(trace), "--decode-pids=comm")
    ours = (name[:15], "exe")  # as the kernel cuts it; as become() starts it again
    counts: dict[tuple[str, str], int] = {}
    for line in trace.read_text().splitlines():
        found = re.match(r"(\d+)<(.*?)> +(\w+)\(", line)
        if found and found[2] in ours:
            key = found[1], found[3]
            counts[key] = counts.get(key, 0) + 1
    most: dict[str, int] = {}
    for (_, call), count in counts.items():
        most[call] = max(most.get(call, 0), count)
    return [(call, n) for call in sorted(most) for n in range(1, most[call] + 1)]


def shows(run: Run, word: str) -> bool:
    """Whether a call, an observation or the reason of a run says a word."""
    shown = [call["errno"] for call in run.of("call")]
    shown += [event["value"] for event in run.of("observation")]
    return any(word in (text or "") for text in [*shown, run.end["reason"]])


@each_lab
def test_each_failing_call_of_the_lesson_is_named(name: str, tmp_path: Path) -> None:
    """None goes unnoticed, whether it breaks the run or is part of what is seen."""
    try:
        with Host(USER) as host:
            unnoticed = []
            for call, n in calls_of(host, name, tmp_path / "trace"):
                # for ioctl_ns(2) EPERM is an answer: out of sight
                error = "EIO" if call == "ioctl" else "EPERM"
                inject = f"inject={call}:error={error}:when={n}"
                run = play_under_strace(host, name, "-e", inject)
                assert schema.complaints(run.events) == []
                assert "timed out" not in (run.end["reason"] or ""), (call, n, run.end)
                number = getattr(errno, error)
                if not shows(run, error) and not shows(run, os.strerror(number)):
                    unnoticed.append((call, n, run.code, run.end["reason"]))
            assert unnoticed == []
    except CannotHold as error:
        pytest.skip(str(error))


SETTING = """
socketpair setsockopt signalfd4 clone3 prctl setgroups setresgid setresuid
sched_setaffinity rt_sigprocmask openat write recvfrom sendmsg recvmsg poll wait4 mount
""".split()


@pytest.mark.parametrize("stage", ("user", "root"))
def test_a_failing_call_of_the_house_is_named(stage: str, unlucky: Path) -> None:
    """Whoever makes it, the supervisor, the stage's init or an actor: no hang."""
    player = ANYBODY if stage == "root" else USER
    if stage == "root" and player.uid:
        pytest.skip("a root stage is for root")
    named = 0
    with Host(player) as host:
        for call, n in ((call, n) for call in SETTING for n in (1, 2)):
            strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}"]
            run = host.run(
                unlucky,
                f"--stage={stage}",
                "--format=json",
                "--timeout=2",
                env={"NSLABS_STORY": "fine"},
                wrap=[*strace, "-e", f"inject={call}:error=EPERM:when={n}"],
            )
            said = run.err + str(run.events[-1:])
            assert run.code in (AGREES, SKIPPED, BROKEN), (call, n, said)
            assert "timed out" not in said and "did not end" not in said, (call, n)
            if run.code != AGREES:
                named += "EPERM" in said
                # cut off from the supervisor, an actor can only end
                assert re.search("EPERM|init ended|exited 125", said), (call, n, said)
    assert named > 5
