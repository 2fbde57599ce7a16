"""uts-hostname, seen by nsenter, lsns and hostname."""

from harness.held import Held
from outside.tools import lsns


def check_nsenter_finds_another_hostname_with_the_tenant(lab: Held) -> None:
    lab.until("While the tenant lives")
    assert lab.inside("tenant", "u", "hostname") == "world\n"
    assert lab.inside("landlord", "u", "hostname") == "hello\n"


def check_nsenter_finds_another_domain_name_with_the_tenant(lab: Held) -> None:
    lab.until("While the tenant lives")
    read = ("cat", "/proc/sys/kernel/domainname")
    assert lab.inside("tenant", "u", *read) == "world.nis\n"
    assert lab.inside("landlord", "u", *read) == "hello.nis\n"


def check_a_later_renaming_outside_does_not_reach_the_tenant(lab: Held) -> None:
    lab.until("The tenant looks once more")
    assert lab.inside("landlord", "u", "hostname") == "goodbye\n"
    assert lab.inside("tenant", "u", "hostname") == "world\n"


def check_lsns_lists_the_tenant_in_a_namespace_of_its_own(lab: Held) -> None:
    lab.until("While the tenant lives")
    rows = lsns(lab, "-t", "uts", "-o", "PID", "-p", str(lab.pid("tenant")))
    assert rows.split() == [str(lab.pid("tenant"))]
