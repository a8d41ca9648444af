import { weft } from '@weft/proto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type Assignment,
  assignmentKey,
  BUCKETS,
  configKey,
  eventSubject,
  type Gateway,
  keyFits,
  type NetworkGateway,
  networkCodec,
  parseKey,
  recordCodec,
  requestCodec,
  resourceName,
  type VirtualNetwork,
  type WeftRecord,
} from '../src/index.ts';

const GID = '0b8f5e0a-0000-4000-8000-0000000000aa';
const name = fc.string({ maxLength: 12 });
const names = fc.array(name, { maxLength: 3 });
const u32 = fc.nat({ max: 0xffff_ffff });
const access = fc.record({ mode: fc.constantFrom('deny' as const, 'any' as const, 'list' as const), tenants: names });
const gateway: fc.Arbitrary<Gateway> = fc.record({
  id: name,
  name,
  members: fc.array(
    fc.record({ host: name, interfaces: fc.array(fc.record({ segment: name, interface: name }), { maxLength: 2 }), drain: fc.boolean() }),
    { maxLength: 3 },
  ),
  witnesses: names,
  segments: fc.array(fc.record({ name, id: u32, onLink: names, nextHops: names, mtu: u32, access }), { maxLength: 2 }),
  pools: fc.array(fc.record({ name, id: u32, segment: name, segmentId: u32, addresses: names, prefixes: names, shared: u32, access }), {
    maxLength: 2,
  }),
  shards: u32,
});
const voters = fc.record({
  configId: u32,
  voters: fc.array(fc.record({ hostId: name, publicKey: name, instance: fc.maxSafeNat() }), { maxLength: 3 }),
});
const assignment: fc.Arbitrary<Assignment> = fc.record({
  gatewayId: name,
  gateway: name,
  incarnation: u32,
  voters,
  previousVoters: fc.option(voters, { nil: undefined }),
  members: fc.array(fc.record({ member: u32, hostId: name, providerAddress: name, drain: fc.boolean() }), { maxLength: 3 }),
  shards: fc.array(fc.record({ id: u32, order: fc.array(u32, { maxLength: 4 }), placement: u32 }), { maxLength: 4 }),
  addresses: fc.array(
    fc.record({
      segment: u32,
      address: name,
      shard: u32,
      pool: u32,
      natPool: u32,
      slices: fc.array(fc.record({ member: u32, first: u32, count: u32, movingTo: u32 }), { maxLength: 4 }),
    }),
    { maxLength: 4 },
  ),
});
const networkGateway: fc.Arbitrary<NetworkGateway> = fc.record({
  gatewayId: name,
  gateway: name,
  shard: u32,
  addresses: names,
  ownPool: u32,
  connections: fc.array(
    fc.record({
      name,
      mode: fc.constantFrom('nat' as const, 'forward' as const, 'peering' as const),
      routes: names,
      pool: name,
      poolId: u32,
      segment: name,
      segmentId: u32,
      ipv6: fc.constantFrom('none' as const, 'forward' as const, 'nptv6' as const, 'nat66' as const),
      ipv6Inside: name,
      ipv6Prefix: name,
      peerTenant: name,
      peerNetwork: name,
      offers: names,
      accepts: names,
      quota: fc.record({ blocks: u32, flows: u32, newFlowsPerSecond: u32 }),
    }),
    { maxLength: 3 },
  ),
  externalAddresses: fc.array(
    fc.record({
      name,
      pool: name,
      poolId: u32,
      segmentId: u32,
      address: name,
      use: fc.constantFrom('snat' as const, 'static' as const, 'reserved' as const),
      number: u32,
    }),
    { maxLength: 3 },
  ),
  natRules: fc.array(
    fc.record({
      name,
      kind: fc.constantFrom('snat' as const, 'static' as const, 'forward' as const),
      source: name,
      externalAddress: name,
      pool: name,
      poolId: u32,
      customerAddress: name,
      protocol: fc.constantFrom('none' as const, 'tcp' as const, 'udp' as const),
      firstPort: u32,
      lastPort: u32,
      customerPort: u32,
    }),
    { maxLength: 3 },
  ),
});
const network = (of: NetworkGateway | undefined): VirtualNetwork => ({
  id: GID,
  tenant: 'coke',
  name: 'net',
  networkId: 7,
  subnets: [{ name: 'weft-gateway', vsid: 5000, prefixes: ['100.127.255.248/30'], gateways: ['100.127.255.249'], role: 'gateway' }],
  routes: [{ prefix: '192.0.2.0/24', kind: 'gateway', nextHop: '', name: 'office' }],
  gateway: of,
});

describe('codecs of gateways', () => {
  it('give back what they were given', () => {
    const record: fc.Arbitrary<WeftRecord> = fc.oneof(
      gateway.map((value) => ({ kind: 'gateway', value }) as const),
      assignment.map((value) => ({ kind: 'assignment', value }) as const),
      fc.option(networkGateway, { nil: undefined }).map((value) => ({ kind: 'network', value: network(value) }) as const),
    );
    fc.assert(
      fc.property(record, (value) => {
        expect(recordCodec.decode(recordCodec.encode(value))).toEqual(value);
      }),
    );
  });

  it('read a network written before there were gateways as one without', () => {
    const wire = weft.v1.VirtualNetwork.encode({ id: GID, networkId: 7, subnets: [{ name: 'a', vsid: 5000 }] }).finish();
    const read = networkCodec.decode(wire);
    expect([read.gateway, read.subnets[0]!.role]).toEqual([undefined, undefined]);
  });

  it('read absent access as deny, and keep "no routes" apart from "the default ones"', () => {
    const wire = weft.v1.Record.encode({ gateway: { id: GID, pools: [{ name: 'p' }], segments: [{ name: 's' }] } }).finish();
    const read = recordCodec.decode(wire).value as Gateway;
    expect([read.pools[0]!.access.mode, read.segments[0]!.access.mode]).toEqual(['deny', 'deny']);
    for (const routes of [undefined, [], ['0.0.0.0/0']]) {
      const value = { tenant: 't', network: 'n', name: 'c', gateway: 'g', mode: 'nat', ipv6: 'none' } as const;
      const rest = { gatewaySubnet: [], pool: '', segment: '', ipv6Inside: '', ipv6Prefix: '', peerTenant: '', peerNetwork: '' };
      const spec = { ...value, ...rest, routes, offers: [], accepts: [], quota: { blocks: 0, flows: 0, newFlowsPerSecond: 0 } };
      const command = { kind: 'apply', value: { resources: [{ kind: 'connection', value: spec }], dryRun: false } } as const;
      const request = { requestId: 'request-1', timeUnixMs: 1, target: 'controller', command };
      expect(requestCodec.decode(requestCodec.encode(request))).toEqual(request);
    }
  });
});

describe('the largest network there may be', () => {
  it('fits in a message of NATS twice, as it was and as it is', () => {
    const long = 'n'.repeat(55);
    const prefix = (i: number): string => `2001:db8:1111:2222:3333:4444:5555:${i.toString(16)}/128`;
    const times = <T>(count: number, make: (i: number) => T): T[] => Array.from({ length: count }, (_, i) => make(i));
    const of: NetworkGateway = {
      gatewayId: GID,
      gateway: long,
      shard: 0xffff_ffff,
      addresses: ['100.127.255.250', 'fd57:4546:5447::2'],
      ownPool: 0xffff_ffff,
      connections: times(64, (i) => ({
        name: `${long}${i}`,
        mode: 'peering',
        routes: [],
        pool: '',
        poolId: 0,
        segment: '',
        segmentId: 0,
        ipv6: 'none',
        ipv6Inside: '',
        ipv6Prefix: '',
        peerTenant: long,
        peerNetwork: long,
        offers: times(8, prefix),
        accepts: times(8, prefix),
        quota: { blocks: 0, flows: 0, newFlowsPerSecond: 0 },
      })),
      externalAddresses: times(256, (i) => ({
        name: `${long}${i}`,
        pool: long,
        poolId: 0xffff_ffff,
        segmentId: 0xffff_ffff,
        address: '203.0.113.113',
        use: 'reserved',
        number: 0xffff_ffff,
      })),
      natRules: times(512, (i) => ({
        name: `${long}${i}`,
        kind: 'forward',
        source: '',
        externalAddress: `${long}${i % 256}`,
        pool: '',
        poolId: 0,
        customerAddress: '2001:db8:1111:2222:3333:4444:5555:6666',
        protocol: 'tcp',
        firstPort: 65_000,
        lastPort: 65_000,
        customerPort: 65_000,
      })),
    };
    const value: VirtualNetwork = {
      ...network(of),
      subnets: times(512, (i) => ({
        name: `${long}${i}`,
        vsid: 16_000_000,
        prefixes: ['203.113.113.0/24', '2001:db8:1111:2222::/64'],
        gateways: ['203.113.113.1', '2001:db8:1111:2222::1'],
      })),
      routes: times(1_024, (i) => ({
        prefix: prefix(i),
        kind: 'next-hop',
        nextHop: '2001:db8:1111:2222:3333:4444:5555:6666',
        name: `${long}${i}`,
      })),
    };
    const { length } = recordCodec.encode({ kind: 'network', value });
    expect(2 * length + 4_096).toBeLessThan(1_048_576);
  });
});

describe('keys of gateways', () => {
  it('parse back, fit their records only, and are announced to those who follow the gateway', () => {
    expect(parseKey('config', configKey.gateway(GID))).toEqual({ kind: 'gateway', gatewayId: GID });
    expect(parseKey('gateways', assignmentKey(GID))).toEqual({ kind: 'assignment', gatewayId: GID });
    expect(parseKey('gateways', `gateway.${GID}`)).toBeUndefined();
    expect(parseKey('config', assignmentKey(GID))).toBeUndefined();
    expect(BUCKETS).toContain('gateways');
    const record = fc.sample(assignment, 1)[0]!;
    const value = { ...record, gatewayId: GID, gateway: 'edge' };
    expect(keyFits('gateways', assignmentKey(GID), { kind: 'assignment', value })).toBe(true);
    expect(keyFits('gateways', assignmentKey(GID.replace('aa', 'ab')), { kind: 'assignment', value })).toBe(false);
    expect(keyFits('config', configKey.gateway(GID), { kind: 'assignment', value })).toBe(false);
    expect(eventSubject('gateways', assignmentKey(GID))).toBe(`weft.v1.event.gateway.${GID}`);
    expect(eventSubject('config', configKey.gateway(GID))).toBe(`weft.v1.event.gateway.${GID}`);
    expect(resourceName({ kind: 'assignment', value })).toBe('Assignment edge');
  });

  it('of claims carry numbers and hex only', () => {
    const claims = {
      [configKey.numberClaim(9)]: ['number', ['9']],
      [configKey.externalClaim(9, '203.0.113.7')]: ['external', ['9', '00000000000000000000ffffcb007107']],
      [configKey.externalPrefixClaim(9, '2001:db8:1::/48')]: ['external-prefix', ['9', '20010db8000100000000000000000000-48']],
      [configKey.forwardClaim(9)]: ['forward', ['9']],
      [configKey.shardClaim(9, GID)]: ['shard', ['9', GID]],
    };
    for (const [key, [what, tokens]] of Object.entries(claims)) expect(parseKey('config', key)).toEqual({ kind: 'claim', what, tokens });
    for (const key of ['claim.external.9.x', 'claim.number.0', 'claim.shard.9', `claim.shard.${GID}.9`, 'claim.external-prefix.9.00-48'])
      expect(parseKey('config', key), key).toBeUndefined();
  });
});
