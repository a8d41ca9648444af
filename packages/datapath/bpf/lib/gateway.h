/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The subnets' gateway addresses: present on every host, they answer ping and nothing else. */
#ifndef WEFT_GATEWAY_H
#define WEFT_GATEWAY_H

#include "csum.h"
#include "drops.h"
#include "ipv4.h"
#include "ipv6.h"

/* The checksum of an IPv4 header with options, its own field left out. */
static __always_inline __u16 ipv4_header_checksum(const __u8 *header, const void *end, __u32 length)
{
	__u64 sum = 0;
	__u32 i;

#pragma unroll
	for (i = 0; i < 60; i += 2) {
		if (i < length && i != 10 && (const void *)header + i + 2 <= end)
			sum += LD16(header, i);
	}
	return ~csum_fold(sum);
}

/* Says whether the transport header is an echo request's, of code 0. */
static __always_inline bool echo_is_request(const __u8 *icmp, const void *end, bool is_ipv6)
{
	return (const void *)icmp + 8 <= end && icmp[0] == (is_ipv6 ? 128 : 8) && icmp[1] == 0;
}

/* Turns the echo request at 'l4_offset' of the packet into its reply; Ethernet is the caller's. */
static __always_inline int echo_turn(struct __sk_buff *skb, __u32 l4_offset, bool is_ipv6)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u8 *ip = data + ETH_HLEN, *icmp = data + ETH_HLEN + (l4_offset & 63);
	__u32 source[4], i;
	__u16 before, checksum;

	if (!echo_is_request(icmp, end, is_ipv6))
		return WEFT_DROP_GATEWAY_NO_SERVICE;
	before = LD16(icmp, 0);
	icmp[0] = is_ipv6 ? 129 : 0;
	ST16(icmp, 2, csum_replace16(LD16(icmp, 2), before, LD16(icmp, 0)));
	if ((void *)ip + (is_ipv6 ? 40 : 20) > end)
		return WEFT_DROP_GATEWAY_NO_SERVICE;
	if (is_ipv6) {
		ip[7] = 64;
		for (i = 0; i < 4; i++)
			source[i] = LD32(ip, 8 + 4 * i);
		for (i = 0; i < 4; i++) {
			ST32(ip, 8 + 4 * i, LD32(ip, 24 + 4 * i));
			ST32(ip, 24 + 4 * i, source[i]);
		}
	} else {
		ip[8] = 64;
		source[0] = LD32(ip, 12);
		ST32(ip, 12, LD32(ip, 16));
		ST32(ip, 16, source[0]);
		checksum = ipv4_header_checksum(ip, end, l4_offset);
		if (bpf_skb_store_bytes(skb, ETH_HLEN + 10, &checksum, sizeof(checksum), 0))
			return WEFT_DROP_KERNEL_REFUSED;
	}
	return 0;
}

/* As echo_turn, back out of the port. */
static __always_inline int gateway_echo(struct __sk_buff *skb, const struct weft_port *port, __u32 l4_offset, bool is_ipv6)
{
	int reason = echo_turn(skb, l4_offset, is_ipv6);
	void *data = (void *)(long)skb->data;

	if (reason)
		return reason;
	if (data + ETH_HLEN > (void *)(long)skb->data_end)
		return WEFT_DROP_KERNEL_REFUSED;
	mac_copy(data, port->mac);
	mac_set_gateway(data + ETH_ALEN, port->vsid);
	return 0;
}

/* Answers for the gateway of the port's subnet: 'protocol' is that of a whole packet (0 for a fragment), checked and cut to its length, whose
 * transport header is at 'l4_offset'.  Returns 0 (REPLY) or a reason.  A program of its own to the verifier: pings are rare. */
__attribute__((noinline)) int gateway_answer(struct __sk_buff *skb, __u32 l4_offset, __u32 protocol)
{
	const struct weft_port *port;
	__u32 ifindex = skb->ifindex;

	port = bpf_map_lookup_elem(&map_port, &ifindex);
	if (!port)
		return WEFT_DROP_NO_PORT;
	if (skb->protocol == bpf_htons(ETH_P_IP) && protocol == IPPROTO_ICMP)
		return gateway_echo(skb, port, l4_offset, false);
	if (skb->protocol == bpf_htons(ETH_P_IPV6) && protocol == WEFT_ICMPV6)
		return gateway_echo(skb, port, l4_offset, true);
	return WEFT_DROP_GATEWAY_NO_SERVICE;
}

/* Says whether 'address' is the gateway's of the subnet 'vsid'. */
static __always_inline bool gateway_is(__u32 vsid, const struct weft_packet *p)
{
	const struct weft_subnet *subnet = bpf_map_lookup_elem(&map_subnet, &vsid);

	return subnet && addr_equal(p->is_ipv6 ? subnet->gateway6 : subnet->gateway4, p->destination);
}

#endif
