import { checkField, checkWindow, getU16, setU16 } from './bytes.ts';
import { checksumReplace16, internetChecksum, pseudoHeaderSum4 } from './checksum.ts';
import { type IpAddress, MAPPED_IPV4_OFFSET, mapIpv4 } from './ip.ts';
import type { ParseFailure } from './reasons.ts';

const TOTAL_LENGTH_OFFSET = 2;
const IDENTIFICATION_OFFSET = 4;
const FRAGMENT_OFFSET = 6;
const TTL_OFFSET = 8;
const PROTOCOL_OFFSET = 9;
const CHECKSUM_OFFSET = 10;
const SOURCE_OFFSET = 12;
const DESTINATION_OFFSET = 16;

/** Bytes of an IPv4 header without options. */
export const IPV4_HEADER_BYTES = 20;

/** View of an IPv4 header (RFC 791). Setters leave the checksum alone, except `decrementTtl`; call `updateChecksum` after them. */
export class Ipv4Header {
  readonly bytes: Uint8Array;
  readonly offset: number;

  private constructor(bytes: Uint8Array, offset: number) {
    this.bytes = bytes;
    this.offset = offset;
  }

  /**
   * Reads a whole packet's header. Bytes between the total length and `end` are Ethernet padding: use `payloadEnd`, not `end`.
   * The checksum is not verified here: see `isChecksumValid`.
   * @returns The view, or `TRUNCATED_IPV4_HEADER`, `IPV4_VERSION_INVALID`, `IPV4_HEADER_LENGTH_INVALID` (below 20),
   *   `IPV4_TOTAL_LENGTH_INVALID` (below the header's length), `TRUNCATED_IPV4_PAYLOAD` (total length beyond `end`).
   */
  static read(bytes: Uint8Array, offset = 0, end: number = bytes.length): Ipv4Header | ParseFailure {
    const header = Ipv4Header.readQuoted(bytes, offset, end);
    if (typeof header === 'string') return header;
    return header.totalLength > end - offset ? 'TRUNCATED_IPV4_PAYLOAD' : header;
  }

  /** As `read`, for a packet quoted in an ICMP error, whose payload was cut: the total length may lead beyond `end`. */
  static readQuoted(bytes: Uint8Array, offset = 0, end: number = bytes.length): Ipv4Header | ParseFailure {
    checkWindow(bytes, offset, end);
    const available = end - offset;
    if (available < IPV4_HEADER_BYTES) return 'TRUNCATED_IPV4_HEADER';
    if (bytes[offset]! >> 4 !== 4) return 'IPV4_VERSION_INVALID';
    const headerLength = (bytes[offset]! & 0x0f) * 4;
    if (headerLength < IPV4_HEADER_BYTES) return 'IPV4_HEADER_LENGTH_INVALID';
    if (headerLength > available) return 'TRUNCATED_IPV4_HEADER';
    if (getU16(bytes, offset + TOTAL_LENGTH_OFFSET) < headerLength) return 'IPV4_TOTAL_LENGTH_INVALID';
    return new Ipv4Header(bytes, offset);
  }

  /** Header length in bytes, options included (IHL * 4). */
  get headerLength(): number {
    return (this.bytes[this.offset]! & 0x0f) * 4;
  }
  /** Header length in 32-bit words, as on the wire. */
  get ihl(): number {
    return this.bytes[this.offset]! & 0x0f;
  }
  get hasOptions(): boolean {
    return this.ihl > 5;
  }
  get payloadOffset(): number {
    return this.offset + this.headerLength;
  }
  /** First byte after the packet, padding excluded. */
  get payloadEnd(): number {
    return this.offset + this.totalLength;
  }
  get payloadLength(): number {
    return this.totalLength - this.headerLength;
  }

  get dscp(): number {
    return this.bytes[this.offset + 1]! >> 2;
  }
  set dscp(value: number) {
    checkField('DSCP', value, 0x3f);
    this.bytes[this.offset + 1] = (value << 2) | this.ecn;
  }
  get ecn(): number {
    return this.bytes[this.offset + 1]! & 3;
  }
  set ecn(value: number) {
    checkField('ECN', value, 3);
    this.bytes[this.offset + 1] = (this.dscp << 2) | value;
  }

  get totalLength(): number {
    return getU16(this.bytes, this.offset + TOTAL_LENGTH_OFFSET);
  }
  set totalLength(value: number) {
    checkField('IPv4 total length', value, 0xffff);
    setU16(this.bytes, this.offset + TOTAL_LENGTH_OFFSET, value);
  }
  get identification(): number {
    return getU16(this.bytes, this.offset + IDENTIFICATION_OFFSET);
  }
  set identification(value: number) {
    checkField('IPv4 identification', value, 0xffff);
    setU16(this.bytes, this.offset + IDENTIFICATION_OFFSET, value);
  }

  /** The three flag bits as one number: reserved 4, DF 2, MF 1. */
  get flags(): number {
    return this.bytes[this.offset + FRAGMENT_OFFSET]! >> 5;
  }
  get dontFragment(): boolean {
    return (this.bytes[this.offset + FRAGMENT_OFFSET]! & 0x40) !== 0;
  }
  get moreFragments(): boolean {
    return (this.bytes[this.offset + FRAGMENT_OFFSET]! & 0x20) !== 0;
  }
  /** In bytes (the wire counts units of 8). */
  get fragmentOffset(): number {
    return (getU16(this.bytes, this.offset + FRAGMENT_OFFSET) & 0x1fff) * 8;
  }
  /** True if this packet is part of a fragmented one, the first part included. */
  get isFragment(): boolean {
    return (getU16(this.bytes, this.offset + FRAGMENT_OFFSET) & 0x3fff) !== 0;
  }

  get ttl(): number {
    return this.bytes[this.offset + TTL_OFFSET]!;
  }
  set ttl(value: number) {
    checkField('TTL', value, 0xff);
    this.bytes[this.offset + TTL_OFFSET] = value;
  }
  get protocol(): number {
    return this.bytes[this.offset + PROTOCOL_OFFSET]!;
  }
  set protocol(value: number) {
    checkField('IP protocol', value, 0xff);
    this.bytes[this.offset + PROTOCOL_OFFSET] = value;
  }
  get checksum(): number {
    return getU16(this.bytes, this.offset + CHECKSUM_OFFSET);
  }
  set checksum(value: number) {
    checkField('IPv4 checksum', value, 0xffff);
    setU16(this.bytes, this.offset + CHECKSUM_OFFSET, value);
  }

  /** First of the 4 source bytes in the packet. */
  get sourceOffset(): number {
    return this.offset + SOURCE_OFFSET;
  }
  get destinationOffset(): number {
    return this.offset + DESTINATION_OFFSET;
  }
  /** A 16-byte mapped copy, in `target` if given. */
  copySource(target?: Uint8Array): IpAddress {
    return mapIpv4(this.bytes, this.sourceOffset, target);
  }
  copyDestination(target?: Uint8Array): IpAddress {
    return mapIpv4(this.bytes, this.destinationOffset, target);
  }
  /** Writes an address given in the 16-byte form. */
  setSource(address: IpAddress): void {
    for (let i = 0; i < 4; i++) this.bytes[this.sourceOffset + i] = address[MAPPED_IPV4_OFFSET + i]!;
  }
  setDestination(address: IpAddress): void {
    for (let i = 0; i < 4; i++) this.bytes[this.destinationOffset + i] = address[MAPPED_IPV4_OFFSET + i]!;
  }

  get isChecksumValid(): boolean {
    return internetChecksum(this.bytes, this.offset, this.headerLength) === 0;
  }
  updateChecksum(): void {
    this.checksum = 0;
    this.checksum = internetChecksum(this.bytes, this.offset, this.headerLength);
  }
  /** Lowers the TTL by one and the checksum with it (RFC 1624). The caller has checked that the TTL is above 1. */
  decrementTtl(): void {
    const before = getU16(this.bytes, this.offset + TTL_OFFSET);
    this.ttl = this.ttl - 1;
    this.checksum = checksumReplace16(this.checksum, before, before - 0x100);
  }

  /** Writes the ECN bits and updates the checksum (RFC 1624), e.g. when a tunnel's end hands on "congestion experienced" (RFC 6040). */
  rewriteEcn(value: number): void {
    const before = getU16(this.bytes, this.offset);
    this.ecn = value;
    this.checksum = checksumReplace16(this.checksum, before, getU16(this.bytes, this.offset));
  }

  /** Sum of the pseudo header for a transport checksum over `length` bytes. */
  pseudoHeaderSum(protocol: number, length: number): number {
    return pseudoHeaderSum4(this.bytes, this.sourceOffset, this.bytes, this.destinationOffset, protocol, length);
  }
}
