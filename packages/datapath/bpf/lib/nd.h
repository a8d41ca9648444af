/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* IPv6 neighbour discovery (RFC 4861): solicitations are answered here, from the tables; nothing of it crosses a port. */
#ifndef WEFT_ND_H
#define WEFT_ND_H

#include "antispoof.h"
#include "csum.h"
#include "drops.h"
#include "ipv6.h"

#define ND_OPTION_SOURCE_LINK_ADDRESS 1
#define ND_OPTION_TARGET_LINK_ADDRESS 2
#define ND_OPTION_NONCE 14 /* RFC 7527 */

#define ND_SOLICITED_OVERRIDE 0x60
#define ND_ROUTER 0x80

/* What a neighbour solicitation is answered with: the whole frame, behind two bytes that align it. */
struct nd_reply {
	__u16 pad;
	__u8 eth[ETH_HLEN];
	__u8 ip[40];
	__u8 na[24];
	__u8 option[8];
} __attribute__((aligned(8)));

#define ND_REPLY_LEN 86

/* Checks one 8-byte option. */
static __always_inline int nd_check_option(const __u8 *option, const void *end, const struct weft_port *port)
{
	if ((const void *)option + 8 > end || option[1] != 1)
		return WEFT_DROP_MALFORMED_ND;
	if (option[0] == ND_OPTION_SOURCE_LINK_ADDRESS)
		return mac_equal(option + 2, port->mac) ? 0 : WEFT_DROP_ND_SENDER_SPOOFED;
	return option[0] == ND_OPTION_NONCE ? 0 : WEFT_DROP_MALFORMED_ND;
}

/* The checks of RFC 4861 section 7.1.1 and of the options, for the solicitation at 'ns'. */
static __always_inline int nd_check_solicitation(const __u8 *ns, const void *end, __u32 length, const struct weft_port *port)
{
	int reason;

	if (length != 24 && length != 32 && length != 40)
		return WEFT_DROP_MALFORMED_ND;
	if ((const void *)ns + 24 > end || ns[1] != 0 || ns[8] == 0xff)
		return WEFT_DROP_MALFORMED_ND;
	if (length >= 32) {
		reason = nd_check_option(ns + 24, end, port);
		if (reason)
			return reason;
	}
	if (length == 40) {
		reason = nd_check_option(ns + 32, end, port);
		if (reason)
			return reason;
		if (ns[24] == ns[32])
			return WEFT_DROP_MALFORMED_ND;
	}
	return 0;
}

static __always_inline void nd_build_advertisement(struct nd_reply *r, const void *asker_mac, const void *target,
						   const void *asker, __u32 mac_head, __u16 mac_tail, __u8 flags)
{
	__u64 sum = 0;
	int i;

	__builtin_memset(r, 0, sizeof(*r));
	mac_copy_to_stack(r->eth, asker_mac);
	ST32(r->eth, 6, mac_head);
	ST16(r->eth, 10, mac_tail);
	ST16(r->eth, 12, bpf_htons(ETH_P_IPV6));
	r->ip[0] = 0x60;
	ST16(r->ip, 4, bpf_htons(sizeof(r->na) + sizeof(r->option)));
	r->ip[6] = WEFT_ICMPV6;
	r->ip[7] = 255;
	addr_copy(r->ip + 8, target);
	addr_copy(r->ip + 24, asker);
	r->na[0] = 136;
	r->na[4] = flags;
	addr_copy(r->na + 8, target);
	r->option[0] = ND_OPTION_TARGET_LINK_ADDRESS;
	r->option[1] = 1;
	ST16(r->option, 2, mac_head);
	ST16(r->option, 4, mac_head >> 16);
	ST16(r->option, 6, mac_tail);

	/* Pseudo header (RFC 8200 section 8.1), then the message: addresses and message lie side by side from byte 8 of the IP header. */
	for (i = 8; i < 40 + 32; i += 2)
		sum += LD16(r->ip, i);
	sum += bpf_htons(sizeof(r->na) + sizeof(r->option)) + bpf_htons(WEFT_ICMPV6);
	ST16(r->na, 2, ~csum_fold(sum));
}

/* Why an ND message of this type, other than a solicitation, is dropped. */
static __always_inline int nd_reason(__u8 type)
{
	switch (type) {
	case 133:
		return WEFT_DROP_ND_ROUTER_SOLICITATION;
	case 134:
		return WEFT_DROP_ROUTER_ADVERTISEMENT_NOT_ALLOWED;
	case 136:
		return WEFT_DROP_ND_ADVERTISEMENT;
	}
	return WEFT_DROP_ND_REDIRECT_NOT_ALLOWED;
}

/* Judges the ND message at byte 'l4_offset' of the IPv6 packet (checked, and cut to its length) and, for a question that has an answer,
 * turns it into the reply.  Returns 0 (REPLY) or a reason.  A program of its own to the verifier: its stack is none of the fast path's. */
__attribute__((noinline)) int nd_answer(struct __sk_buff *skb, __u32 l4_offset)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	const __u8 *ip = data + ETH_HLEN, *ns = data + ETH_HLEN + (l4_offset & 63);
	__u8 source[WEFT_ADDR_LEN] __attribute__((aligned(8))), target[WEFT_ADDR_LEN] __attribute__((aligned(8)));
	const struct weft_subnet *subnet;
	const struct weft_target *record;
	const struct weft_port *port;
	__u32 ifindex = skb->ifindex;
	__u8 flags = ND_SOLICITED_OVERRIDE;
	struct nd_reply reply;
	__u32 head;
	__u16 tail;
	int reason;

	port = bpf_map_lookup_elem(&map_port, &ifindex);
	if (!port)
		return WEFT_DROP_NO_PORT;
	if ((void *)ip + 40 > end || (void *)ns + 1 > end)
		return WEFT_DROP_MALFORMED_ND;
	if (*ns != 135)
		return nd_reason(*ns);
	if ((void *)ns + 24 > end || ip[7] != 255)
		return WEFT_DROP_MALFORMED_ND;
	reason = nd_check_solicitation(ns, end, skb->len - ETH_HLEN - l4_offset, port);
	if (reason)
		return reason;
	addr_copy(source, ip + 8);
	addr_copy(target, ns + 8);
	if (addr_is_zero(source))
		return WEFT_DROP_ND_DAD_PROBE;
	if (!ipv6_is_link_local(source) && !sender_is_port(port, ifindex, source))
		return WEFT_DROP_ND_SENDER_SPOOFED;

	subnet = bpf_map_lookup_elem(&map_subnet, &port->vsid);
	if (subnet && !addr_is_zero(target) && addr_equal(subnet->gateway6, target)) {
		head = gateway_mac_head(port->vsid);
		tail = gateway_mac_tail(port->vsid);
		flags |= ND_ROUTER;
	} else {
		record = lookup_ca(port->network_id, target);
		if (!record || record->kind == WEFT_TARGET_DENY || record->vsid != port->vsid || target_is_port(record, ifindex))
			return WEFT_DROP_ND_TARGET_UNKNOWN;
		head = LD32(record->mac, 0);
		tail = LD16(record->mac, 4);
	}
	nd_build_advertisement(&reply, port->mac, target, source, head, tail, flags);
	reason = weft_cut(skb, ND_REPLY_LEN);
	if (reason)
		return reason;
	return bpf_skb_store_bytes(skb, 0, reply.eth, ND_REPLY_LEN, 0) ? WEFT_DROP_KERNEL_REFUSED : 0;
}

#endif
