"""Set-up of the whole suite: where the tree is, for everybody who plays a part."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.dont_write_bytecode = True
# An ordinary user's PATH leaves out where ip, losetup and others may be.
os.environ["PATH"] = os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"

TREE = Path(__file__).resolve().parents[1]
REACHABLE = "NSLABS_REACHABLE_TREE"
"""Names a copy of the tree that everybody can read; see harness/labs.py."""


def everybody_can_read(tree: Path) -> bool:
    """Whether an ordinary user can start what lies in the tree."""
    inside = ["/usr/bin/test", "-r", f"{tree}/README.md", "-a"]
    inside += ["-x", f"{tree}/scripts/nslab"]
    done = subprocess.run(inside, user=12345, group=12345, extra_groups=[], check=False)
    return done.returncode == 0


def pytest_configure(config: pytest.Config) -> None:
    """Root's clone may be closed to others, who play a part in many tests.

    Then all tests use a copy that is open, the same for all workers.
    """
    worker = hasattr(config, "workerinput")
    if worker or os.geteuid() != 0 or everybody_can_read(TREE):
        return
    copy = Path(tempfile.mkdtemp(prefix="nslabs-tree-"))
    shutil.copytree(
        TREE,
        copy,
        symlinks=True,
        dirs_exist_ok=True,
        ignore=shutil.ignore_patterns(".git", "__pycache__"),
    )
    subprocess.run(["chmod", "-R", "go+rX", copy], check=True)
    os.environ[REACHABLE] = str(copy)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave no copy behind."""
    if not hasattr(config, "workerinput") and REACHABLE in os.environ:
        shutil.rmtree(os.environ.pop(REACHABLE), ignore_errors=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--shuffle", metavar="SEED", help="run the tests in a random order, by a seed"
    )


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """The order that --shuffle asks for, the same for every worker."""
    if seed := config.getoption("--shuffle"):
        random.Random(seed).shuffle(items)


@pytest.fixture(scope="session")
def public() -> Iterator[Path]:
    """A folder whose programs everybody may run; pytest's own are for one user."""
    folder = Path(tempfile.mkdtemp(prefix="nslabs-tests-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def built(public: Path, name: str) -> Path:
    """A program of tests/fixtures."""
    from harness import build  # not before the tree is known

    program = public / name
    source = Path(__file__).parent / "fixtures" / f"{name}.c"
    done = build.compile_lab(source, program)
    assert done.returncode == 0, done.stderr
    return program


@pytest.fixture(scope="session")
def unlucky(public: Path) -> Path:
    """Labs that go wrong: NSLABS_STORY says which."""
    return built(public, "unlucky")


@pytest.fixture(scope="session")
def refuse(public: Path) -> Path:
    """Runs a command under a seccomp filter."""
    return built(public, "refuse")
