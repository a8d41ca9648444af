/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Fragments: only the first has ports; it tells where the others go (RFC 4787 REQ-14).  One that comes before its first is dropped by name: a
 * program can hold no packet.  A network (the outside, at an external address) that sends first fragments as fast as it can overwrites its own slots. */
#ifndef WEFT_NAT_FRAGMENT_H
#define WEFT_NAT_FRAGMENT_H

#include "nat_work.h"

/* Which slot of its network's (its external address's) a datagram has.  Identifications of one sender follow one another, so that its datagrams of a
 * time have slots of their own. */
static __always_inline __u16 nat_fragment_slot(const struct gateway_flow *flow)
{
	__u32 id = bpf_ntohl(flow->fragment_id);
	__u32 mixed = (bpf_ntohl(LD32(flow->near, 12)) ^ bpf_ntohl(LD32(flow->remote, 12)) ^ flow->protocol) * 0x9e3779b1u;

	return ((mixed >> 24) + (id ^ id >> 16)) & (NAT_FRAGMENT_SLOTS - 1);
}

/* Fills w->fragment_key and, as the datagram that is looked for, w->fragment.self. */
static __always_inline void nat_fragment_keys(struct nat_work *w, __u32 direction)
{
	w->fragment_key.scope = direction == NAT_OUT ? w->flow.network_id : w->flow.segment;
	w->fragment_key.is_inbound = direction;
	w->fragment_key.slot = nat_fragment_slot(&w->flow);
	w->fragment_key.pad = 0;
	if (direction == NAT_OUT)
		__builtin_memset(w->fragment_key.address, 0, WEFT_ADDR_LEN);
	else
		addr_copy(w->fragment_key.address, w->flow.near);
	w->fragment.self.scope = w->fragment_key.scope;
	w->fragment.self.is_inbound = direction;
	addr_copy(w->fragment.self.near, w->flow.near);
	addr_copy(w->fragment.self.remote, w->flow.remote);
	w->fragment.self.id = w->flow.fragment_id;
	w->fragment.self.protocol = w->flow.protocol;
}

static __always_inline bool nat_datagram_equal(const struct nat_datagram *a, const struct nat_datagram *b)
{
	return LD64(a, 0) == LD64(b, 0) && LD64(a, 8) == LD64(b, 8) && LD64(a, 16) == LD64(b, 16) && LD64(a, 24) == LD64(b, 24) &&
	       LD64(a, 32) == LD64(b, 32) && LD64(a, 40) == LD64(b, 40);
}

/* Keeps w->to for the rest of the datagram. */
static __always_inline void nat_fragment_keep(struct nat_work *w, __u32 direction)
{
	nat_fragment_keys(w, direction);
	w->fragment.expires_boot_ns = w->now + NAT_FRAGMENT_NS;
	w->fragment.scope = w->to.network_id;
	addr_copy(w->fragment.address, w->to.address);
	bpf_map_update_elem(&map_nat_fragment_slot, &w->fragment_key, &w->fragment, BPF_ANY);
}

/* Fills w->to but for the port. */
static __always_inline int nat_fragment_later(struct nat_work *w, __u32 direction)
{
	struct nat_fragment *fragment;
	__u64 expires;

	nat_fragment_keys(w, direction);
	fragment = bpf_map_lookup_elem(&map_nat_fragment_slot, &w->fragment_key);
	if (!fragment)
		return WEFT_DROP_NAT_FRAGMENT_UNKNOWN;
	expires = fragment->expires_boot_ns;
	addr_copy(w->to.address, fragment->address);
	w->to.network_id = fragment->scope;
	w->to.port = 0;
	asm volatile("" ::: "memory");
	return expires > w->now && nat_datagram_equal(&fragment->self, &w->fragment.self) ? 0 : WEFT_DROP_NAT_FRAGMENT_UNKNOWN;
}

#endif
