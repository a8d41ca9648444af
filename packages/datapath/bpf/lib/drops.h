/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Counting drops, and the verdict in skb->cb[]. */
#ifndef WEFT_DROPS_H
#define WEFT_DROPS_H

#include <linux/pkt_cls.h>

#include "config.h"
#include "eth.h"
#include "gateway_maps.h"

/* Where a frame goes, as far as the decision has come; 'vsid' is the one that drops are counted for. */
struct weft_verdict {
	__u32 action;
	__u32 ifindex; /* of LOCAL and REPLY; of GATEWAY: the shard */
	__be32 pa; /* of TUNNEL */
	__u32 wire_vsid; /* of TUNNEL, GATEWAY */
	__u32 network_id; /* of GATEWAY */
	__u32 vsid;
	__u64 generation; /* of the tables that the verdict is made from; 0: not to be kept (flow_cache.h) */
	__u32 nd_offset; /* a neighbour discovery message at this byte of the packet, to be answered */
	bool peer; /* LOCAL to a veth: bpf_redirect_peer */
	bool second_hand; /* GATEWAY: sent on by the shard's former owner */
	bool by_device; /* TUNNEL by way of the VXLAN device */
};

static __always_inline void verdict_publish(struct __sk_buff *skb, const struct weft_verdict *v, __u32 reason)
{
	skb->cb[0] = v->action << 16 | reason;
	skb->cb[1] = v->action == WEFT_ACTION_LOCAL || v->action == WEFT_ACTION_REPLY ? v->ifindex : 0;
	skb->cb[2] = v->action == WEFT_ACTION_TUNNEL ? v->pa : 0;
	skb->cb[3] = v->action == WEFT_ACTION_TUNNEL ? v->wire_vsid : 0;
	skb->cb[4] = 0;
}

/* The frame to the gateway's program (docs/gateway-contract.md section 2).  Returns only if that is not there. */
static __always_inline void gateway_enter(struct __sk_buff *skb, __u32 network_id, __u32 shard, __u32 vsid, bool second_hand)
{
	skb->cb[0] = network_id;
	skb->cb[1] = shard;
	skb->cb[2] = vsid;
	skb->cb[3] = second_hand;
	skb->cb[4] = CALL_OUT;
	bpf_tail_call(skb, &map_gateway_program, GATEWAY_PROGRAM_OUT);
}

/* Counts the frame under (this device, vsid, reason) and keeps its head as a sample.  Returns 0; a program of its own to the
 * verifier, so that its many callers cost nothing. */
__attribute__((noinline)) int drops_count(struct __sk_buff *skb, __u32 vsid, __u32 reason)
{
	struct weft_drop_key key = { .ifindex = skb->ifindex, .vsid = vsid, .reason = reason };
	struct weft_drop zero = {};
	__u32 length = skb->len;
	struct weft_drop *drop;

	drop = bpf_map_lookup_elem(&map_drops, &key);
	if (!drop) {
		bpf_map_update_elem(&map_drops, &key, &zero, BPF_NOEXIST);
		drop = bpf_map_lookup_elem(&map_drops, &key);
		if (!drop) { /* the map is full: count by the reason alone, for which user space has made room */
			key.ifindex = 0;
			key.vsid = 0;
			drop = bpf_map_lookup_elem(&map_drops, &key);
		}
		if (!drop)
			return 0;
	}
	drop->packets++;
	drop->bytes += length;
	drop->last_boot_ns = weft_now();
	if (length >= WEFT_SAMPLE_LEN) {
		length = WEFT_SAMPLE_LEN;
	} else {
		__builtin_memset(drop->sample, 0, sizeof(drop->sample));
	}
	drop->sample_length = length;
	if (length > 0) {
		barrier_var(length); /* the verifier of 6.1 does not learn "at least 1" from "not 0" */
		bpf_skb_load_bytes(skb, 0, drop->sample, ((length - 1) & (WEFT_SAMPLE_LEN - 1)) + 1);
	}
	return 0;
}

#endif
