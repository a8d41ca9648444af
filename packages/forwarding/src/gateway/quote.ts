import { getU16, IP_PROTOCOL, mapIpv4 } from '@weft/packet';
import type { InnerPacket } from '../inner-packet.ts';

/** The packet that an ICMP error tells of. Offsets are into the frame. */
export interface Quote {
  readonly ipOffset: number;
  readonly l4Offset: number;
  /** Quoted bytes from `l4Offset` on, at least 8. */
  readonly l4Length: number;
  readonly protocol: number;
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
  /** False for fragments with an offset. */
  readonly hasL4Header: boolean;
  /** TCP, UDP; the identifier in both for pings; else 0. */
  readonly sourcePort: number;
  readonly destinationPort: number;
}

const ICMP_HEADER_BYTES = 8;
const QUOTED_L4_BYTES_MIN = 8;
const ICMP_ERRORS: readonly number[] = [3, 11, 12];
const ICMPV6_ERRORS: readonly number[] = [1, 2, 3, 4];

/** True for the errors that a gateway translates (RFC 5508 section 4): unreachable, time exceeded, parameter problem, packet too big. */
export function isTranslatedError(frame: Uint8Array, packet: InnerPacket): boolean {
  if (!packet.hasL4Header || packet.protocol !== (packet.isIpv6 ? IP_PROTOCOL.icmpv6 : IP_PROTOCOL.icmp)) return false;
  return (packet.isIpv6 ? ICMPV6_ERRORS : ICMP_ERRORS).includes(frame[packet.l4Offset]!);
}

/** Reads what an error quotes; undefined if it is cut too short, no IP of the same family, or the error itself comes in fragments. */
export function readQuote(frame: Uint8Array, packet: InnerPacket): Quote | undefined {
  if (packet.isFragment) return undefined;
  const ipOffset = packet.l4Offset + ICMP_HEADER_BYTES;
  const length = packet.l4Length - ICMP_HEADER_BYTES;
  return packet.isIpv6 ? readQuote6(frame, ipOffset, length) : readQuote4(frame, ipOffset, length);
}

function readQuote4(frame: Uint8Array, ipOffset: number, length: number): Quote | undefined {
  if (length < 20 + QUOTED_L4_BYTES_MIN || frame[ipOffset]! >> 4 !== 4) return undefined;
  const headerLength = (frame[ipOffset]! & 15) * 4;
  if (headerLength < 20 || length < headerLength + QUOTED_L4_BYTES_MIN) return undefined;
  const hasL4Header = (getU16(frame, ipOffset + 6) & 0x1fff) === 0;
  const ends = { source: mapIpv4(frame, ipOffset + 12), destination: mapIpv4(frame, ipOffset + 16) };
  return withPorts(frame, false, ipOffset, ipOffset + headerLength, length - headerLength, frame[ipOffset + 9]!, hasL4Header, ends);
}

function readQuote6(frame: Uint8Array, ipOffset: number, length: number): Quote | undefined {
  if (length < 40 + QUOTED_L4_BYTES_MIN || frame[ipOffset]! >> 4 !== 6) return undefined;
  const ends = { source: frame.slice(ipOffset + 8, ipOffset + 24), destination: frame.slice(ipOffset + 24, ipOffset + 40) };
  if (frame[ipOffset + 6] !== IP_PROTOCOL.fragment) {
    return withPorts(frame, true, ipOffset, ipOffset + 40, length - 40, frame[ipOffset + 6]!, true, ends);
  }
  if (length < 48 + QUOTED_L4_BYTES_MIN) return undefined;
  const hasL4Header = (getU16(frame, ipOffset + 42) & 0xfff8) === 0;
  return withPorts(frame, true, ipOffset, ipOffset + 48, length - 48, frame[ipOffset + 40]!, hasL4Header, ends);
}

function withPorts(
  frame: Uint8Array,
  isIpv6: boolean,
  ipOffset: number,
  l4Offset: number,
  l4Length: number,
  protocol: number,
  hasL4Header: boolean,
  ends: { readonly source: Uint8Array; readonly destination: Uint8Array },
): Quote {
  let sourcePort = 0;
  let destinationPort = 0;
  if (hasL4Header) {
    if (protocol === IP_PROTOCOL.tcp || protocol === IP_PROTOCOL.udp) {
      sourcePort = getU16(frame, l4Offset);
      destinationPort = getU16(frame, l4Offset + 2);
    } else if (isEcho(protocol, frame[l4Offset]!, isIpv6)) {
      sourcePort = getU16(frame, l4Offset + 4);
      destinationPort = sourcePort;
    }
  }
  return { ipOffset, l4Offset, l4Length, protocol, hasL4Header, sourcePort, destinationPort, ...ends };
}

/** True for echo request and reply, if the protocol is the family's own ICMP. */
export function isEcho(protocol: number, type: number, isIpv6: boolean): boolean {
  if (isIpv6) return protocol === IP_PROTOCOL.icmpv6 && (type === 128 || type === 129);
  return protocol === IP_PROTOCOL.icmp && (type === 8 || type === 0);
}
