/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Decisions that were made before, to be used again: docs/datapath-contract.md section 7.
 *
 * A slot holds the whole of what its decision was made from: the facts of the frame (compared one by one, the hash only says where to look)
 * and the generation of the tables. User space ends a generation before it writes to a table and begins a new one when all is written, so
 * that a decision never outlives the rows behind it. Only decisions to forward are kept, and none that looked at a clock.
 *
 * What differs from frame to frame of a flow is no part of a decision and checked for each: lengths, TTL, MTU, ECN, checksum offload, ports.
 * A frame that fails such a check is judged in full, which finds the reason.
 *
 * One slot is written and read by one CPU only, and no program interrupts another on it (softirqs are off). */
#ifndef WEFT_FLOW_CACHE_H
#define WEFT_FLOW_CACHE_H

#include "brief.h"
#include "config.h"
#include "drops.h"

/* How many slots a CPU has: a power of two, or 0 for no cache. The loader sizes the maps to it. */
const volatile __u32 cfg_flow_slots = 1024;

/* A frame of a port: from the device, between two MAC and two IP addresses. */
struct weft_flow {
	__u64 generation;
	__u32 ifindex;
	__u32 family; /* 4 or 6: an IPv4 address and its mapped form are two things here */
	__u32 macs[3]; /* destination and source, as the frame came in */
	__u32 hash; /* the flow hash as far as addresses go */
	__u8 source[WEFT_ADDR_LEN]; /* IPv4: the first four bytes, the others are not looked at */
	__u8 destination[WEFT_ADDR_LEN];

	/* the decision */
	__u32 action; /* LOCAL, TUNNEL or GATEWAY */
	__u32 target_ifindex; /* GATEWAY: the shard */
	__be32 pa; /* GATEWAY: the network */
	__u32 wire_vsid;
	__u32 vsid;
	__u32 mtu;
	__u8 peer;
	__u8 routed; /* one hop less, and the next MAC address */
	__u8 next_mac[WEFT_MAC_LEN];
};

/* A frame of a tunnel: from a provider address, in a VSID, between two MAC addresses, with this inner source. */
struct weft_tunnel_flow {
	__u64 generation;
	__be32 pa;
	__u32 vni;
	__u32 macs[3];
	__u32 family;
	__u8 source[WEFT_ADDR_LEN];

	/* the decision is LOCAL or GATEWAY */
	__u32 target_ifindex; /* GATEWAY: the shard */
	__u32 peer;
	__u32 network_id; /* GATEWAY; LOCAL: 0 */
	__u32 pad;
};

_Static_assert(sizeof(struct weft_flow) == 96, "a line and a half of the CPU's cache");
_Static_assert(sizeof(struct weft_tunnel_flow) == 64, "a line of the CPU's cache");

/* Odd: the tables are at rest, in this state. Even: they are being written, nothing is kept or used. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} map_generation SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct weft_flow);
} map_flow SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct weft_tunnel_flow);
} map_tunnel_flow SEC(".maps");

/* The generation that a decision made from here on belongs to; 0: it belongs to none. To be called before any table is read. */
static __always_inline __u64 flow_generation(void)
{
	__u32 zero = 0;
	__u64 *current, generation;

	if (!cfg_flow_slots)
		return 0;
	current = bpf_map_lookup_elem(&map_generation, &zero);
	if (!current)
		return 0;
	generation = READ_ONCE(*current);
	asm volatile("" ::: "memory");
	return generation & 1 ? generation : 0;
}

#define FLOW_MIX 0x9e3779b97f4a7c15ULL

/* The place of a flow. Whoever makes flows collide makes them slow, no more. */
static __always_inline __u32 flow_slot(__u64 a, __u64 b, __u64 c)
{
	a = (a ^ a >> 29) * FLOW_MIX ^ b;
	a = (a ^ a >> 31) * FLOW_MIX ^ c;
	return (a ^ a >> 30) * FLOW_MIX >> 40 & (cfg_flow_slots - 1);
}

static __always_inline __u32 flow_slot_ipv4(__be32 source, __be32 destination, __u32 ifindex)
{
	return flow_slot(source | (__u64)destination << 32, ifindex, 0);
}

static __always_inline __u32 flow_slot_ipv6(const void *source, const void *destination, __u32 ifindex)
{
	return flow_slot(LD64(source, 0) + LD64(destination, 0), LD64(source, 8), LD64(destination, 8) + ifindex);
}

static __always_inline __u32 flow_slot_tunnel_ipv4(__be32 source, const void *eth, __be32 pa, __u32 vni)
{
	return flow_slot(source | (__u64)pa << 32, (__u64)LD32(eth, 2) << 32 | vni, 0);
}

static __always_inline __u32 flow_slot_tunnel_ipv6(const void *source, const void *eth, __be32 pa, __u32 vni)
{
	return flow_slot(LD64(source, 0), LD64(source, 8) ^ (__u64)pa << 32, (__u64)LD32(eth, 2) << 32 | vni);
}

static __always_inline bool flow_macs_equal(const __u32 *macs, const void *eth)
{
	return macs[0] == LD32(eth, 0) && macs[1] == LD32(eth, 4) && macs[2] == LD32(eth, 8);
}

static __always_inline void flow_keep_macs(__u32 *macs, const void *eth)
{
	macs[0] = LD32(eth, 0);
	macs[1] = LD32(eth, 4);
	macs[2] = LD32(eth, 8);
}

/* What was decided of frames like this one of device 'ifindex', or NULL. */
static __always_inline const struct weft_flow *flow_of_port(const void *eth, bool is_ipv6, __u32 ifindex, __u64 generation)
{
	const void *ip = eth + ETH_HLEN;
	__u32 slot = is_ipv6 ? flow_slot_ipv6(ip + 8, ip + 24, ifindex) : flow_slot_ipv4(LD32(ip, 12), LD32(ip, 16), ifindex);
	const struct weft_flow *flow = bpf_map_lookup_elem(&map_flow, &slot);

	if (!flow || flow->generation != generation || flow->ifindex != ifindex || !flow_macs_equal(flow->macs, eth))
		return NULL;
	if (is_ipv6)
		return flow->family == 6 && addr_equal(flow->source, ip + 8) && addr_equal(flow->destination, ip + 24) ? flow : NULL;
	return flow->family == 4 && LD32(flow->source, 0) == LD32(ip, 12) && LD32(flow->destination, 0) == LD32(ip, 16) ? flow : NULL;
}

/* The slot to keep the decision about this frame in, with all but the decision filled in, or NULL. */
static __always_inline struct weft_flow *flow_keep_of_port(const void *eth, const struct weft_packet *p, __u32 ifindex, __u64 generation)
{
	const __u8 *source = p->source.ca, *destination = p->destination;
	struct weft_flow *flow;
	__u32 slot;

	if (!generation)
		return NULL;
	slot = p->is_ipv6 ? flow_slot_ipv6(source, destination, ifindex) : flow_slot_ipv4(LD32(source, 12), LD32(destination, 12), ifindex);
	flow = bpf_map_lookup_elem(&map_flow, &slot);
	if (!flow)
		return NULL;
	flow->generation = generation;
	flow->ifindex = ifindex;
	flow_keep_macs(flow->macs, eth);
	flow->hash = flow_hash_addresses(p);
	flow->family = p->is_ipv6 ? 6 : 4;
	if (p->is_ipv6) {
		addr_copy(flow->source, source);
		addr_copy(flow->destination, destination);
	} else {
		ST32(flow->source, 0, LD32(source, 12));
		ST32(flow->destination, 0, LD32(destination, 12));
	}
	return flow;
}

/* As flow_of_port, for the inner frame at 'eth' that came from 'pa' in 'vni'. */
static __always_inline const struct weft_tunnel_flow *flow_of_tunnel(const void *eth, bool is_ipv6, __be32 pa, __u32 vni, __u64 generation)
{
	const void *ip = eth + ETH_HLEN;
	__u32 slot = is_ipv6 ? flow_slot_tunnel_ipv6(ip + 8, eth, pa, vni) : flow_slot_tunnel_ipv4(LD32(ip, 12), eth, pa, vni);
	const struct weft_tunnel_flow *flow = bpf_map_lookup_elem(&map_tunnel_flow, &slot);

	if (!flow || flow->generation != generation || flow->pa != pa || flow->vni != vni || !flow_macs_equal(flow->macs, eth))
		return NULL;
	if (is_ipv6)
		return flow->family == 6 && addr_equal(flow->source, ip + 8) ? flow : NULL;
	return flow->family == 4 && LD32(flow->source, 0) == LD32(ip, 12) ? flow : NULL;
}

/* Keeps the decision 'v' about the inner frame at 'eth'. */
static __always_inline void flow_keep_of_tunnel(const void *eth, const struct weft_packet *p, __be32 pa, __u32 vni,
						const struct weft_verdict *v)
{
	const __u8 *source = p->source.ca;
	struct weft_tunnel_flow *flow;
	__u32 slot;

	if (!v->generation)
		return;
	slot = p->is_ipv6 ? flow_slot_tunnel_ipv6(source, eth, pa, vni) : flow_slot_tunnel_ipv4(LD32(source, 12), eth, pa, vni);
	flow = bpf_map_lookup_elem(&map_tunnel_flow, &slot);
	if (!flow)
		return;
	flow->generation = v->generation;
	flow->pa = pa;
	flow->vni = vni;
	flow_keep_macs(flow->macs, eth);
	flow->family = p->is_ipv6 ? 6 : 4;
	if (p->is_ipv6)
		addr_copy(flow->source, source);
	else
		ST32(flow->source, 0, LD32(source, 12));
	flow->target_ifindex = v->ifindex;
	flow->peer = v->peer;
	flow->network_id = v->action == WEFT_ACTION_GATEWAY ? v->network_id : 0;
}

#endif
