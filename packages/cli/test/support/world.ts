import type { Host, ListedValue, Port, PortBinding, VirtualNetwork } from '@weft/model';
import type { Answerer } from './harness.ts';
import { listed } from './harness.ts';

//   tenant coke: network net {web 10.0.0.0/24, db 10.0.1.0/24}; ports web1 (bound on host-a), web2 (unbound)
//   hosts: host-a 192.0.2.1, host-b 192.0.2.2

export const rdid = '11111111-1111-1111-1111-111111111111';
export const network: VirtualNetwork = {
  id: rdid,
  tenant: 'coke',
  name: 'net',
  networkId: 7,
  subnets: [
    { name: 'web', vsid: 5001, prefixes: ['10.0.0.0/24'], gateways: ['10.0.0.1'] },
    { name: 'db', vsid: 5002, prefixes: ['10.0.1.0/24'], gateways: ['10.0.1.1'] },
  ],
  routes: [
    { prefix: '203.0.113.0/24', kind: 'blackhole', nextHop: '' },
    { prefix: '198.51.100.0/24', kind: 'next-hop', nextHop: '10.0.0.11' },
  ],
};
export const port = (name: string, last: number): Port => ({
  id: `22222222-2222-2222-2222-0000000000${last}`,
  tenant: 'coke',
  network: 'net',
  routingDomainId: rdid,
  subnet: 'web',
  vsid: 5001,
  name,
  mac: `02:00:00:00:00:${last}`,
  addresses: [`10.0.0.${last}`],
  placement: last === 12 ? { mode: 'list', hosts: ['host-a', 'host-b'] } : { mode: 'any', hosts: [] },
});
export const binding: PortBinding = {
  portId: port('web1', 11).id,
  routingDomainId: rdid,
  vsid: 5001,
  hostId: 'host-a',
  providerAddress: '192.0.2.1',
  generation: 3,
  state: 'bound',
  device: 'web1',
  deviceKind: 'tap',
  previousHostId: '',
  previousProviderAddress: '',
};
export const host = (id: string, providerAddress: string): Host => ({
  id,
  providerAddress,
  publicKey: 'NABC',
  encapsulations: ['vxlan'],
  engine: 'kernel',
  underlayMtu: 1600,
  version: '0.1.0',
  roles: ['host'],
  bootId: 'b',
  memories: [],
  externalLinks: [],
});

const records: readonly ListedValue[] = [
  { kind: 'tenant', value: { id: '33333333-3333-3333-3333-333333333333', name: 'coke' } },
  { kind: 'network', value: network },
  { kind: 'port', value: port('web2', 12) },
  { kind: 'port', value: port('web1', 11) },
  { kind: 'binding', value: binding },
  { kind: 'host', value: host('host-a', '192.0.2.1') },
  { kind: 'host', value: host('host-b', '192.0.2.2') },
];
const kindNames: Readonly<Record<string, ListedValue['kind']>> = {
  Tenant: 'tenant',
  VirtualNetwork: 'network',
  VirtualSubnet: 'network',
  Port: 'port',
  PortBinding: 'binding',
  Host: 'host',
  Principal: 'principal',
};

/** A controller that lists these records; everything else goes to `rest`. */
export function world(rest: Answerer = () => undefined): Answerer {
  return (target, command) => {
    if (target !== 'controller' || command.kind !== 'list') return rest(target, command);
    const wanted = command.value.kinds.map((kind) => kindNames[kind]);
    return {
      kind: 'list',
      value: { records: records.filter((record) => wanted.length === 0 || wanted.includes(record.kind)).map(listed) },
    };
  };
}
