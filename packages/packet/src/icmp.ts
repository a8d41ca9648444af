import { checkField, checkWindow, getU16, getU32, setU16, setU32 } from './bytes.ts';
import { ICMP_TYPE, ICMPV6_TYPE } from './protocols.ts';
import type { ParseFailure } from './reasons.ts';

const CHECKSUM_OFFSET = 2;
const REST_OFFSET = 4;

export const ICMP_HEADER_BYTES = 8;

/** What ICMPv4 and ICMPv6 share, 8 bytes: type (1), code (1), checksum (2), rest (4, by type). */
abstract class IcmpHeader {
  readonly bytes: Uint8Array;
  readonly offset: number;

  protected constructor(bytes: Uint8Array, offset: number) {
    this.bytes = bytes;
    this.offset = offset;
  }

  get type(): number {
    return this.bytes[this.offset]!;
  }
  set type(value: number) {
    checkField('ICMP type', value, 0xff);
    this.bytes[this.offset] = value;
  }
  get code(): number {
    return this.bytes[this.offset + 1]!;
  }
  set code(value: number) {
    checkField('ICMP code', value, 0xff);
    this.bytes[this.offset + 1] = value;
  }
  get checksum(): number {
    return getU16(this.bytes, this.offset + CHECKSUM_OFFSET);
  }
  set checksum(value: number) {
    checkField('ICMP checksum', value, 0xffff);
    setU16(this.bytes, this.offset + CHECKSUM_OFFSET, value);
  }
  /** The four bytes whose meaning depends on the type. */
  get rest(): number {
    return getU32(this.bytes, this.offset + REST_OFFSET);
  }
  set rest(value: number) {
    checkField('ICMP rest of header', value, 0xffffffff);
    setU32(this.bytes, this.offset + REST_OFFSET, value);
  }
  /** Echo only. */
  get identifier(): number {
    return getU16(this.bytes, this.offset + REST_OFFSET);
  }
  set identifier(value: number) {
    checkField('ICMP identifier', value, 0xffff);
    setU16(this.bytes, this.offset + REST_OFFSET, value);
  }
  /** Echo only. */
  get sequence(): number {
    return getU16(this.bytes, this.offset + REST_OFFSET + 2);
  }
  set sequence(value: number) {
    checkField('ICMP sequence', value, 0xffff);
    setU16(this.bytes, this.offset + REST_OFFSET + 2, value);
  }
  /** First byte after the header: echo data, or the packet an error quotes. */
  get payloadOffset(): number {
    return this.offset + ICMP_HEADER_BYTES;
  }
}

/** View of an ICMPv4 header (RFC 792). The checksum covers the message alone. */
export class Icmpv4Header extends IcmpHeader {
  /** @returns The view, or `TRUNCATED_ICMP_HEADER` (fewer than 8 bytes). */
  static read(bytes: Uint8Array, offset = 0, end: number = bytes.length): Icmpv4Header | ParseFailure {
    checkWindow(bytes, offset, end);
    return end - offset < ICMP_HEADER_BYTES ? 'TRUNCATED_ICMP_HEADER' : new Icmpv4Header(bytes, offset);
  }

  get isEchoRequest(): boolean {
    return this.type === ICMP_TYPE.echoRequest;
  }
  get isEcho(): boolean {
    return this.type === ICMP_TYPE.echoRequest || this.type === ICMP_TYPE.echoReply;
  }
  /** True for the types that quote a packet (RFC 1122 section 3.2.2). Types unknown here may be errors too: see the caller's own rule. */
  get isError(): boolean {
    const type = this.type;
    return (
      type === 3 || type === 4 || type === ICMP_TYPE.redirect || type === ICMP_TYPE.timeExceeded || type === ICMP_TYPE.parameterProblem
    );
  }
  /** Next-hop MTU of "fragmentation needed" (type 3 code 4), in bytes (RFC 1191 section 4). */
  get nextHopMtu(): number {
    return getU16(this.bytes, this.offset + REST_OFFSET + 2);
  }
}

/** View of an ICMPv6 header (RFC 4443). The checksum covers the pseudo header too. */
export class Icmpv6Header extends IcmpHeader {
  /** @returns The view, or `TRUNCATED_ICMP_HEADER` (fewer than 8 bytes; every defined message has them). */
  static read(bytes: Uint8Array, offset = 0, end: number = bytes.length): Icmpv6Header | ParseFailure {
    checkWindow(bytes, offset, end);
    return end - offset < ICMP_HEADER_BYTES ? 'TRUNCATED_ICMP_HEADER' : new Icmpv6Header(bytes, offset);
  }

  get isEchoRequest(): boolean {
    return this.type === ICMPV6_TYPE.echoRequest;
  }
  get isEcho(): boolean {
    return this.type === ICMPV6_TYPE.echoRequest || this.type === ICMPV6_TYPE.echoReply;
  }
  /** True for types below 128 (RFC 4443 section 2.1): never answer such a one with an error. */
  get isError(): boolean {
    return this.type < 128;
  }
  /** MTU of "packet too big" (type 2), in bytes. */
  get mtu(): number {
    return this.rest;
  }
}
