import { buildIcmpv6 } from './build-icmp.ts';
import { buildIpv6 } from './build-ip.ts';
import { buildEthernet, type IpLike, type MacLike, toIp, toMac } from './build-link.ts';
import { solicitedNodeAddress } from './ip.ts';
import { ND_OPTION } from './neighbor-discovery.ts';
import { ETHER_TYPE, ICMPV6_TYPE, IP_PROTOCOL } from './protocols.ts';

// Receivers drop ND with another hop limit: 255 proves that no router passed it on (RFC 4861 section 7.1).
const ND_HOP_LIMIT = 255;

export interface NeighborSolicitationFields {
  /** `::` for duplicate address detection. */
  readonly source: IpLike;
  /** Default: the solicited-node address of `target`. */
  readonly destination?: IpLike;
  readonly target: IpLike;
  /** Sent as option; leave out for duplicate address detection. */
  readonly sourceLinkLayerAddress?: MacLike;
}

/** A neighbour solicitation, as ICMPv6 message. */
export function buildNeighborSolicitation(fields: NeighborSolicitationFields): Uint8Array {
  const { source, sourceLinkLayerAddress } = fields;
  const target = toIp(fields.target);
  const destination = fields.destination ?? solicitedNodeAddress(target);
  const body = targetAndOption(target, ND_OPTION.sourceLinkLayerAddress, sourceLinkLayerAddress);
  return buildIcmpv6({ type: ICMPV6_TYPE.neighborSolicitation, code: 0, source, destination }, body);
}

/** The frame of a neighbour solicitation; `destinationMac` defaults to the multicast MAC of the destination (RFC 2464 section 7). */
export function buildNeighborSolicitationFrame(
  fields: NeighborSolicitationFields & { readonly sourceMac: MacLike; readonly destinationMac?: MacLike },
): Uint8Array {
  const destination = toIp(fields.destination ?? solicitedNodeAddress(toIp(fields.target)));
  const destinationMac = fields.destinationMac ?? multicastMacOf(destination);
  return frameOf(fields.sourceMac, destinationMac, fields.source, destination, buildNeighborSolicitation(fields));
}

export interface NeighborAdvertisementFields {
  readonly source: IpLike;
  readonly destination: IpLike;
  readonly target: IpLike;
  /** Sent as option. */
  readonly targetLinkLayerAddress?: MacLike;
  readonly isRouter?: boolean;
  readonly isSolicited?: boolean;
  readonly isOverride?: boolean;
}

/** A neighbour advertisement, as ICMPv6 message. */
export function buildNeighborAdvertisement(fields: NeighborAdvertisementFields): Uint8Array {
  const { source, destination, targetLinkLayerAddress } = fields;
  const flags = (fields.isRouter ? 0x80 : 0) | (fields.isSolicited ? 0x40 : 0) | (fields.isOverride ? 0x20 : 0);
  const body = targetAndOption(toIp(fields.target), ND_OPTION.targetLinkLayerAddress, targetLinkLayerAddress);
  return buildIcmpv6({ type: ICMPV6_TYPE.neighborAdvertisement, code: 0, rest: flags * 0x1000000, source, destination }, body);
}

/** The frame of a neighbour advertisement. */
export function buildNeighborAdvertisementFrame(
  fields: NeighborAdvertisementFields & { readonly sourceMac: MacLike; readonly destinationMac: MacLike },
): Uint8Array {
  return frameOf(fields.sourceMac, fields.destinationMac, fields.source, fields.destination, buildNeighborAdvertisement(fields));
}

/** The MAC address that an IPv6 multicast address is sent to: 33:33 and its last four bytes (RFC 2464 section 7). */
export function multicastMacOf(address: Uint8Array): Uint8Array {
  const mac = new Uint8Array(6).fill(0x33, 0, 2);
  mac.set(address.subarray(12, 16), 2);
  return mac;
}

function targetAndOption(target: Uint8Array, optionType: number, mac: MacLike | undefined): Uint8Array {
  const body = new Uint8Array(mac === undefined ? 16 : 24);
  body.set(target, 0);
  if (mac !== undefined) {
    body[16] = optionType;
    body[17] = 1;
    body.set(toMac(mac), 18);
  }
  return body;
}

function frameOf(sourceMac: MacLike, destinationMac: MacLike, source: IpLike, destination: IpLike, message: Uint8Array): Uint8Array {
  const packet = buildIpv6({ source, destination, nextHeader: IP_PROTOCOL.icmpv6, hopLimit: ND_HOP_LIMIT }, message);
  return buildEthernet({ source: sourceMac, destination: destinationMac, type: ETHER_TYPE.ipv6 }, packet);
}
