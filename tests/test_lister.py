"""ns-list --list, the tool: the rows of lsns(8), and what lsns leaves out."""

from __future__ import annotations

import json
import os
import re
import subprocess
from typing import Any

import pytest
from harness import labs
from harness.labs import Player

each_player = pytest.mark.parametrize("player", labs.players(), ids=str)

POPULATED = r"""
set -e
mount -t tmpfs tmpfs /sys # there is nothing that we need
mkfifo /sys/up
hold() { "$@" sh -c 'echo up; exec sleep 60' >/sys/up & read -r _ </sys/up; }
hold unshare --uts
hold unshare --ipc --net
hold unshare --pid --fork
hold unshare --user --map-root-user --mount
hold unshare --cgroup unshare --uts
touch '/sys/a \ b'
unshare --uts='/sys/a \ b' true
hold unshare --ipc; exec 9</proc/$!/ns/ipc; kill $!; wait $! || true
"""


def on_a_stage(script: str, player: Player) -> str:
    """Output of a script on a stage of its own: nobody else's processes are there."""
    stage = ["unshare", "--user", "--map-root-user", "--mount", "--mount-proc"]
    stage += ["--pid", "--fork", "--kill-child", "bash", "-c", script]
    done = subprocess.run(
        stage,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "LIST": f"{labs.binary('ns-list')} --list"},
        **player.popen,
    )
    if done.returncode and "unshare failed" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def namespaces(out: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(out)["namespaces"]
    return rows


@each_player
def test_rows_of_a_populated_stage_are_those_of_lsns(player: Player) -> None:
    columns = "NS,TYPE,NPROCS,PID,ONS,PNS,COMMAND"
    script = f"{POPULATED}\n$LIST --json\necho ====\nlsns -l -n -o {columns}; true\n"
    ours, theirs = on_a_stage(script, player).split("====\n")
    expected = {tuple(line.split()[:4]) for line in theirs.splitlines()}
    listed = {
        (str(r["ns"]), r["type"], str(r["nprocs"]), str(r["pid"]))
        for r in namespaces(ours)
        if r["nprocs"]
    }
    assert listed == expected
    assert len(expected) > 8 + 5  # as many as a stage has, and those made by hand
    document = json.loads(ours)
    assert document["unreadable"] == 0
    owners = {str(r["ns"]): str(r["owner"] or 0) for r in namespaces(ours)}
    parents = {str(r["ns"]): str(r["parent"] or 0) for r in namespaces(ours)}
    for ns, _, _, _, owner, parent, *_ in (x.split() for x in theirs.splitlines()):
        assert (owners[ns], parents[ns]) == (owner, parent)


@each_player
def test_namespaces_without_a_process_are_found(player: Player) -> None:
    out = on_a_stage(f"{POPULATED}\n$LIST --json", player)
    kept = {r["kept_by"]: r for r in namespaces(out) if not r["nprocs"]}
    mounted, held = kept.pop("/sys/a \\ b"), kept.pop("1, file 9")
    assert (mounted["type"], held["type"]) == ("uts", "ipc")
    user = next(
        r["ns"] for r in namespaces(out) if r["pid"] == 1 and r["type"] == "user"
    )
    assert mounted["owner"] == held["owner"] == user
    assert kept == {}


@each_player
def test_open_files_can_be_left_out(player: Player) -> None:
    out = on_a_stage(f"{POPULATED}\n$LIST --json --no-open-files", player)
    kept = [r["kept_by"] for r in namespaces(out) if not r["nprocs"]]
    assert kept == ["/sys/a \\ b"]


NAMED = r"""
set -e
mount -t tmpfs tmpfs /sys
mkfifo /sys/up /sys/never
export NAME=$'a\e[31m\xc3\xa9"'
unshare --uts bash -c 'printf %s "$NAME" >/proc/$$/comm; echo up; read -r </sys/never' \
    >/sys/up &
read -r _ </sys/up
"""


@each_player
def test_a_name_cannot_steer_the_terminal(player: Player) -> None:
    text = on_a_stage(f"{NAMED}\n$LIST", player)
    assert re.search(r' a\\x1b\[31m\u00e9"$', text, re.MULTILINE)
    assert "\033" not in text
    rows = namespaces(on_a_stage(f"{NAMED}\n$LIST --json", player))
    assert 'a\033[31m\u00e9"' in {row["command"] for row in rows}


def test_hidden_processes_are_counted_and_mentioned() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs processes of another user: run as root")
    run = labs.run("ns-list", "--list", "--json", player=labs.players()[-1])
    document = json.loads(run.out)
    assert run.code == 0
    assert 0 < document["unreadable"] < document["processes"]
    counts = f"{document['unreadable']} of {document['processes']} processes"
    assert len(run.err.splitlines()) == 1
    assert counts in run.err


def test_the_table_fits_80_columns() -> None:
    lines = labs.run("ns-list", "--list").out.splitlines()
    assert lines[0].split()[:4] == ["NS", "TYPE", "PROCS", "PID"]
    assert [line for line in lines if len(line) > 80] == []


def test_wrong_usage_is_named() -> None:
    for argument in ("--nonsense", "stray"):
        run = labs.run("ns-list", "--list", argument)
        assert (run.code, run.out) == (2, "")
        assert argument in run.err
        assert "--help" in run.err


def test_a_full_disk_is_an_error() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [labs.binary("ns-list"), "--list"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert "ENOSPC" in done.stderr


def test_without_proc_it_is_an_error() -> None:
    script = "mount -t tmpfs tmpfs /proc; $LIST; test $? = 1 || exit 9; exit 0"
    stage = ["unshare", "--user", "--map-root-user", "--mount", "bash", "-c", script]
    env = {**os.environ, "LIST": f"{labs.binary('ns-list')} --list"}
    done = subprocess.run(stage, capture_output=True, text=True, env=env, check=False)
    if "unshare failed" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0
    assert done.stderr.count("\n") == 1
