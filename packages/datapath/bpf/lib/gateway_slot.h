/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A gateway's decisions that were made before, to be used again: docs/gateway-contract.md section 10. As flow_cache.h, with two things more.
 *
 * Time: a decision ends with the ownership that it was made under, as the deadline stood then (one that is put off is found by the next full decision; one
 * that is brought forward begins a generation).
 *
 * Sessions: a packet by a session has to touch it, which is one look-up in place of all those of the full decision. What that finds must be the session that the decision
 * was made by, alive and of the same inside; else the packet is judged in full. Nothing has to be looked up for a packet that would leave the session as it is: in the
 * granule of time in which it was touched last (all packets of a granule move its end to the same place), while its mark stands still (nat_mark.h), for segments that change
 * nothing of what is known of their connection: those with ACK and without SYN, FIN, RST. */
#ifndef WEFT_GATEWAY_SLOT_H
#define WEFT_GATEWAY_SLOT_H

#include "brief.h"
#include "flow_cache.h"
#include "gateway_scratch.h"
#include "gateway_tables.h"
#include "gateway_traffic.h"
#include "nat_session.h"
#include "offload.h"

/* Whose packet it is, but for where it comes from. */
struct weft_gateway_flow {
	__u8 source[WEFT_ADDR_LEN]; /* IPv4: the first four bytes, the others are not looked at */
	__u8 destination[WEFT_ADDR_LEN];
	__be32 ports;
	__u32 kind; /* protocol, and 256 for IPv6 */
};

/* What becomes of one end of the packet. */
struct weft_gateway_change {
	__u8 address[WEFT_ADDR_LEN]; /* IPv4: as above */
	__u32 difference; /* of the addresses, for checksums; 0: none */
	__u16 port_difference; /* likewise */
	__be16 port;
};

/* What stands behind a decision. */
struct weft_gateway_hold {
	__u64 until_boot_ns; /* the ownership ends */
	__u64 steady_until_boot_ns; /* the session need not be touched before, if ... */
	__u32 mark_index; /* NAT_MARK_NONE: by no session */
	__u32 mark; /* ... its mark is this */
};

/* A packet of a virtual network, by its gateway subnet, that leaves for a segment. */
struct weft_gateway_out {
	__u64 generation;
	struct weft_gateway_hold hold;
	__u32 network_id;
	__u32 shard;
	__u32 vsid;
	struct weft_gateway_flow flow;

	/* the decision is EXTERNAL */
	struct weft_gateway_change to;
	__u32 ifindex;
	__u32 segment;
	__u32 mtu;
	__u8 next_hop[WEFT_ADDR_LEN];
};

/* A packet that came in by an external device, for that device's own MAC address. */
struct weft_gateway_in {
	__u64 generation;
	struct weft_gateway_hold hold;
	__u32 ifindex;
	__u32 segment;
	struct weft_gateway_flow flow;
	__u8 mac[WEFT_MAC_LEN];

	/* the decision is LOCAL or TUNNEL */
	__u8 next_mac[WEFT_MAC_LEN];
	struct weft_gateway_change to;
	__u32 action;
	__u32 target_ifindex;
	__be32 pa;
	__u32 wire_vsid;
	__u32 vsid;
	__u32 network_id;
	__u32 mtu;
	__u32 hash; /* the flow hash of the packet as it goes on */
	__u32 peer;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct weft_gateway_out);
} map_gateway_out SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct weft_gateway_in);
} map_gateway_in SEC(".maps");

#define GATEWAY_FLOW_IPV6 256

/* The place of a flow between 'source' and 'destination' (4 bytes, or 16); 'where' is the network or the device. */
static __always_inline __u32 gateway_slot(const void *source, const void *destination, __be32 ports, __u32 kind, __u32 where)
{
	__u64 a, b = ports | (__u64)where << 32;

	if (kind & GATEWAY_FLOW_IPV6)
		a = LD64(source, 0) + LD64(destination, 0) + (LD64(source, 8) ^ LD64(destination, 8) * 3);
	else
		a = LD32(source, 0) | (__u64)LD32(destination, 0) << 32;
	return flow_slot(a, b, kind);
}

/* Says whether the plain packet 'b' at 'ip' is of the flow. */
static __always_inline bool gateway_flow_is(const struct weft_gateway_flow *flow, const void *ip, const struct weft_brief *b)
{
	if (flow->ports != b->ports)
		return false;
	if (b->is_ipv6)
		return flow->kind == (b->protocol | GATEWAY_FLOW_IPV6) && addr_equal(flow->source, ip + 8) && addr_equal(flow->destination, ip + 24);
	return flow->kind == b->protocol && LD32(flow->source, 0) == LD32(ip, 12) && LD32(flow->destination, 0) == LD32(ip, 16);
}

/* Says whether packets like 'b' at 'ip' may be decided by what is remembered at all. */
static __always_inline bool gateway_flow_is_plain(const struct weft_brief *b)
{
	return b->protocol == IPPROTO_TCP || b->protocol == IPPROTO_UDP;
}

static __always_inline __u32 gateway_tcp_flags(const struct weft_brief *b)
{
	return b->protocol == IPPROTO_TCP ? b->tcp_flags : 0;
}

/* Says whether the session, if there is one behind the decision, is as it was, and a packet like 'b' leaves it so. */
static __always_inline bool gateway_session_stands(const struct weft_gateway_hold *hold, const struct weft_brief *b, __u64 now)
{
	const __u32 *mark;

	if (hold->mark_index == NAT_MARK_NONE)
		return true;
	if (now >= hold->steady_until_boot_ns || (b->protocol == IPPROTO_TCP && !nat_tcp_is_steady(b->tcp_flags)))
		return false;
	mark = nat_mark_at(hold->mark_index);
	return mark && READ_ONCE(*mark) == hold->mark;
}

/* Until when, and how, the session that was touched for the packet need not be touched again. */
static __always_inline void gateway_hold_session(struct weft_gateway_hold *hold, const struct nat_work *w)
{
	hold->mark = w->mark;
	hold->steady_until_boot_ns = w->is_steady ? nat_granule_end(w->now) : 0;
}

/* The kept address 'kept', as tables have it. */
static __always_inline void gateway_kept_address(__u8 *to, const __u8 *kept, bool is_ipv6)
{
	if (is_ipv6)
		addr_copy(to, kept);
	else
		addr_set_ipv4(to, LD32(kept, 0));
}

/* Touches the session behind the decision in the slot for one more packet. Returns 0, or 1: it has to be judged in full. A function of its own, as what is done
 * for most packets should not make room for it. */
__attribute__((noinline)) int gateway_out_touch(__u32 slot, __u32 tcp_flags, __u64 now)
{
	struct weft_gateway_out *out = bpf_map_lookup_elem(&map_gateway_out, &slot);
	struct nat_work *w = nat_work(NAT_SLOT_PACKET);
	bool is_ipv6;

	if (!out || !w)
		return 1;
	is_ipv6 = out->flow.kind & GATEWAY_FLOW_IPV6;
	w->now = now;
	w->flow.tcp_flags = tcp_flags;
	w->key.segment = out->segment;
	gateway_kept_address(w->key.address, out->to.address, is_ipv6);
	gateway_kept_address(w->key.remote, out->flow.destination, is_ipv6);
	w->key.external_port = out->to.port;
	w->key.remote_port = out->flow.ports >> 16;
	w->key.protocol = out->flow.kind;
	w->to.network_id = out->network_id;
	gateway_kept_address(w->to.address, out->flow.source, is_ipv6);
	w->to.port = out->flow.ports;
	if (!nat_session_pass(w, NAT_OUT))
		return 1;
	gateway_hold_session(&out->hold, w);
	return 0;
}

/* As gateway_out_touch, for the way in. */
__attribute__((noinline)) int gateway_in_touch(__u32 slot, __u32 tcp_flags, __u64 now)
{
	struct weft_gateway_in *in = bpf_map_lookup_elem(&map_gateway_in, &slot);
	struct nat_work *w = nat_work(NAT_SLOT_PACKET);
	bool is_ipv6;

	if (!in || !w)
		return 1;
	is_ipv6 = in->flow.kind & GATEWAY_FLOW_IPV6;
	w->now = now;
	w->flow.tcp_flags = tcp_flags;
	w->key.segment = in->segment;
	gateway_kept_address(w->key.address, in->flow.destination, is_ipv6);
	gateway_kept_address(w->key.remote, in->flow.source, is_ipv6);
	w->key.external_port = in->flow.ports >> 16;
	w->key.remote_port = in->flow.ports;
	w->key.protocol = in->flow.kind;
	w->to.network_id = in->network_id;
	gateway_kept_address(w->to.address, in->to.address, is_ipv6);
	w->to.port = in->to.port;
	if (!nat_session_pass(w, NAT_IN))
		return 1;
	gateway_hold_session(&in->hold, w);
	return 0;
}

/* Where decisions of packets like 'b' at 'ip' stand; 'where' is the network or the device. */
static __always_inline __u32 gateway_slot_of(const void *ip, const struct weft_brief *b, __u32 where)
{
	return b->is_ipv6 ? gateway_slot(ip + 8, ip + 24, b->ports, b->protocol | GATEWAY_FLOW_IPV6, where)
			  : gateway_slot(ip + 12, ip + 16, b->ports, b->protocol, where);
}

/* What was decided of packets like 'b' at 'ip' in the network, or NULL. */
static __always_inline const struct weft_gateway_out *gateway_out_find(const void *ip, const struct weft_brief *b, __u32 network_id, __u32 shard,
								       __u32 vsid, __u64 generation, __u32 slot)
{
	const struct weft_gateway_out *out = bpf_map_lookup_elem(&map_gateway_out, &slot);

	if (!out || out->generation != generation || out->network_id != network_id || out->shard != shard || out->vsid != vsid ||
	    !gateway_flow_is(&out->flow, ip, b))
		return NULL;
	return out;
}

/* The frame was not changed: the full decision has to do it. */
#define GATEWAY_UNCHANGED (-1)

/* Says whether gateway_change can do it: a sum of the whole frame is the kernel's to keep, of IPv4, and before 6.2 nothing says cheaply whether there is one. */
static __always_inline bool gateway_is_changeable(struct __sk_buff *skb, const struct weft_brief *b)
{
	return !b->is_ipv6 || (!cfg_kernel_61 && offload_summed(skb) != CHECKSUM_COMPLETE);
}

/* Writes 'to' over one end of the plain packet 'b', which is changeable, with every checksum, and counts 'hops' hops. Returns 0, GATEWAY_UNCHANGED or a reason. */
static __always_inline int gateway_change(struct __sk_buff *skb, const struct weft_brief *b, const struct weft_gateway_change *to, bool destination,
					  __u32 hops)
{
	const __u32 l4_at = b->is_ipv6 ? ETH_HLEN + 40 : ETH_HLEN + 20;
	bool is_udp = b->protocol == IPPROTO_UDP, by_helper = false;
	__u32 check_at = is_udp ? 6 : 16, summed = offload_summed(skb);
	__u64 flags = is_udp ? BPF_F_MARK_MANGLED_0 : 0;
	void *data, *end;
	__u16 before, after;
	__u8 *ip, *l4;

	if (cfg_kernel_61 || summed == CHECKSUM_COMPLETE) {
		if (to->difference && bpf_l4_csum_replace(skb, l4_at + check_at, 0, to->difference, flags | BPF_F_PSEUDO_HDR))
			return GATEWAY_UNCHANGED;
		if (to->port_difference && bpf_l4_csum_replace(skb, l4_at + check_at, 0, to->port_difference, flags))
			return WEFT_DROP_KERNEL_REFUSED;
		by_helper = true;
	}
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	ip = data + ETH_HLEN;
	l4 = data + l4_at;
	if ((void *)l4 + 8 > end || (!is_udp && (void *)l4 + 20 > end))
		return by_helper ? WEFT_DROP_KERNEL_REFUSED : GATEWAY_UNCHANGED;
	if (b->is_ipv6) {
		addr_copy(ip + (destination ? 24 : 8), to->address);
		ip[7] -= hops;
	} else {
		ST32(ip, destination ? 16 : 12, LD32(to->address, 0));
		/* One hop less is 0xffff - 1 more, in this arithmetic. */
		ST16(ip, 10, ~csum_fold((__u64)(__u16)~LD16(ip, 10) + to->difference + (0xffff - hops)));
		ip[8] -= hops;
	}
	ST16(l4, destination ? 2 : 0, to->port);
	if (by_helper)
		return 0;
	before = is_udp ? LD16(l4, 6) : LD16(l4, 16);
	if (is_udp && !before)
		return 0;
	if (summed == CHECKSUM_PARTIAL) /* so far it is the sum of the pseudo header alone, not complemented */
		after = csum_fold((__u64)before + to->difference);
	else
		after = ~csum_fold((__u64)(__u16)~before + to->difference + to->port_difference);
	if (!is_udp)
		ST16(l4, 16, after);
	else
		ST16(l4, 6, after ? after : 0xffff);
	return 0;
}

/* Says whether the packet is one of those that are remembered (brief.h says it of those that come). */
static __always_inline bool gateway_is_kept(const struct weft_packet *p)
{
	return !p->is_fragment && p->l4_offset == (p->is_ipv6 ? 40 : 20) && (p->protocol == IPPROTO_TCP || p->protocol == IPPROTO_UDP);
}

/* The address 'address' of the packet, as slots have it. */
static __always_inline void gateway_keep_address(__u8 *to, const __u8 *address, bool is_ipv6)
{
	if (is_ipv6)
		addr_copy(to, address);
	else
		ST32(to, 0, LD32(address, 12));
}

static __always_inline void gateway_keep_flow(struct weft_gateway_flow *flow, const struct weft_packet *p, const __u8 *destination, __be32 ports)
{
	gateway_keep_address(flow->source, p->source.ca, p->is_ipv6);
	gateway_keep_address(flow->destination, destination, p->is_ipv6);
	flow->ports = ports;
	flow->kind = p->protocol | (p->is_ipv6 ? GATEWAY_FLOW_IPV6 : 0);
}

/* The end at 'address' and 'port' becomes 'to' and 'to_port'. */
static __always_inline void gateway_keep_change(struct weft_gateway_change *change, const __u8 *address, __be16 port, const __u8 *to, __be16 to_port,
						bool is_ipv6)
{
	__u64 difference = 0;
	int i;

	for (i = is_ipv6 ? 0 : 12; i < 16; i += 4)
		difference += (__u64)(__u32)~LD32(address, i) + LD32(to, i);
	change->difference = csum_fold32(difference);
	change->port_difference = port == to_port ? 0 : csum_fold((__u64)(__u16)~port + to_port);
	change->port = to_port;
	gateway_keep_address(change->address, to, is_ipv6);
}

/* What stands behind a decision made now: the ownership until 'deadline' and, with 'by_session', the session that was made or touched for it. */
static __always_inline void gateway_keep_hold(struct weft_gateway_hold *hold, __u64 deadline, bool by_session)
{
	const struct nat_work *w;

	hold->until_boot_ns = deadline;
	hold->mark_index = NAT_MARK_NONE;
	if (!by_session)
		return;
	w = nat_work(NAT_SLOT_PACKET);
	if (!w) {
		hold->until_boot_ns = 0;
		return;
	}
	hold->mark_index = nat_mark_of(&w->key);
	gateway_hold_session(hold, w);
}

/* Remembers that the packet of s leaves, as g says, until the shard's 'deadline'. 'to' is NULL if nothing was translated. */
static __always_inline void gateway_out_keep(struct gateway_scratch *s, const struct gateway_verdict *g, __u32 network_id, __u32 shard, __u32 vsid,
					     __u64 deadline)
{
	const struct weft_packet *p = &s->p;
	struct weft_gateway_out *out;
	__u32 kind, slot;

	if (!s->generation || !gateway_is_kept(p))
		return;
	kind = p->protocol;
	if (p->is_ipv6)
		slot = gateway_slot(p->source.ca, p->destination, p->ports, kind | GATEWAY_FLOW_IPV6, network_id);
	else
		slot = gateway_slot(p->source.ca + 12, p->destination + 12, p->ports, kind, network_id);
	out = bpf_map_lookup_elem(&map_gateway_out, &slot);
	if (!out)
		return;
	gateway_keep_hold(&out->hold, deadline, s->by_session);
	out->generation = s->generation;
	out->network_id = network_id;
	out->shard = shard;
	out->vsid = vsid;
	gateway_keep_flow(&out->flow, p, p->destination, p->ports);
	if (s->is_translated) {
		gateway_keep_change(&out->to, p->source.ca, p->ports & 0xffff, s->to.address, s->by_session ? s->to.port : p->ports & 0xffff, p->is_ipv6);
	} else {
		out->to.difference = 0;
		out->to.port_difference = 0;
		out->to.port = p->ports & 0xffff;
		gateway_keep_address(out->to.address, p->source.ca, p->is_ipv6);
	}
	out->ifindex = g->v.ifindex;
	out->segment = g->segment;
	out->mtu = s->mtu;
	addr_copy(out->next_hop, g->next_hop);
}

/* Sends the frame as was decided before. Returns 0 and what the program returns in '*verdict', GATEWAY_UNCHANGED or a reason. 'hops' is how many hops
 * the frame has come since it was readable as 'b', and this one. */
static __always_inline int gateway_out_known(struct __sk_buff *skb, const struct weft_brief *b, __u32 network_id, __u32 shard, __u32 vsid, __u32 hops,
					     __u64 generation, int *verdict)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	const struct weft_gateway_out *out;
	__u32 gso_size = skb->gso_size, slot;
	int reason;
	__u64 now;

	if (!generation || !gateway_flow_is_plain(b) || data + ETH_HLEN + (b->is_ipv6 ? 40 : 20) > end)
		return GATEWAY_UNCHANGED;
	slot = gateway_slot_of(data + ETH_HLEN, b, network_id);
	out = gateway_out_find(data + ETH_HLEN, b, network_id, shard, vsid, generation, slot);
	if (!out || b->ttl <= hops || (gso_size ? b->headers + gso_size : b->length) > out->mtu || !gateway_is_changeable(skb, b))
		return GATEWAY_UNCHANGED;
	now = weft_now();
	if (now >= out->hold.until_boot_ns)
		return GATEWAY_UNCHANGED;
	if (!gateway_session_stands(&out->hold, b, now) && gateway_out_touch(slot, gateway_tcp_flags(b), now))
		return GATEWAY_UNCHANGED;
	reason = gateway_change(skb, b, &out->to, false, hops);
	if (reason)
		return reason;
	gateway_traffic_count(skb, network_id);
	skb->cb[0] = WEFT_ACTION_EXTERNAL << 16;
	skb->cb[1] = out->ifindex;
	skb->cb[2] = LD32(out->next_hop, 12);
	skb->cb[3] = out->segment;
	skb->cb[4] = 0;
	*verdict = gateway_send_to(skb, out->ifindex, out->next_hop);
	return 0;
}

/* As gateway_out_known, for a frame that is stripped and goes to to_gateway as 'v' says. */
static __always_inline int gateway_out_stripped(struct __sk_buff *skb, const struct weft_verdict *v, int *verdict)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct weft_brief b;

	if (data + ETH_HLEN > end || !brief_read(data + ETH_HLEN, end, LD16(data, 12), skb->len - ETH_HLEN, &b))
		return GATEWAY_UNCHANGED;
	return gateway_out_known(skb, &b, v->network_id, v->ifindex, v->wire_vsid, 1, v->generation, verdict);
}

/* Remembers that the packet of s goes on as g says, to a CA of 'network'. 'rewritten': its destination is s->to; 'target' has the CA. */
static __always_inline void gateway_in_keep(struct __sk_buff *skb, struct gateway_scratch *s, const struct gateway_verdict *g, __u32 network_id,
					    const struct weft_gateway_network *network, bool rewritten, const struct weft_target *target)
{
	const struct weft_packet *p = &s->p;
	const struct weft_gateway_shard *own;
	__u32 shard = network->shard, kind, slot;
	struct weft_gateway_in *in;

	/* Whether the source is ours is told by the clock, if it is an external address at all. */
	if (!s->generation || !gateway_is_kept(p) || gateway_address(s->segment, p->source.ca))
		return;
	own = bpf_map_lookup_elem(&map_gateway_shard, &shard);
	if (!own)
		return;
	kind = p->protocol;
	if (p->is_ipv6)
		slot = gateway_slot(p->source.ca, s->asked, s->asked_ports, kind | GATEWAY_FLOW_IPV6, skb->ifindex);
	else
		slot = gateway_slot(p->source.ca + 12, s->asked + 12, s->asked_ports, kind, skb->ifindex);
	in = bpf_map_lookup_elem(&map_gateway_in, &slot);
	if (!in)
		return;
	gateway_keep_hold(&in->hold, READ_ONCE(own->deadline_boot_ns), s->by_session);
	in->generation = s->generation;
	in->ifindex = skb->ifindex;
	in->segment = s->segment;
	mac_copy(in->mac, s->asked_mac);
	gateway_keep_flow(&in->flow, p, s->asked, s->asked_ports);
	if (rewritten) {
		gateway_keep_change(&in->to, s->asked, s->asked_ports >> 16, s->to.address, s->by_session ? s->to.port : s->asked_ports >> 16, p->is_ipv6);
	} else {
		in->to.difference = 0;
		in->to.port_difference = 0;
		in->to.port = s->asked_ports >> 16;
		gateway_keep_address(in->to.address, s->asked, p->is_ipv6);
	}
	in->action = g->v.action;
	in->target_ifindex = g->v.ifindex;
	in->peer = g->v.peer;
	in->pa = g->v.pa;
	in->wire_vsid = target->vsid;
	in->vsid = network->vsid;
	in->network_id = network_id;
	in->mtu = network->mtu;
	in->hash = g->outer.hash;
	mac_copy(in->next_mac, target->mac);
}

/* Turns a frame from outside into what was decided before of its like: fills '*v' (LOCAL, or TUNNEL to be encapsulated by '*outer'). Returns 0,
 * GATEWAY_UNCHANGED or a reason. */
static __always_inline int gateway_in_known(struct __sk_buff *skb, struct weft_verdict *v, struct weft_outer *outer)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u32 gso_size = skb->gso_size, slot;
	const struct weft_gateway_in *in;
	void *ip = data + ETH_HLEN;
	struct weft_brief b;
	int reason;
	__u64 now;

	if (!v->generation || ip > end || skb->vlan_present || !brief_read(ip, end, LD16(data, 12), skb->len - ETH_HLEN, &b))
		return GATEWAY_UNCHANGED;
	if (!gateway_flow_is_plain(&b) || ip + (b.is_ipv6 ? 40 : 20) > end)
		return GATEWAY_UNCHANGED;
	slot = gateway_slot_of(ip, &b, skb->ifindex);
	in = bpf_map_lookup_elem(&map_gateway_in, &slot);
	if (!in || in->generation != v->generation || in->ifindex != skb->ifindex || !mac_equal(in->mac, data) || !gateway_flow_is(&in->flow, ip, &b))
		return GATEWAY_UNCHANGED;
	if (b.ttl <= 1 || (gso_size ? b.headers + gso_size : b.length) > in->mtu || (in->action == WEFT_ACTION_TUNNEL && !encap_fits(b.length)) ||
	    !gateway_is_changeable(skb, &b))
		return GATEWAY_UNCHANGED;
	now = weft_now();
	if (now >= in->hold.until_boot_ns)
		return GATEWAY_UNCHANGED;
	if (!gateway_session_stands(&in->hold, &b, now) && gateway_in_touch(slot, gateway_tcp_flags(&b), now))
		return GATEWAY_UNCHANGED;
	reason = gateway_change(skb, &b, &in->to, true, 1);
	if (reason)
		return reason;
	gateway_traffic_count(skb, in->network_id);
	data = (void *)(long)skb->data;
	if (data + ETH_HLEN > (void *)(long)skb->data_end)
		return WEFT_DROP_KERNEL_REFUSED;
	mac_copy(data, in->next_mac);
	mac_set_gateway(data + ETH_ALEN, in->wire_vsid);
	v->action = in->action;
	v->ifindex = in->target_ifindex;
	v->peer = in->peer;
	v->pa = in->pa;
	v->wire_vsid = in->wire_vsid;
	v->vsid = in->vsid;
	outer->length = b.length;
	outer->ecn = b.ecn;
	outer->hash = in->hash;
	outer->is_ipv6 = b.is_ipv6;
	return 0;
}

#endif
