/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Another slice for an address while packets take blocks from its ring: packages/forwarding/src/nat/free-row.ts (natFreeRow).  Only the agent
 * runs this, between sweeps, so nobody gives blocks back meanwhile. */
#ifndef WEFT_NAT_SLICE_H
#define WEFT_NAT_SLICE_H

#include "nat_sweep.h"

#define NAT_FIRST_BLOCK 16
#define NAT_SLICE_LEN 128

/* The bitmap wanted: in the sweep's scratch, where the ports of a block stand that no step of it touches. */
static __always_inline __u8 *nat_slice_wanted(struct nat_work *w)
{
	return (__u8 *)w->block.ports;
}

/* One turn of the ring of w->address: its first block goes to the end, or out if it is wanted no more. */
static long nat_slice_turn(__u32 index, void *context)
{
	struct nat_work *w = nat_work(NAT_SLOT_SWEEP);
	struct nat_free_block first;
	struct nat_free *ring;
	__u32 head, tail;
	bool wanted;

	(void)index;
	(void)context;
	if (!w)
		return 1;
	ring = bpf_map_lookup_elem(&map_nat_free, &w->address);
	if (!ring)
		return 1;
	bpf_spin_lock(&ring->lock);
	if (!ring->count) {
		bpf_spin_unlock(&ring->lock);
		return 1;
	}
	head = ring->head & (NAT_RING - 1);
	first = ring->ring[head];
	wanted = nat_slice_wanted(w)[first.block >> 3 & (NAT_SLICE_LEN - 1)] & 1 << (first.block & 7);
	ring->head = (head + 1) & (NAT_RING - 1);
	ring->count--;
	if (wanted) {
		tail = (ring->head + ring->count) & (NAT_RING - 1);
		ring->ring[tail] = first;
		ring->count++;
	}
	bpf_spin_unlock(&ring->lock);
	return 0;
}

/* Block number `index`: the slice as it is wanted, and into the ring if it is new and nobody holds it. */
static long nat_slice_block(__u32 index, void *context)
{
	struct nat_work *w = nat_work(NAT_SLOT_SWEEP);
	__u32 at = index >> 3 & (NAT_SLICE_LEN - 1);
	__u8 bit = 1 << (index & 7);
	struct nat_free *ring;
	bool wanted, known;

	(void)context;
	if (!w)
		return 1;
	ring = bpf_map_lookup_elem(&map_nat_free, &w->address);
	if (!ring)
		return 1;
	wanted = index >= NAT_FIRST_BLOCK && nat_slice_wanted(w)[at] & bit;
	known = ring->own[at] & bit;
	if (wanted == known)
		return 0;
	bpf_spin_lock(&ring->lock);
	ring->own[at] ^= bit;
	bpf_spin_unlock(&ring->lock);
	if (!wanted)
		return 0;
	w->block_key.segment = w->address.segment;
	addr_copy(w->block_key.address, w->address.address);
	w->block_key.block = index;
	w->block_key.pad = 0;
	if (!bpf_map_lookup_elem(&map_nat_block, &w->block_key))
		nat_ring_push(NAT_SLOT_SWEEP, index, 0);
	return 0;
}

/* The frame says which address (segment, 16 bytes) and slice (128 bytes), after an Ethernet header.  1: done; 0: that address has no ring. */
static __always_inline __u32 nat_slice(struct __sk_buff *skb)
{
	struct nat_work *w = nat_work(NAT_SLOT_SWEEP);
	struct nat_free *ring;

	if (!w || bpf_skb_load_bytes(skb, 14, &w->address, sizeof(w->address)) ||
	    bpf_skb_load_bytes(skb, 14 + sizeof(w->address), nat_slice_wanted(w), NAT_SLICE_LEN))
		return 0;
	ring = bpf_map_lookup_elem(&map_nat_free, &w->address);
	if (!ring)
		return 0;
	w->now = weft_now();
	/* Out first: a block that leaves must not be granted once its bit is gone. */
	bpf_loop(ring->count < NAT_RING ? ring->count : NAT_RING, nat_slice_turn, NULL, 0);
	bpf_loop(NAT_RING, nat_slice_block, NULL, 0);
	return 1;
}

#endif
