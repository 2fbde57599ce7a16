/* SPDX-License-Identifier: MIT */
/*
 * stage.c - the private namespaces that play "the host".
 *
 * The stage's init is PID 1 of a PID namespace and has a parent-death signal:
 * whatever ends the supervisor ends the init, and with it, by the kernel's hand,
 * every process, mount, link and queue of the stage (pid_namespaces(7)).
 */
#include <grp.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "actor.h"
#include "errname.h"
#include "stage.h"

#define NOBODY 65534 /* the ordinary user that root becomes */

/* --- Rights ---------------------------------------------------------------- */

/*
 * Root becomes NOBODY, but can still return: the saved ID stays 0. Where NOBODY
 * does not exist, as in a user namespace with few IDs, root stays what it is.
 */
static void step_down(void)
{
	if (geteuid() == 0 && setgroups(0, NULL) == 0 &&
	    setresgid(NOBODY, NOBODY, 0) == 0 && setresuid(NOBODY, NOBODY, 0) == 0)
		prctl(PR_SET_DUMPABLE, 1); /* else root owns /proc/self: proc(5) */
}

static void step_up_again(void)
{
	if (seteuid(0) == 0 && setresgid(0, 0, 0) == 0 && setresuid(0, 0, 0) == 0)
		prctl(PR_SET_DUMPABLE, 1);
}

bool stage_may_be_root(void)
{
	uid_t real, effective, saved;

	return getresuid(&real, &effective, &saved) == 0 && saved == 0;
}

void stage_settle(struct stage *stage)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();

	if (!stage->root && setresgid(gid, gid, gid) == 0 &&
	    setresuid(uid, uid, uid) == 0)
		prctl(PR_SET_DUMPABLE, 1);
}

/* --- Refusals -------------------------------------------------------------- */

static bool file_is(const char *path, const char *value)
{
	const char *text = read_file(path);

	return text && strcmp(text, value) == 0;
}

/* The cause of a refusal, asked of the kernel, and the way out. */
static const char *refusal(bool root, int err)
{
	static const char *const limits[] = { "user", "pid", "mnt",    "uts",
					      "ipc",  "net", "cgroup", "time" };
	static char text[160];
	const char *seccomp;

	for (size_t i = 0; err == ENOSPC && i < sizeof(limits) / sizeof(*limits);
	     i++) {
		snprintf(text, sizeof(text), "/proc/sys/user/max_%s_namespaces",
			 limits[i]);
		if (file_is(text, "0")) {
			snprintf(
				text, sizeof(text),
				"the limit is 0; as root: sysctl user.max_%s_namespaces=10000",
				limits[i]);
			return text;
		}
	}
	if (err == ENOSPC)
		return "a limit of /proc/sys/user/max_*_namespaces is reached, or 32 levels of nesting";
	if (err == EINVAL)
		return "this kernel was built without one of these namespaces";
	seccomp = read_field("/proc/self/status", "Seccomp");
	if (seccomp && strcmp(seccomp, "2") == 0)
		return "a seccomp filter is at work, as in a container: run on the host or in a VM, or give the container --security-opt seccomp=unconfined";
	if (root)
		return "a root stage needs CAP_SYS_ADMIN in the initial user namespace: run it as root, on a host or in a VM";
	if (file_is("/proc/sys/kernel/unprivileged_userns_clone", "0"))
		return "user namespaces are switched off; as root: sysctl kernel.unprivileged_userns_clone=1";
	if (file_is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1"))
		return "AppArmor restricts user namespaces; as root: sysctl kernel.apparmor_restrict_unprivileged_userns=0";
	if (err == EPERM)
		return "user namespaces are refused: in a chroot, use a VM or a real root; else ask `nslab doctor`";
	return errno_hint(err);
}

/* --- The stage's init ------------------------------------------------------ */

static void need(int ret, bool root, const char *call)
{
	if (ret < 0) {
		int err = errno;

		skip("cannot set the stage: %s failed with %s (%s); %s", call,
		     errno_name(err), strerror(err), refusal(root, err));
	}
}

/* Map ourselves, and only ourselves, to root; see user_namespaces(7). */
static void map_ids(uid_t uid, gid_t gid)
{
	char map[32];

	snprintf(map, sizeof(map), "0 %u 1", uid);
	if (write_file("/proc/self/uid_map", map) < 0) {
		if (errno == EPERM && uid == 0)
			skip("cannot set the stage: writing uid_map failed with EPERM (%s); root without CAP_SETFCAP cannot map itself: run it as an ordinary user",
			     strerror(errno));
		need(-1, false, "writing uid_map");
	}
	need(write_file("/proc/self/setgroups", "deny"), false,
	     "writing setgroups");
	snprintf(map, sizeof(map), "0 %u 1", gid);
	need(write_file("/proc/self/gid_map", map), false, "writing gid_map");
	need(setresgid(0, 0, 0), false, "setresgid");
	need(setresuid(0, 0, 0), false, "setresuid");
}

/* Nothing mounted here is seen outside; what is mounted outside may come in. */
static void set_mounts(const struct lab *lab, bool root)
{
	need(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), root,
	     "mount(/, MS_REC | MS_PRIVATE)");
	if (lab->proc && mount("proc", "/proc", "proc",
			       MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		skip("cannot mount /proc on the stage: %s (%s); a container that masks parts of /proc forbids it: run on the host or in a VM",
		     errno_name(errno), strerror(errno));
	if (lab->scratch)
		need(mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV,
			   "mode=1777,size=64m"),
		     root, "mount(tmpfs, /tmp)");
}

static bool wants_mounts(const struct lab *lab)
{
	return lab->proc || lab->scratch || (lab->namespaces & CLONE_NEWNS);
}

static void be_init(const struct lab *lab, bool control, bool root, uid_t uid,
		    gid_t gid, int channel) __attribute__((noreturn));

static void be_init(const struct lab *lab, bool control, bool root, uid_t uid,
		    gid_t gid, int channel)
{
	sigset_t none;
	char go;

	actor_begin(lab, control, STAGE_INIT, channel);
	setsid(); /* the terminal's Ctrl-C is for the supervisor */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (recv(channel, &go, 1, 0) != 1) /* the supervisor died before that */
		_exit(1);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	if (!root)
		map_ids(uid, gid);
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* a change of IDs may have reset it */
	umask(022);
	if (wants_mounts(lab))
		set_mounts(lab, root);
	actor_tell_story();
}

/* --- The supervisor's side ------------------------------------------------- */

int stage_open(struct stage *stage, const struct lab *lab, bool control, bool root,
	       char *why, size_t room)
{
	int channel[2], on = 1, err;
	uid_t uid;
	gid_t gid;
	uint64_t flags = CLONE_PIDFD | CLONE_NEWPID | (root ? 0 : CLONE_NEWUSER) |
			 (wants_mounts(lab) ? CLONE_NEWNS : 0) |
			 (unsigned int)lab->namespaces;
	struct clone_args args = {
		.flags = flags,
		.pidfd = (uintptr_t)&stage->pidfd,
		.exit_signal = SIGCHLD,
	};

	*stage = (struct stage){ .root = root, .pidfd = -1, .channel = -1 };
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel) < 0) {
		snprintf(why, room, "socketpair failed with %s (%s); %s",
			 errno_name(errno), strerror(errno), errno_hint(errno));
		return -1;
	}
	setsockopt(channel[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on));
	if (!root)
		step_down();
	uid = geteuid();
	gid = getegid();

	stage->pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	if (stage->pid == 0) {
		close(channel[0]);
		be_init(lab, control, root, uid, gid, channel[1]);
	}
	err = errno;
	close(channel[1]);
	if (stage->pid < 0) {
		close(channel[0]);
		if (!root)
			step_up_again();
		snprintf(why, room,
			 "cannot make a %s stage: clone3 failed with %s (%s); %s",
			 root ? "root" : "user", errno_name(err), strerror(err),
			 refusal(root, err));
		return -1;
	}
	stage->channel = channel[0];
	return 0;
}

void stage_begin(struct stage *stage)
{
	send(stage->channel, "", 1, MSG_NOSIGNAL);
}

int stage_end(struct stage *stage, int timeout_ms)
{
	struct pollfd end = { .fd = stage->pidfd, .events = POLLIN };
	int ready;

	if (stage->pidfd < 0)
		return 0;
	kill(stage->pid, SIGKILL); /* our child, and not yet waited for */
	do
		ready = poll(&end, 1, timeout_ms);
	while (ready < 0 && errno == EINTR);
	if (ready <= 0)
		return -1;
	waitpid(stage->pid, NULL, 0);
	close(stage->pidfd);
	close(stage->channel);
	stage->pidfd = stage->channel = -1;
	return 0;
}

void stage_leave(struct stage *stage, int timeout_ms)
{
	stage_end(stage, timeout_ms);
	if (!stage->root)
		step_up_again();
}
