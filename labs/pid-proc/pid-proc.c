/* SPDX-License-Identifier: MIT */
/*
 * pid-proc - whose processes does /proc show in a new PID namespace?
 *
 * The tenant is started in a new PID namespace, with mounts of its own. It looks
 * into the /proc that it was born with, then mounts a new one and looks again. At
 * last the host looks into the tenant's /proc, from outside: does it matter who
 * looks, or who mounted?
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "lab.h"

/* All processes that a /proc lists, by number. */
static const char *processes(const char *proc)
{
	static char list[256];
	DIR *dir = opendir(proc);
	struct dirent *entry;
	size_t len = 0;

	if (!dir)
		broken("opendir(%s): %s (%s)", proc, errno_name(errno),
		       strerror(errno));
	while ((entry = readdir(dir)) && len < sizeof(list))
		if (atoi(entry->d_name) > 0)
			len += snprintf(list + len, sizeof(list) - len, "%s%s",
					len ? " " : "", entry->d_name);
	closedir(dir);
	return list;
}

/* The number of the one who asks, or the errno of the answer. */
static const char *myself(const char *link)
{
	static char number[32];
	ssize_t len = readlink(link, number, sizeof(number) - 1);

	if (len < 0)
		return errno_name(errno);
	number[len] = '\0';
	return number;
}

/* The name of number 1, which every /proc has; see prctl(2), PR_SET_NAME. */
static const char *number_1(void)
{
	const char *name = read_file("/proc/1/comm");

	if (!name)
		broken("reading /proc/1/comm: %s (%s)", errno_name(errno),
		       strerror(errno));
	return name;
}

static void child(void)
{
	tell(PARENT, "born");
	hear(PARENT, "you may go");
}

static void tenant(void)
{
	struct peer *kid;

	step("A new PID namespace changes no mount. The tenant, under its own name, "
	     "looks into the /proc that is there.");
	CALL(prctl(PR_SET_NAME, "tenant"));
	observe("tenant.pid", "%d", getpid());
	observe("tenant.self.before", "%s", myself("/proc/self"));
	observe("tenant.sees.before", "%s", processes("/proc"));
	observe("tenant.number-1.before", "%s", number_1());
	tell(PARENT, "I have looked");

	hear(PARENT, "so have I");
	step("The tenant mounts a new procfs over it, as --mount-proc does.");
	CALL(mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC,
		   NULL));
	kid = spawn("child", 0, child);
	hear(kid, "born");
	observe("tenant.self.after", "%s", myself("/proc/self"));
	observe("tenant.sees.after", "%s", processes("/proc"));
	observe("tenant.number-1.after", "%s", number_1());
	tell(PARENT, "I have mounted it");

	hear(PARENT, "you may go");
	tell(kid, "you may go");
	join(kid);
}

static void host(void)
{
	struct peer *kid =
		spawn("tenant", CLONE_NEWNS | isolate(CLONE_NEWPID), tenant);
	char inside[64], self[80];

	hear(kid, "I have looked");
	observe("host.sees.before", "%s", processes("/proc"));
	tell(kid, "so have I");

	hear(kid, "I have mounted it");
	step("The host's own /proc is what it was: the tenant's mount is its own.");
	observe("host.pid", "%d", getpid());
	observe("host.self", "%s", myself("/proc/self"));
	observe("host.sees.after", "%s", processes("/proc"));

	step("Now the host, from outside, looks into the tenant's /proc.");
	snprintf(inside, sizeof(inside), "/proc/%d/root/proc", pid_of(kid));
	snprintf(self, sizeof(self), "%s/self", inside);
	observe("host.sees.inside", "%s", processes(inside));
	observe("host.self.inside", "%s", myself(self));
	tell(kid, "you may go");
	join(kid);
}

static const struct claim claims[] = {
	PREMISE("as-before", "at first the tenant sees what the host sees",
		"tenant.sees.before", SAME_AS, "host.sees.before"),
	CLAIM("strange-self", "it finds itself there under a number not its own",
	      "tenant.self.before", DIFFERS_FROM, "tenant.pid"),
	PREMISE("strange-first", "and number 1 is somebody else",
		"tenant.number-1.before", IS_NOT, "tenant"),
	CLAIM("own-self", "after a new mount, the tenant finds itself as number 1",
	      "tenant.self.after", IS, "1"),
	CLAIM("own-first", "and number 1 bears its name", "tenant.number-1.after",
	      IS, "tenant"),
	CLAIM("own-tree",
	      "it sees itself and its child, numbers 1 and 2, and nobody else",
	      "tenant.sees.after", IS, "1 2"),
	PREMISE("private", "the host's /proc has not changed: it sees itself",
		"host.self", SAME_AS, "host.pid"),
	CLAIM("all-below", "and all others, the tenant's included",
	      "host.sees.after", DIFFERS_FROM, "tenant.sees.after"),
	PREMISE("mounter",
		"in the tenant's /proc, the host sees what the tenant sees",
		"host.sees.inside", SAME_AS, "tenant.sees.after"),
	CLAIM("not-the-reader", "where the host itself does not exist",
	      "host.self.inside", IS, "ENOENT"),
	{ 0 },
};

static const struct lab lab = {
	.name = "pid-proc",
	.rung = 100,
	.question = "Whose processes does /proc show in a new PID namespace?",
	.proc = true,
	.first = "host",
	.story = host,
	.claims = claims,
};

int main(int argc, char **argv)
{
	return lab_main(argc, argv, &lab);
}
