/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Fragments: only the first has ports; it tells where the others go (RFC 4787 REQ-14).  One that comes before its first is dropped by name: a
 * program can hold no packet. */
#ifndef WEFT_NAT_FRAGMENT_H
#define WEFT_NAT_FRAGMENT_H

#include "nat_work.h"

static __always_inline void nat_fragment_key_of(struct nat_work *w, __u32 direction)
{
	w->fragment_key.scope = direction == NAT_OUT ? w->flow.network_id : w->flow.segment;
	w->fragment_key.is_inbound = direction;
	addr_copy(w->fragment_key.source, w->flow.near);
	addr_copy(w->fragment_key.destination, w->flow.remote);
	w->fragment_key.id = w->flow.fragment_id;
	w->fragment_key.protocol = w->flow.protocol;
}

/* Keeps w->to for the rest of the datagram. */
static __always_inline void nat_fragment_keep(struct nat_work *w, __u32 direction)
{
	nat_fragment_key_of(w, direction);
	w->fragment.expires_boot_ns = w->now + NAT_FRAGMENT_NS;
	w->fragment.scope = w->to.network_id;
	addr_copy(w->fragment.address, w->to.address);
	bpf_map_update_elem(&map_nat_fragment, &w->fragment_key, &w->fragment, BPF_ANY);
}

/* Fills w->to but for the port. */
static __always_inline int nat_fragment_later(struct nat_work *w, __u32 direction)
{
	struct nat_fragment *fragment;

	nat_fragment_key_of(w, direction);
	fragment = bpf_map_lookup_elem(&map_nat_fragment, &w->fragment_key);
	if (!fragment || fragment->expires_boot_ns <= w->now)
		return WEFT_DROP_NAT_FRAGMENT_UNKNOWN;
	addr_copy(w->to.address, fragment->address);
	w->to.network_id = fragment->scope;
	w->to.port = 0;
	return 0;
}

#endif
