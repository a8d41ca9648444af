import { type IpLike, NO_BYTES, toIp, toIpv4 } from './build-link.ts';
import { checkField, setU16, setU32 } from './bytes.ts';
import { internetChecksum } from './checksum.ts';
import { isIpv4Mapped, MAPPED_IPV4_OFFSET } from './ip.ts';
import { IPV4_HEADER_BYTES } from './ipv4.ts';
import { IPV6_HEADER_BYTES } from './ipv6.ts';

const DEFAULT_TTL = 64;

export interface Ipv4Fields {
  readonly source: IpLike;
  readonly destination: IpLike;
  readonly protocol: number;
  /** Default 64. */
  readonly ttl?: number;
  readonly dscp?: number;
  readonly ecn?: number;
  readonly identification?: number;
  readonly dontFragment?: boolean;
  readonly moreFragments?: boolean;
  /** In bytes, a multiple of 8. */
  readonly fragmentOffset?: number;
  /** A multiple of 4 bytes, at most 40. */
  readonly options?: Uint8Array;
}

/** An IPv4 packet. */
export function buildIpv4(fields: Ipv4Fields, payload: Uint8Array = NO_BYTES): Uint8Array {
  const { ttl = DEFAULT_TTL, dscp = 0, ecn = 0, identification = 0, fragmentOffset = 0, options = NO_BYTES, protocol } = fields;
  if (options.length % 4 !== 0 || options.length > 40) {
    throw new RangeError(`Cannot encode IPv4 options of ${options.length} bytes: must be a multiple of 4, at most 40`);
  }
  if (fragmentOffset % 8 !== 0) throw new RangeError(`Cannot encode fragment offset ${fragmentOffset}: must be a multiple of 8 bytes`);
  const headerBytes = IPV4_HEADER_BYTES + options.length;
  const totalLength = headerBytes + payload.length;
  checkField('IPv4 total length', totalLength, 0xffff);
  checkField('DSCP', dscp, 0x3f);
  checkField('ECN', ecn, 3);
  checkField('IPv4 identification', identification, 0xffff);
  checkField('fragment offset', fragmentOffset, 0x1fff * 8);
  checkField('TTL', ttl, 0xff);
  checkField('IP protocol', protocol, 0xff);
  const packet = new Uint8Array(totalLength);
  packet[0] = 0x40 | (headerBytes / 4);
  packet[1] = (dscp << 2) | ecn;
  setU16(packet, 2, totalLength);
  setU16(packet, 4, identification);
  setU16(packet, 6, (fields.dontFragment ? 0x4000 : 0) | (fields.moreFragments ? 0x2000 : 0) | (fragmentOffset / 8));
  packet[8] = ttl;
  packet[9] = protocol;
  packet.set(toIpv4(fields.source).subarray(MAPPED_IPV4_OFFSET), 12);
  packet.set(toIpv4(fields.destination).subarray(MAPPED_IPV4_OFFSET), 16);
  packet.set(options, IPV4_HEADER_BYTES);
  setU16(packet, 10, internetChecksum(packet, 0, headerBytes));
  packet.set(payload, headerBytes);
  return packet;
}

export interface Ipv6Fields {
  readonly source: IpLike;
  readonly destination: IpLike;
  /** Of the payload, which may start with extension headers. */
  readonly nextHeader: number;
  /** Default 64. */
  readonly hopLimit?: number;
  readonly trafficClass?: number;
  readonly flowLabel?: number;
}

/** An IPv6 packet. */
export function buildIpv6(fields: Ipv6Fields, payload: Uint8Array = NO_BYTES): Uint8Array {
  const { nextHeader, hopLimit = DEFAULT_TTL, trafficClass = 0, flowLabel = 0 } = fields;
  checkField('IPv6 payload length', payload.length, 0xffff);
  checkField('next header', nextHeader, 0xff);
  checkField('hop limit', hopLimit, 0xff);
  checkField('traffic class', trafficClass, 0xff);
  checkField('flow label', flowLabel, 0xfffff);
  const packet = new Uint8Array(IPV6_HEADER_BYTES + payload.length);
  setU32(packet, 0, ((6 << 28) | (trafficClass << 20) | flowLabel) >>> 0);
  setU16(packet, 4, payload.length);
  packet[6] = nextHeader;
  packet[7] = hopLimit;
  packet.set(toIp(fields.source), 8);
  packet.set(toIp(fields.destination), 24);
  packet.set(payload, IPV6_HEADER_BYTES);
  return packet;
}

export interface Ipv6FragmentFields {
  /** Of what is fragmented. */
  readonly nextHeader: number;
  /** In bytes, a multiple of 8. */
  readonly fragmentOffset: number;
  readonly moreFragments: boolean;
  /** u32 */
  readonly identification: number;
}

/** A fragment header (RFC 8200 section 4.5) and its payload, to carry in `buildIpv6` with next header 44. */
export function buildIpv6Fragment(fields: Ipv6FragmentFields, payload: Uint8Array = NO_BYTES): Uint8Array {
  const { nextHeader, fragmentOffset, moreFragments, identification } = fields;
  if (fragmentOffset % 8 !== 0) throw new RangeError(`Cannot encode fragment offset ${fragmentOffset}: must be a multiple of 8 bytes`);
  checkField('next header', nextHeader, 0xff);
  checkField('fragment offset', fragmentOffset, 0xfff8);
  checkField('fragment identification', identification, 0xffffffff);
  const fragment = new Uint8Array(8 + payload.length);
  fragment[0] = nextHeader;
  setU16(fragment, 2, fragmentOffset | (moreFragments ? 1 : 0));
  setU32(fragment, 4, identification);
  fragment.set(payload, 8);
  return fragment;
}

export interface IpFields {
  readonly source: IpLike;
  readonly destination: IpLike;
  readonly protocol: number;
  /** TTL or hop limit; default 64. */
  readonly ttl?: number;
}

/** An IPv4 or IPv6 packet, by the family of its addresses. */
export function buildIp(fields: IpFields, payload: Uint8Array = NO_BYTES): Uint8Array {
  const { source, destination, protocol, ttl = DEFAULT_TTL } = fields;
  return isSameFamilyIpv4(source, destination)
    ? buildIpv4({ source, destination, protocol, ttl }, payload)
    : buildIpv6({ source, destination, nextHeader: protocol, hopLimit: ttl }, payload);
}

/** @throws {RangeError} If one address is IPv4 and the other is not. */
export function isSameFamilyIpv4(source: IpLike, destination: IpLike): boolean {
  const isIpv4 = isIpv4Mapped(toIp(source));
  if (isIpv4 !== isIpv4Mapped(toIp(destination))) {
    throw new RangeError('Cannot encode a packet between an IPv4 and an IPv6 address: both must be of one family');
  }
  return isIpv4;
}
