/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The inner frame of a tunnel: one check for both ways in (stripped here, or by the VXLAN device), then strip or send on. */
#ifndef WEFT_DECAP_H
#define WEFT_DECAP_H

#include "antispoof.h"
#include "encap.h"
#include "flow_cache.h"
#include "ipv4.h"
#include "ipv6.h"
#include "offload.h"
#include "vxlan.h"

/* What the tunnel said: outer source, VNI, ECN; and how many bytes of inner frame there are. */
struct weft_tunnel {
	__be32 source;
	__u32 vni;
	__u32 length;
	__u8 ecn;
};

#define ECN_CE 3

/* Kernel 6.3; not in the headers of all that build this. */
#define ADJ_ROOM_DECAP_L3_IPV4 (1ULL << 7)
#define ADJ_ROOM_DECAP_L3_IPV6 (1ULL << 8)

/* Judges the inner Ethernet frame at byte 'offset' (a constant) of the frame.  Fills '*p' and '*v' (LOCAL, or TUNNEL for a port that
 * has moved on); changes nothing.  Returns 0 or a reason. */
static __always_inline int tunnel_check(struct __sk_buff *skb, const __u32 offset, const struct weft_tunnel *t, struct weft_packet *p,
					struct weft_verdict *v)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	const struct weft_target *home, *target;
	const struct weft_subnet *subnet;
	const void *eth = data + offset;
	int reason, hand;
	__be16 type;

	subnet = bpf_map_lookup_elem(&map_subnet, &t->vni);
	if (!subnet || subnet->network_id == 0)
		return WEFT_DROP_UNKNOWN_VSID;
	v->vsid = t->vni;
	p->source.network_id = subnet->network_id;

	if (eth + ETH_HLEN > end)
		return WEFT_DROP_TRUNCATED_ETHERNET;
	type = LD16(eth, 12);
	reason = ethertype_check(type);
	if (reason)
		return reason;
	if (type == bpf_htons(ETH_P_IP)) {
		reason = ipv4_read(eth + ETH_HLEN, end, t->length - ETH_HLEN, skb->gso_size, p);
		if (reason)
			return reason;
		if (mac_is_group(eth) || ipv4_is_not_unicast(p->destination))
			return WEFT_DROP_NOT_UNICAST;
	} else if (type == bpf_htons(ETH_P_IPV6)) {
		reason = ipv6_read(eth + ETH_HLEN, end, t->length - ETH_HLEN, skb->gso_size, p);
		if (reason)
			return reason;
		if (unlikely(ipv6_is_nd(eth + ETH_HLEN + (p->l4_offset & 63), end, p)))
			return WEFT_DROP_ND_NOT_TUNNELLED;
		if (mac_is_group(eth) || ipv6_is_not_unicast(p->destination))
			return WEFT_DROP_NOT_UNICAST;
		if (ipv6_is_link_local(p->source.ca) || ipv6_is_link_local(p->destination))
			return WEFT_DROP_LINK_LOCAL_NOT_FORWARDED;
		if (addr_is_mapped(p->source.ca))
			return WEFT_DROP_SOURCE_ADDRESS_SPOOFED;
	} else {
		return WEFT_DROP_ETHERTYPE_NOT_ALLOWED;
	}

	home = lookup_home(&p->source);
	if (!home)
		return peer_reason(p->source.network_id, t->source);
	target = lookup_mac(t->vni, eth);
	hand = home_hand(home, t->source);
	if (unlikely(!hand)) {
		if (!target || !sent_on_by(target, t->source))
			return peer_reason(p->source.network_id, t->source);
		hand = WEFT_SECOND_HAND;
	}
	if (!mac_is_gateway(eth + ETH_ALEN, t->vni) && !(mac_equal(eth + ETH_ALEN, home->mac) && home->vsid == t->vni))
		return WEFT_DROP_SOURCE_MAC_NOT_AT_THIS_PEER;

	if (target && target->kind == WEFT_TARGET_LOCAL) {
		v->action = WEFT_ACTION_LOCAL;
		v->ifindex = target->ifindex_or_shard;
		v->peer = target->flags & WEFT_TARGET_VETH;
	} else if (target && target->kind == WEFT_TARGET_GATEWAY) {
		v->action = WEFT_ACTION_GATEWAY;
		v->ifindex = target->ifindex_or_shard; /* its shard */
		v->wire_vsid = t->vni;
		v->network_id = p->source.network_id;
		v->second_hand = hand != WEFT_FIRST_HAND;
	} else if (target && target->kind == WEFT_TARGET_REDIRECT) {
		if (hand != WEFT_FIRST_HAND)
			return WEFT_DROP_REDIRECT_LOOP;
		reason = encap_check(target->pa, p->length);
		if (reason)
			return reason;
		v->action = WEFT_ACTION_TUNNEL;
		v->pa = LD32(target->pa, 12);
		v->wire_vsid = t->vni;
	} else {
		return WEFT_DROP_NO_LOCAL_PORT;
	}
	if (!target_is_of_mac(target, t->vni, eth))
		return WEFT_DROP_NO_LOCAL_PORT;
	/* Second hand ends by the clock: not kept. */
	if ((v->action == WEFT_ACTION_LOCAL || v->action == WEFT_ACTION_GATEWAY) && hand == WEFT_FIRST_HAND)
		flow_keep_of_tunnel(eth, p, t->source, t->vni, v);
	return t->ecn == ECN_CE && p->ecn == 0 ? WEFT_DROP_ECN_CE_ON_NOT_ECT : 0;
}

/* As tunnel_check, if what is asked for has been decided before: then fills '*v' and returns true. Only for plain packets (brief.h) that
 * need no change; 'is_ipv6' says what came. */
static __always_inline bool tunnel_check_known(struct __sk_buff *skb, const __u32 offset, __be32 source, __u32 vni, __u32 length,
					       struct weft_verdict *v, bool *is_ipv6)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	const struct weft_tunnel_flow *flow;
	void *eth = data + offset, *ip = eth + ETH_HLEN;
	struct weft_brief b;

	if (!v->generation || ip > end || !brief_read(ip, end, LD16(eth, 12), length - ETH_HLEN, &b))
		return false;
	if (b.is_ipv6 ? ip + 40 > end || ipv6_is_not_unicast(ip + 24) || ipv6_is_link_local(ip + 24)
		      : ip + 20 > end || ipv4_is_not_unicast(ip + 4))
		return false;
	flow = flow_of_tunnel(eth, b.is_ipv6, source, vni, v->generation);
	if (!flow)
		return false;
	v->vsid = vni;
	v->action = flow->network_id ? WEFT_ACTION_GATEWAY : WEFT_ACTION_LOCAL;
	v->ifindex = flow->target_ifindex;
	v->peer = flow->peer;
	v->network_id = flow->network_id;
	v->wire_vsid = vni;
	*is_ipv6 = b.is_ipv6;
	return true;
}

/* RFC 6040 section 4.2: congestion met on the way is the inner packet's, too. */
static __always_inline int tunnel_propagate_ecn(struct __sk_buff *skb, const struct weft_tunnel *t, struct weft_packet *p)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct iphdr *ip = data + INNER_IP;
	__u16 before;
	__u8 head;

	if (likely(t->ecn != ECN_CE || p->ecn == ECN_CE))
		return 0;
	p->ecn = ECN_CE;
	if ((void *)(ip + 1) > end)
		return WEFT_DROP_KERNEL_REFUSED;
	if (p->is_ipv6) { /* not neutral to the sum of a CHECKSUM_COMPLETE frame, as the change of an IPv4 header is */
		head = *((__u8 *)ip + 1) | ECN_CE << 4;
		return bpf_skb_store_bytes(skb, INNER_IP + 1, &head, 1, BPF_F_RECOMPUTE_CSUM) ? WEFT_DROP_KERNEL_REFUSED : 0;
	}
	before = LD16(ip, 0);
	ip->tos |= ECN_CE;
	ip->check = csum_replace16(ip->check, before, LD16(ip, 0));
	return 0;
}

/* As decap_strip, before 6.3: no flag says that IPv6 comes out of IPv4.  So the 20 bytes that IPv6's header is longer by go off, too, and come
 * back as the room that a translation of protocols makes; what stood there is written anew. */
static __always_inline int decap_strip_ipv6_61(struct __sk_buff *skb)
{
	__u32 mac0, mac1, mac2, inner[5];
	void *data = (void *)(long)skb->data;

	if (data + INNER_IP + sizeof(inner) > (void *)(long)skb->data_end)
		return WEFT_DROP_KERNEL_REFUSED;
	mac0 = LD32(data, OUTER_LEN);
	mac1 = LD32(data, OUTER_LEN + 4);
	mac2 = LD32(data, OUTER_LEN + 8);
	for (int i = 0; i < 5; i++)
		inner[i] = LD32(data, INNER_IP + i * 4);
	bpf_csum_level(skb, BPF_CSUM_LEVEL_DEC);
	if (bpf_skb_adjust_room(skb, -(__s32)(OUTER_LEN + sizeof(inner)), BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_NO_CSUM_RESET) ||
	    bpf_skb_change_proto(skb, bpf_htons(ETH_P_IPV6), 0) ||
	    bpf_skb_store_bytes(skb, ETH_HLEN, inner, sizeof(inner), BPF_F_RECOMPUTE_CSUM))
		return WEFT_DROP_KERNEL_REFUSED;
	data = (void *)(long)skb->data;
	if (data + ETH_HLEN > (void *)(long)skb->data_end)
		return WEFT_DROP_KERNEL_REFUSED;
	ST32(data, 0, mac0);
	ST32(data, 4, mac1);
	ST32(data, 8, mac2);
	ST16(data, 12, bpf_htons(ETH_P_IPV6));
	return 0;
}

/* Takes the tunnel's headers off.  The inner Ethernet header goes where the outer one was. */
static __always_inline int decap_strip(struct __sk_buff *skb, bool is_ipv6)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u64 flags = is_ipv6 ? ADJ_ROOM_DECAP_L3_IPV6 : ADJ_ROOM_DECAP_L3_IPV4;
	__u32 mac0, mac1, mac2;

	if (cfg_kernel_61) {
		if (is_ipv6)
			return decap_strip_ipv6_61(skb);
		flags = 0;
	}
	if (data + INNER_IP > end)
		return WEFT_DROP_KERNEL_REFUSED;
	mac0 = LD32(data, OUTER_LEN);
	mac1 = LD32(data, OUTER_LEN + 4);
	mac2 = LD32(data, OUTER_LEN + 8);
	/* A NIC that verified the inner checksum counted the outer one, too: take that one back, else the guest trusts what nobody saw. */
	if (offload_is_verified(skb))
		bpf_csum_level(skb, BPF_CSUM_LEVEL_DEC);
	if (bpf_skb_adjust_room(skb, -OUTER_LEN, BPF_ADJ_ROOM_MAC, flags | BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_NO_CSUM_RESET))
		return WEFT_DROP_KERNEL_REFUSED;
	data = (void *)(long)skb->data;
	if (data + ETH_HLEN > (void *)(long)skb->data_end)
		return WEFT_DROP_KERNEL_REFUSED;
	ST32(data, 0, mac0);
	ST32(data, 4, mac1);
	ST32(data, 8, mac2);
	ST16(data, 12, is_ipv6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP));
	return 0;
}

#endif
