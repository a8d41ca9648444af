/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* ARP (RFC 826): requests are answered here, from the tables; nothing of it crosses a port. */
#ifndef WEFT_ARP_H
#define WEFT_ARP_H

#include "antispoof.h"
#include "drops.h"

#define ARP_FRAME_LEN 42

/* Offsets in the frame. */
#define ARP_SENDER_MAC 22
#define ARP_SENDER_IP 28
#define ARP_TARGET_MAC 32
#define ARP_TARGET_IP 38

/* Judges an ARP frame and, for a question that has an answer, turns it into the reply.  Returns 0 (REPLY) or a reason.  A program of
 * its own to the verifier: its stack is none of the fast path's. */
__attribute__((noinline)) int arp_answer(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u8 sender[WEFT_ADDR_LEN] __attribute__((aligned(8))), target[WEFT_ADDR_LEN] __attribute__((aligned(8)));
	const struct weft_subnet *subnet;
	const struct weft_port *port;
	struct weft_target *record;
	__u32 ifindex = skb->ifindex;
	__u32 head;
	__u16 tail;

	port = bpf_map_lookup_elem(&map_port, &ifindex);
	if (!port)
		return WEFT_DROP_NO_PORT;
	if (data + ARP_FRAME_LEN > end)
		return WEFT_DROP_TRUNCATED_ARP;
	/* hardware type 1, protocol 0x0800, lengths 6 and 4 */
	if (LD32(data, 14) != bpf_htonl(0x00010800) || LD16(data, 18) != bpf_htons(0x0604))
		return WEFT_DROP_MALFORMED_ARP;
	if (!mac_equal(data + ARP_SENDER_MAC, port->mac))
		return WEFT_DROP_ARP_SENDER_SPOOFED;
	addr_set_ipv4(sender, LD32(data, ARP_SENDER_IP));
	addr_set_ipv4(target, LD32(data, ARP_TARGET_IP));
	if (LD32(sender, 12) != 0 && !sender_is_port(port, skb->ifindex, sender))
		return WEFT_DROP_ARP_SENDER_SPOOFED;
	if (LD16(data, 20) != bpf_htons(1))
		return WEFT_DROP_ARP_NOT_A_REQUEST;
	if (LD32(sender, 12) == LD32(target, 12))
		return WEFT_DROP_ARP_ANNOUNCEMENT;

	subnet = bpf_map_lookup_elem(&map_subnet, &port->vsid);
	if (subnet && addr_equal(subnet->gateway4, target)) {
		head = gateway_mac_head(port->vsid);
		tail = gateway_mac_tail(port->vsid);
	} else {
		record = lookup_ca(port->network_id, target);
		if (!record || record->kind == WEFT_TARGET_DENY || record->vsid != port->vsid || target_is_port(record, ifindex))
			return WEFT_DROP_ARP_TARGET_UNKNOWN;
		head = LD32(record->mac, 0);
		tail = LD16(record->mac, 4);
	}

	if (skb->len != ARP_FRAME_LEN) {
		int reason = weft_cut(skb, ARP_FRAME_LEN);

		if (reason)
			return reason;
		data = (void *)(long)skb->data;
		end = (void *)(long)skb->data_end;
		if (data + ARP_FRAME_LEN > end)
			return WEFT_DROP_KERNEL_REFUSED;
	}
	mac_copy(data, port->mac);
	ST32(data, 6, head);
	ST16(data, 10, tail);
	ST16(data, 20, bpf_htons(2));
	ST32(data, ARP_SENDER_MAC, head);
	ST16(data, ARP_SENDER_MAC + 4, tail);
	ST32(data, ARP_SENDER_IP, LD32(target, 12));
	mac_copy(data + ARP_TARGET_MAC, port->mac);
	ST32(data, ARP_TARGET_IP, LD32(sender, 12));
	return 0;
}

#endif
