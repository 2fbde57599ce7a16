/* SPDX-License-Identifier: MIT */
/*
 * ns-enter - how does a process join the namespaces of another?
 *
 * The target lives in new namespaces of every type. The visitor joins them all by
 * one call with a pidfd, and sends a child where it cannot go itself. The walker
 * has no capabilities, as ordinary people have none, and joins them one by one
 * through the files of /proc/PID/ns: which must be the first?
 */
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "lab.h"

static pid_t target_pid;

static int pidfd_open(pid_t pid)
{
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

/* The target's file for one of its namespaces. */
static int file_of(const char *type)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/%s", target_pid, type);
	return open(path, O_RDONLY | O_CLOEXEC);
}

/* CLONE_NEW* of every type that this kernel offers. */
static int every_type(void)
{
	int flags = 0;

	for (const struct ns_type *type = ns_types; type->name; type++)
		flags |= ns_id(type->name) ? type->flag : 0;
	return flags;
}

/* The inode numbers of the caller's namespaces, but for the PID namespace. */
static const char *links(void)
{
	static char text[256];
	size_t len = 0;

	for (const struct ns_type *type = ns_types; type->name; type++)
		if (type->flag != CLONE_NEWPID && ns_id(type->name))
			len += (size_t)snprintf(text + len, sizeof(text) - len,
						"%s%s %lu", len ? ", " : "",
						type->name, ns_id(type->name));
	return text;
}

static const char *hostname(void)
{
	static struct utsname uts;

	uname(&uts);
	return uts.nodename;
}

static int drop_capabilities(void)
{
	struct __user_cap_header_struct me = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct none[2] = { 0 };

	return (int)syscall(SYS_capset, &me, none);
}

static void target(void)
{
	CALL(sethostname("inside", 6));
	observe("target.links", "%s", links());
	observe("target.pid", "%lu", ns_id("pid"));
	tell(PARENT, "at home");
	hear(PARENT, "no word: the host will kill it");
}

static void child(void)
{
	step("Its child begins inside, in the PID namespace, too.");
	observe("child.pid", "%lu", ns_id("pid"));
	observe("child.number", "%d", getpid());
	observe("child.parent", "%d", getppid());
}

static void visitor(void)
{
	int pidfd;

	step("The visitor is outside. A pidfd names the target, flags what to join.");
	observe("visitor.links.before", "%s", links());
	pidfd = (int)CALL(pidfd_open(target_pid));
	observe("visitor.no-flags", "%s", errno_name(TRY(setns(pidfd, 0))));
	observe("visitor.setns", "%s",
		errno_name(TRY(setns(pidfd, isolate(every_type())))));

	step("All at once. But nobody's own PID namespace ever changes.");
	observe("visitor.links", "%s", links());
	observe("visitor.hostname", "%s", hostname());
	observe("visitor.pid", "%lu", ns_id("pid"));
	join(spawn("child", 0, child));
}

static void walker(void)
{
	step("The walker has no capabilities, and tries the files one by one.");
	CALL(drop_capabilities());
	observe("walker.wrong-type", "%s",
		errno_name(TRY(setns(file_of("uts"), CLONE_NEWNET))));
	observe("walker.uts-first", "%s",
		errno_name(TRY(setns(file_of("uts"), CLONE_NEWUTS))));

	step("In a user namespace that its user made, it has them all: so that first.");
	if (!in_control())
		CALL(setns(file_of("user"), CLONE_NEWUSER));
	observe("walker.uts-second", "%s",
		errno_name(TRY(setns(file_of("uts"), CLONE_NEWUTS))));
	TRY(setns(file_of("ipc"), CLONE_NEWIPC));
	TRY(setns(file_of("net"), CLONE_NEWNET));
	TRY(setns(file_of("cgroup"), CLONE_NEWCGROUP));
	TRY(setns(file_of("mnt"), CLONE_NEWNS));
	if (every_type() & CLONE_NEWTIME)
		TRY(setns(file_of("time"), CLONE_NEWTIME));

	step("The walker has come to the same place.");
	observe("walker.links", "%s", links());
}

static void host(void)
{
	struct peer *the_target;
	int uts;

	step("The target moves into a new namespace of every type.");
	CALL(sethostname("outside", 7));
	observe("host.pid", "%lu", ns_id("pid"));
	the_target = spawn("target", every_type(), target);
	hear(the_target, "at home");
	target_pid = pid_of(the_target);
	uts = (int)CALL(file_of("uts"));

	join(spawn("visitor", 0, visitor));
	join(spawn("walker", 0, walker));

	step("The target ends. Its pidfd is of no use any more; an open file is.");
	CALL(kill(target_pid, SIGKILL));
	ending(the_target);
	observe("host.dead-pidfd", "%s",
		errno_name(TRY(setns(pidfd_of(the_target), CLONE_NEWUTS))));
	if (!in_control())
		CALL(setns(uts, CLONE_NEWUTS));
	observe("host.hostname", "%s", hostname());
}

static const struct claim claims[] = {
	PREMISE("elsewhere",
		"the visitor begins in other namespaces than the target",
		"visitor.links.before", DIFFERS_FROM, "target.links"),
	PREMISE("no-flags", "with a pidfd, setns(2) must be told what to join",
		"visitor.no-flags", IS, "EINVAL"),
	CLAIM("accepted", "what the flags name is joined", "visitor.setns", IS,
	      "0"),
	CLAIM("at-once", "all of it at once", "visitor.links", SAME_AS,
	      "target.links"),
	CLAIM("name", "and there the visitor finds the target's hostname",
	      "visitor.hostname", IS, "inside"),
	PREMISE("own-pid", "its own PID namespace stays what it was", "visitor.pid",
		SAME_AS, "host.pid"),
	CLAIM("child-pid", "its next child begins in that of the target",
	      "child.pid", SAME_AS, "target.pid"),
	CLAIM("child-number", "as number 2, after the target", "child.number", IS,
	      "2"),
	CLAIM("child-parent", "where its parent is out of sight", "child.parent",
	      IS, "0"),
	PREMISE("wrong-type", "a file of another type than the flag's is refused",
		"walker.wrong-type", IS, "EINVAL"),
	PREMISE("uts-first", "without capabilities no UTS namespace is joined",
		"walker.uts-first", IS, "EPERM"),
	CLAIM("uts-second", "but it is, once the user namespace is",
	      "walker.uts-second", IS, "0"),
	CLAIM("one-by-one", "and so are the others, file by file", "walker.links",
	      SAME_AS, "target.links"),
	PREMISE("dead-pidfd", "the pidfd of a dead process leads nowhere",
		"host.dead-pidfd", IS, "ESRCH"),
	CLAIM("open-file", "an open file still leads to its namespace",
	      "host.hostname", IS, "inside"),
	{ 0 },
};

static const struct lab lab = {
	.name = "ns-enter",
	.rung = 180,
	.question = "How does a process join the namespaces of another?",
	.namespaces = CLONE_NEWUTS,
	.proc = true,
	.first = "host",
	.story = host,
	.claims = claims,
};

int main(int argc, char **argv)
{
	return lab_main(argc, argv, &lab);
}
