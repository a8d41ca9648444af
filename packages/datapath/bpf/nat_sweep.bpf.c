/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* nat_sweep: no device carries it; the agent runs it every second (BPF_PROG_TEST_RUN).  Of type sched_cls, since programs of type syscall may
 * hold no spin lock on kernel 6.1. */
#include <linux/pkt_cls.h>

#include "lib/nat_slice.h"

/* At most cb[0] steps.  Says in cb[1..3] how many steps there were, sessions and blocks retired.  cb[4] 1: no sweep, but another slice for the
 * address that the frame names; cb[1] says if it was done. */
SEC("tc")
int nat_sweep(struct __sk_buff *skb)
{
	struct nat_work *w = nat_work(NAT_SLOT_SWEEP);
	struct nat_sweep sweep = {};
	__u32 budget = skb->cb[0];

	if (!w)
		return TC_ACT_SHOT;
	if (skb->cb[4] == 1) {
		skb->cb[1] = nat_slice(skb);
		return TC_ACT_SHOT;
	}
	w->now = weft_now();
	sweep.budget = budget < NAT_SWEEP_MAX ? budget : NAT_SWEEP_MAX;
	bpf_loop(sweep.budget, nat_sweep_step, &sweep, 0);
	skb->cb[1] = sweep.steps;
	skb->cb[2] = sweep.sessions;
	skb->cb[3] = sweep.blocks;
	return TC_ACT_SHOT;
}

