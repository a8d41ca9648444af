/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* from_port: tc ingress of a tenant's device (TAP, or the host's end of a veth pair).
 *
 *   VM ---> [TAP] --from_port--> TAP of a neighbour       (LOCAL)
 *                            \-> encapsulated, underlay   (TUNNEL)
 *                            \-> back to the VM           (REPLY: ARP, ND, ping of the gateway, ICMP errors)
 *
 * Never TC_ACT_OK: what is not sent on is dropped, and counted by name. */
#include "lib/arp.h"
#include "lib/deliver.h"
#include "lib/forward.h"
#include "lib/gateway_slot.h"
#include "lib/icmp_error.h"
#include "lib/nd.h"
#include "lib/offload.h"

static __always_inline int port_ipv4(struct __sk_buff *skb, struct weft_packet *p)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	return ipv4_read(data + ETH_HLEN, end, skb->len - ETH_HLEN, skb->gso_size, p);
}

static __always_inline int port_ipv6(struct __sk_buff *skb, struct weft_packet *p)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	return ipv6_read(data + ETH_HLEN, end, skb->len - ETH_HLEN, skb->gso_size, p);
}

/* Who sends: 'p' comes from an address of this very port. */
static __always_inline int port_identity(struct __sk_buff *skb, const struct weft_port *port, struct weft_packet *p)
{
	p->source.network_id = port->network_id;
	return target_is_port(lookup_home(&p->source), skb->ifindex) ? 0 : WEFT_DROP_SOURCE_ADDRESS_SPOOFED;
}

static __always_inline int port_check_ipv4(struct __sk_buff *skb, const struct weft_port *port, struct weft_packet *p)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	bool is_udp = p->protocol == IPPROTO_UDP && !p->is_fragment;
	int reason;

	if (unlikely(LD32(p->source.ca, 12) == 0))
		return is_udp && p->ports == PORTS(68, 67) ? WEFT_DROP_DHCP_NOT_SERVED : WEFT_DROP_SOURCE_ADDRESS_SPOOFED;
	if (is_udp && p->ports == PORTS(67, 68))
		return WEFT_DROP_DHCP_SERVER_NOT_ALLOWED;
	reason = port_identity(skb, port, p);
	if (reason)
		return reason;
	if (data + ETH_HLEN > end || mac_is_group(data) || ipv4_is_not_unicast(p->destination))
		return WEFT_DROP_NOT_UNICAST;
	return 0;
}

static __always_inline int port_check_ipv6(struct __sk_buff *skb, const struct weft_port *port, struct weft_packet *p)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	int reason;

	if (addr_is_zero(p->source.ca) || addr_is_mapped(p->source.ca))
		return WEFT_DROP_SOURCE_ADDRESS_SPOOFED;
	if (ipv6_is_link_local(p->source.ca) || ipv6_is_link_local(p->destination))
		return WEFT_DROP_LINK_LOCAL_NOT_FORWARDED;
	if (p->protocol == IPPROTO_UDP && !p->is_fragment && p->ports == PORTS(547, 546))
		return WEFT_DROP_DHCP_SERVER_NOT_ALLOWED;
	reason = port_identity(skb, port, p);
	if (reason)
		return reason;
	if (data + ETH_HLEN > end || mac_is_group(data) || ipv6_is_not_unicast(p->destination))
		return WEFT_DROP_NOT_UNICAST;
	return 0;
}

/* The whole decision, but for neighbour discovery (v->nd_offset): fills '*v' and leaves the frame as it goes on, except for the tunnel's headers. */
static __always_inline int port_judge(struct __sk_buff *skb, struct weft_packet *p, struct weft_verdict *v)
{
	__u32 ifindex = skb->ifindex;
	const struct weft_port *port;
	void *data, *end;
	__be16 type;
	int reason;

	port = bpf_map_lookup_elem(&map_port, &ifindex);
	if (!port)
		return WEFT_DROP_NO_PORT;
	v->vsid = port->vsid;
	if (!(port->flags & WEFT_PORT_READY))
		return WEFT_DROP_PORT_NOT_READY;
	if (port->network_id == 0)
		return WEFT_DROP_NO_PORT;

	reason = weft_pull(skb, WEFT_HEADERS_LEN);
	if (reason)
		return reason;
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	if (data + ETH_HLEN > end)
		return WEFT_DROP_TRUNCATED_ETHERNET;
	if (skb->vlan_present)
		return WEFT_DROP_VLAN_TAG_NOT_ALLOWED;
	type = LD16(data, 12);
	reason = ethertype_check(type);
	if (reason)
		return reason;
	if (!mac_equal(data + ETH_ALEN, port->mac))
		return WEFT_DROP_SOURCE_MAC_SPOOFED;

	v->ifindex = ifindex;
	if (type == bpf_htons(ETH_P_IP)) {
		reason = port_ipv4(skb, p);
	} else if (type == bpf_htons(ETH_P_IPV6)) {
		reason = port_ipv6(skb, p);
	} else if (type == bpf_htons(ETH_P_ARP)) {
		v->action = WEFT_ACTION_REPLY;
		return arp_answer(skb);
	} else {
		return WEFT_DROP_ETHERTYPE_NOT_ALLOWED;
	}
	if (reason)
		return reason;
	if (unlikely(p->length + ETH_HLEN < skb->len)) {
		reason = weft_cut(skb, p->length + ETH_HLEN);
		if (reason)
			return reason;
	}
	if (!p->is_ipv6) {
		reason = port_check_ipv4(skb, port, p);
	} else {
		data = (void *)(long)skb->data;
		end = (void *)(long)skb->data_end;
		if (unlikely(p->protocol == WEFT_ICMPV6) && ipv6_is_nd(data + ETH_HLEN + (p->l4_offset & 63), end, p)) {
			if (p->is_fragment)
				return WEFT_DROP_ND_FRAGMENTED;
			v->action = WEFT_ACTION_REPLY;
			v->nd_offset = p->l4_offset;
			return 0;
		}
		reason = port_check_ipv6(skb, port, p);
	}
	if (reason)
		return reason;
	reason = offload_check(skb, p->l4_offset);
	if (reason)
		return reason;
	return forward(skb, port, p, v);
}

/* As port_judge, for all that is not decided already. '*outer' is filled for TUNNEL. A function of its own, since its stack is none of the fast
 * path's, nor of the reply's to the sender. */
static __attribute__((noinline)) int port_judge_anew(struct __sk_buff *skb, struct weft_verdict *v, struct weft_outer *outer)
{
	struct weft_packet p = {};
	int reason = port_judge(skb, &p, v);

	if (!reason && v->action == WEFT_ACTION_TUNNEL)
		*outer = encap_outer(&p);
	return reason;
}

/* Neither is a reason. */
#define PORT_UNKNOWN (-1)
#define PORT_SENT (-2)

/* The same decision as that of port_judge, if it was made before: for plain packets (brief.h) to which nothing special applies. Fills '*v' and
 * '*outer'. PORT_SENT: what the gateway does with the frame is known, too, and done; the program returns '*verdict'. PORT_UNKNOWN says nothing about
 * the frame. */
static __always_inline int port_judge_known(struct __sk_buff *skb, struct weft_verdict *v, struct weft_outer *outer, int *verdict)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u32 present = skb->len - ETH_HLEN, gso_size = skb->gso_size;
	const struct weft_flow *flow;
	void *ip = data + ETH_HLEN;
	struct weft_brief b;
	int reason;

	if (!v->generation || ip > end || skb->vlan_present || !brief_read(ip, end, LD16(data, 12), present, &b))
		return PORT_UNKNOWN;
	if (ip + (b.is_ipv6 ? 40 : 20) > end)
		return PORT_UNKNOWN;
	flow = flow_of_port(data, b.is_ipv6, skb->ifindex, v->generation);
	if (!flow || offload_check(skb, b.is_ipv6 ? 40 : 20))
		return PORT_UNKNOWN;
	if ((flow->routed && b.ttl <= 1) || (gso_size ? b.headers + gso_size : b.length) > flow->mtu)
		return PORT_UNKNOWN;
	if (flow->action == WEFT_ACTION_TUNNEL) {
		if (!encap_fits(b.length))
			return PORT_UNKNOWN;
		outer->length = b.length;
		outer->ecn = b.ecn;
		outer->hash = flow_hash_finish(flow->hash, b.ports, b.protocol);
		outer->is_ipv6 = b.is_ipv6;
	} else if (flow->action == WEFT_ACTION_GATEWAY) {
		reason = gateway_out_known(skb, &b, flow->pa, flow->target_ifindex, flow->wire_vsid, flow->routed ? 2 : 1, v->generation, verdict);
		if (!reason)
			return PORT_SENT;
		v->vsid = flow->vsid;
		v->network_id = flow->pa;
		if (reason != GATEWAY_UNCHANGED)
			return reason;
	}
	if (flow->routed && forward_rewrite_flow(skb, flow, b.is_ipv6))
		return WEFT_DROP_KERNEL_REFUSED;
	v->vsid = flow->vsid;
	v->action = flow->action;
	v->ifindex = flow->target_ifindex;
	v->pa = flow->pa;
	v->wire_vsid = flow->wire_vsid;
	v->peer = flow->peer;
	return 0;
}

SEC("tc")
int from_port(struct __sk_buff *skb)
{
	struct weft_verdict v = { .generation = flow_generation() };
	struct weft_outer outer = {};
	int reason, verdict;

	reason = port_judge_known(skb, &v, &outer, &verdict);
	if (reason == PORT_SENT)
		return verdict;
	if (reason == PORT_UNKNOWN)
		reason = port_judge_anew(skb, &v, &outer);
	if (unlikely(v.nd_offset))
		reason = nd_answer(skb, v.nd_offset);
	if (!reason && v.action == WEFT_ACTION_TUNNEL)
		reason = encap_push_outer(skb, &outer, &v);
	if (!reason && unlikely(v.action == WEFT_ACTION_GATEWAY)) {
		gateway_enter(skb, v.network_id, v.ifindex, v.wire_vsid, false);
		reason = WEFT_DROP_KERNEL_REFUSED;
	}
	if (unlikely(reason)) {
		drops_count(skb, v.vsid, reason);
		v.action = WEFT_ACTION_DROP;
		if ((reason == WEFT_DROP_TTL_EXCEEDED || reason == WEFT_DROP_PACKET_TOO_BIG) && !icmp_error(skb, reason))
			v.action = WEFT_ACTION_REPLY;
	}
	verdict_publish(skb, &v, reason);
	switch (v.action) {
	case WEFT_ACTION_TUNNEL:
		return encap_send(skb, &v);
	case WEFT_ACTION_REPLY:
		return bpf_redirect(v.ifindex, 0);
	case WEFT_ACTION_LOCAL:
		return deliver(skb, &v);
	}
	return TC_ACT_SHOT;
}
