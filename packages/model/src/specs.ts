import type { CustomerRoute, Placement, Port, VirtualNetwork, VirtualSubnet } from './records.ts';

// What a manifest's `spec` says of a record, complete: for diffs and for manifests made from records.

export interface RouteSpecView {
  readonly prefix: string;
  readonly nextHop?: string;
  readonly blackhole?: true;
  readonly gateway?: true;
}
export interface NetworkSpecView {
  readonly routingDomainId: string;
  readonly routes: readonly RouteSpecView[];
}
/** Routes of CustomerRoutes are left out: they have manifests of their own. */
export function networkSpecView(network: Pick<VirtualNetwork, 'id' | 'routes'>): NetworkSpecView {
  return { routingDomainId: network.id, routes: network.routes.filter((route) => route.name === undefined).map(routeSpecView) };
}
export function routeSpecView(route: CustomerRoute): RouteSpecView {
  switch (route.kind) {
    case 'blackhole':
      return { prefix: route.prefix, blackhole: true };
    case 'gateway':
      return { prefix: route.prefix, gateway: true };
    default:
      return { prefix: route.prefix, nextHop: route.nextHop };
  }
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
