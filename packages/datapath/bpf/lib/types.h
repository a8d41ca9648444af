/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Keys and values of the tables: docs/datapath-contract.md section 2.  One struct a map, padding explicit and zero.  Addresses are
 * 16 bytes in network order (IPv4 mapped); integers are in host byte order unless they say __be. */
#ifndef WEFT_TYPES_H
#define WEFT_TYPES_H

#include <linux/types.h>

#define WEFT_ADDR_LEN 16
#define WEFT_MAC_LEN 6
#define WEFT_SAMPLE_LEN 64

enum weft_action {
	WEFT_ACTION_DROP = 0,
	WEFT_ACTION_REPLY = 1,
	WEFT_ACTION_LOCAL = 2,
	WEFT_ACTION_TUNNEL = 3,
	WEFT_ACTION_PASS = 4,
	WEFT_ACTION_CLIMB = 5,
	WEFT_ACTION_GATEWAY = 6,
	WEFT_ACTION_EXTERNAL = 7,
};

enum weft_target_kind {
	WEFT_TARGET_DENY = 0,
	WEFT_TARGET_LOCAL = 1,
	WEFT_TARGET_PEER = 2,
	WEFT_TARGET_SHARD = 3,
	WEFT_TARGET_REDIRECT = 4,
	WEFT_TARGET_GATEWAY = 5,
};

enum weft_route_kind {
	WEFT_ROUTE_DENY = 0,
	WEFT_ROUTE_ON_LINK = 1,
	WEFT_ROUTE_NEXT_HOP = 2,
	WEFT_ROUTE_BLACKHOLE = 3,
};

#define WEFT_TARGET_VETH 1 /* weft_target.flags */

#define WEFT_PORT_READY 1 /* weft_port.flags */
#define WEFT_PORT_VETH 2

struct weft_port {
	__u32 network_id;
	__u32 vsid;
	__u32 mtu;
	__u32 flags;
	__u8 mac[WEFT_MAC_LEN];
	__u8 pad[2];
};

struct weft_subnet {
	__u32 network_id;
	__u32 flags;
	__u8 gateway4[WEFT_ADDR_LEN];
	__u8 gateway6[WEFT_ADDR_LEN];
};

struct weft_lookup_key {
	__u32 network_id;
	__u8 ca[WEFT_ADDR_LEN];
};

struct weft_l2_key {
	__u32 vsid;
	__u8 mac[WEFT_MAC_LEN];
	__u8 pad[2];
};

/* Where a CA or a MAC lives: the value of `lookup` and of `l2`. */
struct weft_target {
	__u8 mac[WEFT_MAC_LEN];
	__u8 kind;
	__u8 flags;
	__u32 vsid;
	__u32 ifindex_or_shard;
	__u8 pa[WEFT_ADDR_LEN];
	__u8 prev_pa[WEFT_ADDR_LEN];
	__u64 prev_until_boot_ns;
	__u64 generation;
};

/* `prefixlen` counts the 32 bits of the network id too, so a route of one network never covers another's. */
struct weft_route_key {
	__u32 prefixlen;
	__be32 network_id;
	__u8 prefix[WEFT_ADDR_LEN];
};

struct weft_route {
	__u32 kind;
	__u32 vsid;
	__u8 next_hop[WEFT_ADDR_LEN];
};

struct weft_speaker_key {
	__u8 pa[WEFT_ADDR_LEN];
	__u32 network_id;
};

struct weft_shard {
	__u64 epoch;
	__u8 pa[WEFT_ADDR_LEN];
	__u8 prev_pa[WEFT_ADDR_LEN];
	__u64 prev_until_boot_ns;
};

struct weft_drop_key {
	__u32 ifindex;
	__u32 vsid;
	__u32 reason;
};

/* Per CPU.  The sample is the head of the frame dropped last, zero-filled. */
struct weft_drop {
	__u64 packets;
	__u64 bytes;
	__u64 last_boot_ns;
	__u32 sample_length;
	__u8 sample[WEFT_SAMPLE_LEN];
	__u8 pad[4];
};

_Static_assert(sizeof(struct weft_port) == 24, "contract");
_Static_assert(sizeof(struct weft_subnet) == 40, "contract");
_Static_assert(sizeof(struct weft_lookup_key) == 20, "contract");
_Static_assert(sizeof(struct weft_l2_key) == 12, "contract");
_Static_assert(sizeof(struct weft_target) == 64, "contract");
_Static_assert(sizeof(struct weft_route_key) == 24, "contract");
_Static_assert(sizeof(struct weft_route) == 24, "contract");
_Static_assert(sizeof(struct weft_speaker_key) == 20, "contract");
_Static_assert(sizeof(struct weft_shard) == 48, "contract");
_Static_assert(sizeof(struct weft_drop) == 96, "contract");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "headers are written a word at a time, for little-endian machines");

#endif
