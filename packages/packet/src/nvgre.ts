import { checkField, checkWindow, getU16, getU24, setU16, setU24 } from './bytes.ts';
import { ETHER_TYPE } from './protocols.ts';
import type { ParseFailure } from './reasons.ts';

const PROTOCOL_OFFSET = 2;
const VSID_OFFSET = 4;
const FLOW_ID_OFFSET = 7;

/** C=0, K=1, S=0, Reserved0=0, Ver=0: the only first 16 bits NVGRE has. */
export const NVGRE_FLAGS = 0x2000;
export const NVGRE_HEADER_BYTES = 8;

/** View of an NVGRE header, i.e. GRE with a key, 8 bytes: flags and version (2), protocol type (2), VSID (3), FlowID (1). */
export class NvgreHeader {
  readonly bytes: Uint8Array;
  readonly offset: number;

  private constructor(bytes: Uint8Array, offset: number) {
    this.bytes = bytes;
    this.offset = offset;
  }

  /**
   * Reads the header at `offset`, right after the outer IP header (protocol 47).
   * @returns The view, or `TRUNCATED_TUNNEL_HEADER`, `NVGRE_FLAGS_INVALID` (first 16 bits other than 0x2000: other GRE, a checksum,
   *   a sequence number), `NVGRE_PROTOCOL_INVALID` (protocol type other than 0x6558).
   * @see RFC 7637 section 3.2
   */
  static read(bytes: Uint8Array, offset = 0, end: number = bytes.length): NvgreHeader | ParseFailure {
    checkWindow(bytes, offset, end);
    if (end - offset < NVGRE_HEADER_BYTES) return 'TRUNCATED_TUNNEL_HEADER';
    if (getU16(bytes, offset) !== NVGRE_FLAGS) return 'NVGRE_FLAGS_INVALID';
    return getU16(bytes, offset + PROTOCOL_OFFSET) === ETHER_TYPE.transparentEthernet
      ? new NvgreHeader(bytes, offset)
      : 'NVGRE_PROTOCOL_INVALID';
  }

  /** Writes a header into the 8 bytes at `offset`. */
  static write(bytes: Uint8Array, offset: number, vsid: number, flowId = 0): NvgreHeader {
    checkWindow(bytes, offset, offset + NVGRE_HEADER_BYTES);
    const header = new NvgreHeader(bytes, offset);
    setU16(bytes, offset, NVGRE_FLAGS);
    setU16(bytes, offset + PROTOCOL_OFFSET, ETHER_TYPE.transparentEthernet);
    header.vsid = vsid;
    header.flowId = flowId;
    return header;
  }

  /** Virtual subnet id, 24 bits. */
  get vsid(): number {
    return getU24(this.bytes, this.offset + VSID_OFFSET);
  }
  set vsid(value: number) {
    checkField('VSID', value, 0xffffff);
    setU24(this.bytes, this.offset + VSID_OFFSET, value);
  }
  /** Entropy of the flow, 8 bits; 0 if the sender makes none. */
  get flowId(): number {
    return this.bytes[this.offset + FLOW_ID_OFFSET]!;
  }
  set flowId(value: number) {
    checkField('FlowID', value, 0xff);
    this.bytes[this.offset + FLOW_ID_OFFSET] = value;
  }
  /** First byte of the inner Ethernet frame. */
  get payloadOffset(): number {
    return this.offset + NVGRE_HEADER_BYTES;
  }
}
