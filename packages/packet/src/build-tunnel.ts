import { buildIp, isSameFamilyIpv4 } from './build-ip.ts';
import { buildEthernet, type IpLike, type MacLike } from './build-link.ts';
import { buildUdp } from './build-transport.ts';
import { flowHashOfFrame, tunnelSourcePort } from './flow-hash.ts';
import { NVGRE_HEADER_BYTES, NvgreHeader } from './nvgre.ts';
import { ETHER_TYPE, IP_PROTOCOL, VXLAN_PORT } from './protocols.ts';
import { VXLAN_HEADER_BYTES, VxlanHeader } from './vxlan.ts';

/** A VXLAN header and the inner frame: a UDP payload. */
export function buildVxlan(vni: number, innerFrame: Uint8Array): Uint8Array {
  const payload = new Uint8Array(VXLAN_HEADER_BYTES + innerFrame.length);
  VxlanHeader.write(payload, 0, vni);
  payload.set(innerFrame, VXLAN_HEADER_BYTES);
  return payload;
}

/** An NVGRE header and the inner frame: an IP payload of protocol 47. */
export function buildNvgre(vsid: number, flowId: number, innerFrame: Uint8Array): Uint8Array {
  const payload = new Uint8Array(NVGRE_HEADER_BYTES + innerFrame.length);
  NvgreHeader.write(payload, 0, vsid, flowId);
  payload.set(innerFrame, NVGRE_HEADER_BYTES);
  return payload;
}

/** The outer Ethernet and IP header of a tunnel frame. */
export interface OuterFields {
  readonly sourceMac: MacLike;
  readonly destinationMac: MacLike;
  /** Provider addresses, of one family. */
  readonly source: IpLike;
  readonly destination: IpLike;
  /** Default 64. */
  readonly ttl?: number;
}

export interface VxlanOuterFields extends OuterFields {
  readonly vni: number;
  /** Default: `tunnelSourcePort(flowHashOfFrame(innerFrame))`. */
  readonly sourcePort?: number;
  /** Default 4789. */
  readonly destinationPort?: number;
  /** Default false: "SHOULD be transmitted as zero" (RFC 7348 section 5), over IPv6 too (RFC 6935). */
  readonly udpChecksum?: boolean;
}

/** A whole VXLAN frame. 50 bytes longer than the inner one over IPv4, 70 over IPv6. */
export function buildVxlanFrame(outer: VxlanOuterFields, innerFrame: Uint8Array): Uint8Array {
  const { source, destination, destinationPort = VXLAN_PORT, udpChecksum = false } = outer;
  const sourcePort = outer.sourcePort ?? tunnelSourcePort(flowHashOfFrame(innerFrame));
  const udp = buildUdp({ source, destination, sourcePort, destinationPort, checksum: udpChecksum }, buildVxlan(outer.vni, innerFrame));
  return outerFrame(outer, IP_PROTOCOL.udp, udp);
}

export interface NvgreOuterFields extends OuterFields {
  readonly vsid: number;
  /** Default: the low 8 bits of `flowHashOfFrame(innerFrame)`. */
  readonly flowId?: number;
}

/** A whole NVGRE frame. 42 bytes longer than the inner one over IPv4, 62 over IPv6. */
export function buildNvgreFrame(outer: NvgreOuterFields, innerFrame: Uint8Array): Uint8Array {
  const flowId = outer.flowId ?? flowHashOfFrame(innerFrame) & 0xff;
  return outerFrame(outer, IP_PROTOCOL.gre, buildNvgre(outer.vsid, flowId, innerFrame));
}

function outerFrame(outer: OuterFields, protocol: number, payload: Uint8Array): Uint8Array {
  const { source, destination } = outer;
  const packet = buildIp(
    outer.ttl === undefined ? { source, destination, protocol } : { source, destination, protocol, ttl: outer.ttl },
    payload,
  );
  const type = isSameFamilyIpv4(source, destination) ? ETHER_TYPE.ipv4 : ETHER_TYPE.ipv6;
  return buildEthernet({ source: outer.sourceMac, destination: outer.destinationMac, type }, packet);
}
