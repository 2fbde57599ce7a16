"""net-isolation, seen by nsenter, ip, ss, /proc and a Python that sends."""

import json
import os
import re
import sys
from pathlib import Path

import pytest
from harness.held import Held

SAY = """
import errno, socket
try:
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", 9))
    print("sent")
except OSError as error:
    print(errno.errorcode[error.errno])
"""


def hold(lab: Held, key: str = "") -> None:
    """Hold the lab when all is done, unless this machine cannot do what key shows."""
    lab.until("Has the host noticed")
    for event in lab.events:
        if event["event"] == "absent" and event["key"] == key:
            pytest.skip(event["reason"])


def check_ss_finds_two_sockets_on_one_port(lab: Held) -> None:
    hold(lab)
    inodes = []
    for actor in ("host", "tenant"):
        rows = lab.inside(actor, "n", "ss", "-Huane", "src", "0.0.0.0:8080")
        inodes += re.findall(r"ino:(\d+)", rows)
    assert len(inodes) == len(set(inodes)) == 2


def check_proc_net_unix_lists_two_sockets_of_one_name(lab: Held) -> None:
    hold(lab)
    inodes = []
    for actor in ("host", "tenant"):
        table = lab.inside(actor, "n", "cat", "/proc/net/unix")
        inodes += re.findall(r" (\d+) @desk$", table, re.MULTILINE)
    assert len(inodes) == len(set(inodes)) == 2


def check_the_tenant_holds_a_socket_of_the_hosts_network(lab: Held) -> None:
    hold(lab)
    held = set()
    for fd in Path(f"/proc/{lab.pid('tenant')}/fd").iterdir():
        held |= set(re.findall(r"^socket:\[(\d+)\]$", os.readlink(fd)))
    of = {
        actor: {
            row.split()[9]
            for row in lab.inside(actor, "n", "cat", "/proc/net/udp").splitlines()[1:]
        }
        for actor in ("host", "tenant")
    }
    assert held & of["host"] and held & of["tenant"]
    assert not of["host"] & of["tenant"]


def check_ip_finds_the_route_with_the_tenant_alone(lab: Held) -> None:
    hold(lab)
    found = {}
    for actor in ("host", "tenant"):
        rows = json.loads(lab.inside(actor, "n", "ip", "-j", "-4", "route"))
        found[actor] = [(row.get("type"), row["dst"]) for row in rows]
    assert found == {"host": [], "tenant": [("prohibit", "198.51.100.0/24")]}


def check_proc_sys_shows_each_its_own_setting(lab: Held) -> None:
    hold(lab, "host.forward.later")
    setting = ("cat", "/proc/sys/net/ipv4/ip_forward")
    assert lab.inside("tenant", "n", *setting) == "0\n"
    assert lab.inside("host", "n", *setting) == "1\n"


def check_a_datagram_leaves_the_host_but_not_the_tenant(lab: Held) -> None:
    hold(lab, "host.says")
    say = (sys.executable, "-c", SAY)
    assert lab.inside("tenant", "n", *say) == "EPERM\n"
    assert lab.inside("host", "n", *say) == "sent\n"
