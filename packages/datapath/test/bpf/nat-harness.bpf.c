/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Port mapping alone, for tests: the frame is a flow, 14 bytes of Ethernet, then struct gateway_flow; the answer stands in cb[] and behind it. */
#ifdef NAT_RACES
/* Some tens of microseconds, every second time. */
#define NAT_RACE_POINT()                                        \
	do {                                                    \
		if (!(bpf_get_prandom_u32() & 1))               \
			bpf_loop(9000, race_spin, (void *)0, 0); \
	} while (0)
#endif

#include "../../bpf/lib/drops.h"

#ifdef NAT_RACES
static long race_spin(__u32 index, void *nothing)
{
	(void)nothing;
	barrier_var(index);
	return 0;
}
#endif

#include "../../bpf/lib/nat_inbound.h"
#include "../../bpf/lib/nat_outbound.h"
#include "../../bpf/nat_sweep.bpf.c"

#define FLOW_AT ETH_HLEN
#define ANSWER_AT (ETH_HLEN + sizeof(struct gateway_flow))

static __always_inline int answer(struct __sk_buff *skb, int reason, const struct gateway_translation *t)
{
	skb->cb[0] = reason;
	bpf_skb_store_bytes(skb, ANSWER_AT, t, sizeof(*t), 0);
	return TC_ACT_SHOT;
}

SEC("tc")
int harness_out(struct __sk_buff *skb)
{
	struct gateway_translation t = {};
	struct gateway_flow flow;

	if (bpf_skb_load_bytes(skb, FLOW_AT, &flow, sizeof(flow)))
		return TC_ACT_OK;
	return answer(skb, nat_outbound(&flow, WEFT_SOURCE_POOL, skb->cb[1], &t), &t);
}

SEC("tc")
int harness_in(struct __sk_buff *skb)
{
	struct weft_external_address address = {};
	struct gateway_translation t = {};
	struct gateway_flow flow;

	if (bpf_skb_load_bytes(skb, FLOW_AT, &flow, sizeof(flow)))
		return TC_ACT_OK;
	return answer(skb, nat_inbound(&flow, &address, &t), &t);
}

/* nat_sweep, cb[1] seconds ahead of the packets: as if each of them had looked at the clock long before it went on. */
SEC("tc")
int harness_sweep_ahead(struct __sk_buff *skb)
{
	struct nat_work *w = nat_work(NAT_SLOT_SWEEP);
	struct nat_sweep sweep = {};

	if (!w)
		return TC_ACT_SHOT;
	w->now = weft_now() + skb->cb[1] * NAT_SECOND;
	bpf_loop(skb->cb[0] < NAT_SWEEP_MAX ? skb->cb[0] : NAT_SWEEP_MAX, nat_sweep_step, &sweep, 0);
	return TC_ACT_SHOT;
}

/* So that their layouts stand in the BTF. */
const struct nat_event_block *unused_event_block __attribute__((unused));
const struct nat_event_mapping *unused_event_mapping __attribute__((unused));
const struct nat_event_session *unused_event_session __attribute__((unused));

char LICENSE[] SEC("license") = "Dual BSD/GPL";
