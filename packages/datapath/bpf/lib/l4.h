/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What is known of a tenant's IP packet, and the rules for its transport header. */
#ifndef WEFT_L4_H
#define WEFT_L4_H

#include <linux/in.h>

#include "eth.h"

#define WEFT_ICMPV6 58

/* The facts of one IP packet, read once.  Offsets count from the IP header.  Addresses are aligned, as the stack must be read. */
struct weft_packet {
	__u32 pad;
	struct weft_lookup_key source; /* network_id is filled by the caller */
	__u8 destination[WEFT_ADDR_LEN];
	__u32 length; /* by its own header; what follows is padding */
	__u32 l4_offset;
	__u32 l4_length;
	__u32 l4_header; /* bytes that each segment of a GSO frame repeats: TCP's header, UDP's 8, else 0 */
	__be32 ports; /* source and destination as they stand in memory; 0 for fragments, and for neither TCP nor UDP */
	__u8 protocol;
	__u8 ttl;
	__u8 ecn;
	bool is_ipv6;
	bool is_fragment;
	bool has_l4; /* false behind a fragment offset */
} __attribute__((aligned(8)));

/* Bytes that the checks may touch: Ethernet, the longest IPv4 header, TCP's fixed part; ND (14 + 40 + 40 + a fragment header) is no longer. */
#define WEFT_HEADERS_LEN (ETH_HLEN + 60 + 28)

#define PORTS(source, destination) (bpf_htons(source) | (__u32)bpf_htons(destination) << 16)

/* Checks lengths of the transport header at 'l4', of which p->l4_length bytes are in the packet.  'icmp' is the family's own ICMP. */
static __always_inline int l4_check(const void *l4, const void *end, struct weft_packet *p, __u8 icmp)
{
	__u32 header;

	p->l4_header = 0;
	p->ports = 0;
	if (p->protocol == IPPROTO_TCP) {
		if (p->l4_length < 20 || l4 + 20 > end)
			return WEFT_DROP_TRUNCATED_L4;
		header = (((const __u8 *)l4)[12] >> 4) * 4;
		if (header < 20 || header > p->l4_length)
			return WEFT_DROP_MALFORMED_TCP;
		p->l4_header = header;
	} else if (p->protocol == IPPROTO_UDP) {
		if (p->l4_length < 8 || l4 + 8 > end)
			return WEFT_DROP_TRUNCATED_L4;
		p->l4_header = 8;
	} else {
		if (p->protocol == icmp && (p->l4_length < 8 || l4 + 8 > end))
			return WEFT_DROP_TRUNCATED_L4;
		return 0;
	}
	if (!p->is_fragment)
		p->ports = LD32(l4, 0);
	return 0;
}

#endif
