/* SPDX-License-Identifier: MIT */
/* namespaces.c - the table of namespace types, and who is in which. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lab.h"

#define TYPE(name, flag, isolates, since)          \
	{                                          \
		name, flag, #flag, isolates, since \
	}

const struct ns_type ns_types[] = {
	TYPE("cgroup", CLONE_NEWCGROUP, "the cgroup root directory", "4.6"),
	TYPE("ipc", CLONE_NEWIPC, "System V IPC and POSIX message queues",
	     "2.6.19"),
	TYPE("net", CLONE_NEWNET,
	     "network devices, stacks, ports, routes, firewall", "2.6.24"),
	TYPE("mnt", CLONE_NEWNS, "mount points", "2.4.19"),
	TYPE("pid", CLONE_NEWPID, "process IDs", "2.6.24"),
	TYPE("time", CLONE_NEWTIME, "boot-time and monotonic clocks", "5.6"),
	TYPE("user", CLONE_NEWUSER, "user and group IDs, capabilities", "3.8"),
	TYPE("uts", CLONE_NEWUTS, "host name and NIS domain name", "2.6.19"),
	{ 0 },
};

static unsigned long link_inode(const char *path)
{
	char text[64];
	ssize_t len = readlink(path, text, sizeof(text) - 1);
	const char *bracket;

	if (len < 0)
		return 0;
	text[len] = '\0';
	bracket = strchr(text, '[');
	return bracket ? strtoul(bracket + 1, NULL, 10) : 0;
}

unsigned long ns_id(const char *link)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/ns/%s", link);
	return link_inode(path);
}

unsigned long ns_id_of(pid_t pid, const char *link)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)pid, link);
	return link_inode(path);
}

const char *read_file(const char *path)
{
	static char text[8192];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t len;

	if (fd < 0)
		return NULL;
	len = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (len < 0)
		return NULL;
	if (len > 0 && text[len - 1] == '\n')
		len--;
	text[len] = '\0';
	return text;
}

const char *read_field(const char *path, const char *key)
{
	const char *text = read_file(path);
	size_t len = strlen(key);

	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, key, len) == 0 && line[len] == ':') {
			char *value = (char *)line + len + 1;

			value += strspn(value, " \t");
			value[strcspn(value, "\n")] = '\0';
			return value;
		}
	}
	return NULL;
}

int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t len;

	if (fd < 0)
		return -1;
	len = write(fd, text, strlen(text));
	if (len < 0) {
		int err = errno;

		close(fd);
		errno = err;
		return -1;
	}
	return close(fd);
}
