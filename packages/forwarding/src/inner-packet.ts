import { DropReason } from '@weft/model';
import { ETHER_TYPE, getU16, IP_PROTOCOL, Ipv4Header, Ipv6Header, mapIpv4, type ParseFailure } from '@weft/packet';

// An IP packet inside an Ethernet frame, read once: every later check takes its facts from here. The rules of length are those of
// docs/datapath-contract.md section 4 ("IPv4", "IPv6"), and the same for frames of ports and of tunnels.

const ETHERNET_BYTES = 14;
const TCP_HEADER_BYTES = 20;
/** UDP, ICMP and ICMPv6 alike. */
const SHORT_HEADER_BYTES = 8;
const FRAGMENT_HEADER_BYTES = 8;

/** What the checks need to know of an IPv4 or IPv6 packet. Offsets are into the frame it was read from. */
export interface InnerPacket {
  readonly isIpv6: boolean;
  /** First byte of the IP header. */
  readonly ipOffset: number;
  /** The packet's length by its own header; bytes after it are padding. */
  readonly ipLength: number;
  /** First byte after the IP header and, for IPv6, the fragment header. */
  readonly l4Offset: number;
  readonly l4Length: number;
  readonly protocol: number;
  readonly isFragment: boolean;
  /** False for fragments with an offset: at `l4Offset` there is no transport header. */
  readonly hasL4Header: boolean;
  /** TCP and UDP ports; 0 for fragments and other protocols. */
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** 16 bytes, IPv4 mapped. */
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
  /** TTL or hop limit. */
  readonly ttl: number;
  /** The two ECN bits. */
  readonly ecn: number;
}

const PARSE_REASON: Partial<Record<ParseFailure, DropReason>> = {
  TRUNCATED_IPV4_HEADER: DropReason.TRUNCATED_IPV4,
  TRUNCATED_IPV4_PAYLOAD: DropReason.TRUNCATED_IPV4,
  IPV4_VERSION_INVALID: DropReason.MALFORMED_IPV4,
  IPV4_HEADER_LENGTH_INVALID: DropReason.MALFORMED_IPV4,
  IPV4_TOTAL_LENGTH_INVALID: DropReason.MALFORMED_IPV4,
  TRUNCATED_IPV6_HEADER: DropReason.TRUNCATED_IPV6,
  TRUNCATED_IPV6_PAYLOAD: DropReason.TRUNCATED_IPV6,
  IPV6_VERSION_INVALID: DropReason.MALFORMED_IPV6,
};

/**
 * Reads the IP packet of the Ethernet frame at `frameOffset`, whose type the caller has found to be IPv4 or IPv6.
 * @param end First byte after the frame.
 * @param isGso True if the frame stands for several segments: then no padding may follow the packet.
 * @returns The packet, or the reason to drop it.
 */
export function readInnerPacket(frame: Uint8Array, frameOffset: number, end: number, isGso: boolean): InnerPacket | DropReason {
  const ipOffset = frameOffset + ETHERNET_BYTES;
  const isIpv4 = getU16(frame, frameOffset + 12) === ETHER_TYPE.ipv4;
  return isIpv4 ? readIpv4(frame, ipOffset, end, isGso) : readIpv6(frame, ipOffset, end, isGso);
}

function readIpv4(frame: Uint8Array, ipOffset: number, end: number, isGso: boolean): InnerPacket | DropReason {
  const ip = Ipv4Header.read(frame, ipOffset, end);
  if (typeof ip === 'string') return PARSE_REASON[ip] ?? DropReason.MALFORMED_IPV4;
  const ipLength = ip.totalLength;
  if (isGso && ipLength !== end - ipOffset) return DropReason.MALFORMED_IPV4;
  const protocol = ip.protocol;
  const l4Offset = ip.payloadOffset;
  const l4Length = ipLength - ip.headerLength;
  const fragmentOffset = ip.fragmentOffset;
  if (fragmentOffset === 0) {
    const reason = checkTransport(frame, l4Offset, l4Length, protocol, IP_PROTOCOL.icmp);
    if (reason !== DropReason.NONE) return reason;
  } else if (fragmentOffset === 8 && protocol === IP_PROTOCOL.tcp) {
    return DropReason.TINY_FRAGMENT;
  }
  const hasPorts = !ip.isFragment && (protocol === IP_PROTOCOL.tcp || protocol === IP_PROTOCOL.udp);
  return {
    isIpv6: false,
    ipOffset,
    ipLength,
    l4Offset,
    l4Length,
    protocol,
    isFragment: ip.isFragment,
    hasL4Header: fragmentOffset === 0,
    sourcePort: hasPorts ? getU16(frame, l4Offset) : 0,
    destinationPort: hasPorts ? getU16(frame, l4Offset + 2) : 0,
    source: mapIpv4(frame, ip.sourceOffset),
    destination: mapIpv4(frame, ip.destinationOffset),
    ttl: ip.ttl,
    ecn: ip.ecn,
  };
}

function readIpv6(frame: Uint8Array, ipOffset: number, end: number, isGso: boolean): InnerPacket | DropReason {
  const ip = Ipv6Header.read(frame, ipOffset, end);
  if (typeof ip === 'string') return PARSE_REASON[ip] ?? DropReason.MALFORMED_IPV6;
  const payloadLength = ip.payloadLength;
  if (payloadLength === 0 && ip.nextHeader !== IP_PROTOCOL.noNextHeader) return DropReason.MALFORMED_IPV6;
  if (isGso && payloadLength !== end - ip.payloadOffset) return DropReason.MALFORMED_IPV6;
  let protocol = ip.nextHeader;
  let l4Offset = ip.payloadOffset;
  let l4Length = payloadLength;
  let fragmentOffset = 0;
  let isFragment = false;
  if (protocol === IP_PROTOCOL.fragment) {
    if (l4Length < FRAGMENT_HEADER_BYTES) return DropReason.TRUNCATED_L4;
    protocol = frame[l4Offset]!;
    fragmentOffset = getU16(frame, l4Offset + 2) & 0xfff8;
    isFragment = fragmentOffset !== 0 || (frame[l4Offset + 3]! & 1) !== 0;
    l4Offset += FRAGMENT_HEADER_BYTES;
    l4Length -= FRAGMENT_HEADER_BYTES;
  }
  if (isRefusedExtension(protocol)) return DropReason.IPV6_EXTENSION_NOT_ALLOWED;
  if (fragmentOffset === 0) {
    const reason = checkTransport(frame, l4Offset, l4Length, protocol, IP_PROTOCOL.icmpv6);
    if (reason !== DropReason.NONE) return reason;
  }
  const hasPorts = !isFragment && (protocol === IP_PROTOCOL.tcp || protocol === IP_PROTOCOL.udp);
  return {
    isIpv6: true,
    ipOffset,
    ipLength: ip.totalLength,
    l4Offset,
    l4Length,
    protocol,
    isFragment,
    hasL4Header: fragmentOffset === 0,
    sourcePort: hasPorts ? getU16(frame, l4Offset) : 0,
    destinationPort: hasPorts ? getU16(frame, l4Offset + 2) : 0,
    source: ip.copySource(),
    destination: ip.copyDestination(),
    ttl: ip.hopLimit,
    ecn: ip.ecn,
  };
}

function checkTransport(frame: Uint8Array, offset: number, length: number, protocol: number, icmp: number): DropReason {
  if (protocol === IP_PROTOCOL.tcp) {
    if (length < TCP_HEADER_BYTES) return DropReason.TRUNCATED_L4;
    const headerLength = tcpHeaderLength(frame, offset);
    return headerLength < TCP_HEADER_BYTES || headerLength > length ? DropReason.MALFORMED_TCP : DropReason.NONE;
  }
  const isShort = (protocol === IP_PROTOCOL.udp || protocol === icmp) && length < SHORT_HEADER_BYTES;
  return isShort ? DropReason.TRUNCATED_L4 : DropReason.NONE;
}

function tcpHeaderLength(frame: Uint8Array, offset: number): number {
  return (frame[offset + 12]! >> 4) * 4;
}

/** Extension headers that could hide a transport header from the checks; a second fragment header (44) is one of them. */
function isRefusedExtension(protocol: number): boolean {
  switch (protocol) {
    case IP_PROTOCOL.hopByHop:
    case IP_PROTOCOL.routing:
    case IP_PROTOCOL.fragment:
    case IP_PROTOCOL.ah:
    case IP_PROTOCOL.destinationOptions:
    case IP_PROTOCOL.mobility:
    case IP_PROTOCOL.hostIdentity:
    case IP_PROTOCOL.shim6:
      return true;
    default:
      return false;
  }
}

/** Bytes of IP and transport header, which each segment of a GSO frame repeats. */
export function segmentHeaderLength(frame: Uint8Array, packet: InnerPacket): number {
  const network = packet.l4Offset - packet.ipOffset;
  if (!packet.hasL4Header) return network;
  if (packet.protocol === IP_PROTOCOL.tcp) return network + tcpHeaderLength(frame, packet.l4Offset);
  return packet.protocol === IP_PROTOCOL.udp ? network + SHORT_HEADER_BYTES : network;
}
