import {
  API_VERSION,
  type Manifest,
  networkManifest,
  type Port,
  type PortBinding,
  portManifest,
  subnetManifest,
  type Tenant,
  tenantManifest,
  type VirtualNetwork,
  type VirtualSubnet,
} from '@weft/model';
import { type Listed, portName } from './catalog.ts';

// How a record is shown to programs: the manifest that would make it (so that `weft get … -o yaml | weft apply -f -` changes nothing), and
// beside it, for JSON only, `status`: what Weft gave it and who wrote it last.

/** A record as a document. */
export interface ResourceDocument extends Omit<Manifest, 'metadata'> {
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly status?: Readonly<Record<string, unknown>>;
}

function written({ revision, timeUnixMs, authorName }: Listed<unknown>): Record<string, unknown> {
  return { revision, changedAt: new Date(timeUnixMs).toISOString(), changedBy: authorName };
}

export function tenantDocument(listed: Listed<Tenant>): ResourceDocument {
  return { ...tenantManifest(listed.value), status: { id: listed.value.id, ...written(listed) } };
}

export function networkDocument(listed: Listed<VirtualNetwork>): ResourceDocument {
  const { networkId, subnets } = listed.value;
  return {
    ...networkManifest(listed.value),
    status: { networkId, subnets: subnets.map((subnet) => subnet.name), ...written(listed) },
  };
}

export function subnetDocument(network: Listed<VirtualNetwork>, subnet: VirtualSubnet): ResourceDocument {
  const role = subnet.role === 'gateway' ? { role: 'gateway' } : {};
  return { ...subnetManifest(network.value, subnet), status: { routingDomainId: network.value.id, ...role, ...written(network) } };
}

export function portDocument(listed: Listed<Port>, binding: Listed<PortBinding> | undefined): ResourceDocument {
  const { id, routingDomainId, vsid } = listed.value;
  return {
    ...portManifest(listed.value),
    status: { id, routingDomainId, vsid, binding: binding === undefined ? null : bindingFacts(binding.value), ...written(listed) },
  };
}

/** Facts of a binding, as they stand in JSON. */
export function bindingFacts(binding: PortBinding): Record<string, unknown> {
  const { hostId, providerAddress, device, deviceKind, state, generation, previousHostId } = binding;
  return {
    host: hostId,
    providerAddress,
    device,
    deviceKind,
    state,
    generation,
    previousHost: previousHostId === '' ? null : previousHostId,
  };
}

export function bindingDocument(listed: Listed<PortBinding>, port: Port | undefined): ResourceDocument {
  const { portId, routingDomainId, vsid } = listed.value;
  return {
    apiVersion: API_VERSION,
    kind: 'PortBinding',
    metadata: { port: port === undefined ? null : portName(port), portId, routingDomainId },
    status: { vsid, ...bindingFacts(listed.value), ...written(listed) },
  };
}

/** A manifest with what Weft gave the resource, and who wrote its document last. */
export function documentOf(manifest: Manifest, listed: Listed<unknown>, status: Readonly<Record<string, unknown>>): ResourceDocument {
  return { ...manifest, status: { ...status, ...written(listed) } };
}

/** A document that can be applied: without `status`, and only for kinds that have manifests. */
export function manifestOf(document: ResourceDocument): ResourceDocument {
  const { status: _, ...manifest } = document;
  return manifest;
}
