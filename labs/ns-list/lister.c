/* SPDX-License-Identifier: MIT */
/* lister.c - the namespaces that the caller can see, in one walk through /proc. */
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/nsfs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lister.h"
#include "trace.h"

/* --- A table of rows, found by number ------------------------------------------ */

struct table {
	struct ns_row *slots; /* free where inode is 0 */
	size_t size;	      /* a power of two */
	size_t used;
};

static struct ns_row *slot_of(const struct table *t, unsigned long inode)
{
	size_t i =
		inode * 2654435761UL; /* numbers follow each other: spread them */

	while (t->slots[i & (t->size - 1)].inode &&
	       t->slots[i & (t->size - 1)].inode != inode)
		i++;
	return &t->slots[i & (t->size - 1)];
}

static int grow(struct table *t)
{
	struct table bigger = { .size = t->size ? t->size * 2 : 256 };

	bigger.slots = calloc(bigger.size, sizeof(*bigger.slots));
	if (!bigger.slots)
		return -1;
	for (size_t i = 0; i < t->size; i++)
		if (t->slots[i].inode)
			*slot_of(&bigger, t->slots[i].inode) = t->slots[i];
	bigger.used = t->used;
	free(t->slots);
	*t = bigger;
	return 0;
}

/* The row of a namespace, new or known; NULL without memory. */
static struct ns_row *row_of(struct table *t, unsigned long inode,
			     const struct ns_type *type)
{
	struct ns_row *row;

	if (t->used * 2 >= t->size && grow(t) < 0)
		return NULL;
	row = slot_of(t, inode);
	if (!row->inode) {
		*row = (struct ns_row){ .inode = inode,
					.type = type,
					.kept_by = "",
					.uid = (uid_t)-1 };
		t->used++;
	}
	return row;
}

/* "uts:[4026531838]" as type and number: true if it is such a name. */
static bool is_name(const char *text, const struct ns_type **type,
		    unsigned long *inode)
{
	size_t len = strcspn(text, ":");

	if (text[len] != ':' || text[len + 1] != '[')
		return false;
	for (*type = ns_types; (*type)->name; (*type)++)
		if (strncmp((*type)->name, text, len) == 0 && !(*type)->name[len])
			break;
	*inode = strtoul(text + len + 2, NULL, 10);
	return (*type)->name && *inode;
}

/* --- Who is where ---------------------------------------------------------------- */

/* Note what keeps a namespace; a mount is better known by than an open file. */
static int keep(struct table *t, const char *name, pid_t keeper, const char *by)
{
	const struct ns_type *type;
	unsigned long inode;
	struct ns_row *row;
	char *copy;

	if (!is_name(name, &type, &inode))
		return 0;
	row = row_of(t, inode, type);
	if (!row || row->kept_by[0] == '/' || (row->kept_by[0] && *by != '/'))
		return row ? 0 : -1;
	copy = strdup(by);
	if (!copy)
		return -1;
	if (row->kept_by[0])
		free((char *)row->kept_by);
	row->kept_by = copy;
	row->keeper = keeper;
	return 0;
}

enum sight { SEEN, HIDDEN, GONE, NO_MEMORY };

/* The namespaces of one process, all of them or none: it may end meanwhile. */
static enum sight look_at(struct table *t, int proc, const char *process)
{
	unsigned long inodes[16] = { 0 };
	char path[32], link[64];
	pid_t pid = atoi(process);
	enum sight sight = GONE; /* as it is where no link is left */
	int ns;

	/* From here the way to eight links is shorter. */
	snprintf(path, sizeof(path), "%.16s/ns", process);
	ns = openat(proc, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	for (size_t i = 0; ns >= 0 && ns_types[i].name; i++) {
		ssize_t len =
			readlinkat(ns, ns_types[i].name, link, sizeof(link) - 1);

		if (len < 0 && errno == ENOENT)
			continue; /* a type that this kernel has not */
		if (len < 0) {
			sight = HIDDEN;
			break;
		}
		link[len] = '\0';
		inodes[i] = strtoul(link + strcspn(link, "[") + 1, NULL, 10);
		sight = SEEN;
	}
	if (ns >= 0)
		close(ns);
	if (sight == HIDDEN && faccessat(proc, process, F_OK, 0) < 0)
		return GONE; /* the kernel refuses that, too, with EACCES */
	for (size_t i = 0; sight == SEEN && ns_types[i].name; i++) {
		struct ns_row *row;

		if (!inodes[i])
			continue;
		row = row_of(t, inodes[i], &ns_types[i]);
		if (!row)
			return NO_MEMORY;
		row->processes++;
		if (!row->pid || pid < row->pid)
			row->pid = pid;
	}
	return sight;
}

/* An entry of a directory as the kernel writes it; see getdents64(2). */
struct entry {
	uint64_t inode;
	int64_t next;
	unsigned short size;
	unsigned char type;
	char name[];
};

/* Namespaces that a process holds open. What is closed meanwhile is no loss. */
static int look_at_files(struct table *t, int proc, const char *process)
{
	static _Alignas(struct entry) char entries[16384];
	char path[32], link[64], by[48];
	pid_t pid = atoi(process);
	long size;
	int fd, bad = 0;

	snprintf(path, sizeof(path), "%.16s/fd", process);
	fd = openat(proc, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	while (fd >= 0 && !bad &&
	       (size = syscall(SYS_getdents64, fd, entries, sizeof(entries))) > 0)
		for (long at = 0; at < size && !bad;) {
			const struct entry *entry = (void *)(entries + at);
			ssize_t len;

			at += entry->size;
			len = readlinkat(fd, entry->name, link, sizeof(link) - 1);
			link[len > 0 ? len : 0] = '\0';
			snprintf(by, sizeof(by), "%.16s, file %.16s", process,
				 entry->name);
			if (len > 0 && link[len - 1] == ']')
				bad = keep(t, link, pid, by);
		}
	if (fd >= 0)
		close(fd);
	return bad;
}

/* mountinfo writes a blank as \040, and three others likewise: back in place. */
static void unescape(char *path)
{
	char *to = path;

	for (const char *from = path; *from; to++) {
		unsigned int byte;
		int used = 0;

		if (sscanf(from, "\\%3o%n", &byte, &used) == 1 && used == 4)
			from += used;
		else
			byte = (unsigned char)*from++;
		*to = (char)byte;
	}
	*to = '\0';
}

/* Namespaces that are mounted on files, in the mount namespace of a process. */
static int look_at_mounts(struct table *t, pid_t pid)
{
	char path[32], *line = NULL, root[64], *place;
	size_t room = 0;
	int bad = 0;
	FILE *list;

	snprintf(path, sizeof(path), "/proc/%d/mountinfo", pid);
	list = fopen(path, "re");
	if (!list)
		return 0;
	while (!bad && getline(&line, &room, list) > 0)
		if (strstr(line, " - nsfs ") &&
		    sscanf(line, "%*d %*d %*s %63s %ms", root, &place) == 2) {
			unescape(place);
			bad = keep(t, root, pid, place);
			free(place);
		}
	free(line);
	fclose(list);
	return bad;
}

/* --- More about a namespace ------------------------------------------------------ */

/* What ioctl_ns(2) tells: a number, or 0 for what lies beyond our sight (EPERM). */
static int relative(int ns, unsigned long request, unsigned long *inode)
{
	struct stat st = { 0 };
	int fd = ioctl(ns, request), bad = 0;

	if (fd < 0)
		return errno == EPERM ? 0 : -1;
	if (fstat(fd, &st) < 0)
		bad = -1;
	*inode = st.st_ino;
	close(fd);
	return bad;
}

/*
 * Open a namespace by a process in it, or by the file or the mount that keeps it;
 * -1 if what is found there is, meanwhile, something else.
 */
static int open_namespace(const struct ns_row *row)
{
	char path[4200];
	struct stat st;
	int ns, file;

	if (row->pid)
		snprintf(path, sizeof(path), "/proc/%d/ns/%s", row->pid,
			 row->type->name);
	else if (sscanf(row->kept_by, "%*d, file %d", &file) == 1)
		snprintf(path, sizeof(path), "/proc/%d/fd/%d", row->keeper, file);
	else
		snprintf(path, sizeof(path), "/proc/%d/root%s", row->keeper,
			 row->kept_by);
	ns = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (ns >= 0 && (fstat(ns, &st) < 0 || st.st_ino != row->inode)) {
		close(ns);
		return -1;
	}
	return ns;
}

static int learn(struct ns_row *row)
{
	int ns = open_namespace(row), bad = 0;
	char path[32];
	struct stat st;

	if (ns >= 0) {
		bad = relative(ns, NS_GET_USERNS, &row->owner);
		if (!bad && row->type->flag & (CLONE_NEWPID | CLONE_NEWUSER))
			bad = relative(ns, NS_GET_PARENT, &row->parent);
		close(ns);
	}
	if (bad || !row->pid)
		return bad;
	snprintf(path, sizeof(path), "/proc/%d", row->pid);
	if (stat(path, &st) == 0)
		row->uid = st.st_uid;
	snprintf(path, sizeof(path), "/proc/%d/comm", row->pid);
	if (read_file(path))
		snprintf(row->command, sizeof(row->command), "%s", read_file(path));
	return 0;
}

/* --- The list -------------------------------------------------------------------- */

static int by_type_and_number(const void *a, const void *b)
{
	const struct ns_row *x = a, *y = b;

	if (x->type != y->type)
		return x->type < y->type ? -1 : 1;
	return x->inode < y->inode ? -1 : x->inode > y->inode;
}

static int walk(struct table *t, struct ns_list *list, DIR *proc, bool open_files)
{
	struct dirent *entry;

	while ((entry = readdir(proc))) {
		const char *process = entry->d_name;
		enum sight sight;

		if (!isdigit((unsigned char)*process))
			continue;
		sight = look_at(t, dirfd(proc), process);
		if (sight == NO_MEMORY ||
		    (open_files && look_at_files(t, dirfd(proc), process) < 0))
			return -1;
		list->processes += sight != GONE;
		list->unreadable += sight == HIDDEN;
	}
	/* Mounts are those of a mount namespace: one process of each will do. */
	for (size_t i = 0, size = t->size; i < size; i++) {
		struct ns_row row = t->slots[i];

		if (row.inode && row.pid && row.type->flag == CLONE_NEWNS &&
		    look_at_mounts(t, row.pid) < 0)
			return -1;
		if (t->size != size) /* it has grown and was mixed anew */
			size = t->size, i = (size_t)-1;
	}
	return 0;
}

int ns_list_make(struct ns_list *list, bool open_files)
{
	struct table t = { 0 };
	DIR *proc = opendir("/proc");
	int bad;

	*list = (struct ns_list){ 0 };
	if (!proc)
		return -1;
	bad = grow(&t) < 0 || walk(&t, list, proc, open_files) < 0 ? ENOMEM
	      : list->processes == 0 ? ENOENT /* not even ours: no procfs */
				     : 0;
	closedir(proc);
	if (bad) {
		list->rows = t.slots;
		list->count = t.size;
		ns_list_free(list);
		errno = bad;
		return -1;
	}
	for (size_t i = 0; i < t.size; i++)
		if (t.slots[i].inode)
			t.slots[list->count++] = t.slots[i];
	list->rows = t.slots;
	qsort(list->rows, list->count, sizeof(*list->rows), by_type_and_number);
	for (size_t i = 0; i < list->count; i++)
		if (learn(&list->rows[i]) < 0) {
			bad = errno;
			ns_list_free(list);
			errno = bad;
			return -1;
		}
	return 0;
}

void ns_list_free(struct ns_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		if (list->rows[i].inode && list->rows[i].kept_by[0])
			free((char *)list->rows[i].kept_by);
	free(list->rows);
	*list = (struct ns_list){ 0 };
}

const struct ns_row *ns_list_find(const struct ns_list *list, unsigned long inode)
{
	for (size_t i = 0; i < list->count; i++)
		if (list->rows[i].inode == inode)
			return &list->rows[i];
	return NULL;
}

/* --- The command ------------------------------------------------------------------ */

/* A number, or a dash where there is none. */
static const char *number(char text[24], unsigned long n)
{
	snprintf(text, 24, n ? "%lu" : "-", n);
	return text;
}

/* Bytes of the text that fit the columns, if each character takes one. */
static int fitting(const char *text, int columns)
{
	int bytes = 0;

	while (text[bytes] && columns-- > 0)
		bytes += utf8_length((const unsigned char *)text + bytes);
	return bytes;
}

static void print_table(const struct ns_list *list)
{
	char pid[24], owner[24], parent[24], uid[24];

	printf("%10s %-6s %5s %7s %5s %10s %10s %s\n", "NS", "TYPE", "PROCS", "PID",
	       "UID", "OWNER", "PARENT", "COMMAND");
	for (size_t i = 0; i < list->count; i++) {
		const struct ns_row *row = &list->rows[i];
		const char *what =
			visible(0, row->pid ? row->command : row->kept_by, false);

		snprintf(uid, sizeof(uid), row->uid == (uid_t)-1 ? "-" : "%u",
			 row->uid);
		printf("%10lu %-6s %5u %7s %5s %10s %10s %.*s\n", row->inode,
		       row->type->name, row->processes,
		       number(pid, (unsigned long)row->pid), uid,
		       number(owner, row->owner), number(parent, row->parent),
		       fitting(what, 18), what);
	}
}

static void json_string(const char *name, const char *text)
{
	static char bytes[32768]; /* a path of 4096 bytes, six for each at worst */
	struct out out = { .bytes = bytes, .room = sizeof(bytes) };

	put_json_string(&out, text[0] ? text : NULL);
	printf(",\"%s\":%s", name, bytes);
}

static void json_number(const char *name, unsigned long n, bool known)
{
	printf(known ? ",\"%s\":%lu" : ",\"%s\":null", name, n);
}

static void print_json(const struct ns_list *list)
{
	printf("{\"v\":1,\"processes\":%u,\"unreadable\":%u,\"namespaces\":[",
	       list->processes, list->unreadable);
	for (size_t i = 0; i < list->count; i++) {
		const struct ns_row *row = &list->rows[i];

		printf("%s{\"ns\":%lu,\"type\":\"%s\",\"nprocs\":%u",
		       i ? ",\n" : "\n", row->inode, row->type->name,
		       row->processes);
		json_number("pid", (unsigned long)row->pid, row->pid != 0);
		json_number("uid", row->uid, row->uid != (uid_t)-1);
		json_number("owner", row->owner, row->owner != 0);
		json_number("parent", row->parent, row->parent != 0);
		json_string("command", row->command);
		json_string("kept_by", row->kept_by);
		printf("}");
	}
	printf("\n]}\n");
}

static int fail(const char *what, int err)
{
	fprintf(stderr, "ns-list: %s failed with %s (%s)\n", what, errno_name(err),
		strerror(err));
	return 1;
}

int ns_list_tool(int argc, char **argv)
{
	static const struct option names[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "no-open-files", no_argument, NULL, 'n' },
		{ 0 },
	};
	bool json = false, open_files = true;
	struct ns_list list;
	int c;

	argv[0] = (char *)"ns-list";
	while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
		if (c == '?')
			break;
		json |= c == 'j';
		open_files &= c != 'n';
	}
	if (c == '?' || optind < argc) {
		if (c != '?')
			fprintf(stderr, "ns-list: unexpected \"%s\"\n",
				argv[optind]);
		fprintf(stderr, "Try 'ns-list --help'.\n");
		return 2;
	}
	if (ns_list_make(&list, open_files) < 0)
		return fail("listing the namespaces", errno);
	(json ? print_json : print_table)(&list);
	if (fflush(stdout) != 0)
		return fail("writing to standard output", errno);
	if (list.unreadable)
		fprintf(stderr,
			"ns-list: the namespaces of %u of %u processes are hidden from this user\n",
			list.unreadable, list.processes);
	ns_list_free(&list);
	return 0;
}
