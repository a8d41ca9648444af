/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Unfinished checksums (CHECKSUM_PARTIAL): every frame of a VM with checksum offload has one.  The sender says where it stands. */
#ifndef WEFT_OFFLOAD_H
#define WEFT_OFFLOAD_H

#include <bpf/bpf_core_read.h>

#include "config.h"
#include "l4.h"

#define CHECKSUM_UNNECESSARY 1
#define CHECKSUM_COMPLETE 2
#define CHECKSUM_PARTIAL 3

/* What is read of the kernel's own buffer; offsets come from its BTF when the program is loaded. */
struct sk_buff {
	__u8 ip_summed : 2;
	__u16 csum_start;
	__u16 csum_offset;
	unsigned char *head;
	unsigned char *data;
} __attribute__((preserve_access_index));

/* Kernel 6.2. */
extern void *bpf_cast_to_kern_ctx(void *) __ksym __weak;

/* As offload_position, before 6.2: what a tc program gets is the kernel's buffer itself, but only a helper may look into it. */
static __always_inline bool offload_position_61(struct __sk_buff *skb, __s32 *start, __s32 *field)
{
	struct sk_buff *kernel = (void *)skb;
	unsigned char *head, *data;
	__u16 csum_start, csum_offset;

	if (BPF_CORE_READ_BITFIELD_PROBED(kernel, ip_summed) != CHECKSUM_PARTIAL)
		return false;
	bpf_core_read(&csum_start, sizeof(csum_start), &kernel->csum_start);
	bpf_core_read(&csum_offset, sizeof(csum_offset), &kernel->csum_offset);
	bpf_core_read(&head, sizeof(head), &kernel->head);
	bpf_core_read(&data, sizeof(data), &kernel->data);
	*start = csum_start - (__s32)(data - head);
	*field = *start + csum_offset;
	return true;
}

/* Where the checksum of a frame will be written: 'start' and 'field', in bytes from the start of the frame.  False if it is complete. */
static __always_inline bool offload_position(struct __sk_buff *skb, __s32 *start, __s32 *field)
{
	struct sk_buff *kernel;

	if (cfg_kernel_61)
		return offload_position_61(skb, start, field);
	kernel = bpf_cast_to_kern_ctx(skb);
	if (BPF_CORE_READ_BITFIELD(kernel, ip_summed) != CHECKSUM_PARTIAL)
		return false;
	*start = kernel->csum_start - (__s32)(kernel->data - kernel->head);
	*field = *start + kernel->csum_offset;
	return true;
}

/* Says whether a NIC vouches for a checksum of the frame; may say yes where none does. */
static __always_inline bool offload_is_verified(struct __sk_buff *skb)
{
	struct sk_buff *kernel;

	if (cfg_kernel_61)
		return true;
	kernel = bpf_cast_to_kern_ctx(skb);
	return BPF_CORE_READ_BITFIELD(kernel, ip_summed) == CHECKSUM_UNNECESSARY;
}

/* How the kernel knows the frame's checksum (CHECKSUM_*). Only where there is bpf_cast_to_kern_ctx; else 0. */
static __always_inline __u32 offload_summed(struct __sk_buff *skb)
{
	struct sk_buff *kernel;

	if (cfg_kernel_61)
		return 0;
	kernel = bpf_cast_to_kern_ctx(skb);
	return BPF_CORE_READ_BITFIELD(kernel, ip_summed);
}

/* A VM chooses where the kernel will write the checksum *after* these checks.  Only the transport header behind the ports, or what it
 * carries, is the VM's own affair; anything before would undo the checks of addresses. */
static __always_inline int offload_check(struct __sk_buff *skb, __u32 l4_offset)
{
	__s32 start, field, l4 = ETH_HLEN + l4_offset;

	if (!offload_position(skb, &start, &field))
		return 0;
	return start < l4 || field < l4 + 6 ? WEFT_DROP_CHECKSUM_OFFLOAD_MISPLACED : 0;
}

#endif
