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
 * deleted only a while (NAT_GRACE_NS) after it was marked as releasing, which everyone looks at before locking: so nobody holds
 * the lock of a deleted holder.  Until then who wants a port takes the mark away, and the sweep that comes to delete it adds another: both by
 * exchanging the flags, without the lock, so that one of them is first.  `self` and the version guard against memory that was given to another holder. */
#ifndef WEFT_NAT_HOLDER_H
#define WEFT_NAT_HOLDER_H

#include "nat_block.h"

#define NAT_TRIES 8

/* At the end of a loop's body: kernel 6.1 takes a loop only if its last step is a jump, and the compiler may lay it out so that there is none. */
#define NAT_LOOP_EDGE() asm volatile("goto +0")

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

/* Takes the sweep's mark away, as long as no block has been given back; false: it is too late.  Ports that are missing may also be those of others, who
 * were faster in taking it away. */
static __always_inline bool nat_source_reopen(struct nat_source *source, __u32 flags)
{
	__u32 found;

	if (flags & NAT_SOURCE_DELETING)
		return false;
	NAT_RACE_POINT();
	if (READ_ONCE(source->state.free_count) + READ_ONCE(source->state.fresh_left) != READ_ONCE(source->state.blocks) * NAT_BLOCK_PORTS)
		return !(READ_ONCE(source->state.flags) & NAT_SOURCE_RELEASING);
	NAT_RACE_POINT();
	found = __sync_val_compare_and_swap(&source->state.flags, flags, flags & ~NAT_SOURCE_RELEASING);
	return found == flags || !(found & NAT_SOURCE_RELEASING);
}

/* Takes a port for the holder w->source_key and the mapping w->mapping_key, with one session: w->reference, and w->address with its address.
 * 0, NAT_GRANT (then again; not called from here, since each call takes of the 512 bytes of stack), or a reason. */
__attribute__((noinline)) int nat_port_take(__u32 slot)
{
	struct nat_work *w = nat_work(slot);
	__u32 try, flags, version, reference, index;
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
		flags = READ_ONCE(source->state.flags);
		if (flags & NAT_SOURCE_RELEASING && !nat_source_reopen(source, flags))
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
