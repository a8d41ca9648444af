/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Probes of gateways, answered in place: docs/gateway-contract.md section 9. */
#ifndef WEFT_PROBE_H
#define WEFT_PROBE_H

#include <linux/if_packet.h>
#include <linux/ip.h>

#include "encap.h"
#include "gateway_maps.h"

#define PROBE_PORT 4790
#define PROBE_UDP (ETH_HLEN + 20)
#define PROBE_PAYLOAD (PROBE_UDP + 8)
#define PROBE_SHARDS_AT (PROBE_PAYLOAD + 16)
#define PROBE_VERSION 1
#define PROBE_REQUEST 1
#define PROBE_REPLY 2
#define PROBE_FORWARDS 1

/* Not a reason, nor a probe. */
#define PROBE_PASS (-1)
#define PROBE_ANSWERED (-2)

/* Writes what we own of the shards that are asked for; returns how the sum of the words changes. */
static __always_inline __u64 probe_fill(struct __sk_buff *skb, __u32 count)
{
	struct weft_gateway_shard *own;
	struct weft_probe_shard shard;
	__u64 now = weft_now(), sum = 0;
	__u32 i, id, at;

	for (i = 0; i < WEFT_PROBE_SHARDS; i++) {
		if (i >= count)
			break;
		at = PROBE_SHARDS_AT + i * sizeof(shard);
		if (bpf_skb_load_bytes(skb, at, &shard, sizeof(shard)))
			break;
		sum += (__u64)(__u32)~shard.flags + (__u32)~shard.epoch + (__u32)~(shard.epoch >> 32);
		id = bpf_ntohl(shard.shard);
		own = bpf_map_lookup_elem(&map_gateway_shard, &id);
		shard.flags = own && now < own->deadline_boot_ns ? bpf_htonl(PROBE_FORWARDS) : 0;
		shard.epoch = own ? bpf_cpu_to_be64(own->epoch) : 0;
		sum += (__u64)shard.flags + (__u32)shard.epoch + (__u32)(shard.epoch >> 32);
		bpf_skb_store_bytes(skb, at, &shard, sizeof(shard), 0);
	}
	return sum;
}

/* Keeps a peer's answer, with the time. */
static __always_inline void probe_keep(struct __sk_buff *skb, const struct weft_pa_key *peer, __u32 count)
{
	struct weft_probe_reply reply = {};
	__u32 i;

	bpf_skb_load_bytes(skb, PROBE_PAYLOAD + 8, &reply.nonce, 8);
	reply.boot_ns = weft_now();
	reply.count = count;
	for (i = 0; i < WEFT_PROBE_SHARDS; i++) {
		if (i >= count || bpf_skb_load_bytes(skb, PROBE_SHARDS_AT + i * sizeof(reply.shards[0]), &reply.shards[i], sizeof(reply.shards[0])))
			break;
		reply.shards[i].shard = bpf_ntohl(reply.shards[i].shard);
		reply.shards[i].flags = bpf_ntohl(reply.shards[i].flags);
		reply.shards[i].epoch = bpf_be64_to_cpu(reply.shards[i].epoch);
	}
	bpf_map_update_elem(&map_probe_reply, peer, &reply, BPF_ANY);
}

/* Makes the request its own reply, addresses swapped. */
static __always_inline int probe_turn(struct __sk_buff *skb, __u32 count)
{
	void *data = (void *)(long)skb->data;
	__u8 *ip = data + ETH_HLEN;
	__be32 source;
	__u64 sum;

	if (data + PROBE_SHARDS_AT > (void *)(long)skb->data_end)
		return WEFT_DROP_KERNEL_REFUSED;
	source = LD32(ip, 12);
	ST32(ip, 12, LD32(ip, 16));
	ST32(ip, 16, source);
	ST32(ip, 4, bpf_htons(0x4000) << 16); /* id 0, DF */
	ip[8] = 64;
	ST16(ip, 10, 0);
	ST16(ip, 10, ~csum_fold(csum_ipv4_header(ip)));
	sum = (__u16)~LD16(data, PROBE_PAYLOAD + 4);
	*(__u8 *)(data + PROBE_PAYLOAD + 5) = PROBE_REPLY;
	sum += LD16(data, PROBE_PAYLOAD + 4);
	sum += probe_fill(skb, count);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	return bpf_l4_csum_replace(skb, PROBE_UDP + 6, 0, sum, BPF_F_MARK_MANGLED_0) ? WEFT_DROP_KERNEL_REFUSED : PROBE_ANSWERED;
}

/* Judges a frame that is no tunnel's.  Returns PROBE_PASS, PROBE_ANSWERED or a reason.  A program of its own to the verifier. */
__attribute__((noinline)) int probe_answer(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct weft_pa_key peer;
	__u32 total, count;
	const __u8 *ip;
	__u8 type;
	int reason;

	if (skb->protocol != bpf_htons(ETH_P_IP) || skb->len < PROBE_PAYLOAD + 4 || skb->pkt_type != PACKET_HOST || skb->vlan_present)
		return PROBE_PASS;
	if (data + PROBE_PAYLOAD + 4 > end) {
		if (weft_pull(skb, PROBE_SHARDS_AT))
			return PROBE_PASS;
		data = (void *)(long)skb->data;
		end = (void *)(long)skb->data_end;
	}
	ip = data + ETH_HLEN;
	if (data + PROBE_PAYLOAD + 4 > end || LD16(data, 12) != bpf_htons(ETH_P_IP) || ip[0] != 0x45 || ip[9] != IPPROTO_UDP)
		return PROBE_PASS;
	if (LD32(ip, 16) != cfg_pa4 || LD16(ip, 6) & bpf_htons(0x3fff) || LD16(data, PROBE_UDP + 2) != bpf_htons(PROBE_PORT))
		return PROBE_PASS;
	if (LD32(data, PROBE_PAYLOAD) != bpf_htonl(0x57465052)) /* "WFPR" */
		return PROBE_PASS;

	total = bpf_ntohs(LD16(ip, 2));
	if (weft_pull(skb, PROBE_SHARDS_AT))
		return WEFT_DROP_KERNEL_REFUSED;
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	if (data + PROBE_SHARDS_AT > end)
		return WEFT_DROP_PROBE_MALFORMED;
	count = *(__u8 *)(data + PROBE_PAYLOAD + 6);
	type = *(__u8 *)(data + PROBE_PAYLOAD + 5);
	if (skb->gso_size || total > skb->len - ETH_HLEN || LD16(data, PROBE_UDP) != bpf_htons(PROBE_PORT) || count > WEFT_PROBE_SHARDS)
		return WEFT_DROP_PROBE_MALFORMED;
	if (total != 20 + 8 + 16 + 16 * count || bpf_ntohs(LD16(data, PROBE_UDP + 4)) != total - 20)
		return WEFT_DROP_PROBE_MALFORMED;
	if (*(__u8 *)(data + PROBE_PAYLOAD + 4) != PROBE_VERSION || (type != PROBE_REQUEST && type != PROBE_REPLY) ||
	    *(__u8 *)(data + PROBE_PAYLOAD + 7) != 0)
		return WEFT_DROP_PROBE_MALFORMED;
	addr_set_ipv4(peer.pa, LD32(data, ETH_HLEN + 12));
	if (!bpf_map_lookup_elem(&map_peer_gateway, &peer))
		return WEFT_DROP_PROBE_UNKNOWN_PEER;
	if (type == PROBE_REPLY) {
		probe_keep(skb, &peer, count);
		return PROBE_PASS;
	}
	if (ETH_HLEN + total < skb->len) {
		reason = weft_cut(skb, ETH_HLEN + total);
		if (reason)
			return reason;
	}
	return probe_turn(skb, count);
}

/* As probe_answer, with the action in '*action': PASS or REPLY. Returns 0 or a reason. */
static __always_inline int probe_judge(struct __sk_buff *skb, __u32 *action)
{
	int reason = probe_answer(skb);

	*action = reason == PROBE_ANSWERED ? WEFT_ACTION_REPLY : WEFT_ACTION_PASS;
	return reason < 0 ? 0 : reason;
}

/* Sends the answer by the underlay's routes. */
static __always_inline int probe_send(void)
{
	return bpf_redirect_neigh(cfg_underlay_ifindex, NULL, 0, 0);
}

#endif
