/* SPDX-License-Identifier: MIT */
/*
 * net-isolation - what of the network belongs to a network namespace?
 *
 * The tenant lives on the host's network, makes a socket there, and moves out: by
 * unshare(2), so that one process knows both networks. Then it does what only one
 * can do on a network (take a port, take a name) and what all on a network would
 * notice (a route, a setting, a firewall). Afterwards the host looks.
 */
#include <arpa/inet.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lab.h"
#include "rtnl.h"

#define FORWARD "/proc/sys/net/ipv4/ip_forward" /* that of whoever opens it */
#define SIZE sizeof(struct sockaddr_in)
#define DESK_SIZE (offsetof(struct sockaddr_un, sun_path) + 5)

static int no_setting, no_firewall; /* errno where this machine refuses them */

/* An IPv4 address with port 8080; see ip(7). */
static const struct sockaddr *at(const char *address)
{
	static struct sockaddr_in to;

	to.sin_family = AF_INET;
	to.sin_port = htons(8080);
	inet_pton(AF_INET, address, &to.sin_addr);
	return (struct sockaddr *)&to;
}

/* A name without a file: it begins with a zero byte; see unix(7). */
static const struct sockaddr *desk(void)
{
	static const struct sockaddr_un un = { AF_UNIX, "\0desk" };

	return (const struct sockaddr *)&un;
}

static int udp_socket(void)
{
	return (int)CALL(socket(AF_INET, SOCK_DGRAM, 0));
}

static int unix_socket(void)
{
	return (int)CALL(socket(AF_UNIX, SOCK_DGRAM, 0));
}

static unsigned long inode_of(int netns)
{
	struct stat st;

	CALL(fstat(netns, &st));
	close(netns);
	return st.st_ino;
}

/* Is there a way? With UDP connect(2) asks the routes and sends nothing. */
static const char *way_to(const char *address)
{
	int fd = udp_socket();
	int err = TRY(connect(fd, at(address), SIZE));

	close(fd);
	return errno_name(err);
}

/* Observe what follows from a call that this machine may have refused. */
static void observe_unless(int refused, const char *key, const char *value)
{
	if (refused)
		absent(key, "the call before it failed with %s",
		       errno_name(refused));
	else
		observe(key, "%s", value);
}

static void tenant(void)
{
	int old = udp_socket(), new, fd;

	step("The tenant has made a socket. It moves out, and makes another.");
	CALL(unshare(isolate(CLONE_NEWNET)));
	new = udp_socket();
	observe("tenant.netns", "%lu", ns_id("net"));
	observe("socket.old.netns", "%lu",
		inode_of((int)CALL(ioctl(old, SIOCGSKNS))));
	observe("socket.new.netns", "%lu",
		inode_of((int)CALL(ioctl(new, SIOCGSKNS))));

	step("Which of the two can still talk to 127.0.0.1, which is the host's?");
	observe("socket.old.says", "%s",
		errno_name(TRY(sendto(old, "old", 3, 0, at("127.0.0.1"), SIZE))));
	observe("socket.new.says", "%s",
		errno_name(TRY(sendto(new, "new", 3, 0, at("127.0.0.1"), SIZE))));

	step("On the host port 8080 and the name \"desk\" are taken. And here?");
	fd = udp_socket();
	observe("tenant.port", "%s",
		errno_name(TRY(bind(fd, at("0.0.0.0"), SIZE))));
	fd = unix_socket();
	observe("tenant.name", "%s", errno_name(TRY(bind(fd, desk(), DESK_SIZE))));

	step("The tenant forbids itself a network, by a route.");
	CALL(route_prohibit("198.51.100.0/24"));
	observe("tenant.way", "%s", way_to("198.51.100.1"));

	step("It forwards nothing to other networks, by a setting.");
	if (!no_setting)
		CALL(write_file(FORWARD, "0"));
	observe_unless(no_setting, "tenant.forward", read_file(FORWARD));

	step("And it lets nothing out any more, by a firewall.");
	CALL(link_up("lo"));
	observe("socket.new.unhindered", "%s",
		errno_name(TRY(sendto(new, "again", 5, 0, at("127.0.0.1"), SIZE))));
	if (!no_firewall)
		CALL(firewall_drop_output("silence"));
	observe_unless(
		no_firewall, "socket.new.silenced",
		errno_name(TRY(sendto(new, "again", 5, 0, at("127.0.0.1"), SIZE))));
	observe_unless(
		no_firewall, "socket.old.silenced",
		errno_name(TRY(sendto(old, "again", 5, 0, at("127.0.0.1"), SIZE))));
	tell(PARENT, "look at your network");
	hear(PARENT, "I have looked");
}

static void host(void)
{
	char heard[8] = "";
	struct peer *kid;
	int udp, un;

	step("The host takes a port and a name. It is a router.");
	CALL(link_up("lo"));
	udp = udp_socket();
	CALL(bind(udp, at("0.0.0.0"), SIZE));
	un = unix_socket();
	CALL(bind(un, desk(), DESK_SIZE));
	no_setting = TRY(write_file(FORWARD, "1"));
	no_firewall = TRY(firewall_table("host"));
	observe("host.netns", "%lu", ns_id("net"));
	observe("host.way.at-first", "%s", way_to("198.51.100.1"));
	observe_unless(no_setting, "host.forward.at-first", read_file(FORWARD));

	kid = spawn("tenant", 0, tenant);
	hear(kid, "look at your network");
	step("Has the host noticed any of it?");
	CALL(recv(udp, heard, sizeof(heard) - 1, 0));
	observe("host.heard", "%s", heard);
	observe("host.way.later", "%s", way_to("198.51.100.1"));
	observe_unless(no_setting, "host.forward.later", read_file(FORWARD));
	observe_unless(
		no_firewall, "host.says",
		errno_name(TRY(sendto(udp, "again", 5, 0, at("127.0.0.1"), SIZE))));
	tell(kid, "I have looked");
	join(kid);
}

#define NF_TABLES                                                                \
	"needs nf_tables (CONFIG_NF_TABLES), a module of most kernels: skipped " \
	"where the module is missing"

static const struct claim claims[] = {
	CLAIM("moved", "the tenant has moved to another network namespace",
	      "tenant.netns", DIFFERS_FROM, "host.netns"),
	PREMISE("old-home", "its old socket stays where it was made",
		"socket.old.netns", SAME_AS, "host.netns"),
	CLAIM("old-abroad", "which is not where its owner is now",
	      "socket.old.netns", DIFFERS_FROM, "tenant.netns"),
	PREMISE("new-home", "a new socket is made where its owner is",
		"socket.new.netns", SAME_AS, "tenant.netns"),
	PREMISE("old-says", "the old socket can send to 127.0.0.1",
		"socket.old.says", IS, "0"),
	PREMISE("heard", "and the host hears it", "host.heard", IS, "old"),
	CLAIM("new-says", "the new socket cannot", "socket.new.says", IS,
	      "ENETUNREACH"),
	CLAIM("port", "the tenant can take the host's port", "tenant.port", IS,
	      "0"),
	CLAIM("name", "and the host's abstract UNIX name", "tenant.name", IS, "0"),
	PREMISE("route", "its route forbids it a network", "tenant.way", IS,
		"EACCES"),
	CLAIM("no-route", "the host has no such route", "host.way.later", SAME_AS,
	      "host.way.at-first"),
	PREMISE("setting", "the tenant forwards no packets", "tenant.forward", IS,
		"0"),
	CLAIM("no-setting", "the host still does", "host.forward.later", SAME_AS,
	      "host.forward.at-first"),
	PREMISE("unhindered", "without a firewall the new socket can send",
		"socket.new.unhindered", IS, "0"),
	PREMISE("firewall", "the tenant's firewall forbids it",
		"socket.new.silenced", IS, "EPERM", .varies = NF_TABLES),
	CLAIM("no-firewall", "but it does not forbid the host", "host.says", IS,
	      "0", .varies = NF_TABLES),
	CLAIM("old-passes",
	      "nor the old socket, which belongs to the host's network",
	      "socket.old.silenced", IS, "0", .varies = NF_TABLES),
	{ 0 },
};

static const struct lab lab = {
	.name = "net-isolation",
	.rung = 150,
	.question = "What of the network belongs to a network namespace?",
	.namespaces = CLONE_NEWNET,
	.first = "host",
	.story = host,
	.claims = claims,
};

int main(int argc, char **argv)
{
	return lab_main(argc, argv, &lab);
}
