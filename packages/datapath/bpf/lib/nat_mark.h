/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which decisions about sessions still hold: docs/gateway-contract.md section 10.
 *
 * A decision that is remembered (gateway_slot.h) must not outlive its session, nor what was seen of its TCP connection. So whatever changes either counts up
 * the session's mark afterwards, and a decision is kept with the mark as it stood before the session was read. Sessions share marks by a hash: one
 * too many is counted for some, which costs them one full decision. */
#ifndef WEFT_NAT_MARK_H
#define WEFT_NAT_MARK_H

#include "eth.h"
#include "nat_types.h"

#define NAT_MARKS 4096
/* A decision that no session stands behind. */
#define NAT_MARK_NONE 0xffffffff

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NAT_MARKS);
	__type(key, __u32);
	__type(value, __u32);
} map_nat_mark SEC(".maps");

static __always_inline __u32 nat_mark_of(const struct nat_session_key *key)
{
	__u32 a = LD32(key->remote, 12) ^ LD32(key->address, 12) * 0x85ebca6b;
	__u32 b = (key->external_port | (__u32)key->remote_port << 16) + key->protocol;

	return (a * 0x9e3779b1 ^ b) * 0x9e3779b1 >> 20;
}

static __always_inline __u32 *nat_mark_at(__u32 index)
{
	return bpf_map_lookup_elem(&map_nat_mark, &index);
}

/* The session's state has changed, or it is gone. Returns the mark as it was. */
static __always_inline __u32 nat_mark_bump(const struct nat_session_key *key)
{
	__u32 *mark = nat_mark_at(nat_mark_of(key));

	return mark ? __sync_fetch_and_add(mark, 1) : 0;
}

#endif
