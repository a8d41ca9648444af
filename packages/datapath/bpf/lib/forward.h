/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Where a tenant's packet goes: by MAC address within its subnet, by customer route between subnets. */
#ifndef WEFT_FORWARD_H
#define WEFT_FORWARD_H

#include "antispoof.h"
#include "encap.h"
#include "flow_cache.h"
#include "gateway.h"
#include "ipv4.h"
#include "ipv6.h"

/* Between subnets: the new MAC addresses and one hop less. */
static __always_inline int forward_rewrite(struct __sk_buff *skb, const struct weft_packet *p, const struct weft_target *target,
					   __u32 vsid)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	if (data + ETH_HLEN + 20 > end)
		return WEFT_DROP_KERNEL_REFUSED;
	mac_copy(data, target->mac);
	mac_set_gateway(data + ETH_ALEN, vsid);
	if (p->is_ipv6)
		((struct ipv6hdr *)(data + ETH_HLEN))->hop_limit--;
	else
		ipv4_decrement_ttl(data + ETH_HLEN);
	return 0;
}

/* Between subnets, as forward_rewrite, for a flow that is known. */
static __always_inline int forward_rewrite_flow(struct __sk_buff *skb, const struct weft_flow *flow, bool is_ipv6)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	if (data + ETH_HLEN + 20 > end)
		return WEFT_DROP_KERNEL_REFUSED;
	mac_copy(data, flow->next_mac);
	mac_set_gateway(data + ETH_ALEN, flow->wire_vsid);
	if (is_ipv6)
		((struct ipv6hdr *)(data + ETH_HLEN))->hop_limit--;
	else
		ipv4_decrement_ttl(data + ETH_HLEN);
	return 0;
}

/* Keeps the decision about the packet 'p' of the frame, which stands as it came in. */
static __always_inline void forward_keep(struct __sk_buff *skb, const struct weft_port *port, const struct weft_packet *p,
					 const struct weft_target *target, bool routed, const struct weft_verdict *v)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct weft_flow *flow;

	if (data + ETH_HLEN > end)
		return;
	flow = flow_keep_of_port(data, p, skb->ifindex, v->generation);
	if (!flow)
		return;
	flow->action = v->action;
	flow->target_ifindex = v->ifindex;
	flow->pa = v->action == WEFT_ACTION_GATEWAY ? v->network_id : v->pa;
	flow->wire_vsid = v->wire_vsid;
	flow->vsid = port->vsid;
	flow->mtu = port->mtu;
	flow->peer = v->peer;
	flow->routed = routed;
	mac_copy(flow->next_mac, target->mac);
}

/* Fills '*v' (LOCAL, TUNNEL, or REPLY if the gateway itself is asked); changes the frame only for replies and routed frames.  Returns 0 or
 * a reason. */
static __always_inline int forward(struct __sk_buff *skb, const struct weft_port *port, const struct weft_packet *p, struct weft_verdict *v)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	const struct weft_route *route = NULL;
	const struct weft_target *target;
	const struct weft_shard *shard;
	const __u8 *pa;
	__u32 segment;
	int reason;

	if (data + ETH_HLEN > end)
		return WEFT_DROP_KERNEL_REFUSED;
	if (!mac_is_gateway(data, port->vsid)) {
		target = lookup_mac(port->vsid, data);
		if (!target || target->kind == WEFT_TARGET_DENY)
			return WEFT_DROP_UNKNOWN_DESTINATION_MAC;
		v->wire_vsid = port->vsid;
	} else {
		route = route_find(port->network_id, p->destination);
		if (!route)
			return WEFT_DROP_NO_ROUTE;
		if (route->kind == WEFT_ROUTE_ON_LINK) {
			target = lookup_ca(port->network_id, p->destination);
			if (!target || target->kind == WEFT_TARGET_DENY || target->vsid != route->vsid) {
				if (!gateway_is(route->vsid, p))
					return WEFT_DROP_UNKNOWN_DESTINATION;
				v->action = WEFT_ACTION_REPLY;
				return gateway_answer(skb, p->l4_offset, p->is_fragment ? 0 : p->protocol);
			}
		} else if (route->kind == WEFT_ROUTE_NEXT_HOP) {
			target = lookup_ca(port->network_id, route->next_hop);
			if (!target || target->kind == WEFT_TARGET_DENY)
				return WEFT_DROP_NEXT_HOP_UNKNOWN;
		} else {
			return route->kind == WEFT_ROUTE_BLACKHOLE ? WEFT_DROP_ROUTE_BLACKHOLE : WEFT_DROP_ROUTE_DENIED;
		}
		v->wire_vsid = target->vsid;
		if (p->ttl <= 1)
			return WEFT_DROP_TTL_EXCEEDED;
	}
	if (target_is_port(target, skb->ifindex))
		return WEFT_DROP_DESTINATION_IS_SOURCE;
	segment = skb->gso_size ? p->l4_offset + p->l4_header + skb->gso_size : p->length;
	if (segment > port->mtu)
		return WEFT_DROP_PACKET_TOO_BIG;

	if (target->kind == WEFT_TARGET_LOCAL) {
		v->action = WEFT_ACTION_LOCAL;
		v->ifindex = target->ifindex_or_shard;
		v->peer = target->flags & WEFT_TARGET_VETH;
	} else {
		pa = target->pa;
		if (target->kind == WEFT_TARGET_SHARD) {
			shard = bpf_map_lookup_elem(&map_shard, &target->ifindex_or_shard);
			if (!shard || addr_is_zero(shard->pa))
				return WEFT_DROP_NO_GATEWAY_OWNER;
			pa = shard->pa;
		} else if (unlikely(target->kind != WEFT_TARGET_PEER && target->kind != WEFT_TARGET_REDIRECT)) {
			return WEFT_DROP_NO_PEER; /* a kind of a later version, or a torn write: what is not known is denied */
		}
		if (unlikely(target->kind == WEFT_TARGET_SHARD && addr_is_ipv4(pa, cfg_pa4))) {
			v->action = WEFT_ACTION_GATEWAY; /* its shard is told by v->ifindex */
			v->ifindex = target->ifindex_or_shard;
			v->network_id = port->network_id;
		} else {
			reason = encap_check(pa, p->length);
			if (reason)
				return reason;
			v->action = WEFT_ACTION_TUNNEL;
			v->pa = LD32(pa, 12);
		}
	}
	if (!route) {
		if (!target_is_of_mac(target, port->vsid, data))
			return WEFT_DROP_UNKNOWN_DESTINATION_MAC;
		forward_keep(skb, port, p, target, false, v);
		return 0;
	}
	if (route->kind == WEFT_ROUTE_ON_LINK) {
		if (!target_is_of_network(target, port->network_id, v->wire_vsid))
			return WEFT_DROP_UNKNOWN_DESTINATION;
	} else if (!target_is_of_network(target, port->network_id, 0)) {
		return WEFT_DROP_NEXT_HOP_UNKNOWN;
	}
	forward_keep(skb, port, p, target, true, v);
	return forward_rewrite(skb, p, target, v->wire_vsid);
}

#endif
