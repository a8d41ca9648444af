import { checkField, checkWindow, getU16, getU32, setU16, setU32 } from './bytes.ts';
import { pseudoHeaderSum6 } from './checksum.ts';
import { IP_BYTES, type IpAddress, isIpv4Mapped } from './ip.ts';
import type { ParseFailure } from './reasons.ts';

const PAYLOAD_LENGTH_OFFSET = 4;
const NEXT_HEADER_OFFSET = 6;
const HOP_LIMIT_OFFSET = 7;
const SOURCE_OFFSET = 8;
const DESTINATION_OFFSET = 24;

export const IPV6_HEADER_BYTES = 40;

/** View of the fixed IPv6 header (RFC 8200 section 3). Extension headers: see `findIpv6UpperLayer`. */
export class Ipv6Header {
  readonly bytes: Uint8Array;
  readonly offset: number;

  private constructor(bytes: Uint8Array, offset: number) {
    this.bytes = bytes;
    this.offset = offset;
  }

  /**
   * Bytes between the payload length and `end` are padding: use `payloadEnd`, not `end`. Jumbograms (RFC 2675) are not known:
   * a payload length of 0 is an empty packet.
   * @returns The view, or `TRUNCATED_IPV6_HEADER`, `IPV6_VERSION_INVALID`, `TRUNCATED_IPV6_PAYLOAD` (length beyond `end`).
   */
  static read(bytes: Uint8Array, offset = 0, end: number = bytes.length): Ipv6Header | ParseFailure {
    const header = Ipv6Header.readQuoted(bytes, offset, end);
    if (typeof header === 'string') return header;
    return header.payloadLength > end - offset - IPV6_HEADER_BYTES ? 'TRUNCATED_IPV6_PAYLOAD' : header;
  }

  /** As `read`, for a packet quoted in an ICMP error, whose payload was cut: the length may lead beyond `end`. */
  static readQuoted(bytes: Uint8Array, offset = 0, end: number = bytes.length): Ipv6Header | ParseFailure {
    checkWindow(bytes, offset, end);
    if (end - offset < IPV6_HEADER_BYTES) return 'TRUNCATED_IPV6_HEADER';
    return bytes[offset]! >> 4 === 6 ? new Ipv6Header(bytes, offset) : 'IPV6_VERSION_INVALID';
  }

  get payloadOffset(): number {
    return this.offset + IPV6_HEADER_BYTES;
  }
  get payloadEnd(): number {
    return this.payloadOffset + this.payloadLength;
  }
  /** Header and payload, in bytes: the counterpart of IPv4's total length. */
  get totalLength(): number {
    return IPV6_HEADER_BYTES + this.payloadLength;
  }

  get trafficClass(): number {
    return (getU16(this.bytes, this.offset) >> 4) & 0xff;
  }
  set trafficClass(value: number) {
    checkField('traffic class', value, 0xff);
    setU16(this.bytes, this.offset, (getU16(this.bytes, this.offset) & 0xf00f) | (value << 4));
  }
  get dscp(): number {
    return this.trafficClass >> 2;
  }
  get ecn(): number {
    return this.trafficClass & 3;
  }
  set ecn(value: number) {
    checkField('ECN', value, 3);
    this.trafficClass = (this.trafficClass & 0xfc) | value;
  }
  /** 20 bits. */
  get flowLabel(): number {
    return getU32(this.bytes, this.offset) & 0xfffff;
  }
  set flowLabel(value: number) {
    checkField('flow label', value, 0xfffff);
    setU32(this.bytes, this.offset, (getU32(this.bytes, this.offset) & 0xfff00000) | value);
  }
  /** Bytes after the fixed header, extension headers included. */
  get payloadLength(): number {
    return getU16(this.bytes, this.offset + PAYLOAD_LENGTH_OFFSET);
  }
  set payloadLength(value: number) {
    checkField('IPv6 payload length', value, 0xffff);
    setU16(this.bytes, this.offset + PAYLOAD_LENGTH_OFFSET, value);
  }
  get nextHeader(): number {
    return this.bytes[this.offset + NEXT_HEADER_OFFSET]!;
  }
  set nextHeader(value: number) {
    checkField('next header', value, 0xff);
    this.bytes[this.offset + NEXT_HEADER_OFFSET] = value;
  }
  get hopLimit(): number {
    return this.bytes[this.offset + HOP_LIMIT_OFFSET]!;
  }
  set hopLimit(value: number) {
    checkField('hop limit', value, 0xff);
    this.bytes[this.offset + HOP_LIMIT_OFFSET] = value;
  }

  /** First of the 16 source bytes in the packet. */
  get sourceOffset(): number {
    return this.offset + SOURCE_OFFSET;
  }
  get destinationOffset(): number {
    return this.offset + DESTINATION_OFFSET;
  }
  /** A copy, in `target` if given. See `hasMappedAddress`. */
  copySource(target: Uint8Array = new Uint8Array(IP_BYTES)): IpAddress {
    for (let i = 0; i < IP_BYTES; i++) target[i] = this.bytes[this.sourceOffset + i]!;
    return target;
  }
  copyDestination(target: Uint8Array = new Uint8Array(IP_BYTES)): IpAddress {
    for (let i = 0; i < IP_BYTES; i++) target[i] = this.bytes[this.destinationOffset + i]!;
    return target;
  }
  /**
   * True if source or destination lies in ::ffff:0:0/96, which is never valid on a wire (RFC 6890). Refuse such a packet before any
   * look-up: in the 16-byte form it would pass for the IPv4 address.
   */
  get hasMappedAddress(): boolean {
    return isIpv4Mapped(this.bytes, this.sourceOffset) || isIpv4Mapped(this.bytes, this.destinationOffset);
  }
  setSource(address: IpAddress): void {
    for (let i = 0; i < IP_BYTES; i++) this.bytes[this.sourceOffset + i] = address[i]!;
  }
  setDestination(address: IpAddress): void {
    for (let i = 0; i < IP_BYTES; i++) this.bytes[this.destinationOffset + i] = address[i]!;
  }

  /** Sum of the pseudo header for a transport checksum over `length` bytes. */
  pseudoHeaderSum(protocol: number, length: number): number {
    return pseudoHeaderSum6(this.bytes, this.sourceOffset, this.bytes, this.destinationOffset, protocol, length);
  }
}
