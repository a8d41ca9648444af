/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* IPv4 (RFC 791) as tenants may send it: docs/datapath-contract.md section 4. */
#ifndef WEFT_IPV4_H
#define WEFT_IPV4_H

#include <linux/ip.h>

#include "csum.h"
#include "l4.h"

/* Reads the packet at 'ip', of which 'present' bytes are in the frame (readable up to 'end'). */
static __always_inline int ipv4_read(const void *ip, const void *end, __u32 present, bool gso, struct weft_packet *p)
{
	const struct iphdr *header = ip;
	__u32 header_length, fragment;

	if (present < sizeof(*header) || ip + sizeof(*header) > end)
		return WEFT_DROP_TRUNCATED_IPV4;
	if (header->version != 4 || header->ihl < 5)
		return WEFT_DROP_MALFORMED_IPV4;
	header_length = header->ihl * 4;
	if (header_length > present)
		return WEFT_DROP_TRUNCATED_IPV4;
	p->length = bpf_ntohs(header->tot_len);
	if (p->length < header_length)
		return WEFT_DROP_MALFORMED_IPV4;
	if (p->length > present)
		return WEFT_DROP_TRUNCATED_IPV4;
	if (gso && p->length != present)
		return WEFT_DROP_MALFORMED_IPV4;

	p->is_ipv6 = false;
	p->protocol = header->protocol;
	p->ttl = header->ttl;
	p->ecn = header->tos & 3;
	addr_set_ipv4(p->source.ca, header->saddr);
	addr_set_ipv4(p->destination, header->daddr);
	p->l4_offset = header_length;
	p->l4_length = p->length - header_length;
	p->l4_header = 0;
	p->ports = 0;
	fragment = bpf_ntohs(header->frag_off);
	p->is_fragment = fragment & 0x3fff;
	p->has_l4 = !(fragment & 0x1fff);
	if (p->has_l4)
		return l4_check(ip + (header_length & 63), end, p, IPPROTO_ICMP);
	if ((fragment & 0x1fff) == 1 && p->protocol == IPPROTO_TCP)
		return WEFT_DROP_TINY_FRAGMENT;
	return 0;
}

/* 0/8, 127/8, 224/4 and 240/4: none of them is one machine's address.  'destination' is 16 bytes. */
static __always_inline bool ipv4_is_not_unicast(const __u8 *destination)
{
	return destination[12] == 0 || destination[12] == 127 || destination[12] >= 224;
}

/* TTL - 1 (the caller knows that it is above 1), checksum by RFC 1624. */
static __always_inline void ipv4_decrement_ttl(struct iphdr *header)
{
	__u16 before = LD16(header, 8);

	header->ttl--;
	header->check = csum_replace16(header->check, before, LD16(header, 8));
}

#endif
