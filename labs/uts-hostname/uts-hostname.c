/* SPDX-License-Identifier: MIT */
/*
 * uts-hostname - does a UTS namespace give a process its own hostname?
 *
 * Two processes look at "the" names of the machine: the landlord, who stays
 * where it is, and the tenant, who is started in a new UTS namespace. Each in
 * turn renames the machine. If the namespace works, neither notices the other.
 */
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "lab.h"

#define LONGEST 64 /* bytes: __NEW_UTS_LEN of the kernel, see sethostname(2) */

/* The hostname as this process sees it; see uname(2). */
static const char *hostname(void)
{
	static struct utsname uts;

	uname(&uts);
	return uts.nodename;
}

/* The NIS domain name, the other name of a UTS namespace. */
static const char *domainname(void)
{
	static struct utsname uts;

	uname(&uts);
	return uts.domainname;
}

static void tenant(void)
{
	char too_long[LONGEST + 1];

	step("A new UTS namespace begins as a copy of the one it was made from.");
	observe("tenant.hostname.at-first", "%s", hostname());
	observe("tenant.domainname.at-first", "%s", domainname());

	step("The tenant renames the machine it believes it owns.");
	CALL(sethostname("world", 5));
	CALL(setdomainname("world.nis", 9));
	observe("tenant.hostname.renamed", "%s", hostname());
	observe("tenant.domainname.renamed", "%s", domainname());
	tell(PARENT, "I have renamed it");

	hear(PARENT, "so have I");
	step("The tenant looks once more, after the landlord's renaming.");
	observe("tenant.hostname.later", "%s", hostname());
	observe("tenant.domainname.later", "%s", domainname());

	step("How long may a name be? 64 bytes fit, one more does not.");
	memset(too_long, 'x', sizeof(too_long));
	observe("hostname.64", "%s", errno_name(TRY(sethostname(too_long, 64))));
	observe("hostname.65", "%s", errno_name(TRY(sethostname(too_long, 65))));
}

static void landlord(void)
{
	struct peer *kid;

	step("The landlord names its machine.");
	CALL(sethostname("hello", 5));
	CALL(setdomainname("hello.nis", 9));
	observe("landlord.hostname.at-first", "%s", hostname());
	observe("landlord.domainname.at-first", "%s", domainname());

	kid = spawn("tenant", isolate(CLONE_NEWUTS), tenant);
	hear(kid, "I have renamed it");
	step("While the tenant lives under its new name, the landlord looks.");
	observe("landlord.hostname.later", "%s", hostname());
	observe("landlord.domainname.later", "%s", domainname());

	step("Now the landlord renames the machine in its turn.");
	CALL(sethostname("goodbye", 7));
	CALL(setdomainname("goodbye.nis", 11));
	tell(kid, "so have I");
	join(kid);
}

static const struct claim claims[] = {
	PREMISE("copied", "the tenant begins with the landlord's hostname",
		"tenant.hostname.at-first", SAME_AS, "landlord.hostname.at-first"),
	PREMISE("domain-copied", "and with its NIS domain name",
		"tenant.domainname.at-first", SAME_AS,
		"landlord.domainname.at-first"),
	PREMISE("renamed", "the tenant sees the hostname that it set",
		"tenant.hostname.renamed", IS, "world"),
	PREMISE("domain-renamed", "and the NIS domain name that it set",
		"tenant.domainname.renamed", IS, "world.nis"),
	CLAIM("unmoved", "the landlord's hostname did not change",
	      "landlord.hostname.later", SAME_AS, "landlord.hostname.at-first"),
	CLAIM("domain-unmoved", "nor did its NIS domain name",
	      "landlord.domainname.later", SAME_AS, "landlord.domainname.at-first"),
	CLAIM("unnoticed", "a later renaming outside is not seen inside",
	      "tenant.hostname.later", SAME_AS, "tenant.hostname.renamed"),
	CLAIM("domain-unnoticed", "neither is that of the NIS domain",
	      "tenant.domainname.later", SAME_AS, "tenant.domainname.renamed"),
	PREMISE("longest", "a hostname of 64 bytes is accepted", "hostname.64", IS,
		"0"),
	PREMISE("too-long", "one of 65 bytes is refused", "hostname.65", IS,
		"EINVAL"),
	{ 0 },
};

static const struct lab lab = {
	.name = "uts-hostname",
	.rung = 10,
	.question = "Does a UTS namespace give a process its own hostname?",
	.namespaces = CLONE_NEWUTS,
	.first = "landlord",
	.story = landlord,
	.claims = claims,
};

int main(int argc, char **argv)
{
	return lab_main(argc, argv, &lab);
}
