/* SPDX-License-Identifier: MIT */
/*
 * rtnl.c - questions to the kernel's network over netlink, and its answers.
 *
 * Each request has a socket of its own, opened in the namespace that the caller is
 * in at that moment: a netlink socket stays for ever where it was opened.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "errname.h"
#include "lab.h"
#include "rtnl.h"

#define ALIGNED _Alignas(struct nlmsghdr)
#define BYTES 32768 /* of one datagram of answers: what the kernel sends at most */

/* --- Request and answer ------------------------------------------------------ */

/* A message under construction. */
struct request {
	ALIGNED char bytes[1024];
	struct nlmsghdr *head;
};

static void *begin(struct request *req, int type, int flags, size_t extra)
{
	req->head = mnl_nlmsg_put_header(req->bytes);
	req->head->nlmsg_type = (uint16_t)type;
	req->head->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	req->head->nlmsg_seq = 1;
	return mnl_nlmsg_put_extra_header(req->head, extra);
}

/* Read answers until the acknowledgement or the end of the list. */
static int read_answers(int fd, mnl_cb_t each, void *data)
{
	ALIGNED char bytes[BYTES];
	int ret = MNL_CB_OK;

	while (ret == MNL_CB_OK) {
		ssize_t len = recv(fd, bytes, sizeof(bytes), 0);

		if (len < 0 && errno == EINTR)
			continue;
		if (len < 0)
			return -1;
		ret = mnl_cb_run(bytes, (size_t)len, 0, 0, each, data);
	}
	return ret < 0 ? -1 : 0;
}

/* Send bytes on a new socket; `each` sees the answers. Sets errno on -1. */
static int ask(int protocol, const void *bytes, size_t len, mnl_cb_t each,
	       void *data)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
	int ret, err;

	if (fd < 0)
		return -1;
	ret = send(fd, bytes, len, 0) < 0 ? -1 : read_answers(fd, each, data);
	err = errno;
	close(fd);
	errno = err;
	return ret;
}

static int ask_route(const struct request *req, mnl_cb_t each, void *data)
{
	return ask(NETLINK_ROUTE, req->bytes, req->head->nlmsg_len, each, data);
}

/*
 * A socket that hears the news of a group. Until it has a name of its own, by
 * bind(2), it passes for the kernel, which does not tell itself its news.
 */
static int subscribe(int group)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	struct sockaddr_nl here = { .nl_family = AF_NETLINK,
				    .nl_groups = 1U << (group - 1) };

	if (fd >= 0 && bind(fd, (struct sockaddr *)&here, sizeof(here)) < 0) {
		int err = errno;

		close(fd);
		errno = err;
		return -1;
	}
	return fd;
}

/* --- Interfaces -------------------------------------------------------------- */

/* What the kernel says of one interface. */
struct link {
	char name[IFNAMSIZ];
	unsigned int index;
	bool up, carrier, away, tunnel;
	int operstate; /* IF_OPER_UP, …: RFC 2863 */
};

/* Kinds whose driver puts a fallback device into each network namespace. */
static bool is_tunnel(const char *kind)
{
	static const char *const kinds[] = { "ipip",	  "sit",      "gre",
					     "gretap",	  "vti",      "erspan",
					     "ip6tnl",	  "ip6gre",   "vti6",
					     "ip6gretap", "ip6erspan" };

	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		if (strcmp(kind, kinds[i]) == 0)
			return true;
	return false;
}

static void read_link(const struct nlmsghdr *head, struct link *link)
{
	const struct ifinfomsg *info = mnl_nlmsg_get_payload(head);
	const struct nlattr *attr, *nested;

	*link = (struct link){ .index = (unsigned int)info->ifi_index,
			       .up = info->ifi_flags & IFF_UP };
	mnl_attr_for_each(attr, head, sizeof(*info))
	{
		switch (mnl_attr_get_type(attr)) {
		case IFLA_IFNAME:
			snprintf(link->name, sizeof(link->name), "%s",
				 mnl_attr_get_str(attr));
			break;
		case IFLA_OPERSTATE:
			link->operstate = mnl_attr_get_u8(attr);
			break;
		case IFLA_CARRIER:
			link->carrier = mnl_attr_get_u8(attr);
			break;
		case IFLA_LINK_NETNSID:
			link->away = true;
			break;
		case IFLA_LINKINFO:
			mnl_attr_for_each_nested(
				nested, attr) if (mnl_attr_get_type(nested) ==
						  IFLA_INFO_KIND) link->tunnel =
				is_tunnel(mnl_attr_get_str(nested));
			break;
		}
	}
}

static int keep_link(const struct nlmsghdr *head, void *link)
{
	read_link(head, link);
	return MNL_CB_OK;
}

static int get_link(const char *name, struct link *link)
{
	struct request req;

	begin(&req, RTM_GETLINK, NLM_F_ACK, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(req.head, IFLA_IFNAME, name);
	return ask_route(&req, keep_link, link);
}

/* The answer to a question of ret: without one there is nothing to observe. */
static void answered(int ret, const char *request, const char *name)
{
	if (ret < 0)
		broken("asking the kernel by %s about %s failed with %s (%s); %s",
		       request, name, errno_name(errno), strerror(errno),
		       errno_hint(errno));
}

static struct link look_at(const char *name)
{
	struct link link;

	answered(get_link(name, &link), "RTM_GETLINK", name);
	return link;
}

bool link_is_up(const char *name)
{
	return look_at(name).up;
}

bool link_has_carrier(const char *name)
{
	return look_at(name).carrier;
}

bool link_peer_is_away(const char *name)
{
	return look_at(name).away;
}

static int switch_link(const char *name, unsigned int flags)
{
	struct request req;
	struct ifinfomsg *info =
		begin(&req, RTM_NEWLINK, NLM_F_ACK, sizeof(struct ifinfomsg));

	info->ifi_change = IFF_UP;
	info->ifi_flags = flags;
	mnl_attr_put_strz(req.head, IFLA_IFNAME, name);
	return ask_route(&req, NULL, NULL);
}

int link_up(const char *name)
{
	return switch_link(name, IFF_UP);
}

int link_down(const char *name)
{
	return switch_link(name, 0);
}

int link_delete(const char *name)
{
	struct request req;

	begin(&req, RTM_DELLINK, NLM_F_ACK, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(req.head, IFLA_IFNAME, name);
	return ask_route(&req, NULL, NULL);
}

int veth_add(const char *name, const char *peer, pid_t pid)
{
	static int cables; /* laid by this process */
	int index = (int)getpid() * 64 + 2 * cables++;
	struct request req;
	struct ifinfomsg *info =
		begin(&req, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK,
		      sizeof(struct ifinfomsg));
	struct nlattr *linkinfo, *data, *end;

	info->ifi_index = index;
	mnl_attr_put_strz(req.head, IFLA_IFNAME, name);
	linkinfo = mnl_attr_nest_start(req.head, IFLA_LINKINFO);
	mnl_attr_put_strz(req.head, IFLA_INFO_KIND, "veth");
	data = mnl_attr_nest_start(req.head, IFLA_INFO_DATA);
	end = mnl_attr_nest_start(req.head, VETH_INFO_PEER);
	info = mnl_nlmsg_put_extra_header(req.head, sizeof(*info));
	info->ifi_index = index + 1;
	mnl_attr_put_strz(req.head, IFLA_IFNAME, peer);
	if (pid)
		mnl_attr_put_u32(req.head, IFLA_NET_NS_PID, (uint32_t)pid);
	mnl_attr_nest_end(req.head, end);
	mnl_attr_nest_end(req.head, data);
	mnl_attr_nest_end(req.head, linkinfo);
	return ask_route(&req, NULL, NULL);
}

/* --- Lists ------------------------------------------------------------------- */

/* Words with blanks between. */
struct words {
	char text[1024];
	size_t len;
	unsigned int index; /* of the interface that is asked about */
};

static void add_word(struct words *words, const char *word)
{
	size_t room = sizeof(words->text) - words->len;
	int n = snprintf(words->text + words->len, room, "%s%s",
			 words->len ? " " : "", word);

	words->len += (size_t)n < room ? (size_t)n : room - 1;
}

/* Interfaces, found in whatever order the kernel keeps them. */
struct found {
	struct link links[64];
	size_t n;
};

static int add_link(const struct nlmsghdr *head, void *data)
{
	struct found *found = data;

	if (found->n == sizeof(found->links) / sizeof(*found->links)) {
		errno = E2BIG;
		return MNL_CB_ERROR;
	}
	read_link(head, &found->links[found->n]);
	found->n += !found->links[found->n].tunnel;
	return MNL_CB_OK;
}

static int by_index(const void *a, const void *b)
{
	const struct link *one = a, *other = b;

	return (one->index > other->index) - (one->index < other->index);
}

const char *link_names(void)
{
	static struct words names;
	struct found found = { .n = 0 };
	struct request req;

	begin(&req, RTM_GETLINK, NLM_F_DUMP, sizeof(struct ifinfomsg));
	answered(ask_route(&req, add_link, &found), "RTM_GETLINK", "all links");
	qsort(found.links, found.n, sizeof(*found.links), by_index);
	names = (struct words){ 0 };
	for (size_t i = 0; i < found.n; i++)
		add_word(&names, found.links[i].name);
	return names.text;
}

static int add_address(const struct nlmsghdr *head, void *data)
{
	const struct ifaddrmsg *info = mnl_nlmsg_get_payload(head);
	const struct nlattr *attr, *address = NULL;
	char text[INET6_ADDRSTRLEN], word[INET6_ADDRSTRLEN + 4];
	struct words *words = data;

	if (info->ifa_index != words->index)
		return MNL_CB_OK;
	mnl_attr_for_each(attr, head,
			  sizeof(*info)) if (mnl_attr_get_type(attr) == IFA_LOCAL ||
					     (mnl_attr_get_type(attr) ==
						      IFA_ADDRESS &&
					      !address)) address = attr;
	if (address && inet_ntop(info->ifa_family, mnl_attr_get_payload(address),
				 text, sizeof(text))) {
		snprintf(word, sizeof(word), "%s/%u", text, info->ifa_prefixlen);
		add_word(words, word);
	}
	return MNL_CB_OK;
}

const char *addr_list(const char *name, int family)
{
	static struct words words;
	struct request req;
	struct ifaddrmsg *info;

	words = (struct words){ .index = look_at(name).index };
	info = begin(&req, RTM_GETADDR, NLM_F_DUMP, sizeof(*info));
	info->ifa_family = (uint8_t)family;
	answered(ask_route(&req, add_address, &words), "RTM_GETADDR", name);
	return words.len ? words.text : "none";
}

/* --- News -------------------------------------------------------------------- */

int link_watch(void)
{
	return subscribe(RTNLGRP_LINK);
}

struct awaited {
	const char *name;
	enum link_news news;
};

/* MNL_CB_STOP where this is what is waited for. */
static int is_news(const struct nlmsghdr *head, void *data)
{
	const struct awaited *wait = data;
	struct link link;
	bool gone = head->nlmsg_type == RTM_DELLINK, is = false;

	read_link(head, &link);
	if (strcmp(link.name, wait->name) != 0)
		return MNL_CB_OK;
	switch (wait->news) {
	case LINK_OPERATES:
		is = !gone && link.operstate == IF_OPER_UP;
		break;
	case LINK_NO_CARRIER:
		is = !gone && link.up && !link.carrier;
		break;
	case LINK_GONE:
		is = gone;
		break;
	}
	return is ? MNL_CB_STOP : MNL_CB_OK;
}

int link_await(int watch, const char *name, enum link_news news)
{
	struct awaited wait = { name, news };

	return read_answers(watch, is_news, &wait);
}

/* --- Addresses and routes ---------------------------------------------------- */

/* "10.7.0.1/24" in the kernel's form. */
struct network {
	int family;
	size_t len; /* bytes of the address */
	uint8_t bytes[sizeof(struct in6_addr)];
	uint8_t prefix; /* bits */
};

static int parse(const char *text, struct network *to)
{
	char address[INET6_ADDRSTRLEN];
	const char *slash = strchr(text, '/');
	long prefix = slash ? strtol(slash + 1, NULL, 10) : -1;

	to->family = strchr(text, ':') ? AF_INET6 : AF_INET;
	to->len = to->family == AF_INET6 ? sizeof(struct in6_addr)
					 : sizeof(struct in_addr);
	snprintf(address, sizeof(address), "%.*s", (int)strcspn(text, "/"), text);
	if (inet_pton(to->family, address, to->bytes) != 1 || prefix < 0 ||
	    prefix > (long)to->len * 8) {
		errno = EINVAL;
		return -1;
	}
	to->prefix = (uint8_t)prefix;
	return 0;
}

struct new_address {
	unsigned int index;
	const struct network *net;
};

/* MNL_CB_STOP where this says that the IPv6 address can be used from now on. */
static int is_usable(const struct nlmsghdr *head, void *data)
{
	const struct ifaddrmsg *info = mnl_nlmsg_get_payload(head);
	const struct new_address *new = data;
	const struct nlattr *attr;

	if (head->nlmsg_type != RTM_NEWADDR || info->ifa_index != new->index ||
	    (info->ifa_flags & IFA_F_TENTATIVE))
		return MNL_CB_OK;
	mnl_attr_for_each(
		attr, head,
		sizeof(*info)) if (mnl_attr_get_type(attr) == IFA_ADDRESS &&
				   memcmp(mnl_attr_get_payload(attr),
					  new->net->bytes,
					  new->net->len) == 0) return MNL_CB_STOP;
	return MNL_CB_OK;
}

static int put_address(const struct link *link, const struct network *net)
{
	struct request req;
	struct ifaddrmsg *info =
		begin(&req, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK,
		      sizeof(struct ifaddrmsg));

	info->ifa_family = (uint8_t)net->family;
	info->ifa_prefixlen = net->prefix;
	info->ifa_flags = net->family == AF_INET6 ? IFA_F_NODAD : 0;
	info->ifa_index = link->index;
	mnl_attr_put(req.head, IFA_LOCAL, net->len, net->bytes);
	mnl_attr_put(req.head, IFA_ADDRESS, net->len, net->bytes);
	return ask_route(&req, NULL, NULL);
}

int addr_add(const char *name, const char *address)
{
	struct network net;
	struct link link;
	struct new_address new = { .net = &net };
	int watch, ret, err;

	if (parse(address, &net) < 0 || get_link(name, &link) < 0)
		return -1;
	if (net.family == AF_INET)
		return put_address(&link, &net);
	new.index = link.index;
	watch = subscribe(RTNLGRP_IPV6_IFADDR);
	if (watch < 0)
		return -1;
	ret = put_address(&link, &net);
	if (ret == 0)
		ret = read_answers(watch, is_usable, &new);
	err = errno;
	close(watch);
	errno = err;
	return ret;
}

int route_prohibit(const char *network)
{
	struct network net;
	struct request req;
	struct rtmsg *route;

	if (parse(network, &net) < 0)
		return -1;
	route = begin(&req, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK,
		      sizeof(*route));
	route->rtm_family = (uint8_t)net.family;
	route->rtm_dst_len = net.prefix;
	route->rtm_table = RT_TABLE_MAIN;
	route->rtm_protocol = RTPROT_STATIC;
	route->rtm_scope = RT_SCOPE_UNIVERSE;
	route->rtm_type = RTN_PROHIBIT;
	mnl_attr_put(req.head, RTA_DST, net.len, net.bytes);
	return ask_route(&req, NULL, NULL);
}

/* --- The firewall ------------------------------------------------------------ */

/* nf_tables takes its messages in transactions: all of them, or none. */
struct transaction {
	ALIGNED char bytes[1024];
	size_t len;
};

static struct nlmsghdr *nft_begin(struct transaction *t, int type, int flags)
{
	struct nlmsghdr *head = mnl_nlmsg_put_header(t->bytes + t->len);
	struct nfgenmsg *gen = mnl_nlmsg_put_extra_header(head, sizeof(*gen));
	bool batch = type == NFNL_MSG_BATCH_BEGIN || type == NFNL_MSG_BATCH_END;

	head->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	gen->version = NFNETLINK_V0;
	if (batch) {
		head->nlmsg_type = (uint16_t)type;
		gen->res_id = htons(NFNL_SUBSYS_NFTABLES);
	} else {
		head->nlmsg_type = (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type);
		gen->nfgen_family = NFPROTO_IPV4;
	}
	return head;
}

static void nft_end(struct transaction *t, const struct nlmsghdr *head)
{
	t->len += MNL_ALIGN(head->nlmsg_len);
}

static void nft_mark(struct transaction *t, int type)
{
	nft_end(t, nft_begin(t, type, 0));
}

static void nft_table(struct transaction *t, const char *table, int flags)
{
	struct nlmsghdr *head =
		nft_begin(t, NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL | flags);

	mnl_attr_put_strz(head, NFTA_TABLE_NAME, table);
	nft_end(t, head);
}

/* A chain that drops what comes to it on the output hook. */
static void nft_silent_chain(struct transaction *t, const char *table, int flags)
{
	struct nlmsghdr *head =
		nft_begin(t, NFT_MSG_NEWCHAIN, NLM_F_CREATE | flags);
	struct nlattr *hook;

	mnl_attr_put_strz(head, NFTA_CHAIN_TABLE, table);
	mnl_attr_put_strz(head, NFTA_CHAIN_NAME, "output");
	mnl_attr_put_strz(head, NFTA_CHAIN_TYPE, "filter");
	hook = mnl_attr_nest_start(head, NFTA_CHAIN_HOOK);
	mnl_attr_put_u32(head, NFTA_HOOK_HOOKNUM, htonl(NF_INET_LOCAL_OUT));
	mnl_attr_put_u32(head, NFTA_HOOK_PRIORITY, htonl(0));
	mnl_attr_nest_end(head, hook);
	mnl_attr_put_u32(head, NFTA_CHAIN_POLICY, htonl(NF_DROP));
	nft_end(t, head);
}

static int nft_commit(struct transaction *t)
{
	nft_mark(t, NFNL_MSG_BATCH_END);
	return ask(NETLINK_NETFILTER, t->bytes, t->len, NULL, NULL);
}

int firewall_table(const char *table)
{
	struct transaction t = { .len = 0 };

	nft_mark(&t, NFNL_MSG_BATCH_BEGIN);
	nft_table(&t, table, NLM_F_ACK);
	return nft_commit(&t);
}

int firewall_drop_output(const char *table)
{
	struct transaction t = { .len = 0 };

	nft_mark(&t, NFNL_MSG_BATCH_BEGIN);
	nft_table(&t, table, 0);
	nft_silent_chain(&t, table, NLM_F_ACK);
	return nft_commit(&t);
}
