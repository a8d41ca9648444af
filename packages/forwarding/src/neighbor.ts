import { ipEquals } from '@weft/packet';
import { gatewayAddress } from './gateway.ts';
import { gatewayMac } from './gateway-mac.ts';
import { livesAt } from './home.ts';
import type { PortFrame } from './port-frame.ts';
import { TargetKind } from './tables.ts';

// What ARP and neighbour discovery share: who may ask, and whose MAC address is the answer.

/** Who has an address in the asking port's subnet. */
export interface Neighbor {
  readonly mac: Uint8Array;
  readonly isGateway: boolean;
}

/** True if `address` has a record of its own at the asking port, in its subnet; addresses behind a router VM do not ask. */
export function isOwnAddress(from: PortFrame, address: Uint8Array): boolean {
  const record = from.tables.lookup(from.port.networkId, address);
  return livesAt(record, from.ifindex) && record?.vsid === from.port.vsid;
}

/** The gateway or port that has `target`; undefined (silence) if none of this subnet has, or the asking port itself. */
export function findNeighbor(from: PortFrame, target: Uint8Array, isIpv6: boolean): Neighbor | undefined {
  const { port, tables, ifindex } = from;
  const gateway = gatewayAddress(tables, port.vsid, isIpv6);
  if (gateway !== undefined && ipEquals(gateway, target)) return { mac: gatewayMac(port.vsid), isGateway: true };
  const record = tables.lookup(port.networkId, target);
  if (record === undefined || record.kind === TargetKind.DENY || record.vsid !== port.vsid || livesAt(record, ifindex)) return undefined;
  return { mac: record.mac, isGateway: false };
}
