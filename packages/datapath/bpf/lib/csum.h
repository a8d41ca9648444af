/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The Internet checksum (RFC 1071).  Sums are of words as they stand in memory: its arithmetic does not mind the byte order. */
#ifndef WEFT_CSUM_H
#define WEFT_CSUM_H

#include "eth.h"

static __always_inline __u16 csum_fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* A sum as the kernel's helper takes it. */
static __always_inline __u32 csum_fold32(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	return (sum & 0xffffffff) + (sum >> 32);
}

/* RFC 1624 equation 3: the checksum after one word changed. */
static __always_inline __u16 csum_replace16(__u16 checksum, __u16 before, __u16 after)
{
	return ~csum_fold((__u64)(__u16)~checksum + (__u16)~before + after);
}

/* The sum of an IPv4 header of 20 bytes whose checksum field is zero. */
static __always_inline __u64 csum_ipv4_header(const void *header)
{
	return (__u64)LD32(header, 0) + LD32(header, 4) + LD32(header, 8) + LD32(header, 12) + LD32(header, 16);
}

#endif
