import { checkField, checkWindow, getU16, setU16 } from './bytes.ts';
import { IP_BYTES, type IpAddress } from './ip.ts';
import { ICMPV6_TYPE } from './protocols.ts';
import type { ParseFailure } from './reasons.ts';

const FLAGS_OFFSET = 4;
const TARGET_OFFSET = 8;
const OPTIONS_OFFSET = 24;
const FLAG_ROUTER = 0x80;
const FLAG_SOLICITED = 0x40;
const FLAG_OVERRIDE = 0x20;

/** Bytes of a neighbour solicitation or advertisement without options, ICMPv6 header included. */
export const NEIGHBOR_DISCOVERY_BYTES = 24;
export const ND_OPTION = { sourceLinkLayerAddress: 1, targetLinkLayerAddress: 2, nonce: 14 } as const;

/**
 * What NS and NA share: ICMPv6 header (4), flags or reserved (4), target (16), options (type, length in units of 8, value).
 * `read` has walked the options once, so that later walks need no checks.
 */
abstract class NeighborMessage {
  readonly bytes: Uint8Array;
  readonly offset: number;
  /** First byte after the message. */
  readonly end: number;

  protected constructor(bytes: Uint8Array, offset: number, end: number) {
    this.bytes = bytes;
    this.offset = offset;
    this.end = end;
  }

  /** First of the 16 target bytes. */
  get targetOffset(): number {
    return this.offset + TARGET_OFFSET;
  }
  copyTarget(target: Uint8Array = new Uint8Array(IP_BYTES)): IpAddress {
    for (let i = 0; i < IP_BYTES; i++) target[i] = this.bytes[this.targetOffset + i]!;
    return target;
  }
  get checksum(): number {
    return getU16(this.bytes, this.offset + 2);
  }
  set checksum(value: number) {
    checkField('ICMP checksum', value, 0xffff);
    setU16(this.bytes, this.offset + 2, value);
  }

  /** Where the first option of `type` starts (its type byte), or -1. */
  optionOffset(type: number): number {
    for (let i = this.offset + OPTIONS_OFFSET; i < this.end; i += this.bytes[i + 1]! * 8) if (this.bytes[i] === type) return i;
    return -1;
  }
  /** How many options of `type` there are. More than one link-layer address is a way past a filter that reads only the first. */
  optionCount(type: number): number {
    let count = 0;
    for (let i = this.offset + OPTIONS_OFFSET; i < this.end; i += this.bytes[i + 1]! * 8) if (this.bytes[i] === type) count++;
    return count;
  }
  /** Where the 6 bytes of a link-layer address option are, or -1 if it is absent or not 8 bytes long. */
  protected linkLayerAddressOffset(type: number): number {
    const option = this.optionOffset(type);
    return option >= 0 && this.bytes[option + 1] === 1 ? option + 2 : -1;
  }
}

/** View of a neighbour solicitation (RFC 4861 section 4.3). */
export class NeighborSolicitation extends NeighborMessage {
  /**
   * Checks what the message alone shows of RFC 4861 section 7.1.1. Hop limit 255 and checksum are the caller's: they need the IP header.
   * @param offset First byte of the ICMPv6 message.
   * @param end First byte after the IP payload.
   * @returns The view, or `TRUNCATED_NEIGHBOR_DISCOVERY`, `NEIGHBOR_DISCOVERY_TYPE_INVALID`, `NEIGHBOR_DISCOVERY_CODE_INVALID`,
   *   `NEIGHBOR_DISCOVERY_TARGET_MULTICAST`, `NEIGHBOR_DISCOVERY_OPTION_LENGTH_ZERO`, `TRUNCATED_NEIGHBOR_DISCOVERY_OPTION`.
   */
  static read(bytes: Uint8Array, offset = 0, end: number = bytes.length): NeighborSolicitation | ParseFailure {
    return faultOf(bytes, offset, end, ICMPV6_TYPE.neighborSolicitation) ?? new NeighborSolicitation(bytes, offset, end);
  }

  /** Where the sender's MAC address is, or -1. Duplicate address detection sends none. */
  get sourceLinkLayerAddressOffset(): number {
    return this.linkLayerAddressOffset(ND_OPTION.sourceLinkLayerAddress);
  }
}

/** View of a neighbour advertisement (RFC 4861 section 4.4). */
export class NeighborAdvertisement extends NeighborMessage {
  /** As `NeighborSolicitation.read` (RFC 4861 section 7.1.2), with the same reasons. */
  static read(bytes: Uint8Array, offset = 0, end: number = bytes.length): NeighborAdvertisement | ParseFailure {
    return faultOf(bytes, offset, end, ICMPV6_TYPE.neighborAdvertisement) ?? new NeighborAdvertisement(bytes, offset, end);
  }

  get isRouter(): boolean {
    return (this.bytes[this.offset + FLAGS_OFFSET]! & FLAG_ROUTER) !== 0;
  }
  get isSolicited(): boolean {
    return (this.bytes[this.offset + FLAGS_OFFSET]! & FLAG_SOLICITED) !== 0;
  }
  get isOverride(): boolean {
    return (this.bytes[this.offset + FLAGS_OFFSET]! & FLAG_OVERRIDE) !== 0;
  }
  /** Where the target's MAC address is, or -1. */
  get targetLinkLayerAddressOffset(): number {
    return this.linkLayerAddressOffset(ND_OPTION.targetLinkLayerAddress);
  }
}

function faultOf(bytes: Uint8Array, offset: number, end: number, type: number): ParseFailure | undefined {
  checkWindow(bytes, offset, end);
  if (end - offset < NEIGHBOR_DISCOVERY_BYTES) return 'TRUNCATED_NEIGHBOR_DISCOVERY';
  if (bytes[offset] !== type) return 'NEIGHBOR_DISCOVERY_TYPE_INVALID';
  if (bytes[offset + 1] !== 0) return 'NEIGHBOR_DISCOVERY_CODE_INVALID';
  if (bytes[offset + TARGET_OFFSET] === 0xff) return 'NEIGHBOR_DISCOVERY_TARGET_MULTICAST';
  for (let i = offset + OPTIONS_OFFSET; i < end; ) {
    if (end - i < 2) return 'TRUNCATED_NEIGHBOR_DISCOVERY_OPTION';
    const length = bytes[i + 1]! * 8;
    if (length === 0) return 'NEIGHBOR_DISCOVERY_OPTION_LENGTH_ZERO';
    if (length > end - i) return 'TRUNCATED_NEIGHBOR_DISCOVERY_OPTION';
    i += length;
  }
  return undefined;
}
