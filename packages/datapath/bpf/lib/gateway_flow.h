/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the gateway's packet path asks port mapping, and what it is told: docs/gateway-contract.md section 8. */
#ifndef WEFT_GATEWAY_FLOW_H
#define WEFT_GATEWAY_FLOW_H

#include "types.h"

/* One packet.  Of an ICMP error, addresses, ports and protocol are those of the packet it quotes, turned round: 'near' and 'remote' mean
 * the same in an error as in what caused it. */
struct gateway_flow {
	__u32 network_id; /* outbound: the network it comes from; inbound: 0 */
	__u32 segment;
	__u8 near[WEFT_ADDR_LEN]; /* outbound: the CA; inbound: the external address */
	__u8 remote[WEFT_ADDR_LEN];
	__be16 near_port; /* ICMP echo: the identifier, in both; 0 where there is none */
	__be16 remote_port;
	__u8 protocol;
	__u8 icmp_type; /* of ICMP and ICMPv6, not of a quoted packet */
	__u8 tcp_flags; /* of TCP, not of a quoted packet */
	__u8 is_ipv6;
	__u8 is_error;
	__u8 is_fragment;
	__u8 has_l4; /* 0 behind a fragment offset: ports are 0 */
	__u8 pad;
	__u32 length; /* of the IP packet; a GSO frame counts as one */
	__be32 fragment_id; /* IPv4: 16 bits, as they stand in memory; 0 if no fragment */
} __attribute__((aligned(8)));

/* The near end's new address and port. */
struct gateway_translation {
	__u8 address[WEFT_ADDR_LEN];
	__u32 network_id; /* inbound: whose CA it is */
	__be16 port; /* the old one where there is none */
	__u16 pad;
} __attribute__((aligned(8)));

#endif
