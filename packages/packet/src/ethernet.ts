import { checkField, checkWindow, getU16, setU16 } from './bytes.ts';
import { formatMac } from './mac.ts';
import { ETHER_TYPE } from './protocols.ts';
import type { ParseFailure } from './reasons.ts';

const TYPE_OFFSET = 12;

/** Bytes of an Ethernet header without tags. */
export const ETHERNET_HEADER_BYTES = 14;
export const VLAN_TAG_BYTES = 4;

/** View of an Ethernet header: destination (6), source (6), type (2). Shares memory with `bytes`. */
export class EthernetHeader {
  readonly bytes: Uint8Array;
  readonly offset: number;

  private constructor(bytes: Uint8Array, offset: number) {
    this.bytes = bytes;
    this.offset = offset;
  }

  /**
   * @returns The view, or `TRUNCATED_ETHERNET_HEADER` (fewer than 14 bytes).
   * @throws {RangeError} If the window is not inside `bytes`.
   */
  static read(bytes: Uint8Array, offset = 0, end: number = bytes.length): EthernetHeader | ParseFailure {
    checkWindow(bytes, offset, end);
    return end - offset < ETHERNET_HEADER_BYTES ? 'TRUNCATED_ETHERNET_HEADER' : new EthernetHeader(bytes, offset);
  }

  get destinationOffset(): number {
    return this.offset;
  }
  get sourceOffset(): number {
    return this.offset + 6;
  }
  /** First byte after the header. A VLAN tag, if any, starts 2 bytes before: its type is this header's type. */
  get payloadOffset(): number {
    return this.offset + ETHERNET_HEADER_BYTES;
  }

  /** EtherType, or an 802.3 length if below 0x0600. */
  get type(): number {
    return getU16(this.bytes, this.offset + TYPE_OFFSET);
  }
  set type(value: number) {
    checkField('EtherType', value, 0xffff);
    setU16(this.bytes, this.offset + TYPE_OFFSET, value);
  }

  /** True for 802.1Q, 802.1ad and the old 0x9100 tag types. */
  get isTagged(): boolean {
    return isVlanType(this.type);
  }
  /** True if the type field is an 802.3 length (LLC), which no tenant may send. */
  get isLlc(): boolean {
    return this.type < 0x0600;
  }

  get destinationText(): string {
    return formatMac(this.bytes, this.offset);
  }
  get sourceText(): string {
    return formatMac(this.bytes, this.offset + 6);
  }

  setDestination(mac: Uint8Array, macOffset = 0): void {
    for (let i = 0; i < 6; i++) this.bytes[this.offset + i] = mac[macOffset + i]!;
  }
  setSource(mac: Uint8Array, macOffset = 0): void {
    for (let i = 0; i < 6; i++) this.bytes[this.offset + 6 + i] = mac[macOffset + i]!;
  }
}

/** View of what follows a tag type: TCI (2), next type (2). `offset` is `EthernetHeader.payloadOffset`, or that of the tag before. */
export class VlanTag {
  readonly bytes: Uint8Array;
  readonly offset: number;

  private constructor(bytes: Uint8Array, offset: number) {
    this.bytes = bytes;
    this.offset = offset;
  }

  /** @returns The view, or `TRUNCATED_VLAN_TAG` (fewer than 4 bytes). */
  static read(bytes: Uint8Array, offset: number, end: number = bytes.length): VlanTag | ParseFailure {
    checkWindow(bytes, offset, end);
    return end - offset < VLAN_TAG_BYTES ? 'TRUNCATED_VLAN_TAG' : new VlanTag(bytes, offset);
  }

  /** VLAN id, 12 bits. */
  get vlanId(): number {
    return getU16(this.bytes, this.offset) & 0x0fff;
  }
  set vlanId(value: number) {
    checkField('VLAN id', value, 0x0fff);
    setU16(this.bytes, this.offset, (getU16(this.bytes, this.offset) & 0xf000) | value);
  }
  /** Priority code point, 3 bits. */
  get priority(): number {
    return this.bytes[this.offset]! >> 5;
  }
  /** Type of what the tag wraps. */
  get type(): number {
    return getU16(this.bytes, this.offset + 2);
  }
  get payloadOffset(): number {
    return this.offset + VLAN_TAG_BYTES;
  }
}

/** True for the EtherTypes that announce a VLAN tag. */
export function isVlanType(type: number): boolean {
  return type === ETHER_TYPE.vlan || type === ETHER_TYPE.serviceVlan || type === ETHER_TYPE.oldServiceVlan;
}
