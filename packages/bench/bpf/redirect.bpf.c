/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The least that tc can do with a frame: send it out of another device, as it is. The benchmark's measure of what no tunnel can pass. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

const volatile __u32 cfg_target_ifindex = 0;

SEC("tc")
int redirect(struct __sk_buff *skb)
{
	return bpf_redirect(cfg_target_ifindex, 0);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
