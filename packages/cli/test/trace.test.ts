import type { Mapping, Port, VirtualNetwork } from '@weft/model';
import { describe, expect, it } from 'vitest';
import { arrives, formatTrace, type TraceHost, type TraceRequest, traceFrame } from '../src/commands/trace.ts';

//   host-a 192.0.2.1                 host-b 192.0.2.2
//   web1 10.0.0.11 (subnet 5001)     web2 10.0.0.12 (5001), db1 10.0.1.11 (5002)

const network: VirtualNetwork = {
  id: '11111111-1111-1111-1111-111111111111',
  tenant: 'coke',
  name: 'net',
  networkId: 7,
  subnets: [
    { name: 'web', vsid: 5001, prefixes: ['10.0.0.0/24'], gateways: ['10.0.0.1'] },
    { name: 'db', vsid: 5002, prefixes: ['10.0.1.0/24'], gateways: ['10.0.1.1'] },
  ],
  routes: [{ prefix: '203.0.113.0/24', kind: 'blackhole', nextHop: '' }],
};
const web1: Port = {
  id: '22222222-2222-2222-2222-222222222222',
  tenant: 'coke',
  network: 'net',
  routingDomainId: network.id,
  subnet: 'web',
  vsid: 5001,
  name: 'web1',
  mac: '02:00:00:00:00:11',
  addresses: ['10.0.0.11'],
  placement: { mode: 'any', hosts: [] },
};
const rows = [
  ['10.0.0.11', '02:00:00:00:00:11', 5001, 'a'],
  ['10.0.0.12', '02:00:00:00:00:12', 5001, 'b'],
  ['10.0.1.11', '02:00:00:00:00:21', 5002, 'b'],
] as const;
const address = { a: '192.0.2.1', b: '192.0.2.2' };
const hostOf = (name: 'a' | 'b', known: readonly (typeof rows)[number][] = rows): TraceHost => ({
  host: { id: `host-${name}`, providerAddress: address[name], underlayMtu: 1500 },
  mappings: known.map(([customerAddress, mac, vsid, at]): Mapping => {
    const local = at === name;
    return {
      networkId: 7,
      customerAddress,
      mac,
      vsid,
      kind: local ? 'local' : 'peer',
      providerAddress: local ? '' : address[at],
      device: local ? `tap-${customerAddress.slice(-2)}` : '',
      generation: 1,
    };
  }),
});
const request = (destination: string, more: Partial<TraceRequest> = {}): TraceRequest => ({
  port: web1,
  network,
  destination,
  protocol: 'icmp',
  destinationPort: 80,
  ...more,
});
const trace = (wanted: TraceRequest, b: TraceHost = hostOf('b')) =>
  traceFrame(wanted, hostOf('a'), async (pa) => (pa === '192.0.2.2' ? b : undefined));

describe('traceFrame()', () => {
  it('follows a packet inside its subnet to the device on the other host', async () => {
    const stages = await trace(request('10.0.0.12'));
    expect(stages.map(({ host, device }) => [host, device])).toEqual([
      ['host-a', ''],
      ['host-b', 'tap-12'],
    ]);
    expect(arrives(stages)).toBe(true);
    expect(formatTrace(stages, false)).toMatch(
      /on host host-a\n[\s\S]*to host 192\.0\.2\.2 with VNI 5001[\s\S]*on host host-b[\s\S]*delivered to tap-12 on host-b\n$/,
    );
  });

  it.each(['icmp', 'tcp', 'udp'] as const)('follows a routed packet (%s) with the VNI of the other subnet', async (protocol) => {
    const stages = await trace(request('10.0.1.11', { protocol }));
    expect(stages[0]?.verdict.vsid).toBe(5002);
    expect(stages[1]?.device).toBe('tap-11');
  });

  it('says who answers a ping to the gateway, and names the reason of a drop', async () => {
    expect(formatTrace(await trace(request('10.0.0.1')), false)).toContain('answered by host host-a');
    const unknown = await trace(request('10.0.1.99'));
    expect(arrives(unknown)).toBe(false);
    expect(formatTrace(unknown, false)).toContain('dropped on host-a: UNKNOWN_DESTINATION');
    expect(formatTrace(await trace(request('203.0.113.5')), false)).toContain('ROUTE_BLACKHOLE');
    expect(formatTrace(await trace(request('198.51.100.5')), false)).toContain('NO_ROUTE');
  });

  it('shows what a receiver with stale records does', async () => {
    const stale = await trace(request('10.0.0.12'), hostOf('b', rows.slice(1)));
    expect(formatTrace(stale, false)).toMatch(/dropped on host-b: (UNKNOWN_PEER|SOURCE_NOT_AT_THIS_PEER)/);
  });

  it('refuses an address of a family that the port lacks', async () => {
    await expect(trace(request('2001:db8::1'))).rejects.toThrow(/has no address of that family \(10\.0\.0\.11\)/);
  });
});

describe('a packet that leaves the network', () => {
  const outside: VirtualNetwork = {
    ...network,
    subnets: [
      ...network.subnets,
      { name: 'weft-gateway', vsid: 5009, prefixes: ['100.127.255.248/30'], gateways: ['100.127.255.249'], role: 'gateway' },
    ],
    routes: [{ prefix: '0.0.0.0/0', kind: 'next-hop', nextHop: '100.127.255.250' }],
    gateway: { gatewayId: '33333333-3333-4333-8333-333333333333', shard: 71, connections: [], addresses: [], rules: [] } as never,
  };
  const sender = (owner: string | undefined): TraceHost => {
    const known = hostOf('a');
    const gatewayCa: Mapping = {
      ...{ networkId: 7, customerAddress: '100.127.255.250', mac: '02:57:47:00:13:91', vsid: 5009, kind: 'shard' },
      ...{ providerAddress: '', device: '', generation: 0 },
    };
    const shard = { shard: 71, epoch: (1n << 32n) | 2n, owner: owner ?? '', providerAddress: '192.0.2.9' };
    return { ...known, mappings: [...known.mappings, gatewayCa], ...(owner !== undefined && { shard }) };
  };
  const leave = (owner: string | undefined) =>
    traceFrame({ ...request('198.51.100.7'), network: outside }, sender(owner), async () => undefined);

  it('is followed to the member that owns the shard', async () => {
    const stages = await leave('gw-a');
    expect(stages.at(-1)).toMatchObject({ host: 'host-a', gateway: { shard: 71, owner: 'gw-a', epoch: (1n << 32n) | 2n } });
    expect(arrives(stages)).toBe(true);
    expect(formatTrace(stages, false)).toMatch(/handed to gateway gw-a, owner of shard 71 by epoch 1\.2/);
  });

  it('is dropped by name where the host knows no owner', async () => {
    const stages = await leave(undefined);
    expect(arrives(stages)).toBe(false);
    expect(formatTrace(stages, false)).toContain('NO_GATEWAY_OWNER');
  });
});
