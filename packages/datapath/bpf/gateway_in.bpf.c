/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* gateway_in: what enters a virtual network, by tail call from from_external (from the outside) and to_gateway (peering, hairpin).
 *
 *   --> gateway_in --> a port here      (LOCAL)
 *                 \-> another host      (TUNNEL)
 *                 \-> gateway_error     (too old, too big)
 *
 * docs/gateway-contract.md section 6, steps 4 and 5. */
#include "lib/gateway_call.h"
#include "lib/gateway_npt.h"
#include "lib/gateway_rewrite.h"
#include "lib/gateway_slot.h"
#include "lib/gateway_tables.h"
#include "lib/gateway_traffic.h"
#include "lib/nat_inbound.h"

/* What kind of rewriting is wanted. */
#define IN_NONE 0
#define IN_ADDRESS 1
#define IN_PORT 2

/* By the external address the packet was sent to.  Fills s->to with the CA, '*network_id' and '*rewrite'. */
static __always_inline int in_address(struct __sk_buff *skb, struct gateway_scratch *s, __u32 segment, __u32 *network_id, __u32 *shard,
				      __u32 *rewrite)
{
	const struct weft_external_address *address = gateway_address(segment, s->p.destination);
	int reason;

	if (!address)
		return WEFT_DROP_EXTERNAL_ADDRESS_DENIED;
	*shard = address->shard;
	quote_find(skb, s);
	if (address->kind == WEFT_ADDRESS_STATIC) {
		if (!addr_is_family(address->ca, s->p.is_ipv6))
			return WEFT_DROP_EXTERNAL_ADDRESS_DENIED;
	} else if (address->kind != WEFT_ADDRESS_POOL && address->kind != WEFT_ADDRESS_RESERVED) {
		return WEFT_DROP_EXTERNAL_ADDRESS_DENIED;
	}
	if (s->is_error) {
		if (!s->has_quote)
			return WEFT_DROP_ICMP_QUOTE_INVALID;
		quote_address(s, false, s->key.ca);
		if (!addr_equal(s->key.ca, s->p.destination))
			return WEFT_DROP_ICMP_QUOTE_INVALID;
		s->translate_quote = 1;
	}
	if (address->kind == WEFT_ADDRESS_STATIC) {
		*network_id = address->network_id;
		addr_copy(s->to.address, address->ca);
		*rewrite = IN_ADDRESS;
	} else {
		flow_read(skb, s, 0, segment, true);
		__builtin_memset(&s->to, 0, sizeof(s->to));
		reason = nat_inbound(&s->flow, address, &s->to);
		if (reason)
			return reason;
		if (!addr_is_family(s->to.address, s->p.is_ipv6) || !gateway_may_map(address, s->to.network_id, address->shard))
			return WEFT_DROP_NAT_NO_MAPPING;
		*network_id = s->to.network_id;
		*rewrite = IN_PORT;
		s->by_session = 1;
	}
	addr_copy(s->quote_to.address, s->to.address);
	s->quote_to.port = s->to.port;
	return 0;
}

/* By prefix translation. */
static __always_inline int in_npt(struct __sk_buff *skb, struct gateway_scratch *s, const struct weft_gateway_network *network)
{
	if (!s->p.is_ipv6)
		return WEFT_DROP_EXTERNAL_ADDRESS_DENIED;
	if (!npt_translate(s->to.address, s->p.destination, network->npt_outside, network->npt_inside, network->npt_bits))
		return WEFT_DROP_NPT_NOT_TRANSLATABLE;
	quote_find(skb, s);
	if (!s->is_error)
		return 0;
	if (!s->has_quote)
		return WEFT_DROP_ICMP_QUOTE_INVALID;
	s->translate_quote =
		npt_translate(s->quote_to.address, s->quote.ip + 8, network->npt_outside, network->npt_inside, network->npt_bits);
	return 0;
}

/* Step 5: to the port that has the CA, which is in s->to if 'rewrite' says so, else the packet's destination. */
static __always_inline int in_deliver(struct __sk_buff *skb, struct gateway_scratch *s, struct gateway_verdict *g, __u32 network_id,
				      const struct weft_gateway_network *network, __u32 rewrite)
{
	const struct weft_target *target, *source;
	struct weft_packet *p = &s->p;
	__u32 mtu = network->mtu;
	int reason;

	s->key.network_id = network_id;
	addr_copy(s->key.ca, rewrite ? s->to.address : p->destination);
	target = lookup_home(&s->key);
	if (!target)
		return WEFT_DROP_UNKNOWN_DESTINATION;
	if (target->kind != WEFT_TARGET_LOCAL && target->kind != WEFT_TARGET_PEER && target->kind != WEFT_TARGET_REDIRECT)
		return WEFT_DROP_NO_ROUTE;
	if (p->ttl <= 1) {
		g->tell_mtu = 0;
		return WEFT_DROP_TTL_EXCEEDED;
	}
	if (gateway_segment_length(skb, p) > mtu) {
		g->tell_mtu = mtu;
		return WEFT_DROP_PACKET_TOO_BIG;
	}
	if (target->kind == WEFT_TARGET_LOCAL) { /* the host that gets a tunnel frame looks at this; here, that host is this one */
		p->source.network_id = network_id;
		source = lookup_home(&p->source);
		if (!source || source->kind != WEFT_TARGET_SHARD || source->ifindex_or_shard != network->shard)
			return WEFT_DROP_SOURCE_ADDRESS_SPOOFED;
	}
	reason = gateway_aim(g, target, network_id, p->length);
	if (reason)
		return reason;
	if (rewrite) {
		if (s->translate_quote) {
			reason = rewrite_quote(skb, s, false, rewrite == IN_PORT);
			if (reason)
				return reason;
		}
		reason = rewrite_end(skb, s, true, rewrite == IN_PORT && !s->has_quote);
		if (reason)
			return reason;
		addr_copy(p->destination, s->to.address);
		if (rewrite == IN_PORT && p->ports)
			p->ports = (p->ports & 0xffff) | (__u32)s->to.port << 16;
	}
	reason = gateway_macs(skb, target);
	if (reason)
		return reason;
	g->outer = encap_outer(p);
	reason = rewrite_hop(skb, p);
	if (!reason)
		gateway_in_keep(skb, s, g, network_id, network, rewrite, target);
	return reason;
}

/* What the packet looks like before anything of it is changed. Only from_external can find a decision again. */
static __always_inline void in_begin_keep(struct __sk_buff *skb, struct gateway_scratch *s, __u32 how, __u32 segment)
{
	void *data = (void *)(long)skb->data;

	s->by_session = 0;
	s->segment = segment;
	s->asked_ports = s->p.ports;
	addr_copy(s->asked, s->p.destination);
	if (how == ENTER_PEERING || how == ENTER_HAIRPIN || data + ETH_HLEN > (void *)(long)skb->data_end) {
		s->generation = 0;
		return;
	}
	mac_copy(s->asked_mac, data);
}

static __always_inline int in_judge(struct __sk_buff *skb, struct gateway_scratch *s, struct gateway_verdict *g)
{
	__u32 how = skb->cb[0], id = skb->cb[1], network_id = skb->cb[2];
	const struct weft_gateway_network *network;
	__u32 rewrite = IN_NONE, shard = 0;
	int reason;

	reason = gateway_read(skb, &s->p);
	if (reason)
		return reason;
	in_begin_keep(skb, s, how, id);
	s->has_quote = 0;
	s->translate_quote = 0;
	if (how == ENTER_ADDRESS || how == ENTER_HAIRPIN) {
		reason = in_address(skb, s, id, &network_id, &shard, &rewrite);
		if (reason)
			return reason;
	}
	network = gateway_network(network_id);
	if (!network || (rewrite && network->shard != shard))
		return WEFT_DROP_GATEWAY_NETWORK_UNKNOWN;
	g->v.vsid = network->vsid;
	gateway_traffic_count(skb, network_id);
	if (how == ENTER_NPT) {
		rewrite = IN_ADDRESS;
		reason = in_npt(skb, s, network);
		if (reason)
			return reason;
	}
	reason = in_deliver(skb, s, g, network_id, network, rewrite);
	if (reason != WEFT_DROP_TTL_EXCEEDED && reason != WEFT_DROP_PACKET_TOO_BIG)
		return reason;
	g->tell_id = id;
	if (how == ENTER_PEERING)
		g->tell = TELL_INSIDE;
	else if (how == ENTER_ADDRESS)
		g->tell = TELL_OUTSIDE_AS_ASKED;
	else if (how != ENTER_HAIRPIN)
		g->tell = TELL_OUTSIDE;
	return reason;
}

SEC("tc")
int gateway_in(struct __sk_buff *skb)
{
	struct gateway_scratch *s = gateway_scratch();
	struct gateway_verdict *g;
	int reason;

	if (!s)
		return TC_ACT_SHOT;
	g = &s->g; /* not on the stack: port mapping's calls go deep */
	__builtin_memset(g, 0, sizeof(*g));
	g->v.vsid = skb->cb[3];
	reason = skb->cb[4] == CALL_IN ? in_judge(skb, s, g) : WEFT_DROP_KERNEL_REFUSED;
	if (!reason && g->v.action == WEFT_ACTION_TUNNEL)
		reason = encap_push_outer(skb, &g->outer, &g->v);
	if (unlikely(reason))
		return gateway_refuse(skb, g, reason);
	return gateway_end(skb, g, 0);
}
