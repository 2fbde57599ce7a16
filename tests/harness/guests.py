"""Kernels and guests of the tests: real ones where they can be had, made-up ones."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .labs import ROOT

NSLAB = ROOT / "scripts" / "nslab"
QEMU = "qemu-system-x86_64"
QEMU_PACKAGE = "qemu-system-x86"
UML_PACKAGE = "user-mode-linux"
OLD, NEW = ("6.1", "5.10"), ("7.3", "7.2", "6.18", "6.12")
"""Names of kernels that have modules, the ones to be had first first."""

sys.path.insert(0, str(ROOT / "scripts"))


@dataclass
class Done:
    """A finished nslab."""

    code: int
    out: str
    err: str

    @property
    def report(self) -> dict[str, Any]:
        report: dict[str, Any] = json.loads(self.out)
        return report

    @property
    def results(self) -> dict[str, dict[str, Any]]:
        """Results of a JSON report, by lab; for the control, by LAB.control."""
        found = {}
        for result in self.report["results"]:
            suffix = ".control" if result["mode"] == "control" else ""
            found[result["lab"] + suffix] = result
        return found


@dataclass
class Nslab:
    """How nslab is called: with which labs, which cache, which environment."""

    build: Path | None = None
    env: dict[str, str] = field(default_factory=dict)

    def words(self, *words: str) -> list[str]:
        build = ["--build", str(self.build)] if self.build else []
        return [str(NSLAB), *build, *words]

    def environ(self) -> dict[str, str]:
        return {**os.environ, "NO_COLOR": "1", **self.env}

    def __call__(self, *words: str, **more: Any) -> Done:
        done = subprocess.run(
            self.words(*words),
            env=self.environ(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
            **more,
        )
        return Done(done.returncode, done.stdout, done.stderr)


def made_up_labs(folder: Path, program: Path, names: str) -> Path:
    """A build folder with labs of these names, all the same program."""
    for name in names.split():
        place = folder / "labs" / name
        place.mkdir(parents=True)
        shutil.copy2(program, place / name)
    (folder / "guest").mkdir()
    shutil.copy2(ROOT / "build" / "guest" / "init", folder / "guest" / "init")
    return folder


def fake_qemu(folder: Path) -> Path:
    """A folder for PATH in which QEMU is a made-up one, and the rest is real."""
    place = folder / "bin"
    place.mkdir(exist_ok=True)
    program = place / QEMU
    source = Path(__file__).with_name("fake_qemu.py")
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {source} "$@"\n')
    program.chmod(0o755)
    return place


def fake_kernel(cache: Path, name: str = "9.9", **info: str) -> Path:
    """A kernel in a cache that no real QEMU would boot."""
    place = cache / "nslabs" / "kernels" / name
    place.mkdir(parents=True)
    (place / "vmlinux").write_bytes(b"\x7fELF")
    told = {"release": f"{name}.9-made-up", "version": "1", "remark": "", **info}
    (place / "info.json").write_text(json.dumps(told))
    return place


def have(names: tuple[str, ...]) -> str | None:
    """The first of these kernels that the cache holds with its modules."""
    done = Nslab()("vm", "kernels", "--offline", "--json")
    rows = json.loads(done.out)["kernels"]
    here = {row["name"] for row in rows if row["here"] and row["modules"]}
    return next((name for name in names if name in here), None)


def get(names: tuple[str, ...]) -> str:
    """One of these kernels, fetched if need be; "" and the reason when none is."""
    found = have(names)
    if found:
        return found
    why = ""
    for name in names:
        # Two that want the same wait for each other (nslabs.vm.cache.locked).
        done = subprocess.run(
            Nslab().words("vm", "fetch", name),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0 and have((name,)):
            return name
        why = done.stderr
    raise LookupError(why)
