/* SPDX-License-Identifier: MIT */
/*
 * ns-api - what do clone, unshare, setns and ioctl do with namespaces?
 *
 * clone(2) puts a new process into new namespaces, and its caller stays.
 * unshare(2) moves its caller into new ones, setns(2) into those that are there
 * already, and ioctl(2) asks a namespace what it is and whose.
 */
#include <fcntl.h>
#include <linux/nsfs.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lab.h"

static int uts_of_tenant, pidfd_of_tenant;

static const char *hostname(void)
{
	static struct utsname uts;

	uname(&uts);
	return uts.nodename;
}

/* The number of an open namespace: that of its link in /proc/PID/ns. */
static unsigned long id_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 ? st.st_ino : 0;
}

static const char *flag_name(long flag)
{
	const struct ns_type *t = ns_types;

	while (t->name && t->flag != flag)
		t++;
	return t->name ? t->flag_name : "unknown";
}

/* What clone(2) starts: it stops itself, so that its parent can look at it. */
static int newborn(void *unused)
{
	(void)unused;
	if (sethostname("newborn", 7) < 0)
		return errno;
	return kill(getpid(), SIGSTOP);
}

static void clone_one(void)
{
	static char stack[65536] __attribute__((aligned(16)));
	char *top = stack + sizeof(stack);
	int child;

	step("clone(2) makes a child in a new namespace, and leaves its caller.");
	CALL(sethostname("caller", 6));
	observe("caller.uts", "%lu", ns_id("uts"));
	child = (int)CALL(
		clone(newborn, top, isolate(CLONE_NEWUTS) | SIGCHLD, NULL));
	CALL(waitpid(child, NULL, WUNTRACED));

	step("The child has renamed its machine, and stopped. The caller looks.");
	observe("newborn.uts", "%lu", ns_id_of(child, "uts"));
	observe("caller.uts.later", "%lu", ns_id("uts"));
	observe("caller.hostname", "%s", hostname());
	CALL(kill(child, SIGCONT));
	CALL(waitpid(child, NULL, 0));
}

static void mover(void)
{
	step("unshare(2) makes no process: the caller itself moves to a new one.");
	observe("mover.pid", "%d", getpid());
	observe("mover.uts", "%lu", ns_id("uts"));
	CALL(unshare(isolate(CLONE_NEWUTS)));

	step("Is it the same process, and where is it now?");
	observe("mover.pid.later", "%d", getpid());
	observe("mover.uts.later", "%lu", ns_id("uts"));
}

static void tenant(void)
{
	step("clone3(2) can make several at once, owned by a new user namespace.");
	observe("tenant.uts", "%lu", ns_id("uts"));
	observe("tenant.ipc", "%lu", ns_id("ipc"));
	observe("tenant.pidns", "%lu", ns_id("pid"));
	observe("tenant.user", "%lu", ns_id("user"));
	tell(PARENT, "I have moved in");
	hear(PARENT, "move out");
}

static void ask(void)
{
	int owner, parent = -1, err;
	uid_t uid;

	step("ioctl(2) asks an open namespace: what are you, and whose?");
	observe("asked.type", "%s",
		flag_name(CALL(ioctl(uts_of_tenant, NS_GET_NSTYPE))));
	observe("caller.user", "%lu", ns_id("user"));
	observe("caller.uid", "%u", geteuid());
	owner = (int)CALL(ioctl(uts_of_tenant, NS_GET_USERNS));
	observe("asked.owner", "%lu", id_of(owner));
	CALL(ioctl(owner, NS_GET_OWNER_UID, &uid));
	observe("asked.owner.uid", "%u", uid);

	step("User and PID namespaces have parents, which not everybody may see.");
	err = TRY(parent = ioctl(owner, NS_GET_PARENT));
	if (err)
		observe("asked.owner.parent", "%s", errno_name(err));
	else
		observe("asked.owner.parent", "%lu", id_of(parent));
	observe("asked.parent", "%s",
		errno_name(TRY(ioctl(uts_of_tenant, NS_GET_PARENT))));
}

static void guest(void)
{
	step("setns(2) joins a namespace that is there, by an open file of it.");
	observe("guest.uts", "%lu", ns_id("uts"));
	observe("guest.wrong-type", "%s",
		errno_name(TRY(setns(uts_of_tenant, CLONE_NEWIPC))));
	CALL(setns(uts_of_tenant, CLONE_NEWUTS));
	observe("guest.uts.later", "%lu", ns_id("uts"));

	step("Or by a pidfd: those of a process that the flags name, all at once.");
	observe("guest.ipc", "%lu", ns_id("ipc"));
	observe("guest.pidns", "%lu", ns_id("pid"));
	observe("guest.no-type", "%s", errno_name(TRY(setns(pidfd_of_tenant, 0))));
	CALL(setns(pidfd_of_tenant, CLONE_NEWIPC | CLONE_NEWPID));
	observe("guest.ipc.later", "%lu", ns_id("ipc"));
	observe("guest.pidns.later", "%lu", ns_id("pid"));
	observe("guest.for-children", "%lu", ns_id("pid_for_children"));
	tell(PARENT, "I have moved in");
	hear(PARENT, "move out");
}

static void caller(void)
{
	char link[32];
	struct peer *host, *kid;

	clone_one();
	join(spawn("mover", 0, mover));

	host = spawn("tenant",
		     isolate(CLONE_NEWUSER | CLONE_NEWUTS | CLONE_NEWIPC |
			     CLONE_NEWPID),
		     tenant);
	hear(host, "I have moved in");
	snprintf(link, sizeof(link), "/proc/%d/ns/uts", pid_of(host));
	uts_of_tenant = (int)CALL(open(link, O_RDONLY | O_CLOEXEC));
	pidfd_of_tenant = (int)CALL(syscall(SYS_pidfd_open, pid_of(host), 0));
	ask();

	kid = spawn("guest", 0, guest);
	hear(kid, "I have moved in");
	step("Now the guest is where the tenant is, until both of them end.");
	tell(kid, "move out");
	join(kid);
	tell(host, "move out");
	join(host);

	step("The pidfd is still open. Can a process be joined that has ended?");
	observe("guest.too-late", "%s",
		errno_name(TRY(setns(pidfd_of_tenant, CLONE_NEWUTS))));
}

static const struct claim claims[] = {
	CLAIM("clone", "a cloned child begins in another namespace", "newborn.uts",
	      DIFFERS_FROM, "caller.uts"),
	PREMISE("clone-stays", "the caller of clone(2) stays in its own",
		"caller.uts.later", SAME_AS, "caller.uts"),
	CLAIM("clone-unmoved", "and does not notice what the child renames",
	      "caller.hostname", IS, "caller"),

	CLAIM("unshare", "unshare(2) moves its caller into another namespace",
	      "mover.uts.later", DIFFERS_FROM, "mover.uts"),
	PREMISE("unshare-pid", "without a new process: its PID is what it was",
		"mover.pid.later", SAME_AS, "mover.pid"),

	PREMISE("type", "NS_GET_NSTYPE tells the type of a namespace, by its flag",
		"asked.type", IS, "CLONE_NEWUTS"),
	PREMISE("owner",
		"NS_GET_USERNS tells its owner: the user namespace it is of",
		"asked.owner", SAME_AS, "tenant.user"),
	CLAIM("owner-new", "not the caller's, but the one that was made with it",
	      "asked.owner", DIFFERS_FROM, "caller.user"),
	PREMISE("owner-uid", "NS_GET_OWNER_UID tells which user has made that",
		"asked.owner.uid", SAME_AS, "caller.uid"),
	CLAIM("parent", "NS_GET_PARENT leads from there to the caller's",
	      "asked.owner.parent", SAME_AS, "caller.user"),
	PREMISE("no-parent", "while a UTS namespace has no parent", "asked.parent",
		IS, "EINVAL"),

	CLAIM("setns", "setns(2) moves the guest", "guest.uts.later", DIFFERS_FROM,
	      "guest.uts"),
	PREMISE("joined", "into the namespace that was open", "guest.uts.later",
		SAME_AS, "tenant.uts"),
	PREMISE("wrong-type", "it refuses a namespace of another type",
		"guest.wrong-type", IS, "EINVAL"),
	CLAIM("pidfd", "a pidfd moves the guest as well", "guest.ipc.later",
	      DIFFERS_FROM, "guest.ipc"),
	PREMISE("pidfd-joined", "to where that process is", "guest.ipc.later",
		SAME_AS, "tenant.ipc"),
	PREMISE("pid-stays", "its own PID namespace remains what it was",
		"guest.pidns.later", SAME_AS, "guest.pidns"),
	CLAIM("pid-children", "but its children will be in another one",
	      "guest.for-children", DIFFERS_FROM, "guest.pidns"),
	PREMISE("pid-joined", "in that of the process", "guest.for-children",
		SAME_AS, "tenant.pidns"),
	PREMISE("no-type", "with a pidfd, setns(2) must be told what to join",
		"guest.no-type", IS, "EINVAL"),
	PREMISE("too-late", "and the process must be alive", "guest.too-late", IS,
		"ESRCH"),
	{ 0 },
};

static const struct lab lab = {
	.name = "ns-api",
	.rung = 30,
	.question = "What do clone, unshare, setns and ioctl do with namespaces?",
	.namespaces = CLONE_NEWUTS | CLONE_NEWIPC,
	.proc = true,
	.first = "caller",
	.story = caller,
	.claims = claims,
};

int main(int argc, char **argv)
{
	return lab_main(argc, argv, &lab);
}
