/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Ethernet headers, MAC and IP addresses as words: BPF has no memcmp worth the name. */
#ifndef WEFT_ETH_H
#define WEFT_ETH_H

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "reasons.h"
#include "types.h"

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define READ_ONCE(x) (*(const volatile __typeof__(x) *)&(x))
#define WRITE_ONCE(x, value) (*(volatile __typeof__(x) *)&(x) = (value))

#define ETH_P_8021Q_OLD 0x9100

/* Loads and stores of words at any address: x86-64 and arm64 both do, and the verifier knows it. */
#define LD64(p, off) (*(const __u64 *)((const __u8 *)(p) + (off)))
#define LD32(p, off) (*(const __u32 *)((const __u8 *)(p) + (off)))
#define LD16(p, off) (*(const __u16 *)((const __u8 *)(p) + (off)))
#define ST64(p, off, value) (*(__u64 *)((__u8 *)(p) + (off)) = (value))
#define ST32(p, off, value) (*(__u32 *)((__u8 *)(p) + (off)) = (value))
#define ST16(p, off, value) (*(__u16 *)((__u8 *)(p) + (off)) = (value))

static __always_inline bool mac_equal(const void *a, const void *b)
{
	return LD32(a, 0) == LD32(b, 0) && LD16(a, 4) == LD16(b, 4);
}

static __always_inline void mac_copy(void *to, const void *from)
{
	ST32(to, 0, LD32(from, 0));
	ST16(to, 4, LD16(from, 4));
}

/* As mac_copy, to an even address of the stack, which knows no unaligned words. */
static __always_inline void mac_copy_to_stack(void *to, const void *from)
{
	ST16(to, 0, LD16(from, 0));
	ST16(to, 2, LD16(from, 2));
	ST16(to, 4, LD16(from, 4));
}

/* A subnet's gateway has the MAC address 02:57:46 and the VSID's 24 bits, here in two words as they stand in memory. */
static __always_inline __u32 gateway_mac_head(__u32 vsid)
{
	return 0x00465702 | (vsid >> 16 & 0xff) << 24;
}

static __always_inline __u16 gateway_mac_tail(__u32 vsid)
{
	return bpf_htons(vsid & 0xffff);
}

static __always_inline bool mac_is_gateway(const void *mac, __u32 vsid)
{
	return LD32(mac, 0) == gateway_mac_head(vsid) && LD16(mac, 4) == gateway_mac_tail(vsid);
}

static __always_inline void mac_set_gateway(void *mac, __u32 vsid)
{
	ST32(mac, 0, gateway_mac_head(vsid));
	ST16(mac, 4, gateway_mac_tail(vsid));
}

static __always_inline bool mac_is_group(const void *mac)
{
	return *(const __u8 *)mac & 1;
}

static __always_inline bool addr_equal(const void *a, const void *b)
{
	return LD64(a, 0) == LD64(b, 0) && LD64(a, 8) == LD64(b, 8);
}

static __always_inline bool addr_is_zero(const void *a)
{
	return !(LD64(a, 0) | LD64(a, 8));
}

/* The second half of an IPv4-mapped address, as it stands in memory; the first is zero. */
#define MAPPED_LOW(ip) (0xffff0000ULL | (__u64)(ip) << 32)

static __always_inline bool addr_is_mapped(const void *a)
{
	return LD64(a, 0) == 0 && LD32(a, 8) == 0xffff0000;
}

static __always_inline bool addr_is_ipv4(const void *a, __be32 ip)
{
	return LD64(a, 0) == 0 && LD64(a, 8) == MAPPED_LOW(ip);
}

static __always_inline void addr_set_ipv4(void *a, __be32 ip)
{
	ST32(a, 0, 0);
	ST32(a, 4, 0);
	ST32(a, 8, 0xffff0000);
	ST32(a, 12, ip);
}

static __always_inline void addr_copy(void *to, const void *from)
{
	ST32(to, 0, LD32(from, 0));
	ST32(to, 4, LD32(from, 4));
	ST32(to, 8, LD32(from, 8));
	ST32(to, 12, LD32(from, 12));
}

/* The first checks of every Ethernet header that carries a tenant's packet: no tag, no LLC. */
static __always_inline int ethertype_check(__be16 type)
{
	if (type == bpf_htons(ETH_P_8021Q) || type == bpf_htons(ETH_P_8021AD) || type == bpf_htons(ETH_P_8021Q_OLD))
		return WEFT_DROP_VLAN_TAG_NOT_ALLOWED;
	if (bpf_ntohs(type) < ETH_P_802_3_MIN)
		return WEFT_DROP_LLC_NOT_ALLOWED;
	return 0;
}

/* Makes the first 'want' bytes of the frame (or all of a shorter one) readable in place.  Packet pointers are void afterwards. */
static __always_inline int weft_pull(struct __sk_buff *skb, __u32 want)
{
	__u32 length = skb->len;

	if ((void *)(long)skb->data + want <= (void *)(long)skb->data_end)
		return 0;
	if (length > want)
		length = want;
	if ((__u64)skb->data + length <= (__u64)skb->data_end)
		return 0;
	return bpf_skb_pull_data(skb, length) ? WEFT_DROP_KERNEL_REFUSED : 0;
}

/* Cuts the frame to 'length' bytes (no padding travels).  Packet pointers are void afterwards. */
static __always_inline int weft_cut(struct __sk_buff *skb, __u32 length)
{
	return bpf_skb_change_tail(skb, length, 0) ? WEFT_DROP_KERNEL_REFUSED : 0;
}

#endif
