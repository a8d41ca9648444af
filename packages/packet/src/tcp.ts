import { checkField, checkWindow, getU16, getU32, setU16, setU32 } from './bytes.ts';
import type { ParseFailure } from './reasons.ts';

const SEQUENCE_OFFSET = 4;
const ACKNOWLEDGMENT_OFFSET = 8;
const DATA_OFFSET_OFFSET = 12;
const FLAGS_OFFSET = 13;
const WINDOW_OFFSET = 14;
const CHECKSUM_OFFSET = 16;
const OPTION_END = 0;
const OPTION_NOP = 1;
const OPTION_MSS = 2;

/** Bytes of a TCP header without options. */
export const TCP_HEADER_BYTES = 20;
export const TCP_FLAG = { fin: 0x01, syn: 0x02, rst: 0x04, psh: 0x08, ack: 0x10, urg: 0x20, ece: 0x40, cwr: 0x80 } as const;

/** View of a TCP header (RFC 9293 section 3.1). */
export class TcpHeader {
  readonly bytes: Uint8Array;
  readonly offset: number;

  private constructor(bytes: Uint8Array, offset: number) {
    this.bytes = bytes;
    this.offset = offset;
  }

  /** @returns The view, or `TRUNCATED_TCP_HEADER` (options included), `TCP_DATA_OFFSET_INVALID` (below 20 bytes). */
  static read(bytes: Uint8Array, offset = 0, end: number = bytes.length): TcpHeader | ParseFailure {
    checkWindow(bytes, offset, end);
    if (end - offset < TCP_HEADER_BYTES) return 'TRUNCATED_TCP_HEADER';
    const headerLength = (bytes[offset + DATA_OFFSET_OFFSET]! >> 4) * 4;
    if (headerLength < TCP_HEADER_BYTES) return 'TCP_DATA_OFFSET_INVALID';
    return headerLength > end - offset ? 'TRUNCATED_TCP_HEADER' : new TcpHeader(bytes, offset);
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
  get sequence(): number {
    return getU32(this.bytes, this.offset + SEQUENCE_OFFSET);
  }
  set sequence(value: number) {
    checkField('TCP sequence', value, 0xffffffff);
    setU32(this.bytes, this.offset + SEQUENCE_OFFSET, value);
  }
  get acknowledgment(): number {
    return getU32(this.bytes, this.offset + ACKNOWLEDGMENT_OFFSET);
  }
  set acknowledgment(value: number) {
    checkField('TCP acknowledgment', value, 0xffffffff);
    setU32(this.bytes, this.offset + ACKNOWLEDGMENT_OFFSET, value);
  }
  /** Header length in bytes, options included. */
  get headerLength(): number {
    return (this.bytes[this.offset + DATA_OFFSET_OFFSET]! >> 4) * 4;
  }
  get payloadOffset(): number {
    return this.offset + this.headerLength;
  }
  /** The eight flags CWR..FIN, see `TCP_FLAG`. */
  get flags(): number {
    return this.bytes[this.offset + FLAGS_OFFSET]!;
  }
  set flags(value: number) {
    checkField('TCP flags', value, 0xff);
    this.bytes[this.offset + FLAGS_OFFSET] = value;
  }
  get window(): number {
    return getU16(this.bytes, this.offset + WINDOW_OFFSET);
  }
  set window(value: number) {
    checkField('TCP window', value, 0xffff);
    setU16(this.bytes, this.offset + WINDOW_OFFSET, value);
  }
  get checksum(): number {
    return getU16(this.bytes, this.offset + CHECKSUM_OFFSET);
  }
  set checksum(value: number) {
    checkField('TCP checksum', value, 0xffff);
    setU16(this.bytes, this.offset + CHECKSUM_OFFSET, value);
  }

  /**
   * Where the value (u16) of the MSS option is, or -1 if there is none or the options are malformed: an MSS is clamped, never
   * trusted, so a bad option list is only left alone.
   */
  get mssOffset(): number {
    const end = this.payloadOffset;
    let i = this.offset + TCP_HEADER_BYTES;
    while (i < end) {
      const kind = this.bytes[i]!;
      if (kind === OPTION_END) return -1;
      if (kind === OPTION_NOP) {
        i++;
        continue;
      }
      if (i + 1 >= end) return -1;
      const length = this.bytes[i + 1]!;
      if (length < 2 || i + length > end) return -1;
      if (kind === OPTION_MSS) return length === 4 ? i + 2 : -1;
      i += length;
    }
    return -1;
  }
}
