/* SPDX-License-Identifier: MIT */
/*
 * rtnl.h - the network as a lab sets it up and looks at it, over netlink.
 *
 * A lab of the network includes this beside lab.h and has `PKGS = libmnl` in its
 * lab.mk. Every function acts on the network namespace of the calling process, at
 * the moment of the call. See rtnetlink(7).
 *
 * What changes something returns 0 when it is done, or -1 with the errno of the
 * kernel's answer (or of the socket), for CALL(link_up("lo")) and TRY(). What only
 * looks cannot be answered with a wrong "no": where the question fails, it ends the
 * run as broken.
 */
#ifndef RTNL_H
#define RTNL_H

#include <stdbool.h>
#include <sys/types.h>

/* --- Interfaces: RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK of rtnetlink(7) ------- */

/* Switch an interface on or off (IFF_UP of netdevice(7)). ENODEV: no such one. */
int link_up(const char *name);
int link_down(const char *name);

/* Remove an interface, and with one end of a veth pair the other. */
int link_delete(const char *name);

/*
 * Lay a cable: the veth(4) pair of name, here, and peer, born in the network
 * namespace of process pid (a number of the caller's PID namespace; 0: here).
 * Both are down. Their interface indices differ, also across namespaces: the
 * kernel takes equal ones for a device without a peer, and may be a second late
 * with the news of its carrier. EOPNOTSUPP: a kernel without veth. EEXIST: the
 * name is taken.
 */
int veth_add(const char *name, const char *peer, pid_t pid);

/*
 * The names of all interfaces in the order of their indices, with blanks between
 * (static storage). Left out are the fallback tunnels (tunl0,
 * sit0, …) that kernels with such a driver put into each network namespace; see
 * fb_tunnels_only_for_init_net in the kernel's admin-guide/sysctl/net.rst.
 */
const char *link_names(void);

/* Is it switched on (IFF_UP)? Has it a carrier (IFLA_CARRIER)? */
bool link_is_up(const char *name);
bool link_has_carrier(const char *name);

/* Is the other end of a veth pair in another namespace (IFLA_LINK_NETNSID)? */
bool link_peer_is_away(const char *name);

/* --- News of interfaces ------------------------------------------------------ */

enum link_news {
	LINK_OPERATES,	 /* operational state UP: both ends are up (RFC 2863) */
	LINK_NO_CARRIER, /* the other end is down */
	LINK_GONE,	 /* removed: RTM_DELLINK */
};

/*
 * Subscribe to the news of this network namespace (RTNLGRP_LINK): a descriptor,
 * for link_await(). Do it before what shall be waited for: older news are lost.
 */
int link_watch(void);

/* Wait until the watch has brought that news of the interface. */
int link_await(int watch, const char *name, enum link_news news);

/* --- Addresses and routes ---------------------------------------------------- */

/*
 * Give an interface, which is up, an address such as "10.7.0.1/24" or
 * "fd00:7::1/64". An IPv6 address is not tried for duplicates (IFA_F_NODAD), and
 * can be used on return: it is waited for, which takes a millisecond instead of
 * one or two seconds. EOPNOTSUPP: no IPv6 here. EACCES: IPv6 is switched off.
 */
int addr_add(const char *name, const char *address);

/*
 * The addresses of an interface in a family (AF_INET, AF_INET6), as above, with
 * blanks between, or "none" (static storage).
 */
const char *addr_list(const char *name, int family);

/*
 * Forbid a network such as "198.51.100.0/24": whoever routes there gets EACCES
 * (RTN_PROHIBIT). An IPv4 route that needs no interface.
 */
int route_prohibit(const char *network);

/* --- The firewall: nf_tables over NETLINK_NETFILTER, see nft(8) -------------- */

/*
 * Add a table, for IPv4. Where the kernel has no nf_tables: EPROTONOSUPPORT,
 * EINVAL, EOPNOTSUPP or EAFNOSUPPORT. EEXIST: there is one of that name.
 */
int firewall_table(const char *table);

/*
 * Let no IPv4 datagram out of this network namespace: a table with a chain on the
 * output hook, whose policy is drop. Whoever sends one by UDP gets EPERM.
 */
int firewall_drop_output(const char *table);

#endif
