/* SPDX-License-Identifier: MIT */
/*
 * lister.h - the namespaces that the caller can see: those of processes, and those
 * that only a bind mount or an open file keeps.
 *
 * What it knows it knows from /proc (proc(5), namespaces(7)) and from the ioctls of
 * ioctl_ns(2). What the caller may not read, it counts.
 */
#ifndef LISTER_H
#define LISTER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "lab.h"

struct ns_row {
	unsigned long inode; /* the namespace's number; unique while it lives */
	const struct ns_type *type; /* NULL: a type that the table does not know */
	unsigned int processes;	    /* visible ones; 0: kept by something else */
	pid_t pid;		    /* the lowest of them, or 0 */
	unsigned long owner;  /* the owning user namespace, or 0: not to be seen */
	unsigned long parent; /* of a PID or user namespace, or 0: not to be seen */
	uid_t uid;	      /* effective user of that process, or -1 */
	char command[32];     /* its name, as far as it fits, or "" */
	const char *kept_by;  /* "/run/netns/blue", "4711, file 3", or "" */
	pid_t keeper;	      /* who holds that file, or sees that mount */
};

struct ns_list {
	struct ns_row *rows; /* by type, then by number */
	size_t count;
	unsigned int processes;	 /* that were looked at, and had not ended */
	unsigned int unreadable; /* of these, those whose namespaces are hidden */
};

/*
 * List them. Without open_files, descriptors are not searched, as lsns(8) does not;
 * that is about a third of the work. Returns 0; or -1 with errno (ENOENT, EACCES: no
 * /proc here; ENOMEM; those of ioctl_ns(2)). The list is freed by ns_list_free().
 */
int ns_list_make(struct ns_list *list, bool open_files);
void ns_list_free(struct ns_list *list);

/* The row of that number, or NULL. */
const struct ns_row *ns_list_find(const struct ns_list *list, unsigned long inode);

/* The command: --list [--json] [--no-open-files]. Returns the exit status. */
int ns_list_tool(int argc, char **argv);

#endif
