/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* How many ICMP errors are told (RFC 1812 section 4.3.2.8, RFC 4443 section 2.4(f)): a second's worth at once, then WEFT_ERRORS_PER_SECOND.  Counted for
 * who causes them, so that a flood of packets that are too old or too big takes nothing from others.  packages/forwarding/src/error-limit.ts. */
#ifndef WEFT_ERROR_LIMIT_H
#define WEFT_ERROR_LIMIT_H

#include "config.h"
#include "eth.h"
#include "leaky_bucket.h"

#define WEFT_ERRORS_PER_SECOND 1000

/* Who is told. */
#define WEFT_ERROR_PORT 1 /* a port's VM, by its host; id: ifindex */
#define WEFT_ERROR_INSIDE 2 /* by a gateway into a network; id: network */
#define WEFT_ERROR_OUTSIDE 3 /* by a gateway to the outside, about packets to a network; id: VSID that the drop is counted for */

struct weft_error_key {
	__u32 side;
	__u32 id;
};

struct weft_error_limit {
	__u64 due_boot_ns; /* when those told would all have been told, at the limit */
	__u64 held_back;
};

_Static_assert(sizeof(struct weft_error_limit) == 16, "contract");

/* LRU: who is forgotten begins anew, with a full second. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct weft_error_key);
	__type(value, struct weft_error_limit);
} map_sender_error SEC(".maps");

/* One more error.  False: it is not told.  Two processors at once may let one more through. */
static __always_inline bool error_is_told(__u32 side, __u32 id)
{
	struct weft_error_key key = { .side = side, .id = id };
	struct weft_error_limit *limit = bpf_map_lookup_elem(&map_sender_error, &key), fresh = {};

	if (!limit) {
		bpf_map_update_elem(&map_sender_error, &key, &fresh, BPF_NOEXIST);
		limit = bpf_map_lookup_elem(&map_sender_error, &key);
		if (!limit)
			return false;
	}
	if (leaky_bucket_take(&limit->due_boot_ns, weft_now(), WEFT_SECOND_NS / WEFT_ERRORS_PER_SECOND))
		return true;
	__sync_fetch_and_add(&limit->held_back, 1);
	return false;
}

#endif
