/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What is to be known of a packet before its address can be translated: ports, and of ICMP errors the packet they quote (RFC 5508 section 4). */
#ifndef WEFT_GATEWAY_QUOTE_H
#define WEFT_GATEWAY_QUOTE_H

#include "gateway_scratch.h"

/* Unreachable, time exceeded, parameter problem; IPv6: also packet too big. */
static __always_inline bool icmp_is_translated_error(__u8 type, bool is_ipv6)
{
	return is_ipv6 ? type >= 1 && type <= 4 : type == 3 || type == 11 || type == 12;
}

static __always_inline bool icmp_is_echo(__u8 type, bool is_ipv6)
{
	return is_ipv6 ? type == 128 || type == 129 : type == 8 || type == 0;
}

/* Reads what the error quotes into s->quote.  False if it is cut too short, or no IP of the same family. */
static __always_inline bool quote_read(struct __sk_buff *skb, struct gateway_scratch *s)
{
	struct gateway_quote *q = &s->quote;
	const struct weft_packet *p = &s->p;
	__u32 length = p->l4_length - 8, header;

	q->ip_offset = ETH_HLEN + p->l4_offset + 8;
	q->has_l4 = 1;
	if (p->is_ipv6) {
		if (length < 40 + 8 || bpf_skb_load_bytes(skb, q->ip_offset, q->ip, 48) || q->ip[0] >> 4 != 6)
			return false;
		header = 40;
		q->protocol = q->ip[6];
		if (q->protocol == IPPROTO_FRAGMENT) {
			header = 48;
			q->protocol = q->ip[40];
			q->has_l4 = !(LD16(q->ip, 42) & bpf_htons(0xfff8));
		}
	} else {
		if (length < 20 + 8 || bpf_skb_load_bytes(skb, q->ip_offset, q->ip, 20) || q->ip[0] >> 4 != 4)
			return false;
		header = (q->ip[0] & 15) * 4;
		if (header < 20)
			return false;
		q->protocol = q->ip[9];
		q->has_l4 = !(LD16(q->ip, 6) & bpf_htons(0x1fff));
	}
	if (length < header + 8)
		return false;
	q->l4_offset = q->ip_offset + header;
	q->l4_length = length - header;
	return !bpf_skb_load_bytes(skb, q->l4_offset, q->l4, 8);
}

/* Fills s->is_error, s->has_quote and s->quote. */
static __attribute__((noinline)) int quote_find(struct __sk_buff *skb, struct gateway_scratch *s)
{
	const struct weft_packet *p = &s->p;
	__u8 type;

	s->is_error = 0;
	s->has_quote = 0;
	s->translate_quote = 0;
	if (!p->has_l4 || p->protocol != (p->is_ipv6 ? WEFT_ICMPV6 : IPPROTO_ICMP))
		return 0;
	if (bpf_skb_load_bytes(skb, ETH_HLEN + p->l4_offset, &type, 1) || !icmp_is_translated_error(type, p->is_ipv6))
		return 0;
	s->is_error = 1;
	s->has_quote = !p->is_fragment && quote_read(skb, s);
	return 0;
}

/* Source and destination of the quote are copied as the packet's would be. */
static __always_inline void quote_address(const struct gateway_scratch *s, bool destination, __u8 *address)
{
	const __u8 *ip = s->quote.ip;

	if (s->p.is_ipv6)
		addr_copy(address, destination ? ip + 24 : ip + 8);
	else
		addr_set_ipv4(address, destination ? LD32(ip, 16) : LD32(ip, 12));
}

/* The packet as port mapping sees it, in s->flow.  'destination' says which end is near: that on the way in. */
static __attribute__((noinline)) int flow_read(struct __sk_buff *skb, struct gateway_scratch *s, __u32 network_id, __u32 segment, bool destination)
{
	const struct weft_packet *p = &s->p;
	struct gateway_flow *f = &s->flow;
	__be16 source_port = 0, destination_port = 0;
	__u8 l4[14] __attribute__((aligned(8))) = {};

	__builtin_memset(f, 0, sizeof(*f));
	f->network_id = network_id;
	f->segment = segment;
	f->is_ipv6 = p->is_ipv6;
	f->is_fragment = p->is_fragment;
	f->length = p->length;
	if (p->is_fragment) {
		if (p->is_ipv6)
			bpf_skb_load_bytes(skb, ETH_HLEN + p->l4_offset - 4, &f->fragment_id, 4);
		else
			bpf_skb_load_bytes(skb, ETH_HLEN + 4, &f->fragment_id, 2);
	}
	if (s->has_quote) {
		const struct gateway_quote *q = &s->quote;

		f->is_error = 1;
		f->has_l4 = q->has_l4;
		f->protocol = q->protocol;
		quote_address(s, !destination, f->near);
		quote_address(s, destination, f->remote);
		if (!q->has_l4)
			return 0;
		if (q->protocol == IPPROTO_TCP || q->protocol == IPPROTO_UDP) {
			f->near_port = LD16(q->l4, destination ? 0 : 2);
			f->remote_port = LD16(q->l4, destination ? 2 : 0);
		} else if (q->protocol == (p->is_ipv6 ? WEFT_ICMPV6 : IPPROTO_ICMP) && icmp_is_echo(q->l4[0], p->is_ipv6)) {
			f->near_port = LD16(q->l4, 4);
			f->remote_port = f->near_port;
		}
		return 0;
	}
	f->has_l4 = p->has_l4;
	f->protocol = p->protocol;
	addr_copy(f->near, destination ? p->destination : p->source.ca);
	addr_copy(f->remote, destination ? p->source.ca : p->destination);
	if (!p->has_l4)
		return 0;
	if (p->protocol == IPPROTO_TCP) {
		bpf_skb_load_bytes(skb, ETH_HLEN + p->l4_offset, l4, 14);
		f->tcp_flags = l4[13];
		source_port = LD16(l4, 0);
		destination_port = LD16(l4, 2);
	} else if (p->protocol == IPPROTO_UDP) {
		bpf_skb_load_bytes(skb, ETH_HLEN + p->l4_offset, l4, 8);
		source_port = LD16(l4, 0);
		destination_port = LD16(l4, 2);
	} else if (p->protocol == (p->is_ipv6 ? WEFT_ICMPV6 : IPPROTO_ICMP)) {
		bpf_skb_load_bytes(skb, ETH_HLEN + p->l4_offset, l4, 8);
		f->icmp_type = l4[0];
		if (icmp_is_echo(l4[0], p->is_ipv6))
			source_port = destination_port = LD16(l4, 4);
	}
	f->near_port = destination ? destination_port : source_port;
	f->remote_port = destination ? source_port : destination_port;
	return 0;
}

#endif
