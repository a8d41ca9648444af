/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* gateway_error: tells the sender of a packet, which the gateway has dropped and counted, that it was too old or too big.  By tail call; the frame is as
 * it came.
 *
 *   --> gateway_error --> into the sender's network, from the gateway CA     (LOCAL, TUNNEL)
 *                    \-> out to the segment                                  (EXTERNAL)
 *                    \-> nowhere: the sender is not to be told, can't be, or was told enough (DROP) */
#include "lib/error_limit.h"
#include "lib/gateway_call.h"
#include "lib/gateway_scratch.h"
#include "lib/gateway_tables.h"
#include "lib/icmp_error.h"

static __always_inline bool error_inside(struct __sk_buff *skb, struct gateway_scratch *s, struct gateway_verdict *g, __u32 network_id, __u32 mtu)
{
	const struct weft_gateway_network *network = gateway_network(network_id);
	struct icmp_error *e = icmp_error_scratch();
	struct weft_packet *p = &s->p;
	const struct weft_target *target;
	__u32 length;

	if (!network || !e)
		return false;
	p->source.network_id = network_id;
	target = lookup_home(&p->source);
	if (!target || gateway_aim(g, target, network_id, 0))
		return false;
	mac_copy_to_stack(e->eth, target->mac);
	mac_set_gateway(e->eth + ETH_ALEN, target->vsid);
	length = icmp_error_make(skb, e, network->gateway4, network->gateway6, mtu);
	if (!length)
		return false;
	addr_copy(p->destination, p->source.ca);
	addr_copy(p->source.ca, p->is_ipv6 ? network->gateway6 : network->gateway4);
	p->protocol = p->is_ipv6 ? WEFT_ICMPV6 : IPPROTO_ICMP;
	p->ports = 0;
	p->ecn = 0;
	p->length = length;
	g->outer = encap_outer(p);
	return g->v.action != WEFT_ACTION_TUNNEL || !encap_push_outer(skb, &g->outer, &g->v);
}

static __always_inline bool error_outside(struct __sk_buff *skb, struct gateway_scratch *s, struct gateway_verdict *g, __u32 how, __u32 segment_id,
					  __u32 mtu)
{
	const struct weft_segment *segment = bpf_map_lookup_elem(&map_segment, &segment_id);
	const struct weft_external_route *route = gateway_route(segment_id, s->p.source.ca);
	struct icmp_error *e = icmp_error_scratch();

	if (!segment || !route || !e)
		return false;
	g->v.action = WEFT_ACTION_EXTERNAL;
	g->v.ifindex = segment->ifindex;
	g->segment = segment_id;
	addr_copy(g->next_hop, addr_is_zero(route->next_hop) ? s->p.source.ca : route->next_hop);
	if (how == TELL_OUTSIDE_AS_ASKED)
		return icmp_error_make(skb, e, s->p.destination, s->p.destination, mtu);
	return icmp_error_make(skb, e, segment->address4, segment->address6, mtu);
}

SEC("tc")
int gateway_error(struct __sk_buff *skb)
{
	__u32 how = skb->cb[0], id = skb->cb[1], mtu = skb->cb[2];
	struct gateway_verdict g = { .v.vsid = skb->cb[3] };
	struct gateway_scratch *s = gateway_scratch();
	__u32 reason = mtu ? WEFT_DROP_PACKET_TOO_BIG : WEFT_DROP_TTL_EXCEEDED;
	bool told = false;

	if (skb->cb[4] != CALL_ERROR || !s) {
		reason = WEFT_DROP_KERNEL_REFUSED;
		drops_count(skb, g.v.vsid, reason);
	} else if (error_is_told(how == TELL_INSIDE ? WEFT_ERROR_INSIDE : WEFT_ERROR_OUTSIDE, how == TELL_INSIDE ? id : g.v.vsid) &&
		   !gateway_read(skb, &s->p)) {
		told = how == TELL_INSIDE ? error_inside(skb, s, &g, id, mtu) : error_outside(skb, s, &g, how, id, mtu);
	}
	if (!told)
		g.v.action = WEFT_ACTION_DROP;
	return gateway_end(skb, &g, reason);
}
