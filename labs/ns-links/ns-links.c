/* SPDX-License-Identifier: MIT */
/*
 * ns-links - which namespaces is a process in, and which does unshare(2) change?
 *
 * /proc/PID/ns has a link for each namespace that a process is in: the same
 * number, the same namespace. For each type, one child of the reader calls
 * unshare(2) with the flag of that type, and compares all its links with those of
 * the reader, which it had until then.
 */
#include <dirent.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "lab.h"

#define MOST 32 /* links of a process; Linux has 10 so far */

static struct link {
	char name[32];
	unsigned long id;
} links[MOST]; /* of the reader, in the kernel's order */

static const struct ns_type *type; /* whose turn it is */

static void read_links(void)
{
	DIR *dir = opendir("/proc/self/ns");
	struct dirent *entry;

	if (!dir)
		broken("opendir(/proc/self/ns) failed with %s", errno_name(errno));
	for (struct link *l = links; l < links + MOST - 1; l++) {
		do
			entry = readdir(dir);
		while (entry && entry->d_name[0] == '.');
		if (!entry)
			break;
		snprintf(l->name, sizeof(l->name), "%s", entry->d_name);
		l->id = ns_id(l->name);
	}
	closedir(dir);
}

/* The links of the caller that are not those of the reader. */
static const char *changed_links(void)
{
	static char names[256];
	int len = 0;

	for (const struct link *l = links; l->name[0]; l++)
		if (ns_id(l->name) != l->id)
			len += snprintf(names + len, sizeof(names) - (size_t)len,
					"%s%s", len ? " " : "", l->name);
	return len ? names : "nothing";
}

static bool is_known(const char *link)
{
	for (const struct ns_type *t = ns_types; t->name; t++)
		if (strcmp(t->name, link) == 0)
			return true;
	return strstr(link, "_for_children") != NULL;
}

/* A link of a type that our table does not know. */
static const char *unknown_link(void)
{
	for (const struct link *l = links; l->name[0]; l++)
		if (!is_known(l->name))
			return l->name;
	return "none";
}

/* The flag of the caller's namespace of this type: what the kernel says. */
static const char *flag_of(const struct ns_type *t)
{
	char path[32];
	int fd, flag;

	snprintf(path, sizeof(path), "/proc/self/ns/%s", t->name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	flag = ioctl(fd, NS_GET_NSTYPE);
	if (flag < 0)
		return errno_name(errno);
	close(fd);
	for (t = ns_types; t->name && t->flag != flag; t++)
		;
	return t->name ? t->flag_name : "unknown";
}

static const char *key(const char *who, const char *what)
{
	static char text[64];

	snprintf(text, sizeof(text), "%s.%s", who, what);
	return text;
}

/* Namespaces into which unshare(2) moves the children, not the caller. */
static bool is_for_children(const struct ns_type *t)
{
	return t->flag == CLONE_NEWPID || t->flag == CLONE_NEWTIME;
}

/* The number of every namespace that the caller is in. */
static void look(const char *who)
{
	for (const struct ns_type *t = ns_types; t->name; t++)
		if (ns_id(t->name))
			observe(key(who, t->name), "%lu", ns_id(t->name));
		else
			absent(key(who, t->name), "this kernel has no such type");
}

static void twin(void)
{
	step("A child that is started without any flag is where its parent is.");
	look("twin");
}

static void firstborn(void)
{
	observe(key(type->name, "child"), "%lu", ns_id(type->name));
	tell(PARENT, "I am born");
	hear(PARENT, "leave");
}

static void mover(void)
{
	struct peer *kid = NULL;
	char name[32];

	step("%s isolates %s (since Linux %s).", type->flag_name, type->isolates,
	     type->since);
	observe(key(type->name, "flag"), "%s", flag_of(type));
	NEED(unshare(isolate(type->flag)),
	     "raise the limits user.max_*_namespaces; leave the container");
	observe(key(type->name, "changed"), "%s", changed_links());
	if (is_for_children(type)) {
		snprintf(name, sizeof(name), "%s-child", type->name);
		kid = spawn(name, 0, firstborn);
		hear(kid, "I am born");
	}
	snprintf(name, sizeof(name), "%s%s", type->name,
		 kid ? "_for_children" : "");
	observe(key(type->name, "link"), "%lu", ns_id(name));
	tell(PARENT, "I have moved");
	hear(PARENT, "leave");
	if (kid) {
		tell(kid, "leave");
		join(kid);
	}
}

/* What nobody can observe of a type that this kernel was built without. */
static void miss(const struct ns_type *t)
{
	static const char *const facts[] = { "flag", "changed", "link", "child" };

	for (int i = 0; i < (is_for_children(t) ? 4 : 3); i++)
		absent(key(t->name, facts[i]), "this kernel has no such type");
}

static void reader(void)
{
	struct peer *movers[MOST];
	int n = 0;

	step("A process looks where it is: a number for each type of namespace.");
	look("reader");
	read_links();
	observe("reader.other", "%s", unknown_link());
	join(spawn("twin", 0, twin));

	for (type = ns_types; type->name; type++) {
		if (!ns_id(type->name)) {
			miss(type);
			continue;
		}
		movers[n] = spawn(type->name, 0, mover);
		hear(movers[n++], "I have moved");
	}

	step("All of them are where they moved, for everybody to see.");
	while (n--) {
		tell(movers[n], "leave");
		join(movers[n]);
	}
}

#define TYPE(name, flag, link)                                                    \
	PREMISE(name "-same",                                                     \
		"without any flag, a child is in the same " name " namespace",    \
		"twin." name, SAME_AS, "reader." name),                           \
		PREMISE(name "-flag", "the flag of that type is " flag,           \
			name ".flag", IS, flag),                                  \
		CLAIM(name "-only",                                               \
		      "unshare(" flag ") changes the link " link " and no other", \
		      name ".changed", IS, link)

#define TYPE_FOR_CHILDREN(name)                                                  \
	CLAIM(name "-child", "the first child is in another " name " namespace", \
	      name ".child", DIFFERS_FROM, "reader." name),                      \
		PREMISE(name "-for-child", "the one that was ready for it",      \
			name ".child", SAME_AS, name ".link")

static const struct claim claims[] = {
	PREMISE("complete", "the kernel has no types but these", "reader.other", IS,
		"none"),
	TYPE("cgroup", "CLONE_NEWCGROUP", "cgroup"),
	TYPE("ipc", "CLONE_NEWIPC", "ipc"),
	TYPE("net", "CLONE_NEWNET", "net"),
	TYPE("mnt", "CLONE_NEWNS", "mnt"),
	TYPE("pid", "CLONE_NEWPID", "pid_for_children"),
	TYPE_FOR_CHILDREN("pid"),
	TYPE("time", "CLONE_NEWTIME", "time_for_children"),
	TYPE_FOR_CHILDREN("time"),
	TYPE("user", "CLONE_NEWUSER", "user"),
	TYPE("uts", "CLONE_NEWUTS", "uts"),
	{ 0 },
};

static const struct lab lab = {
	.name = "ns-links",
	.rung = 20,
	.question =
		"Which namespaces is a process in, and which does unshare(2) change?",
	.first = "reader",
	.story = reader,
	.claims = claims,
};

int main(int argc, char **argv)
{
	return lab_main(argc, argv, &lab);
}
