import type { ExternalAddress, Gateway, GatewayConnection, NatRule } from './gateway-records.ts';
import { API_VERSION } from './manifest.ts';
import type { CustomerRoute, Port, Tenant, VirtualNetwork, VirtualSubnet } from './records.ts';
import { networkSpecView, portSpecView, routeSpecView, subnetSpecView } from './specs.ts';
import { connectionSpecView, externalAddressSpecView, gatewaySpecView, natRuleSpecView } from './specs-gateway.ts';

// Records as the manifests that make them, complete: applied again they change nothing. A placement that denies every host can't be
// written as a manifest; it becomes an empty list, which apply refuses, rather than be left out, which would mean any host.

/** A record as the manifest that makes it. */
export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly spec?: object;
}

export function tenantManifest({ name }: Pick<Tenant, 'name'>): Manifest {
  return { apiVersion: API_VERSION, kind: 'Tenant', metadata: { name } };
}

/** The network without its subnets, which have manifests of their own. */
export function networkManifest(network: VirtualNetwork): Manifest {
  const { tenant, name } = network;
  return { apiVersion: API_VERSION, kind: 'VirtualNetwork', metadata: { tenant, name }, spec: networkSpecView(network) };
}

export function subnetManifest(network: Pick<VirtualNetwork, 'tenant' | 'name'>, subnet: VirtualSubnet): Manifest {
  const metadata = { tenant: network.tenant, network: network.name, name: subnet.name };
  return { apiVersion: API_VERSION, kind: 'VirtualSubnet', metadata, spec: subnetSpecView(subnet) };
}

export function portManifest(port: Port): Manifest {
  const { tenant, network, name } = port;
  return { apiVersion: API_VERSION, kind: 'Port', metadata: { tenant, network, name }, spec: portSpecView(port) };
}

export function gatewayManifest(gateway: Gateway): Manifest {
  return { apiVersion: API_VERSION, kind: 'Gateway', metadata: { name: gateway.name }, spec: gatewaySpecView(gateway) };
}

export function connectionManifest(network: VirtualNetwork, connection: GatewayConnection): Manifest {
  return itemManifest('GatewayConnection', network, connection.name, connectionSpecView(network, connection));
}

export function externalAddressManifest(network: VirtualNetwork, address: ExternalAddress): Manifest {
  return itemManifest('ExternalAddress', network, address.name, externalAddressSpecView(address));
}

export function natRuleManifest(network: VirtualNetwork, rule: NatRule): Manifest {
  return itemManifest('NatRule', network, rule.name, natRuleSpecView(rule));
}

/** Of a route that a CustomerRoute made. */
export function routeManifest(network: VirtualNetwork, route: CustomerRoute): Manifest {
  return itemManifest('CustomerRoute', network, route.name ?? '', routeSpecView(route));
}

function itemManifest(kind: string, network: Pick<VirtualNetwork, 'tenant' | 'name'>, name: string, spec: object): Manifest {
  return { apiVersion: API_VERSION, kind, metadata: { tenant: network.tenant, network: network.name, name }, spec };
}
