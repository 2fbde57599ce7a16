/* SPDX-License-Identifier: MIT */
/*
 * net-veth - does a veth pair connect two network namespaces?
 *
 * The host lays a cable into the tenant's network: a pair of virtual interfaces,
 * va at its own end and vb at the other. Over it both send bare frames, ping, and
 * call each other by TCP. Then the tenant pulls the plug, and at last it ends.
 *
 * An answer alone proves little: in one namespace both addresses answer as well,
 * and the cable carries nothing, because the kernel talks to itself. So we note who
 * answers whom: 10.7.0.2 answers 10.7.0.1, or 10.7.0.2 answers 10.7.0.2?
 */
#include <net/if.h> /* before linux/icmp.h, whose headers define the same */

#include <arpa/inet.h>
#include <linux/icmp.h>
#include <net/ethernet.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netpacket/packet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lab.h"
#include "rtnl.h"

#define ETHERTYPE 0x88b5 /* set aside for local experiments */
#define NOTE 128	 /* bytes: two addresses and a word between */

/* --- Frames ------------------------------------------------------------------ */

/* Whoever hears what is sent from this end of a cable; see packet(7). */
static int beyond(const char *end, struct sockaddr_ll *to)
{
	*to = (struct sockaddr_ll){ .sll_family = AF_PACKET,
				    .sll_protocol = htons(ETHERTYPE),
				    .sll_ifindex = (int)if_nametoindex(end),
				    .sll_halen = ETH_ALEN };
	memset(to->sll_addr, 0xff, ETH_ALEN);
	return to->sll_ifindex ? 0 : -1; /* 0 would mean: any interface */
}

static int frames_of(const char *end)
{
	struct sockaddr_ll here;
	int fd = socket(AF_PACKET, SOCK_DGRAM, 0); /* deaf until it is bound */

	if (fd < 0 || beyond(end, &here) < 0 ||
	    bind(fd, (struct sockaddr *)&here, sizeof(here)) < 0)
		return -1;
	return fd;
}

static ssize_t send_frame(int fd, const char *end, const char *word)
{
	struct sockaddr_ll to;

	if (beyond(end, &to) < 0)
		return -1;
	return sendto(fd, word, strlen(word), 0, (struct sockaddr *)&to,
		      sizeof(to));
}

/* --- Addresses --------------------------------------------------------------- */

union address {
	struct sockaddr any;
	struct sockaddr_in ipv4;
	struct sockaddr_in6 ipv6;
};

/* "10.7.0.1" or "fd00:7::1", with port 8080; see ip(7), ipv6(7). */
static union address at(const char *text)
{
	union address to = { .ipv6.sin6_family = AF_INET6 };

	to.ipv6.sin6_port = htons(8080); /* where IPv4 has it, too */
	if (inet_pton(AF_INET6, text, &to.ipv6.sin6_addr) != 1) {
		to.any.sa_family = AF_INET;
		inet_pton(AF_INET, text, &to.ipv4.sin_addr);
	}
	return to;
}

static const char *spell(const union address *it, char text[INET6_ADDRSTRLEN])
{
	const void *bytes = it->any.sa_family == AF_INET6
				    ? (const void *)&it->ipv6.sin6_addr
				    : (const void *)&it->ipv4.sin_addr;

	return inet_ntop(it->any.sa_family, bytes, text, INET6_ADDRSTRLEN);
}

/* --- Ping -------------------------------------------------------------------- */

static int let_only_replies_in(int fd, int family)
{
	struct icmp_filter filter = { ~(1U << ICMP_ECHOREPLY) };
	struct icmp6_filter filter6;

	if (family == AF_INET)
		return setsockopt(fd, SOL_RAW, ICMP_FILTER, &filter,
				  sizeof(filter));
	ICMP6_FILTER_SETBLOCKALL(&filter6);
	ICMP6_FILTER_SETPASS(ICMP6_ECHO_REPLY, &filter6);
	return setsockopt(fd, SOL_ICMPV6, ICMP6_FILTER, &filter6, sizeof(filter6));
}

/* Ask for an echo (RFC 792, RFC 4443), and note who answers whom. */
static int ping(const char *address, char note[NOTE])
{
	union address to = at(address), we = { 0 }, other = { 0 };
	bool ipv4 = to.any.sa_family == AF_INET;
	struct icmphdr echo = { .type = ipv4 ? ICMP_ECHO : ICMP6_ECHO_REQUEST,
				.checksum = htons((uint16_t)~0x0800) };
	socklen_t size = sizeof(we), other_size = sizeof(other);
	char reply[64], one[INET6_ADDRSTRLEN], two[INET6_ADDRSTRLEN];
	int fd = socket(to.any.sa_family, SOCK_RAW,
			ipv4 ? IPPROTO_ICMP : IPPROTO_ICMPV6);

	if (fd < 0 || let_only_replies_in(fd, to.any.sa_family) < 0 ||
	    connect(fd, &to.any, sizeof(to)) < 0 ||
	    send(fd, &echo, sizeof(echo), 0) < 0 ||
	    recvfrom(fd, reply, sizeof(reply), 0, &other.any, &other_size) < 0 ||
	    getsockname(fd, &we.any, &size) < 0)
		return -1;
	snprintf(note, NOTE, "%s answers %s", spell(&other, one), spell(&we, two));
	return close(fd);
}

/* --- Calls by TCP ------------------------------------------------------------ */

static int be_reachable_at(const char *address)
{
	union address here = at(address);
	int fd = socket(here.any.sa_family, SOCK_STREAM, 0);

	if (fd < 0 || bind(fd, &here.any, sizeof(here)) < 0 || listen(fd, 1) < 0)
		return -1;
	return fd;
}

static int call(const char *address)
{
	union address to = at(address);
	int fd = socket(to.any.sa_family, SOCK_STREAM, 0);

	if (fd < 0 || connect(fd, &to.any, sizeof(to)) < 0 ||
	    send(fd, "hello", 5, 0) < 0)
		return -1;
	return close(fd);
}

/* Take a call, hear it out, and note who says what. */
static int answer(int fd, char note[NOTE])
{
	union address from = { 0 };
	socklen_t size = sizeof(from);
	char word[8] = "", who[INET6_ADDRSTRLEN];
	int line = accept(fd, &from.any, &size);

	if (line < 0 || recv(line, word, sizeof(word) - 1, MSG_WAITALL) < 0)
		return -1;
	snprintf(note, NOTE, "%s says %s", spell(&from, who), word);
	return close(line);
}

/* --- The story --------------------------------------------------------------- */

static void tenant(void)
{
	char note[NOTE], word[32] = "";
	int watch, fd, line, line6 = -1;
	bool ipv6;

	hear(PARENT, "there is a cable");
	step("The tenant looks at what it has, and switches its end on.");
	observe("tenant.netns", "%lu", ns_id("net"));
	observe("tenant.links", "%s", link_names());
	watch = (int)CALL(link_watch());
	CALL(link_up("vb"));
	CALL(addr_add("vb", "10.7.0.2/24"));
	tell(PARENT, "my end is on");

	ipv6 = strcmp(hear_any(PARENT), "IPv4 and IPv6") == 0;
	if (ipv6)
		CALL(addr_add("vb", "fd00:7::2/64"));
	CALL(link_await(watch, "vb", LINK_OPERATES));
	fd = (int)CALL(frames_of("vb"));
	line = (int)CALL(be_reachable_at("10.7.0.2"));
	if (ipv6)
		line6 = (int)CALL(be_reachable_at("fd00:7::2"));
	tell(PARENT, "I am ready");

	hear(PARENT, "a frame");
	CALL(recv(fd, word, sizeof(word) - 1, 0));
	observe("tenant.frame", "%s", word);
	CALL(send_frame(fd, "vb", "from the tenant"));
	tell(PARENT, "a frame");
	close(fd);

	hear(PARENT, "I have pinged and called you");
	CALL(answer(line, note));
	observe("tenant.call", "%s", note);
	if (ipv6) {
		CALL(answer(line6, note));
		observe("tenant.call.ipv6", "%s", note);
	}

	step("The tenant pings the host, and calls it by TCP.");
	CALL(ping("10.7.0.1", note));
	observe("tenant.ping", "%s", note);
	CALL(call("10.7.0.1"));
	if (ipv6) {
		CALL(ping("fd00:7::1", note));
		observe("tenant.ping.ipv6", "%s", note);
		CALL(call("fd00:7::1"));
	}
	tell(PARENT, "I have pinged and called you");

	hear(PARENT, "switch it off");
	step("The tenant switches its end off.");
	CALL(link_down("vb"));
	tell(PARENT, "it is off");
	hear(PARENT, "you may go");
}

/* IPv6 takes sockets and addresses of its kind: 0, or errno where there is none. */
static int try_ipv6(void)
{
	int err = TRY(socket(AF_INET6, SOCK_STREAM, 0));

	return err ? err : TRY(addr_add("va", "fd00:7::1/64"));
}

static void do_without_ipv6(int err)
{
	static const char *const keys[] = { "host.ping.ipv6", "host.call.ipv6",
					    "tenant.ping.ipv6",
					    "tenant.call.ipv6" };

	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++)
		absent(keys[i], "no IPv6 on this machine (%s)", errno_name(err));
}

static void host(void)
{
	char note[NOTE], word[32] = "";
	int watch, fd, line, line6 = -1, no_ipv6;
	struct peer *kid;
	bool away;

	step("The host has a loopback, and a tenant.");
	CALL(link_up("lo"));
	observe("host.netns", "%lu", ns_id("net"));
	kid = spawn("tenant", isolate(CLONE_NEWNET), tenant);

	step("It lays a cable: one end here, the other in the tenant's network.");
	NEED(veth_add("va", "vb", pid_of(kid)),
	     "this kernel has no veth: load that module, or take another kernel");
	observe("host.links", "%s", link_names());
	watch = (int)CALL(link_watch());
	CALL(link_up("va"));
	CALL(addr_add("va", "10.7.0.1/24"));
	observe("host.carrier.one-on", "%s", link_has_carrier("va") ? "yes" : "no");
	tell(kid, "there is a cable");

	hear(kid, "my end is on");
	step("Both ends are on. When the kernel says so, the cable can be used.");
	CALL(link_await(watch, "va", LINK_OPERATES));
	observe("host.carrier.both-on", "%s",
		link_has_carrier("va") ? "yes" : "no");
	line = (int)CALL(be_reachable_at("10.7.0.1"));
	no_ipv6 = try_ipv6();
	if (no_ipv6)
		do_without_ipv6(no_ipv6);
	else
		line6 = (int)CALL(be_reachable_at("fd00:7::1"));
	tell(kid, no_ipv6 ? "IPv4 alone" : "IPv4 and IPv6");

	hear(kid, "I am ready");
	step("Does what goes in at one end come out at the other? Both ways?");
	fd = (int)CALL(frames_of("va"));
	CALL(send_frame(fd, "va", "from the host"));
	tell(kid, "a frame");
	hear(kid, "a frame");
	CALL(recv(fd, word, sizeof(word) - 1, 0));
	close(fd);
	observe("host.frame", "%s", word);

	step("The host pings the tenant, and calls it by TCP.");
	CALL(ping("10.7.0.2", note));
	observe("host.ping", "%s", note);
	CALL(call("10.7.0.2"));
	if (!no_ipv6) {
		CALL(ping("fd00:7::2", note));
		observe("host.ping.ipv6", "%s", note);
		CALL(call("fd00:7::2"));
	}
	tell(kid, "I have pinged and called you");

	hear(kid, "I have pinged and called you");
	CALL(answer(line, note));
	observe("host.call", "%s", note);
	if (!no_ipv6) {
		CALL(answer(line6, note));
		observe("host.call.ipv6", "%s", note);
	}

	tell(kid, "switch it off");
	hear(kid, "it is off");
	step("One end is off. Does the host notice at its own?");
	CALL(link_await(watch, "va", LINK_NO_CARRIER));
	observe("host.carrier.one-off", "%s",
		link_has_carrier("va") ? "yes" : "no");
	away = link_peer_is_away("va");
	observe("host.other-end", "%s", away ? "elsewhere" : "here");

	step("The tenant ends, and its namespace with it.");
	tell(kid, "you may go");
	join(kid);
	if (away) /* else that end is the host's own, and there will be no news */
		CALL(link_await(watch, "va", LINK_GONE));

	step("What is left of the cable?");
	observe("host.links.at-last", "%s", link_names());
}

static const struct claim claims[] = {
	CLAIM("apart", "host and tenant are in different network namespaces",
	      "tenant.netns", DIFFERS_FROM, "host.netns"),
	CLAIM("host-end", "the host has one end of the cable", "host.links", IS,
	      "lo va"),
	CLAIM("tenant-end", "the tenant has the other", "tenant.links", IS,
	      "lo vb"),
	PREMISE("no-carrier-yet", "with one end on there is no carrier",
		"host.carrier.one-on", IS, "no"),
	PREMISE("carrier", "with both on there is", "host.carrier.both-on", IS,
		"yes"),
	PREMISE("frame-out", "a frame goes from va to vb", "tenant.frame", IS,
		"from the host"),
	PREMISE("frame-in", "and one from vb to va", "host.frame", IS,
		"from the tenant"),
	CLAIM("ping", "the tenant answers the host's ping", "host.ping", IS,
	      "10.7.0.2 answers 10.7.0.1"),
	CLAIM("ping6", "also by IPv6, the tenant answers the host",
	      "host.ping.ipv6", IS, "fd00:7::2 answers fd00:7::1"),
	CLAIM("call", "the host calls the tenant by TCP", "tenant.call", IS,
	      "10.7.0.1 says hello"),
	CLAIM("call6", "also by IPv6, the host calls the tenant",
	      "tenant.call.ipv6", IS, "fd00:7::1 says hello"),
	CLAIM("ping-back", "the host answers the tenant's ping", "tenant.ping", IS,
	      "10.7.0.1 answers 10.7.0.2"),
	CLAIM("ping6-back", "also by IPv6, the host answers the tenant",
	      "tenant.ping.ipv6", IS, "fd00:7::1 answers fd00:7::2"),
	CLAIM("call-back", "the tenant calls the host by TCP", "host.call", IS,
	      "10.7.0.2 says hello"),
	CLAIM("call6-back", "also by IPv6, the tenant calls the host",
	      "host.call.ipv6", IS, "fd00:7::2 says hello"),
	PREMISE("no-carrier", "with the tenant's end off there is no carrier",
		"host.carrier.one-off", IS, "no"),
	CLAIM("elsewhere", "that end is in another network namespace",
	      "host.other-end", IS, "elsewhere"),
	CLAIM("gone", "when that namespace dies, both ends are gone",
	      "host.links.at-last", IS, "lo"),
	{ 0 },
};

static const struct lab lab = {
	.name = "net-veth",
	.rung = 160,
	.question = "Does a veth pair connect two network namespaces?",
	.namespaces = CLONE_NEWNET,
	.first = "host",
	.story = host,
	.claims = claims,
};

int main(int argc, char **argv)
{
	return lab_main(argc, argv, &lab);
}
