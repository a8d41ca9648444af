/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Who may send what: a port its own addresses, a provider address those that live there. */
#ifndef WEFT_ANTISPOOF_H
#define WEFT_ANTISPOOF_H

#include "l4.h"
#include "lookup.h"

/* The sender of an ARP request or a neighbour solicitation: 'address' must be this very port's own (routes don't count). */
static __always_inline bool sender_is_port(const struct weft_port *port, __u32 ifindex, const void *address)
{
	struct weft_target *target = lookup_ca(port->network_id, address);

	return target_is_port(target, ifindex) && target->vsid == port->vsid;
}

static __always_inline bool is_previous(const __u8 *prev_pa, __u64 prev_until, __be32 pa)
{
	return addr_is_ipv4(prev_pa, pa) && weft_now() < prev_until;
}

#define WEFT_FIRST_HAND 1
#define WEFT_SECOND_HAND 2

/* Says whether frames of 'home' may come from 'pa': WEFT_FIRST_HAND, WEFT_SECOND_HAND or 0. */
static __always_inline int home_hand(const struct weft_target *home, __be32 pa)
{
	struct weft_shard *shard = NULL;

	if (home->kind == WEFT_TARGET_PEER || home->kind == WEFT_TARGET_REDIRECT) {
		if (addr_is_ipv4(home->pa, pa))
			return WEFT_FIRST_HAND;
	} else if (home->kind == WEFT_TARGET_SHARD) {
		shard = bpf_map_lookup_elem(&map_shard, &home->ifindex_or_shard);
		if (shard && addr_is_ipv4(shard->pa, pa))
			return WEFT_FIRST_HAND;
	}
	if (is_previous(home->prev_pa, home->prev_until_boot_ns, pa))
		return WEFT_SECOND_HAND;
	if (shard && is_previous(shard->prev_pa, shard->prev_until_boot_ns, pa))
		return WEFT_SECOND_HAND;
	return 0;
}

/* Says whether 'pa' sends frames for 'target' on: it was the port's host, or the owner of the gateway's shard, until just now. */
static __always_inline bool sent_on_by(const struct weft_target *target, __be32 pa)
{
	const struct weft_shard *shard;

	if (target->kind == WEFT_TARGET_LOCAL)
		return is_previous(target->prev_pa, target->prev_until_boot_ns, pa);
	if (target->kind != WEFT_TARGET_GATEWAY)
		return false;
	shard = bpf_map_lookup_elem(&map_shard, &target->ifindex_or_shard);
	return shard && is_previous(shard->prev_pa, shard->prev_until_boot_ns, pa);
}

/* Why a frame from 'pa' with a foreign source is dropped: the peer has no business in this network, or this address is not there. */
static __always_inline int peer_reason(__u32 network_id, __be32 pa)
{
	struct weft_speaker_key key = { .network_id = network_id };

	addr_set_ipv4(key.pa, pa);
	return bpf_map_lookup_elem(&map_speaker, &key) ? WEFT_DROP_SOURCE_NOT_AT_THIS_PEER : WEFT_DROP_UNKNOWN_PEER;
}

#endif
