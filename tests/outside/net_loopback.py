"""net-loopback, seen by nsenter, ip and ss."""

import json
from typing import Any

from harness.held import Held


def links(lab: Held, actor: str) -> dict[str, Any]:
    """The interfaces of an actor's network namespace by name, as ip(8) sees them."""
    rows = json.loads(lab.inside(actor, "n", "ip", "-j", "link"))
    return {row["ifname"]: row for row in rows}


def check_ip_finds_a_loopback_that_is_down_and_no_cable(lab: Held) -> None:
    lab.until("What is in a new network namespace")
    inside = links(lab, "tenant")
    assert "UP" not in inside["lo"]["flags"]
    assert "eth0" not in inside and "wall" not in inside
    assert "UP" in links(lab, "host")["lo"]["flags"]


def check_ss_finds_the_server_on_the_host_alone(lab: Held) -> None:
    lab.until("Does the host's server")
    listeners = ("ss", "-Hltn")
    assert "127.0.0.1:8080" in lab.inside("host", "n", *listeners)
    assert "127.0.0.1:8080" not in lab.inside("tenant", "n", *listeners)


def check_the_tenant_switches_off_its_own_loopback(lab: Held) -> None:
    lab.until("Whose loopback was that?")
    assert "UP" not in links(lab, "tenant")["lo"]["flags"]
    assert "UP" in links(lab, "host")["lo"]["flags"]
