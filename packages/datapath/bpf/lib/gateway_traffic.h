/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* How much each network sends and gets through the gateway, as an estimate: one packet of 64, chosen at random, counts for 64, so that the others cost a
 * random number and no table. */
#ifndef WEFT_GATEWAY_TRAFFIC_H
#define WEFT_GATEWAY_TRAFFIC_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "eth.h"

#define TRAFFIC_SAMPLED 64

/* Of one CPU. */
struct weft_traffic {
	__u64 packets;
	__u64 bytes;
};

_Static_assert(sizeof(struct weft_traffic) == 16, "contract");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32); /* network */
	__type(value, struct weft_traffic);
} map_gateway_traffic SEC(".maps");

/* A program of its own to the verifier: it is seldom called. */
__attribute__((noinline)) int gateway_traffic_add(struct __sk_buff *skb, __u32 network_id)
{
	struct weft_traffic *traffic = bpf_map_lookup_elem(&map_gateway_traffic, &network_id), none = {};
	__u64 packets = TRAFFIC_SAMPLED;

	if (!traffic) {
		bpf_map_update_elem(&map_gateway_traffic, &network_id, &none, BPF_NOEXIST);
		traffic = bpf_map_lookup_elem(&map_gateway_traffic, &network_id);
		if (!traffic)
			return 0;
	}
	if (skb->gso_segs > 1)
		packets *= skb->gso_segs;
	traffic->packets += packets;
	traffic->bytes += (__u64)TRAFFIC_SAMPLED * skb->len;
	return 0;
}

/* A frame of the network, whatever becomes of it. */
static __always_inline void gateway_traffic_count(struct __sk_buff *skb, __u32 network_id)
{
	if (unlikely(!(bpf_get_prandom_u32() & (TRAFFIC_SAMPLED - 1))))
		gateway_traffic_add(skb, network_id);
}

#endif
