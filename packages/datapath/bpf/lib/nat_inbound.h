/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Port mapping on the way in. */
#ifndef WEFT_NAT_INBOUND_H
#define WEFT_NAT_INBOUND_H

#include "eth.h"
#include "gateway_flow.h"
#include "gateway_types.h"

/* Fills '*t', which the caller has zeroed.  'address' is the entry of flow->near, of kind WEFT_ADDRESS_POOL or WEFT_ADDRESS_RESERVED; its
 * shard is ours.  Returns 0 or a reason. */
static __always_inline int nat_inbound(const struct gateway_flow *flow, const struct weft_external_address *address,
				       struct gateway_translation *t)
{
	(void)flow;
	(void)address;
	(void)t;
	return WEFT_DROP_NAT_NO_MAPPING;
}

#endif
