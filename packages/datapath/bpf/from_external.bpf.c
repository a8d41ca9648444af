/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* from_external: tc ingress of the devices that lead to physical networks beyond a gateway.
 *
 *   wire ---> [NIC] --from_external--> host's stack            (PASS: not for an external address of ours)
 *                                  \-> back out                (REPLY: ARP, ND; to the new owner while a hand-over lasts)
 *                                  \-> gateway_in
 *
 * docs/gateway-contract.md section 6, steps 1 to 3. */
#include "lib/arp.h"
#include "lib/gateway_call.h"
#include "lib/gateway_scratch.h"
#include "lib/gateway_slot.h"
#include "lib/gateway_tables.h"
#include "lib/nd.h"

/* Not a reason: the frame is the host's own affair. */
#define EXTERNAL_PASS (-1)

static __always_inline bool mac_is_broadcast(const void *mac)
{
	return LD32(mac, 0) == 0xffffffff && LD16(mac, 4) == 0xffff;
}

/* ARP about an external address of ours.  Returns 0 (REPLY), EXTERNAL_PASS or a reason. */
static __attribute__((noinline)) int external_arp(struct __sk_buff *skb, const struct weft_external *x)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u8 sender[WEFT_ADDR_LEN] __attribute__((aligned(8))), target[WEFT_ADDR_LEN] __attribute__((aligned(8)));
	__u32 segment = x->segment, asker_head;
	__u16 operation, asker_tail;
	bool is_own;

	if (data + ARP_FRAME_LEN > end || (!mac_equal(data, x->mac) && !mac_is_broadcast(data)))
		return EXTERNAL_PASS;
	if (LD32(data, 14) != bpf_htonl(0x00010800) || LD16(data, 18) != bpf_htons(0x0604))
		return EXTERNAL_PASS;
	operation = bpf_ntohs(LD16(data, 20));
	if ((operation != 1 && operation != 2) || mac_is_group(data + ARP_SENDER_MAC))
		return EXTERNAL_PASS;
	addr_set_ipv4(sender, LD32(data, ARP_SENDER_IP));
	addr_set_ipv4(target, LD32(data, ARP_TARGET_IP));
	is_own = mac_equal(data + ARP_SENDER_MAC, x->mac);
	asker_head = LD32(data, ARP_SENDER_MAC);
	asker_tail = LD16(data, ARP_SENDER_MAC + 4);
	if (gateway_is_ours(segment, sender))
		return is_own ? EXTERNAL_PASS : WEFT_DROP_EXTERNAL_ADDRESS_CONFLICT;
	if (operation != 1 || !gateway_is_ours(segment, target))
		return EXTERNAL_PASS;

	if (skb->len != ARP_FRAME_LEN) {
		int reason = weft_cut(skb, ARP_FRAME_LEN);

		if (reason)
			return reason;
		data = (void *)(long)skb->data;
		end = (void *)(long)skb->data_end;
		if (data + ARP_FRAME_LEN > end)
			return WEFT_DROP_KERNEL_REFUSED;
	}
	ST32(data, 0, asker_head);
	ST16(data, 4, asker_tail);
	mac_copy(data + ETH_ALEN, x->mac);
	ST16(data, 20, bpf_htons(2));
	mac_copy(data + ARP_SENDER_MAC, x->mac);
	ST32(data, ARP_SENDER_IP, LD32(target, 12));
	ST32(data, ARP_TARGET_MAC, asker_head);
	ST16(data, ARP_TARGET_MAC + 4, asker_tail);
	ST32(data, ARP_TARGET_IP, LD32(sender, 12));
	return 0;
}

/* Neighbour discovery about an external address of ours (RFC 4861 sections 7.1, 7.2).  Returns 0 (REPLY), EXTERNAL_PASS (also if it is no such
 * message) or a reason. */
static __attribute__((noinline)) int external_neighbour(struct __sk_buff *skb, const struct weft_external *x)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u8 source[WEFT_ADDR_LEN] __attribute__((aligned(8))), target[WEFT_ADDR_LEN] __attribute__((aligned(8)));
	const __u8 *ip = data + ETH_HLEN, *message = data + ETH_HLEN + 40;
	__u32 segment = x->segment, length;
	struct nd_reply reply;
	__u16 asker_mac[3];
	int reason;

	if (data + ETH_HLEN + 40 + 24 > end)
		return EXTERNAL_PASS;
	if (!mac_equal(data, x->mac) && LD16(data, 0) != 0x3333)
		return EXTERNAL_PASS;
	length = bpf_ntohs(LD16(ip, 4));
	if (ip[0] >> 4 != 6 || ip[6] != WEFT_ICMPV6 || ip[7] != 255 || length < 24 || length > skb->len - ETH_HLEN - 40)
		return EXTERNAL_PASS;
	if ((message[0] != 135 && message[0] != 136) || message[1] != 0)
		return EXTERNAL_PASS;
	addr_copy(target, message + 8);
	addr_copy(source, ip + 8);
	if (addr_is_mapped(target) || !gateway_is_ours(segment, target))
		return EXTERNAL_PASS;
	if (mac_equal(data + ETH_ALEN, x->mac) || mac_is_group(data + ETH_ALEN) || source[0] == 0xff || addr_is_mapped(source))
		return EXTERNAL_PASS;
	if (message[0] == 136 || addr_is_zero(source) || gateway_is_ours(segment, source))
		return WEFT_DROP_EXTERNAL_ADDRESS_CONFLICT;
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	if (data + ETH_HLEN > end)
		return WEFT_DROP_KERNEL_REFUSED;
	mac_copy_to_stack(asker_mac, data + ETH_ALEN);
	nd_build_advertisement(&reply, asker_mac, target, source, LD32(x->mac, 0), LD16(x->mac, 4), ND_ROUTER | ND_SOLICITED_OVERRIDE);
	reason = weft_cut(skb, ND_REPLY_LEN);
	if (reason)
		return reason;
	return bpf_skb_store_bytes(skb, 0, reply.eth, ND_REPLY_LEN, 0) ? WEFT_DROP_KERNEL_REFUSED : 0;
}

/* Says whether a packet may come from 'p->source' at all. */
static __always_inline bool external_source_is_possible(const struct weft_packet *p, __u32 segment)
{
	if (p->is_ipv6 ? ipv6_is_not_unicast(p->source.ca) || ipv6_is_link_local(p->source.ca) : ipv4_is_not_unicast(p->source.ca))
		return false;
	return !gateway_is_ours(segment, p->source.ca);
}

/* Step 3: 0 if the shard is ours, EXTERNAL_PASS if the frame was turned towards the new owner (REPLY), or a reason. */
static __always_inline int external_owner(struct __sk_buff *skb, const struct weft_external *x, __u32 shard)
{
	const struct weft_gateway_shard *own = bpf_map_lookup_elem(&map_gateway_shard, &shard);
	__u64 now = weft_now();
	void *data;

	if (!own)
		return WEFT_DROP_GATEWAY_NOT_OWNER;
	if (likely(now < own->deadline_boot_ns))
		return 0;
	if (now >= own->handover_until_boot_ns || !(LD32(own->handover_mac, 0) | LD16(own->handover_mac, 4)))
		return WEFT_DROP_GATEWAY_NOT_OWNER;
	data = (void *)(long)skb->data;
	if (data + ETH_HLEN > (void *)(long)skb->data_end)
		return WEFT_DROP_KERNEL_REFUSED;
	mac_copy(data, own->handover_mac);
	mac_copy(data + ETH_ALEN, x->mac);
	return EXTERNAL_PASS;
}

static __always_inline int external_packet(struct __sk_buff *skb, struct gateway_scratch *s, struct gateway_verdict *g,
					   const struct weft_external *x, bool is_ipv6)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	const struct weft_external_address *address;
	const struct weft_external_prefix *prefix = NULL;
	const struct weft_gateway_network *network;
	struct weft_packet *p = &s->p;
	__u32 shard;
	int reason;

	if (data + ETH_HLEN + (is_ipv6 ? 40 : 20) > end || !mac_equal(data, x->mac))
		return EXTERNAL_PASS;
	if (is_ipv6)
		addr_copy(s->key.ca, data + ETH_HLEN + 24);
	else
		addr_set_ipv4(s->key.ca, LD32(data, ETH_HLEN + 16));
	if (is_ipv6 && addr_is_mapped(s->key.ca))
		return EXTERNAL_PASS;
	g->segment = x->segment;
	address = gateway_address(g->segment, s->key.ca);
	if (!address) {
		prefix = gateway_prefix(g->segment, s->key.ca);
		if (!prefix)
			return EXTERNAL_PASS;
	}
	reason = gateway_read(skb, p);
	if (reason)
		return reason;
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	if (is_ipv6 && ipv6_is_nd(data + ETH_HLEN + (p->l4_offset & 63), end, p))
		return EXTERNAL_PASS;
	if (!external_source_is_possible(p, g->segment))
		return WEFT_DROP_EXTERNAL_SOURCE_INVALID;
	if (address) {
		shard = address->shard;
		g->cb[0] = ENTER_ADDRESS;
	} else {
		g->cb[0] = prefix->kind == WEFT_PREFIX_FORWARD ? ENTER_PREFIX : ENTER_NPT;
		g->cb[2] = prefix->network_id;
		if (prefix->kind != WEFT_PREFIX_FORWARD && prefix->kind != WEFT_PREFIX_NPT)
			return WEFT_DROP_EXTERNAL_ADDRESS_DENIED;
		network = gateway_network(g->cb[2]);
		if (!network || network->segment != g->segment)
			return WEFT_DROP_GATEWAY_NETWORK_UNKNOWN;
		shard = network->shard;
		g->cb[3] = network->vsid;
	}
	g->cb[1] = g->segment;
	if (p->length + ETH_HLEN < skb->len) {
		reason = weft_cut(skb, p->length + ETH_HLEN);
		if (reason)
			return reason;
	}
	reason = external_owner(skb, x, shard);
	if (reason == EXTERNAL_PASS) {
		g->v.action = WEFT_ACTION_REPLY;
		return 0;
	}
	if (reason)
		return reason;
	g->call = GATEWAY_PROGRAM_IN + 1;
	return 0;
}

/* A function of its own: its stack and its registers are none of the short way's. */
static __attribute__((noinline)) int external_judge(struct __sk_buff *skb, struct gateway_scratch *s)
{
	struct gateway_verdict *g = &s->g;
	__u32 ifindex = skb->ifindex;
	const struct weft_external *x;
	void *data, *end;
	__be16 type;
	int reason;

	x = bpf_map_lookup_elem(&map_external, &ifindex);
	if (!x || skb->vlan_present || weft_pull(skb, WEFT_HEADERS_LEN))
		return EXTERNAL_PASS;
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	if (data + ETH_HLEN > end)
		return EXTERNAL_PASS;
	g->v.ifindex = ifindex;
	type = LD16(data, 12);
	if (type == bpf_htons(ETH_P_ARP)) {
		g->v.action = WEFT_ACTION_REPLY;
		return external_arp(skb, x);
	}
	if (type == bpf_htons(ETH_P_IP))
		return external_packet(skb, s, g, x, false);
	if (type != bpf_htons(ETH_P_IPV6))
		return EXTERNAL_PASS;
	reason = external_neighbour(skb, x);
	if (reason == EXTERNAL_PASS)
		return external_packet(skb, s, g, x, true);
	g->v.action = WEFT_ACTION_REPLY;
	return reason;
}

/* What was not decided before. Returns what the program returns. Not a function of its own: it ends in a tail call. */
static __always_inline int external_anew(struct __sk_buff *skb, __u64 generation)
{
	struct gateway_scratch *s = gateway_scratch();
	struct gateway_verdict *g;
	int reason;

	if (!s)
		return TC_ACT_UNSPEC;
	g = &s->g;
	__builtin_memset(g, 0, sizeof(*g));
	s->generation = generation;
	reason = external_judge(skb, s);
	if (!reason && g->call) {
		gateway_call(skb, GATEWAY_PROGRAM_IN, g->cb[0], g->cb[1], g->cb[2], g->cb[3]);
		reason = WEFT_DROP_KERNEL_REFUSED;
	}
	if (reason == EXTERNAL_PASS) {
		g->v.action = WEFT_ACTION_PASS;
		reason = 0;
	}
	if (unlikely(reason))
		return gateway_refuse(skb, g, reason);
	verdict_publish(skb, &g->v, 0);
	return g->v.action == WEFT_ACTION_PASS ? TC_ACT_UNSPEC : bpf_redirect(g->v.ifindex, 0);
}

SEC("tc")
int from_external(struct __sk_buff *skb)
{
	struct weft_verdict v = { .generation = flow_generation() };
	struct weft_outer outer = {};
	int reason;

	reason = gateway_in_known(skb, &v, &outer);
	if (reason == GATEWAY_UNCHANGED)
		return external_anew(skb, v.generation);
	if (!reason && v.action == WEFT_ACTION_TUNNEL)
		reason = encap_push_outer(skb, &outer, &v);
	if (unlikely(reason)) {
		drops_count(skb, v.vsid, reason);
		v.action = WEFT_ACTION_DROP;
	}
	verdict_publish(skb, &v, reason);
	switch (v.action) {
	case WEFT_ACTION_TUNNEL:
		return encap_send(skb, &v);
	case WEFT_ACTION_LOCAL:
		return deliver(skb, &v);
	}
	return TC_ACT_SHOT;
}
