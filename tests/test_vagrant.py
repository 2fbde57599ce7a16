"""The Vagrantfile: valid, two machines, provisioned by the project's own scripts."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Evaluates the Vagrantfile with a Vagrant that only writes down what it is told.
RECORDER = """
require "json"
$told = { "machines" => {}, "providers" => {}, "folders" => [], "provision" => [] }
class Notes
  def initialize(at) = @at = at
  def respond_to_missing?(*) = true
  def method_missing(name, *args) = @at[name.to_s.delete_suffix("=")] = args[0]
end
class Machine < Notes
  def vm = self
  def define(name, **options)
    yield Machine.new($told["machines"][name] = options.transform_keys(&:to_s))
  end
  def provider(name) = yield(Notes.new($told["providers"][name] = {}))
  def synced_folder(from, to, **options) = $told["folders"] << [from, to, options]
  def provision(kind, **options) = $told["provision"] << [kind, options]
end
module Vagrant
  def self.configure(_version) = yield(Machine.new({}))
end
load ARGV[0]
puts JSON.generate($told)
"""


@pytest.fixture(scope="module")
def told() -> Any:
    """What the Vagrantfile tells Vagrant."""
    if not shutil.which("ruby"):
        pytest.skip("ruby is not installed (package ruby; vagrant brings it)")
    done = subprocess.run(
        ["ruby", "-e", RECORDER, ROOT / "Vagrantfile"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def fresh_tree_steps() -> list[str]:
    """What scripts/fresh-tree --vagrant would run, as user:folder$ command."""
    done = subprocess.run(
        [
            ROOT / "scripts/fresh-tree",
            "--vagrant",
            "--dry-run",
            "--mirror",
            "http://m/",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.splitlines() if re.match(r"\w+:/\S+\$ ", line)]


def test_vagrant_accepts_the_vagrantfile(tmp_path: Path) -> None:
    """Vagrant's own check; nothing is written into the project or the home."""
    if not shutil.which("vagrant"):
        pytest.skip("vagrant is not installed (package vagrant)")
    done = subprocess.run(
        ["vagrant", "validate", "--ignore-provider"],
        cwd=ROOT,
        env={
            **os.environ,
            "VAGRANT_HOME": str(tmp_path / "home"),
            "VAGRANT_DOTFILE_PATH": str(tmp_path / "dot"),
            "VAGRANT_CHECKPOINT_DISABLE": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "validated successfully" in done.stdout


def test_two_machines_are_offered_and_one_of_them_by_default(told: Any) -> None:
    """`vagrant up` starts Debian 12 alone; `vagrant up trixie` the other."""
    boxes = {name: machine["box"] for name, machine in told["machines"].items()}
    assert boxes == {"bookworm": "debian/bookworm64", "trixie": "debian/trixie64"}
    started = [name for name, m in told["machines"].items() if m["autostart"]]
    primary = [name for name, m in told["machines"].items() if m["primary"]]
    assert started == primary == ["bookworm"]


def test_both_providers_get_the_same_machine(told: Any) -> None:
    """libvirt and VirtualBox: two processors and memory for the test suite."""
    assert set(told["providers"]) == {"libvirt", "virtualbox"}
    for size in told["providers"].values():
        assert size["cpus"] == 2
        assert size["memory"] >= 2048


def test_project_is_copied_in_without_guest_additions(told: Any) -> None:
    """rsync works for both providers; what the host built stays there."""
    ((source, target, options),) = told["folders"]
    assert (source, target, options["type"]) == (".", "/vagrant", "rsync")
    assert "build/" in options["rsync__exclude"]


def test_fresh_tree_runs_what_vagrant_would_run(told: Any) -> None:
    """The provisioning command is proven without a virtual machine, word for word."""
    ((kind, options),) = told["provision"]
    assert kind == "shell"
    assert options.get("privileged", True)
    provision, *steps = fresh_tree_steps()
    assert provision == f"root:/home/vagrant$ {options['inline']}"
    assert steps == ["vagrant:/vagrant$ scripts/run", "vagrant:/vagrant$ scripts/test"]


def test_provisioning_is_the_projects_own_setup() -> None:
    """It names a script and purposes that exist."""
    provision = fresh_tree_steps()[0].partition("$ ")[2]
    before, setup, purposes = provision.partition("scripts/setup ")
    assert before == "cd /vagrant && "
    done = subprocess.run(
        [ROOT / setup.strip(), "--manager", "dnf", "--dry-run", *purposes.split()],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "gcc" in done.stdout and "python3-pytest" in done.stdout
