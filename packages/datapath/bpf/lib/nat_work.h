/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What one translation works on.  Too large for the stack, so it stands in a per-CPU map: slot 0 for packets, which nothing interrupts but the
 * hardware, slot 1 for the sweep, which runs in a process and which packets may interrupt. */
#ifndef WEFT_NAT_WORK_H
#define WEFT_NAT_WORK_H

#include <linux/in.h>

#include "eth.h"
#include "gateway_flow.h"
#include "gateway_maps.h"
#include "nat_maps.h"

/* Where a test makes a processor wait now and then, so that others come in between.  Nothing else. */
#ifndef NAT_RACE_POINT
#define NAT_RACE_POINT()
#endif

#define NAT_SLOT_PACKET 0
#define NAT_SLOT_SWEEP 1

#define NAT_OUT 0
#define NAT_IN 1

/* Answers of the parts that aren't reasons. */
#define NAT_MISS (-1) /* nothing known: a new flow */
#define NAT_AGAIN (-2) /* another processor was faster: look again */
#define NAT_GRANT (-3) /* the holder needs a block */

struct nat_work {
	struct gateway_flow flow;
	struct gateway_translation to;
	__u64 now;
	__u32 pool;
	__u32 new_flags; /* nat_session.flags of a session made for this packet */
	__be16 remote_port; /* of sessions: a query has none */
	__u16 pad;
	__u32 reference; /* the port taken, or given */
	__u32 mark; /* of the session of 'key', as it stood before that was looked up */
	__u32 is_steady; /* 'mark' says that the session stands as this packet left it */
	__u32 keep; /* of each ring: blocks that are not for this network */
	__u32 pad6;
	struct nat_session_key key;
	__u32 pad2;
	struct nat_mapping_key mapping_key;
	struct nat_source_key source_key;
	struct nat_block_key block_key;
	struct nat_reverse_key reverse_key;
	struct nat_fragment_key fragment_key;
	__u32 pad3;
	struct nat_fragment fragment;
	struct nat_session session;
	struct nat_mapping mapping;
	struct nat_reverse reverse;
	struct nat_address address;
	__u32 pad4;
	struct nat_queue_entry entry;
	struct nat_source_state source_state; /* after a change, for its event */
	struct nat_port port; /* likewise */
	struct nat_port link;
	__u32 link_reference;
	__u32 blocks_left; /* that this run of the sweep can still give back */
	struct nat_usage usage; /* zero */
	struct nat_rate rate; /* zero */
	__u8 source[sizeof(struct nat_source)] __attribute__((aligned(8))); /* zero but for `self` and the version; a per-CPU map may have no lock in it */
	struct nat_block block; /* zero but for `head` */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct nat_work);
} map_nat_work SEC(".maps");

static __always_inline struct nat_work *nat_work(__u32 slot)
{
	return bpf_map_lookup_elem(&map_nat_work, &slot);
}

static __always_inline struct nat_counters *nat_counters(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&map_nat_counter, &zero);
}

static __always_inline void nat_contended(void)
{
	struct nat_counters *counters = nat_counters();

	if (counters)
		__sync_fetch_and_add(&counters->contended, 1);
}

static __always_inline __u64 nat_ticket(void)
{
	struct nat_counters *counters = nat_counters();

	return counters ? __sync_fetch_and_add(&counters->serial, 1) + 1 : 0;
}

static __always_inline __u64 nat_serial(void)
{
	struct nat_counters *counters = nat_counters();

	return counters ? READ_ONCE(counters->serial) : 0;
}

/* Room in the ring for an event, taken before the change is seen by others: so events of one thing stand in the ring in the order in which
 * they happened.  Full (NULL): nat_event_lost, and the agent sends a snapshot.
 * Compared with NULL once on each way: the verifier of 6.1 forgets what the first comparison said. */
static __always_inline void *nat_event_reserve(__u64 size)
{
	return bpf_ringbuf_reserve(&map_nat_events, size, 0);
}

/* What bpf_map_delete_elem says: true when the row is gone.  Else the kernel could not lock it, and it stands as it was. */
static __always_inline bool nat_is_gone(long error)
{
	return !error || error == -2 /* ENOENT */;
}

static __always_inline void nat_event_lost(void)
{
	struct nat_counters *counters = nat_counters();

	if (counters)
		__sync_fetch_and_add(&counters->events_lost, 1);
}

/* The network's use, made when there is none. */
static __always_inline struct nat_usage *nat_usage(struct nat_work *w, __u32 network_id)
{
	struct nat_usage *usage = bpf_map_lookup_elem(&map_nat_usage, &network_id);

	if (usage)
		return usage;
	bpf_map_update_elem(&map_nat_usage, &network_id, &w->usage, BPF_NOEXIST);
	return bpf_map_lookup_elem(&map_nat_usage, &network_id);
}

/* The shard of the network, if this gateway has the network at all. */
static __always_inline struct weft_gateway_shard *nat_shard(__u32 network_id)
{
	struct weft_gateway_network *network = bpf_map_lookup_elem(&map_gateway_network, &network_id);
	__u32 shard;

	if (!network)
		return NULL;
	shard = network->shard;
	return bpf_map_lookup_elem(&map_gateway_shard, &shard);
}

static __always_inline bool nat_is_icmp(__u8 protocol)
{
	return protocol == IPPROTO_ICMP || protocol == 58;
}

#endif
