/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Customer routes: the longest prefix of one network. */
#ifndef WEFT_ROUTE_H
#define WEFT_ROUTE_H

#include "config.h"
#include "eth.h"

#ifndef NULL
#define NULL ((void *)0)
#endif

static __always_inline struct weft_route *route_find(__u32 network_id, const void *address)
{
	struct weft_route_key key;

	key.prefixlen = 32 + 128;
	key.network_id = bpf_htonl(network_id);
	addr_copy(key.prefix, address);
	return bpf_map_lookup_elem(&map_route, &key);
}

#endif
