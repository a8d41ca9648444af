/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Prefix translation that is neutral to checksums (RFC 6296 sections 3.4 and 3.5): what the new prefix adds to the address's sum is taken off
 * the subnet's word, or with longer prefixes off the first word of the identifier that is not all ones. */
#ifndef WEFT_GATEWAY_NPT_H
#define WEFT_GATEWAY_NPT_H

#include "csum.h"

static __always_inline __u64 npt_words(__u64 value)
{
	return (value >> 48) + (value >> 32 & 0xffff) + (value >> 16 & 0xffff) + (value & 0xffff);
}

/* Puts into 'result' what 'address' of the prefix 'from' is in the prefix 'to', both of 'bits' bits.  False if it is not in it, or has no
 * counterpart. */
static __always_inline bool npt_translate(__u8 *result, const __u8 *address, const __u8 *from, const __u8 *to, __u32 bits)
{
	__u64 high = bpf_be64_to_cpu(LD64(address, 0)), low = bpf_be64_to_cpu(LD64(address, 8));
	__u64 mask, in, out, sum;
	__u32 shift = 0;

	if (bits < 1 || bits > 64)
		return false;
	mask = ~0ULL << ((64 - bits) & 63);
	in = bpf_be64_to_cpu(LD64(from, 0)) & mask;
	out = bpf_be64_to_cpu(LD64(to, 0)) & mask;
	if ((high & mask) != in)
		return false;
	high = (high & ~mask) | out;
	sum = npt_words(in) + npt_words(~out);
	if (bits <= 48) {
		if ((high & 0xffff) == 0xffff)
			return false;
		sum = csum_fold(sum + (high & 0xffff));
		high = (high & ~0xffffULL) | (sum == 0xffff ? 0 : sum);
	} else {
		if (low >> 48 != 0xffff)
			shift = 48;
		else if ((low >> 32 & 0xffff) != 0xffff)
			shift = 32;
		else if ((low >> 16 & 0xffff) != 0xffff)
			shift = 16;
		else if ((low & 0xffff) == 0xffff)
			return false;
		sum = csum_fold(sum + (low >> shift & 0xffff));
		low = (low & ~(0xffffULL << shift)) | (sum == 0xffff ? 0 : sum) << shift;
	}
	ST64(result, 0, bpf_cpu_to_be64(high));
	ST64(result, 8, bpf_cpu_to_be64(low));
	return true;
}

#endif
