/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A limit by the second.  What is kept is one time: when all that was let through would have come, were it evenly spaced. */
#ifndef WEFT_LEAKY_BUCKET_H
#define WEFT_LEAKY_BUCKET_H

#include <linux/types.h>

#include "eth.h"

#define WEFT_SECOND_NS 1000000000ULL

/* Lets one more through, a second's worth at once.  Two processors at once may let one more through than the limit. */
static __always_inline bool leaky_bucket_take(__u64 *due_ns, __u64 now, __u64 spacing_ns)
{
	__u64 due = READ_ONCE(*due_ns), next = (due > now ? due : now) + spacing_ns;

	if (next > now + WEFT_SECOND_NS)
		return false;
	__sync_val_compare_and_swap(due_ns, due, next);
	return true;
}

#endif
