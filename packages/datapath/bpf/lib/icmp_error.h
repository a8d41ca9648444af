/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Telling a VM why its packet was dropped: ICMP "time exceeded" and "packet too big" (RFC 792, RFC 1191, RFC 4443).
 *
 *   the frame      Ethernet | packet ..........................................
 *   cut            Ethernet | quote: at most 128 bytes        (GSO ends here too)
 *   room in front  Ethernet | IP | ICMP | quote
 *
 * An unfinished checksum moves along into the quote, where the kernel may or may not finish it later.  So that the ICMP checksum is
 * right in both cases, the field gets the value that finishing leaves alone: f = -(f + rest), so f = -rest / 2 modulo 65535. */
#ifndef WEFT_ICMP_ERROR_H
#define WEFT_ICMP_ERROR_H

#include "config.h"
#include "csum.h"
#include "error_limit.h"
#include "ipv4.h"
#include "ipv6.h"
#include "offload.h"

#define QUOTE_LEN 128

struct icmp_error {
	__u16 pad; /* aligns what follows */
	__u8 eth[ETH_HLEN];
	__u8 ip[40]; /* IPv4 uses the last 20 bytes */
	__u8 icmp[8];
	__u8 quote[QUOTE_LEN]; /* zero-filled */
} __attribute__((aligned(8)));

/* Where the error is put together: too much for the stack beside the fast path's.  Programs don't interrupt each other on a CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct icmp_error);
} map_icmp_error SEC(".maps");

static __always_inline struct icmp_error *icmp_error_scratch(void)
{
	__u32 zero = 0;
	struct icmp_error *e = bpf_map_lookup_elem(&map_icmp_error, &zero);

	if (e)
		__builtin_memset(e, 0, sizeof(*e));
	return e;
}

/* Says whether the packet of the frame may cause an error: no ICMP error, no fragment without a transport header. */
static __always_inline bool icmp_error_allowed(const struct icmp_error *e, bool is_ipv6)
{
	const __u8 *q = e->quote;
	__u32 header;
	__u8 type;

	if (!is_ipv6) {
		if (LD16(q, 6) & bpf_htons(0x1fff))
			return false;
		header = (q[0] & 15) * 4;
		if (q[9] != IPPROTO_ICMP || header > 60)
			return q[9] != IPPROTO_ICMP;
		type = q[header & 63];
		return type == 0 || type == 8 || type == 13 || type == 14;
	}
	if (q[6] == IPPROTO_FRAGMENT) {
		if (LD16(q, 42) & bpf_htons(0xfff8))
			return false;
		return q[40] != WEFT_ICMPV6 || q[48] >= 128;
	}
	return q[6] != WEFT_ICMPV6 || q[40] >= 128;
}

/* Makes an unfinished checksum at 'start', 'field' (bytes of the quote) one that finishing leaves alone.  Returns the field's value.
 * No branches in the loop: each would be two ways for the verifier (kernel 6.1 gives up after a million instructions). */
static __always_inline __u16 icmp_error_fixed_point(struct icmp_error *e, __u32 start, __u32 field)
{
	__u64 rest = 0, before;
	__u32 i;

	ST16(e->quote, field & (QUOTE_LEN - 2), 0);
#pragma clang loop unroll(disable)
	for (i = 0; i < QUOTE_LEN; i += 2) {
		before = (__u64)i - start;
		barrier_var(before); /* else the compiler sees a comparison, and branches */
		before >>= 63; /* 1 ahead of start */
		rest += LD16(e->quote, i) & (before - 1);
	}
	rest = 65535 - csum_fold(rest);
	return (rest & 1 ? rest + 65535 : rest) / 2;
}

static __always_inline void icmp_error_ipv4(struct icmp_error *e, const __u8 *gateway, __u32 quote, __u8 type, __u8 code, __u32 mtu)
{
	__u8 *ip = e->ip + 20;

	ST32(ip, 0, 0x45 | bpf_htons(28 + quote) << 16);
	ST32(ip, 8, 64 | IPPROTO_ICMP << 8);
	ST32(ip, 12, LD32(gateway, 12));
	ST32(ip, 16, LD32(e->quote, 12));
	ST16(ip, 10, ~csum_fold(csum_ipv4_header(ip)));
	e->icmp[0] = type;
	e->icmp[1] = code;
	ST16(e->icmp, 6, bpf_htons(mtu));
}

static __always_inline __u64 icmp_error_ipv6(struct icmp_error *e, const __u8 *gateway, __u32 quote, __u8 type, __u32 mtu)
{
	__u8 *ip = e->ip;
	__u64 sum = bpf_htonl(8 + quote) + (__u64)bpf_htonl(WEFT_ICMPV6);
	int i;

	ip[0] = 0x60;
	ST16(ip, 4, bpf_htons(8 + quote));
	ip[6] = WEFT_ICMPV6;
	ip[7] = 64;
	addr_copy(ip + 8, gateway);
	addr_copy(ip + 24, e->quote + 8);
	e->icmp[0] = type;
	ST32(e->icmp, 4, bpf_htonl(mtu));
	for (i = 8; i < 40; i += 2)
		sum += LD16(ip, i);
	return sum;
}

/* Turns the frame, whose IP packet has been checked and cut to its length, into the error of that packet: "too big" with the MTU, or "time exceeded" if
 * that is 0. 'e' is the scratch, with the MAC addresses of the error; the error comes from the address of its family, of which zero is none.
 * Returns the error's IP length, or 0 if none is to be sent: then the frame may be spoilt. */
static __always_inline __u32 icmp_error_make(struct __sk_buff *skb, struct icmp_error *e, const __u8 *source4, const __u8 *source6, __u32 mtu)
{
	__u32 quote = skb->len - ETH_HLEN, room;
	__s32 start, field, extra = 0;
	bool is_ipv6;
	__u64 sum = 0;
	int i;

	if (skb->len < ETH_HLEN + 20 || bpf_skb_load_bytes(skb, 12, &e->eth[12], 2))
		return 0;
	is_ipv6 = LD16(e->eth, 12) == bpf_htons(ETH_P_IPV6);
	if (quote > QUOTE_LEN)
		quote = QUOTE_LEN;
	if (quote < 20)
		return 0;
	barrier_var(quote); /* the verifier of 6.1 does not learn "at least 1" from the comparison */
	if (bpf_skb_load_bytes(skb, ETH_HLEN, e->quote, ((quote - 1) & (QUOTE_LEN - 1)) + 1))
		return 0;
	if (!icmp_error_allowed(e, is_ipv6) || addr_is_zero(is_ipv6 ? source6 : source4))
		return 0;

	if ((skb->len > ETH_HLEN + quote || skb->gso_size) && bpf_skb_change_tail(skb, ETH_HLEN + quote, 0)) {
		/* The kernel cuts nothing that it still knows as encapsulated (from a peer behind a veth).  So the packet's front goes instead,
		 * and all is written anew; not if a checksum is to be written there later. */
		if (skb->gso_size || offload_position(skb, &start, &field))
			return 0;
		extra = skb->len - ETH_HLEN - quote;
	} else if (offload_position(skb, &start, &field)) {
		start -= ETH_HLEN;
		field -= ETH_HLEN;
		if (start < 0 || (start | field) & 1 || field > QUOTE_LEN - 2)
			return 0;
		ST16(e->quote, field & (QUOTE_LEN - 2), icmp_error_fixed_point(e, start, field));
		if (bpf_skb_store_bytes(skb, ETH_HLEN + field, e->quote + (field & (QUOTE_LEN - 2)), 2, 0))
			return 0;
	}

	if (is_ipv6) {
		sum = icmp_error_ipv6(e, source6, quote, mtu ? 2 : 3, mtu);
		room = 48;
	} else {
		icmp_error_ipv4(e, source4, quote, mtu ? 3 : 11, mtu ? 4 : 0, mtu);
		room = 28;
	}
	for (i = 0; i < 8; i += 2)
		sum += LD16(e->icmp, i);
	for (i = 0; i < QUOTE_LEN; i += 2)
		sum += LD16(e->quote, i);
	ST16(e->icmp, 2, ~csum_fold(sum));

	if (bpf_skb_adjust_room(skb, (__s32)room - extra, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_NO_CSUM_RESET))
		return 0;
	if (extra) {
		barrier_var(quote);
		if (bpf_skb_store_bytes(skb, ETH_HLEN + room, e->quote, ((quote - 1) & (QUOTE_LEN - 1)) + 1, 0))
			return 0;
	}
	if (bpf_skb_store_bytes(skb, 0, e->eth, ETH_HLEN, 0))
		return 0;
	if (is_ipv6 ? bpf_skb_store_bytes(skb, ETH_HLEN, e->ip, 48, 0) : bpf_skb_store_bytes(skb, ETH_HLEN, e->ip + 20, 28, 0))
		return 0;
	return room + quote;
}

/* As icmp_error_make, for the frame of a port, from its subnet's gateway.  Returns 0, or a non-zero value if none is to be sent: then the frame is
 * only dropped.  A program of its own to the verifier. */
__attribute__((noinline)) int icmp_error(struct __sk_buff *skb, __u32 reason)
{
	__u32 ifindex = skb->ifindex, mtu;
	struct icmp_error *e;
	const struct weft_subnet *subnet;
	const struct weft_port *port;

	if (!error_is_told(WEFT_ERROR_PORT, ifindex)) /* before the work */
		return -1;
	e = icmp_error_scratch();
	port = bpf_map_lookup_elem(&map_port, &ifindex);
	if (!port || !e)
		return -1;
	subnet = bpf_map_lookup_elem(&map_subnet, &port->vsid);
	if (!subnet)
		return -1;
	mac_copy_to_stack(e->eth, port->mac);
	mac_set_gateway(e->eth + ETH_ALEN, port->vsid);
	mtu = reason == WEFT_DROP_PACKET_TOO_BIG ? port->mtu : 0;
	return icmp_error_make(skb, e, subnet->gateway4, subnet->gateway6, mtu) ? 0 : -1;
}

#endif
