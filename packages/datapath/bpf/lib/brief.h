/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A plain packet at a glance: IPv4 without options or IPv6 without extension headers, no fragment, TCP, UDP or ICMP, exactly as long as
 * its frame. Nearly all packets are; all others are left to ipv4_read and ipv6_read, which know why something is refused. */
#ifndef WEFT_BRIEF_H
#define WEFT_BRIEF_H

#include "flow_hash.h"
#include "ipv6.h"

struct weft_brief {
	__u32 length; /* of the IP packet */
	__u32 headers; /* bytes that each segment of a GSO frame repeats: IP, and TCP or UDP */
	__be32 ports; /* as in struct weft_packet */
	__u32 protocol;
	__u32 ttl;
	__u32 ecn;
	__u32 tcp_flags; /* of TCP */
	bool is_ipv6;
};

#define PORT_DHCP_CLIENT 68
#define PORT_DHCPV6_CLIENT 546

/* Reads the transport header at 'l4', with b->length and b->headers (up to here that of IP) known. */
static __always_inline bool brief_read_l4(const __u8 *l4, const void *end, struct weft_brief *b)
{
	__u32 payload = b->length - b->headers, header;

	if (b->protocol == IPPROTO_TCP) {
		if ((const void *)l4 + 20 > end || payload < 20)
			return false;
		header = (l4[12] >> 4) * 4;
		if (header < 20 || header > payload)
			return false;
		b->headers += header;
		b->ports = LD32(l4, 0);
		b->tcp_flags = l4[13];
		return true;
	}
	if ((const void *)l4 + 8 > end || payload < 8)
		return false;
	if (b->protocol == IPPROTO_UDP) {
		b->headers += 8;
		b->ports = LD32(l4, 0);
		/* What a DHCP server sends is looked at by port_check_*. */
		return LD16(l4, 2) != (b->is_ipv6 ? bpf_htons(PORT_DHCPV6_CLIENT) : bpf_htons(PORT_DHCP_CLIENT));
	}
	b->ports = 0;
	if (b->is_ipv6) /* neighbour discovery has rules of its own */
		return b->protocol == WEFT_ICMPV6 && !(l4[0] >= 133 && l4[0] <= 137);
	return b->protocol == IPPROTO_ICMP;
}

/* Reads the packet at 'ip', of the Ethernet type 'type', which must be 'present' bytes long. False if it is not a plain one, or not all of
 * its headers are readable: that says nothing about it. Every check here is one that the full read makes, too. */
static __always_inline bool brief_read(const __u8 *ip, const void *end, __be16 type, __u32 present, struct weft_brief *b)
{
	if (type == bpf_htons(ETH_P_IP)) {
		if ((const void *)ip + 20 > end || ip[0] != 0x45 || LD16(ip, 6) & bpf_htons(0x3fff))
			return false;
		b->is_ipv6 = false;
		b->length = bpf_ntohs(LD16(ip, 2));
		b->headers = 20;
		b->protocol = ip[9];
		b->ttl = ip[8];
		b->ecn = ip[1] & 3;
		return b->length == present && b->length >= 20 && brief_read_l4(ip + 20, end, b);
	}
	if (type == bpf_htons(ETH_P_IPV6)) {
		if ((const void *)ip + 40 > end || ip[0] >> 4 != 6)
			return false;
		b->is_ipv6 = true;
		b->length = bpf_ntohs(LD16(ip, 4)) + 40;
		b->headers = 40;
		b->protocol = ip[6];
		b->ttl = ip[7];
		b->ecn = ip[1] >> 4 & 3;
		return b->length == present && brief_read_l4(ip + 40, end, b);
	}
	return false;
}

#endif
