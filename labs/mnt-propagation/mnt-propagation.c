/* SPDX-License-Identifier: MIT */
/*
 * mnt-propagation - who gets to see what is mounted later?
 *
 * A new mount namespace begins as a copy of the list of mounts. From then on
 * each mount has its own rule for what is mounted below it: does that travel to
 * the mount's copies or not? The rule is its propagation type. A landlord and a
 * tenant have copies of four mounts, and both mount something below them. Then a
 * lodger does what unshare(1) does, and from there nothing travels at all.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lab.h"

struct found {
	int id; /* of the mount: unique among all that exist; 0: none */
	const char *type;
	int all; /* mounts in the list */
};

/* The optional fields of a line of mountinfo, in a word. */
static const char *type_in(const char *fields)
{
	if (strncmp(fields, "shared:", 7) == 0)
		return "shared";
	if (strncmp(fields, "master:", 7) == 0)
		return "slave";
	if (strncmp(fields, "unbindable", 10) == 0)
		return "unbindable";
	return "private";
}

/* What this process' mountinfo says of a mount in /tmp; see proc(5). */
static struct found find(const char *name)
{
	struct found found = { .type = "not mounted" };
	FILE *list = fopen("/proc/self/mountinfo", "re");
	char *line = NULL, point[256];
	size_t room = 0;

	if (!list)
		(errno == ENOENT ? skip : broken)(
			"fopen(\"/proc/self/mountinfo\"): %s (%s); is /proc mounted?",
			errno_name(errno), strerror(errno));
	for (; getline(&line, &room, list) > 0; found.all++) {
		int id, fields = 0;

		sscanf(line, "%d %*d %*s %*s /tmp/%255s %*s %n", &id, point,
		       &fields);
		if (!fields || strcmp(point, name) != 0)
			continue;
		found.id = id;
		found.type = type_in(line + fields);
	}
	free(line);
	fclose(list);
	return found;
}

static const char *look(const char *name)
{
	return find(name).id ? "mounted" : "not mounted";
}

/* A new directory to mount on, in /tmp, where everything takes place. */
static const char *at(const char *name)
{
	if (chdir("/tmp") < 0 || mkdir(name, 0755) < 0)
		broken("mkdir(\"%s\"): %s (%s)", name, errno_name(errno),
		       strerror(errno));
	return name;
}

static void tenant(void)
{
	step("A new mount namespace begins with a copy of every mount.");
	observe("tenant.mounts", "%d", find("").all);
	observe("tenant.private.id", "%d", find("private").id);
	observe("tenant.unbindable.id", "%d", find("unbindable").id);
	/* Linux 5.10, 6.1 and 7.3 copy this mark, 6.18 does not: no claim. */
	observe("tenant.unbindable.type", "%s", find("unbindable").type);

	step("Of one copy the tenant makes a slave: it listens, but never talks.");
	CALL(mount(NULL, "slave", NULL, MS_SLAVE, NULL));
	observe("tenant.slave.type", "%s", find("slave").type);

	step("Below each of the four the tenant mounts something.");
	CALL(mount("none", at("private/tenant"), "tmpfs", 0, NULL));
	CALL(mount("none", at("shared/tenant"), "tmpfs", 0, NULL));
	CALL(mount("none", at("slave/tenant"), "tmpfs", 0, NULL));
	CALL(mount("none", at("unbindable/tenant"), "tmpfs", 0, NULL));
	observe("tenant.sees.private.tenant", "%s", look("private/tenant"));
	observe("tenant.shared.tenant.id", "%d", find("shared/tenant").id);
	tell(PARENT, "I have mounted");

	hear(PARENT, "so have I");
	step("Which of the landlord's mounts have come in?");
	observe("tenant.sees.private.landlord", "%s", look("private/landlord"));
	observe("tenant.sees.shared.landlord", "%s", look("shared/landlord"));
	observe("tenant.sees.slave.landlord", "%s", look("slave/landlord"));
}

static void lodger(void)
{
	step("unshare(1) isolates by one call more: it makes every copy private.");
	CALL(unshare(isolate(CLONE_NEWNS)));
	CALL(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL));
	observe("lodger.shared.type", "%s", find("shared").type);
	CALL(mount("none", at("shared/lodger"), "tmpfs", 0, NULL));
	observe("lodger.sees.shared.lodger", "%s", look("shared/lodger"));
	tell(PARENT, "I have mounted");
	hear(PARENT, "I have looked");
}

static void landlord(void)
{
	struct peer *kid;

	step("The kernel's default: below a private mount, a new one is private.");
	CALL(mount("none", at("private"), "tmpfs", 0, NULL));
	observe("landlord.private.type", "%s", find("private").type);

	step("systemd makes / shared, the landlord its /tmp. What comes below is, too.");
	CALL(mount(NULL, "/tmp", NULL, MS_SHARED, NULL));
	CALL(mount("none", at("shared"), "tmpfs", 0, NULL));
	CALL(mount("none", at("slave"), "tmpfs", 0, NULL));
	observe("landlord.shared.type", "%s", find("shared").type);

	step("An unbindable mount is a private one that cannot be bound elsewhere.");
	CALL(mount("none", at("unbindable"), "tmpfs", 0, NULL));
	CALL(mount(NULL, "unbindable", NULL, MS_UNBINDABLE, NULL));
	observe("landlord.unbindable.type", "%s", find("unbindable").type);
	observe("bind.unbindable", "%s",
		errno_name(
			TRY(mount("unbindable", at("bind"), NULL, MS_BIND, NULL))));
	CALL(mount("private", "bind", NULL, MS_BIND, NULL));
	observe("landlord.sees.bind", "%s", look("bind"));
	observe("landlord.mounts", "%d", find("").all);
	observe("landlord.private.id", "%d", find("private").id);
	observe("landlord.unbindable.id", "%d", find("unbindable").id);

	kid = spawn("tenant", isolate(CLONE_NEWNS), tenant);
	hear(kid, "I have mounted");
	step("Which of the tenant's mounts have come out?");
	observe("landlord.sees.private.tenant", "%s", look("private/tenant"));
	observe("landlord.sees.shared.tenant", "%s", look("shared/tenant"));
	observe("landlord.shared.tenant.id", "%d", find("shared/tenant").id);
	observe("landlord.sees.slave.tenant", "%s", look("slave/tenant"));
	observe("landlord.sees.unbindable.tenant", "%s", look("unbindable/tenant"));

	step("Now the landlord mounts in its turn.");
	CALL(mount("none", at("private/landlord"), "tmpfs", 0, NULL));
	CALL(mount("none", at("shared/landlord"), "tmpfs", 0, NULL));
	CALL(mount("none", at("slave/landlord"), "tmpfs", 0, NULL));
	tell(kid, "so have I");
	join(kid);

	kid = spawn("lodger", 0, lodger);
	hear(kid, "I have mounted");
	step("Has the lodger's mount come out, below the shared one?");
	observe("landlord.sees.shared.lodger", "%s", look("shared/lodger"));
	observe("landlord.shared.type.later", "%s", find("shared").type);
	tell(kid, "I have looked");
	join(kid);
}

static const struct claim claims[] = {
	PREMISE("default-private", "below a private mount a new one is private",
		"landlord.private.type", IS, "private"),
	PREMISE("default-shared", "below a shared mount a new one is shared",
		"landlord.shared.type", IS, "shared"),
	PREMISE("list-copied", "the tenant begins with as many mounts as there are",
		"tenant.mounts", SAME_AS, "landlord.mounts"),
	CLAIM("private-copied", "each is a copy, with a number of its own",
	      "tenant.private.id", DIFFERS_FROM, "landlord.private.id"),
	PREMISE("private-inside",
		"the tenant sees what it mounts below the private one",
		"tenant.sees.private.tenant", IS, "mounted"),
	CLAIM("private-out", "which does not come out",
	      "landlord.sees.private.tenant", IS, "not mounted"),
	CLAIM("private-in", "nor does the landlord's come in",
	      "tenant.sees.private.landlord", IS, "not mounted"),
	PREMISE("shared-out",
		"what the tenant mounts below the shared one comes out",
		"landlord.sees.shared.tenant", IS, "mounted"),
	CLAIM("shared-copied", "as a copy: the kernel has mounted it twice",
	      "landlord.shared.tenant.id", DIFFERS_FROM, "tenant.shared.tenant.id"),
	PREMISE("shared-in", "what the landlord mounts below it comes in",
		"tenant.sees.shared.landlord", IS, "mounted"),
	CLAIM("slave", "a shared mount's copy can be made a slave",
	      "tenant.slave.type", IS, "slave"),
	PREMISE("slave-in", "what the landlord mounts below it comes in",
		"tenant.sees.slave.landlord", IS, "mounted"),
	CLAIM("slave-out", "but what the tenant mounts does not come out",
	      "landlord.sees.slave.tenant", IS, "not mounted"),
	PREMISE("unbindable", "an unbindable mount is marked so",
		"landlord.unbindable.type", IS, "unbindable"),
	PREMISE("unbindable-bind", "it cannot be bound elsewhere",
		"bind.unbindable", IS, "EINVAL"),
	PREMISE("private-bind", "as the private one can", "landlord.sees.bind", IS,
		"mounted"),
	CLAIM("unbindable-copied", "a new namespace has a copy all the same",
	      "tenant.unbindable.id", DIFFERS_FROM, "landlord.unbindable.id"),
	CLAIM("unbindable-out", "from which nothing comes out",
	      "landlord.sees.unbindable.tenant", IS, "not mounted"),
	PREMISE("unshare-private",
		"as unshare(1) does it, the shared one's copy is private",
		"lodger.shared.type", IS, "private"),
	PREMISE("unshare-inside", "the lodger sees what it mounts below",
		"lodger.sees.shared.lodger", IS, "mounted"),
	CLAIM("unshare-out", "which does not come out",
	      "landlord.sees.shared.lodger", IS, "not mounted"),
	CLAIM("unshare-unmoved", "and the landlord's is shared as before",
	      "landlord.shared.type.later", IS, "shared"),
	{ 0 },
};

static const struct lab lab = {
	.name = "mnt-propagation",
	.rung = 70,
	.question = "Who gets to see what is mounted later?",
	.namespaces = CLONE_NEWNS,
	.scratch = true,
	.first = "landlord",
	.story = landlord,
	.claims = claims,
};

int main(int argc, char **argv)
{
	return lab_main(argc, argv, &lab);
}
