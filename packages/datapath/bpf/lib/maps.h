/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The tables.  Sizes are defaults: the loader may set others.  Hashes that hold a cloud are not preallocated, so that memory follows
 * what is stored; the drop counters are, since a drop must not allocate in the packet path. */
#ifndef WEFT_MAPS_H
#define WEFT_MAPS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "types.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32); /* ifindex */
	__type(value, struct weft_port);
} map_port SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32); /* VSID */
	__type(value, struct weft_subnet);
} map_subnet SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1048576);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct weft_lookup_key);
	__type(value, struct weft_target);
} map_lookup SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1048576);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct weft_l2_key);
	__type(value, struct weft_target);
} map_l2 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 262144);
	__uint(map_flags, BPF_F_NO_PREALLOC); /* a trie must say so */
	__type(key, struct weft_route_key);
	__type(value, struct weft_route);
} map_route SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct weft_speaker_key);
	__type(value, __u32); /* 1 host, 2 gateway */
} map_speaker SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32); /* shard id */
	__type(value, struct weft_shard);
} map_shard SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct weft_drop_key);
	__type(value, struct weft_drop);
} map_drops SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64); /* test clock, ns */
} map_clock SEC(".maps");

#endif
