/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the NAT knows of a TCP connection (RFC 5382 section 5, RFC 6146 section 3.5.2.2): whether both sides have acknowledged each other, and
 * whether both have said goodbye.  packages/forwarding/src/nat/tcp.ts says the same. */
#ifndef WEFT_NAT_TCP_H
#define WEFT_NAT_TCP_H

#include "nat_work.h"

#define NAT_TCP_FIN 1
#define NAT_TCP_SYN 2
#define NAT_TCP_RST 4
#define NAT_TCP_ACK 16

#define NAT_ESTABLISHED (NAT_OUT_SYN | NAT_IN_SYN | NAT_OUT_ACK | NAT_IN_ACK)
#define NAT_CLOSED (NAT_OUT_FIN | NAT_IN_FIN)

/* A first segment: SYN without ACK. */
static __always_inline bool nat_tcp_opens(__u8 tcp)
{
	return (tcp & (NAT_TCP_SYN | NAT_TCP_ACK | NAT_TCP_RST)) == NAT_TCP_SYN;
}

/* A segment that changes nothing once one like it has passed the same way, as long as none of another kind passes either way. */
static __always_inline bool nat_tcp_is_steady(__u8 tcp)
{
	return (tcp & (NAT_TCP_FIN | NAT_TCP_SYN | NAT_TCP_RST | NAT_TCP_ACK)) == NAT_TCP_ACK;
}

/* What has been seen after one more segment.  A reset counts until a segment without RST passes, so whoever guesses one ends nothing; a SYN in
 * a connection that is over begins a new one. */
static __always_inline __u32 nat_tcp_advance(__u32 seen, __u8 tcp, __u32 direction)
{
	/* The bits of a direction stand side by side: out, in. */
	__u32 syn = NAT_OUT_SYN << direction, ack = NAT_OUT_ACK << direction, fin = NAT_OUT_FIN << direction;
	__u32 other_syn = NAT_OUT_SYN | NAT_IN_SYN, next = seen & ~NAT_RST;

	other_syn &= ~syn;
	if (tcp & NAT_TCP_RST)
		return seen | NAT_RST;
	if (nat_tcp_opens(tcp) && ((seen & NAT_CLOSED) == NAT_CLOSED || seen & NAT_RST))
		next = 0;
	if (tcp & NAT_TCP_SYN)
		next |= syn;
	if (tcp & NAT_TCP_ACK && next & other_syn)
		next |= ack;
	if (tcp & NAT_TCP_FIN)
		next |= fin;
	return next;
}

/* Of a session made now: a connection under way, whose session was lost, has been begun by both. */
static __always_inline __u32 nat_first_flags(__u8 protocol, __u8 tcp, __u32 direction)
{
	if (protocol != IPPROTO_TCP)
		return 0;
	return nat_tcp_advance(nat_tcp_opens(tcp) ? 0 : NAT_OUT_SYN | NAT_IN_SYN, tcp, direction);
}

/* The end of the granule of time that 'now' is in. */
static __always_inline __u64 nat_granule_end(__u64 now)
{
	return (now | (NAT_GRANULE_NS - 1)) + 1;
}

static __always_inline __u64 nat_timeout(__u8 protocol, __u32 seen)
{
	if (protocol == IPPROTO_UDP)
		return NAT_UDP_NS;
	if (protocol != IPPROTO_TCP)
		return NAT_ICMP_NS;
	if ((seen & NAT_ESTABLISHED) == NAT_ESTABLISHED && (seen & NAT_CLOSED) != NAT_CLOSED && !(seen & NAT_RST))
		return NAT_TCP_ESTABLISHED_NS;
	return NAT_TCP_TRANSITORY_NS;
}

/* When a session of which 'seen' is known runs out, with a packet now: the same for all packets of a granule. */
static __always_inline __u64 nat_expires(__u64 now, __u8 protocol, __u32 seen)
{
	return nat_granule_end(now) + nat_timeout(protocol, seen);
}

#endif
