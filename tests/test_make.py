"""The Makefile: finds what is there, builds it in many ways, installs it."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import build, labs
from harness.labs import ROOT, Player

USER, ANYBODY = labs.players()[-1], labs.players()[0]
LAB = "uts-hostname"
SOURCES = ("Makefile", "VERSION", "common", "labs", "scripts")
FAST = "CFLAGS=-O0"
SANITIZERS = "address,undefined"


def make(tree: Path, *args: str | Path, player: Player = ANYBODY) -> str:
    """Run make in a tree; what it printed. It must succeed."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    for name in ("CC", "CFLAGS", "CPPFLAGS", "LDFLAGS", "BUILD", "SAN", "STATIC"):
        env.pop(name, None)
    done = subprocess.run(
        ["make", "-C", str(tree), "--no-print-directory", *map(str, args)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env=env,
        **player.popen,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout + done.stderr)


@pytest.fixture
def folder(public: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """An empty folder that everybody can reach."""
    folder = public / re.sub(r"\W+", "-", request.node.name)
    folder.mkdir()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def tree(folder: Path) -> Path:
    """A copy of the sources with one lab, to be changed."""
    copy = folder / "tree"
    copy.mkdir()
    for name in ("common", "scripts"):
        shutil.copytree(ROOT / name, copy / name)
    shutil.copytree(ROOT / "labs" / LAB, copy / "labs" / LAB)
    for name in ("Makefile", "VERSION"):
        shutil.copy(ROOT / name, copy)
    return copy


def lab_of(folder: Path, name: str = LAB) -> Path:
    return folder / "labs" / name / name


def needs(program: str) -> None:
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed")


def needs_static_libc(folder: Path) -> None:
    source = folder / "empty.c"
    source.write_text("int main(void) { return 0; }\n")
    done = build.compile_lab(source, folder / "empty", archive=None, flags=["-static"])
    if done.returncode:
        pytest.skip("there is no C library to link statically")


def is_static(program: Path) -> bool:
    """No program interpreter is asked for; see elf(5)."""
    headers = subprocess.check_output(["readelf", "-lW", str(program)], text=True)
    return "INTERP" not in headers


def without_libraries() -> list[str]:
    return [name for name in labs.NAMES if build.packages(name) == ([], [])]


# --- What it finds --------------------------------------------------------------


def test_every_lab_on_disk_is_built(folder: Path) -> None:
    plan = make(ROOT, "-n", f"BUILD={folder}")
    for name in labs.NAMES:
        assert f"-o {lab_of(folder, name)}" in plan


def test_a_new_lab_is_found_without_editing_anything(tree: Path) -> None:
    make(tree, FAST, "-j2", f"build/labs/{LAB}/{LAB}")
    new = tree / "labs" / "uts-again"
    shutil.copytree(tree / "labs" / LAB, new)
    (new / f"{LAB}.c").rename(new / "uts-again.c")
    source = (new / "uts-again.c").read_text()
    (new / "uts-again.c").write_text(source.replace(f'"{LAB}"', '"uts-again"'))
    make(tree, FAST, "build/labs/uts-again/uts-again")
    again = lab_of(tree / "build", "uts-again")
    assert labs.run(again, "--version").out.startswith("uts-again ")
    assert labs.run(again, player=USER).code == labs.AGREES
    assert f"-o build/labs/{LAB}/{LAB}" in make(tree, "-n", "-B")


def test_a_folder_without_a_program_is_no_lab(tree: Path) -> None:
    (tree / "labs" / "uts-empty").mkdir()
    assert "uts-empty" not in make(tree, "-n")


def test_help_lists_every_target_that_is_described() -> None:
    listed = re.findall(r"^  make (\w+) +\S", make(ROOT, "help"), re.MULTILINE)
    assert set(listed) >= {
        "all",
        "check",
        "lint",
        "format",
        "bench",
        "install",
        "clean",
    }
    text = (ROOT / "Makefile").read_text()
    assert listed == re.findall(r"^([a-z]+):.*##", text, re.MULTILINE)
    (phony,) = re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert set(phony.split()) - {"FORCE"} == set(listed)


# --- What it rebuilds -------------------------------------------------------------


def test_only_what_changed_is_built_again(tree: Path) -> None:
    goal = (FAST, f"build/labs/{LAB}/{LAB}")

    def built() -> set[str]:
        return set(re.findall(r"(?:CC|LD|AR)\s+\S*?build/(\S+)", make(tree, *goal)))

    lab, everything = {f"labs/{LAB}/{LAB}.o", f"labs/{LAB}/{LAB}"}, built()
    assert lab < everything
    assert built() == set()

    def change(file: Path) -> None:
        file.write_text(file.read_text() + "\n")

    change(tree / "labs" / LAB / f"{LAB}.c")
    assert built() == lab
    assert built() == set()
    change(tree / "common" / "claims.c")
    assert built() == {"common/claims.o", "libcommon.a", f"labs/{LAB}/{LAB}"}
    change(tree / "common" / "lab.h")
    assert lab | {"common/actor.o"} <= built()
    make(tree, "CFLAGS=-O0 -g", goal[1])
    assert built() == everything, "another flag did not build all again"


def test_the_sources_may_be_read_only(folder: Path, tree: Path) -> None:
    """Nothing is written but what BUILD names."""
    subprocess.run(["chmod", "-R", "a-w", str(tree)], check=True)
    out = folder / "out"
    out.mkdir()
    out.chmod(0o777)
    make(tree, FAST, f"BUILD={out}", f"{lab_of(out)}", player=USER)
    subprocess.run(["chmod", "-R", "u+w", str(tree)], check=True)
    assert labs.run(lab_of(out), player=USER).code == labs.AGREES


# --- How it builds ------------------------------------------------------------------


def test_clang_builds_without_a_warning(folder: Path) -> None:
    needs("clang")
    some = [LAB, *(name for name in labs.NAMES if name not in without_libraries())][:2]
    goals = [lab_of(folder, name) for name in some]
    said = make(ROOT, "CC=clang", "CFLAGS=-O1", f"BUILD={folder}", *goals)
    assert "warning:" not in said
    for goal in goals:
        assert labs.run(goal, player=USER).code in (labs.AGREES, labs.SKIPPED)


def test_static_programs_need_no_library(folder: Path) -> None:
    needs_static_libc(folder)
    make(ROOT, "STATIC=1", FAST, f"BUILD={folder}", lab_of(folder))
    assert is_static(lab_of(folder))
    assert not is_static(labs.binary(LAB)), "the check itself"
    assert labs.run(lab_of(folder), player=USER).code == labs.AGREES
    assert labs.run(lab_of(folder), "--control", player=USER).code == labs.AGREES


def test_a_second_c_library_builds_what_needs_no_other(folder: Path) -> None:
    needs("musl-gcc")
    args = ("CC=musl-gcc", FAST, f"BUILD={folder}")
    planned = re.findall(r"-o \S+/labs/([\w-]+)/\1 ", make(ROOT, "-n", *args))
    assert sorted(planned) == without_libraries()
    make(ROOT, *args, lab_of(folder))
    assert labs.run(lab_of(folder), player=USER).code == labs.AGREES
    assert labs.run(lab_of(folder), "--control", player=USER).code == labs.AGREES


def test_sanitizers_find_nothing(folder: Path) -> None:
    """In a lab as it should be, and in those that go wrong in every way."""
    make(ROOT, f"SAN={SANITIZERS}", FAST, "-j2", f"BUILD={folder}", lab_of(folder))
    unlucky = folder / "unlucky"
    source = ROOT / "tests" / "fixtures" / "unlucky.c"
    sanitize = [f"-fsanitize={SANITIZERS}", "-fno-sanitize-recover=all"]
    done = build.compile_lab(
        source, unlucky, archive=folder / "libcommon.a", flags=sanitize
    )
    assert done.returncode == 0, done.stderr
    # crashes are what some stories are about, and not the sanitizer's to report
    # the leak checker wants to trace its process, which few stages allow
    options = "handle_segv=0:abort_on_error=0:exitcode=77:detect_leaks=0"
    env = {"ASAN_OPTIONS": options, "UBSAN_OPTIONS": "print_stacktrace=1"}
    for mode in ("--control", "--format=json", "--format=ktap", "--claims", "--help"):
        run = labs.run(lab_of(folder), mode, player=USER, env=env)
        assert (run.code, run.err) == (labs.AGREES, ""), mode
    stories = subprocess.run([unlucky], capture_output=True, text=True, check=False)
    forms = itertools.cycle(("text", "ktap", "json"))
    for story, form in zip(stories.stderr.split(":")[1].split(), forms):
        run = labs.run(
            unlucky,
            f"--format={form}",
            "--timeout=0.3",
            player=USER,
            env={**env, "NSLABS_STORY": story},
        )
        found = "AddressSanitizer: heap-buffer-overflow" in run.err
        assert found == (story == "read-beyond"), f"{story}: {run.err}"
        assert found or run.err == "", f"{story}: {run.err}"


# --- What it installs ---------------------------------------------------------------


def test_what_is_installed_runs_from_there(folder: Path) -> None:
    stage, prefix = folder / "stage", "/opt/nslabs"
    args = (FAST, f"BUILD={folder}/out", f"DESTDIR={stage}", f"PREFIX={prefix}")
    make(ROOT, "-j2", *args, "install")
    there = Path(f"{stage}{prefix}")
    installed = sorted(p.name for p in (there / "libexec/nslabs/labs").iterdir())
    assert installed == labs.NAMES
    assert labs.run(lab_of(there / "libexec/nslabs"), player=USER).code == labs.AGREES
    nslab = [str(there / "bin/nslab"), "run", LAB]
    done = subprocess.run(
        nslab, cwd="/", capture_output=True, text=True, check=False, **USER.popen
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert LAB in done.stdout
    outside = [p for p in stage.rglob("*") if p.is_file() and there not in p.parents]
    assert outside == []
