import { checkField, checkWindow, getU24, setU24 } from './bytes.ts';
import type { ParseFailure } from './reasons.ts';

const VNI_OFFSET = 4;

/** The I flag: the VNI is valid. */
export const VXLAN_FLAG_VNI = 0x08;
export const VXLAN_HEADER_BYTES = 8;

/** View of a VXLAN header, 8 bytes: flags (1), reserved (3), VNI (3), reserved (1). */
export class VxlanHeader {
  readonly bytes: Uint8Array;
  readonly offset: number;

  private constructor(bytes: Uint8Array, offset: number) {
    this.bytes = bytes;
    this.offset = offset;
  }

  /**
   * Reads the header at `offset` of a received UDP payload. Only the I flag is checked; reserved bits are ignored on receipt, as
   * RFC 7348 section 5 requires. The view shares memory with `bytes`.
   * @returns The view, or `TRUNCATED_TUNNEL_HEADER` (fewer than 8 bytes) or `VXLAN_VNI_FLAG_CLEAR`. Never throws on packet contents.
   * @throws {RangeError} If the window is not inside `bytes`: a caller's mistake, not a bad packet.
   * @see RFC 7348 section 5 (format), section 4.1 (a VTEP's receive steps)
   */
  static read(bytes: Uint8Array, offset = 0, end: number = bytes.length): VxlanHeader | ParseFailure {
    checkWindow(bytes, offset, end);
    if (end - offset < VXLAN_HEADER_BYTES) return 'TRUNCATED_TUNNEL_HEADER';
    return (bytes[offset]! & VXLAN_FLAG_VNI) === 0 ? 'VXLAN_VNI_FLAG_CLEAR' : new VxlanHeader(bytes, offset);
  }

  /** Writes a header, reserved bits zero, into the 8 bytes at `offset`. */
  static write(bytes: Uint8Array, offset: number, vni: number): VxlanHeader {
    checkWindow(bytes, offset, offset + VXLAN_HEADER_BYTES);
    bytes.fill(0, offset, offset + VXLAN_HEADER_BYTES);
    bytes[offset] = VXLAN_FLAG_VNI;
    const header = new VxlanHeader(bytes, offset);
    header.vni = vni;
    return header;
  }

  get flags(): number {
    return this.bytes[this.offset]!;
  }
  /** VXLAN network identifier, 24 bits; equal to the VSID. */
  get vni(): number {
    return getU24(this.bytes, this.offset + VNI_OFFSET);
  }
  set vni(value: number) {
    checkField('VNI', value, 0xffffff);
    setU24(this.bytes, this.offset + VNI_OFFSET, value);
  }
  /** First byte of the inner Ethernet frame. */
  get payloadOffset(): number {
    return this.offset + VXLAN_HEADER_BYTES;
  }
}
