/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Keys and values of the gateway's tables: docs/gateway-contract.md section 3.  Conventions as in types.h; ports are in network order. */
#ifndef WEFT_GATEWAY_TYPES_H
#define WEFT_GATEWAY_TYPES_H

#include "types.h"

enum weft_gateway_mode {
	WEFT_GATEWAY_DENY = 0,
	WEFT_GATEWAY_NAT = 1,
	WEFT_GATEWAY_FORWARD = 2,
	WEFT_GATEWAY_INSIDE = 3,
};

#define WEFT_GATEWAY_NAT66 1 /* weft_gateway_network.flags */
#define WEFT_GATEWAY_NPTV6 2
#define WEFT_GATEWAY_FORWARD6 4

/* A network's pool of IPv6 addresses has the number of its other one, and this. */
#define WEFT_IPV6_POOL 0x80000000

enum weft_address_kind {
	WEFT_ADDRESS_DENY = 0,
	WEFT_ADDRESS_POOL = 1,
	WEFT_ADDRESS_STATIC = 2,
	WEFT_ADDRESS_RESERVED = 3,
};

enum weft_prefix_kind {
	WEFT_PREFIX_DENY = 0,
	WEFT_PREFIX_FORWARD = 1,
	WEFT_PREFIX_NPT = 2,
};

enum weft_source_kind {
	WEFT_SOURCE_DENY = 0,
	WEFT_SOURCE_POOL = 1,
	WEFT_SOURCE_STATIC = 2,
	WEFT_SOURCE_PLAIN = 3,
	WEFT_SOURCE_ADDRESS = 4,
};

struct weft_external {
	__u32 segment;
	__u32 mtu;
	__u8 mac[WEFT_MAC_LEN];
	__u8 pad[2];
};

struct weft_segment {
	__u32 ifindex;
	__u32 mtu;
	__u8 mac[WEFT_MAC_LEN];
	__u8 pad[2];
	__u8 address4[WEFT_ADDR_LEN];
	__u8 address6[WEFT_ADDR_LEN];
};

/* `prefixlen` counts the 32 bits of the segment too. */
struct weft_segment_prefix {
	__u32 prefixlen;
	__be32 segment;
	__u8 prefix[WEFT_ADDR_LEN];
};

struct weft_external_route {
	__u8 next_hop[WEFT_ADDR_LEN];
};

struct weft_gateway_shard {
	__u64 epoch;
	__u64 deadline_boot_ns;
	__u64 handover_until_boot_ns;
	__u8 handover_pa[WEFT_ADDR_LEN];
	__u8 handover_mac[WEFT_MAC_LEN];
	__u8 pad[2];
};

struct weft_gateway_network {
	__u32 shard;
	__u32 segment;
	__u32 vsid;
	__u32 mode;
	__u32 flags;
	__u32 pool;
	__u8 gateway4[WEFT_ADDR_LEN];
	__u8 gateway6[WEFT_ADDR_LEN];
	__u8 npt_inside[WEFT_ADDR_LEN];
	__u8 npt_outside[WEFT_ADDR_LEN];
	__u32 npt_bits;
	__u32 mtu;
};

struct weft_external_address_key {
	__u32 segment;
	__u8 address[WEFT_ADDR_LEN];
};

struct weft_external_address {
	__u32 shard;
	__u32 kind;
	__u32 network_id;
	__u32 pad;
	__u8 ca[WEFT_ADDR_LEN];
};

struct weft_external_prefix {
	__u32 network_id;
	__u32 kind;
};

struct weft_port_forward_key {
	__u32 segment;
	__u8 address[WEFT_ADDR_LEN];
	__be16 port;
	__u8 protocol;
	__u8 pad;
};

struct weft_port_forward {
	__u32 network_id;
	__be16 port;
	__u8 pad[2];
	__u8 ca[WEFT_ADDR_LEN];
};

/* Keys of `peering` and `source_rule` are struct weft_route_key. */
struct weft_peering {
	__u32 network_id;
	__u32 flags;
};

struct weft_source_rule {
	__u32 kind;
	__u32 pool;
	__u8 address[WEFT_ADDR_LEN];
};

#define WEFT_PROBE_SHARDS 8

/* What a peer said about one shard; in a probe all in network order. */
struct weft_probe_shard {
	__u32 shard;
	__u32 flags; /* 1: it forwards now */
	__u64 epoch;
};

/* A peer's answer heard last. */
struct weft_probe_reply {
	__u64 nonce; /* as it stands in the packet */
	__u64 boot_ns;
	__u32 count;
	__u32 pad;
	struct weft_probe_shard shards[WEFT_PROBE_SHARDS];
};

_Static_assert(sizeof(struct weft_external) == 16, "contract");
_Static_assert(sizeof(struct weft_segment) == 48, "contract");
_Static_assert(sizeof(struct weft_segment_prefix) == 24, "contract");
_Static_assert(sizeof(struct weft_external_route) == 16, "contract");
_Static_assert(sizeof(struct weft_gateway_shard) == 48, "contract");
_Static_assert(sizeof(struct weft_gateway_network) == 96, "contract");
_Static_assert(sizeof(struct weft_external_address_key) == 20, "contract");
_Static_assert(sizeof(struct weft_external_address) == 32, "contract");
_Static_assert(sizeof(struct weft_external_prefix) == 8, "contract");
_Static_assert(sizeof(struct weft_port_forward_key) == 24, "contract");
_Static_assert(sizeof(struct weft_port_forward) == 24, "contract");
_Static_assert(sizeof(struct weft_peering) == 8, "contract");
_Static_assert(sizeof(struct weft_source_rule) == 24, "contract");
_Static_assert(sizeof(struct weft_probe_reply) == 152, "contract");

#endif
