/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Sessions: a mapping (or a port forward) and one remote address and port.  packages/forwarding/src/nat/session.ts.
 *
 * Races.  Whoever inserts a row with BPF_NOEXIST first has made it; the other gives back what it took and uses that one.  A mapping counts its
 * sessions in its port's record: counting down to 0 and then exchanging 0 for NAT_DEAD decides who retires it, and nobody counts up from 0 or
 * from NAT_DEAD.  So two first packets of one flow end in one mapping and one session, and no port is lost.
 *
 * Who exchanges the end of a session that has run out decides likewise: the sweep for 0, which retires it, or a packet for a new end.
 *
 * What standbys are told of one ticket stands in the ring as ADDED, CHANGED ..., RETIRED: the sweep says 'retiring' before it reserves room for
 * RETIRED, and who tells a change looks at that after having reserved its own.  ADDED of the next ticket may stand before RETIRED of the one
 * before; a standby that has heard of the higher one leaves the lower alone.  (Tickets of one key rise, since a session lives much longer than the
 * time between taking its ticket and inserting it.) */
#ifndef WEFT_NAT_SESSION_H
#define WEFT_NAT_SESSION_H

#include "leaky_bucket.h"
#include "nat_holder.h"
#include "nat_mark.h"
#include "nat_tcp.h"

/* The memory of a deleted row may be given to a new one while a program reads it.  So rows repeat what tells them from others in their first
 * bytes, which are written first, and readers compare it last: what was read before is the right row's then. */
static __always_inline void nat_session_self(__u32 *self, const struct nat_session_key *key)
{
	self[0] = LD32(key->remote, 12) ^ key->segment;
	self[1] = (key->external_port | (__u32)key->remote_port << 16) ^ LD32(key->address, 12) ^ (__u32)key->protocol << 24;
}

static __always_inline bool nat_session_is(const struct nat_session *session, const struct nat_session_key *key)
{
	__u32 self[2];

	asm volatile("" ::: "memory");
	nat_session_self(self, key);
	return READ_ONCE(session->self[0]) == self[0] && READ_ONCE(session->self[1]) == self[1];
}

static __always_inline void nat_event_session(struct nat_event_session *event, __u32 kind, const struct nat_work *w,
					      const struct nat_session *session)
{
	event->kind = kind;
	event->pad = 0;
	event->time_boot_ns = w->now;
	event->key = w->key;
	event->pad2 = 0;
	event->session = *session;
}

/* A session by a port forward lives only as long as that forward. */
static __always_inline bool nat_is_forwarded(const struct nat_session_key *key, const struct nat_session *session)
{
	struct weft_port_forward_key forward_key = { .segment = key->segment, .port = key->external_port, .protocol = key->protocol };
	struct weft_port_forward *forward;

	if (session->kind != NAT_SESSION_FORWARD)
		return true;
	addr_copy(forward_key.address, key->address);
	forward = bpf_map_lookup_elem(&map_port_forward, &forward_key);
	return forward && forward->network_id == session->network_id && forward->port == session->inside_port &&
	       LD32(forward->ca, 0) == LD32(session->ca, 0) && LD32(forward->ca, 4) == LD32(session->ca, 4) &&
	       LD32(forward->ca, 8) == LD32(session->ca, 8) && LD32(forward->ca, 12) == LD32(session->ca, 12);
}

/* Tells standbys of the session w->key, unless its end comes first. */
__attribute__((noinline)) int nat_session_tell(__u32 slot)
{
	struct nat_work *w = nat_work(slot);
	struct nat_event_session *event;
	struct nat_session *session;
	__u64 ticket;

	if (!w)
		return 0;
	NAT_RACE_POINT();
	session = bpf_map_lookup_elem(&map_nat_session, &w->key);
	if (!session)
		return 0;
	ticket = READ_ONCE(session->ticket);
	NAT_RACE_POINT();
	event = nat_event_reserve(sizeof(*event));
	if (!event) {
		nat_event_lost();
		return 0;
	}
	if (READ_ONCE(session->retiring) || !nat_session_is(session, &w->key))
		goto discard;
	session->told_boot_ns = session->expires_boot_ns;
	__sync_fetch_and_add(&session->revision, 1);
	NAT_RACE_POINT();
	nat_event_session(event, NAT_EVENT_SESSION_CHANGED, w, session);
	if (event->session.retiring || event->session.ticket != ticket || !nat_session_is(session, &w->key))
		goto discard;
	bpf_ringbuf_submit(event, 0);
	return 0;
discard:
	bpf_ringbuf_discard(event, 0);
	return 0;
}

/* To be called before the session of w->key is looked up, if what is found may be touched. */
static __always_inline void nat_mark_read(struct nat_work *w)
{
	const __u32 *mark = nat_mark_at(nat_mark_of(&w->key));

	w->mark = mark ? READ_ONCE(*mark) : 0;
	asm volatile("" ::: "memory");
}

/* A packet of the session w->key, whose end was 'end': it lives on (RFC 4787 REQ-6, both ways), or begins again, if it had run out.  0, or
 * NAT_AGAIN: another processor has decided that, or the sweep its end. */
static __always_inline int nat_session_touch(struct nat_work *w, struct nat_session *session, __u32 direction, __u64 end)
{
	__u32 before = READ_ONCE(session->flags), seen = before;
	bool anew = end <= w->now;
	__u64 timeout, expires, tell;

	if (anew) {
		seen = nat_first_flags(w->key.protocol, w->flow.tcp_flags, direction);
		expires = nat_expires(w->now, w->key.protocol, seen);
		NAT_RACE_POINT();
		if (!end || __sync_val_compare_and_swap(&session->expires_boot_ns, end, expires) != end)
			return NAT_AGAIN;
		if (seen != before)
			session->flags = seen;
	} else if (w->key.protocol == IPPROTO_TCP) {
		seen = nat_tcp_advance(before, w->flow.tcp_flags, direction);
		/* Bit by bit: the other direction may be on another processor. */
		if (seen & ~before)
			__sync_fetch_and_or(&session->flags, seen & ~before);
		if (before & ~seen)
			__sync_fetch_and_and(&session->flags, ~(before & ~seen));
	}
	timeout = nat_timeout(w->key.protocol, seen);
	expires = nat_expires(w->now, w->key.protocol, seen);
	if (!anew)
		session->expires_boot_ns = expires;
	/* What this packet has changed itself is no reason to decide anew about the next. */
	if ((anew || seen != before) && nat_mark_bump(&w->key) == w->mark)
		w->mark++;
	w->is_steady = w->key.protocol != IPPROTO_TCP || nat_tcp_is_steady(w->flow.tcp_flags);
	tell = timeout / 4;
	if (tell > NAT_TELL_NS_MAX)
		tell = NAT_TELL_NS_MAX;
	if (anew || seen != before || expires > session->told_boot_ns + tell)
		nat_session_tell(NAT_SLOT_PACKET);
	return 0;
}

/* A packet of tcp flags w->flow.tcp_flags at w->now, of a session whose translation is known (gateway_slot.h): w->key, and inside w->to. Does what nat_session_touch does
 * if that session lives and is still the inside's; else false, and nothing is done. */
static __always_inline bool nat_session_pass(struct nat_work *w, __u32 direction)
{
	struct nat_session *session;
	__u64 end;

	nat_mark_read(w);
	session = bpf_map_lookup_elem(&map_nat_session, &w->key);
	if (!session)
		return false;
	end = READ_ONCE(session->expires_boot_ns);
	if (end <= w->now || session->network_id != w->to.network_id || session->inside_port != w->to.port ||
	    !addr_equal(session->ca, w->to.address) || !nat_is_forwarded(&w->key, session) || !nat_session_is(session, &w->key))
		return false;
	return !nat_session_touch(w, session, direction, end);
}

/* A new flow keeps to the network's limit by the second: a flood is refused before it costs anything more.  Two processors at once may let one more in. */
static __always_inline bool nat_is_in_time(struct nat_work *w, __u32 network_id, __u32 per_second)
{
	struct nat_rate *rate;

	if (!per_second)
		return true;
	rate = bpf_map_lookup_elem(&map_nat_rate, &network_id);
	if (!rate) {
		bpf_map_update_elem(&map_nat_rate, &network_id, &w->rate, BPF_NOEXIST);
		rate = bpf_map_lookup_elem(&map_nat_rate, &network_id);
		if (!rate)
			return true;
	}
	if (leaky_bucket_take(&rate->due_boot_ns, w->now, NAT_SECOND / per_second))
		return true;
	__sync_fetch_and_add(&rate->denied, 1);
	return false;
}

/* When the table of sessions is nearly full, what is left is for networks that have less than their share. */
static __always_inline bool nat_has_room(__u32 sessions)
{
	const struct nat_pressure *pressure;
	__u32 zero = 0, share;

	pressure = bpf_map_lookup_elem(&map_nat_pressure, &zero);
	share = pressure ? READ_ONCE(pressure->sessions_share) : 0;
	return !share || sessions < share;
}

/* Counts one more session of a network, or refuses it. */
static __always_inline int nat_session_reserve(struct nat_work *w, __u32 network_id)
{
	struct nat_usage *usage = nat_usage(w, network_id);
	struct nat_quota *quota;
	__u32 sessions;

	if (!usage)
		return WEFT_DROP_NAT_TABLE_FULL;
	quota = bpf_map_lookup_elem(&map_gateway_quota, &network_id);
	if (quota && !nat_is_in_time(w, network_id, quota->new_flows_per_second))
		return WEFT_DROP_NAT_RATE_QUOTA;
	if (quota) {
		sessions = __sync_fetch_and_add(&usage->sessions, 1);
		if (sessions < quota->sessions && nat_has_room(sessions))
			return 0;
		__sync_fetch_and_sub(&usage->sessions, 1);
	}
	__sync_fetch_and_add(&usage->denied_sessions, 1);
	return WEFT_DROP_NAT_FLOW_QUOTA;
}

static __always_inline void nat_session_unreserve(__u32 network_id)
{
	struct nat_usage *usage = bpf_map_lookup_elem(&map_nat_usage, &network_id);

	if (usage)
		__sync_fetch_and_sub(&usage->sessions, 1);
}

static __always_inline void nat_reverse_key_of(struct nat_work *w, const struct nat_session *session)
{
	w->reverse_key.network_id = session->network_id;
	addr_copy(w->reverse_key.ca, session->ca);
	addr_copy(w->reverse_key.remote, w->key.remote);
	w->reverse_key.port = session->inside_port;
	w->reverse_key.remote_port = w->key.remote_port;
	w->reverse_key.protocol = w->key.protocol;
}

/* The way back of the session by a port forward w->key, w->session.  0, or an error. */
static __always_inline long nat_reverse_put(struct nat_work *w)
{
	nat_reverse_key_of(w, &w->session);
	w->reverse.segment = w->key.segment;
	addr_copy(w->reverse.address, w->key.address);
	w->reverse.external_port = w->key.external_port;
	return bpf_map_update_elem(&map_nat_reverse, &w->reverse_key, &w->reverse, BPF_ANY);
}

/* Makes the session w->key from w->session, whose owner, kind and flags are filled; it has been counted.  0, NAT_AGAIN (it is there), or a
 * reason. */
__attribute__((noinline)) int nat_session_add(__u32 slot)
{
	struct nat_work *w = nat_work(slot);
	struct nat_event_session *event;
	struct nat_session *session;
	int error;

	if (!w)
		return WEFT_DROP_NAT_TABLE_FULL;
	nat_session_self(w->session.self, &w->key);
	w->session.retiring = 0;
	w->session.revision = 0;
	w->session.expires_boot_ns = nat_expires(w->now, w->key.protocol, w->session.flags);
	w->session.told_boot_ns = w->session.expires_boot_ns;
	w->session.ticket = nat_ticket();
	event = nat_event_reserve(sizeof(*event));
	NAT_RACE_POINT();
	error = bpf_map_update_elem(&map_nat_session, &w->key, &w->session, BPF_NOEXIST);
	if (error) {
		if (event)
			bpf_ringbuf_discard(event, 0);
		return error == -17 /* EEXIST */ ? NAT_AGAIN : WEFT_DROP_NAT_TABLE_FULL;
	}
	if (w->session.kind == NAT_SESSION_FORWARD && nat_reverse_put(w))
		goto full;
	__builtin_memset(&w->entry, 0, sizeof(w->entry));
	w->entry.kind = NAT_QUEUE_SESSION;
	w->entry.ticket = w->session.ticket;
	w->entry.session = w->key;
	if (bpf_map_push_elem(&map_nat_queue, &w->entry, 0))
		goto full;
	if (event) {
		nat_event_session(event, NAT_EVENT_SESSION_ADDED, w, &w->session);
		bpf_ringbuf_submit(event, 0);
	} else {
		nat_event_lost();
	}
	return 0;
full: /* others may have seen it, and told of it */
	session = bpf_map_lookup_elem(&map_nat_session, &w->key);
	if (session)
		WRITE_ONCE(session->retiring, 1);
	if (event) {
		nat_event_session(event, NAT_EVENT_SESSION_ADDED, w, &w->session);
		bpf_ringbuf_submit(event, 0);
	} else {
		nat_event_lost();
	}
	event = nat_event_reserve(sizeof(*event));
	if (w->session.kind == NAT_SESSION_FORWARD)
		bpf_map_delete_elem(&map_nat_reverse, &w->reverse_key);
	bpf_map_delete_elem(&map_nat_session, &w->key);
	nat_mark_bump(&w->key);
	if (event) {
		nat_event_session(event, NAT_EVENT_SESSION_RETIRED, w, &w->session);
		bpf_ringbuf_submit(event, 0);
	} else {
		nat_event_lost();
	}
	return WEFT_DROP_NAT_TABLE_FULL;
}

/* The record of the external port of w->key, and its block. */
static __always_inline struct nat_block *nat_key_block(struct nat_work *w)
{
	w->block_key.segment = w->key.segment;
	addr_copy(w->block_key.address, w->key.address);
	w->block_key.block = bpf_ntohs(w->key.external_port) >> 6;
	return bpf_map_lookup_elem(&map_nat_block, &w->block_key);
}

/* One session more of the mapping at w->key.  False: it is being retired. */
static __always_inline bool nat_mapping_enter(struct nat_work *w)
{
	struct nat_block *block = nat_key_block(w);
	struct nat_port *port;
	__u32 try, before;

	if (!block)
		return false;
	port = &block->ports[bpf_ntohs(w->key.external_port) & (NAT_BLOCK_PORTS - 1)];
#pragma clang loop unroll(disable)
	for (try = 0; try < 4 * NAT_TRIES; try++) {
		before = READ_ONCE(port->sessions);
		if (!before || before & NAT_DEAD)
			return false;
		if (__sync_val_compare_and_swap(&port->sessions, before, before + 1) == before)
			return true;
	}
	return false;
}

/* Ends the mapping of the port at w->key, which is marked dead; its port goes to the holder's free list.  False: the kernel would not delete the row
 * now, and all stands as it was. */
static __always_inline bool nat_mapping_end(struct nat_work *w, __u32 slot, const struct nat_block *block, const struct nat_port *port)
{
	__u32 external_port = bpf_ntohs(w->key.external_port);
	struct nat_event_mapping *event;
	struct nat_mapping *mapping;

	w->mapping_key.network_id = block->head.network_id;
	addr_copy(w->mapping_key.ca, block->head.ca);
	w->mapping_key.port = port->inside_port;
	w->mapping_key.protocol = port->protocol;
	w->mapping_key.pad = 0;
	w->source_key.network_id = block->head.network_id;
	w->source_key.pool = block->head.pool;
	addr_copy(w->source_key.ca, block->head.ca);
	w->address.segment = w->key.segment;
	addr_copy(w->address.address, w->key.address);
	w->reference = block->head.address_index << 16 | external_port;
	mapping = bpf_map_lookup_elem(&map_nat_mapping, &w->mapping_key);
	if (mapping) {
		w->mapping = *mapping;
	} else {
		__builtin_memset(&w->mapping, 0, sizeof(w->mapping));
		w->mapping.pool = block->head.pool;
	}
	event = nat_event_reserve(sizeof(*event));
	NAT_RACE_POINT();
	if (!nat_is_gone(bpf_map_delete_elem(&map_nat_mapping, &w->mapping_key))) {
		if (event)
			bpf_ringbuf_discard(event, 0);
		return false;
	}
	nat_port_give(slot, 1);
	if (event) {
		nat_event_mapping(event, NAT_EVENT_MAPPING_RETIRED, w);
		bpf_ringbuf_submit(event, 0);
	} else {
		nat_event_lost();
	}
	return true;
}

/* One session fewer of the mapping at w->key; it goes with its last one. */
__attribute__((noinline)) int nat_mapping_leave(__u32 slot)
{
	struct nat_work *w = nat_work(slot);
	struct nat_block *block;
	struct nat_port *port;

	if (!w)
		return 0;
	block = nat_key_block(w);
	if (!block)
		return 0;
	port = &block->ports[bpf_ntohs(w->key.external_port) & (NAT_BLOCK_PORTS - 1)];
	if (port->state != NAT_PORT_USED)
		return 0;
	if (__sync_fetch_and_sub(&port->sessions, 1) != 1)
		return 0;
	NAT_RACE_POINT();
	if (__sync_val_compare_and_swap(&port->sessions, 0, NAT_DEAD) != 0)
		return 0;
	if (nat_mapping_end(w, slot, block, port))
		return 0;
	__builtin_memset(&w->entry, 0, sizeof(w->entry));
	w->entry.kind = NAT_QUEUE_PORT;
	w->entry.session = w->key;
	if (bpf_map_push_elem(&map_nat_queue, &w->entry, 0))
		nat_contended();
	return 0;
}

#endif
