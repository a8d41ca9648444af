import { ARP_BYTES, ARP_OPERATION } from './arp.ts';
import { checkField, setU16 } from './bytes.ts';
import { IP_BYTES, isIpv4Mapped, MAPPED_IPV4_OFFSET, parseIp } from './ip.ts';
import { broadcastMac, MAC_BYTES, parseMac } from './mac.ts';
import { ETHER_TYPE } from './protocols.ts';

// Builders make one layer and what it carries: `buildUdp` a datagram, `buildIpv4` a packet, `buildEthernet` a frame; so they nest.
// Those named `…Frame` make all layers at once. Every result is a fresh, zeroed buffer with lengths and checksums filled in, and
// the payload is copied: no byte of a former packet can leak into a reply.

/** A MAC address as 6 bytes, or as text for `parseMac`. */
export type MacLike = Uint8Array | string;
/** An address in the 16-byte form, or as text for `parseIp`. */
export type IpLike = Uint8Array | string;

/** Shared, never written to. */
export const NO_BYTES: Uint8Array = new Uint8Array(0);

export function toMac(mac: MacLike): Uint8Array {
  const bytes = typeof mac === 'string' ? parseMac(mac) : mac;
  if (bytes.length !== MAC_BYTES) throw new RangeError(`Cannot encode a MAC address of ${bytes.length} bytes: must be 6`);
  return bytes;
}

export function toIp(ip: IpLike): Uint8Array {
  const bytes = typeof ip === 'string' ? parseIp(ip) : ip;
  if (bytes.length !== IP_BYTES) throw new RangeError(`Cannot encode an IP address of ${bytes.length} bytes: must be 16 (IPv4 mapped)`);
  return bytes;
}

/** @throws {RangeError} If the address is not an IPv4 one. */
export function toIpv4(ip: IpLike): Uint8Array {
  const bytes = toIp(ip);
  if (!isIpv4Mapped(bytes)) throw new RangeError('Cannot encode an IPv6 address in an IPv4 field: must be IPv4 (::ffff:a.b.c.d)');
  return bytes;
}

export interface EthernetFields {
  readonly destination: MacLike;
  readonly source: MacLike;
  /** EtherType of the payload. */
  readonly type: number;
  /** Adds one 802.1Q tag. */
  readonly vlanId?: number;
}

/** A frame without FCS and without padding to 60 bytes. */
export function buildEthernet(fields: EthernetFields, payload: Uint8Array = NO_BYTES): Uint8Array {
  const { type, vlanId } = fields;
  checkField('EtherType', type, 0xffff);
  const headerBytes = vlanId === undefined ? 14 : 18;
  const frame = new Uint8Array(headerBytes + payload.length);
  frame.set(toMac(fields.destination), 0);
  frame.set(toMac(fields.source), 6);
  if (vlanId !== undefined) {
    checkField('VLAN id', vlanId, 0x0fff);
    setU16(frame, 12, ETHER_TYPE.vlan);
    setU16(frame, 14, vlanId);
  }
  setU16(frame, headerBytes - 2, type);
  frame.set(payload, headerBytes);
  return frame;
}

export interface ArpFields {
  /** `ARP_OPERATION.request` or `.reply`. */
  readonly operation: number;
  readonly senderMac: MacLike;
  readonly senderIp: IpLike;
  /** Default: zero, as in a request. */
  readonly targetMac?: MacLike;
  readonly targetIp: IpLike;
}

/** An ARP packet, 28 bytes (RFC 826). */
export function buildArp(fields: ArpFields): Uint8Array {
  checkField('ARP operation', fields.operation, 0xffff);
  const arp = new Uint8Array(ARP_BYTES);
  setU16(arp, 0, 1);
  setU16(arp, 2, ETHER_TYPE.ipv4);
  arp[4] = 6;
  arp[5] = 4;
  setU16(arp, 6, fields.operation);
  arp.set(toMac(fields.senderMac), 8);
  arp.set(toIpv4(fields.senderIp).subarray(MAPPED_IPV4_OFFSET), 14);
  if (fields.targetMac !== undefined) arp.set(toMac(fields.targetMac), 18);
  arp.set(toIpv4(fields.targetIp).subarray(MAPPED_IPV4_OFFSET), 24);
  return arp;
}

/** The frame of an ARP packet, from `senderMac`: requests are broadcast, replies go to `targetMac`, unless `destination` says else. */
export function buildArpFrame(fields: ArpFields & { readonly destination?: MacLike }): Uint8Array {
  const destination =
    fields.destination ?? (fields.operation === ARP_OPERATION.reply ? (fields.targetMac ?? broadcastMac()) : broadcastMac());
  return buildEthernet({ destination, source: fields.senderMac, type: ETHER_TYPE.arp }, buildArp(fields));
}
