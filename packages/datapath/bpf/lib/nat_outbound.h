/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Port mapping on the way out. */
#ifndef WEFT_NAT_OUTBOUND_H
#define WEFT_NAT_OUTBOUND_H

#include "eth.h"
#include "gateway_flow.h"

/* Fills '*t', which the caller has zeroed.  'kind' is WEFT_SOURCE_POOL or WEFT_SOURCE_ADDRESS.  Returns 0 or a reason. */
static __always_inline int nat_outbound(const struct gateway_flow *flow, __u32 kind, __u32 pool, struct gateway_translation *t)
{
	(void)flow;
	(void)kind;
	(void)pool;
	(void)t;
	return WEFT_DROP_NAT_POOL_UNKNOWN;
}

#endif
