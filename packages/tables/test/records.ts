import { createHash } from 'node:crypto';
import type { Assignment, NetworkGateway, Port, PortBinding, VirtualNetwork, VirtualSubnet } from '@weft/model';
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

export const gatewaySubnet: VirtualSubnet = {
  name: 'weft-gateway',
  vsid: 5003,
  prefixes: ['100.127.255.248/30', 'fd57:4546:5447::/126'],
  gateways: ['100.127.255.249', 'fd57:4546:5447::1'],
  role: 'gateway',
};

/** A connection of mode NAT with default routes of both families, on shard 40. */
export function gatewayPart(gatewayId: string): NetworkGateway {
  const connection = {
    name: 'out',
    mode: 'nat',
    routes: ['0.0.0.0/0', '::/0'],
    pool: 'p',
    poolId: 30,
    segment: 's',
    segmentId: 20,
    ipv6: 'nat66',
    ipv6Inside: '',
    ipv6Prefix: '',
    peerTenant: '',
    peerNetwork: '',
    offers: [],
    accepts: [],
    quota: { blocks: 8, flows: 100, newFlowsPerSecond: 50 },
  } as const;
  const addresses = ['100.127.255.250', 'fd57:4546:5447::2'];
  return { gatewayId, gateway: 'edge', shard: 40, addresses, ownPool: 50, connections: [connection], externalAddresses: [], natRules: [] };
}

/** Members: host-a, host-b, host-c, and one without ports. */
export function assignment(gatewayId: string, members: readonly number[]): Assignment {
  const all = [...HOSTS, 'host-g'];
  return {
    gatewayId,
    gateway: 'edge',
    incarnation: 1,
    voters: { configId: 1, voters: [] },
    previousVoters: undefined,
    members: members.map((n) => ({ member: n + 1, hostId: all[n]!, providerAddress: PA[all[n]!] ?? '198.51.100.9', drain: false })),
    shards: [{ id: 40, order: members.map((n) => n + 1), placement: 1 }],
    addresses: [],
  };
}
