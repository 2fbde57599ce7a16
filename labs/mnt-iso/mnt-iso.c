/* SPDX-License-Identifier: MIT */
/*
 * mnt-iso - can a process mount a disk that only it can see?
 *
 * A landlord mounts the first of two ISO images. A tenant, started in a new mount
 * namespace, finds it mounted, mounts the second one and unmounts the first. If
 * the namespace works, the landlord still has the first and never sees the second.
 *
 * The kernel's own iso9660 reads the images from loop devices where it can. Where
 * it cannot, because it was built without or we are not root, fuseiso does.
 */
#include <fcntl.h>
#include <libmount.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lab.h"

#define WORDS "/tmp/words" /* what the last command said */

/* These are below main(); the first makes /tmp/DIR/NAME, with a file in it. */
static void furnish(const char *dir, const char *name, const char *text);
static int genisoimage(const char *options);
static int loop_mount(const char *image, const char *dir);
static int fuse_mount(const char *image, const char *dir);

/* loop_mount or fuse_mount, whichever works here. */
static int (*mount_image)(const char *image, const char *dir);

static const char *writer; /* genisoimage, or whichever of its kin is installed */

struct list {
	char names[64];	     /* what is mounted in /tmp/mnt, as "iso1 iso2" */
	int id;		     /* of the first: unique among all mounts */
	char filesystem[32]; /* of the last */
};

/* What this process' mountinfo says of the images; see proc(5). */
static struct list mounts(void)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");
	struct list list = { .names = "none" };
	char *line = NULL, name[16];
	size_t room = 0, len = 0;
	int id;

	if (!file)
		(errno == ENOENT ? skip : broken)(
			"fopen(\"/proc/self/mountinfo\"): %s (%s); is /proc mounted?",
			errno_name(errno), strerror(errno));
	while (getline(&line, &room, file) > 0 && len < sizeof(list.names)) {
		if (sscanf(line, "%d %*d %*s %*s /tmp/mnt/%15s", &id, name) != 2)
			continue;
		list.id = len ? list.id : id;
		sscanf(strstr(line, " - "), " - %31s", list.filesystem);
		len += (size_t)snprintf(list.names + len, sizeof(list.names) - len,
					"%s%s", len ? " " : "", name);
	}
	free(line);
	fclose(file);
	return list;
}

static const char *content(const char *path)
{
	const char *text = read_file(path);

	return text ? text : errno_name(errno);
}

/* The access bits of a file, as ls(1) counts them. */
static int mode(const char *path)
{
	struct stat st = { 0 };

	stat(path, &st);
	return st.st_mode & 07777;
}

static void guest(void)
{
	step("The list belongs to the namespace: another process has the same.");
	observe("guest.mounts", "%s", mounts().names);
	observe("guest.modes", "%04o %04o %04o", mode("/proc/self/mountinfo"),
		mode("/proc/self/mounts"), mode("/proc/self/mountstats"));
}

static void tenant(void)
{
	step("The tenant begins with a copy of the list, and mounts the second.");
	observe("tenant.mounts.at-first", "%s", mounts().names);
	observe("tenant.iso1.id", "%d", mounts().id);
	CALL(mount_image("iso/2.iso", "mnt/iso2"));
	observe("tenant.filesystem", "%s", mounts().filesystem);
	observe("tenant.mounts.both", "%s", mounts().names);
	observe("tenant.iso1.content", "%s", content("mnt/iso1/file"));
	observe("tenant.iso2.content", "%s", content("mnt/iso2/file"));

	step("Then the tenant unmounts the first.");
	CALL(umount("mnt/iso1"));
	observe("tenant.mounts.later", "%s", mounts().names);
	observe("tenant.iso1.content.later", "%s", content("mnt/iso1/file"));
	join(spawn("guest", 0, guest));
	tell(PARENT, "I have mounted and unmounted");
	hear(PARENT, "I have looked");
}

static void landlord(void)
{
	struct peer *kid;
	int refusal;

	step("Two directories, with a file in each, become two ISO images.");
	furnish("iso", "iso1", "I am the first image");
	furnish("iso", "iso2", "I am the second image");
	furnish("mnt", "iso1", NULL);
	furnish("mnt", "iso2", NULL);
	CALL(genisoimage("-quiet -R -o iso/1.iso iso/iso1"));
	CALL(genisoimage("-quiet -R -o iso/2.iso iso/iso2"));
	observe("writer", "%s", writer);

	step("Ask the kernel for iso9660 without a disk: ENOTBLK means that it could.");
	mount_image = loop_mount;
	refusal = TRY(mount("iso", "mnt/iso1", "iso9660", MS_RDONLY, NULL));
	if (refusal == ENOTBLK)
		refusal = TRY(loop_mount("iso/1.iso", "mnt/iso1"));
	if (refusal) {
		step("It cannot, or not for us. fuseiso can, a program in its place.");
		mount_image = fuse_mount;
		CALL(fuse_mount("iso/1.iso", "mnt/iso1"));
	}
	observe("filesystem", "%s", mounts().filesystem);
	observe("landlord.mounts.at-first", "%s", mounts().names);
	observe("landlord.iso1.id", "%d", mounts().id);
	observe("landlord.iso1.content", "%s", content("mnt/iso1/file"));

	kid = spawn("tenant", isolate(CLONE_NEWNS), tenant);
	hear(kid, "I have mounted and unmounted");
	step("Which images does the landlord see now?");
	observe("landlord.mounts.later", "%s", mounts().names);
	observe("landlord.iso1.content.later", "%s", content("mnt/iso1/file"));
	observe("landlord.iso2.content.later", "%s", content("mnt/iso2/file"));
	tell(kid, "I have looked");
	join(kid);
}

static const struct claim claims[] = {
	PREMISE("list-copied", "the tenant begins with the landlord's list",
		"tenant.mounts.at-first", SAME_AS, "landlord.mounts.at-first"),
	CLAIM("copied", "in which the first image is another mount",
	      "tenant.iso1.id", DIFFERS_FROM, "landlord.iso1.id"),
	PREMISE("both-inside", "it sees both images when it has mounted the second",
		"tenant.mounts.both", IS, "iso1 iso2"),
	PREMISE("same-way", "the second is mounted as the first is",
		"tenant.filesystem", SAME_AS, "filesystem"),
	PREMISE("read-first", "it reads the same file in the first",
		"tenant.iso1.content", SAME_AS, "landlord.iso1.content"),
	PREMISE("read-second", "and another in the second", "tenant.iso2.content",
		IS, "I am the second image"),
	PREMISE("unmounted-inside", "it sees only the second after its umount(2)",
		"tenant.mounts.later", IS, "iso2"),
	PREMISE("unread-inside", "where the first was, it finds no file",
		"tenant.iso1.content.later", IS, "ENOENT"),
	PREMISE("per-namespace",
		"a process of the same namespace has the same list", "guest.mounts",
		SAME_AS, "tenant.mounts.later"),
	PREMISE("modes", "mountinfo and mounts are for all, mountstats is not",
		"guest.modes", IS, "0444 0444 0400"),
	CLAIM("unmoved", "outside, the first is still mounted, and nothing else",
	      "landlord.mounts.later", SAME_AS, "landlord.mounts.at-first"),
	CLAIM("read-outside", "and can be read", "landlord.iso1.content.later",
	      SAME_AS, "landlord.iso1.content"),
	CLAIM("unread-outside", "where the second would be, there is no file",
	      "landlord.iso2.content.later", IS, "ENOENT"),
	{ 0 },
};

static const struct lab lab = {
	.name = "mnt-iso",
	.rung = 60,
	.question = "Can a process mount a disk that only it can see?",
	.power = PREFERS_ROOT,
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

/* --- Plumbing: writing images, and the two ways to mount one --------------- */

static void must(bool done, const char *call, const char *path)
{
	if (!done)
		broken("%s(\"%s\"): %s (%s)", call, path, errno_name(errno),
		       strerror(errno));
}

/* Files for an image, or (text NULL) a directory to mount on; all below /tmp. */
static void furnish(const char *dir, const char *name, const char *text)
{
	char path[64];
	FILE *file;

	must(chdir("/tmp") == 0, "chdir", "/tmp");
	must(mkdir(dir, 0755) == 0 || errno == EEXIST, "mkdir", dir);
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	must(mkdir(path, 0755) == 0, "mkdir", path);
	if (text) {
		snprintf(path, sizeof(path), "%s/%s/file", dir, name);
		file = fopen(path, "we");
		must(file && fputs(text, file) >= 0, "write", path);
		must(fclose(file) == 0, "close", path);
	}
}

/* Run a command, its output put aside; EPROTO: it ran and ended badly. */
static int run(const char *command, const char *options)
{
	char line[128], *next = line, *argv[12] = { 0 };
	posix_spawn_file_actions_t files;
	int status;
	pid_t pid;

	snprintf(line, sizeof(line), "%s %s", command, options);
	for (int i = 0; i < 11 && next; i++)
		argv[i] = strsep(&next, " ");

	setenv("HOME", "/tmp", 1); /* nobody's settings, and English */
	setenv("LC_ALL", "C", 1);
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(&files, 1, WORDS,
					 O_WRONLY | O_CREAT | O_TRUNC, 0600);
	posix_spawn_file_actions_adddup2(&files, 1, 2);
	errno = posix_spawnp(&pid, argv[0], &files, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&files);
	if (errno || waitpid(pid, &status, 0) < 0)
		return -1;
	errno = EPROTO;
	return status == 0 ? 0 : -1;
}

/* How the last command failed, in one line. */
static const char *last_words(void)
{
	static char text[512];
	const char *words = errno == EPROTO ? read_file(WORDS) : NULL;

	if (words && *words)
		snprintf(text, sizeof(text), "%.*s", (int)strcspn(words, "\n"),
			 words);
	else
		snprintf(text, sizeof(text), "%s (%s)", errno_name(errno),
			 strerror(errno));
	return text;
}

static int genisoimage(const char *options)
{
	static const char *const kin[] = { "genisoimage", "mkisofs", "xorrisofs" };

	for (size_t i = 0; i < sizeof(kin) / sizeof(*kin); i++) {
		writer = kin[i];
		if (run(writer, options) == 0)
			return 0;
		if (errno != ENOENT)
			broken("%s %s: %s", writer, options, last_words());
	}
	skip("genisoimage: ENOENT (not installed); install the package genisoimage");
}

/* Without the kernel's iso9660: a program reads the image for as long as it lives. */
static int fuse_mount(const char *image, const char *dir)
{
	static const char *const vm = "nslab vm run mnt-iso";
	char options[64];

	snprintf(options, sizeof(options), "-n %s %s", image, dir);
	if (run("fuseiso", options) == 0)
		return 0;
	if (errno == ENOENT)
		skip("fuseiso: ENOENT (not installed); install the package fuseiso, or try a kernel that has iso9660: %s",
		     vm);
	skip("fuseiso: %s; as root: modprobe fuse, chmod 0666 /dev/fuse; or try a kernel that has iso9660: %s",
	     last_words(), vm);
}

/*
 * What `mount -t iso9660 -o ro,loop` does. The kernel frees the loop device by
 * itself when the last mount of it has gone, for whatever reason: libmount sets
 * LO_FLAGS_AUTOCLEAR in the very ioctl that attaches the image.
 */
static int loop_mount(const char *image, const char *dir)
{
	struct libmnt_context *cxt = mnt_new_context();
	int failed, err = ENXIO; /* where there is no loop device to be had */

	failed = !cxt || mnt_context_set_fstype(cxt, "iso9660") ||
		 mnt_context_set_source(cxt, image) ||
		 mnt_context_set_target(cxt, dir) ||
		 mnt_context_set_options(cxt, "ro,loop") ||
		 mnt_context_disable_mtab(cxt, 1) || /* nothing in /run/mount */
		 mnt_context_mount(cxt);
	if (cxt && mnt_context_syscall_called(cxt))
		err = mnt_context_get_syscall_errno(cxt);
	mnt_free_context(cxt);
	errno = err;
	return failed ? -1 : 0;
}
