import { checkField, checkWindow, getU16, getU32, setU16 } from './bytes.ts';
import type { ParseFailure } from './reasons.ts';

const LENGTH_OFFSET = 4;
const CHECKSUM_OFFSET = 6;

export const UDP_HEADER_BYTES = 8;

/** View of a UDP header (RFC 768): source port (2), destination port (2), length (2), checksum (2). */
export class UdpHeader {
  readonly bytes: Uint8Array;
  readonly offset: number;

  private constructor(bytes: Uint8Array, offset: number) {
    this.bytes = bytes;
    this.offset = offset;
  }

  /**
   * Reads a whole datagram's header.
   * @param end First byte after the IP payload, padding excluded.
   * @returns The view, or `TRUNCATED_UDP_HEADER`, `UDP_LENGTH_INVALID` (below 8), `TRUNCATED_UDP_PAYLOAD` (length beyond `end`).
   */
  static read(bytes: Uint8Array, offset = 0, end: number = bytes.length): UdpHeader | ParseFailure {
    const header = UdpHeader.readQuoted(bytes, offset, end);
    if (typeof header === 'string') return header;
    return header.length > end - offset ? 'TRUNCATED_UDP_PAYLOAD' : header;
  }

  /** As `read`, for a first fragment or a packet quoted in an ICMP error: the length may lead beyond `end`. */
  static readQuoted(bytes: Uint8Array, offset = 0, end: number = bytes.length): UdpHeader | ParseFailure {
    checkWindow(bytes, offset, end);
    if (end - offset < UDP_HEADER_BYTES) return 'TRUNCATED_UDP_HEADER';
    return getU16(bytes, offset + LENGTH_OFFSET) < UDP_HEADER_BYTES ? 'UDP_LENGTH_INVALID' : new UdpHeader(bytes, offset);
  }

  get sourcePort(): number {
    return getU16(this.bytes, this.offset);
  }
  set sourcePort(value: number) {
    checkField('port', value, 0xffff);
    setU16(this.bytes, this.offset, value);
  }
  get destinationPort(): number {
    return getU16(this.bytes, this.offset + 2);
  }
  set destinationPort(value: number) {
    checkField('port', value, 0xffff);
    setU16(this.bytes, this.offset + 2, value);
  }
  /** Header and payload, in bytes. */
  get length(): number {
    return getU16(this.bytes, this.offset + LENGTH_OFFSET);
  }
  set length(value: number) {
    checkField('UDP length', value, 0xffff);
    setU16(this.bytes, this.offset + LENGTH_OFFSET, value);
  }
  /** 0 means "none was computed", which only IPv4 and tunnels (RFC 6935) allow. */
  get checksum(): number {
    return getU16(this.bytes, this.offset + CHECKSUM_OFFSET);
  }
  set checksum(value: number) {
    checkField('UDP checksum', value, 0xffff);
    setU16(this.bytes, this.offset + CHECKSUM_OFFSET, value);
  }
  get payloadOffset(): number {
    return this.offset + UDP_HEADER_BYTES;
  }
  /** First byte after the datagram. */
  get payloadEnd(): number {
    return this.offset + this.length;
  }
}

/**
 * Reads source and destination port, which TCP, UDP and SCTP share in place, as one u32 (source in the high half). For packets of
 * which no more may be there: RFC 792 lets an ICMP error quote only 8 transport bytes.
 * @returns The ports, or `TRUNCATED_TRANSPORT_PORTS` (fewer than 4 bytes).
 */
export function readTransportPorts(bytes: Uint8Array, offset: number, end: number = bytes.length): number | ParseFailure {
  checkWindow(bytes, offset, end);
  return end - offset < 4 ? 'TRUNCATED_TRANSPORT_PORTS' : getU32(bytes, offset);
}
