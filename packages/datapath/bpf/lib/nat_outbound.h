/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Port mapping on the way out: docs/gateway-contract.md section 5 step 6, packages/forwarding/src/nat/port-mapping.ts. */
#ifndef WEFT_NAT_OUTBOUND_H
#define WEFT_NAT_OUTBOUND_H

#include "nat_fragment.h"
#include "nat_session.h"

static __always_inline bool nat_has_ports(const struct gateway_flow *flow)
{
	return flow->protocol == IPPROTO_TCP || flow->protocol == IPPROTO_UDP || flow->protocol == (flow->is_ipv6 ? 58 : IPPROTO_ICMP);
}

/* Fills w->mapping_key from the flow, and w->key but for the external end. */
static __always_inline void nat_outbound_keys(struct nat_work *w)
{
	w->remote_port = nat_is_icmp(w->flow.protocol) ? 0 : w->flow.remote_port;
	w->mapping_key.network_id = w->flow.network_id;
	addr_copy(w->mapping_key.ca, w->flow.near);
	w->mapping_key.port = w->flow.near_port;
	w->mapping_key.protocol = w->flow.protocol;
	w->mapping_key.pad = 0;
	addr_copy(w->key.remote, w->flow.remote);
	w->key.remote_port = w->remote_port;
	w->key.protocol = w->flow.protocol;
}

/* Puts the mapping's external end into w->key.  False: there is none. */
static __always_inline bool nat_mapping_find(struct nat_work *w)
{
	struct nat_mapping *mapping = bpf_map_lookup_elem(&map_nat_mapping, &w->mapping_key);

	if (!mapping)
		return false;
	w->key.segment = mapping->segment;
	addr_copy(w->key.address, mapping->address);
	w->key.external_port = mapping->external_port;
	asm volatile("" ::: "memory");
	return READ_ONCE(mapping->self_network_id) == w->flow.network_id && READ_ONCE(mapping->self_ca) == LD32(w->flow.near, 12) &&
	       READ_ONCE(mapping->self_port) == w->flow.near_port && READ_ONCE(mapping->self_protocol) == w->flow.protocol;
}

/* Likewise by the port forward whose session this remote side has begun. */
static __always_inline bool nat_reverse_find(struct nat_work *w)
{
	struct nat_reverse *reverse;

	w->reverse_key.network_id = w->flow.network_id;
	addr_copy(w->reverse_key.ca, w->flow.near);
	addr_copy(w->reverse_key.remote, w->flow.remote);
	w->reverse_key.port = w->flow.near_port;
	w->reverse_key.remote_port = w->remote_port;
	w->reverse_key.protocol = w->flow.protocol;
	reverse = bpf_map_lookup_elem(&map_nat_reverse, &w->reverse_key);
	if (!reverse)
		return false;
	w->key.segment = reverse->segment;
	addr_copy(w->key.address, reverse->address);
	w->key.external_port = reverse->external_port;
	return true;
}

/* The session belongs to the flow's near end. */
static __always_inline bool nat_session_is_of_flow(const struct nat_session *session, const struct nat_work *w)
{
	return session->network_id == w->flow.network_id && session->inside_port == w->flow.near_port &&
	       LD32(session->ca, 0) == LD32(w->flow.near, 0) && LD32(session->ca, 4) == LD32(w->flow.near, 4) &&
	       LD32(session->ca, 8) == LD32(w->flow.near, 8) && LD32(session->ca, 12) == LD32(w->flow.near, 12);
}

/* Whether w->key is a session of the kind that lets the flow through now. */
static __always_inline struct nat_session *nat_session_live(struct nat_work *w, __u32 kind)
{
	struct nat_session *session = bpf_map_lookup_elem(&map_nat_session, &w->key);

	if (!session || session->kind != kind || session->expires_boot_ns <= w->now || !nat_session_is_of_flow(session, w) ||
	    !nat_is_forwarded(&w->key, session))
		return NULL;
	return session;
}

/* An error from inside makes, ends and prolongs nothing. */
static __always_inline int nat_outbound_error(struct nat_work *w)
{
	if (nat_mapping_find(w) && nat_session_live(w, NAT_SESSION_MAPPING))
		return 0;
	if (nat_reverse_find(w) && nat_session_live(w, NAT_SESSION_FORWARD))
		return 0;
	return WEFT_DROP_NAT_NO_MAPPING;
}

static __always_inline void nat_session_of_flow(struct nat_work *w)
{
	w->session.network_id = w->flow.network_id;
	w->session.inside_port = w->flow.near_port;
	w->session.kind = NAT_SESSION_MAPPING;
	addr_copy(w->session.ca, w->flow.near);
	w->session.flags = nat_first_flags(w->flow.protocol, w->flow.tcp_flags, NAT_OUT);
}

/* One more session of the mapping at w->key.  0, NAT_AGAIN or a reason. */
__attribute__((noinline)) int nat_flow_join(__u32 slot)
{
	struct nat_work *w = nat_work(slot);
	int reason;

	if (!w)
		return WEFT_DROP_NAT_TABLE_FULL;
	reason = nat_session_reserve(w, w->flow.network_id);
	if (reason)
		return reason;
	NAT_RACE_POINT();
	if (!nat_mapping_enter(w)) {
		nat_session_unreserve(w->flow.network_id);
		return NAT_AGAIN;
	}
	nat_session_of_flow(w);
	reason = nat_session_add(slot);
	if (reason) {
		nat_session_unreserve(w->flow.network_id);
		nat_mapping_leave(slot);
	}
	return reason;
}

/* A mapping and its first session.  0, NAT_AGAIN or a reason. */
__attribute__((noinline)) int nat_flow_new(__u32 slot)
{
	struct nat_work *w = nat_work(slot);
	struct nat_event_mapping *event;
	int reason;
	__u32 try;

	if (!w)
		return WEFT_DROP_NAT_TABLE_FULL;
	if (w->flow.protocol == IPPROTO_TCP && !nat_tcp_opens(w->flow.tcp_flags))
		return WEFT_DROP_NAT_TCP_NOT_SYN;
	reason = nat_session_reserve(w, w->flow.network_id);
	if (reason)
		return reason;
	w->source_key.network_id = w->flow.network_id;
	w->source_key.pool = w->pool;
	addr_copy(w->source_key.ca, w->flow.near);
#pragma clang loop unroll(disable)
	for (try = 0; try < NAT_TRIES; try++) {
		reason = nat_port_take(slot);
		if (reason != NAT_GRANT)
			break;
		reason = nat_block_grant(slot);
		if (reason)
			break;
		reason = NAT_GRANT;
	}
	if (reason == NAT_GRANT) { /* granted to others each time */
		nat_contended();
		reason = WEFT_DROP_NAT_PORTS_EXHAUSTED;
	}
	if (reason) {
		nat_session_unreserve(w->flow.network_id);
		return reason;
	}
	w->mapping.self_network_id = w->flow.network_id;
	w->mapping.self_ca = LD32(w->flow.near, 12);
	w->mapping.self_port = w->flow.near_port;
	w->mapping.self_protocol = w->flow.protocol;
	w->mapping.pad = 0;
	w->mapping.pool = w->pool;
	w->mapping.segment = w->address.segment;
	addr_copy(w->mapping.address, w->address.address);
	w->mapping.external_port = bpf_htons(w->reference & 0xffff);
	w->mapping.ticket = nat_ticket();
	event = nat_event_reserve(sizeof(*event));
	NAT_RACE_POINT();
	if (bpf_map_update_elem(&map_nat_mapping, &w->mapping_key, &w->mapping, BPF_NOEXIST)) {
		/* Another processor was faster, or the table is full: nobody has seen the port. */
		nat_port_give(slot, 0);
		if (event) {
			nat_event_mapping(event, NAT_EVENT_PORT_RETURNED, w);
			bpf_ringbuf_submit(event, 0);
		} else {
			nat_event_lost();
		}
		nat_session_unreserve(w->flow.network_id);
		return bpf_map_lookup_elem(&map_nat_mapping, &w->mapping_key) ? NAT_AGAIN : WEFT_DROP_NAT_TABLE_FULL;
	}
	if (event) {
		nat_event_mapping(event, NAT_EVENT_MAPPING_ADDED, w);
		bpf_ringbuf_submit(event, 0);
	} else {
		nat_event_lost();
	}
	w->key.segment = w->mapping.segment;
	addr_copy(w->key.address, w->mapping.address);
	w->key.external_port = w->mapping.external_port;
	nat_session_of_flow(w);
	reason = nat_session_add(slot);
	if (reason) {
		nat_session_unreserve(w->flow.network_id);
		nat_mapping_leave(slot);
	}
	return reason;
}

/* The session of a packet that is translated already.  0, NAT_MISS, NAT_AGAIN, or a reason. */
static __always_inline int nat_outbound_known(struct nat_work *w, bool *mapped)
{
	struct nat_session *session = NULL;
	__u64 end;

	*mapped = nat_mapping_find(w);
	if (*mapped) {
		nat_mark_read(w);
		session = bpf_map_lookup_elem(&map_nat_session, &w->key);
		if (session && session->kind == NAT_SESSION_MAPPING && nat_session_is_of_flow(session, w) &&
		    (end = READ_ONCE(session->expires_boot_ns), nat_session_is(session, &w->key)))
			return nat_session_touch(w, session, NAT_OUT, end);
	}
	if (nat_reverse_find(w)) {
		struct nat_session *answered;

		nat_mark_read(w);
		answered = nat_session_live(w, NAT_SESSION_FORWARD);
		if (answered)
			return nat_session_touch(w, answered, NAT_OUT, READ_ONCE(answered->expires_boot_ns));
		if (*mapped)
			nat_mapping_find(w);
	}
	/* A port forward's session of the same remote side has its place. */
	return session ? WEFT_DROP_NAT_FILTERED : NAT_MISS;
}

/* The flow in slot 0: fills w->to.  Returns 0 or a reason. */
__attribute__((noinline)) int nat_outbound_flow(__u32 slot)
{
	struct nat_work *w = nat_work(slot);
	int reason = NAT_AGAIN;
	bool mapped;
	__u32 try;

	if (!w)
		return WEFT_DROP_NAT_TABLE_FULL;
	if (!w->flow.is_error && !w->flow.has_l4)
		return nat_fragment_later(w, NAT_OUT);
	if (!nat_has_ports(&w->flow))
		return WEFT_DROP_NAT_PROTOCOL_NOT_SUPPORTED;
	nat_outbound_keys(w);
	if (w->flow.is_error) {
		reason = nat_outbound_error(w);
	} else {
		if (nat_is_icmp(w->flow.protocol) && w->flow.icmp_type != (w->flow.is_ipv6 ? 128 : 8))
			return WEFT_DROP_NAT_PROTOCOL_NOT_SUPPORTED;
#pragma clang loop unroll(disable)
		for (try = 0; try < 3; try++) {
			reason = nat_outbound_known(w, &mapped);
			if (reason == NAT_MISS)
				reason = mapped ? nat_flow_join(slot) : nat_flow_new(slot);
			if (reason != NAT_AGAIN)
				break;
		}
	}
	if (reason == NAT_AGAIN) {
		nat_contended();
		return WEFT_DROP_NAT_PORTS_EXHAUSTED;
	}
	if (reason)
		return reason;
	if (w->key.segment != w->flow.segment)
		return WEFT_DROP_NAT_NO_MAPPING;
	addr_copy(w->to.address, w->key.address);
	w->to.port = w->key.external_port;
	w->to.network_id = 0;
	if (w->flow.is_fragment && !w->flow.is_error)
		nat_fragment_keep(w, NAT_OUT);
	return 0;
}

/* Fills '*t', which the caller has zeroed.  'kind' is WEFT_SOURCE_POOL or WEFT_SOURCE_ADDRESS.  Returns 0 or a reason. */
static __always_inline int nat_outbound(const struct gateway_flow *flow, __u32 kind, __u32 pool, struct gateway_translation *t)
{
	struct nat_work *w = nat_work(NAT_SLOT_PACKET);
	int reason;

	(void)kind;
	if (!w)
		return WEFT_DROP_NAT_TABLE_FULL;
	w->flow = *flow;
	w->pool = pool;
	w->is_steady = 0;
	w->now = weft_now();
	reason = nat_outbound_flow(NAT_SLOT_PACKET);
	if (!reason)
		*t = w->to;
	return reason;
}

#endif
