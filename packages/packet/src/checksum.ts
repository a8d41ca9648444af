import { getU16 } from './bytes.ts';

// The Internet checksum (RFC 1071): the one's complement of the one's complement sum of 16-bit words. A *sum* here is a number
// below 2^31 that is not yet folded nor complemented, so that sums of several parts can be added; a *checksum* is the u16 on the wire.

// 2^14 words of at most 0xffff stay below 2^30: with a folded start, no addition leaves the range of a 32-bit integer.
const CHUNK_BYTES = 0x8000;

/** Folds a sum into 16 bits, end-around carry included. */
export function foldSum(sum: number): number {
  let folded = sum;
  while (folded > 0xffff) folded = (folded & 0xffff) + (folded >>> 16);
  return folded;
}

/** The sum of `length` bytes, added to `initial`; an odd last byte counts as the high half of a word. */
export function partialSum(bytes: Uint8Array, offset: number, length: number, initial = 0): number {
  let sum = foldSum(initial);
  const end = offset + length;
  for (let start = offset; start < end; start += CHUNK_BYTES) {
    const stop = Math.min(start + CHUNK_BYTES, end);
    let i = start;
    for (; i + 1 < stop; i += 2) sum += getU16(bytes, i);
    if (i < stop) sum += bytes[i]! << 8;
    sum = foldSum(sum);
  }
  return sum;
}

/**
 * The checksum to write over `length` bytes, whose checksum field is zero; or, over received bytes with their checksum, 0 if
 * they are intact.
 * @param initial Sum of a pseudo header, from `pseudoHeaderSum4` or `pseudoHeaderSum6`.
 * @see RFC 1071
 */
export function internetChecksum(bytes: Uint8Array, offset: number, length: number, initial = 0): number {
  return ~partialSum(bytes, offset, length, initial) & 0xffff;
}

/**
 * The sum of the IPv4 pseudo header of TCP and UDP (RFC 9293 section 3.1, RFC 768). Addresses are 4 bytes, anywhere in their
 * buffers: for the 16-byte form the offset is 12.
 * @param length Bytes of transport header and payload.
 */
export function pseudoHeaderSum4(
  source: Uint8Array,
  sourceOffset: number,
  destination: Uint8Array,
  destinationOffset: number,
  protocol: number,
  length: number,
): number {
  return (
    getU16(source, sourceOffset) +
    getU16(source, sourceOffset + 2) +
    getU16(destination, destinationOffset) +
    getU16(destination, destinationOffset + 2) +
    protocol +
    length
  );
}

/** The sum of the IPv6 pseudo header (RFC 8200 section 8.1). Addresses are 16 bytes; `length` may exceed 65535. */
export function pseudoHeaderSum6(
  source: Uint8Array,
  sourceOffset: number,
  destination: Uint8Array,
  destinationOffset: number,
  protocol: number,
  length: number,
): number {
  const sum = partialSum(source, sourceOffset, 16);
  return partialSum(destination, destinationOffset, 16, sum) + protocol + (length >>> 16) + (length & 0xffff);
}

/**
 * The checksum after one 16-bit word changed from `before` to `after`, without reading the rest (RFC 1624 equation 3).
 * Equal to a recomputation for all data that is not entirely zero. UDP: leave a checksum of 0 ("none") alone, and write a result
 * of 0 as 0xffff.
 */
export function checksumReplace16(checksum: number, before: number, after: number): number {
  return ~foldSum((~checksum & 0xffff) + (~before & 0xffff) + after) & 0xffff;
}

/** As `checksumReplace16`, for an aligned 32-bit word such as an IPv4 address. */
export function checksumReplace32(checksum: number, before: number, after: number): number {
  const complement = (~checksum & 0xffff) + (~(before >>> 16) & 0xffff) + (~before & 0xffff);
  return ~foldSum(complement + (after >>> 16) + (after & 0xffff)) & 0xffff;
}
