/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* to_gateway: frames of virtual networks at their gateway, by tail call from from_underlay, from_tunnel and from_port.
 *
 *   from_* --> to_gateway --> out to the segment             (EXTERNAL)
 *                        \-> gateway_in                      (peering; hairpin)
 *                        \-> back into the network           (TUNNEL, LOCAL: ping of the gateway; to the new owner)
 *                        \-> gateway_error                   (too old, too big)
 *
 * The order is that of docs/gateway-contract.md section 5. */
#include "lib/gateway.h"
#include "lib/gateway_call.h"
#include "lib/gateway_npt.h"
#include "lib/gateway_rewrite.h"
#include "lib/gateway_slot.h"
#include "lib/gateway_tables.h"
#include "lib/gateway_traffic.h"
#include "lib/nat_outbound.h"

/* No kind of a rule. */
#define SOURCE_NPT 256

/* A ping of the gateway CA; nothing else is served there. */
static __always_inline int out_answer(struct __sk_buff *skb, struct gateway_scratch *s, struct gateway_verdict *g, __u32 network_id)
{
	struct weft_packet *p = &s->p;
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	const struct weft_target *target;
	int reason;

	if (p->is_fragment || p->protocol != (p->is_ipv6 ? WEFT_ICMPV6 : IPPROTO_ICMP) ||
	    !echo_is_request(data + ETH_HLEN + (p->l4_offset & 63), end, p->is_ipv6))
		return WEFT_DROP_GATEWAY_NO_SERVICE;
	target = lookup_home(&p->source);
	if (!target)
		return WEFT_DROP_UNKNOWN_DESTINATION;
	reason = gateway_aim(g, target, network_id, p->length);
	if (reason)
		return reason;
	reason = gateway_macs(skb, target);
	if (reason)
		return reason;
	reason = echo_turn(skb, p->l4_offset, p->is_ipv6);
	addr_copy(s->to.address, p->source.ca);
	addr_copy(p->source.ca, p->destination);
	addr_copy(p->destination, s->to.address);
	g->outer = encap_outer(p);
	return reason;
}

/* To another virtual network, if both say so and one owner serves both. */
static __always_inline int out_peering(struct gateway_verdict *g, const struct weft_packet *p, __u32 network_id, __u32 shard, __u32 peer_id)
{
	const struct weft_gateway_network *peer = gateway_network(peer_id);
	const struct weft_peering *back = gateway_peering(peer_id, p->source.ca);

	if (!peer || peer->shard != shard || !back || back->network_id != network_id)
		return WEFT_DROP_PEERING_NOT_ACCEPTED;
	g->call = GATEWAY_PROGRAM_IN + 1;
	g->cb[0] = ENTER_PEERING;
	g->cb[1] = network_id;
	g->cb[2] = peer_id;
	g->cb[3] = peer->vsid;
	return 0;
}

/* How a source without a rule leaves; DENY: not at all. */
static __always_inline __u32 out_way(const struct weft_gateway_network *network, bool is_ipv6)
{
	if (!is_ipv6)
		return network->mode == WEFT_GATEWAY_FORWARD ? WEFT_SOURCE_PLAIN : network->mode == WEFT_GATEWAY_NAT ? WEFT_SOURCE_POOL : 0;
	if (network->flags & WEFT_GATEWAY_NPTV6)
		return SOURCE_NPT;
	if (network->flags & WEFT_GATEWAY_FORWARD6)
		return WEFT_SOURCE_PLAIN;
	return network->flags & WEFT_GATEWAY_NAT66 ? WEFT_SOURCE_POOL : 0;
}

/* The new source into the frame, for a network of id s->key.network_id.  'address' is that of a STATIC rule, else of no account. */
static __always_inline int out_translate(struct __sk_buff *skb, struct gateway_scratch *s, __u32 kind, __u32 pool, const __u8 *address,
					 const struct weft_gateway_network *network)
{
	bool has_port = false;
	int reason;

	if (s->is_error && !s->has_quote)
		return WEFT_DROP_ICMP_QUOTE_INVALID;
	if (kind == SOURCE_NPT) {
		if (!npt_translate(s->to.address, s->p.source.ca, network->npt_inside, network->npt_outside, network->npt_bits))
			return WEFT_DROP_NPT_NOT_TRANSLATABLE;
		if (gateway_is_others(network->segment, s->to.address, s->key.network_id))
			return WEFT_DROP_SOURCE_RULE_DENIED;
		if (s->has_quote)
			s->translate_quote = npt_translate(s->quote_to.address, s->quote.ip + 24, network->npt_inside,
							   network->npt_outside, network->npt_bits);
	} else if (kind == WEFT_SOURCE_STATIC) {
		if (!gateway_is_static(gateway_address(network->segment, address), s->key.network_id, network->shard))
			return WEFT_DROP_SOURCE_RULE_DENIED;
		addr_copy(s->to.address, address);
		addr_copy(s->quote_to.address, address);
		s->translate_quote = s->has_quote;
	} else {
		flow_read(skb, s, s->key.network_id, network->segment, false);
		__builtin_memset(&s->to, 0, sizeof(s->to));
		reason = nat_outbound(&s->flow, kind, pool, &s->to);
		if (reason)
			return reason;
		if (!addr_is_family(s->to.address, s->p.is_ipv6))
			return WEFT_DROP_NAT_POOL_UNKNOWN;
		if (!gateway_may_map(gateway_address(network->segment, s->to.address), s->key.network_id, network->shard))
			return WEFT_DROP_SOURCE_RULE_DENIED;
		addr_copy(s->quote_to.address, s->to.address);
		s->quote_to.port = s->to.port;
		s->translate_quote = s->has_quote;
		has_port = true;
		s->by_session = 1;
	}
	s->is_translated = 1;
	if (s->translate_quote) {
		reason = rewrite_quote(skb, s, true, has_port);
		if (reason)
			return reason;
	}
	return rewrite_end(skb, s, false, has_port && !s->has_quote);
}

static __always_inline int out_leave(struct __sk_buff *skb, struct gateway_scratch *s, struct gateway_verdict *g, __u32 network_id,
				     const struct weft_gateway_network *network)
{
	const struct weft_external_address *address;
	const struct weft_external_route *route;
	const struct weft_source_rule *rule;
	const struct weft_segment *segment;
	struct weft_packet *p = &s->p;
	__u32 kind, pool = network->pool;
	const __u8 *fixed = NULL;
	bool is_hairpin;
	int reason;

	quote_find(skb, s);
	addr_copy(s->key.ca, p->source.ca);
	if (s->has_quote) /* it may come from a router VM: it leaves as the packet that it tells of came in */
		quote_address(s, true, s->key.ca);
	rule = gateway_source_rule(network_id, s->key.ca);
	if (rule) {
		kind = rule->kind;
		pool = rule->pool;
		fixed = rule->address;
		if (kind < WEFT_SOURCE_POOL || kind > WEFT_SOURCE_ADDRESS || (kind == WEFT_SOURCE_STATIC && !addr_is_family(fixed, p->is_ipv6)))
			return WEFT_DROP_SOURCE_RULE_DENIED;
	} else {
		kind = out_way(network, p->is_ipv6);
		if (!kind)
			return WEFT_DROP_GATEWAY_OUTSIDE_DENIED;
		if (p->is_ipv6)
			pool |= WEFT_IPV6_POOL;
	}
	/* What it quotes is the sender's word. It may choose among the network's own addresses; untranslated the source leaves by its own rule only. */
	if (kind == WEFT_SOURCE_PLAIN && s->has_quote) {
		rule = gateway_source_rule(network_id, p->source.ca);
		if ((rule ? rule->kind : out_way(network, p->is_ipv6)) != WEFT_SOURCE_PLAIN)
			return WEFT_DROP_SOURCE_RULE_DENIED;
	}
	g->segment = network->segment;
	segment = bpf_map_lookup_elem(&map_segment, &g->segment);
	if (!segment)
		return WEFT_DROP_EXTERNAL_NO_ROUTE;
	address = gateway_address(g->segment, p->destination);
	is_hairpin = address && gateway_is_live(address->shard);
	if (address) /* whether its shard lives is told by the clock */
		s->generation = 0;
	s->mtu = segment->mtu;
	route = gateway_route(g->segment, p->destination);
	if (!route && !is_hairpin)
		return WEFT_DROP_EXTERNAL_NO_ROUTE;
	if (gateway_segment_length(skb, p) > s->mtu) {
		g->tell = TELL_INSIDE;
		g->tell_mtu = s->mtu;
		return WEFT_DROP_PACKET_TOO_BIG;
	}
	if (route)
		addr_copy(g->next_hop, addr_is_zero(route->next_hop) ? p->destination : route->next_hop);
	if (kind == WEFT_SOURCE_PLAIN) {
		if (gateway_is_others(g->segment, p->source.ca, network_id))
			return WEFT_DROP_SOURCE_RULE_DENIED;
	} else {
		s->key.network_id = network_id;
		reason = out_translate(skb, s, kind, pool, fixed ? fixed : network->gateway4, network);
		if (reason)
			return reason;
	}
	if (is_hairpin) {
		g->call = GATEWAY_PROGRAM_IN + 1;
		g->cb[0] = ENTER_HAIRPIN;
		g->cb[1] = g->segment;
		g->cb[2] = 0;
		g->cb[3] = 0;
		return 0;
	}
	g->v.action = WEFT_ACTION_EXTERNAL;
	g->v.ifindex = segment->ifindex;
	return rewrite_hop(skb, p);
}

static __always_inline int out_judge(struct __sk_buff *skb, struct gateway_scratch *s, struct gateway_verdict *g)
{
	__u32 network_id = skb->cb[0], shard = skb->cb[1], vsid = skb->cb[2], second_hand = skb->cb[3];
	const struct weft_gateway_network *network;
	const struct weft_gateway_shard *own;
	const struct weft_peering *peering;
	struct weft_packet *p = &s->p;
	__u64 now = weft_now(), deadline;
	int reason;

	s->generation = flow_generation();
	s->by_session = 0;
	s->is_translated = 0;
	reason = gateway_read(skb, p);
	if (reason)
		return reason;
	network = gateway_network(network_id);
	if (!network || network->shard != shard || network->vsid != vsid)
		return WEFT_DROP_GATEWAY_NETWORK_UNKNOWN;
	gateway_traffic_count(skb, network_id);
	p->source.network_id = network_id;
	own = bpf_map_lookup_elem(&map_gateway_shard, &shard);
	if (!own)
		return WEFT_DROP_GATEWAY_NOT_OWNER;
	deadline = READ_ONCE(own->deadline_boot_ns);
	if (unlikely(now >= deadline)) {
		if (second_hand || now >= own->handover_until_boot_ns)
			return WEFT_DROP_GATEWAY_NOT_OWNER;
		reason = encap_check(own->handover_pa, p->length);
		if (reason)
			return reason;
		g->v.action = WEFT_ACTION_TUNNEL;
		g->v.pa = LD32(own->handover_pa, 12);
		g->v.wire_vsid = vsid;
		g->outer = encap_outer(p);
		return 0;
	}
	if (addr_equal(p->is_ipv6 ? network->gateway6 : network->gateway4, p->destination))
		return out_answer(skb, s, g, network_id);
	if (lookup_ca(network_id, p->destination))
		return WEFT_DROP_GATEWAY_HAIRPIN_INSIDE;
	g->tell_id = network_id;
	if (p->ttl <= 1) {
		g->tell = TELL_INSIDE;
		return WEFT_DROP_TTL_EXCEEDED;
	}
	peering = gateway_peering(network_id, p->destination);
	if (peering)
		return out_peering(g, p, network_id, shard, peering->network_id);
	reason = out_leave(skb, s, g, network_id, network);
	if (reason)
		return reason;
	/* The memory of a row deleted meanwhile may be another network's by now (lookup.h). */
	asm volatile("" ::: "memory");
	if (READ_ONCE(network->vsid) != vsid)
		return WEFT_DROP_GATEWAY_NETWORK_UNKNOWN;
	if (g->v.action == WEFT_ACTION_EXTERNAL)
		gateway_out_keep(s, g, network_id, shard, vsid, deadline);
	return 0;
}

SEC("tc")
int to_gateway(struct __sk_buff *skb)
{
	struct gateway_scratch *s = gateway_scratch();
	struct gateway_verdict *g;
	int reason;

	if (!s)
		return TC_ACT_SHOT;
	g = &s->g; /* not on the stack: port mapping's calls go deep */
	__builtin_memset(g, 0, sizeof(*g));
	g->v.vsid = skb->cb[2];
	reason = skb->cb[4] == CALL_OUT ? out_judge(skb, s, g) : WEFT_DROP_KERNEL_REFUSED;
	if (!reason && g->call) {
		gateway_call(skb, GATEWAY_PROGRAM_IN, g->cb[0], g->cb[1], g->cb[2], g->cb[3]);
		reason = WEFT_DROP_KERNEL_REFUSED;
	}
	if (!reason && g->v.action == WEFT_ACTION_TUNNEL)
		reason = encap_push_outer(skb, &g->outer, &g->v);
	if (unlikely(reason))
		return gateway_refuse(skb, g, reason);
	return gateway_end(skb, g, 0);
}
