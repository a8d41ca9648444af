import type { CustomerRoute, Placement, Port, PortBinding, Tenant, VirtualNetwork, VirtualSubnet } from '@weft/model';
import { type Listed, portName } from './catalog.ts';

// How a record is shown to programs: the manifest that would make it (so that `weft get … -o yaml | weft apply -f -` changes nothing), and
// beside it, for JSON only, `status`: what Weft gave it and who wrote it last.

/** A record as a document. */
export interface ResourceDocument {
  readonly apiVersion: 'weft/v1';
  readonly kind: string;
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly spec?: Readonly<Record<string, unknown>>;
  readonly status?: Readonly<Record<string, unknown>>;
}

const apiVersion = 'weft/v1';

function written({ revision, timeUnixMs, authorName }: Listed<unknown>): Record<string, unknown> {
  return { revision, changedAt: new Date(timeUnixMs).toISOString(), changedBy: authorName };
}

export function tenantDocument(listed: Listed<Tenant>): ResourceDocument {
  return { apiVersion, kind: 'Tenant', metadata: { name: listed.value.name }, status: { id: listed.value.id, ...written(listed) } };
}

export function networkDocument(listed: Listed<VirtualNetwork>): ResourceDocument {
  const { id, tenant, name, networkId, routes, subnets } = listed.value;
  return {
    apiVersion,
    kind: 'VirtualNetwork',
    metadata: { tenant, name },
    spec: { routingDomainId: id, ...(routes.length === 0 ? {} : { routes: routes.map(routeSpec) }) },
    status: { networkId, subnets: subnets.map((subnet) => subnet.name), ...written(listed) },
  };
}

function routeSpec(route: CustomerRoute): Record<string, unknown> {
  return route.kind === 'blackhole' ? { prefix: route.prefix, blackhole: true } : { prefix: route.prefix, nextHop: route.nextHop };
}

export function subnetDocument(network: Listed<VirtualNetwork>, subnet: VirtualSubnet): ResourceDocument {
  const { tenant, name } = network.value;
  const { vsid, prefixes, gateways } = subnet;
  return {
    apiVersion,
    kind: 'VirtualSubnet',
    metadata: { tenant, network: name, name: subnet.name },
    spec: { vsid, prefixes, gateways },
    status: { routingDomainId: network.value.id, ...written(network) },
  };
}

export function portDocument(listed: Listed<Port>, binding: Listed<PortBinding> | undefined): ResourceDocument {
  const { id, tenant, network, name, subnet, mac, addresses, placement, routingDomainId, vsid } = listed.value;
  return {
    apiVersion,
    kind: 'Port',
    metadata: { tenant, network, name },
    spec: { subnet, mac, addresses, ...placementSpec(placement) },
    status: { id, routingDomainId, vsid, binding: binding === undefined ? null : bindingFacts(binding.value), ...written(listed) },
  };
}

function placementSpec(placement: Placement): { placement?: unknown } {
  return placement.mode === 'list' ? { placement: placement.hosts } : {};
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
    apiVersion,
    kind: 'PortBinding',
    metadata: { port: port === undefined ? null : portName(port), portId, routingDomainId },
    status: { vsid, ...bindingFacts(listed.value), ...written(listed) },
  };
}

/** A document that can be applied: without `status`, and only for kinds that have manifests. */
export function manifestOf(document: ResourceDocument): ResourceDocument {
  const { status: _, ...manifest } = document;
  return manifest;
}
