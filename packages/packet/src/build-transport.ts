import { isSameFamilyIpv4 } from './build-ip.ts';
import { type IpLike, NO_BYTES, toIp } from './build-link.ts';
import { checkField, setU16, setU32 } from './bytes.ts';
import { internetChecksum, pseudoHeaderSum4, pseudoHeaderSum6 } from './checksum.ts';
import { MAPPED_IPV4_OFFSET } from './ip.ts';
import { IP_PROTOCOL } from './protocols.ts';
import { TCP_HEADER_BYTES } from './tcp.ts';
import { UDP_HEADER_BYTES } from './udp.ts';

/** Sum of the pseudo header for two addresses of one family, in the 16-byte form. */
export function pseudoHeaderSum(source: IpLike, destination: IpLike, protocol: number, length: number): number {
  const from = toIp(source);
  const to = toIp(destination);
  return isSameFamilyIpv4(from, to)
    ? pseudoHeaderSum4(from, MAPPED_IPV4_OFFSET, to, MAPPED_IPV4_OFFSET, protocol, length)
    : pseudoHeaderSum6(from, 0, to, 0, protocol, length);
}

export interface UdpFields {
  /** Addresses of the packet that will carry the datagram: the checksum covers them. */
  readonly source: IpLike;
  readonly destination: IpLike;
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** False writes 0, "none computed". Default true. */
  readonly checksum?: boolean;
}

/** A UDP datagram. */
export function buildUdp(fields: UdpFields, payload: Uint8Array = NO_BYTES): Uint8Array {
  const length = UDP_HEADER_BYTES + payload.length;
  checkField('port', fields.sourcePort, 0xffff);
  checkField('port', fields.destinationPort, 0xffff);
  checkField('UDP length', length, 0xffff);
  const datagram = new Uint8Array(length);
  setU16(datagram, 0, fields.sourcePort);
  setU16(datagram, 2, fields.destinationPort);
  setU16(datagram, 4, length);
  datagram.set(payload, UDP_HEADER_BYTES);
  if (fields.checksum ?? true) {
    const sum = pseudoHeaderSum(fields.source, fields.destination, IP_PROTOCOL.udp, length);
    // A computed 0 is sent as 0xffff, since 0 means that there is none (RFC 768).
    setU16(datagram, 6, internetChecksum(datagram, 0, length, sum) || 0xffff);
  }
  return datagram;
}

export interface TcpFields {
  readonly source: IpLike;
  readonly destination: IpLike;
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly sequence?: number;
  readonly acknowledgment?: number;
  /** Bits of `TCP_FLAG`. Default: none. */
  readonly flags?: number;
  /** Default 65535. */
  readonly window?: number;
  /** A multiple of 4 bytes, at most 40. */
  readonly options?: Uint8Array;
}

/** A TCP segment. */
export function buildTcp(fields: TcpFields, payload: Uint8Array = NO_BYTES): Uint8Array {
  const { sequence = 0, acknowledgment = 0, flags = 0, window = 0xffff, options = NO_BYTES } = fields;
  if (options.length % 4 !== 0 || options.length > 40) {
    throw new RangeError(`Cannot encode TCP options of ${options.length} bytes: must be a multiple of 4, at most 40`);
  }
  checkField('port', fields.sourcePort, 0xffff);
  checkField('port', fields.destinationPort, 0xffff);
  checkField('TCP sequence', sequence, 0xffffffff);
  checkField('TCP acknowledgment', acknowledgment, 0xffffffff);
  checkField('TCP flags', flags, 0xff);
  checkField('TCP window', window, 0xffff);
  const headerBytes = TCP_HEADER_BYTES + options.length;
  const segment = new Uint8Array(headerBytes + payload.length);
  setU16(segment, 0, fields.sourcePort);
  setU16(segment, 2, fields.destinationPort);
  setU32(segment, 4, sequence);
  setU32(segment, 8, acknowledgment);
  segment[12] = (headerBytes / 4) << 4;
  segment[13] = flags;
  setU16(segment, 14, window);
  segment.set(options, TCP_HEADER_BYTES);
  segment.set(payload, headerBytes);
  const sum = pseudoHeaderSum(fields.source, fields.destination, IP_PROTOCOL.tcp, segment.length);
  setU16(segment, 16, internetChecksum(segment, 0, segment.length, sum));
  return segment;
}

/** The TCP option "maximum segment size", 4 bytes, for `TcpFields.options`. */
export function buildTcpMssOption(mssBytes: number): Uint8Array {
  checkField('MSS', mssBytes, 0xffff);
  return Uint8Array.of(2, 4, mssBytes >>> 8, mssBytes & 0xff);
}
