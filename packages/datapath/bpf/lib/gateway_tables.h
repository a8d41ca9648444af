/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Look-ups in the gateway's tables. */
#ifndef WEFT_GATEWAY_TABLES_H
#define WEFT_GATEWAY_TABLES_H

#include "config.h"
#include "eth.h"
#include "gateway_maps.h"

/* The network's row, unless it is denied. */
static __always_inline struct weft_gateway_network *gateway_network(__u32 network_id)
{
	struct weft_gateway_network *network;

	if (!network_id)
		return NULL;
	network = bpf_map_lookup_elem(&map_gateway_network, &network_id);
	return network && network->mode != WEFT_GATEWAY_DENY ? network : NULL;
}

static __always_inline struct weft_external_address *gateway_address(__u32 segment, const void *address)
{
	struct weft_external_address_key key;

	key.segment = segment;
	addr_copy(key.address, address);
	return bpf_map_lookup_elem(&map_external_address, &key);
}

/* Whether ports of an external address may be this network's.  A mapping outlives the rules that made it: its address may be handed to another
 * network meanwhile, and the network may be on another shard than the address, whose answers another member gets then.  An address that is
 * nobody's any more says nothing. */
static __always_inline bool gateway_may_map(const struct weft_external_address *address, __u32 network_id, __u32 shard)
{
	if (!address)
		return true;
	if (address->kind != WEFT_ADDRESS_POOL && address->kind != WEFT_ADDRESS_RESERVED)
		return false;
	return address->shard == shard && (!address->network_id || address->network_id == network_id);
}

/* Whether an external address is this network's, 1:1, now.  A rule may be from before it was given to another: records come one by one. */
static __always_inline bool gateway_is_static(const struct weft_external_address *address, __u32 network_id, __u32 shard)
{
	return address && address->kind == WEFT_ADDRESS_STATIC && address->network_id == network_id && address->shard == shard;
}

static __always_inline struct weft_external_route *gateway_route(__u32 segment, const void *address)
{
	struct weft_segment_prefix key;

	key.prefixlen = 32 + 128;
	key.segment = bpf_htonl(segment);
	addr_copy(key.prefix, address);
	return bpf_map_lookup_elem(&map_external_route, &key);
}

static __always_inline struct weft_external_prefix *gateway_prefix(__u32 segment, const void *address)
{
	struct weft_segment_prefix key;

	key.prefixlen = 32 + 128;
	key.segment = bpf_htonl(segment);
	addr_copy(key.prefix, address);
	return bpf_map_lookup_elem(&map_external_prefix, &key);
}

/* Whether 'address' may leave to the segment as what it is only by somebody else: an external address, or one of another network's prefix. */
static __always_inline bool gateway_is_others(__u32 segment, const void *address, __u32 network_id)
{
	const struct weft_external_prefix *prefix = gateway_prefix(segment, address);

	return (prefix && prefix->network_id != network_id) || gateway_address(segment, address);
}

static __always_inline struct weft_peering *gateway_peering(__u32 network_id, const void *address)
{
	struct weft_route_key key;

	key.prefixlen = 32 + 128;
	key.network_id = bpf_htonl(network_id);
	addr_copy(key.prefix, address);
	return bpf_map_lookup_elem(&map_peering, &key);
}

static __always_inline struct weft_source_rule *gateway_source_rule(__u32 network_id, const void *address)
{
	struct weft_route_key key;

	key.prefixlen = 32 + 128;
	key.network_id = bpf_htonl(network_id);
	addr_copy(key.prefix, address);
	return bpf_map_lookup_elem(&map_source_rule, &key);
}

/* Says whether this member owns the shard now. */
static __always_inline bool gateway_is_live(__u32 shard)
{
	const struct weft_gateway_shard *own = bpf_map_lookup_elem(&map_gateway_shard, &shard);

	return own && weft_now() < own->deadline_boot_ns;
}

/* Says whether 'address' is an external address of the segment whose shard is live here. */
static __always_inline bool gateway_is_ours(__u32 segment, const void *address)
{
	const struct weft_external_address *entry = gateway_address(segment, address);

	return entry && gateway_is_live(entry->shard);
}

/* One family, and an address at all. */
static __always_inline bool addr_is_family(const void *address, bool is_ipv6)
{
	return is_ipv6 ? !addr_is_mapped(address) && !addr_is_zero(address) : addr_is_mapped(address);
}

#endif
