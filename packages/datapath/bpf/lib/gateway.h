/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The subnets' gateway addresses: present on every host, they answer ping and nothing else. */
#ifndef WEFT_GATEWAY_H
#define WEFT_GATEWAY_H

#include "csum.h"
#include "drops.h"
#include "ipv4.h"
#include "ipv6.h"

/* The checksum of an IPv4 header with options, its own field left out. */
static __always_inline __u16 ipv4_header_checksum(const __u8 *header, const void *end, __u32 length)
{
	__u64 sum = 0;
	__u32 i;

#pragma unroll
	for (i = 0; i < 60; i += 2) {
		if (i < length && i != 10 && (const void *)header + i + 2 <= end)
			sum += LD16(header, i);
	}
	return ~csum_fold(sum);
}

/* Turns an echo request into its reply.  'request' and 'reply' are the ICMP types of the family. */
static __always_inline int gateway_echo(struct __sk_buff *skb, const struct weft_port *port, const struct weft_packet *p, __u8 request,
					__u8 reply)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u8 *ip = data + ETH_HLEN, *icmp = data + ETH_HLEN + (p->l4_offset & 63);
	__u16 before;

	if ((void *)ip + 40 > end && p->is_ipv6)
		return WEFT_DROP_GATEWAY_NO_SERVICE;
	if ((void *)ip + 20 > end || (void *)icmp + 8 > end || icmp[0] != request || icmp[1] != 0)
		return WEFT_DROP_GATEWAY_NO_SERVICE;
	before = LD16(icmp, 0);
	icmp[0] = reply;
	ST16(icmp, 2, csum_replace16(LD16(icmp, 2), before, LD16(icmp, 0)));
	mac_copy(data, port->mac);
	mac_set_gateway(data + ETH_ALEN, port->vsid);
	if (p->is_ipv6) {
		if ((void *)ip + 40 > end)
			return WEFT_DROP_GATEWAY_NO_SERVICE;
		ip[7] = 64;
		addr_copy(ip + 8, p->destination);
		addr_copy(ip + 24, p->source.ca);
	} else {
		ip[8] = 64;
		ST32(ip, 12, LD32(p->destination, 12));
		ST32(ip, 16, LD32(p->source.ca, 12));
		ST16(ip, 10, ipv4_header_checksum(ip, end, p->l4_offset));
	}
	return 0;
}

/* A destination without a record in the subnet 'vsid': perhaps the subnet's gateway.  Returns 0 (REPLY) or a reason. */
static __always_inline int gateway_answer(struct __sk_buff *skb, const struct weft_port *port, const struct weft_packet *p, __u32 vsid,
					  struct weft_verdict *v)
{
	const struct weft_subnet *subnet = bpf_map_lookup_elem(&map_subnet, &vsid);
	int reason = WEFT_DROP_GATEWAY_NO_SERVICE;

	if (!subnet || !addr_equal(p->is_ipv6 ? subnet->gateway6 : subnet->gateway4, p->destination))
		return WEFT_DROP_UNKNOWN_DESTINATION;
	v->action = WEFT_ACTION_REPLY;
	if (!p->is_ipv6 && p->protocol == IPPROTO_ICMP && !p->is_fragment)
		reason = gateway_echo(skb, port, p, 8, 0);
	else if (p->is_ipv6 && p->protocol == WEFT_ICMPV6 && !p->is_fragment)
		reason = gateway_echo(skb, port, p, 128, 129);
	return reason;
}

#endif
