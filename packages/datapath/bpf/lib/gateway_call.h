/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* How the gateway's programs hand over to one another, and how they end: docs/gateway-contract.md section 2. */
#ifndef WEFT_GATEWAY_CALL_H
#define WEFT_GATEWAY_CALL_H

#include "deliver.h"
#include "drops.h"
#include "encap.h"
#include "gateway_maps.h"
#include "lookup.h"

/* cb[0] of gateway_in */
#define ENTER_ADDRESS 1
#define ENTER_PREFIX 2
#define ENTER_PEERING 3
#define ENTER_HAIRPIN 4
#define ENTER_NPT 5

/* cb[0] of gateway_error */
#define TELL_INSIDE 1
#define TELL_OUTSIDE 2 /* in the name of this member's own address on the segment */
#define TELL_OUTSIDE_AS_ASKED 3 /* in the name of the address the packet was sent to */

/* Where a frame of the gateway goes. */
struct gateway_verdict {
	struct weft_verdict v;
	struct weft_outer outer; /* of TUNNEL */
	__u32 segment; /* of EXTERNAL */
	__u32 call; /* program to go on in, by slot + 1; its cb: */
	__u32 cb[4];
	__u32 tell; /* who is told of the reason; 0: nobody */
	__u32 tell_id;
	__u32 tell_mtu; /* 0: TTL */
	__u8 next_hop[WEFT_ADDR_LEN] __attribute__((aligned(8))); /* of EXTERNAL */
} __attribute__((aligned(8)));

static __always_inline void gateway_call(struct __sk_buff *skb, __u32 slot, __u32 cb0, __u32 cb1, __u32 cb2, __u32 cb3)
{
	skb->cb[0] = cb0;
	skb->cb[1] = cb1;
	skb->cb[2] = cb2;
	skb->cb[3] = cb3;
	skb->cb[4] = CALL_OUT + slot;
	bpf_tail_call(skb, &map_gateway_program, slot);
}

/* Out to the segment: the kernel's neighbour table fills the Ethernet header. */
static __always_inline int gateway_send_to(struct __sk_buff *skb, __u32 ifindex, const __u8 *next_hop)
{
	struct bpf_redir_neigh neighbour = {};

	skb->queue_mapping = 0;
	if (addr_is_mapped(next_hop)) {
		neighbour.nh_family = 2; /* AF_INET */
		neighbour.ipv4_nh = LD32(next_hop, 12);
	} else {
		neighbour.nh_family = 10; /* AF_INET6 */
		addr_copy(neighbour.ipv6_nh, next_hop);
	}
	return bpf_redirect_neigh(ifindex, &neighbour, sizeof(neighbour), 0);
}

/* Writes the verdict and does it.  'reason' with another action than DROP: the sender is told. */
static __always_inline int gateway_end(struct __sk_buff *skb, struct gateway_verdict *g, __u32 reason)
{
	if (g->v.action == WEFT_ACTION_EXTERNAL) {
		skb->cb[0] = WEFT_ACTION_EXTERNAL << 16 | reason;
		skb->cb[1] = g->v.ifindex;
		skb->cb[2] = LD32(g->next_hop, 12);
		skb->cb[3] = g->segment;
		skb->cb[4] = 0;
		return gateway_send_to(skb, g->v.ifindex, g->next_hop);
	}
	barrier_var(skb); /* else the compiler makes one pointer of both ways to cb, which the verifier refuses */
	verdict_publish(skb, &g->v, reason);
	switch (g->v.action) {
	case WEFT_ACTION_TUNNEL:
		return encap_send(skb, &g->v);
	case WEFT_ACTION_LOCAL:
		return deliver(skb, &g->v);
	}
	return TC_ACT_SHOT;
}

/* Counts what was refused, and tells the sender if it is to be told. */
static __always_inline int gateway_refuse(struct __sk_buff *skb, struct gateway_verdict *g, __u32 reason)
{
	drops_count(skb, g->v.vsid, reason);
	if (g->tell)
		gateway_call(skb, GATEWAY_PROGRAM_ERROR, g->tell, g->tell_id, g->tell_mtu, g->v.vsid);
	g->v.action = WEFT_ACTION_DROP;
	return gateway_end(skb, g, reason);
}

/* Sets '*g' to where 'target' of the network is, if that is a port.  Returns 0 or a reason. */
static __always_inline int gateway_aim(struct gateway_verdict *g, const struct weft_target *target, __u32 network_id, __u32 length)
{
	int reason;

	if (target->kind == WEFT_TARGET_LOCAL) {
		g->v.action = WEFT_ACTION_LOCAL;
		g->v.ifindex = target->ifindex_or_shard;
		g->v.peer = target->flags & WEFT_TARGET_VETH;
	} else if (target->kind == WEFT_TARGET_PEER || target->kind == WEFT_TARGET_REDIRECT) {
		reason = encap_check(target->pa, length);
		if (reason)
			return reason;
		g->v.action = WEFT_ACTION_TUNNEL;
		g->v.pa = LD32(target->pa, 12);
		g->v.wire_vsid = target->vsid;
	} else {
		return WEFT_DROP_NO_ROUTE;
	}
	return target_is_of_network(target, network_id, 0) ? 0 : WEFT_DROP_UNKNOWN_DESTINATION;
}

/* The frame's Ethernet addresses as the target's subnet has them. */
static __always_inline int gateway_macs(struct __sk_buff *skb, const struct weft_target *target)
{
	void *data = (void *)(long)skb->data;

	if (data + ETH_HLEN > (void *)(long)skb->data_end)
		return WEFT_DROP_KERNEL_REFUSED;
	mac_copy(data, target->mac);
	mac_set_gateway(data + ETH_ALEN, target->vsid);
	return 0;
}

#endif
