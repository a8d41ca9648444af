/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* CA -> target, MAC -> target, and the home of an address. */
#ifndef WEFT_LOOKUP_H
#define WEFT_LOOKUP_H

#include "config.h"
#include "eth.h"
#include "route.h"

static __always_inline struct weft_target *lookup_ca(__u32 network_id, const void *ca)
{
	struct weft_lookup_key key;

	key.network_id = network_id;
	addr_copy(key.ca, ca);
	return bpf_map_lookup_elem(&map_lookup, &key);
}

static __always_inline struct weft_target *lookup_mac(__u32 vsid, const void *mac)
{
	struct weft_l2_key key = { .vsid = vsid };

	mac_copy(key.mac, mac);
	return bpf_map_lookup_elem(&map_l2, &key);
}

/* Where the address of 'key' lives: its own record, else that of the router VM or gateway its customer route leads to.  NULL if
 * there is none or it denies.  For sources, on both sides of the tunnel. */
static __always_inline struct weft_target *lookup_home(struct weft_lookup_key *key)
{
	struct weft_target *target = bpf_map_lookup_elem(&map_lookup, key);
	struct weft_route *route;

	if (unlikely(!target)) {
		route = route_find(key->network_id, key->ca);
		if (!route || route->kind != WEFT_ROUTE_NEXT_HOP)
			return NULL;
		target = lookup_ca(key->network_id, route->next_hop);
		if (!target)
			return NULL;
	}
	return target->kind == WEFT_TARGET_DENY ? NULL : target;
}

/* The kernel may give the memory of a deleted element to a new one of the same map at once, while a program still reads it: a frame would
 * go to another tenant.  So a target says itself whose it is, in bytes that are written before those that say where to, and they are looked
 * at last: what was read before is the right target's if they are (writes are seen in order on x86).
 *
 * Here: a target of the table l2 belongs to 'vsid' and 'mac'. */
static __always_inline bool target_is_of_mac(const struct weft_target *target, __u32 vsid, const void *mac)
{
	asm volatile("" ::: "memory");
	return READ_ONCE(target->vsid) == vsid && READ_ONCE(*(const __u32 *)target->mac) == LD32(mac, 0) &&
	       READ_ONCE(*(const __u16 *)(target->mac + 4)) == LD16(mac, 4);
}

/* Likewise: a target of the table lookup belongs to a subnet of the network.  'vsid' is the subnet it must be of, or 0 for any. */
static __always_inline bool target_is_of_network(const struct weft_target *target, __u32 network_id, __u32 vsid)
{
	const struct weft_subnet *subnet;
	__u32 own;

	asm volatile("" ::: "memory");
	own = READ_ONCE(target->vsid);
	if (vsid)
		return own == vsid;
	subnet = bpf_map_lookup_elem(&map_subnet, &own);
	return subnet && subnet->network_id == network_id;
}

static __always_inline bool target_is_port(const struct weft_target *target, __u32 ifindex)
{
	return target && target->kind == WEFT_TARGET_LOCAL && target->ifindex_or_shard == ifindex;
}

#endif
