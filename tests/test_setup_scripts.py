"""The set-up scripts: what they install, what they run, what they say instead.

The package managers are fakes on PATH, so nothing is installed: each keeps a file
of what is installed and a log of how it was called.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ROOT / "scripts"
MANAGERS = ("apt", "dnf", "pacman", "apk", "zypper")
PURPOSES = ("run", "test", "lint", "vm", "fresh")
TOOLS = (
    "sh awk cat date dirname env grep id make mktemp nproc readlink rm sed sort tr true"
)

# What every fake has: its call goes to the log, with what a child can see of the
# caller's care (the umask, and whether a question would find an answer).
FAKE = """#!/bin/sh
state={state}
log() {{
    read -r answer && found=an || found=no
    echo "$* [umask $(umask), $found answer]" >>"$state/log"
}}
add() {{
    for word; do case $word in -* | install | add | Dpkg*) ;;
    *) echo "$word" >>"$state/installed" ;; esac; done
}}
fail() {{
    [ -s "$state/failures" ] || return 1
    sed -i 1d "$state/failures"
    echo "E: 404 Not Found"
}}
{body}
"""
INSTALL = """
case "$*" in
*-s*-qq* | -Si*) [ -e "$state/lists" ]; exit ;;
{ask}) {answer}; exit ;;
esac
log {name} "$@"
case "$*" in
{refresh}) touch "$state/lists" ;;
*) if fail; then exit 100; fi
   [ -e "$state/liar" ] || add "$@" ;;
esac
"""
LISTED = (
    'for n; do case $n in -*) ;; *) grep -qx -e "$n" "$state/installed" && {then} ;;'
    " esac; done"
)
QUERIES = {
    "dpkg-query": LISTED.format(then='echo "installed $n"')
    + '; [ ! -e "$state/removed" ] || cat "$state/removed"',
    "rpm": 'case "$*" in *--whatprovides*) exit 1 ;; esac; '
    + LISTED.format(then='echo "$n"'),
}
BODIES = {
    "apt": ("apt-get", "nothing", "true", "update"),
    "dnf": ("dnf", "nothing", "true", "makecache*"),
    "zypper": ("zypper", "nothing", "true", "*refresh"),
    "apk": ("apk", "info*", "shift 2; " + LISTED.format(then='echo "$n"'), "update"),
    "pacman": (
        "pacman",
        "-T*",
        'shift; for n; do grep -qx -e "$n" "$state/installed" || echo "$n"; done',
        "-Sy*",
    ),
}


class Machine:
    """A PATH with little on it but a package manager that only pretends."""

    def __init__(self, folder: Path, manager: str | None) -> None:
        self.state = folder
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.manager = manager
        for tool in TOOLS.split():
            found = shutil.which(tool)
            assert found, f"{tool} is not on PATH"
            (self.bin / tool).symlink_to(found)
        for file in ("installed", "log", "failures"):
            (folder / file).touch()
        (folder / "lists").touch()
        self.user("0")
        if manager:
            name, ask, answer, refresh = BODIES[manager]
            self.fake(
                name,
                INSTALL.format(name=name, ask=ask, answer=answer, refresh=refresh),
            )
        for query, body in QUERIES.items():
            self.fake(query, body)

    def fake(self, name: str, body: str) -> None:
        """Put a fake program on PATH."""
        path = self.bin / name
        path.unlink(missing_ok=True)
        path.write_text(FAKE.format(state=f"'{self.state}'", body=body))
        path.chmod(0o755)

    def user(self, uid: str) -> None:
        """Be this user, as far as id(1) says."""
        self.fake("id", f"echo {uid}")

    def install(self, *names: str) -> None:
        """Have these packages from the beginning."""
        with (self.state / "installed").open("a") as file:
            file.writelines(f"{name}\n" for name in names)

    def setup(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Run scripts/setup here."""
        return subprocess.run(
            [SCRIPTS / "setup", *args],
            env={"PATH": str(self.bin), "HOME": "/nowhere"},
            input="an answer\n",
            capture_output=True,
            text=True,
            umask=0o077,
            timeout=60,
        )

    def calls(self) -> list[str]:
        """The commands that changed something, or tried, in their order."""
        lines = (self.state / "log").read_text().splitlines()
        return [line.split(" [")[0] for line in lines]


@pytest.fixture(params=MANAGERS)
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Machine:
    """A machine of each distribution."""
    return Machine(tmp_path, request.param)


@pytest.fixture
def debian(tmp_path: Path) -> Machine:
    """A machine with apt."""
    return Machine(tmp_path, "apt")


def table() -> Iterator[dict[str, str]]:
    """The rows of packages.tsv."""
    lines = (SCRIPTS / "packages.tsv").read_text().splitlines()
    rows = [line.split("\t") for line in lines if line and not line.startswith("#")]
    for row in rows[1:]:
        assert len(row) == len(rows[0]), f"a field too many or too few: {row}"
        yield dict(zip(rows[0], row))


def packages(manager: str, *purposes: str) -> list[str]:
    """The names that the table has for these purposes."""
    names = [row[manager].split() for row in table() if row["for"] in purposes]
    return [name for group in names for name in group if name != "-"]


# ---- the table ---------------------------------------------------------------


def test_every_row_of_the_table_is_complete() -> None:
    """No empty field, no unknown purpose, no need twice, a reason that reads well."""
    needs = []
    for row in table():
        needs.append(row["what"])
        assert row["for"] in PURPOSES, row
        assert row["apt"] != "-", "the distribution that is tested lacks nothing"
        assert row["why"][:1].islower() or row["why"].split()[0] == "netlink", row
        for manager in MANAGERS:
            assert re.fullmatch(r"-|[a-zA-Z0-9_.+ -]+", row[manager]), row
            assert row[manager] == row[manager].strip() != "", row
    assert len(needs) == len(set(needs))
    assert {row["for"] for row in table()} == set(PURPOSES)


def test_debian_has_every_package_of_the_table() -> None:
    """A misspelt name would be found only on a machine that lacks the package."""
    if not list(Path("/var/lib/apt/lists").glob("*_Packages*")):
        pytest.skip("apt has no package lists here (apt-get update)")
    names = packages("apt", *PURPOSES)
    policy = subprocess.run(
        ["apt-cache", "policy", *names],
        env={**os.environ, "LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=True,
    )
    known = re.findall(r"^(\S+):\n.*\n  Candidate: (?!\(none\))", policy.stdout, re.M)
    assert sorted(set(names) - set(known)) == []


# ---- scripts/setup -------------------------------------------------------------


def test_what_is_missing_is_installed_and_nothing_else(machine: Machine) -> None:
    """With two packages of the purpose missing, those two are asked for."""
    assert machine.manager
    names = packages(machine.manager, "run")
    missing, there = names[:2], names[2:]
    machine.install(*there)
    done = machine.setup("run")
    assert done.returncode == 0, done.stderr
    (call,) = machine.calls()
    assert call.split()[-2:] == sorted(missing)
    for name in missing:
        assert re.search(rf"^  {re.escape(name)} .*[a-z]", done.stderr, re.M)
    for name in set(there) - set(missing):
        assert not re.search(rf"^  {re.escape(name)} ", done.stderr, re.M)


def test_when_nothing_is_missing_setup_says_nothing_and_needs_no_root(
    machine: Machine,
) -> None:
    """No output, no call, no sudo: an ordinary user on a machine that is ready."""
    assert machine.manager
    machine.user("1000")
    machine.install(*packages(machine.manager, "run", "test"))
    done = machine.setup("run", "test")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert machine.calls() == []


def test_package_that_was_removed_but_not_purged_is_missing(debian: Machine) -> None:
    """dpkg still knows its name, with another state."""
    names = packages("apt", "run")
    debian.install(*names[1:])
    (debian.state / "removed").write_text(f"config-files {names[0]}\n")
    assert debian.setup("--dry-run").stdout.split()[-1] == names[0]


def test_dry_run_prints_what_would_run_and_runs_nothing(machine: Machine) -> None:
    """The printed commands are, word for word, those of the real run."""
    (machine.state / "lists").unlink()
    told = machine.setup("--dry-run", "run", "test")
    assert told.returncode == 0, told.stderr
    assert machine.calls() == []
    machine.setup("run", "test")
    assert told.stdout.strip().split(" && ") == machine.calls()


def test_manager_is_found_by_its_program(machine: Machine) -> None:
    """Each distribution is recognised by the manager on PATH."""
    assert machine.manager
    done = machine.setup("--dry-run")
    given = machine.setup("--dry-run", "--manager", machine.manager)
    assert done.stdout == given.stdout != ""


def test_purposes_are_kept_apart(debian: Machine) -> None:
    """Who only runs labs gets no compiler for the linters; 'all' is all of them."""
    words = set(debian.setup("--dry-run", "run").stdout.split())
    assert words >= set(packages("apt", "run"))
    assert not words & set(packages("apt", "test", "lint", "vm", "fresh"))
    words = set(debian.setup("--dry-run", "all").stdout.split())
    assert words >= set(packages("apt", *PURPOSES))


def test_lists_are_fetched_only_when_they_are_needed(debian: Machine) -> None:
    """apt-get update runs when apt does not know a package, and not otherwise."""
    assert debian.setup("run").returncode == 0
    assert [call.split()[1] for call in debian.calls()] == ["install"]
    (debian.state / "lists").unlink()
    assert debian.setup("test").returncode == 0
    assert [call.split()[1] for call in debian.calls()[1:]] == ["update", "install"]


def test_failing_fetch_is_tried_again_with_fresh_lists(machine: Machine) -> None:
    """An old list names a version that the mirror no longer has."""
    (machine.state / "failures").write_text("once\n")
    done = machine.setup("run")
    assert done.returncode == 0, done.stderr
    install, refresh, again = machine.calls()
    assert install == again != refresh
    assert "404" not in done.stderr


def test_lasting_failure_shows_the_whole_output_and_the_command(
    machine: Machine,
) -> None:
    """Twice in vain: the manager's own words, then what to run by hand."""
    (machine.state / "failures").write_text("once\ntwice\n")
    done = machine.setup("run")
    assert done.returncode == 1
    assert "E: 404 Not Found" in done.stderr
    assert machine.calls()[-1] in done.stderr
    assert len(machine.calls()) == 3


def test_manager_that_only_claims_success_is_not_believed(machine: Machine) -> None:
    """Afterwards setup looks again."""
    (machine.state / "liar").touch()
    done = machine.setup("run")
    assert done.returncode == 1
    assert "still missing" in done.stderr


def test_nothing_asks_and_files_are_readable_by_others(machine: Machine) -> None:
    """The manager finds no terminal to ask on, and a umask that suits /usr."""
    assert machine.setup("run").returncode == 0
    for line in (machine.state / "log").read_text().splitlines():
        assert line.endswith("[umask 0022, no answer]"), line


def test_without_root_and_sudo_the_exact_command_is_named(machine: Machine) -> None:
    """The command in the error is the one that root would have seen run."""
    machine.user("1000")
    refused = machine.setup("run")
    assert refused.returncode == 1
    assert machine.calls() == []
    machine.user("0")
    machine.setup("run")
    (call,) = machine.calls()
    assert refused.stderr.splitlines()[-1].strip() == call
    assert "run as root" in refused.stderr


def test_ordinary_user_installs_through_sudo(machine: Machine) -> None:
    """Every command of the manager goes through sudo, with no questions allowed."""
    machine.user("1000")
    machine.fake(
        "sudo", 'echo "$*" >>"$state/sudo"\n[ "$1" != -n ] || shift\nexec "$@"'
    )
    assert machine.setup("run").returncode == 0
    through = (machine.state / "sudo").read_text().splitlines()
    assert through.pop(0) == "-n true"
    prefix = "env DEBIAN_FRONTEND=noninteractive "
    assert through == [prefix + call for call in machine.calls()]


def test_sudo_that_wants_a_password_without_a_terminal_is_an_error(
    debian: Machine,
) -> None:
    """It would wait for ever, or fail in the middle."""
    debian.user("1000")
    debian.fake("sudo", '[ "$1" != -n ] || exit 1\nexec "$@"')
    done = debian.setup("run")
    assert done.returncode == 1
    assert "sudo wants a password" in done.stderr
    assert "apt-get install" in done.stderr.splitlines()[-1]
    assert debian.calls() == []


@pytest.mark.parametrize("args", [("--manager", "guix"), ()])
def test_unknown_manager_gets_the_names_of_all_distributions(
    tmp_path: Path, args: tuple[str, ...]
) -> None:
    """Whoever has another distribution finds the names, and a way to go on."""
    done = Machine(tmp_path, None).setup(*args, "run")
    assert done.returncode == 1
    for manager in MANAGERS:
        for name in packages(manager, "run"):
            assert name in done.stderr.split(), f"{name} of {manager}"
    assert "--no-setup" in done.stderr


@pytest.mark.parametrize("args", [("--nonsense",), ("everything",), ("--manager",)])
def test_wrong_usage_of_setup_is_exit_2(debian: Machine, args: tuple[str]) -> None:
    """Nothing is installed by a slip of the finger."""
    done = debian.setup(*args)
    assert done.returncode == 2
    assert "--help" in done.stderr
    assert debian.calls() == []


def test_print_lists_every_need_with_its_state(debian: Machine) -> None:
    """One line a need: what is there and what is not."""
    debian.install("make")
    lines = debian.setup("--print", "run").stdout.splitlines()
    assert len(lines) == sum(row["for"] == "run" for row in table())
    states = {line.split()[0]: "missing" in line.split() for line in lines}
    assert states["make"] is False
    assert states["python3"] is True


def test_setup_on_a_machine_that_is_ready_takes_less_than_a_tenth_of_a_second(
    debian: Machine,
) -> None:
    """It runs before every scripts/run, so nobody may notice it (best of seven)."""
    debian.install(*packages("apt", "run", "test"))
    seconds = []
    for _ in range(7):
        begun = time.monotonic()
        assert debian.setup("run", "test").returncode == 0
        seconds.append(time.monotonic() - begun)
    assert min(seconds) < 0.1


# ---- scripts/run, scripts/test, .ci/run -----------------------------------------


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The scripts in a folder with a space, around a project that only takes notes."""
    root = tmp_path / "a project"
    (root / "scripts").mkdir(parents=True)
    (root / ".ci").mkdir()
    (root / "tests").mkdir()
    for name in ("scripts/run", "scripts/test", ".ci/run"):
        shutil.copy(ROOT / name, root / name)
    notes = f"'{tmp_path}/notes'"
    for name, body in {
        "scripts/setup": f'echo setup "$@" >>{notes}',
        "scripts/nslab": f"for a; do echo \"arg $a\" >>{notes}; done; echo '{{}}'",
    }.items():
        (root / name).write_text(f"#!/bin/sh\n{body}\n")
        (root / name).chmod(0o755)
    (root / "Makefile").write_text(f"all:\n\t@echo make >>{notes}; echo compiling\n")
    (root / "tests/test_it.py").write_text("def test_it():\n    assert True\n")
    return root


def notes(project: Path) -> list[str]:
    """What the project's parts noted."""
    return (project.parent / "notes").read_text().splitlines()


def call(
    script: Path,
    *args: str,
    cwd: Path | None = None,
    umask: int = 0o022,
    env: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a script of the project with a plain environment and what is added."""
    return subprocess.run(
        [script, *args],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        umask=umask,
        timeout=120,
    )


def test_run_installs_builds_and_passes_its_arguments_on(project: Path) -> None:
    """In this order; and standard output is nslab's alone, for --format=json."""
    done = call(project / "scripts/run", "--format=json", "two words", "*")
    assert done.returncode == 0, done.stderr
    given = ["arg run", "arg --format=json", "arg two words", "arg *"]
    assert notes(project) == ["setup run", "make", *given]
    assert done.stdout == "{}\n"
    assert "compiling" in done.stderr


def test_run_passes_on_the_status_of_nslab(project: Path) -> None:
    """A lab that disagrees must be seen by whoever called."""
    (project / "scripts/nslab").write_text("#!/bin/sh\nexit 4\n")
    assert call(project / "scripts/run").returncode == 4


@pytest.mark.parametrize("script", ["run", "test"])
def test_what_does_not_build_is_not_run(project: Path, script: str) -> None:
    """Old binaries must not answer for new code."""
    (project / "Makefile").write_text("all:\n\t@false\n")
    done = call(project / f"scripts/{script}")
    assert done.returncode != 0
    assert notes(project) == ["setup run" + (" test vm" if script == "test" else "")]
    assert "passed" not in done.stdout


@pytest.mark.parametrize("script", ["run", "test"])
def test_what_cannot_be_installed_stops_the_script(project: Path, script: str) -> None:
    """setup has said why; --no-setup goes on with what is there."""
    (project / "scripts/setup").write_text("#!/bin/sh\nexit 1\n")
    assert call(project / f"scripts/{script}").returncode == 1
    assert not (project.parent / "notes").exists()
    assert call(project / f"scripts/{script}", "--no-setup").returncode == 0


def test_scripts_work_in_strange_surroundings(project: Path, tmp_path: Path) -> None:
    """CDPATH, another python3, a umask of 077, no HOME, a link to the script."""
    for trap in ("scripts", "elsewhere/scripts"):
        (tmp_path / trap).mkdir(parents=True)
    other = tmp_path / "python3"
    other.write_text("#!/bin/sh\nexit 99\n")
    other.chmod(0o755)
    link = tmp_path / "link"
    link.symlink_to(project / "scripts/run")
    path = f"{tmp_path}:{os.environ['PATH']}"
    strange = {"CDPATH": f"{tmp_path}/elsewhere:.", "PATH": path}
    for script in (link, project / "scripts/run", Path("scripts/run")):
        done = call(script, cwd=project, umask=0o077, env=strange)
        assert (done.returncode, done.stdout) == (0, "{}\n"), done.stderr
    strange.update(PYTHONHOME="/nowhere", PYTHONPATH=str(tmp_path), HOME="/proc")
    done = call(project / "scripts/test", cwd=tmp_path, umask=0o077, env=strange)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_test_returns_pytests_status_and_ends_with_its_summary(project: Path) -> None:
    """A failing test fails the script; arguments reach pytest; all cores are used."""
    bad = project / "tests/test_bad.py"
    bad.write_text("def test_bad():\n    assert False\n")
    done = call(project / "scripts/test")
    assert done.returncode == 1
    assert re.search(r"1 failed, 1 passed in .*\Z", done.stdout.strip())
    assert f"gw{len(os.sched_getaffinity(0)) - 1} [2]" in done.stdout
    assert notes(project) == ["setup run test vm", "make"]
    done = call(project / ".ci/run", "tests/test_it.py", "-k", "it")
    assert done.returncode == 0
    assert re.search(r"1 passed in .*\Z", done.stdout.strip())


@pytest.mark.parametrize("script", ["run", "test", "setup", "fresh-tree"])
def test_help_explains_and_does_nothing(debian: Machine, script: str) -> None:
    """--help of each command is a page on standard output."""
    path = f"{debian.bin}:/usr/bin:/bin"
    done = call(SCRIPTS / script, "--help", env={"PATH": path})
    assert done.returncode == 0, done.stderr
    assert f"scripts/{script}" in done.stdout
    assert "Exit:" in done.stdout
    assert debian.calls() == []


# ---- scripts/fresh-tree (what can be said without root and network) ---------------


@pytest.fixture
def mirror(debian: Machine) -> Machine:
    """A Debian 13 host with a proxy and a certificate, and a foreign repository."""
    rows = (
        "Debian|http://mirror.example/debian/|trixie|main\n"
        "Debian|http://mirror.example/debian/|trixie|contrib\n"
        "Debian|http://mirror.example/debian/|trixie-updates|main\n"
        "Debian|http://mirror.example/debian/|trixie-backports|main\n"
        "Debian|https://mirror.example/security/|trixie-security|main\n"
        "Debian|file:/srv/debian/|trixie|main\n"
        "Somebody|http://other.example/|trixie|main\n"
    )
    settings = (
        'Acquire::http::Proxy "http://proxy.example:3142";\n'
        'Acquire::https::CaInfo "/etc/ssl/example.pem";\n'
        'Acquire::Check-Date "false";\n'
        'APT::Install-Recommends "1";\n'
        'Acquire::AllowInsecureRepositories "1";\n'
    )
    debian.fake("apt-get", f"cat <<'X'\n{rows}X")
    debian.fake("apt-config", f"cat <<'X'\n{settings}X")
    return debian


def fresh(machine: Machine, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    """scripts/fresh-tree on this machine."""
    path = f"{machine.bin}:/usr/bin:/bin"
    return call(SCRIPTS / "fresh-tree", *args, env={"PATH": path, **env})


def test_fresh_tree_turns_the_hosts_own_sources_to_the_suite(mirror: Machine) -> None:
    """Debian's archives of this host, crossed with the suite; nobody else's."""
    lines = fresh(mirror, "--dry-run").stdout.splitlines()
    assert [line for line in lines if line.startswith("deb ")] == [
        "deb http://mirror.example/debian/ bookworm main contrib",
        "deb http://mirror.example/debian/ bookworm-updates main",
        "deb https://mirror.example/security/ bookworm-security main",
    ]


def test_fresh_tree_hands_in_how_the_host_reaches_its_mirror(mirror: Machine) -> None:
    """Proxy, certificate and clock settings; nothing that weakens or changes apt."""
    lines = fresh(
        mirror, "--dry-run", http_proxy="http://ignored:1", https_proxy="http://also:2"
    ).stdout.splitlines()
    assert [line for line in lines if "::" in line] == [
        'Acquire::http::Proxy "http://proxy.example:3142";',
        'Acquire::https::CaInfo "/etc/ssl/example.pem";',
        'Acquire::Check-Date "false";',
        'Acquire::https::Proxy "http://also:2";',
    ]


def test_fresh_tree_runs_the_two_commands_or_those_given(mirror: Machine) -> None:
    """As root by default, as a user with sudo when asked."""

    def steps(*args: str) -> list[str]:
        lines = fresh(mirror, "--dry-run", *args).stdout.splitlines()
        return [line for line in lines if "nslabs$ " in line]

    assert steps() == [
        f"root:/root/nslabs$ {s}" for s in ("scripts/run", "scripts/test")
    ]
    home = "student:/home/student/nslabs$"
    assert steps("--user")[0] == f"{home} scripts/run"
    assert steps("--user", "--", "a b; c") == [f"{home} a b; c"]
    assert steps("--user", "a", "b c") == [f"{home} a 'b c'"]


def test_fresh_tree_without_a_mirror_says_what_to_do(mirror: Machine) -> None:
    """No lists, or no Debian: an option and a command instead of a traceback."""
    mirror.fake("apt-get", "true")
    done = fresh(mirror, "--dry-run")
    assert done.returncode == 1
    assert "apt-get update" in done.stderr
    assert "Traceback" not in done.stderr
    done = fresh(mirror, "--dry-run", "--mirror", "http://given.example/")
    assert done.stdout.startswith("deb http://given.example/ bookworm main\n")


def test_fresh_tree_without_root_says_so(mirror: Machine) -> None:
    """In a user namespace without a map nobody is root, whoever runs the tests."""
    nobody = ["unshare", "--user"]
    if subprocess.run([*nobody, "true"], capture_output=True).returncode != 0:
        pytest.skip("no user namespaces here: see scripts/nslab doctor")
    done = subprocess.run(
        [*nobody, SCRIPTS / "fresh-tree"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "needs root" in done.stderr


# ---- the shell itself ------------------------------------------------------------


def test_shell_scripts_are_clean() -> None:
    """shellcheck finds nothing, neither in the scripts nor in the tree's PID 1."""
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed (scripts/setup lint)")
    scripts = [*(SCRIPTS / name for name in ("setup", "run", "test")), ROOT / ".ci/run"]
    done = subprocess.run(
        ["shellcheck", *scripts], capture_output=True, text=True, check=False
    )
    assert done.stdout == ""
    source = (SCRIPTS / "fresh-tree").read_text()
    found = re.search(r'^ENTER = r"""\n(.*?)"""', source, re.S | re.M)
    assert found
    done = subprocess.run(
        ["shellcheck", "--shell=bash", "-"],
        input=found[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == ""
