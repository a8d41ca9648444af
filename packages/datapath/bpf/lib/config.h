/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Set by the loader before the programs are verified, so that what is off costs nothing. */
#ifndef WEFT_CONFIG_H
#define WEFT_CONFIG_H

#include "maps.h"

#define WEFT_MARK_MASK 0x0000ffff

const volatile __u8 cfg_pa[WEFT_ADDR_LEN] __attribute__((aligned(8))); /* this host's provider address */
const volatile __u32 cfg_underlay_ifindex;
const volatile __u32 cfg_tunnel_ifindex;
const volatile __u32 cfg_test_clock;
const volatile __u32 cfg_udp_port = 4789;
const volatile __u32 cfg_mark = 0x5746;
/* The kernel has neither bpf_cast_to_kern_ctx (6.2) nor BPF_F_ADJ_ROOM_DECAP_L3_* (6.3): the ways round are slower. */
const volatile __u32 cfg_kernel_61;
/* Provider addresses in this prefix (network order) are neighbours on the underlay: no route is looked up for them.  Mask 0: none are. */
const volatile __be32 cfg_onlink_prefix;
const volatile __be32 cfg_onlink_mask;

/* Nanoseconds of the boot clock, or of the test clock. */
static __always_inline __u64 weft_now(void)
{
	__u32 zero = 0;
	__u64 *now;

	if (!cfg_test_clock)
		return bpf_ktime_get_boot_ns();
	now = bpf_map_lookup_elem(&map_clock, &zero);
	return now ? *now : 0;
}

#endif
