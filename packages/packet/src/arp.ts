import { checkField, checkWindow, getU16, setU16 } from './bytes.ts';
import { type IpAddress, mapIpv4 } from './ip.ts';
import { ETHER_TYPE } from './protocols.ts';
import type { ParseFailure } from './reasons.ts';

const OPERATION_OFFSET = 6;
const SENDER_MAC_OFFSET = 8;
const SENDER_IP_OFFSET = 14;
const TARGET_MAC_OFFSET = 18;
const TARGET_IP_OFFSET = 24;

export const ARP_BYTES = 28;
export const ARP_OPERATION = { request: 1, reply: 2 } as const;

/**
 * View of an ARP packet for IPv4 over Ethernet, 28 bytes: hardware type (2), protocol type (2), lengths (1, 1), operation (2),
 * sender MAC (6), sender IP (4), target MAC (6), target IP (4).
 * @see RFC 826
 */
export class ArpPacket {
  readonly bytes: Uint8Array;
  readonly offset: number;

  private constructor(bytes: Uint8Array, offset: number) {
    this.bytes = bytes;
    this.offset = offset;
  }

  /** @returns The view, or `TRUNCATED_ARP`, or `ARP_NOT_ETHERNET_IPV4` (another hardware or protocol type or length). */
  static read(bytes: Uint8Array, offset = 0, end: number = bytes.length): ArpPacket | ParseFailure {
    checkWindow(bytes, offset, end);
    if (end - offset < ARP_BYTES) return 'TRUNCATED_ARP';
    const isEthernetIpv4 =
      getU16(bytes, offset) === 1 && getU16(bytes, offset + 2) === ETHER_TYPE.ipv4 && bytes[offset + 4] === 6 && bytes[offset + 5] === 4;
    return isEthernetIpv4 ? new ArpPacket(bytes, offset) : 'ARP_NOT_ETHERNET_IPV4';
  }

  get operation(): number {
    return getU16(this.bytes, this.offset + OPERATION_OFFSET);
  }
  set operation(value: number) {
    checkField('ARP operation', value, 0xffff);
    setU16(this.bytes, this.offset + OPERATION_OFFSET, value);
  }
  get senderMacOffset(): number {
    return this.offset + SENDER_MAC_OFFSET;
  }
  get targetMacOffset(): number {
    return this.offset + TARGET_MAC_OFFSET;
  }
  /** First of the 4 bytes in the packet. */
  get senderIpOffset(): number {
    return this.offset + SENDER_IP_OFFSET;
  }
  get targetIpOffset(): number {
    return this.offset + TARGET_IP_OFFSET;
  }

  /** A 16-byte mapped copy, in `target` if given. */
  copySenderIp(target?: Uint8Array): IpAddress {
    return mapIpv4(this.bytes, this.senderIpOffset, target);
  }
  copyTargetIp(target?: Uint8Array): IpAddress {
    return mapIpv4(this.bytes, this.targetIpOffset, target);
  }
}
