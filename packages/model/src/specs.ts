import type { CustomerRoute, Placement, Port, VirtualNetwork, VirtualSubnet } from './records.ts';

// What a manifest's `spec` says of a record, complete: for diffs and for manifests made from records.

export interface NetworkSpecView {
  readonly routingDomainId: string;
  readonly routes: readonly { readonly prefix: string; readonly nextHop?: string; readonly blackhole?: true }[];
}
export function networkSpecView(network: Pick<VirtualNetwork, 'id' | 'routes'>): NetworkSpecView {
  return { routingDomainId: network.id, routes: network.routes.map(routeView) };
}
function routeView(route: CustomerRoute): NetworkSpecView['routes'][number] {
  return route.kind === 'blackhole' ? { prefix: route.prefix, blackhole: true } : { prefix: route.prefix, nextHop: route.nextHop };
}

export interface SubnetSpecView {
  readonly vsid: number;
  readonly prefixes: readonly string[];
  readonly gateways: readonly string[];
}
export function subnetSpecView({ vsid, prefixes, gateways }: VirtualSubnet): SubnetSpecView {
  return { vsid, prefixes, gateways };
}

export interface PortSpecView {
  readonly subnet: string;
  readonly mac: string;
  readonly addresses: readonly string[];
  /** Host ids. Absent: any host. */
  readonly placement?: readonly string[];
}
export function portSpecView(port: Pick<Port, 'subnet' | 'mac' | 'addresses' | 'placement'>): PortSpecView {
  const { subnet, mac, addresses, placement } = port;
  return { subnet, mac, addresses, ...placementView(placement) };
}
function placementView(placement: Placement): { placement?: readonly string[] } {
  return placement.mode === 'any' ? {} : { placement: placement.mode === 'list' ? placement.hosts : [] };
}
