/* SPDX-License-Identifier: MIT */
/*
 * net-loopback - what does a new network namespace begin with?
 *
 * The host has a loopback interface that is up, a server that listens on it, and
 * a cable. The tenant is started in a new network namespace. It finds one
 * interface, which is nobody else's and switched off; it switches it on, talks to
 * itself, looks for the host's server, and switches it off again.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lab.h"
#include "rtnl.h"

#define SIZE sizeof(struct sockaddr_in)

/* 127.0.0.1, where everybody finds himself, and a port; see ip(7). */
static const struct sockaddr *loopback(void)
{
	static struct sockaddr_in address;

	address.sin_family = AF_INET;
	address.sin_port = htons(8080);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return (struct sockaddr *)&address;
}

static int no_cable; /* errno where this kernel cannot make one */

/* The interfaces: an evidence only where the host has more than a loopback. */
static void observe_links(const char *key)
{
	if (no_cable)
		absent(key, "no veth in this kernel (%s)", errno_name(no_cable));
	else
		observe(key, "%s", link_names());
}

static const char *state(const char *name)
{
	return link_is_up(name) ? "up" : "down";
}

/* Is there a way to 127.0.0.1? With UDP connect(2) seeks the route, no more. */
static int try_route(void)
{
	int fd = (int)CALL(socket(AF_INET, SOCK_DGRAM, 0));
	int err = TRY(connect(fd, loopback(), SIZE));

	close(fd);
	return err;
}

/* Say something to ourselves, by UDP, and hear it. */
static const char *echo(void)
{
	static char heard[16];
	int fd = (int)CALL(socket(AF_INET, SOCK_DGRAM, 0));

	CALL(bind(fd, loopback(), SIZE));
	CALL(sendto(fd, "hello", 6, 0, loopback(), SIZE));
	CALL(recv(fd, heard, sizeof(heard) - 1, 0));
	close(fd);
	return heard;
}

static void tenant(void)
{
	int fd;

	step("What is in a new network namespace, before anybody did anything?");
	observe_links("tenant.links");
	observe("tenant.lo.at-first", "%s", state("lo"));
	observe("tenant.addresses.at-first", "%s", addr_list("lo", AF_INET));

	step("It is alone. Can it at least reach itself, at 127.0.0.1?");
	observe("tenant.route.at-first", "%s", errno_name(try_route()));

	step("Somebody has to switch the loopback on.");
	CALL(link_up("lo"));
	observe("tenant.lo.switched-on", "%s", state("lo"));
	observe("tenant.addresses.switched-on", "%s", addr_list("lo", AF_INET));
	observe("tenant.route.switched-on", "%s", errno_name(try_route()));
	observe("tenant.echo", "%s", echo());

	step("Does the host's server on 127.0.0.1 answer the tenant?");
	fd = (int)CALL(socket(AF_INET, SOCK_STREAM, 0));
	observe("tenant.server", "%s",
		errno_name(TRY(connect(fd, loopback(), SIZE))));
	close(fd);
	tell(PARENT, "I have called");
	hear(PARENT, "the server is closed");

	step("The tenant switches its loopback off again.");
	CALL(link_down("lo"));
	tell(PARENT, "it is off");
	hear(PARENT, "I have looked");
}

static void host(void)
{
	struct peer *kid;
	int fd;

	step("The host has a loopback that is up, a server on it, and a cable.");
	no_cable = TRY(veth_add("eth0", "wall", 0));
	CALL(link_up("lo"));
	fd = (int)CALL(socket(AF_INET, SOCK_STREAM, 0));
	CALL(bind(fd, loopback(), SIZE));
	CALL(listen(fd, 1));
	observe_links("host.links");

	kid = spawn("tenant", isolate(CLONE_NEWNET), tenant);
	hear(kid, "I have called");
	shutdown(fd, SHUT_RDWR); /* half a connection would outlive the loopback */
	tell(kid, "the server is closed");

	hear(kid, "it is off");
	step("Whose loopback was that? The host looks at its own.");
	observe("host.lo.later", "%s", state("lo"));
	tell(kid, "I have looked");
	join(kid);
}

#define VETH                                                                     \
	"needs veth (CONFIG_VETH), a module of most kernels: skipped where the " \
	"module is missing"

static const struct claim claims[] = {
	PREMISE("host-links", "the host has a loopback and both ends of a cable",
		"host.links", IS, "lo eth0 wall", .varies = VETH),
	CLAIM("only-lo", "a new network namespace has a loopback and nothing else",
	      "tenant.links", IS, "lo", .varies = VETH),
	CLAIM("down", "which is down", "tenant.lo.at-first", IS, "down"),
	CLAIM("no-address", "and has no address", "tenant.addresses.at-first", IS,
	      "none"),
	CLAIM("unreachable", "so not even 127.0.0.1 can be reached",
	      "tenant.route.at-first", IS, "ENETUNREACH"),
	PREMISE("up", "once switched on, it is up", "tenant.lo.switched-on", IS,
		"up"),
	PREMISE("address", "has 127.0.0.1 by itself",
		"tenant.addresses.switched-on", IS, "127.0.0.1/8"),
	PREMISE("reachable", "which can be reached", "tenant.route.switched-on", IS,
		"0"),
	PREMISE("echo", "and carries what the tenant says to itself", "tenant.echo",
		IS, "hello"),
	CLAIM("own", "the host's server on 127.0.0.1 is not there for the tenant",
	      "tenant.server", IS, "ECONNREFUSED"),
	CLAIM("untouched", "switching it off leaves the host's loopback up",
	      "host.lo.later", IS, "up"),
	{ 0 },
};

static const struct lab lab = {
	.name = "net-loopback",
	.rung = 140,
	.question = "What does a new network namespace begin with?",
	.namespaces = CLONE_NEWNET,
	.first = "host",
	.story = host,
	.claims = claims,
};

int main(int argc, char **argv)
{
	return lab_main(argc, argv, &lab);
}
