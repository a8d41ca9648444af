/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* from_tunnel: tc ingress of the VXLAN device (metadata mode), for the GSO frames that from_underlay lets climb.
 *
 *   from_underlay --mark--> UDP socket --> [VXLAN device] --from_tunnel--> TAP   (LOCAL)
 *                                                                     \-> push   (TUNNEL: the port has moved)
 *
 * The device's socket also receives from other NICs, from lo and from this host's own processes: what lacks the mark is none of ours. */
#include "lib/decap.h"
#include "lib/deliver.h"
#include "lib/gateway_slot.h"

static __always_inline int from_tunnel_judge(struct __sk_buff *skb, struct weft_packet *p, struct weft_verdict *v)
{
	struct bpf_tunnel_key key = {};
	struct weft_tunnel t = {};
	bool is_ipv6;
	int reason;

	if ((skb->mark & WEFT_MARK_MASK) != cfg_mark)
		return WEFT_DROP_NOT_FROM_UNDERLAY;
	skb->mark &= ~WEFT_MARK_MASK;
	if (bpf_skb_get_tunnel_key(skb, &key, sizeof(key), 0))
		return WEFT_DROP_KERNEL_REFUSED;
	if (!skb->vlan_present && tunnel_check_known(skb, 0, bpf_htonl(key.remote_ipv4), key.tunnel_id, skb->len, v, &is_ipv6))
		return 0;
	reason = weft_pull(skb, WEFT_HEADERS_LEN);
	if (reason)
		return reason;
	if (skb->vlan_present)
		return WEFT_DROP_VLAN_TAG_NOT_ALLOWED;
	t.source = bpf_htonl(key.remote_ipv4);
	t.vni = key.tunnel_id;
	t.length = skb->len;
	reason = tunnel_check(skb, 0, &t, p, v);
	if (reason)
		return reason;
	if (unlikely(p->length + ETH_HLEN < skb->len)) {
		reason = weft_cut(skb, p->length + ETH_HLEN);
		if (reason)
			return reason;
	}
	return v->action == WEFT_ACTION_TUNNEL ? encap_push(skb, p, v) : 0;
}

SEC("tc")
int from_tunnel(struct __sk_buff *skb)
{
	struct weft_verdict v = { .generation = flow_generation() };
	struct weft_packet p = {};
	int reason, verdict;

	reason = from_tunnel_judge(skb, &p, &v);
	if (!reason && v.action == WEFT_ACTION_GATEWAY) {
		reason = gateway_out_stripped(skb, &v, &verdict);
		if (!reason)
			return verdict;
		if (reason == GATEWAY_UNCHANGED)
			gateway_enter(skb, v.network_id, v.ifindex, v.wire_vsid, v.second_hand);
		reason = WEFT_DROP_KERNEL_REFUSED;
	}
	if (unlikely(reason)) {
		drops_count(skb, v.vsid, reason);
		v.action = WEFT_ACTION_DROP;
	}
	verdict_publish(skb, &v, reason);
	if (v.action == WEFT_ACTION_LOCAL)
		return deliver(skb, &v);
	if (v.action == WEFT_ACTION_TUNNEL)
		return encap_send(skb, &v);
	return TC_ACT_SHOT;
}
