import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isEmptyPlan, isHandedOut, poolAddresses, releasable, settleSlices, sharedAddresses } from '../src/index.ts';
import { doc, GATEWAY, GatewayMemory, nat, peering, tenant } from './gateway-world.ts';

const base = (extra = ''): GatewayMemory => {
  const world = new GatewayMemory();
  expect(world.apply(`${GATEWAY}---${tenant('coke')}---${tenant('pepsi')}${extra}`).codes).toEqual([]);
  return world;
};
const gatewayWith = (change: (text: string) => string): string => change(GATEWAY);

describe('Gateway', () => {
  it('gets numbers, shards, shared addresses and an assignment; again, nothing changes', () => {
    const world = new GatewayMemory();
    const first = world.apply(GATEWAY);
    expect([first.codes, first.actions]).toEqual([[], ['created Gateway edge']]);
    const gateway = world.gateways.get('edge')!.value;
    expect(gateway.shards).toBe(8);
    const assignment = world.assignments.get(gateway.id)!.value;
    const numbers = [...gateway.segments, ...gateway.pools, ...assignment.shards].map(({ id }) => id);
    expect([new Set(numbers).size, numbers.every((one) => one > 0)]).toEqual([numbers.length, true]);
    expect(assignment.members.map(({ hostId, providerAddress }) => [hostId, providerAddress])).toEqual([
      ['gw-a', '198.51.100.1'],
      ['gw-b', '198.51.100.2'],
    ]);
    expect(assignment.voters.voters.map(({ hostId }) => hostId)).toEqual(['gw-a', 'gw-b', 'host-w']);
    const shared = assignment.addresses.map(({ address }) => address);
    expect(shared).toEqual([
      '2001:db8:f00d::100',
      '2001:db8:f00d::101',
      '2001:db8:f00d::102',
      '2001:db8:f00d::103',
      '203.0.113.16',
      '203.0.113.17',
      '203.0.113.18',
      '203.0.113.19',
    ]);
    // Each member has some of them.
    const owner = (shard: number): number => assignment.shards.find(({ id }) => id === shard)!.order[0]!;
    expect(new Set(assignment.addresses.map(({ shard }) => owner(shard)))).toEqual(new Set([1, 2]));
    const again = world.apply(GATEWAY);
    expect([isEmptyPlan(again.plan), again.actions]).toEqual([true, ['unchanged Gateway edge']]);
  });

  it.each([
    [
      'hosts that are not there, or twice',
      (t: string) => t.replace('gw-b', 'gw-z').replace('[host-w]', '[gw-a]'),
      ['RULE_HOST_UNKNOWN Gateway spec.members[1].host', 'RULE_HOST_UNKNOWN Gateway spec.witnesses[0]'],
    ],
    ['a segment without interface', (t: string) => t.replace(', mpls: eth2', ''), ['RULE_MEMBER Gateway spec.members[1].interfaces']],
    [
      'one interface for two segments',
      (t: string) => t.replace('mpls: eth2', 'mpls: eth1'),
      ['RULE_MEMBER Gateway spec.members[1].interfaces.mpls'],
    ],
    [
      'a next hop that is not on link',
      (t: string) => t.replace('192.168.0.1]', '192.168.1.1]'),
      ['RULE_SEGMENT Gateway spec.segments[1].nextHops[0]'],
    ],
    [
      'an MTU below what IPv6 needs',
      (t: string) => t.replace('name: mpls,', 'name: mpls, mtu: 900,'),
      ['RULE_SEGMENT Gateway spec.segments[1].mtu'],
    ],
    [
      'pools that overlap',
      (t: string) => t.replace('203.0.113.64-203.0.113.66', '203.0.113.20-203.0.113.66'),
      ['RULE_POOL Gateway spec.pools[1].addresses[0]'],
    ],
    [
      'a pool that is no set of addresses',
      (t: string) => t.replace('203.0.113.64-203.0.113.66', '203.0.113.66-203.0.113.64'),
      ['RULE_POOL Gateway spec.pools[1].addresses[0]'],
    ],
    ['more shared than there are', (t: string) => t.replace('shared: 0', 'shared: 4'), ['RULE_POOL Gateway spec.pools[1].shared']],
    [
      'prefixes to hand out that are IPv4',
      (t: string) => t.replace("'2001:db8:aa00::/56'", '10.0.0.0/24'),
      ['RULE_POOL Gateway spec.pools[0].prefixes[0]'],
    ],
    ['too many shards', (t: string) => `${t}  shards: 257\n`, ['RULE_SHARDS Gateway spec.shards']],
    ['a bad name', (t: string) => t.replace('name: edge', 'name: Edge'), ['RULE_NAME Gateway metadata.name']],
  ])('refuses %s', (_, change, codes) => {
    const world = new GatewayMemory();
    expect(world.apply(gatewayWith(change)).codes).toEqual(codes);
    expect(world.gateways.size).toBe(0);
  });

  it('made anew under its name goes on above the one that was deleted: its voters have accepted lists, and remember', () => {
    const world = base();
    const { gatewayId } = [...world.assignments.values()][0]!.value;
    const standing = world.assignments.get(gatewayId)!;
    world.assignments.set(gatewayId, {
      ...standing,
      value: { ...standing.value, incarnation: 3, voters: { ...standing.value.voters, configId: 7 } },
    });
    expect(world.remove('Gateway edge').codes).toEqual([]);
    expect(world.apply(GATEWAY).codes).toEqual([]);
    const { incarnation, voters, previousVoters } = world.assignments.get(gatewayId)!.value;
    expect([incarnation, voters.configId, previousVoters]).toEqual([4, 8, undefined]);
  });

  it('takes externalAddress-style shorthand for the only segment', () => {
    const world = new GatewayMemory();
    const text =
      'apiVersion: weft/v1\nkind: Gateway\nmetadata: {name: one}\nspec: {members: [{host: gw-a, externalInterface: eth1}], segments: [{name: out, onLink: [203.0.113.0/24]}], pools: [{name: p, addresses: [203.0.113.7]}]}';
    expect(world.apply(text).codes).toEqual([]);
    const { members, pools, shards } = world.gateways.get('one')!.value;
    expect([members[0]!.interfaces, pools[0]!.segment, pools[0]!.shared, shards]).toEqual([
      [{ segment: 'out', interface: 'eth1' }],
      'out',
      1,
      4,
    ]);
  });

  it('keeps what networks use: shards, pools, addresses, prefixes, segments, access', () => {
    const world = base(
      nat('coke/net/out', ", ipv6: nptv6, ipv6Inside: 'fd00:1::/56', ipv6Prefix: '2001:db8:aa00::/56'").replace('---', '---\n') +
        doc('VirtualSubnet', 'coke/net/six', "prefixes: ['fd00:1::/64']") +
        doc('ExternalAddress', 'coke/net/www', 'pool: public, use: static, address: 203.0.113.25') +
        doc('GatewayConnection', 'pepsi/net/out', 'gateway: edge, mode: nat, pool: gold'),
    );
    const check = (change: (text: string) => string): string[] => world.apply(gatewayWith(change)).rules;
    expect(check((t) => t.replace('203.0.113.16/28', '203.0.113.16-203.0.113.24'))[0]).toMatch(
      /ExternalAddress coke\/net\/www \(203.0.113.25\)/,
    );
    expect(check((t) => t.replace('shared: 4', 'shared: 12'))[0]).toMatch(/ExternalAddress coke\/net\/www/);
    expect(check((t) => t.replace("'2001:db8:aa00::/56', ", ''))[0]).toMatch(/GatewayConnection coke\/net\/out/);
    expect(check((t) => t.replace('[pepsi], shared: 0', '[coke], shared: 0'))[0]).toMatch(/GatewayConnection pepsi\/net\/out/);
    expect(check((t) => `${t}  shards: 1\n`).join()).toMatch(/keep the shards of/);
    expect(check((t) => t.replace('tenants: [coke]', 'tenants: none'))).toEqual([]);
    expect(world.remove('Gateway edge').rules[0]).toMatch(/coke\/net, pepsi\/net/);
    // More is always possible.
    expect(check((t) => `${t.replace('203.0.113.66', '203.0.113.80')}  shards: 16\n`)).toEqual([]);
  });

  it('a manifest that says nothing of draining leaves it as it is: false ends it', () => {
    const world = base();
    const id = world.gateways.get('edge')!.value.id;
    const says = (drain: string) => (t: string) => t.replace('host: gw-b,', `host: gw-b, drain: ${drain},`);
    const drained = (): boolean[] => world.gateways.get('edge')!.value.members.map(({ drain }) => drain);
    expect(drained()).toEqual([false, false]);
    world.apply(gatewayWith(says('true')));
    const { shards } = world.assignments.get(id)!.value;
    expect(world.apply(gatewayWith((t) => t.replace('203.0.113.66', '203.0.113.80'))).codes).toEqual([]);
    expect(drained()).toEqual([false, true]);
    expect(world.assignments.get(id)!.value.shards).toEqual(shards);
    world.apply(gatewayWith(says('false')));
    expect(drained()).toEqual([false, false]);
  });

  it('a drain takes the gateway as it stands, but for that member', () => {
    const world = base(nat('coke/net/out'));
    const id = world.gateways.get('edge')!.value.id;
    const asRead = world.gateways.get('edge')!.value;
    world.apply(gatewayWith((t) => t.replace('203.0.113.66', '203.0.113.80')));
    const drain = (host: string, on: boolean) => world.drain({ gateway: 'edge', host, drain: on });
    expect(drain('gw-b', true).plan.changes).toMatchObject([{ action: 'updated', fields: [{ path: 'spec.members' }] }]);
    const after = world.gateways.get('edge')!.value;
    expect(after.pools[1]!.addresses).toEqual(['203.0.113.64-203.0.113.80']);
    expect(after.pools[1]!.addresses).not.toEqual(asRead.pools[1]!.addresses);
    expect(world.assignments.get(id)!.value.shards.every(({ order }) => order[0] === 1)).toBe(true);
    expect(drain('gw-b', true).plan.changes).toMatchObject([{ action: 'unchanged' }]);
    expect(drain('gw-a', true).problems).toEqual([]);
    expect(drain('gw-b', false).problems).toEqual([]);
    expect(world.gateways.get('edge')!.value.members.map((one) => one.drain)).toEqual([true, false]);
    expect(drain('gw-z', true).problems).toMatchObject([
      { code: 'WEFT_ERR_RULE_GATEWAY_MEMBER', rule: expect.stringContaining('gw-a, gw-b') },
    ]);
    const elsewhere = world.drain({ gateway: 'core', host: 'gw-a', drain: true });
    expect(elsewhere.problems).toMatchObject([{ code: 'WEFT_ERR_RULE_GATEWAY_UNKNOWN' }]);
    expect(elsewhere.plan.gateways).toEqual([]);
  });

  it('a member goes when it was drained and has given up its blocks, or by force', () => {
    const world = base();
    const id = world.gateways.get('edge')!.value.id;
    const without = (t: string): string => t.replace(/ {4}- \{host: gw-b.*\n/, '');
    const drained = (t: string): string => t.replace('host: gw-b,', 'host: gw-b, drain: true,');
    expect(world.apply(gatewayWith(without)).codes).toEqual(['RULE_MEMBER_NOT_DRAINED Gateway spec.members']);
    expect(world.apply(gatewayWith(drained)).codes).toEqual([]);
    expect(world.apply(gatewayWith(without)).rules[0]).toMatch(/still has blocks/);
    const assigned = world.assignments.get(id)!;
    expect(assigned.value.shards.every(({ order }) => order[0] === 1)).toBe(true);
    world.assignments.set(id, { ...assigned, value: settleSlices(assigned.value, 2, releasable(assigned.value, 2)) });
    expect(world.apply(gatewayWith(without)).codes).toEqual([]);
    expect(world.assignments.get(id)!.value).toMatchObject({ incarnation: 1, voters: { configId: 2 } });

    const other = base();
    expect(other.apply(gatewayWith(without), { force: true }).codes).toEqual([]);
    expect(other.assignments.get(id)!.value.incarnation).toBe(2);
  });
});

describe('GatewayConnection', () => {
  it('makes the gateway subnet, takes a shard with an address of the pool, and stays on it', () => {
    const world = base(nat('coke/net/out'));
    const network = world.network('coke/net');
    expect(network.subnets.find(({ role }) => role === 'gateway')).toMatchObject({
      name: 'weft-gateway',
      prefixes: ['100.127.255.248/30', 'fd57:4546:5447::/126'],
      gateways: ['100.127.255.249', 'fd57:4546:5447::1'],
    });
    expect(network.gateway).toMatchObject({ gateway: 'edge', addresses: ['100.127.255.250', 'fd57:4546:5447::2'] });
    expect(network.gateway!.connections[0]).toMatchObject({
      routes: ['0.0.0.0/0'],
      segment: 'internet',
      ipv6: 'none',
      quota: { blocks: 64, flows: 65_536, newFlowsPerSecond: 10_000 },
    });
    const assignment = world.assignments.get(network.gateway!.gatewayId)!.value;
    expect(
      assignment.addresses.some(({ shard, pool }) => shard === network.gateway!.shard && pool === network.gateway!.connections[0]!.poolId),
    ).toBe(true);
    expect(isEmptyPlan(world.apply(nat('coke/net/out')).plan)).toBe(true);
    expect(world.apply(nat('coke/net/out', ', quota: {flows: 9}')).actions).toEqual(['updated GatewayConnection coke/net/out']);
    expect(world.network('coke/net').gateway!.shard).toBe(network.gateway!.shard);
  });

  it('spreads networks over the shards', () => {
    const world = new GatewayMemory();
    const many = Array.from({ length: 12 }, (_, i) => `---${tenant(`t${i}`)}${nat(`t${i}/net/out`)}`).join('');
    expect(world.apply(GATEWAY + many).codes).toEqual([]);
    const loads = new Map<number, number>();
    for (const { value } of world.networks.values()) loads.set(value.gateway!.shard, (loads.get(value.gateway!.shard) ?? 0) + 1);
    expect([...loads.values()].sort()).toEqual([3, 3, 3, 3]);
  });

  it.each([
    [
      'a gateway that is not there',
      doc('GatewayConnection', 'coke/net/x', 'gateway: nowhere, mode: nat, pool: public'),
      ['RULE_GATEWAY_UNKNOWN GatewayConnection spec.gateway'],
    ],
    [
      'a pool that is another tenant’s',
      doc('GatewayConnection', 'coke/net/x', 'gateway: edge, mode: nat, pool: gold'),
      ['RULE_POOL GatewayConnection spec.pool'],
    ],
    [
      'a pool that is not there, in the same words',
      doc('GatewayConnection', 'coke/net/x', 'gateway: edge, mode: nat, pool: silver'),
      ['RULE_POOL GatewayConnection spec.pool'],
    ],
    [
      'a segment that is not open',
      doc('GatewayConnection', 'pepsi/net/x', 'gateway: edge, mode: forward, segment: mpls'),
      ['RULE_SEGMENT GatewayConnection spec.segment'],
    ],
    [
      'fields of another mode',
      doc('GatewayConnection', 'coke/net/x', 'gateway: edge, mode: forward, segment: mpls, pool: public, ipv6: nat66'),
      ['RULE_CONNECTION GatewayConnection spec.ipv6', 'RULE_CONNECTION GatewayConnection spec.pool'],
    ],
    [
      'a mode without what it needs',
      doc('GatewayConnection', 'coke/net/x', 'gateway: edge, mode: peering, offers: [10.0.0.0/24]'),
      ['RULE_CONNECTION GatewayConnection spec.accepts', 'RULE_CONNECTION GatewayConnection spec.peer'],
    ],
    [
      'a second one of nat or forward',
      nat('coke/net/a') + doc('GatewayConnection', 'coke/net/b', 'gateway: edge, mode: forward, segment: mpls'),
      ['RULE_CONNECTION_SECOND GatewayConnection spec.mode'],
    ],
    [
      'a gateway subnet that overlaps the network’s own',
      nat('coke/net/x', ', gatewaySubnet: [10.0.0.128/30]'),
      ['RULE_PREFIX_OVERLAP GatewayConnection spec.gatewaySubnet'],
    ],
    [
      'an IPv6 prefix that the pool does not hand out',
      nat('coke/net/x', ", ipv6: forward, ipv6Prefix: '2001:db8:cc00::/56'"),
      ['RULE_IPV6_PREFIX GatewayConnection spec.ipv6Prefix'],
    ],
    [
      'nptv6 between prefixes of two lengths',
      nat('coke/net/x', ", ipv6: nptv6, ipv6Inside: 'fd00::/48', ipv6Prefix: '2001:db8:aa00::/56'"),
      ['RULE_IPV6_PREFIX GatewayConnection spec.ipv6Inside'],
    ],
    [
      'a network peered with itself',
      peering('coke/net/x', 'coke/net', '10.0.0.0/24', '10.1.0.0/24'),
      ['RULE_PEERING GatewayConnection spec.peer'],
    ],
    [
      'an offer of what is not its own',
      peering('coke/net/x', 'pepsi/net', '10.9.0.0/24', '10.1.0.0/24'),
      ['RULE_PEERING GatewayConnection spec.offers[0]'],
    ],
    [
      'to accept what overlaps its own',
      peering('coke/net/x', 'pepsi/net', '10.0.0.0/24', '10.0.0.0/16'),
      ['RULE_PEERING GatewayConnection spec.accepts[0]'],
    ],
    [
      'to accept one prefix from two',
      peering('coke/net/x', 'pepsi/net', '10.0.0.0/24', '10.1.0.0/24') + peering('coke/net/y', 'fanta/net', '10.0.0.0/24', '10.1.0.128/25'),
      ['RULE_PEERING GatewayConnection spec.accepts[0]', 'RULE_PEERING GatewayConnection spec.accepts[0]'],
    ],
    [
      'a route that is a customer route, too',
      nat('coke/net/x') + doc('CustomerRoute', 'coke/net/def', 'prefix: 0.0.0.0/0, nextHop: 10.0.0.10'),
      ['RULE_ROUTE GatewayConnection spec.routes[0]'],
    ],
    [
      'a subnet of the gateway subnet’s name',
      doc('VirtualSubnet', 'coke/net/weft-gateway', 'prefixes: [10.5.0.0/24]'),
      ['RULE_GATEWAY_SUBNET VirtualSubnet metadata.name'],
    ],
    [
      'a port in the gateway subnet',
      nat('coke/net/x') + doc('Port', 'coke/net/p', 'subnet: weft-gateway, addresses: [100.127.255.250]'),
      ['RULE_GATEWAY_SUBNET Port spec.subnet'],
    ],
    [
      'a port with a MAC of the gateways',
      doc('Port', 'coke/net/p', "subnet: blue, addresses: [10.0.0.20], mac: '02:57:47:00:00:01'"),
      ['RULE_MAC Port spec.mac'],
    ],
    [
      'a route to a gateway without connection',
      doc('CustomerRoute', 'coke/net/r', 'prefix: 192.0.2.0/24, gateway: true'),
      ['RULE_CONNECTION_MISSING CustomerRoute spec'],
    ],
  ])('refuses %s', (_, text, codes) => {
    expect(base().apply(text).codes).toEqual(codes);
  });

  it('a segment that a network is forwarded to has no pool of other tenants: its tenant says whose addresses are whose there', () => {
    const l3 = doc('GatewayConnection', 'coke/net/l3', 'gateway: edge, mode: forward, segment: mpls');
    const shared = (tenants: string): string =>
      GATEWAY.replace(
        '  pools:',
        `  pools:\n    - {name: wan, segment: mpls, addresses: [192.168.0.16/28], shared: 2, tenants: ${tenants}}`,
      );
    for (const tenants of ['any', '[pepsi]', '[coke, pepsi]']) {
      const world = base();
      expect(world.apply(shared(tenants)).codes).toEqual([]);
      expect(world.apply(l3)).toMatchObject({
        codes: ['RULE_SEGMENT GatewayConnection spec.segment'],
        rules: ['must not have a pool that is open to other tenants'],
      });
      // Nor afterwards.
      const before = base();
      expect(before.apply(l3).codes).toEqual([]);
      expect(before.apply(shared(tenants)).codes).toEqual(['RULE_IN_USE Gateway spec.pools']);
    }
    for (const tenants of ['none', '[coke]']) {
      const world = base();
      expect(world.apply(shared(tenants)).codes).toEqual([]);
      expect(world.apply(l3).codes).toEqual([]);
    }
  });

  it('two networks have one IPv6 prefix, or one segment, once', () => {
    const six = (t: string): string => doc('VirtualSubnet', `${t}/net/six`, "prefixes: ['2001:db8:aa00:1::/64']");
    const world = base(six('coke') + nat('coke/net/out', ", ipv6: forward, ipv6Prefix: '2001:db8:aa00::/56'"));
    expect(world.apply(six('pepsi') + nat('pepsi/net/out', ", ipv6: forward, ipv6Prefix: '2001:db8:aa00::/56'")).codes).toEqual([
      'RULE_IPV6_PREFIX GatewayConnection spec.ipv6Prefix',
    ]);
    expect(world.apply(doc('VirtualSubnet', 'coke/net/more', "prefixes: ['2001:db8:cc00::/64']")).codes).toEqual([
      'RULE_IPV6_PREFIX GatewayConnection spec.ipv6Prefix',
    ]);
    expect(world.apply(gatewayWith((t) => t.replace('tenants: [coke]', 'tenants: any'))).codes).toEqual([]);
    const other = base();
    other.apply(gatewayWith((t) => t.replace('tenants: [coke]', 'tenants: any')));
    expect(other.apply(doc('GatewayConnection', 'coke/net/l3', 'gateway: edge, mode: forward, segment: mpls')).codes).toEqual([]);
    expect(other.apply(doc('GatewayConnection', 'pepsi/net/l3', 'gateway: edge, mode: forward, segment: mpls')).codes).toEqual([
      'RULE_SEGMENT GatewayConnection spec.segment',
    ]);
  });

  describe('peerings bring both networks to one shard', () => {
    const coke = peering('coke/net/pepsi', 'pepsi/net', '10.0.0.0/24', '10.1.0.0/24');
    const pepsi = peering('pepsi/net/coke', 'coke/net', '10.1.0.0/24', '10.0.0.0/24');
    /** pepsi has 10.1.0.0/24 only: with coke's prefix of its own it could not accept it. */
    const apart = (extra = ''): GatewayMemory => {
      const world = new GatewayMemory();
      const busy = Array.from({ length: 3 }, (_, i) => `---${tenant(`t${i}`)}${nat(`t${i}/net/out`)}`).join('');
      const other = tenant('pepsi').replaceAll('10.0.0.', '10.1.0.');
      expect(world.apply(`${GATEWAY}---${tenant('coke')}---${other}${busy}${extra}`).codes).toEqual([]);
      return world;
    };
    const shards = (world: GatewayMemory): number[] => ['coke/net', 'pepsi/net'].map((path) => world.network(path).gateway!.shard);

    it.each([
      ['made together', (world: GatewayMemory) => [world.apply(nat('coke/net/out') + nat('pepsi/net/out') + coke + pepsi)]],
      ['one with NAT first', (world: GatewayMemory) => [world.apply(nat('coke/net/out')), world.apply(coke), world.apply(pepsi)]],
      ['one without first', (world: GatewayMemory) => [world.apply(pepsi), world.apply(nat('coke/net/out')), world.apply(coke)]],
      ['without NAT', (world: GatewayMemory) => [world.apply(coke), world.apply(pepsi)]],
    ])('%s', (_, steps) => {
      const world = apart();
      expect(steps(world).flatMap(({ codes }) => codes)).toEqual([]);
      const [one, other] = shards(world);
      expect(one).toBe(other);
      expect(isEmptyPlan(world.apply(coke + pepsi).plan)).toBe(true);
    });

    it('unless both are held elsewhere: then the second side is refused', () => {
      const world = apart(nat('coke/net/out') + nat('pepsi/net/out'));
      const [one, other] = shards(world);
      expect(one).not.toBe(other);
      expect(world.apply(coke).codes).toEqual([]);
      expect(world.apply(pepsi).codes).toEqual(['RULE_PEERING_SHARD GatewayConnection spec.peer']);
      expect(world.remove('GatewayConnection pepsi/net/out').codes).toEqual([]);
      expect(world.apply(nat('pepsi/net/out') + pepsi).codes).toEqual([]);
      expect(new Set(shards(world)).size).toBe(1);
    });
  });

  it('the last one takes the gateway subnet with it, and is kept while something rests on it', () => {
    const world = base(
      nat('coke/net/out') +
        doc('ExternalAddress', 'coke/net/www', 'pool: public, use: static') +
        doc('NatRule', 'coke/net/www', 'static: {externalAddress: www, address: 10.0.0.10}') +
        doc('CustomerRoute', 'coke/net/r', 'prefix: 192.0.2.0/24, gateway: true'),
    );
    expect(world.remove('GatewayConnection coke/net/out').rules).toEqual([
      'must have no users left: NatRule coke/net/www, ExternalAddress coke/net/www, CustomerRoute coke/net/r',
    ]);
    expect(world.remove('ExternalAddress coke/net/www').rules).toEqual(['must have no users left: NatRule coke/net/www']);
    expect(world.remove('VirtualSubnet coke/net/weft-gateway').codes).toEqual(['RULE_GATEWAY_SUBNET VirtualSubnet coke/net/weft-gateway']);
    expect(world.remove('VirtualNetwork coke/net').codes).toHaveLength(5);
    const all = ['NatRule coke/net/www', 'ExternalAddress coke/net/www', 'CustomerRoute coke/net/r', 'GatewayConnection coke/net/out'];
    expect(world.remove(...all).codes).toEqual([]);
    const network = world.network('coke/net');
    expect([network.gateway, network.subnets.map(({ name }) => name), network.routes]).toEqual([undefined, ['blue'], []]);
    expect([...world.assignments.values()][0]!.value.addresses.every(({ pool }) => pool !== 0)).toBe(true);
    expect(world.apply(GATEWAY).codes.concat(world.remove('Gateway edge').codes)).toEqual([]);
    expect([world.gateways.size, world.assignments.size]).toEqual([0, 0]);
  });
});

describe('ExternalAddress', () => {
  it('is the one asked for, or the lowest free one; it is put on the network’s shard', () => {
    const world = base(nat('coke/net/out') + doc('GatewayConnection', 'pepsi/net/out', 'gateway: edge, mode: nat, pool: gold'));
    expect(
      world.apply(
        doc('ExternalAddress', 'coke/net/a', 'pool: public, use: static') +
          doc('ExternalAddress', 'coke/net/b', 'pool: public, use: reserved, address: 203.0.113.22') +
          doc('ExternalAddress', 'pepsi/net/a', 'pool: public, use: snat'),
      ).codes,
    ).toEqual([]);
    const of = (path: string) => world.network(path).gateway!;
    expect(of('coke/net').externalAddresses.map(({ address }) => address)).toEqual(['203.0.113.20', '203.0.113.22']);
    expect(of('pepsi/net').externalAddresses.map(({ address }) => address)).toEqual(['203.0.113.21']);
    const own = world.assignments.get(of('coke/net').gatewayId)!.value.addresses.filter(({ pool }) => pool === 0);
    expect(own.map(({ address, shard, slices }) => [address, shard, slices.length])).toEqual([
      ['203.0.113.20', of('coke/net').shard, 0],
      ['203.0.113.21', of('pepsi/net').shard, 2],
      ['203.0.113.22', of('coke/net').shard, 2],
    ]);
    expect(isEmptyPlan(world.apply(doc('ExternalAddress', 'coke/net/a', 'pool: public, use: static')).plan)).toBe(true);
  });

  it.each([
    [
      'one that is another’s',
      doc('ExternalAddress', 'pepsi/net/x', 'pool: public, use: static, address: 203.0.113.20'),
      ['RULE_EXTERNAL_USED ExternalAddress spec.address'],
    ],
    [
      'one of its own under another name',
      doc('ExternalAddress', 'coke/net/x', 'pool: public, use: static, address: 203.0.113.20'),
      ['RULE_EXTERNAL_USED ExternalAddress spec.address'],
    ],
    [
      'one outside the pool',
      doc('ExternalAddress', 'coke/net/x', 'pool: public, use: static, address: 203.0.113.64'),
      ['RULE_EXTERNAL_OUTSIDE ExternalAddress spec.address'],
    ],
    [
      'any address in the world',
      doc('ExternalAddress', 'coke/net/x', 'pool: public, use: static, address: 8.8.8.8'),
      ['RULE_EXTERNAL_OUTSIDE ExternalAddress spec.address'],
    ],
    [
      'a shared one',
      doc('ExternalAddress', 'coke/net/x', 'pool: public, use: static, address: 203.0.113.17'),
      ['RULE_EXTERNAL_OUTSIDE ExternalAddress spec.address'],
    ],
    [
      'one of a pool that is not open to it',
      doc('ExternalAddress', 'coke/net/x', 'pool: gold, use: static, address: 203.0.113.64'),
      ['RULE_POOL ExternalAddress spec.pool'],
    ],
    [
      'one for a network without connection',
      tenant('fanta').replace(/^/, '---') + doc('ExternalAddress', 'fanta/net/x', 'pool: public, use: static'),
      ['RULE_CONNECTION_MISSING ExternalAddress metadata.network'],
    ],
    [
      'another use for one that stands',
      doc('ExternalAddress', 'coke/net/a', 'pool: public, use: reserved'),
      ['RULE_IMMUTABLE ExternalAddress spec.use'],
    ],
    [
      'more than the pool has',
      Array.from({ length: 5 }, (_, i) => doc('ExternalAddress', `pepsi/net/e${i}`, 'pool: gold, use: static')).join(''),
      ['RULE_POOL_EMPTY ExternalAddress spec.pool', 'RULE_POOL_EMPTY ExternalAddress spec.pool'],
    ],
  ])('refuses %s', (_, text, codes) => {
    const world = base(nat('coke/net/out') + nat('pepsi/net/out') + doc('ExternalAddress', 'coke/net/a', 'pool: public, use: static'));
    expect(world.apply(text).codes).toEqual(codes);
  });
});

describe('NatRule', () => {
  const world = (): GatewayMemory =>
    base(
      nat('coke/net/out', ', ipv6: nat66') +
        doc('ExternalAddress', 'coke/net/www', 'pool: public, use: static') +
        doc('ExternalAddress', 'coke/net/fwd', 'pool: public, use: reserved') +
        doc('ExternalAddress', 'coke/net/out', 'pool: public, use: snat'),
    );
  const forward = (name: string, spec: string): string => doc('NatRule', `coke/net/${name}`, `forward: {externalAddress: fwd, ${spec}}`);

  it('of each kind stands, and applied again changes nothing', () => {
    const text =
      doc('NatRule', 'coke/net/a', 'snat: {source: 10.0.0.0/25, externalAddress: out}') +
      doc('NatRule', 'coke/net/b', 'snat: {source: 10.0.0.128/25, pool: public}') +
      doc('NatRule', 'coke/net/c', 'static: {externalAddress: www, address: 10.0.0.10}') +
      forward('d', 'protocol: tcp, ports: 8000-8099, address: 10.0.0.10, port: 80') +
      forward('e', 'protocol: udp, ports: 8000-8099, address: 10.0.0.11') +
      forward('f', 'protocol: tcp, ports: 443, address: 10.0.0.12');
    const at = world();
    expect(at.apply(text).codes).toEqual([]);
    expect(at.network('coke/net').gateway!.natRules.map((rule) => [rule.kind, rule.firstPort, rule.lastPort, rule.customerPort])).toEqual([
      ['snat', 0, 0, 0],
      ['snat', 0, 0, 0],
      ['static', 0, 0, 0],
      ['forward', 8000, 8099, 80],
      ['forward', 8000, 8099, 8000],
      ['forward', 443, 443, 443],
    ]);
    expect(isEmptyPlan(at.apply(text).plan)).toBe(true);
  });

  it.each([
    [
      'a target that is no customer address of the network',
      doc('NatRule', 'coke/net/x', 'static: {externalAddress: www, address: 10.7.0.1}'),
      ['RULE_NAT_TARGET NatRule spec.static.address'],
    ],
    [
      'the subnet’s gateway as target',
      forward('x', 'protocol: tcp, ports: 80, address: 10.0.0.1'),
      ['RULE_NAT_TARGET NatRule spec.forward.address'],
    ],
    [
      'a target in the gateway subnet',
      forward('x', 'protocol: tcp, ports: 80, address: 100.127.255.250'),
      ['RULE_NAT_TARGET NatRule spec.forward.address'],
    ],
    [
      'an external address that is not there',
      doc('NatRule', 'coke/net/x', 'static: {externalAddress: nope, address: 10.0.0.10}'),
      ['RULE_EXTERNAL_UNKNOWN NatRule spec.static.externalAddress'],
    ],
    [
      'an address of another use',
      doc('NatRule', 'coke/net/x', 'static: {externalAddress: fwd, address: 10.0.0.10}') +
        doc('NatRule', 'coke/net/y', 'snat: {source: 10.0.0.0/24, externalAddress: www}'),
      ['RULE_NAT_RULE NatRule spec.snat.externalAddress', 'RULE_NAT_RULE NatRule spec.static.externalAddress'],
    ],
    [
      'a family that does not fit',
      doc('NatRule', 'coke/net/x', "snat: {source: 'fd00::/64', externalAddress: out}"),
      ['RULE_NAT_RULE NatRule spec.snat.source'],
    ],
    [
      'one 1:1 address for two',
      doc('NatRule', 'coke/net/x', 'static: {externalAddress: www, address: 10.0.0.10}') +
        doc('NatRule', 'coke/net/y', 'static: {externalAddress: www, address: 10.0.0.11}'),
      ['RULE_NAT_RULE NatRule spec.static.externalAddress'],
    ],
    [
      'ports that overlap',
      forward('x', 'protocol: tcp, ports: 80-90, address: 10.0.0.10') + forward('y', 'protocol: tcp, ports: 85, address: 10.0.0.11'),
      ['RULE_PORTS NatRule spec.forward.ports'],
    ],
    ['too many ports', forward('x', 'protocol: tcp, ports: 2000-3024, address: 10.0.0.10'), ['RULE_PORTS NatRule spec.forward.ports']],
    [
      'ports the wrong way round',
      forward('x', 'protocol: tcp, ports: 90-80, address: 10.0.0.10'),
      ['RULE_PORTS NatRule spec.forward.ports'],
    ],
    [
      'target ports beyond the last',
      forward('x', 'protocol: tcp, ports: 80-90, address: 10.0.0.10, port: 65530'),
      ['RULE_PORTS NatRule spec.forward.port'],
    ],
    [
      'high ports of an address that SNAT gives out',
      doc('NatRule', 'coke/net/x', 'forward: {externalAddress: out, protocol: tcp, ports: 8080, address: 10.0.0.10}'),
      ['RULE_PORTS NatRule spec.forward.ports'],
    ],
    [
      'a pool that is not open',
      doc('NatRule', 'coke/net/x', 'snat: {source: 10.0.0.0/24, pool: gold}'),
      ['RULE_POOL NatRule spec.snat.pool'],
    ],
    [
      'a network without NAT',
      doc('NatRule', 'pepsi/net/x', 'static: {externalAddress: www, address: 10.0.0.10}'),
      ['RULE_CONNECTION_MISSING NatRule metadata.network'],
    ],
  ])('refuses %s', (_, text, codes) => {
    expect(world().apply(text).codes).toEqual(codes);
  });

  it('rests on addresses of the segment that the network leaves by: of another one no answer would find out', () => {
    const at = world();
    const other = GATEWAY.replace('  pools:', '  pools:\n    - {name: wan, segment: mpls, addresses: [192.168.0.16/28], shared: 2}');
    expect(at.apply(other).codes).toEqual([]);
    const rule = "must be on segment internet, as the network's connection out";
    const { codes, rules } = at.apply(doc('ExternalAddress', 'coke/net/far', 'pool: wan, use: reserved'));
    expect([codes, rules]).toEqual([['RULE_POOL ExternalAddress spec.pool'], [rule]]);
    // Nor does a connection go to another segment than the addresses that are there.
    expect(at.apply(doc('GatewayConnection', 'coke/net/out', 'gateway: edge, mode: nat, pool: wan')).codes).toEqual([
      'RULE_POOL ExternalAddress spec.pool',
      'RULE_POOL ExternalAddress spec.pool',
      'RULE_POOL ExternalAddress spec.pool',
    ]);
  });

  it('keeps the subnet that its target lies in', () => {
    const at = world();
    expect(
      at.apply(
        doc('VirtualSubnet', 'coke/net/red', 'prefixes: [10.3.0.0/24]') +
          doc('NatRule', 'coke/net/x', 'static: {externalAddress: www, address: 10.3.0.9}'),
      ).codes,
    ).toEqual([]);
    expect(at.remove('VirtualSubnet coke/net/red').rules).toEqual(['must have no users left: NatRule coke/net/x']);
    expect(at.apply(doc('VirtualSubnet', 'coke/net/red', 'prefixes: [10.4.0.0/24]')).codes).toEqual([
      'RULE_NAT_TARGET NatRule spec.static.address',
    ]);
    expect(at.remove('VirtualSubnet coke/net/red', 'NatRule coke/net/x').codes).toEqual([]);
  });
});

describe('CustomerRoute', () => {
  it('stands beside the routes of the network itself, which do not touch it', () => {
    const world = base(
      nat('coke/net/out') +
        doc('CustomerRoute', 'coke/net/hole', 'prefix: 10.66.0.0/16, blackhole: true') +
        doc('CustomerRoute', 'coke/net/ext', 'prefix: 198.18.0.0/15, gateway: true'),
    );
    const own =
      'apiVersion: weft/v1\nkind: VirtualNetwork\nmetadata: {tenant: coke, name: net}\nspec: {routes: [{prefix: 10.77.0.0/16, nextHop: 10.0.0.10}]}';
    expect(world.apply(own).codes).toEqual([]);
    expect(world.network('coke/net').routes.map(({ prefix, name }) => [prefix, name])).toEqual([
      ['10.77.0.0/16', undefined],
      ['10.66.0.0/16', 'hole'],
      ['198.18.0.0/15', 'ext'],
    ]);
    expect(isEmptyPlan(world.apply(own).plan)).toBe(true);
    expect(world.apply(doc('CustomerRoute', 'coke/net/x', 'prefix: 10.77.0.0/16, blackhole: true')).codes).toEqual([
      'RULE_ROUTE CustomerRoute spec.prefix',
    ]);
    expect(world.apply(doc('CustomerRoute', 'coke/net/x', 'prefix: 10.0.0.0/24, blackhole: true')).codes).toEqual([
      'RULE_ROUTE CustomerRoute spec.prefix',
    ]);
    expect(world.remove('CustomerRoute coke/net/hole').codes).toEqual([]);
    expect(world.network('coke/net').routes).toHaveLength(2);
  });
});

describe('address ranges', () => {
  it('hand out each address of a pool once, never a shared one, a next hop, or the network’s and broadcast address', () => {
    const range = fc.tuple(fc.integer({ min: 0, max: 250 }), fc.integer({ min: 0, max: 40 }), fc.integer({ min: 0, max: 20 }));
    fc.assert(
      fc.property(range, ([first, length, shared]) => {
        const last = Math.min(255, first + length);
        const pool = { addresses: [`203.0.113.${first}-203.0.113.${last}`], shared };
        const segment = { onLink: ['203.0.113.0/24'], nextHops: ['203.0.113.1'] };
        const all = [...poolAddresses(pool, segment, 4)];
        const low = sharedAddresses(pool, segment);
        expect(all.slice(0, shared)).toEqual(low);
        for (let n = first; n <= last; n++) {
          const address = `203.0.113.${n}`;
          expect(isHandedOut(pool, segment, address)).toBe(![0, 1, 255].includes(n) && !low.includes(address));
        }
        expect(new Set(all).size).toBe(all.length);
      }),
    );
  });
});
