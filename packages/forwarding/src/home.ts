import { isMulticastMac } from '@weft/packet';
import { isLinkLocal6, isNotUnicast4, isNotUnicast6 } from './address.ts';
import type { InnerPacket } from './inner-packet.ts';
import { type ForwardingTables, RouteKind, type Target, TargetKind } from './tables.ts';

/**
 * Where an address lives: its own record, else that of the router VM or gateway that its customer route leads to
 * (docs/datapath-contract.md section 2). Used for every source address, on both sides of a tunnel.
 * @returns The target, or undefined if there is none or it denies.
 */
export function home(tables: ForwardingTables, networkId: number, address: Uint8Array): Target | undefined {
  let record = tables.lookup(networkId, address);
  if (record === undefined) {
    const route = tables.route(networkId, address);
    if (route?.kind === RouteKind.NEXT_HOP) record = tables.lookup(networkId, route.nextHop);
  }
  return record?.kind === TargetKind.DENY ? undefined : record;
}

/** True if the record is a port of this host at `ifindex`. */
export function livesAt(target: Target | undefined, ifindex: number): boolean {
  return target?.kind === TargetKind.LOCAL && target.ifindexOrShard === ifindex;
}

/** True if Ethernet or IP destination is a group, or one of the addresses that never cross a network. */
export function isNotUnicast(frame: Uint8Array, frameOffset: number, packet: InnerPacket): boolean {
  if (isMulticastMac(frame, frameOffset)) return true;
  return packet.isIpv6 ? isNotUnicast6(packet.destination) : isNotUnicast4(packet.destination);
}

/** True if source or destination is in fe80::/10. IPv4's 169.254/16 is not meant: it is an address like others to the contract. */
export function usesLinkLocal(packet: InnerPacket): boolean {
  return packet.isIpv6 && (isLinkLocal6(packet.source) || isLinkLocal6(packet.destination));
}
