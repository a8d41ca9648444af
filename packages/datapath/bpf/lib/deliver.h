/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Handing a frame to a port of this host. */
#ifndef WEFT_DELIVER_H
#define WEFT_DELIVER_H

#include <linux/if_packet.h>

#include "drops.h"

/* A TAP gets the frame on its way out.  Behind a veth, the frame enters the other namespace at once, without the queue of a CPU; the
 * kernel keeps what it thought of the destination address when the frame came in (another host's), so that is corrected first. */
static __always_inline int deliver(struct __sk_buff *skb, const struct weft_verdict *v)
{
	if (!v->peer)
		return bpf_redirect(v->ifindex, 0);
	if (skb->pkt_type != PACKET_HOST)
		bpf_skb_change_type(skb, PACKET_HOST);
	return bpf_redirect_peer(v->ifindex, 0);
}

#endif
