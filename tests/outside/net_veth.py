"""net-veth, seen by nsenter, ip and a Python that calls."""

import json
import sys
from typing import Any

import pytest
from harness.held import Held

CALL = """
import socket, sys
with socket.create_connection((sys.argv[1], 8080), timeout=5) as line:
    print(line.getsockname()[0])
"""


def ip(lab: Held, actor: str, *words: str) -> list[dict[str, Any]]:
    """What ip(8) says in an actor's network namespace."""
    rows: list[dict[str, Any]] = json.loads(lab.inside(actor, "n", "ip", "-j", *words))
    return rows


def names(lab: Held, actor: str) -> set[str]:
    """The interfaces there."""
    return {row["ifname"] for row in ip(lab, actor, "link")}


def hold_with_ipv6(lab: Held) -> None:
    lab.until("The tenant pings the host")
    for event in lab.events:
        if event["event"] == "absent":
            pytest.skip(event["reason"])


def check_ip_finds_one_end_in_each_namespace(lab: Held) -> None:
    lab.until("The tenant pings the host")
    assert {"va", "vb"} & names(lab, "host") == {"va"}
    assert {"va", "vb"} & names(lab, "tenant") == {"vb"}
    [va], [vb] = ip(lab, "host", "link", "show", "va"), ip(lab, "tenant", "link")[1:2]
    assert "link_netnsid" in va and "link_netnsid" in vb
    assert (va["link_index"], vb["link_index"]) == (vb["ifindex"], va["ifindex"])


def check_ip_routes_over_the_cable(lab: Held) -> None:
    lab.until("The tenant pings the host")
    assert ip(lab, "host", "route", "get", "10.7.0.2")[0]["dev"] == "va"
    assert ip(lab, "tenant", "route", "get", "10.7.0.1")[0]["dev"] == "vb"


def check_ip_routes_over_the_cable_by_ipv6(lab: Held) -> None:
    hold_with_ipv6(lab)
    for actor, other, end in (("host", 2, "va"), ("tenant", 1, "vb")):
        [route] = ip(lab, actor, "-6", "route", "get", f"fd00:7::{other}")
        assert (route.get("type"), route["dev"]) == (None, end)


def check_each_has_learnt_the_others_hardware_address(lab: Held) -> None:
    lab.until("The tenant switches its end off")
    for actor, end, other, far in (("host", "va", 2, "vb"), ("tenant", "vb", 1, "va")):
        neighbours = ip(lab, actor, "-4", "neighbour", "show", "dev", end)
        partner = "tenant" if actor == "host" else "host"
        [link] = ip(lab, partner, "link", "show", far)
        found = {row["dst"]: row.get("lladdr") for row in neighbours}
        assert found == {f"10.7.0.{other}": link["address"]}


def check_a_caller_from_the_hosts_network_has_the_hosts_address(lab: Held) -> None:
    lab.until("The tenant pings the host")
    call = (sys.executable, "-c", CALL)
    assert lab.inside("host", "n", *call, "10.7.0.2") == "10.7.0.1\n"
    assert lab.inside("tenant", "n", *call, "10.7.0.1") == "10.7.0.2\n"


def check_ip_finds_no_carrier_at_an_end_whose_other_end_is_elsewhere(lab: Held) -> None:
    lab.until("One end is off")
    [va] = ip(lab, "host", "link", "show", "va")
    assert "NO-CARRIER" in va["flags"] and "link_netnsid" in va


def check_ip_finds_no_cable_when_the_tenant_has_ended(lab: Held) -> None:
    lab.until("The tenant switches its end off")
    assert "va" in names(lab, "host")
    lab.until("What is left of the cable?")
    assert not {"va", "vb"} & names(lab, "host")
