/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The NAT's tables.  Sizes are set by the loader (natMapSizes).  Nothing that a flow depends on is in an LRU map, which would throw out
 * live flows under pressure; the fragment cache is one, since what it loses is one datagram.  Its keys are few for each network, so that none pushes
 * out the others'. */
#ifndef WEFT_NAT_MAPS_H
#define WEFT_NAT_MAPS_H

#include "config.h"
#include "nat_types.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32); /* pool */
	__type(value, struct nat_pool);
} map_nat_pool SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct nat_address);
	__type(value, struct nat_free);
} map_nat_free SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct nat_block_key);
	__type(value, struct nat_block);
} map_nat_block SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct nat_source_key);
	__type(value, struct nat_source);
} map_nat_source SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1048576);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct nat_mapping_key);
	__type(value, struct nat_mapping);
} map_nat_mapping SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1048576);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct nat_session_key);
	__type(value, struct nat_session);
} map_nat_session SEC(".maps");

/* Sessions by a port forward only: where answers leave from. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1048576);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct nat_reverse_key);
	__type(value, struct nat_reverse);
} map_nat_reverse SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536); /* of 256 networks and addresses all their slots */
	__type(key, struct nat_fragment_key);
	__type(value, struct nat_fragment);
} map_nat_fragment_slot SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32); /* network */
	__type(value, struct nat_usage);
} map_nat_usage SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32); /* network */
	__type(value, struct nat_quota);
} map_gateway_quota SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32); /* network */
	__type(value, struct nat_rate);
} map_nat_rate SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32); /* pool */
	__type(value, struct nat_share);
} map_nat_share SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct nat_pressure);
} map_nat_pressure SEC(".maps");

/* What the sweep looks at, in its order: every session once, every holder without mappings once. */
struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 1310720);
	__uint(value_size, sizeof(struct nat_queue_entry));
} map_nat_queue SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8388608);
} map_nat_events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct nat_counters);
} map_nat_counter SEC(".maps");

#endif
