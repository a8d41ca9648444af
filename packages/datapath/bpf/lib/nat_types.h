/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Keys and values of the NAT's tables: docs/gateway-contract.md section 3.
 *
 *   holder (nat_source) --newest--> block --next--> block ...               blocks of one (network, pool, CA)
 *          |        \--free_head--> port --next--> port ... <--free_tail--  ports that may be used again, oldest first
 *          \--fresh, fresh_left: ports of the newest block that nobody has used yet
 *
 * A reference names a port within one holder: index of its address << 16 | port; 0 is none.  A block's is that of its first port. */
#ifndef WEFT_NAT_TYPES_H
#define WEFT_NAT_TYPES_H

#include <linux/bpf.h>

#include "types.h"

#define NAT_BLOCK_PORTS 64
#define NAT_POOL_ADDRESSES 64
#define NAT_HOLDER_ADDRESSES 8
#define NAT_RING 1024

#define NAT_SECOND 1000000000ULL
#define NAT_UDP_NS (300 * NAT_SECOND)
#define NAT_TCP_TRANSITORY_NS (240 * NAT_SECOND)
#define NAT_TCP_ESTABLISHED_NS (7440 * NAT_SECOND)
#define NAT_ICMP_NS (60 * NAT_SECOND)
#define NAT_HOLD_NS (120 * NAT_SECOND)
#define NAT_GRACE_NS (NAT_SECOND / 4) /* by then every packet has passed that was on its way; a sweep may run several times a second */
#define NAT_FRAGMENT_NS (30 * NAT_SECOND)
#define NAT_FRAGMENT_SLOTS 256
#define NAT_TELL_NS_MAX (300 * NAT_SECOND)
/* Sessions' ends are reckoned from the end of a granule of time, of this many nanoseconds (a power of two). */
#define NAT_GRANULE_NS (1ULL << 30)

enum nat_port_state { NAT_PORT_FRESH = 0, NAT_PORT_FREE = 1, NAT_PORT_USED = 2 };
enum nat_session_kind { NAT_SESSION_MAPPING = 0, NAT_SESSION_FORWARD = 1 };

/* nat_source_state.flags */
#define NAT_SOURCE_QUEUED 1
#define NAT_SOURCE_RELEASING 2 /* is about to give its blocks back: nat_source_reopen */
#define NAT_SOURCE_DELETING 4  /* gives them back */

/* nat_session.flags: what was seen of a TCP connection. */
#define NAT_OUT_SYN 1
#define NAT_IN_SYN 2
#define NAT_OUT_ACK 4
#define NAT_IN_ACK 8
#define NAT_OUT_FIN 16
#define NAT_IN_FIN 32
#define NAT_RST 64

struct nat_address {
	__u32 segment;
	__u8 address[WEFT_ADDR_LEN];
};

struct nat_pool {
	__u32 count;
	struct nat_address addresses[NAT_POOL_ADDRESSES];
};

struct nat_free_block {
	__u32 free_at_s; /* seconds of the boot clock: not granted before */
	__u16 block;
	__u16 pad;
};

/* What of one address may be granted: a ring, granted from its head, given back at its tail. */
struct nat_free {
	struct bpf_spin_lock lock;
	__u32 head;
	__u32 count;
	__u32 pad;
	__u8 own[128]; /* the member's slice, a bit a block */
	struct nat_free_block ring[NAT_RING];
};

struct nat_port {
	__u8 state;
	__u8 protocol; /* 0 unless used */
	__be16 inside_port;
	__u32 next;
	__u32 sessions; /* NAT_DEAD: the mapping is being retired */
	__u32 version; /* the holder's, at the last change */
	__u64 free_at_boot_ns;
};

#define NAT_DEAD 0x80000000

struct nat_block_key {
	__u32 segment;
	__u8 address[WEFT_ADDR_LEN];
	__u16 block; /* port / 64 */
	__u16 pad;
};

/* The block without its ports, as events carry it. */
struct nat_block_head {
	__u32 network_id;
	__u32 pool;
	__u8 ca[WEFT_ADDR_LEN];
	__u64 epoch;
	__u64 granted_boot_ns;
	__u32 next;
	__u32 address_index;
	__u32 version; /* the holder's, when it got the block */
	__u32 pad;
};

struct nat_block {
	struct nat_block_head head;
	struct nat_port ports[NAT_BLOCK_PORTS];
};

struct nat_source_key {
	__u32 network_id;
	__u32 pool;
	__u8 ca[WEFT_ADDR_LEN];
};

struct nat_source_state {
	__u32 version;
	__u32 free_head;
	__u32 free_tail;
	__u32 free_count;
	__u32 fresh;
	__u32 fresh_left;
	__u32 newest;
	__u32 blocks;
	__u32 mappings;
	__u32 flags;
	__u32 address_count;
	__u32 pad;
	__u64 idle_boot_ns;
};

struct nat_source {
	struct bpf_spin_lock lock;
	__u32 pad;
	struct nat_source_key self; /* its key: the memory of a deleted holder may be another's */
	struct nat_source_state state;
	struct nat_address addresses[NAT_HOLDER_ADDRESSES];
};

struct nat_mapping_key {
	__u32 network_id;
	__u8 ca[WEFT_ADDR_LEN];
	__be16 port;
	__u8 protocol;
	__u8 pad;
};

/* The first 12 bytes repeat the key, as `self` above: they are written first, and compared last. */
struct nat_mapping {
	__u32 self_network_id;
	__be32 self_ca;
	__be16 self_port;
	__u8 self_protocol;
	__u8 pad;
	__u32 pool;
	__u32 segment;
	__u8 address[WEFT_ADDR_LEN];
	__be16 external_port;
	__u8 pad2[2];
	__u64 ticket;
};

struct nat_session_key {
	__u32 segment;
	__u8 address[WEFT_ADDR_LEN];
	__u8 remote[WEFT_ADDR_LEN];
	__be16 external_port;
	__be16 remote_port;
	__u8 protocol;
	__u8 pad[3];
};

struct nat_session {
	__u32 self[2]; /* of the key: see nat_session_self */
	__u32 network_id;
	__be16 inside_port;
	__u8 kind;
	__u8 retiring; /* its end is decided, and will be told next */
	__u8 ca[WEFT_ADDR_LEN];
	__u32 flags;
	__u32 revision;
	__u64 expires_boot_ns; /* 0: being retired; a packet that is late may have written over it, not over 'retiring' */
	__u64 told_boot_ns;
	__u64 ticket;
};

struct nat_reverse_key {
	__u32 network_id;
	__u8 ca[WEFT_ADDR_LEN];
	__u8 remote[WEFT_ADDR_LEN];
	__be16 port;
	__be16 remote_port;
	__u8 protocol;
	__u8 pad[3];
};

struct nat_reverse {
	__u32 segment;
	__u8 address[WEFT_ADDR_LEN];
	__be16 external_port;
	__u8 pad[2];
};

/* A place for what a first fragment told.  Each network (outbound) and each external address (inbound) has NAT_FRAGMENT_SLOTS of its own. */
struct nat_fragment_key {
	__u32 scope; /* outbound: network; inbound: segment */
	__u8 address[WEFT_ADDR_LEN]; /* inbound: the external address; outbound: zero */
	__u16 slot;
	__u8 is_inbound;
	__u8 pad;
};

/* Which datagram stands in a slot. */
struct nat_datagram {
	__u32 scope;
	__u32 id;
	__u8 near[WEFT_ADDR_LEN];
	__u8 remote[WEFT_ADDR_LEN];
	__u8 protocol;
	__u8 is_inbound;
	__u8 pad[6];
};

/* `self` is written first, and compared last: the memory of a row that was thrown out may be another's. */
struct nat_fragment {
	struct nat_datagram self;
	__u64 expires_boot_ns;
	__u8 address[WEFT_ADDR_LEN];
	__u32 scope; /* outbound: segment; inbound: network */
	__u32 pad;
};

struct nat_quota {
	__u32 blocks;
	__u32 blocks_per_source;
	__u32 sessions;
	__u32 new_flows_per_second; /* 0: no limit */
};

/* Of a pool whose networks' quotas add up to more than it has.  Written by the agent, each second. */
struct nat_share {
	__u32 blocks; /* what a network may count on */
	__u32 keep; /* who has that much takes none of the last so many blocks of an address */
};

/* Written by the agent, each second.  One of all. */
struct nat_pressure {
	__u32 sessions_share; /* the table of sessions is nearly full: networks that have so many begin no more; 0: it is not */
	__u32 pad;
};

/* New flows of a network that has such a limit: a leaky bucket that holds one second's. */
struct nat_rate {
	__u64 due_boot_ns; /* when those let in would all have come, at the limit */
	__u64 denied;
};

struct nat_usage {
	__u32 blocks;
	__u32 sessions;
	__u64 denied_blocks;
	__u64 denied_sessions;
	__u64 exhausted;
};

/* One of all. */
struct nat_counters {
	__u64 serial;
	__u64 events_lost;
	__u64 contended; /* packets dropped since too many processors wanted one holder */
	__u64 pad;
};

/* PORT: a dead port, by a session key of its, whose mapping the kernel would not delete at once. */
enum nat_queue_kind { NAT_QUEUE_SESSION = 1, NAT_QUEUE_SOURCE = 2, NAT_QUEUE_PORT = 3 };

struct nat_queue_entry {
	__u32 kind;
	__u32 pad;
	__u64 ticket;
	union {
		struct nat_session_key session;
		struct nat_source_key source;
		__u8 bytes[48];
	};
};

enum nat_event_kind {
	NAT_EVENT_BLOCK_GRANTED = 1,
	NAT_EVENT_BLOCK_RELEASED = 2,
	NAT_EVENT_MAPPING_ADDED = 3,
	NAT_EVENT_MAPPING_RETIRED = 4,
	NAT_EVENT_SESSION_ADDED = 5,
	NAT_EVENT_SESSION_CHANGED = 6,
	NAT_EVENT_SESSION_RETIRED = 7,
	NAT_EVENT_PORT_RETURNED = 8,
};

struct nat_event_block {
	__u32 kind;
	__u32 pad;
	__u64 time_boot_ns;
	struct nat_block_key key;
	struct nat_block_head block;
	struct nat_source_state source;
};

struct nat_event_mapping {
	__u32 kind;
	__u32 pad;
	__u64 time_boot_ns;
	struct nat_mapping_key key;
	struct nat_mapping mapping;
	struct nat_source_state source;
	__u32 reference;
	__u32 link_reference; /* 0: none */
	struct nat_port port;
	struct nat_port link;
};

struct nat_event_session {
	__u32 kind;
	__u32 pad;
	__u64 time_boot_ns;
	struct nat_session_key key;
	__u32 pad2;
	struct nat_session session;
};

_Static_assert(sizeof(struct nat_pool) == 1284, "contract");
_Static_assert(sizeof(struct nat_free) == 8336, "contract");
_Static_assert(sizeof(struct nat_block_key) == 24, "contract");
_Static_assert(sizeof(struct nat_port) == 24, "contract");
_Static_assert(sizeof(struct nat_block) == 1592, "contract");
_Static_assert(sizeof(struct nat_source_key) == 24, "contract");
_Static_assert(sizeof(struct nat_source) == 248, "contract");
_Static_assert(sizeof(struct nat_mapping_key) == 24, "contract");
_Static_assert(sizeof(struct nat_mapping) == 48, "contract");
_Static_assert(sizeof(struct nat_session_key) == 44, "contract");
_Static_assert(sizeof(struct nat_session) == 64, "contract");
_Static_assert(sizeof(struct nat_reverse_key) == 44, "contract");
_Static_assert(sizeof(struct nat_reverse) == 24, "contract");
_Static_assert(sizeof(struct nat_rate) == 16, "contract");
_Static_assert(sizeof(struct nat_share) == 8, "contract");
_Static_assert(sizeof(struct nat_pressure) == 8, "contract");
_Static_assert(sizeof(struct nat_fragment_key) == 24, "contract");
_Static_assert(sizeof(struct nat_fragment) == 80, "contract");
_Static_assert(sizeof(struct nat_queue_entry) == 64, "contract");
_Static_assert(sizeof(struct nat_event_block) == 152, "contract");
_Static_assert(sizeof(struct nat_event_mapping) == 200, "contract");
_Static_assert(sizeof(struct nat_event_session) == 128, "contract");

#endif
