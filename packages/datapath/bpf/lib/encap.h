/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Putting the tunnel's headers in front of a frame. */
#ifndef WEFT_ENCAP_H
#define WEFT_ENCAP_H

#include <linux/if_packet.h>

#include "config.h"
#include "csum.h"
#include "drops.h"
#include "flow_hash.h"
#include "vxlan.h"

#define cfg_pa4 (*(const volatile __be32 *)(cfg_pa + 12))

/* FIXED_GSO: segments keep their size (UDP GSO refuses anything else).  NO_CSUM_RESET: an unfinished inner checksum is finished by
 * the NIC or the last hop.  The ENCAP flags tell the kernel how to segment a GSO frame behind these headers. */
#define ENCAP_FLAGS                                                                                                                  \
	(BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_NO_CSUM_RESET | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_ENCAP_L4_UDP |        \
	 BPF_F_ADJ_ROOM_ENCAP_L2(ETH_HLEN) | BPF_F_ADJ_ROOM_ENCAP_L2_ETH)

/* Says whether the length of a frame of 'length' IP bytes can be told in the outer headers. */
static __always_inline bool encap_fits(__u32 length)
{
	return length + ETH_HLEN + OUTER_HEADERS_LEN <= 65535;
}

/* Says whether 'pa' is a provider address that a frame of 'length' IP bytes can be sent to.  Returns 0 or a reason. */
static __always_inline int encap_check(const __u8 *pa, __u32 length)
{
	__be32 pa4 = LD32(pa, 12);

	if (!addr_is_mapped(pa) || pa4 == 0 || pa4 == cfg_pa4)
		return WEFT_DROP_NO_PEER;
	return encap_fits(length) ? 0 : WEFT_DROP_FRAME_TOO_LARGE;
}

/* What the outer headers say of a packet. */
struct weft_outer {
	__u32 length; /* of the inner IP packet */
	__u32 ecn;
	__u32 hash; /* the flow hash */
	bool is_ipv6;
};

static __always_inline struct weft_outer encap_outer(const struct weft_packet *p)
{
	return (struct weft_outer){ .length = p->length, .ecn = p->ecn, .hash = flow_hash(p), .is_ipv6 = p->is_ipv6 };
}

/* Writes IPv4, UDP and VXLAN headers at bytes 14 to 49 of the frame. */
static __always_inline void encap_write_outer(void *data, const struct weft_outer *o, __be32 pa, __u32 vsid)
{
	__u32 length = o->length + ETH_HLEN + OUTER_HEADERS_LEN;
	__u32 word0 = 0x45 | o->ecn << 8 | (__u32)bpf_htons(length) << 16;
	__u32 word1 = bpf_htons(0x4000) << 16; /* id 0, DF */
	__u32 word2 = 64 | IPPROTO_UDP << 8;
	__u64 sum = (__u64)word0 + word1 + word2 + cfg_pa4 + pa;

	ST16(data, 12, bpf_htons(ETH_P_IP));
	ST32(data, OUTER_IP, word0);
	ST32(data, OUTER_IP + 4, word1);
	ST32(data, OUTER_IP + 8, word2 | (__u32)(__u16)~csum_fold(sum) << 16);
	ST32(data, OUTER_IP + 12, cfg_pa4);
	ST32(data, OUTER_IP + 16, pa);
	ST16(data, OUTER_UDP, bpf_htons(flow_source_port(o->hash)));
	ST16(data, OUTER_UDP + 2, bpf_htons(cfg_udp_port));
	ST32(data, OUTER_UDP + 4, bpf_htons(length - 20)); /* checksum 0 */
	ST32(data, OUTER_VXLAN, VXLAN_FLAG_VNI);
	ST32(data, OUTER_VXLAN + 4, bpf_htonl(vsid << 8));
}

static __always_inline void encap_write(void *data, const struct weft_packet *p, __be32 pa, __u32 vsid)
{
	struct weft_outer o = encap_outer(p);

	encap_write_outer(data, &o, pa, vsid);
}

/* The way round for what the kernel won't let a program encapsulate: frames that are encapsulated already (a VXLAN device in a
 * container) and UDP fragmentation offload (old guests).  The VXLAN device does it, with a source port of its own. */
__attribute__((noinline)) int encap_by_device(struct __sk_buff *skb, __u32 pa, __u32 vsid, __u32 ecn)
{
	struct bpf_tunnel_key key = {};

	key.tunnel_id = vsid;
	key.remote_ipv4 = bpf_ntohl(pa);
	key.local_ipv4 = bpf_ntohl(cfg_pa4);
	key.tunnel_tos = ecn;
	key.tunnel_ttl = 64;
	skb->mark = (skb->mark & ~WEFT_MARK_MASK) | cfg_mark; /* says to the host's firewall that it is no process's */
	return bpf_skb_set_tunnel_key(skb, &key, sizeof(key), BPF_F_ZERO_CSUM_TX | BPF_F_DONT_FRAGMENT) ? WEFT_DROP_KERNEL_REFUSED : 0;
}

/* Encapsulates the frame for the host at v->pa, with its MAC addresses as they stand.  Returns 0 or WEFT_DROP_KERNEL_REFUSED. */
static __always_inline int encap_push_outer(struct __sk_buff *skb, const struct weft_outer *o, struct weft_verdict *v)
{
	__be16 type = o->is_ipv6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
	void *data;

	if (unlikely(bpf_skb_adjust_room(skb, OUTER_LEN, BPF_ADJ_ROOM_MAC, ENCAP_FLAGS))) {
		v->by_device = true;
		return encap_by_device(skb, v->pa, v->wire_vsid, o->ecn);
	}
	data = (void *)(long)skb->data;
	if (data + INNER_IP > (void *)(long)skb->data_end)
		return WEFT_DROP_KERNEL_REFUSED;
	ST32(data, OUTER_LEN, LD32(data, 0));
	ST32(data, OUTER_LEN + 4, LD32(data, 4));
	ST32(data, OUTER_LEN + 8, LD32(data, 8));
	ST16(data, OUTER_LEN + 12, type);
	encap_write_outer(data, o, v->pa, v->wire_vsid);
	return 0;
}

static __always_inline int encap_push(struct __sk_buff *skb, const struct weft_packet *p, struct weft_verdict *v)
{
	struct weft_outer o = encap_outer(p);

	return encap_push_outer(skb, &o, v);
}

/* Sends an encapsulated frame out of the underlay: the kernel's routes and neighbour table fill the outer Ethernet header. */
static __always_inline int encap_send(struct __sk_buff *skb, const struct weft_verdict *v)
{
	struct bpf_redir_neigh neighbour = {};

	if (unlikely(v->by_device))
		return bpf_redirect(cfg_tunnel_ifindex, 0);
	skb->queue_mapping = 0; /* a TAP's queue must not choose the NIC's */
	if (cfg_onlink_mask && (v->pa & cfg_onlink_mask) == cfg_onlink_prefix) {
		neighbour.nh_family = 2; /* AF_INET */
		neighbour.ipv4_nh = v->pa;
		return bpf_redirect_neigh(cfg_underlay_ifindex, &neighbour, sizeof(neighbour), 0);
	}
	return bpf_redirect_neigh(cfg_underlay_ifindex, NULL, 0, 0);
}

#endif
