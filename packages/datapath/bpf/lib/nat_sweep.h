/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What is over goes: packages/forwarding/src/nat/sweep.ts.  Each session stands in the queue once, and each holder without mappings; a step takes
 * the head of the queue, and what is not over goes to its tail.  So one run does bounded work, the next goes on where it ended, and no table is
 * scanned. */
#ifndef WEFT_NAT_SWEEP_H
#define WEFT_NAT_SWEEP_H

#include "gateway_tables.h"
#include "nat_session.h"

#define NAT_RELEASES 8
#define NAT_SWEEP_MAX 65536

struct nat_sweep {
	__u32 steps;
	__u32 sessions;
	__u32 blocks;
	__u32 budget;
	__u32 is_unfinished; /* the holder of w->entry has more blocks to give back */
};

static __always_inline bool nat_owned(const struct nat_work *w, __u32 network_id)
{
	struct weft_gateway_shard *shard = nat_shard(network_id);

	return shard && w->now < shard->deadline_boot_ns;
}

/* False of a session whose address another network has by now, or whose network is on another shard or segment than when the session began. */
static __always_inline bool nat_is_in_place(const struct nat_session_key *key, __u32 network_id)
{
	const struct weft_gateway_network *network = bpf_map_lookup_elem(&map_gateway_network, &network_id);

	if (!network) /* nobody's for now: it is left alone */
		return true;
	return key->segment == network->segment && gateway_may_map(gateway_address(key->segment, key->address), network_id, network->shard);
}

/* The session of w->entry.  0: still queued as it was; 1: not queued any more; 2: retired, too. */
__attribute__((noinline)) int nat_sweep_session(__u32 slot)
{
	struct nat_work *w = nat_work(slot);
	struct nat_event_session *event;
	struct nat_session *session;
	__u64 expires;

	if (!w)
		return 1;
	w->key = w->entry.session;
	session = bpf_map_lookup_elem(&map_nat_session, &w->key);
	if (!session || session->ticket != w->entry.ticket)
		return 1;
	expires = session->expires_boot_ns;
	if ((expires > w->now && nat_is_forwarded(&w->key, session) && nat_is_in_place(&w->key, session->network_id)) ||
	    !nat_owned(w, session->network_id))
		return 0;
	NAT_RACE_POINT();
	/* A packet may have come in between. */
	if (__sync_val_compare_and_swap(&session->expires_boot_ns, expires, 0) != expires)
		return 0;
	NAT_RACE_POINT();
	WRITE_ONCE(session->retiring, 1); /* before there is room for RETIRED: nat_session_tell */
	w->session = *session;
	w->session.expires_boot_ns = expires;
	w->session.retiring = 0;
	event = nat_event_reserve(sizeof(*event));
	NAT_RACE_POINT();
	/* The way back first: while the session is there, nobody begins it anew. */
	if (w->session.kind == NAT_SESSION_FORWARD) {
		nat_reverse_key_of(w, &w->session);
		bpf_map_delete_elem(&map_nat_reverse, &w->reverse_key);
	}
	if (!nat_is_gone(bpf_map_delete_elem(&map_nat_session, &w->key))) {
		/* It stays queued; what standbys were not told meanwhile, the next packet tells. */
		if (w->session.kind == NAT_SESSION_FORWARD)
			nat_reverse_put(w);
		session->expires_boot_ns = expires;
		session->told_boot_ns = 0;
		WRITE_ONCE(session->retiring, 0);
		if (event)
			bpf_ringbuf_discard(event, 0);
		return 0;
	}
	nat_mark_bump(&w->key);
	if (event) {
		nat_event_session(event, NAT_EVENT_SESSION_RETIRED, w, &w->session);
		bpf_ringbuf_submit(event, 0);
	} else {
		nat_event_lost();
	}
	nat_session_unreserve(w->session.network_id);
	if (w->session.kind == NAT_SESSION_MAPPING)
		nat_mapping_leave(slot);
	return 2;
}

/* The dead port of w->entry, whose mapping could not be deleted before.  True: it could not again. */
__attribute__((noinline)) int nat_sweep_port(__u32 slot)
{
	struct nat_work *w = nat_work(slot);
	struct nat_block *block;
	struct nat_port *port;

	if (!w)
		return 0;
	w->key = w->entry.session;
	block = nat_key_block(w);
	if (!block)
		return 0;
	port = &block->ports[bpf_ntohs(w->key.external_port) & (NAT_BLOCK_PORTS - 1)];
	return port->sessions == NAT_DEAD && !nat_mapping_end(w, slot, block, port);
}

/* Gives the newest block of the holder back.  Returns how many blocks that were: 0 when the kernel would not delete the row now. */
__attribute__((noinline)) int nat_block_release(__u32 slot)
{
	struct nat_work *w = nat_work(slot);
	struct nat_event_block *event;
	struct nat_source *source;
	struct nat_usage *usage;
	struct nat_block *block;
	__u32 newest, number;

	if (!w)
		return 0;
	source = bpf_map_lookup_elem(&map_nat_source, &w->source_key);
	if (!source)
		return 0;
	newest = source->state.newest;
	nat_port_at(w, source, newest);
	block = bpf_map_lookup_elem(&map_nat_block, &w->block_key);
	if (block)
		w->block.head = block->head;
	number = w->block_key.block;
	w->address.segment = w->block_key.segment;
	addr_copy(w->address.address, w->block_key.address);
	event = nat_event_reserve(sizeof(*event));
	if (!nat_is_gone(bpf_map_delete_elem(&map_nat_block, &w->block_key))) {
		if (event)
			bpf_ringbuf_discard(event, 0);
		return 0;
	}
	bpf_spin_lock(&source->lock);
	source->state.newest = w->block.head.next;
	source->state.blocks--;
	source->state.version++;
	w->source_state = source->state;
	bpf_spin_unlock(&source->lock);
	usage = bpf_map_lookup_elem(&map_nat_usage, &w->source_key.network_id);
	if (usage)
		__sync_fetch_and_sub(&usage->blocks, 1);
	if (event) {
		nat_event_block(event, NAT_EVENT_BLOCK_RELEASED, w);
		bpf_ringbuf_submit(event, 0);
	} else {
		nat_event_lost();
	}
	nat_ring_push(slot, number, (w->now + NAT_SECOND - 1) / NAT_SECOND);
	return 1;
}

/* The holder of w->entry.  Negative: not queued any more; else queued, and so many blocks were released.  ~n: both. */
__attribute__((noinline)) int nat_sweep_source(__u32 slot)
{
	struct nat_work *w = nat_work(slot);
	__u32 i, flags, released = 0;
	struct nat_source *source;
	bool owned, busy = false;

	if (!w)
		return -1;
	w->source_key = w->entry.source;
	source = bpf_map_lookup_elem(&map_nat_source, &w->source_key);
	if (!source)
		return -1;
	owned = nat_owned(w, w->source_key.network_id);
	flags = READ_ONCE(source->state.flags);
	if (!(flags & NAT_SOURCE_RELEASING)) {
		bpf_spin_lock(&source->lock);
		if (source->state.mappings) {
			source->state.flags &= ~NAT_SOURCE_QUEUED;
			busy = true;
		} else if (owned && w->now >= source->state.idle_boot_ns + NAT_HOLD_NS) {
			/* Its ports stay as they are: until blocks go, who takes one has them all again. */
			source->state.version++;
			source->state.idle_boot_ns = w->now;
			source->state.flags |= NAT_SOURCE_RELEASING;
		}
		bpf_spin_unlock(&source->lock);
		return busy ? -1 : 0;
	}
	/* Who looked at it before it was marked has long finished when time has passed. */
	if (w->now < source->state.idle_boot_ns + NAT_GRACE_NS || !owned)
		return 0;
	/* Until it is gone its source is refused: so it goes in this run, or not yet. */
	if (!(flags & NAT_SOURCE_DELETING) && READ_ONCE(source->state.blocks) > w->blocks_left)
		return 0;
	NAT_RACE_POINT();
	if (!(flags & NAT_SOURCE_DELETING) &&
	    __sync_val_compare_and_swap(&source->state.flags, flags, flags | NAT_SOURCE_DELETING) != flags)
		return 0; /* somebody has taken the mark away */
	NAT_RACE_POINT();
	/* Nobody else writes to it any more. */
	source->state.free_head = 0;
	source->state.free_tail = 0;
	source->state.free_count = 0;
	source->state.fresh = 0;
	source->state.fresh_left = 0;
#pragma clang loop unroll(disable)
	for (i = 0; i < NAT_RELEASES; i++) {
		if (!READ_ONCE(source->state.blocks))
			break;
		released += nat_block_release(slot);
	}
	if (READ_ONCE(source->state.blocks) || !nat_is_gone(bpf_map_delete_elem(&map_nat_source, &w->source_key)))
		return released;
	return ~released;
}

static long nat_sweep_step(__u32 index, struct nat_sweep *sweep)
{
	struct nat_work *w = nat_work(NAT_SLOT_SWEEP);
	bool keep = true;
	__u32 try;
	int result;

	if (!w)
		return 1;
	if (!sweep->is_unfinished && bpf_map_pop_elem(&map_nat_queue, &w->entry))
		return 1;
	sweep->is_unfinished = 0;
	sweep->steps++;
	/* One that has more blocks than a run can give back begins with it. */
	w->blocks_left = index ? (sweep->budget - index) * NAT_RELEASES : ~0u;
	if (w->entry.kind == NAT_QUEUE_SOURCE) {
		result = nat_sweep_source(NAT_SLOT_SWEEP);
		keep = result >= 0;
		sweep->blocks += keep ? result : ~result;
		if (keep) {
			__builtin_memset(&w->entry, 0, sizeof(w->entry));
			w->entry.kind = NAT_QUEUE_SOURCE;
			w->entry.source = w->source_key;
			/* As long as it gives blocks back it is refused others: so it comes to an end at once. */
			if (result == NAT_RELEASES && index + 1 < sweep->budget) {
				sweep->is_unfinished = 1;
				return 0;
			}
		}
	} else if (w->entry.kind == NAT_QUEUE_PORT) {
		keep = nat_sweep_port(NAT_SLOT_SWEEP);
	} else {
		result = nat_sweep_session(NAT_SLOT_SWEEP);
		keep = result == 0;
		sweep->sessions += result == 2;
	}
	if (!keep)
		return 0;
	/* There is room; only the queue's lock may fail. */
#pragma clang loop unroll(disable)
	for (try = 0; try < NAT_TRIES; try++) {
		if (!bpf_map_push_elem(&map_nat_queue, &w->entry, 0))
			return 0;
		NAT_LOOP_EDGE();
	}
	nat_contended();
	return 0;
}

#endif
