import { isSameFamilyIpv4 } from './build-ip.ts';
import { type IpLike, NO_BYTES } from './build-link.ts';
import { pseudoHeaderSum } from './build-transport.ts';
import { checkField, setU16, setU32 } from './bytes.ts';
import { internetChecksum } from './checksum.ts';
import { ICMP_HEADER_BYTES } from './icmp.ts';
import { ICMP_CODE_FRAGMENTATION_NEEDED, ICMP_TYPE, ICMPV6_TYPE, IP_PROTOCOL } from './protocols.ts';

/** Quoted bytes in an ICMPv4 error, so that it stays within 576 bytes with a 20-byte IP header (RFC 1812 section 4.3.2.3). */
export const ICMPV4_QUOTE_MAX_BYTES = 548;
/** Quoted bytes in an ICMPv6 error, so that it stays within the minimum MTU of 1280 (RFC 4443 section 2.4 c). */
export const ICMPV6_QUOTE_MAX_BYTES = 1232;

export interface IcmpFields {
  readonly type: number;
  readonly code: number;
  /** The four bytes after the checksum, as u32. Default 0. */
  readonly rest?: number;
}

/** An ICMPv4 message. */
export function buildIcmpv4(fields: IcmpFields, body: Uint8Array = NO_BYTES): Uint8Array {
  const message = unchecked(fields, body);
  setU16(message, 2, internetChecksum(message, 0, message.length));
  return message;
}

/** An ICMPv6 message; its checksum covers the addresses of the packet that will carry it. */
export function buildIcmpv6(
  fields: IcmpFields & { readonly source: IpLike; readonly destination: IpLike },
  body: Uint8Array = NO_BYTES,
): Uint8Array {
  const message = unchecked(fields, body);
  const sum = pseudoHeaderSum(fields.source, fields.destination, IP_PROTOCOL.icmpv6, message.length);
  setU16(message, 2, internetChecksum(message, 0, message.length, sum));
  return message;
}

export interface IcmpEchoFields {
  /** Addresses of the packet that will carry the message; their family decides between ICMPv4 and ICMPv6. */
  readonly source: IpLike;
  readonly destination: IpLike;
  readonly identifier: number;
  readonly sequence: number;
  /** True for a reply. Default: a request. */
  readonly isReply?: boolean;
}

/** An echo request or reply. */
export function buildIcmpEcho(fields: IcmpEchoFields, data: Uint8Array = NO_BYTES): Uint8Array {
  const { source, destination, identifier, sequence, isReply = false } = fields;
  checkField('ICMP identifier', identifier, 0xffff);
  checkField('ICMP sequence', sequence, 0xffff);
  const rest = ((identifier << 16) | sequence) >>> 0;
  if (isSameFamilyIpv4(source, destination)) {
    return buildIcmpv4({ type: isReply ? ICMP_TYPE.echoReply : ICMP_TYPE.echoRequest, code: 0, rest }, data);
  }
  const type = isReply ? ICMPV6_TYPE.echoReply : ICMPV6_TYPE.echoRequest;
  return buildIcmpv6({ type, code: 0, rest, source, destination }, data);
}

/** "Fragmentation needed" (RFC 1191): the message that quotes `packet` (from its IP header), cut to fit 576 bytes. */
export function buildFragmentationNeeded(mtuBytes: number, packet: Uint8Array): Uint8Array {
  checkField('MTU', mtuBytes, 0xffff);
  return buildIcmpv4(
    { type: ICMP_TYPE.destinationUnreachable, code: ICMP_CODE_FRAGMENTATION_NEEDED, rest: mtuBytes },
    packet.subarray(0, ICMPV4_QUOTE_MAX_BYTES),
  );
}

/** "Packet too big" (RFC 4443 section 3.2): the message that quotes `packet` (from its IP header), cut to fit 1280 bytes. */
export function buildPacketTooBig(
  fields: { readonly source: IpLike; readonly destination: IpLike; readonly mtuBytes: number },
  packet: Uint8Array,
): Uint8Array {
  const { source, destination, mtuBytes } = fields;
  return buildIcmpv6(
    { type: ICMPV6_TYPE.packetTooBig, code: 0, rest: mtuBytes, source, destination },
    packet.subarray(0, ICMPV6_QUOTE_MAX_BYTES),
  );
}

function unchecked(fields: IcmpFields, body: Uint8Array): Uint8Array {
  const { type, code, rest = 0 } = fields;
  checkField('ICMP type', type, 0xff);
  checkField('ICMP code', code, 0xff);
  checkField('ICMP rest of header', rest, 0xffffffff);
  const message = new Uint8Array(ICMP_HEADER_BYTES + body.length);
  message[0] = type;
  message[1] = code;
  setU32(message, 4, rest);
  message.set(body, ICMP_HEADER_BYTES);
  return message;
}
