/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the gateway's programs know of a packet.  Off the stack, which has 512 bytes for a program and all it calls; programs don't interrupt
 * each other on a CPU.  Nothing in it outlives a program. */
#ifndef WEFT_GATEWAY_SCRATCH_H
#define WEFT_GATEWAY_SCRATCH_H

#include "gateway_call.h"
#include "gateway_flow.h"
#include "gateway_maps.h"
#include "ipv4.h"
#include "ipv6.h"

/* The packet that an ICMP error tells of.  Offsets are into the frame. */
struct gateway_quote {
	__u8 ip[48]; /* the quoted IP header, of IPv6 with a fragment header */
	__u8 l4[8];
	__u32 ip_offset;
	__u32 l4_offset;
	__u32 l4_length;
	__u8 protocol;
	__u8 has_l4;
	__u8 pad[2];
} __attribute__((aligned(8)));

struct gateway_scratch {
	struct gateway_verdict g;
	struct weft_packet p;
	struct gateway_flow flow;
	struct gateway_translation to; /* the packet's new end */
	struct gateway_translation quote_to; /* the quote's */
	struct gateway_quote quote;
	struct weft_lookup_key key;
	__u32 is_error; /* an ICMP error that is translated by what it quotes */
	__u32 has_quote;
	__u32 translate_quote;
	/* what the decision is kept with (gateway_slot.h): */
	__u64 generation; /* that the first row behind it was read under; 0: not kept */
	__u32 by_session;
	__u32 is_translated;
	__u32 mtu;
	__u32 segment;
	__be32 asked_ports; /* as the packet came in from outside */
	__u8 asked[WEFT_ADDR_LEN];
	__u8 asked_mac[WEFT_MAC_LEN];
	__u8 pad[6];
} __attribute__((aligned(8)));

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct gateway_scratch);
} map_gateway_scratch SEC(".maps");

static __always_inline struct gateway_scratch *gateway_scratch(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&map_gateway_scratch, &zero);
}

/* Reads the frame's IP packet anew: whatever called has checked it, but what it knew is lost on the way. */
static __always_inline int gateway_read(struct __sk_buff *skb, struct weft_packet *p)
{
	void *data, *end;
	int reason;

	reason = weft_pull(skb, WEFT_HEADERS_LEN);
	if (reason)
		return reason;
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	if (data + ETH_HLEN > end)
		return WEFT_DROP_KERNEL_REFUSED;
	if (LD16(data, 12) == bpf_htons(ETH_P_IP))
		return ipv4_read(data + ETH_HLEN, end, skb->len - ETH_HLEN, skb->gso_size, p);
	if (LD16(data, 12) == bpf_htons(ETH_P_IPV6))
		return ipv6_read(data + ETH_HLEN, end, skb->len - ETH_HLEN, skb->gso_size, p);
	return WEFT_DROP_KERNEL_REFUSED;
}

/* Bytes of the IP packet, or of each segment of a GSO frame. */
static __always_inline __u32 gateway_segment_length(struct __sk_buff *skb, const struct weft_packet *p)
{
	return skb->gso_size ? p->l4_offset + p->l4_header + skb->gso_size : p->length;
}

#endif
