"""What other engines read: a GitHub workflow, a LAVA definition, Debian's metadata.

Their commands are taken from the files and run as written, as each engine would,
as far as that goes without its server, a network and the right to install.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from harness import ktap, labs

ROOT = labs.ROOT
WORKFLOW = ROOT / ".github/workflows/kernels.yml"
LAVA = ROOT / "lava/nslabs.yaml"
DEBIAN = ROOT / "debian"

PYTESTS = ("PYTEST_", "NSLABS_REACHABLE_TREE")  # not for a suite inside this one
EXPRESSION = re.compile(r"\$\{\{ *([a-z.]+) *\}\}")
FIELDS = {"Tests", "Depends", "Restrictions"}  # those of autopkgtest that are used
RESTRICTIONS = {"skippable", "needs-root", "build-needed", "rw-build-tree"}


def load(path: Path) -> Any:
    """A YAML file as it is read by any program."""
    try:
        import yaml  # type: ignore
    except ImportError:
        pytest.skip("no module yaml (package python3-yaml)")
    return yaml.safe_load(path.read_text())


def run(
    command: list[str], cwd: Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run it to its end, without what pytest told its own processes."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(PYTESTS)
    }
    return subprocess.run(
        command,
        cwd=cwd,
        env={**inherited, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def told(done: subprocess.CompletedProcess[str]) -> str:
    """What a failed assertion should show."""
    return f"exit {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"


@pytest.fixture
def checkout(public: Path, tmp_path: Path) -> Path:
    """A folder that looks like a clone, in which a job may leave its files."""
    place = public / f"checkout-{tmp_path.name}"
    place.mkdir()
    for entry in ROOT.iterdir():
        (place / entry.name).symlink_to(entry)
    return place


# --- Both YAML files ---------------------------------------------------------------


@pytest.mark.parametrize("path", [WORKFLOW, LAVA], ids=lambda p: p.name)
def test_yamllint_finds_nothing(path: Path) -> None:
    if not shutil.which("yamllint"):
        pytest.skip("yamllint is not installed (package yamllint)")
    done = run(["yamllint", "--strict", str(path)], ROOT)
    assert done.returncode == 0, told(done)


@pytest.mark.parametrize("path", [WORKFLOW, LAVA], ids=lambda p: p.name)
def test_no_server_is_named(path: Path) -> None:
    """Where packages come from is the business of the machine that runs it."""
    assert "://" not in path.read_text()


# --- The workflow ------------------------------------------------------------------


def jobs() -> dict[str, Any]:
    """The workflow's jobs, by name."""
    found: dict[str, Any] = load(WORKFLOW)["jobs"]
    return found


def matrix() -> list[Any]:
    """The kernels of the workflow."""
    found: list[Any] = jobs()["kernel"]["strategy"]["matrix"]["kernel"]
    return found


def kernels(*options: str) -> list[dict[str, Any]]:
    """The kernels that the tool knows."""
    done = run(["scripts/nslab", "vm", "kernels", "--json", *options], ROOT)
    listed: list[dict[str, Any]] = json.loads(done.stdout)["kernels"]
    return listed


def fetched() -> list[str]:
    """The names of those that are in the cache, modules too."""
    return [
        row["name"]
        for row in kernels("--offline")
        if row["source"] == "fetched" and row["modules"]
    ]


def filled(text: str, kernel: str) -> str:
    """A text of the workflow, its expressions replaced as GitHub does."""
    return EXPRESSION.sub(lambda m: {"matrix.kernel": kernel}[m[1]], text)


def test_a_job_has_all_that_github_asks_for() -> None:
    workflow = load(WORKFLOW)
    assert set(workflow[True]) >= {"push", "pull_request"}  # YAML's word for `on`
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in jobs().items():
        assert job["runs-on"] and job["timeout-minutes"], name
        assert job["steps"][0]["uses"].startswith("actions/checkout@"), name
        for step in job["steps"]:
            assert len({"uses", "run"} & set(step)) == 1, step
            assert re.fullmatch(
                r"actions/[a-z-]+@v\d+", step.get("uses", "actions/a@v1")
            )
            assert "${{" not in step.get("run", ""), "a shell gets values by variables"


def test_every_kernel_is_a_text_and_there_is_an_old_and_a_new_one() -> None:
    assert all(isinstance(kernel, str) for kernel in matrix()), "6.10 is a number"
    assert len(set(matrix())) == len(matrix())
    series = [tuple(map(int, kernel.split("."))) for kernel in matrix()]
    assert series == sorted(series)
    assert series[0] < (6,) and series[-1] >= (7,)


def test_every_kernel_is_one_that_the_tool_knows() -> None:
    known = {row["name"] for row in kernels("--offline")}
    if not set(matrix()) <= known:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        if not any((cache / "nslabs/apt/state/lists").glob("*Packages*")):
            pytest.skip("no package lists yet: scripts/nslab vm kernels fetches them")
        known |= {row["name"] for row in kernels()}
    assert set(matrix()) <= known


def test_the_job_of_a_kernel_runs_as_written(checkout: Path) -> None:
    """All of its steps, but for what would be installed or downloaded."""
    job = jobs()["kernel"]
    if not shutil.which("qemu-system-x86_64"):
        pytest.skip("QEMU is not installed (package qemu-system-x86)")
    here = [kernel for kernel in matrix() if kernel in fetched()]
    if not here:
        pytest.skip(f"no kernel of it is here: scripts/nslab vm fetch {matrix()[-1]}")
    env = {name: filled(value, here[-1]) for name, value in job["env"].items()}
    ran = []
    for step in job["steps"]:
        command = step.get("run", "")
        if command.startswith("scripts/setup "):
            purposes = command.split()[1:]
            if run(["scripts/setup", "--dry-run", *purposes], checkout).stdout:
                continue
        if command:
            done = run(["sh", "-ec", command], checkout, env)
            assert done.returncode == 0, f"{command}\n{told(done)}"
            ran.append(command)
    assert any("vm run" in command for command in ran)
    kept = job["steps"][-1]
    assert kept["uses"].startswith("actions/upload-artifact@")
    results = ElementTree.parse(checkout / kept["with"]["path"]).getroot()
    suites = {suite.get("name") for suite in results.findall("testsuite")}
    modes = ("experiment", "control")
    assert suites == {f"{name}.{mode}" for name in labs.NAMES for mode in modes}
    ran_on = {p.get("value") for p in results.findall(".//property[@name='kernel']")}
    assert ran_on and all(str(r).startswith(f"{here[-1]}.") for r in ran_on), ran_on
    assert results.findall(".//failure") == results.findall(".//error") == []


def test_the_suites_job_calls_what_is_there() -> None:
    """Not run here, of course: this is a part of it."""
    steps = jobs()["suite"]["steps"]
    assert steps[-1]["run"] == ".ci/run"
    done = run([steps[-1]["run"], "--help"], ROOT)
    assert done.returncode == 0 and "whole suite" in done.stdout, told(done)
    for step in steps[1:-1]:  # not on this machine's own kernel
        harmless = step["run"].replace("/proc/sys/kernel/", "/nowhere/")
        done = run(["sh", "-ec", harmless], ROOT)
        assert done.returncode == 0, told(done)


# --- LAVA --------------------------------------------------------------------------

# What LAVA has on the device: its command, which here writes to a file.
TEST_CASE = """#!/bin/sh
[ $# = 3 ] && [ "$2" = --result ] || exit 1
echo "$1 $3" >>"$CASES"
"""


@pytest.fixture
def device(tmp_path: Path) -> dict[str, str]:
    """The environment of a device under test, with LAVA's command."""
    helpers = tmp_path / "bin"
    helpers.mkdir()
    (helpers / "lava-test-case").write_text(TEST_CASE)
    (helpers / "lava-test-case").chmod(0o755)
    return {
        "PATH": f"{helpers}:{os.environ['PATH']}",
        "CASES": str(tmp_path / "cases"),
    }


def cases(device: dict[str, str]) -> dict[str, str]:
    """The test cases that LAVA was told."""
    lines = Path(device["CASES"]).read_text().splitlines()
    found = dict(line.split(" ") for line in lines)
    assert len(found) == len(lines), "a name came twice"
    return found


def nested(text: str) -> dict[str, str]:
    """KTAP of labs and, as subtests, their claims: each name with its result."""
    found: dict[str, str] = {}

    def note(doc: ktap.Ktap) -> None:
        assert doc.bail_out is None
        for result in doc.results:
            word = "skip" if result.skip else "pass" if result.ok else "fail"
            assert found.setdefault(result.name, word) is word

    top, inner = "", ""
    for line in text.splitlines(keepends=True):
        if line.startswith("  "):
            inner += line[2:]
            continue
        top += line
        if inner:
            note(ktap.parse(inner))
            inner = ""
    assert not inner, "subtests without a test"
    note(ktap.parse(top))
    return found


def test_the_definition_says_what_lava_asks_for() -> None:
    definition = load(LAVA)
    metadata = definition["metadata"]
    assert metadata["format"] == "Lava-Test Test Definition 1.0"
    assert re.fullmatch(r"[a-z0-9-]+", metadata["name"])
    assert metadata["description"] and metadata["os"] and metadata["scope"]
    assert all(isinstance(step, str) for step in definition["run"]["steps"])


def script(checkout: Path, **parameters: str) -> Path:
    """The script that LAVA makes of the definition: one shell, ended by a failure."""
    definition = load(LAVA)
    lines = [f"{k}='{v}'" for k, v in (definition["params"] | parameters).items()]
    lines += ["set -e", f"cd {checkout}", 'echo "<STARTRUN>"']
    for step in definition["run"]["steps"]:
        words = step.split()
        if words[0] == "scripts/setup":
            missing = run(["scripts/setup", "--dry-run", *words[1:]], checkout).stdout
            if missing:
                continue
        lines.append(step)
    path = checkout / "run.sh"
    path.write_text("\n".join([*lines, 'echo "<ENDRUN>"', ""]))
    return path


@pytest.mark.parametrize("chosen", ["", "uts-hostname pid-f*"])
def test_lavas_script_tells_it_every_result(
    chosen: str, checkout: Path, device: dict[str, str]
) -> None:
    done = run(["sh", str(script(checkout, LABS=chosen))], checkout, device)
    assert done.returncode == 0, told(done)
    text = done.stdout
    assert text.endswith("<ENDRUN>\n")
    text = text[text.index("KTAP version 1\n") : text.index("<ENDRUN>")]
    wanted = nested(text)
    assert cases(device) == {**wanted, "nslabs": "pass"}
    names = labs.NAMES if not chosen else ["pid-first", "uts-hostname"]
    both = {f"{name}{mode}" for name in names for mode in ("", ".control")}
    assert {name for name in wanted if name in both} == both
    assert {name.split(".")[0] for name in wanted} == set(names)
    assert "fail" not in wanted.values()


CLAIM = "  KTAP version 1\n  1..1\n  ok 1 a.b\n"
STORIES = {
    "agrees": (f"1..1\n{CLAIM}ok 1 a\n", "exit 0", 0, "a.b=pass a=pass nslabs=pass"),
    "disagrees": (
        f"1..1\n{CLAIM.replace('ok 1', 'not ok 1')}not ok 1 a\n",
        "exit 1",
        1,
        "a.b=fail a=fail nslabs=fail",
    ),
    "a claim is skipped": (
        "1..1\n  KTAP version 1\n  1..1\n  ok 1 a.b # SKIP no veth\nok 1 a\n",
        "exit 0",
        0,
        "a.b=skip a=pass nslabs=pass",
    ),
    "all is skipped": (
        "1..1\n  KTAP version 1\n  1..0 # SKIP no\nok 1 a # SKIP no\n",
        "exit 4",
        4,
        "a=skip nslabs=skip",
    ),
    "broken": ("1..1\nnot ok 1 a # ERROR hung\n", "exit 99", 99, "a=fail nslabs=fail"),
    "not ok is no skip": (
        "1..1\nnot ok 1 a # SKIP odd\n",
        "exit 1",
        1,
        "a=fail nslabs=fail",
    ),
    "it is killed": (f"1..2\n{CLAIM}", "kill -9 $$", 137, "a.b=pass nslabs=fail"),
    "it ends within a line": (
        f"1..2\n{CLAIM}ok 1 cu",
        "exit 0",
        99,
        "a.b=pass nslabs=fail",
    ),
    "a lab is missing": (f"1..2\n{CLAIM}ok 1 a\n", "exit 0", 99, "a.b=pass a=pass "),
    "nothing comes": ("", "exit 0", 99, "nslabs=fail"),
}


@pytest.mark.parametrize("lava", [True, False], ids=["lava", "shell"])
@pytest.mark.parametrize("story", STORIES)
def test_what_goes_wrong_is_told(
    story: str, lava: bool, tmp_path: Path, device: dict[str, str]
) -> None:
    """A made-up nslab; the exit code is that of a kernel selftest, or LAVA's 0."""
    text, end, code, expected = STORIES[story]
    for folder in ("lava", "scripts"):
        (tmp_path / folder).mkdir()
    shutil.copy(ROOT / "lava/run", tmp_path / "lava/run")
    (tmp_path / "ktap").write_text(text and f"KTAP version 1\n{text}")
    fake = tmp_path / "scripts/nslab"
    fake.write_text(f"#!/bin/sh\ncat {tmp_path}/ktap\n{end}\n")
    fake.chmod(0o755)
    done = run(["lava/run"], tmp_path, device if lava else None)
    assert done.stderr.count("Killed") == done.stderr.count("\n"), told(done)
    if lava:
        assert done.returncode == 0
        listed = "".join(f"{k}={v} " for k, v in cases(device).items())
        assert listed.startswith(expected) and ("=fail" in listed) == (
            code not in (0, 4)
        )
    else:
        assert done.returncode == code
        assert not Path(device["CASES"]).exists()


def test_a_result_that_lava_does_not_take_ends_the_run(
    checkout: Path, device: dict[str, str]
) -> None:
    (Path(device["PATH"].split(":")[0]) / "lava-test-case").write_text("#!/bin/false\n")
    done = run(["sh", str(script(checkout, LABS="uts-hostname"))], checkout, device)
    assert done.returncode != 0
    assert "<ENDRUN>" not in done.stdout


# --- Debian ------------------------------------------------------------------------


def stanzas() -> dict[str, dict[str, str]]:
    """Those of debian/tests/control, by test."""
    found = {}
    for text in (DEBIAN / "tests/control").read_text().strip().split("\n\n"):
        fields: dict[str, str] = {}
        for line in text.splitlines():
            if line.startswith(" "):
                fields[list(fields)[-1]] += line
            else:
                key, _, value = line.partition(":")
                assert key not in fields, key
                fields[key] = value
        for name in fields["Tests"].split():
            found[name] = fields
    return found


def words(text: str) -> set[str]:
    return set(re.split(r"[,\s]+", text.strip()))


def packages(purpose: str) -> set[str]:
    """What scripts/packages.tsv lists for a purpose, by Debian's names."""
    lines = (ROOT / "scripts/packages.tsv").read_text().splitlines()
    rows = [line.split("\t") for line in lines if line and not line.startswith("#")]
    return {name for row in rows if row[1] == purpose for name in row[2].split()}


@pytest.mark.parametrize("name, fields", stanzas().items(), ids=stanzas())
def test_a_stanza_is_one_that_autopkgtest_runs(
    name: str, fields: dict[str, str]
) -> None:
    """It skips a stanza for any field or restriction that it does not know."""
    assert set(fields) <= FIELDS
    assert words(fields["Restrictions"]) <= RESTRICTIONS
    assert os.access(DEBIAN / "tests" / name, os.X_OK)


def test_no_test_is_left_out_of_the_control_file() -> None:
    files = {path.name for path in (DEBIAN / "tests").iterdir()}
    assert files == {*stanzas(), "control"}


def test_dependencies_are_those_that_setup_installs() -> None:
    run_needs, test_needs = packages("run"), packages("test")
    assert words(stanzas()["labs"]["Depends"]) == run_needs
    outside = words(stanzas()["outside"]["Depends"])
    assert run_needs <= outside <= run_needs | test_needs


def test_dpkg_reads_the_metadata_and_its_version_is_ours() -> None:
    if not shutil.which("dpkg-parsechangelog"):
        pytest.skip("dpkg-parsechangelog is not installed (package dpkg-dev)")
    done = run(["dpkg-parsechangelog", "-S", "Version"], ROOT)
    version = (ROOT / "VERSION").read_text()
    assert (done.stdout, done.stderr) == (version, ""), told(done)
    # It reads control, changelog and copyright as a build does, and writes nothing.
    done = run(["dpkg-source", "--print-format", "."], ROOT)
    assert done.stdout == "3.0 (native)\n", told(done)
    done = run(["dpkg-source", "--before-build", "."], ROOT)
    assert done.returncode == 0 and "warning" not in done.stderr, told(done)


@pytest.mark.parametrize("name", stanzas())
def test_a_package_test_runs_as_autopkgtest_would(
    name: str, public: Path, tmp_path: Path
) -> None:
    """In the tree, with a folder of its own, silent on standard error."""
    scratch = public / f"autopkgtest-{tmp_path.name}"
    scratch.mkdir()
    shutil.copytree(labs.BUILD, scratch / "build")  # saves building it once more
    done = run(
        [f"debian/tests/{name}"], ROOT, {"AUTOPKGTEST_TMP": str(scratch), "LC_ALL": "C"}
    )
    if done.returncode == 77:
        pytest.skip(done.stdout.splitlines()[-1])
    assert (done.returncode, done.stderr) == (0, ""), told(done)


def test_a_package_test_fails_when_a_lab_does(public: Path, tmp_path: Path) -> None:
    """A lab that is not what was built: make says so, or the lab does."""
    for name in stanzas():
        scratch = public / f"autopkgtest-{name}-{tmp_path.name}"
        shutil.copytree(labs.BUILD, scratch / "build")
        lab = scratch / "build/labs/uts-hostname/uts-hostname"
        lab.write_text("#!/bin/sh\nexit 1\n")  # newer than its parts: make keeps it
        done = run([f"debian/tests/{name}"], ROOT, {"AUTOPKGTEST_TMP": str(scratch)})
        assert done.returncode not in (0, 77), told(done)


def test_autopkgtest_itself_passes(tmp_path: Path) -> None:
    """By request only: it installs an empty package of its own, and removes it."""
    if not os.environ.get("NSLABS_AUTOPKGTEST"):
        pytest.skip("changes dpkg's state for a moment; NSLABS_AUTOPKGTEST=1 runs it")
    if not shutil.which("autopkgtest"):
        pytest.skip("autopkgtest is not installed (package autopkgtest)")
    if os.geteuid() != 0:
        pytest.skip("autopkgtest -- null wants root")
    tree = tmp_path / "tree"
    left_out = shutil.ignore_patterns(".git", "build*", "__pycache__", ".*_cache")
    shutil.copytree(ROOT, tree, symlinks=True, ignore=left_out)
    output = tmp_path / "output"
    done = run(["autopkgtest", "-B", "-o", str(output), ".", "--", "null"], tree)
    assert done.returncode == 0, told(done)
    summary = dict(
        line.split() for line in (output / "summary").read_text().splitlines()
    )
    assert summary == dict.fromkeys(stanzas(), "PASS")
