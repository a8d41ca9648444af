import {
  buildEthernet,
  buildIcmpEcho,
  buildIcmpv4,
  buildIcmpv6,
  buildIpv4,
  buildIpv6,
  buildIpv6Fragment,
  buildTcp,
  buildUdp,
  ETHER_TYPE,
  IP_PROTOCOL,
  isIpv4Mapped,
} from '@weft/packet';

/** The kinds of IP packets that tests send, each sound for its family. */
export const SHAPES = [
  'udp',
  'tcp',
  'echo',
  'tcp-options',
  'ip-options',
  'padded',
  'too-big',
  'first-fragment',
  'later-fragment',
  'atomic-fragment',
  'ttl-1',
  'ttl-1-icmp-error',
  'ttl-1-later-fragment',
  'icmp-error',
  'gre',
  'empty',
  'ecn-ect0',
  'ecn-ce',
  'dscp',
] as const;
export type Shape = (typeof SHAPES)[number];

/** Ends of a frame. Addresses of one family. */
export interface ShapeEnds {
  readonly sourceMac: Uint8Array;
  readonly destinationMac: Uint8Array;
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
}

/** What differs between shapes, in terms of either family. */
interface IpParts {
  readonly protocol: number;
  readonly payload: Uint8Array;
  readonly ttl?: number;
  readonly trafficClass?: number;
  readonly fragmentOffset?: number;
  readonly moreFragments?: boolean;
  /** IPv4 only; IPv6 has none that may pass. */
  readonly options?: Uint8Array;
  /** A fragment header that changes nothing (RFC 6946); IPv6 only. */
  readonly isAtomic?: boolean;
}

const DATA = Uint8Array.from({ length: 24 }, (_, i) => 0x61 + i);
const LARGE_DATA = Uint8Array.from({ length: 1480 }, (_, i) => i & 0xff);
const NO_BYTES = new Uint8Array(0);
const IP_NO_OPERATIONS = Uint8Array.of(1, 1, 1, 0);
const TCP_MSS_AND_TIMESTAMPS = Uint8Array.of(2, 4, 5, 0x78, 1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0);
const PADDING_BYTES = 18;

/** A whole Ethernet frame of a shape, with right checksums (of whole packets). */
export function shapeFrame(shape: Shape, ends: ShapeEnds): Uint8Array {
  const isIpv4 = isIpv4Mapped(ends.source);
  const parts = partsOf(shape, ends, isIpv4);
  const packet = isIpv4 ? ipv4(ends, parts) : ipv6(ends, parts);
  const type = isIpv4 ? ETHER_TYPE.ipv4 : ETHER_TYPE.ipv6;
  const frame = buildEthernet({ destination: ends.destinationMac, source: ends.sourceMac, type }, packet);
  if (shape !== 'padded') return frame;
  const padded = new Uint8Array(frame.length + PADDING_BYTES).fill(0xee);
  padded.set(frame);
  return padded;
}

function partsOf(shape: Shape, ends: ShapeEnds, isIpv4: boolean): IpParts {
  const udp = (data = DATA): Uint8Array => buildUdp({ ...ends, sourcePort: 40000, destinationPort: 53 }, data);
  const tcp = (options = NO_BYTES): Uint8Array =>
    buildTcp({ ...ends, sourcePort: 40001, destinationPort: 443, flags: 0x18, options }, DATA);
  const icmp = isIpv4 ? IP_PROTOCOL.icmp : IP_PROTOCOL.icmpv6;
  const plainUdp = { protocol: IP_PROTOCOL.udp, payload: udp() };
  switch (shape) {
    case 'udp':
    case 'padded':
      return plainUdp;
    case 'tcp':
      return { protocol: IP_PROTOCOL.tcp, payload: tcp() };
    case 'tcp-options':
      return { protocol: IP_PROTOCOL.tcp, payload: tcp(TCP_MSS_AND_TIMESTAMPS) };
    case 'echo':
      return { protocol: icmp, payload: buildIcmpEcho({ ...ends, identifier: 7, sequence: 1 }, DATA) };
    case 'ip-options':
      return { ...plainUdp, options: IP_NO_OPERATIONS };
    case 'too-big':
      return { protocol: IP_PROTOCOL.udp, payload: udp(LARGE_DATA) };
    case 'first-fragment':
      return { ...plainUdp, moreFragments: true };
    case 'later-fragment':
      return { protocol: IP_PROTOCOL.udp, payload: DATA, fragmentOffset: 32 };
    case 'atomic-fragment':
      return { ...plainUdp, isAtomic: true };
    case 'ttl-1':
      return { ...plainUdp, ttl: 1 };
    case 'ttl-1-icmp-error':
      return { protocol: icmp, payload: icmpError(ends, isIpv4), ttl: 1 };
    case 'ttl-1-later-fragment':
      return { protocol: IP_PROTOCOL.tcp, payload: DATA, fragmentOffset: 32, ttl: 1 };
    case 'icmp-error':
      return { protocol: icmp, payload: icmpError(ends, isIpv4) };
    case 'gre':
      return { protocol: IP_PROTOCOL.gre, payload: DATA };
    case 'empty':
      return { protocol: IP_PROTOCOL.noNextHeader, payload: NO_BYTES };
    case 'ecn-ect0':
      return { ...plainUdp, trafficClass: 2 };
    case 'ecn-ce':
      return { protocol: IP_PROTOCOL.tcp, payload: tcp(), trafficClass: 3 };
    case 'dscp':
      return { ...plainUdp, trafficClass: 0xb9 };
  }
}

function icmpError(ends: ShapeEnds, isIpv4: boolean): Uint8Array {
  return isIpv4 ? buildIcmpv4({ type: 3, code: 3 }, DATA) : buildIcmpv6({ ...ends, type: 1, code: 4 }, DATA);
}

function ipv4(ends: ShapeEnds, parts: IpParts): Uint8Array {
  const { protocol, payload, ttl = 64, trafficClass = 0, fragmentOffset = 0, moreFragments = false, options = NO_BYTES } = parts;
  const { source, destination } = ends;
  const dscp = trafficClass >> 2;
  const ecn = trafficClass & 3;
  const identification = 0x1234;
  return buildIpv4({ source, destination, protocol, ttl, dscp, ecn, identification, fragmentOffset, moreFragments, options }, payload);
}

function ipv6(ends: ShapeEnds, parts: IpParts): Uint8Array {
  const { protocol, payload, ttl = 64, trafficClass = 0, fragmentOffset = 0, moreFragments = false, isAtomic = false } = parts;
  const { source, destination } = ends;
  const fields = { source, destination, hopLimit: ttl, trafficClass, flowLabel: 0x12345 };
  if (fragmentOffset === 0 && !moreFragments && !isAtomic) return buildIpv6({ ...fields, nextHeader: protocol }, payload);
  const fragment = buildIpv6Fragment({ nextHeader: protocol, fragmentOffset, moreFragments, identification: 0x1234 }, payload);
  return buildIpv6({ ...fields, nextHeader: IP_PROTOCOL.fragment }, fragment);
}
