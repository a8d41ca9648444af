/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* IPv6 (RFC 8200) as tenants may send it: no extension header but one fragment header. */
#ifndef WEFT_IPV6_H
#define WEFT_IPV6_H

#include <linux/ipv6.h>

#include "l4.h"

#define WEFT_NO_NEXT_HEADER 59

static __always_inline bool ipv6_extension_refused(__u8 protocol)
{
	switch (protocol) {
	case 0: /* hop-by-hop */
	case 43: /* routing */
	case 44: /* a second fragment header */
	case 51: /* authentication */
	case 60: /* destination options */
	case 135: /* mobility */
	case 139: /* host identity */
	case 140: /* shim6 */
		return true;
	}
	return false;
}

static __always_inline int ipv6_read(const void *ip, const void *end, __u32 present, bool gso, struct weft_packet *p)
{
	const struct ipv6hdr *header = ip;
	const __u8 *l4 = ip + sizeof(*header);
	__u32 fragment = 0;

	if (present < sizeof(*header) || ip + sizeof(*header) > end)
		return WEFT_DROP_TRUNCATED_IPV6;
	if (header->version != 6)
		return WEFT_DROP_MALFORMED_IPV6;
	p->l4_length = bpf_ntohs(header->payload_len);
	if (p->l4_length > present - sizeof(*header))
		return WEFT_DROP_TRUNCATED_IPV6;
	if (p->l4_length == 0 && header->nexthdr != WEFT_NO_NEXT_HEADER)
		return WEFT_DROP_MALFORMED_IPV6;
	if (gso && p->l4_length != present - sizeof(*header))
		return WEFT_DROP_MALFORMED_IPV6;

	p->length = p->l4_length + sizeof(*header);
	p->is_ipv6 = true;
	p->protocol = header->nexthdr;
	p->ttl = header->hop_limit;
	p->ecn = ((const __u8 *)ip)[1] >> 4 & 3;
	addr_copy(p->source.ca, &header->saddr);
	addr_copy(p->destination, &header->daddr);
	p->l4_offset = sizeof(*header);
	p->l4_header = 0;
	p->ports = 0;
	if (p->protocol == IPPROTO_FRAGMENT) {
		if (p->l4_length < 8 || (const void *)l4 + 8 > end)
			return WEFT_DROP_TRUNCATED_L4;
		p->protocol = l4[0];
		fragment = bpf_ntohs(LD16(l4, 2));
		l4 += 8;
		p->l4_offset += 8;
		p->l4_length -= 8;
	}
	p->is_fragment = fragment & 0xfff9;
	p->has_l4 = !(fragment & 0xfff8);
	if (ipv6_extension_refused(p->protocol))
		return WEFT_DROP_IPV6_EXTENSION_NOT_ALLOWED;
	return p->has_l4 ? l4_check(l4, end, p, WEFT_ICMPV6) : 0;
}

/* ICMPv6 133 to 137: neighbour discovery, which no packet of a tenant carries beyond its own port. */
static __always_inline bool ipv6_is_nd(const void *l4, const void *end, const struct weft_packet *p)
{
	const __u8 *type = l4;

	if (p->protocol != WEFT_ICMPV6 || !p->has_l4 || (const void *)(type + 1) > end)
		return false;
	return *type >= 133 && *type <= 137;
}

/* ff00::/8, ::, ::1 and IPv4-mapped addresses. */
static __always_inline bool ipv6_is_not_unicast(const __u8 *destination)
{
	if (destination[0] == 0xff)
		return true;
	if (LD64(destination, 0) || LD16(destination, 8))
		return false;
	return LD16(destination, 10) == 0xffff || (LD16(destination, 10) == 0 && bpf_ntohl(LD32(destination, 12)) <= 1);
}

static __always_inline bool ipv6_is_link_local(const __u8 *address)
{
	return address[0] == 0xfe && (address[1] & 0xc0) == 0x80;
}

#endif
