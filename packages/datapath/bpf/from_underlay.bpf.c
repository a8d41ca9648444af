/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* from_underlay: tc ingress of the underlay's NIC.
 *
 *   wire ---> [NIC] --from_underlay--> host's stack                     (PASS: not ours)
 *                                  \-> VXLAN device, then from_tunnel   (CLIMB: GSO frames)
 *                                  \-> strip, TAP                       (LOCAL)
 *                                  \-> new outer header, underlay       (TUNNEL: the port has moved)
 *                                  \-> back to the asker                (REPLY: a probe of the gateway)
 *                                  \-> strip, to_gateway                (GATEWAY)
 *
 * GSO frames climb because stripping one here would leave the tunnel's GSO type on it, and a TAP would get it cut to pieces. */
#include "lib/decap.h"
#include "lib/deliver.h"
#include "lib/gateway_slot.h"
#include "lib/probe.h"

/* Not a reason: the frame is the host's own affair. */
#define UNDERLAY_PASS (-1)

/* Reads the outer headers (contract section 5, steps 1 and 2).  Returns 0, UNDERLAY_PASS, or a reason. */
static __always_inline int outer_read(struct __sk_buff *skb, struct weft_tunnel *t)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u32 header, total, udp_length, fragment;
	const struct iphdr *ip;
	const __u8 *udp;

	if (skb->protocol != bpf_htons(ETH_P_IP) || skb->len < ETH_HLEN + 20)
		return UNDERLAY_PASS;
	if (unlikely(data + INNER_IP + 60 + 20 > end)) {
		if (weft_pull(skb, INNER_IP + 60 + 20))
			return UNDERLAY_PASS;
		data = (void *)(long)skb->data;
		end = (void *)(long)skb->data_end;
	}
	ip = data + ETH_HLEN;
	if ((void *)(ip + 1) > end || LD16(data, 12) != bpf_htons(ETH_P_IP))
		return UNDERLAY_PASS;
	if (ip->version != 4 || ip->ihl < 5 || ip->protocol != IPPROTO_UDP || ip->daddr != cfg_pa4)
		return UNDERLAY_PASS;
	header = ip->ihl * 4;
	udp = (void *)ip + (header & 63);
	fragment = bpf_ntohs(ip->frag_off) & 0x3fff;
	if (fragment & 0x1fff || (void *)udp + 4 > end || LD16(udp, 2) != bpf_htons(cfg_udp_port))
		return UNDERLAY_PASS;
	if (fragment)
		return WEFT_DROP_OUTER_FRAGMENT;
	if (skb->vlan_present)
		return UNDERLAY_PASS;

	if (skb->pkt_type != PACKET_HOST)
		return WEFT_DROP_OUTER_NOT_FOR_US;
	if (header != 20)
		return WEFT_DROP_OUTER_OPTIONS;
	total = bpf_ntohs(ip->tot_len);
	if (total > skb->len - ETH_HLEN || total < 20 + 8)
		return WEFT_DROP_TRUNCATED_OUTER;
	if (data + OUTER_UDP + 8 > end)
		return WEFT_DROP_TRUNCATED_OUTER;
	udp_length = bpf_ntohs(LD16(data, OUTER_UDP + 4));
	if (udp_length > total - 20 || udp_length < 8 + 8 + ETH_HLEN || data + INNER_IP > end)
		return WEFT_DROP_TRUNCATED_TUNNEL_HEADER;
	if (!(*(__u8 *)(data + OUTER_VXLAN) & VXLAN_FLAG_VNI))
		return WEFT_DROP_VXLAN_VNI_FLAG_CLEAR;
	t->source = ip->saddr;
	t->ecn = ip->tos & 3;
	t->vni = bpf_ntohl(LD32(data, OUTER_VXLAN + 4)) >> 8;
	t->length = udp_length - 16;
	return 0;
}

/* The frame's port has moved: the same frame, with new outer headers written over the old.  (Stripping and pushing again would give the
 * same bytes, but the kernel refuses to encapsulate what it still knows as encapsulated.) */
static __always_inline int underlay_send_on(struct __sk_buff *skb, const struct weft_packet *p, const struct weft_verdict *v)
{
	void *data = (void *)(long)skb->data;

	if (data + INNER_IP > (void *)(long)skb->data_end)
		return WEFT_DROP_KERNEL_REFUSED;
	encap_write(data, p, v->pa, v->wire_vsid);
	return 0;
}

/* The same as underlay_judge for the frames that it has most of: from a peer's Weft, with nothing wrong about the outer headers and, if not GSO, a decision
 * made before. Fills '*v' and, for LOCAL, '*is_ipv6'; changes nothing. False says nothing about the frame. */
static __always_inline bool underlay_judge_known(struct __sk_buff *skb, struct weft_verdict *v, bool *is_ipv6)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u32 total = skb->len - ETH_HLEN;
	const __u8 *ip = data + OUTER_IP;

	if (data + OUTER_LEN > end || skb->protocol != bpf_htons(ETH_P_IP) || LD16(data, 12) != bpf_htons(ETH_P_IP))
		return false;
	if (ip[0] != 0x45 || ip[9] != IPPROTO_UDP || LD32(ip, 16) != cfg_pa4 || LD16(ip, 6) & bpf_htons(0x3fff))
		return false;
	if (LD16(data, OUTER_UDP + 2) != bpf_htons(cfg_udp_port) || skb->vlan_present || skb->pkt_type != PACKET_HOST)
		return false;
	if (bpf_ntohs(LD16(ip, 2)) != total || total < OUTER_HEADERS_LEN + ETH_HLEN || bpf_ntohs(LD16(data, OUTER_UDP + 4)) != total - 20)
		return false;
	if (!(*(__u8 *)(data + OUTER_VXLAN) & VXLAN_FLAG_VNI))
		return false;
	if (skb->gso_size) {
		v->action = WEFT_ACTION_CLIMB;
		return true;
	}
	if ((ip[1] & 3) == ECN_CE)
		return false;
	return tunnel_check_known(skb, OUTER_LEN, LD32(ip, 12), bpf_ntohl(LD32(data, OUTER_VXLAN + 4)) >> 8, total - OUTER_HEADERS_LEN, v, is_ipv6);
}

/* The whole decision. For LOCAL, the frame is still to be stripped. A function of its own: its registers are none of the fast path's. */
static __attribute__((noinline)) int underlay_judge(struct __sk_buff *skb, struct weft_verdict *v, bool *is_ipv6)
{
	struct weft_packet packet = {}, *p = &packet;
	struct weft_tunnel t = {};
	int reason;

	reason = outer_read(skb, &t);
	if (reason)
		return reason;
	if (skb->gso_size) {
		v->action = WEFT_ACTION_CLIMB;
		return 0;
	}
	reason = tunnel_check(skb, OUTER_LEN, &t, p, v);
	if (reason)
		return reason;
	reason = tunnel_propagate_ecn(skb, &t, p);
	if (reason)
		return reason;
	if (unlikely(INNER_IP + p->length != skb->len)) {
		reason = weft_cut(skb, INNER_IP + p->length);
		if (reason)
			return reason;
	}
	if (v->action == WEFT_ACTION_TUNNEL)
		return underlay_send_on(skb, p, v);
	*is_ipv6 = p->is_ipv6;
	return 0;
}

SEC("tc")
int from_underlay(struct __sk_buff *skb)
{
	struct weft_verdict v = { .generation = flow_generation() };
	bool is_ipv6 = false;
	int reason = 0, verdict;

	if (unlikely((skb->mark & WEFT_MARK_MASK) == cfg_mark))
		skb->mark &= ~WEFT_MARK_MASK;
	if (!underlay_judge_known(skb, &v, &is_ipv6))
		reason = underlay_judge(skb, &v, &is_ipv6);
	if (!reason && (v.action == WEFT_ACTION_LOCAL || v.action == WEFT_ACTION_GATEWAY))
		reason = decap_strip(skb, is_ipv6);
	if (!reason && v.action == WEFT_ACTION_GATEWAY) {
		reason = gateway_out_stripped(skb, &v, &verdict);
		if (!reason)
			return verdict;
		if (reason == GATEWAY_UNCHANGED)
			gateway_enter(skb, v.network_id, v.ifindex, v.wire_vsid, v.second_hand);
		reason = WEFT_DROP_KERNEL_REFUSED;
	}
	if (reason == UNDERLAY_PASS)
		reason = probe_judge(skb, &v.action);
	if (unlikely(reason)) {
		drops_count(skb, v.vsid, reason);
		v.action = WEFT_ACTION_DROP;
	}
	v.ifindex = v.action == WEFT_ACTION_REPLY ? cfg_underlay_ifindex : v.ifindex;
	verdict_publish(skb, &v, reason);
	switch (v.action) {
	case WEFT_ACTION_LOCAL:
		return deliver(skb, &v);
	case WEFT_ACTION_TUNNEL:
		return encap_send(skb, &v);
	case WEFT_ACTION_REPLY:
		return probe_send();
	case WEFT_ACTION_CLIMB:
		skb->mark = (skb->mark & ~WEFT_MARK_MASK) | cfg_mark;
		return TC_ACT_UNSPEC;
	case WEFT_ACTION_PASS:
		return TC_ACT_UNSPEC;
	}
	return TC_ACT_SHOT;
}
