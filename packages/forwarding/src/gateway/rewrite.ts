import { getU16, IP_PROTOCOL, setU16 } from '@weft/packet';
import type { InnerPacket } from '../inner-packet.ts';
import { isEcho, type Quote } from './quote.ts';

// New addresses and ports in a packet, with every checksum that covers them (RFC 1624 equation 3). Checksums are the kernel's to the bit:
// of the two zeros of one's complement arithmetic each step gives the one that the kernel's helper gives, since outputs are compared.

/** The end of a packet that is rewritten. */
export type End = 'source' | 'destination';

/** A new end: its address, and the port or identifier where there is one and it changes. */
export interface NewEnd {
  readonly address: Uint8Array;
  readonly port?: number | undefined;
}

const UDP_ZERO_CHECKSUM = 0xffff;

/** Rewrites one end of the packet itself. */
export function rewriteEnd(frame: Uint8Array, packet: InnerPacket, end: End, to: NewEnd): void {
  const difference = writeAddress(frame, packet.ipOffset, packet.isIpv6, end, to.address);
  const { l4Offset, protocol } = packet;
  if (!packet.hasL4Header) return;
  const checksum = checksumOffset(protocol, packet.isIpv6);
  if (checksum === undefined) return;
  if (coversAddresses(protocol)) updateTransport(frame, l4Offset + checksum, protocol, difference);
  const port = portOffset(protocol, frame[l4Offset]!, end, packet.isIpv6);
  if (to.port === undefined || port === undefined) return;
  const change = writeWord(frame, l4Offset + port, to.port);
  if (change !== undefined) updateTransport(frame, l4Offset + checksum, protocol, change);
}

/** Rewrites one end of the packet that an ICMP error quotes, and the error's checksum. `packet` is the error. */
export function rewriteQuote(frame: Uint8Array, packet: InnerPacket, quote: Quote, end: End, to: NewEnd): void {
  const addresses = writeAddress(frame, quote.ipOffset, packet.isIpv6, end, to.address);
  // In IPv4 the quoted header's own checksum makes up for the addresses.
  let total = packet.isIpv6 ? addresses : 0;
  const { l4Offset, protocol } = quote;
  if (quote.hasL4Header) {
    let covered = coversAddresses(protocol) ? addresses : 0;
    const port = portOffset(protocol, frame[l4Offset]!, end, packet.isIpv6);
    if (to.port !== undefined && port !== undefined) {
      const change = writeWord(frame, l4Offset + port, to.port) ?? 0;
      covered += change;
      total += change;
    }
    const checksum = checksumOffset(protocol, packet.isIpv6);
    if (covered !== 0 && checksum !== undefined && checksum + 2 <= quote.l4Length) {
      const before = getU16(frame, l4Offset + checksum);
      updateTransport(frame, l4Offset + checksum, protocol, covered);
      total += (before ^ 0xffff) + getU16(frame, l4Offset + checksum);
    }
  }
  if (total !== 0) updateTransport(frame, packet.l4Offset + 2, IP_PROTOCOL.icmp, total);
}

/** Where the transport header has the port (or identifier) of that end; undefined if it has none. */
function portOffset(protocol: number, firstByte: number, end: End, isIpv6: boolean): number | undefined {
  if (protocol === IP_PROTOCOL.tcp || protocol === IP_PROTOCOL.udp) return end === 'source' ? 0 : 2;
  return isEcho(protocol, firstByte, isIpv6) ? 4 : undefined;
}

function checksumOffset(protocol: number, isIpv6: boolean): number | undefined {
  switch (protocol) {
    case IP_PROTOCOL.tcp:
      return 16;
    case IP_PROTOCOL.udp:
      return 6;
    case isIpv6 ? IP_PROTOCOL.icmpv6 : IP_PROTOCOL.icmp:
      return 2;
    default:
      return undefined;
  }
}

function coversAddresses(protocol: number): boolean {
  return protocol !== IP_PROTOCOL.icmp;
}

/** @returns The sum of the complements of the old words and the new words. */
function writeAddress(frame: Uint8Array, ipOffset: number, isIpv6: boolean, end: End, address: Uint8Array): number {
  const offset = ipOffset + (isIpv6 ? (end === 'source' ? 8 : 24) : end === 'source' ? 12 : 16);
  let difference = 0;
  for (let i = isIpv6 ? 0 : 12, at = offset; i < 16; i += 2, at += 2) {
    difference += (getU16(frame, at) ^ 0xffff) + getU16(address, i);
    setU16(frame, at, getU16(address, i));
  }
  if (!isIpv6) setU16(frame, ipOffset + 10, ~fold((getU16(frame, ipOffset + 10) ^ 0xffff) + difference));
  return difference;
}

function writeWord(frame: Uint8Array, offset: number, word: number): number | undefined {
  const before = getU16(frame, offset);
  if (before === word) return undefined;
  setU16(frame, offset, word);
  return (before ^ 0xffff) + word;
}

/** A checksum after a change: `difference` is the sum of the complements of the old words and the new words. */
export function updateTransport(frame: Uint8Array, offset: number, protocol: number, difference: number): void {
  const before = getU16(frame, offset);
  // A UDP checksum of zero means that there is none.
  if (protocol === IP_PROTOCOL.udp && before === 0) return;
  const after = ~fold((before ^ 0xffff) + 0xffff + difference) & 0xffff;
  setU16(frame, offset, protocol === IP_PROTOCOL.udp && after === 0 ? UDP_ZERO_CHECKSUM : after);
}

function fold(sum: number): number {
  let folded = sum;
  while (folded > 0xffff) folded = (folded & 0xffff) + (folded >>> 16);
  return folded;
}
