/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Blocks of ports: the rings that they are granted from, and the grant: docs/gateway-contract.md section 3, `grantBlock` in packages/forwarding/src/nat/holder.ts.
 * Of races, and of the holder's lock: nat_holder.h.  A ring of blocks has a lock of its own. */
#ifndef WEFT_NAT_BLOCK_H
#define WEFT_NAT_BLOCK_H

#include "nat_work.h"

static __always_inline bool nat_is_self(const struct nat_source *source, const struct nat_source_key *key)
{
	return LD64(&source->self, 0) == LD64(key, 0) && LD64(&source->self, 8) == LD64(key, 8) && LD64(&source->self, 16) == LD64(key, 16);
}

/* Takes the first block of the ring of w->address whose time has come, unless it is one of the last w->keep.  0: none. */
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
	if (ring->count > w->keep && ring->ring[head].free_at_s <= now_s) {
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

/* How many blocks of each address of the pool are not for a network that has so many: they are kept for those that have less than their share. */
static __always_inline __u32 nat_share_keep(__u32 pool, __u32 blocks)
{
	const struct nat_share *share = bpf_map_lookup_elem(&map_nat_share, &pool);

	return share && blocks >= READ_ONCE(share->blocks) ? READ_ONCE(share->keep) : 0;
}

/* Grants the holder w->source_key a block.  0: it has fresh ports now, or another processor was faster; else a reason. */
__attribute__((noinline)) int nat_block_grant(__u32 slot)
{
	struct nat_work *w = nat_work(slot);
	struct nat_event_block *event;
	struct weft_gateway_shard *shard;
	__u32 version, index, network_id, held;
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
	held = __sync_fetch_and_add(&usage->blocks, 1);
	if (held >= quota->blocks) {
		__sync_fetch_and_sub(&usage->blocks, 1);
		__sync_fetch_and_add(&usage->denied_blocks, 1);
		return WEFT_DROP_NAT_BLOCK_QUOTA;
	}
	w->keep = nat_share_keep(w->source_key.pool, held);
	block = nat_block_find(slot);
	if (block <= 0) {
		__sync_fetch_and_sub(&usage->blocks, 1);
		if (w->keep) {
			__sync_fetch_and_add(&usage->denied_blocks, 1);
			return WEFT_DROP_NAT_BLOCK_QUOTA;
		}
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

#endif
