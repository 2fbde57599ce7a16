/* SPDX-License-Identifier: MIT */
/*
 * ns-lifetime - what keeps a namespace alive, and when is it really gone?
 *
 * A tenant moves into a new UTS namespace and out again. An open file keeps the
 * place, then a mount, then a guest; then nothing. Whether it is still there, an
 * oracle tells: where the kernel allows only one more namespace, there is no
 * room for another as long as the first one lives.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lab.h"

#define LIMIT "/proc/sys/user/max_uts_namespaces" /* see namespaces(7) */
#define FILE_OF_PLACE "/tmp/place"

#ifndef FD_NSFS_ROOT
#define FD_NSFS_ROOT (-10003) /* <linux/fcntl.h>, since Linux 6.18 */
#endif

/* Make one more UTS namespace, in a child that takes it along when it ends. */
static int make_another(void)
{
	pid_t child = fork();
	int status;

	if (child == 0)
		_exit(unshare(CLONE_NEWUTS) == 0 ? 0 : errno);
	if (child < 0 || waitpid(child, &status, 0) < 0)
		return -1;
	errno = WEXITSTATUS(status);
	return errno ? -1 : 0;
}

/* The oracle says ENOSPC while the namespace lives, and 0 when it is gone. */
static void ask(const char *key)
{
	observe(key, "%s", errno_name(TRY(make_another())));
}

/*
 * A second oracle, where the kernel has it: a file handle is a name for a
 * namespace that does not keep it alive. See open_by_handle_at(2).
 */
static union {
	struct file_handle handle;
	char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
} name = { .handle.handle_bytes = MAX_HANDLE_SZ };

static const char *nameless; /* why there is none, in words */

static int open_by_name(void)
{
	int fd = open_by_handle_at(FD_NSFS_ROOT, &name.handle, O_RDONLY);

	return fd < 0 ? -1 : close(fd);
}

/* Take the name of an open namespace, and see that it leads back to it. */
static void learn_name(int place)
{
	int id;

	if (TRY(name_to_handle_at(place, "", &name.handle, &id, AT_EMPTY_PATH)))
		nameless = "namespaces have file handles since Linux 6.18";
	else if (TRY(open_by_name()))
		nameless =
			"from Linux 6.19 on, handles are only for the host's root";
}

static void ask_by_name(const char *key)
{
	if (nameless)
		absent(key, "%s", nameless);
	else
		observe(key, "%s", errno_name(TRY(open_by_name())));
}

static const char *hostname(void)
{
	return read_file("/proc/sys/kernel/hostname");
}

static void tenant(void)
{
	step("The tenant leaves a mark by which the place can be known again.");
	CALL(sethostname("kept", 4));
	observe("tenant.uts", "%lu", ns_id("uts"));
	tell(PARENT, "I have moved in");
	hear(PARENT, "move out");
}

static void guest(void)
{
	int place;

	step("Nobody is in it, nothing is open. A guest comes in by the mount.");
	place = (int)CALL(open(FILE_OF_PLACE, O_RDONLY | O_CLOEXEC));
	CALL(setns(place, CLONE_NEWUTS));
	CALL(close(place));
	observe("guest.hostname", "%s", hostname());
	observe("guest.uts", "%lu", ns_id("uts"));
	tell(PARENT, "I have moved in");
	hear(PARENT, "move out");
}

static void landlord(void)
{
	char link[32], open_file[32];
	struct peer *kid;
	int place;

	step("In user, mount and UTS namespaces of its own, the landlord allows "
	     "itself two UTS namespaces: the one it is in, and one more.");
	NEED(unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWUTS),
	     "raise user.max_user_namespaces; leave the chroot or container");
	CALL(write_file(LIMIT, "2"));
	ask("room.before");

	kid = spawn("tenant", isolate(CLONE_NEWUTS), tenant);
	hear(kid, "I have moved in");
	step("A process is in it. Does it live? Then there is no room for another.");
	ask("room.with-process");

	step("The landlord opens the namespace, and lets the tenant go.");
	snprintf(link, sizeof(link), "/proc/%d/ns/uts", pid_of(kid));
	place = (int)CALL(open(link, O_RDONLY | O_CLOEXEC));
	learn_name(place);
	ask_by_name("name.early");
	tell(kid, "move out");
	join(kid);

	step("No process is in it. All that holds it is the open file.");
	ask("room.with-open-file");

	step("The open file is mounted on an empty one, and closed.");
	snprintf(open_file, sizeof(open_file), "/proc/self/fd/%d", place);
	CALL(mknod(FILE_OF_PLACE, S_IFREG | 0644, 0));
	CALL(mount(open_file, FILE_OF_PLACE, NULL, MS_BIND, NULL));
	CALL(close(place));
	ask("room.with-mount");

	kid = spawn("guest", 0, guest);
	hear(kid, "I have moved in");
	step("The mount is taken away. All that holds it is the guest inside.");
	CALL(umount(FILE_OF_PLACE));
	ask("room.with-guest");
	tell(kid, "move out");
	join(kid);

	step("The last process has ended. The file is there; is the namespace?");
	ask("room.with-nobody");
	ask_by_name("name.late");
	place = (int)CALL(open(FILE_OF_PLACE, O_RDONLY | O_CLOEXEC));
	observe("file.entered", "%s", errno_name(TRY(setns(place, CLONE_NEWUTS))));
}

/* The kernel's own history: fs/nsfs.c, nsfs_fh_to_dentry(). */
#define HANDLES                                                                      \
	"namespaces have file handles since Linux 6.18 (fs/nsfs.c); since 2026, in " \
	"6.19 and later, only root of the initial namespaces may open them "         \
	"(\"nsfs: tighten permission checks for handle opening\")"

static const struct claim claims[] = {
	PREMISE("room", "at first there is room for one more UTS namespace",
		"room.before", IS, "0"),
	CLAIM("by-process", "a namespace lives while a process is in it",
	      "room.with-process", IS, "ENOSPC"),
	CLAIM("by-open-file", "an open file keeps it, without any process in it",
	      "room.with-open-file", IS, "ENOSPC"),
	CLAIM("by-mount", "so does a bind mount, with nothing open",
	      "room.with-mount", IS, "ENOSPC"),
	PREMISE("same", "who comes in by that mount is in the same namespace",
		"guest.uts", SAME_AS, "tenant.uts"),
	PREMISE("kept", "and finds the hostname as it was left", "guest.hostname",
		IS, "kept"),
	CLAIM("by-guest", "any process keeps it, not just the one it was made for",
	      "room.with-guest", IS, "ENOSPC"),
	CLAIM("destroyed", "with its last process it is destroyed",
	      "room.with-nobody", DIFFERS_FROM, "room.with-guest"),
	PREMISE("room-again", "and there is room for another", "room.with-nobody",
		IS, "0"),
	PREMISE("named", "its file handle led to it while it lived", "name.early",
		IS, "0", .varies = HANDLES),
	CLAIM("stale", "and now leads nowhere", "name.late", IS, "ESTALE",
	      .varies = HANDLES),
	PREMISE("plain", "the file that is left is no namespace", "file.entered",
		IS, "EINVAL"),
	{ 0 },
};

static const struct lab lab = {
	.name = "ns-lifetime",
	.rung = 50,
	.question = "What keeps a namespace alive, and when is it destroyed?",
	.proc = true,
	.scratch = true,
	.first = "landlord",
	.story = landlord,
	.claims = claims,
};

int main(int argc, char **argv)
{
	return lab_main(argc, argv, &lab);
}
