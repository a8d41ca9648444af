/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The flow hash, bit by bit that of packages/packet/src/flow-hash.ts, so that the outer source port of any frame can be predicted. */
#ifndef WEFT_FLOW_HASH_H
#define WEFT_FLOW_HASH_H

#include "l4.h"

static __always_inline __u32 flow_mix(__u32 hash, __u32 word)
{
	hash = (hash ^ word) * 0x85ebca6b;
	return hash ^ hash >> 13;
}

/* The first part: both addresses. */
static __always_inline __u32 flow_hash_addresses(const struct weft_packet *p)
{
	__u32 h = 0x9e3779b9;
	int i;

#pragma unroll
	for (i = 0; i < 16; i += 4)
		h = flow_mix(h, bpf_ntohl(LD32(p->source.ca, i)));
#pragma unroll
	for (i = 0; i < 16; i += 4)
		h = flow_mix(h, bpf_ntohl(LD32(p->destination, i)));
	return h;
}

/* The rest. 'h' is what flow_hash_addresses gave. */
static __always_inline __u32 flow_hash_finish(__u32 h, __be32 ports, __u32 protocol)
{
	h = flow_mix(flow_mix(h, bpf_ntohl(ports)), protocol) * 0xc2b2ae35;
	return h ^ h >> 16;
}

static __always_inline __u32 flow_hash(const struct weft_packet *p)
{
	return flow_hash_finish(flow_hash_addresses(p), p->ports, p->protocol);
}

/* The outer UDP source port: the dynamic range of RFC 6335. */
static __always_inline __u16 flow_source_port(__u32 hash)
{
	return 49152 + (hash & 0x3fff);
}

#endif
