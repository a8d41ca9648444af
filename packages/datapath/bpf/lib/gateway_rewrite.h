/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* New addresses and ports, with every checksum that covers them.
 *
 * Transport checksums go through the kernel's helper, which knows of those that are unfinished (CHECKSUM_PARTIAL: only the pseudo header counts) and
 * keeps the sum of the whole frame (CHECKSUM_COMPLETE) true.  That sum does not mind a change which a checksum in the frame makes up for; an
 * IPv6 address has none, so it is written with RECOMPUTE. */
#ifndef WEFT_GATEWAY_REWRITE_H
#define WEFT_GATEWAY_REWRITE_H

#include "csum.h"
#include "gateway_quote.h"

/* Where the checksum of a transport header is; 0 if it has none that is known. */
static __always_inline __u32 l4_checksum_offset(__u8 protocol, bool is_ipv6)
{
	if (protocol == IPPROTO_TCP)
		return 16;
	if (protocol == IPPROTO_UDP)
		return 6;
	return protocol == (is_ipv6 ? WEFT_ICMPV6 : IPPROTO_ICMP) ? 2 : 0;
}

/* Writes s->to over one end of the packet: its address and, with 'has_port', its port or identifier.  Returns 0 or a reason. */
static __attribute__((noinline)) int rewrite_end(struct __sk_buff *skb, struct gateway_scratch *s, bool destination, bool has_port)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	const struct weft_packet *p = &s->p;
	__u32 l4 = ETH_HLEN + p->l4_offset, check, port, at;
	__u64 difference = 0, flags = 0;
	__u8 *ip = data + ETH_HLEN;
	__be16 before;
	__u8 type;
	int i;

	if (p->is_ipv6) {
		if ((void *)ip + 40 > end)
			return WEFT_DROP_KERNEL_REFUSED;
		for (i = 0; i < 16; i += 4)
			difference += (__u64)(__u32)~(destination ? LD32(ip, 24 + i) : LD32(ip, 8 + i)) + LD32(s->to.address, i);
		if (bpf_skb_store_bytes(skb, ETH_HLEN + (destination ? 24 : 8), s->to.address, 16, BPF_F_RECOMPUTE_CSUM))
			return WEFT_DROP_KERNEL_REFUSED;
	} else {
		if ((void *)ip + 20 > end)
			return WEFT_DROP_KERNEL_REFUSED;
		if (destination) {
			difference = (__u64)(__u32)~LD32(ip, 16) + LD32(s->to.address, 12);
			ST32(ip, 16, LD32(s->to.address, 12));
		} else {
			difference = (__u64)(__u32)~LD32(ip, 12) + LD32(s->to.address, 12);
			ST32(ip, 12, LD32(s->to.address, 12));
		}
		ST16(ip, 10, ~csum_fold((__u64)(__u16)~LD16(ip, 10) + difference));
	}
	check = l4_checksum_offset(p->protocol, p->is_ipv6);
	if (!p->has_l4 || !check)
		return 0;
	if (p->protocol == IPPROTO_UDP)
		flags = BPF_F_MARK_MANGLED_0;
	if (p->protocol != IPPROTO_ICMP && bpf_l4_csum_replace(skb, l4 + check, 0, csum_fold32(difference), flags | BPF_F_PSEUDO_HDR))
		return WEFT_DROP_KERNEL_REFUSED;
	if (!has_port)
		return 0;
	port = destination ? 2 : 0;
	if (p->protocol != IPPROTO_TCP && p->protocol != IPPROTO_UDP) {
		if (bpf_skb_load_bytes(skb, l4, &type, 1) || !icmp_is_echo(type, p->is_ipv6))
			return 0;
		port = 4;
	}
	at = l4 + port;
	if (bpf_skb_load_bytes(skb, at, &before, 2))
		return WEFT_DROP_KERNEL_REFUSED;
	if (before == s->to.port)
		return 0;
	difference = (__u64)(__u16)~before + s->to.port;
	if (bpf_skb_store_bytes(skb, at, &s->to.port, 2, 0) || bpf_l4_csum_replace(skb, l4 + check, 0, difference, flags))
		return WEFT_DROP_KERNEL_REFUSED;
	return 0;
}

/* Writes s->quote_to over one end of the packet that the error quotes, and makes the error's checksum follow.  Returns 0 or a reason. */
static __attribute__((noinline)) int rewrite_quote(struct __sk_buff *skb, struct gateway_scratch *s, bool destination, bool has_port)
{
	struct gateway_quote *q = &s->quote;
	__u64 addresses = 0, covered, total = 0;
	bool is_ipv6 = s->p.is_ipv6, is_echo;
	__u32 check, port, at;
	__be16 before, after;
	int i;

	if (is_ipv6) {
		for (i = 0; i < 16; i += 4)
			addresses += (__u64)(__u32)~(destination ? LD32(q->ip, 24 + i) : LD32(q->ip, 8 + i)) + LD32(s->quote_to.address, i);
		if (bpf_skb_store_bytes(skb, q->ip_offset + (destination ? 24 : 8), s->quote_to.address, 16, 0))
			return WEFT_DROP_KERNEL_REFUSED;
		total = addresses;
	} else {
		addresses = (__u64)(__u32)~(destination ? LD32(q->ip, 16) : LD32(q->ip, 12)) + LD32(s->quote_to.address, 12);
		after = ~csum_fold((__u64)(__u16)~LD16(q->ip, 10) + addresses);
		if (bpf_skb_store_bytes(skb, q->ip_offset + (destination ? 16 : 12), s->quote_to.address + 12, 4, 0) ||
		    bpf_skb_store_bytes(skb, q->ip_offset + 10, &after, 2, 0))
			return WEFT_DROP_KERNEL_REFUSED;
	}
	if (q->has_l4) {
		check = l4_checksum_offset(q->protocol, is_ipv6);
		covered = q->protocol == IPPROTO_ICMP ? 0 : addresses;
		is_echo = q->protocol == (is_ipv6 ? WEFT_ICMPV6 : IPPROTO_ICMP) && icmp_is_echo(q->l4[0], is_ipv6);
		if (has_port && (q->protocol == IPPROTO_TCP || q->protocol == IPPROTO_UDP || is_echo)) {
			port = is_echo ? 4 : destination ? 2 : 0;
			before = LD16(q->l4, port);
			if (before != s->quote_to.port) {
				covered += (__u64)(__u16)~before + s->quote_to.port;
				total += (__u64)(__u16)~before + s->quote_to.port;
				if (bpf_skb_store_bytes(skb, q->l4_offset + port, &s->quote_to.port, 2, 0))
					return WEFT_DROP_KERNEL_REFUSED;
			}
		}
		if (covered && check && check + 2 <= q->l4_length) {
			at = q->l4_offset + check;
			if (bpf_skb_load_bytes(skb, at, &before, 2))
				return WEFT_DROP_KERNEL_REFUSED;
			after = before;
			if (q->protocol != IPPROTO_UDP || before) {
				after = ~csum_fold((__u64)(__u16)~before + 0xffff + covered);
				if (q->protocol == IPPROTO_UDP && !after)
					after = 0xffff;
				if (bpf_skb_store_bytes(skb, at, &after, 2, 0))
					return WEFT_DROP_KERNEL_REFUSED;
			}
			total += (__u64)(__u16)~before + after;
		}
	}
	if (total && bpf_l4_csum_replace(skb, ETH_HLEN + s->p.l4_offset + 2, 0, csum_fold32(total), 0))
		return WEFT_DROP_KERNEL_REFUSED;
	return 0;
}

/* One hop less; the caller knows that it is above 1. */
static __always_inline int rewrite_hop(struct __sk_buff *skb, const struct weft_packet *p)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u8 hops = p->ttl - 1;

	if (p->is_ipv6)
		return bpf_skb_store_bytes(skb, ETH_HLEN + 7, &hops, 1, BPF_F_RECOMPUTE_CSUM) ? WEFT_DROP_KERNEL_REFUSED : 0;
	if (data + ETH_HLEN + 20 > end)
		return WEFT_DROP_KERNEL_REFUSED;
	ipv4_decrement_ttl(data + ETH_HLEN);
	return 0;
}

#endif
