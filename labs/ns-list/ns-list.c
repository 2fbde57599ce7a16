/* SPDX-License-Identifier: MIT */
/*
 * ns-list - how can all namespaces be found, even those without a process?
 *
 * There is no list of namespaces to read; who wants one must look at every process,
 * at what is mounted, and at what is open. The host makes four namespaces: one in
 * which a tenant lives, a PID namespace nested in its own, one that only a mount
 * keeps and one that only an open file keeps. Does our lister (lister.c, which is
 * what lsns(8) does, and a little more) find them all, and notice their end?
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lister.h"

#define PLACE "/tmp/place"

/* "2 processes, lowest 7", or that it is not in the list. */
static const char *occupants(const struct ns_list *list, unsigned long inode)
{
	static char text[64];
	const struct ns_row *row = ns_list_find(list, inode);

	if (!row)
		return "not listed";
	snprintf(text, sizeof(text), "%u", row->processes);
	return text;
}

static struct ns_list look_around(void)
{
	struct ns_list list;

	if (ns_list_make(&list, true) < 0)
		broken("listing the namespaces failed with %s (%s)",
		       errno_name(errno), strerror(errno));
	return list;
}

static const struct ns_row *the_row(const struct ns_list *list, unsigned long inode)
{
	static const struct ns_row none = { .command = "not listed",
					    .kept_by = "" };
	const struct ns_row *row = ns_list_find(list, inode);

	return row ? row : &none;
}

static void stay(void)
{
	tell(PARENT, "here I am");
	hear(PARENT, "you may go");
}

/* A namespace that is held open, its maker gone: a descriptor. */
static int left_behind(const char *name, const char *key)
{
	struct peer *maker = spawn(name, isolate(CLONE_NEWUTS), stay);
	char path[32];
	int fd;

	hear(maker, "here I am");
	snprintf(path, sizeof(path), "/proc/%d/ns/uts", pid_of(maker));
	fd = (int)CALL(open(path, O_RDONLY | O_CLOEXEC));
	observe(key, "%lu", ns_id_of(pid_of(maker), "uts"));
	tell(maker, "you may go");
	join(maker);
	return fd;
}

static unsigned long number_of(int fd)
{
	struct stat st = { 0 };

	fstat(fd, &st);
	return st.st_ino;
}

static void host(void)
{
	struct peer *tenant, *nested;
	unsigned long uts, pid, mounted, held;
	char path[32];
	struct ns_list list;
	int fd;

	step("A tenant lives in a new UTS namespace, another in a new PID namespace.");
	observe("host.user", "%lu", ns_id("user"));
	observe("host.pidns", "%lu", ns_id("pid"));
	tenant = spawn("tenant", isolate(CLONE_NEWUTS), stay);
	hear(tenant, "here I am");
	nested = spawn("nested", isolate(CLONE_NEWPID), stay);
	hear(nested, "here I am");
	uts = ns_id_of(pid_of(tenant), "uts");
	pid = ns_id_of(pid_of(nested), "pid");
	observe("tenant.pid", "%d", pid_of(tenant));
	observe("tenant.uts", "%lu", uts);

	step("One namespace is kept by a mount alone, one by an open file alone.");
	fd = left_behind("builder", "mounted.uts");
	mounted = number_of(fd);
	CALL(mknod(PLACE, S_IFREG | 0644, 0));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	CALL(mount(path, PLACE, NULL, MS_BIND, NULL));
	CALL(close(fd));
	fd = left_behind("founder", "held.uts");
	held = number_of(fd);

	step("The host looks at every process, every mount and every open file.");
	list = look_around();
	observe("listed.tenant.processes", "%s", occupants(&list, uts));
	observe("listed.tenant.lowest", "%d", the_row(&list, uts)->pid);
	observe("listed.tenant.command", "%s", the_row(&list, uts)->command);
	observe("listed.tenant.owner", "%lu", the_row(&list, uts)->owner);
	observe("listed.nested.parent", "%lu", the_row(&list, pid)->parent);
	observe("listed.mounted.processes", "%s", occupants(&list, mounted));
	observe("listed.mounted.kept-by", "%s", the_row(&list, mounted)->kept_by);
	observe("listed.held.processes", "%s", occupants(&list, held));
	ns_list_free(&list);

	step("The tenant leaves, the mount is taken away, the file is closed.");
	tell(tenant, "you may go");
	join(tenant);
	CALL(umount(PLACE));
	CALL(close(fd));
	list = look_around();
	observe("later.tenant", "%s", occupants(&list, uts));
	observe("later.mounted", "%s", occupants(&list, mounted));
	observe("later.held", "%s", occupants(&list, held));
	ns_list_free(&list);

	step("Only the nested PID namespace is left.");
	tell(nested, "you may go");
	join(nested);
}

static const struct claim claims[] = {
	CLAIM("alone", "the tenant is listed as the only process of its namespace",
	      "listed.tenant.processes", IS, "1"),
	CLAIM("lowest", "and so as the one with the lowest PID",
	      "listed.tenant.lowest", SAME_AS, "tenant.pid"),
	PREMISE("command", "the list says what it runs", "listed.tenant.command",
		IS, "ns-list"),
	PREMISE("owner", "and which user namespace owns its namespace",
		"listed.tenant.owner", SAME_AS, "host.user"),
	CLAIM("parent", "the nested PID namespace has the host's as its parent",
	      "listed.nested.parent", SAME_AS, "host.pidns"),
	CLAIM("mounted", "a namespace without a process is listed by its mount",
	      "listed.mounted.processes", IS, "0"),
	PREMISE("place", "and the list says where it is mounted",
		"listed.mounted.kept-by", IS, PLACE),
	CLAIM("held", "and one that only an open file keeps is listed, too",
	      "listed.held.processes", IS, "0"),
	CLAIM("tenant-gone",
	      "when the tenant has left, its namespace is not listed",
	      "later.tenant", IS, "not listed"),
	CLAIM("mounted-gone", "nor the mounted one when its mount is gone",
	      "later.mounted", IS, "not listed"),
	CLAIM("held-gone", "nor the other when its file is closed", "later.held",
	      IS, "not listed"),
	{ 0 },
};

static const struct lab lab = {
	.name = "ns-list",
	.rung = 170,
	.question =
		"How can all namespaces be found, even those without a process?",
	.namespaces = CLONE_NEWUTS,
	.proc = true,
	.scratch = true,
	.first = "host",
	.story = host,
	.claims = claims,
	.tool = "--list",
	.tool_help =
		"  --list                 list the namespaces that you can see\n"
		"    --json               as JSON\n"
		"    --no-open-files      look at processes and mounts alone\n",
	.run_tool = ns_list_tool,
};

int main(int argc, char **argv)
{
	return lab_main(argc, argv, &lab);
}
