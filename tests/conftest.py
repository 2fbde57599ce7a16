"""Set-up of the whole suite: where the tree is, for everybody who plays a part."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

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
