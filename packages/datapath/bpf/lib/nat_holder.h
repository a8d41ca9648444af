/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Ports without guessing: docs/gateway-contract.md section 3, packages/forwarding/src/nat/holder.ts.
 *
 *   take   1. head of the holder's free list, when its hold is over
 *          2. the next fresh port of its newest block
 *          3. a block from the ring of its paired address, else of the pool's other addresses in their order; then 2
 *   give   to the tail, with a hold of 120 s
 *
 * Races.  A holder's lists and counts change only under its spin lock, together with the records of the ports concerned.  Under a spin lock
 * nothing can be looked up, so the rows are looked up before, and the holder's version, which counts changes, says under the lock whether they
 * are still the right ones; if not, the whole step is tried again.  A ring of blocks has a lock of its own.  A holder and its blocks are
 * deleted only when the clock has moved on since it was marked as releasing, which everyone looks at before locking: so nobody holds
 * the lock of a deleted holder.  `self` and the version guard against memory that was given to another holder. */
#ifndef WEFT_NAT_HOLDER_H
#define WEFT_NAT_HOLDER_H

#include "nat_work.h"

#define NAT_TRIES 8

/* At the end of a loop's body: kernel 6.1 takes a loop only if its last step is a jump, and the compiler may lay it out so that there is none. */
#define NAT_LOOP_EDGE() asm volatile("goto +0")

static __always_inline bool nat_is_self(const struct nat_source *source, const struct nat_source_key *key)
{
	return LD64(&source->self, 0) == LD64(key, 0) && LD64(&source->self, 8) == LD64(key, 8) && LD64(&source->self, 16) == LD64(key, 16);
}

/* The record of a port of the holder: its address's block must be there. */
static __always_inline struct nat_port *nat_port_at(struct nat_work *w, const struct nat_source *source, __u32 reference)
{
	__u32 index = reference >> 16 & (NAT_HOLDER_ADDRESSES - 1);
	struct nat_block *block;

	w->block_key.segment = source->addresses[index].segment;
	addr_copy(w->block_key.address, source->addresses[index].address);
	w->block_key.block = (reference & 0xffff) >> 6;
	block = bpf_map_lookup_elem(&map_nat_block, &w->block_key);
	if (!block)
		return NULL;
	barrier_var(block); /* else the compiler adds before it compares, which the verifier refuses */
	return &block->ports[reference & (NAT_BLOCK_PORTS - 1)];
}

/* Takes the first block of the ring of w->address whose time has come.  0: none. */
__attribute__((noinline)) int nat_ring_pop(__u32 slot)
{
	struct nat_work *w = nat_work(slot);
	struct nat_free *ring;
	__u32 now_s, head, block = 0;

	if (!w)
		return 0;
	ring = bpf_map_lookup_elem(&map_nat_free, &w->address);
	if (!ring)
		return 0;
	now_s = w->now / NAT_SECOND;
	bpf_spin_lock(&ring->lock);
	head = ring->head & (NAT_RING - 1);
	if (ring->count && ring->ring[head].free_at_s <= now_s) {
		block = ring->ring[head].block;
		ring->head = (head + 1) & (NAT_RING - 1);
		ring->count--;
	}
	bpf_spin_unlock(&ring->lock);
	return block;
}

/* Puts a block of w->address at the end of its ring, if it is of this member's slice. */
__attribute__((noinline)) int nat_ring_push(__u32 slot, __u32 block, __u32 free_at_s)
{
	struct nat_work *w = nat_work(slot);
	struct nat_free *ring;
	__u32 tail;

	if (!w || block >= NAT_RING)
		return 0;
	ring = bpf_map_lookup_elem(&map_nat_free, &w->address);
	if (!ring || !(ring->own[block >> 3 & 127] & 1 << (block & 7)))
		return 0;
	bpf_spin_lock(&ring->lock);
	tail = (ring->head + ring->count) & (NAT_RING - 1);
	if (ring->count < NAT_RING) {
		ring->ring[tail].free_at_s = free_at_s;
		ring->ring[tail].block = block;
		ring->count++;
	}
	bpf_spin_unlock(&ring->lock);
	return 0;
}

/* Where in the pool a holder begins to look: the same on every member, spread evenly. */
static __always_inline __u32 nat_pool_start(const struct nat_source_key *key, __u32 count)
{
	__u32 mixed = (key->network_id ^ bpf_ntohl(LD32(key->ca, 12))) * 0x9e3779b1u;

	/* By the upper bits: all of the address has an effect on them, on the others only what is below. */
	return (__u64)mixed * count >> 32;
}

static __always_inline __u32 nat_address_index(const struct nat_source *source, const struct nat_address *address)
{
	__u32 i;

#pragma clang loop unroll(full)
	for (i = 0; i < NAT_HOLDER_ADDRESSES; i++) {
		if (i >= source->state.address_count)
			break;
		if (source->addresses[i].segment == address->segment &&
		    LD32(source->addresses[i].address, 12) == LD32(address->address, 12) &&
		    LD32(source->addresses[i].address, 8) == LD32(address->address, 8) &&
		    LD32(source->addresses[i].address, 4) == LD32(address->address, 4) &&
		    LD32(source->addresses[i].address, 0) == LD32(address->address, 0))
			return i;
	}
	return i;
}

/* Whether the holder w->source_key uses w->address already. */
__attribute__((noinline)) int nat_address_is_known(__u32 slot)
{
	struct nat_work *w = nat_work(slot);
	struct nat_source *source;

	if (!w)
		return 0;
	source = bpf_map_lookup_elem(&map_nat_source, &w->source_key);
	return source && nat_address_index(source, &w->address) < source->state.address_count;
}

/* A block for the holder w->source_key: in w->address its address.  0: none. */
__attribute__((noinline)) int nat_block_find(__u32 slot)
{
	struct nat_work *w = nat_work(slot);
	const struct nat_address *candidate;
	struct nat_source *source;
	struct nat_pool *pool;
	__u32 i, start, count;
	bool is_crowded = false;
	int block;

	if (!w)
		return 0;
	source = bpf_map_lookup_elem(&map_nat_source, &w->source_key);
	if (source) {
		is_crowded = source->state.address_count >= NAT_HOLDER_ADDRESSES;
		w->address = source->addresses[0];
		block = nat_ring_pop(slot);
		if (block)
			return block;
	}
	pool = bpf_map_lookup_elem(&map_nat_pool, &w->source_key.pool);
	if (!pool || !pool->count)
		return 0;
	count = pool->count;
	start = nat_pool_start(&w->source_key, count);
#pragma clang loop unroll(disable)
	for (i = 0; i < NAT_POOL_ADDRESSES; i++) {
		if (i >= count)
			break;
		candidate = &pool->addresses[(start + i) % count & (NAT_POOL_ADDRESSES - 1)];
		w->address.segment = candidate->segment;
		addr_copy(w->address.address, candidate->address);
		if (is_crowded && !nat_address_is_known(slot))
			continue;
		block = nat_ring_pop(slot);
		if (block)
			return block;
	}
	return 0;
}

/* Fills an event of w->block_key. */
static __always_inline void nat_event_block(struct nat_event_block *event, __u32 kind, const struct nat_work *w)
{
	event->kind = kind;
	event->pad = 0;
	event->time_boot_ns = w->now;
	event->key = w->block_key;
	event->block = w->block.head;
	event->source = w->source_state;
}

/* Fills an event of w->mapping_key, w->mapping and the ports that changed. */
static __always_inline void nat_event_mapping(struct nat_event_mapping *event, __u32 kind, const struct nat_work *w)
{
	event->kind = kind;
	event->pad = 0;
	event->time_boot_ns = w->now;
	event->key = w->mapping_key;
	event->mapping = w->mapping;
	event->source = w->source_state;
	event->reference = w->reference;
	event->link_reference = w->link_reference;
	event->port = w->port;
	event->link = w->link;
}

/* Grants the holder w->source_key a block.  0: it has fresh ports now, or another processor was faster; else a reason. */
__attribute__((noinline)) int nat_block_grant(__u32 slot)
{
	struct nat_work *w = nat_work(slot);
	struct nat_event_block *event;
	struct weft_gateway_shard *shard;
	__u32 version, index, network_id;
	struct nat_source *source;
	struct nat_usage *usage;
	struct nat_quota *quota;
	struct nat_block *own;
	bool attached = false;
	int block;

	if (!w)
		return WEFT_DROP_NAT_TABLE_FULL;
	if (!bpf_map_lookup_elem(&map_nat_pool, &w->source_key.pool))
		return WEFT_DROP_NAT_POOL_UNKNOWN;
	network_id = w->source_key.network_id;
	usage = nat_usage(w, network_id);
	if (!usage)
		return WEFT_DROP_NAT_TABLE_FULL;
	quota = bpf_map_lookup_elem(&map_gateway_quota, &network_id);
	source = bpf_map_lookup_elem(&map_nat_source, &w->source_key);
	if (!quota || (source && source->state.blocks >= quota->blocks_per_source)) {
		__sync_fetch_and_add(&usage->denied_blocks, 1);
		return WEFT_DROP_NAT_BLOCK_QUOTA;
	}
	if (__sync_fetch_and_add(&usage->blocks, 1) >= quota->blocks) {
		__sync_fetch_and_sub(&usage->blocks, 1);
		__sync_fetch_and_add(&usage->denied_blocks, 1);
		return WEFT_DROP_NAT_BLOCK_QUOTA;
	}
	block = nat_block_find(slot);
	if (block <= 0) {
		__sync_fetch_and_sub(&usage->blocks, 1);
		__sync_fetch_and_add(&usage->exhausted, 1);
		return WEFT_DROP_NAT_PORTS_EXHAUSTED;
	}

	shard = nat_shard(network_id);
	w->block_key.segment = w->address.segment;
	addr_copy(w->block_key.address, w->address.address);
	w->block_key.block = block;
	w->block.head.network_id = network_id;
	w->block.head.pool = w->source_key.pool;
	addr_copy(w->block.head.ca, w->source_key.ca);
	w->block.head.epoch = shard ? shard->epoch : 0;
	w->block.head.granted_boot_ns = w->now;
	w->block.head.next = 0;
	w->block.head.address_index = 0;
	w->block.head.version = 0;
	event = nat_event_reserve(sizeof(*event));
	if (bpf_map_update_elem(&map_nat_block, &w->block_key, &w->block, BPF_NOEXIST))
		goto undo_ring;
	if (!source) {
		__builtin_memcpy(w->source + __builtin_offsetof(struct nat_source, self), &w->source_key, sizeof(w->source_key));
		/* Above every version of a holder that had this key before: it changes less than four times a ticket. */
		ST32(w->source, __builtin_offsetof(struct nat_source, state.version), nat_serial() * 4);
		bpf_map_update_elem(&map_nat_source, &w->source_key, w->source, BPF_NOEXIST);
		source = bpf_map_lookup_elem(&map_nat_source, &w->source_key);
	}
	own = bpf_map_lookup_elem(&map_nat_block, &w->block_key);
	if (!source || !own)
		goto undo;
	version = READ_ONCE(source->state.version);
	index = nat_address_index(source, &w->address);
	if (index >= NAT_HOLDER_ADDRESSES || READ_ONCE(source->state.flags) & NAT_SOURCE_RELEASING)
		goto undo;
	index &= NAT_HOLDER_ADDRESSES - 1;
	NAT_RACE_POINT();
	bpf_spin_lock(&source->lock);
	/* Fresh ports are of one block only: a second one would be lost. */
	if (source->state.version == version && !source->state.fresh_left && nat_is_self(source, &w->source_key)) {
		attached = true;
		if (index >= source->state.address_count) {
			source->state.address_count = index + 1;
			source->addresses[index] = w->address;
		}
		w->block.head.next = source->state.newest;
		w->block.head.address_index = index;
		own->head.next = source->state.newest;
		own->head.address_index = index;
		source->state.newest = index << 16 | block * NAT_BLOCK_PORTS;
		source->state.fresh = index << 16 | block * NAT_BLOCK_PORTS;
		source->state.fresh_left = NAT_BLOCK_PORTS;
		source->state.blocks++;
		source->state.version++;
		own->head.version = source->state.version;
		w->block.head.version = source->state.version;
		w->source_state = source->state;
	}
	bpf_spin_unlock(&source->lock);
	if (attached) {
		if (event) {
			nat_event_block(event, NAT_EVENT_BLOCK_GRANTED, w);
			bpf_ringbuf_submit(event, 0);
		} else {
			nat_event_lost();
		}
		return 0;
	}
undo:
	if (!nat_is_gone(bpf_map_delete_elem(&map_nat_block, &w->block_key)))
		block = NAT_RING; /* nobody's: granted to none while its row stands */
undo_ring:
	if (event)
		bpf_ringbuf_discard(event, 0);
	nat_ring_push(slot, block, 0);
	__sync_fetch_and_sub(&usage->blocks, 1);
	return 0;
}

/* Takes a port for the holder w->source_key and the mapping w->mapping_key, with one session: w->reference, and w->address with its address.
 * 0, NAT_GRANT (then again; not called from here, since each call takes of the 512 bytes of stack), or a reason. */
__attribute__((noinline)) int nat_port_take(__u32 slot)
{
	struct nat_work *w = nat_work(slot);
	__u32 try, version, reference, index;
	struct nat_source *source;
	struct nat_port *port;
	bool fresh, taken;

	if (!w)
		return WEFT_DROP_NAT_TABLE_FULL;
#pragma clang loop unroll(disable)
	for (try = 0; try < NAT_TRIES; try++) {
		source = bpf_map_lookup_elem(&map_nat_source, &w->source_key);
		if (!source)
			return NAT_GRANT;
		if (READ_ONCE(source->state.flags) & NAT_SOURCE_RELEASING)
			return WEFT_DROP_NAT_PORTS_EXHAUSTED;
		version = READ_ONCE(source->state.version);
		reference = READ_ONCE(source->state.free_head);
		fresh = false;
		port = NULL;
		if (reference) {
			port = nat_port_at(w, source, reference);
			if (!port)
				continue;
			if (port->free_at_boot_ns > w->now)
				port = NULL;
		}
		if (!port && READ_ONCE(source->state.fresh_left)) {
			fresh = true;
			reference = READ_ONCE(source->state.fresh);
			port = nat_port_at(w, source, reference);
			if (!port)
				continue;
		}
		if (!port)
			return NAT_GRANT;
		taken = false;
		NAT_RACE_POINT();
		bpf_spin_lock(&source->lock);
		if (source->state.version == version && nat_is_self(source, &w->source_key) &&
		    !(source->state.flags & NAT_SOURCE_RELEASING)) {
			taken = true;
			if (fresh) {
				source->state.fresh++;
				source->state.fresh_left--;
			} else {
				source->state.free_head = port->next;
				if (!port->next)
					source->state.free_tail = 0;
				source->state.free_count--;
			}
			source->state.mappings++;
			source->state.version++;
			port->state = NAT_PORT_USED;
			port->protocol = w->mapping_key.protocol;
			port->inside_port = w->mapping_key.port;
			port->next = 0;
			port->sessions = 1;
			port->version = source->state.version;
			port->free_at_boot_ns = 0;
			w->source_state = source->state;
			w->port = *port;
		}
		bpf_spin_unlock(&source->lock);
		NAT_LOOP_EDGE();
		if (!taken)
			continue;
		index = reference >> 16 & (NAT_HOLDER_ADDRESSES - 1);
		w->reference = reference;
		w->link_reference = 0;
		__builtin_memset(&w->link, 0, sizeof(w->link));
		w->address = source->addresses[index];
		return 0;
	}
	nat_contended();
	return WEFT_DROP_NAT_PORTS_EXHAUSTED;
}

/* Gives the port w->reference (record: that of w->address) back: to the tail with a hold when 'hold', else, never having been seen outside, to
 * the head.  Never loses it: when the tail can't be had, it goes to the head, hold and all.  The holder is looked at by the sweep when this was
 * its last port.  w->port, w->link and w->source_state tell what changed. */
__attribute__((noinline)) int nat_port_give(__u32 slot, __u32 hold)
{
	struct nat_work *w = nat_work(slot);
	__u32 try, version, tail, reference;
	struct nat_port *port, *last;
	struct nat_source *source;
	struct nat_block *block;
	bool given, enqueue = false;

	if (!w)
		return 0;
	reference = w->reference;
	w->link_reference = 0;
	__builtin_memset(&w->link, 0, sizeof(w->link));
	source = bpf_map_lookup_elem(&map_nat_source, &w->source_key);
	if (!source)
		return 0;
	w->block_key.segment = w->address.segment;
	addr_copy(w->block_key.address, w->address.address);
	w->block_key.block = (reference & 0xffff) >> 6;
	block = bpf_map_lookup_elem(&map_nat_block, &w->block_key);
	if (!block)
		return 0;
	port = &block->ports[reference & (NAT_BLOCK_PORTS - 1)];
#pragma clang loop unroll(disable)
	for (try = 0; try <= 2 * NAT_TRIES; try++) {
		version = READ_ONCE(source->state.version);
		tail = READ_ONCE(source->state.free_tail);
		last = NULL;
		if (tail && hold && try < 2 * NAT_TRIES) {
			last = nat_port_at(w, source, tail);
			if (!last)
				continue;
		}
		given = false;
		NAT_RACE_POINT();
		bpf_spin_lock(&source->lock);
		if (!hold || try == 2 * NAT_TRIES || source->state.version == version) {
			given = true;
			source->state.version++;
			port->state = NAT_PORT_FREE;
			port->protocol = 0;
			port->inside_port = 0;
			port->next = 0;
			port->sessions = 0;
			port->version = source->state.version;
			port->free_at_boot_ns = hold ? w->now + NAT_HOLD_NS : 0;
			if (last) {
				last->next = reference;
				last->version = source->state.version;
				w->link = *last;
				w->link_reference = tail;
				source->state.free_tail = reference;
			} else {
				port->next = source->state.free_head;
				source->state.free_head = reference;
				if (!port->next)
					source->state.free_tail = reference;
			}
			source->state.free_count++;
			source->state.mappings--;
			if (!source->state.mappings) {
				source->state.idle_boot_ns = w->now;
				if (!(source->state.flags & NAT_SOURCE_QUEUED)) {
					source->state.flags |= NAT_SOURCE_QUEUED;
					enqueue = true;
				}
			}
			w->source_state = source->state;
			w->port = *port;
		}
		bpf_spin_unlock(&source->lock);
		NAT_LOOP_EDGE();
		if (given)
			break;
	}
	if (enqueue) {
		__builtin_memset(&w->entry, 0, sizeof(w->entry));
		w->entry.kind = NAT_QUEUE_SOURCE;
		w->entry.source = w->source_key;
		if (bpf_map_push_elem(&map_nat_queue, &w->entry, 0)) {
			bpf_spin_lock(&source->lock);
			source->state.flags &= ~NAT_SOURCE_QUEUED;
			bpf_spin_unlock(&source->lock);
		}
	}
	return 0;
}

#endif
