/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Port mapping on the way in: docs/gateway-contract.md section 6 step 4, packages/forwarding/src/nat/port-mapping.ts. */
#ifndef WEFT_NAT_INBOUND_H
#define WEFT_NAT_INBOUND_H

#include "gateway_types.h"
#include "nat_outbound.h"

/* Fills w->to from a session read as a whole. */
static __always_inline bool nat_inbound_to(struct nat_work *w, const struct nat_session *session)
{
	w->to.network_id = session->network_id;
	addr_copy(w->to.address, session->ca);
	w->to.port = session->inside_port;
	return nat_session_is(session, &w->key);
}

/* A new session by the port forward, or the same one again.  0, NAT_AGAIN or a reason. */
__attribute__((noinline)) int nat_forward_begin(__u32 slot)
{
	struct nat_work *w = nat_work(slot);
	struct weft_port_forward_key key = {};
	struct weft_port_forward *forward;
	struct nat_session *session;
	struct nat_block *block;
	struct nat_port *port;
	int reason;

	if (!w)
		return WEFT_DROP_NAT_TABLE_FULL;
	key.segment = w->key.segment;
	addr_copy(key.address, w->key.address);
	key.port = w->key.external_port;
	key.protocol = w->key.protocol;
	forward = bpf_map_lookup_elem(&map_port_forward, &key);
	if (!forward) {
		block = nat_key_block(w);
		if (!block)
			return WEFT_DROP_NAT_NO_MAPPING;
		port = &block->ports[bpf_ntohs(w->key.external_port) & (NAT_BLOCK_PORTS - 1)];
		return port->protocol == w->key.protocol ? WEFT_DROP_NAT_FILTERED : WEFT_DROP_NAT_NO_MAPPING;
	}
	w->session.network_id = forward->network_id;
	w->session.inside_port = forward->port;
	w->session.kind = NAT_SESSION_FORWARD;
	addr_copy(w->session.ca, forward->ca);
	w->session.flags = nat_first_flags(w->key.protocol, w->flow.tcp_flags, NAT_IN);
	session = bpf_map_lookup_elem(&map_nat_session, &w->key);
	if (session) {
		/* What stands there is over: the same forward's begins again, another's keeps its place until it is swept. */
		if (session->kind != NAT_SESSION_FORWARD || !nat_is_forwarded(&w->key, session))
			return WEFT_DROP_NAT_FILTERED;
		return nat_session_touch(w, session, NAT_IN, READ_ONCE(session->expires_boot_ns));
	}
	reason = nat_session_reserve(w, w->session.network_id);
	if (reason)
		return reason;
	reason = nat_session_add(slot);
	if (reason)
		nat_session_unreserve(w->session.network_id);
	return reason;
}

/* The flow in slot 0: fills w->to.  Returns 0 or a reason. */
__attribute__((noinline)) int nat_inbound_flow(__u32 slot)
{
	struct nat_work *w = nat_work(slot);
	struct nat_session *session;
	int reason;
	__u32 try;

	if (!w)
		return WEFT_DROP_NAT_TABLE_FULL;
	if (!w->flow.is_error && !w->flow.has_l4)
		return nat_fragment_later(w, NAT_IN);
	if (!nat_has_ports(&w->flow))
		return WEFT_DROP_NAT_PROTOCOL_NOT_SUPPORTED;
	if (nat_is_icmp(w->flow.protocol) && !w->flow.is_error && w->flow.icmp_type != (w->flow.is_ipv6 ? 129 : 0))
		return w->flow.icmp_type == (w->flow.is_ipv6 ? 128 : 8) ? WEFT_DROP_NAT_NO_MAPPING : WEFT_DROP_NAT_PROTOCOL_NOT_SUPPORTED;
	w->remote_port = nat_is_icmp(w->flow.protocol) ? 0 : w->flow.remote_port;
	w->key.segment = w->flow.segment;
	addr_copy(w->key.address, w->flow.near);
	addr_copy(w->key.remote, w->flow.remote);
	w->key.external_port = w->flow.near_port;
	w->key.remote_port = w->remote_port;
	w->key.protocol = w->flow.protocol;
#pragma clang loop unroll(disable)
	for (try = 0; try < 3; ) {
		asm volatile("" ::: "memory"); /* else the compiler reads ahead behind the loop's edge */
		nat_mark_read(w);
		session = bpf_map_lookup_elem(&map_nat_session, &w->key);
		if (session && session->expires_boot_ns > w->now && nat_is_forwarded(&w->key, session)) {
			if (!nat_inbound_to(w, session))
				goto again;
			if (w->flow.is_error)
				return 0;
			if (nat_session_touch(w, session, NAT_IN, READ_ONCE(session->expires_boot_ns)))
				goto again;
			goto found;
		}
		if (w->flow.is_error)
			return WEFT_DROP_NAT_NO_MAPPING;
		reason = nat_forward_begin(slot);
		if (reason == NAT_AGAIN)
			goto again;
		if (reason)
			return reason;
		w->to.network_id = w->session.network_id;
		addr_copy(w->to.address, w->session.ca);
		w->to.port = w->session.inside_port;
		goto found;
again:
		try++;
		barrier_var(try); /* likewise */
		NAT_LOOP_EDGE();
	}
	nat_contended();
	return WEFT_DROP_NAT_NO_MAPPING;
found:
	if (w->flow.is_fragment)
		nat_fragment_keep(w, NAT_IN);
	return 0;
}

/* Fills '*t', which the caller has zeroed.  'address' is the entry of flow->near, of kind WEFT_ADDRESS_POOL or WEFT_ADDRESS_RESERVED; its
 * shard is ours.  Returns 0 or a reason. */
static __always_inline int nat_inbound(const struct gateway_flow *flow, const struct weft_external_address *address,
				       struct gateway_translation *t)
{
	struct nat_work *w = nat_work(NAT_SLOT_PACKET);
	int reason;

	(void)address;
	if (!w)
		return WEFT_DROP_NAT_TABLE_FULL;
	w->flow = *flow;
	w->is_steady = 0;
	w->now = weft_now();
	reason = nat_inbound_flow(NAT_SLOT_PACKET);
	if (!reason)
		*t = w->to;
	return reason;
}

#endif
