/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The gateway's tables (those of port mapping: nat_maps.h).  As in maps.h, sizes are defaults, and what holds a cloud is not preallocated. */
#ifndef WEFT_GATEWAY_MAPS_H
#define WEFT_GATEWAY_MAPS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "gateway_types.h"

#define GATEWAY_HASH(name, entries, key_type, value_type)                                                                            \
	struct {                                                                                                                     \
		__uint(type, BPF_MAP_TYPE_HASH);                                                                                     \
		__uint(max_entries, entries);                                                                                        \
		__uint(map_flags, BPF_F_NO_PREALLOC);                                                                                \
		__type(key, key_type);                                                                                               \
		__type(value, value_type);                                                                                           \
	} name SEC(".maps")

#define GATEWAY_LPM(name, entries, key_type, value_type)                                                                             \
	struct {                                                                                                                     \
		__uint(type, BPF_MAP_TYPE_LPM_TRIE);                                                                                 \
		__uint(max_entries, entries);                                                                                        \
		__uint(map_flags, BPF_F_NO_PREALLOC);                                                                                \
		__type(key, key_type);                                                                                               \
		__type(value, value_type);                                                                                           \
	} name SEC(".maps")

GATEWAY_HASH(map_external, 256, __u32, struct weft_external); /* ifindex */
GATEWAY_HASH(map_segment, 4096, __u32, struct weft_segment);
GATEWAY_LPM(map_external_route, 65536, struct weft_segment_prefix, struct weft_external_route);
GATEWAY_HASH(map_gateway_shard, 16384, __u32, struct weft_gateway_shard);
GATEWAY_HASH(map_gateway_network, 65536, __u32, struct weft_gateway_network);
GATEWAY_HASH(map_external_address, 65536, struct weft_external_address_key, struct weft_external_address);
GATEWAY_LPM(map_external_prefix, 65536, struct weft_segment_prefix, struct weft_external_prefix);
GATEWAY_HASH(map_port_forward, 262144, struct weft_port_forward_key, struct weft_port_forward);
GATEWAY_LPM(map_peering, 65536, struct weft_route_key, struct weft_peering);
GATEWAY_LPM(map_source_rule, 262144, struct weft_route_key, struct weft_source_rule);

struct weft_pa_key {
	__u8 pa[WEFT_ADDR_LEN];
};

GATEWAY_HASH(map_peer_gateway, 1024, struct weft_pa_key, __u32);
GATEWAY_HASH(map_probe_reply, 1024, struct weft_pa_key, struct weft_probe_reply);

/* The programs that others tail call.  Pinned, so that its entries outlive the agent; a new agent's replace them one by one. */
#define GATEWAY_PROGRAM_OUT 0 /* to_gateway */
#define GATEWAY_PROGRAM_IN 1 /* gateway_in */
#define GATEWAY_PROGRAM_ERROR 2 /* gateway_error */

/* cb[4] of a call to program 0; those of the others follow. */
#define CALL_OUT 0x57464757
#define CALL_IN (CALL_OUT + GATEWAY_PROGRAM_IN)
#define CALL_ERROR (CALL_OUT + GATEWAY_PROGRAM_ERROR)

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u32);
} map_gateway_program SEC(".maps");

#endif
