import { buildIcmpEcho } from './build-icmp.ts';
import { buildIp, isSameFamilyIpv4 } from './build-ip.ts';
import { buildEthernet, type IpLike, type MacLike, NO_BYTES } from './build-link.ts';
import { buildTcp, buildUdp, type TcpFields, type UdpFields } from './build-transport.ts';
import { ETHER_TYPE, IP_PROTOCOL } from './protocols.ts';

/** The Ethernet and IP header of a frame. */
export interface FrameFields {
  readonly sourceMac: MacLike;
  readonly destinationMac: MacLike;
  /** Addresses of one family, which decides between IPv4 and IPv6. */
  readonly source: IpLike;
  readonly destination: IpLike;
  /** TTL or hop limit; default 64. */
  readonly ttl?: number;
  /** Adds one 802.1Q tag. */
  readonly vlanId?: number;
}

/** A frame around an IP payload of any protocol. */
export function buildIpFrame(fields: FrameFields & { readonly protocol: number }, payload: Uint8Array = NO_BYTES): Uint8Array {
  const { source, destination, vlanId } = fields;
  const type = isSameFamilyIpv4(source, destination) ? ETHER_TYPE.ipv4 : ETHER_TYPE.ipv6;
  const link = { source: fields.sourceMac, destination: fields.destinationMac, type };
  return buildEthernet(vlanId === undefined ? link : { ...link, vlanId }, buildIp(fields, payload));
}

export function buildUdpFrame(fields: FrameFields & UdpFields, payload: Uint8Array = NO_BYTES): Uint8Array {
  return buildIpFrame({ ...fields, protocol: IP_PROTOCOL.udp }, buildUdp(fields, payload));
}

export function buildTcpFrame(fields: FrameFields & TcpFields, payload: Uint8Array = NO_BYTES): Uint8Array {
  return buildIpFrame({ ...fields, protocol: IP_PROTOCOL.tcp }, buildTcp(fields, payload));
}

export interface IcmpEchoFrameFields extends FrameFields {
  readonly identifier: number;
  readonly sequence: number;
  /** True for a reply. Default: a request. */
  readonly isReply?: boolean;
}

export function buildIcmpEchoFrame(fields: IcmpEchoFrameFields, data: Uint8Array = NO_BYTES): Uint8Array {
  const protocol = isSameFamilyIpv4(fields.source, fields.destination) ? IP_PROTOCOL.icmp : IP_PROTOCOL.icmpv6;
  return buildIpFrame({ ...fields, protocol }, buildIcmpEcho(fields, data));
}
