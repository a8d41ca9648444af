import { createHash } from 'node:crypto';
import type { Port, PortBinding, VirtualNetwork } from '@weft/model';
import { parseIp } from '@weft/packet';
import { type NetworkRecord, NetworkView } from '../src/index.ts';

// A small network for the tests: subnet blue 192.0.2.0/26 + 2001:db8:1::/64 (VSID 5001), subnet green 192.0.2.64/26 (VSID 5002).

export const RDID = '11111111-1111-4111-8111-111111111111';
export const CREATED = 1_700_000_000_000;
export const HOSTS = ['host-a', 'host-b', 'host-c'] as const;
export const PA: Record<string, string> = { 'host-a': '198.51.100.1', 'host-b': '198.51.100.2', 'host-c': '198.51.100.3' };

export const sha256 = (data: Uint8Array): Uint8Array => new Uint8Array(createHash('sha256').update(data).digest());

export function portId(n: number): string {
  return `00000000-0000-4000-8000-${n.toString(16).padStart(12, '0')}`;
}

export function network(overrides: Partial<VirtualNetwork> = {}): VirtualNetwork {
  return {
    id: RDID,
    tenant: 'coke',
    name: 'net',
    networkId: 7,
    subnets: [
      { name: 'blue', vsid: 5001, prefixes: ['192.0.2.0/26', '2001:db8:1::/64'], gateways: ['192.0.2.1', '2001:db8:1::1'] },
      { name: 'green', vsid: 5002, prefixes: ['192.0.2.64/26'], gateways: ['192.0.2.65'] },
    ],
    routes: [],
    ...overrides,
  };
}

export function port(n: number, overrides: Partial<Port> = {}): Port {
  return {
    id: portId(n),
    tenant: 'coke',
    network: 'net',
    routingDomainId: RDID,
    subnet: 'blue',
    vsid: 5001,
    name: `vm${n}`,
    mac: `02:00:00:00:00:${(n + 16).toString(16).padStart(2, '0')}`,
    addresses: [`192.0.2.${n + 10}`],
    placement: { mode: 'any', hosts: [] },
    ...overrides,
  };
}

export function binding(n: number, hostId: string, generation: number, overrides: Partial<PortBinding> = {}): PortBinding {
  return {
    portId: portId(n),
    routingDomainId: RDID,
    vsid: 5001,
    hostId,
    providerAddress: PA[hostId]!,
    generation,
    state: 'bound',
    device: `tap${n}`,
    deviceKind: 'tap',
    previousHostId: '',
    previousProviderAddress: '',
    ...overrides,
  };
}

export function networkRecord(revision: number, value: VirtualNetwork | undefined = network()): NetworkRecord {
  return { kind: 'network', bucket: 'config', key: `network.${RDID}`, revision, bucketCreatedUnixMs: CREATED, value };
}

export function portRecord(revision: number, n: number, value: Port | undefined): NetworkRecord {
  return {
    kind: 'port',
    portId: portId(n),
    bucket: 'config',
    key: `port.${RDID}.${portId(n)}`,
    revision,
    bucketCreatedUnixMs: CREATED,
    value,
  };
}

export function bindingRecord(revision: number, n: number, value: PortBinding | undefined): NetworkRecord {
  const key = `${RDID}.5001.${portId(n)}`;
  return { kind: 'binding', portId: portId(n), bucket: 'mapping', key, revision, bucketCreatedUnixMs: CREATED, value };
}

/** A view of `hostId` with both VSIDs claimed. */
export function viewOf(hostId: string, claimed: readonly number[] = [5001, 5002]): NetworkView {
  const view = new NetworkView({ routingDomainId: RDID, hostId, pa: parseIp(PA[hostId]!), mtuBytes: 1450, sha256 });
  view.setClaimedVsids(new Set(claimed), 0);
  return view;
}
