import { stringify } from 'yaml';
import { API_VERSION } from './manifest.ts';
import type { Port, Tenant, VirtualNetwork } from './records.ts';
import { networkSpecView, portSpecView, subnetSpecView } from './specs.ts';

/** A record as the manifest that makes it. */
export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly spec?: object;
}

/** The manifests of a record, complete: applied again they change nothing. A network gives one for itself and one for each subnet. */
export function toManifests(
  record:
    | { readonly kind: 'tenant'; readonly value: Tenant }
    | { readonly kind: 'network'; readonly value: VirtualNetwork }
    | { readonly kind: 'port'; readonly value: Port },
): Manifest[] {
  const apiVersion = API_VERSION;
  switch (record.kind) {
    case 'tenant':
      return [{ apiVersion, kind: 'Tenant', metadata: { name: record.value.name } }];
    case 'network': {
      const { tenant, name, subnets } = record.value;
      return [
        { apiVersion, kind: 'VirtualNetwork', metadata: { tenant, name }, spec: networkSpecView(record.value) },
        ...subnets.map((subnet) => ({
          apiVersion,
          kind: 'VirtualSubnet',
          metadata: { tenant, network: name, name: subnet.name },
          spec: subnetSpecView(subnet),
        })),
      ];
    }
    case 'port': {
      const { tenant, network, name } = record.value;
      return [{ apiVersion, kind: 'Port', metadata: { tenant, network, name }, spec: portSpecView(record.value) }];
    }
  }
}

/** Manifests as YAML documents. */
export function formatManifests(manifests: readonly Manifest[]): string {
  return manifests.map((manifest) => stringify(manifest, { version: '1.2', lineWidth: 0, aliasDuplicateObjects: false })).join('---\n');
}
