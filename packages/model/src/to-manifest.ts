import { API_VERSION } from './manifest.ts';
import type { Port, Tenant, VirtualNetwork, VirtualSubnet } from './records.ts';
import { networkSpecView, portSpecView, subnetSpecView } from './specs.ts';

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
