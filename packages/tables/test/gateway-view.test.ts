import {
  ExternalAddressKind,
  ExternalPrefixKind,
  GatewayFlag,
  GatewayMode,
  type GatewayTableEntry,
  gatewayRowKey,
  MemoryGatewayTables,
  SourceRuleKind,
} from '@weft/forwarding';
import { releasable, settleSlices, type VirtualNetwork } from '@weft/model';
import { formatIp, parseIp } from '@weft/packet';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { doc, GATEWAY, GatewayMemory, nat, peering, tenant } from '../../model/test/gateway-world.ts';
import {
  compileGateway,
  type ExternalDevice,
  type GatewayFacts,
  type GatewayRowChanges,
  GatewayView,
  interfaceHolders,
  type NatSetup,
  natSetupKey,
  ownBlocks,
  ownPool,
  splitPrefix,
} from '../src/index.ts';

// Manifests are planned and written as a controller would, and the rows of a member are looked at as the packet path looks at them.

const device = (ifindex: number): ExternalDevice => ({
  ifindex,
  mac: Uint8Array.of(2, 0, 0, 0, 0, ifindex),
  mtuBytes: 9_000,
  address4: parseIp(`203.0.113.${ifindex}`),
  address6: new Uint8Array(16),
});
const devices = new Map([
  ['eth1', device(11)],
  ['eth1.210', device(12)],
]);

function factsOf(world: GatewayMemory, changes: Partial<GatewayFacts> = {}): GatewayFacts {
  const gateway = world.gateways.get('edge')!.value;
  return {
    hostId: 'gw-a',
    mtuBytes: 1_450,
    groups: [{ gateway, assignment: world.assignments.get(gateway.id)!.value }],
    networks: new Map([...world.networks.values()].map(({ value }) => [value.id, value])),
    vsidAllowed: () => true,
    devices,
    providerAddresses: new Map([['host-w', '198.51.100.4']]),
    ...changes,
  };
}
const world = (text = ''): GatewayMemory => {
  const made = new GatewayMemory();
  expect(made.apply(`${GATEWAY}---${tenant('coke')}---${tenant('pepsi').replaceAll('10.0.0.', '10.1.0.')}${text}`).codes).toEqual([]);
  return made;
};
const tablesOf = (facts: GatewayFacts) => {
  const { tables, nat: setup } = compileGateway(facts);
  return { at: new MemoryGatewayTables(tables.map((row) => ({ op: 'put', ...row }))), tables, setup };
};
const poolOf = (setup: readonly NatSetup[], pool: number): string[] =>
  setup.flatMap((row) =>
    row.table === 'nat_pool' && row.key.pool === pool ? row.value.addresses.map(({ address }) => formatIp(address)) : [],
  );

describe('compileGateway()', () => {
  it('gives segments, routes and peers of a member; nothing to a stranger', () => {
    const made = world();
    const { at } = tablesOf(factsOf(made));
    const [internet, mpls] = made.gateways.get('edge')!.value.segments;
    expect(at.external(11)).toMatchObject({ segment: internet!.id, mtuBytes: 1_500 });
    expect(at.segment(mpls!.id)).toMatchObject({ ifindex: 12 });
    const hop = (address: string, segment = internet!.id) => formatIp(at.externalRoute(segment, parseIp(address))!.nextHop);
    expect([hop('203.0.113.99'), hop('8.8.8.8'), hop('2001:db8:f00d::5'), hop('2001:db8::1'), hop('64:ff9b::1')]).toEqual([
      '::',
      '203.0.113.1',
      '::',
      '2001:db8:f00d::1',
      '2001:db8:f00d::1',
    ]);
    expect([hop('8.8.8.8', mpls!.id), at.externalRoute(mpls!.id, parseIp('2001:db8::1'))]).toEqual(['192.168.0.1', undefined]);
    expect(['198.51.100.2', '198.51.100.4', '198.51.100.1'].map((pa) => at.peerGateway(parseIp(pa)))).toEqual([true, true, false]);
    expect(compileGateway(factsOf(made, { hostId: 'host-x' }))).toEqual({ tables: [], nat: [] });
  });

  it('leaves an interface that two gateways name to the one whose segment is older, in whatever order they are told', () => {
    const made = world();
    const facts = factsOf(made);
    const [{ gateway, assignment }] = [facts.groups[0]!];
    const [internet, mpls] = gateway.segments;
    const late = { ...gateway, id: '99999999-9999-4999-8999-999999999999', name: 'late', segments: [{ ...internet!, id: mpls!.id + 7 }] };
    const groups = [{ gateway: late, assignment: { ...assignment, gatewayId: late.id } }, ...facts.groups];
    const { at } = tablesOf({ ...facts, groups });
    expect(at.external(11)).toMatchObject({ segment: internet!.id });
    expect(at.external(12)).toMatchObject({ segment: mpls!.id });
    expect(at.segment(late.segments[0]!.id)).toBeUndefined();
    expect(interfaceHolders([late, gateway], 'gw-a').get('eth1')).toEqual({
      interface: 'eth1',
      gatewayId: gateway.id,
      named: ['edge', 'late'],
    });
    // Alone it has it.
    expect(tablesOf({ ...facts, groups: groups.slice(0, 1) }).at.external(11)).toMatchObject({ segment: late.segments[0]!.id });
  });

  it('NAT: a network uses the shared addresses of its shard, and members grant from their own blocks', () => {
    const made = world(nat('coke/net/out'));
    const facts = factsOf(made);
    const { at, setup } = tablesOf(facts);
    const network = made.network('coke/net');
    const entry = at.gatewayNetwork(network.networkId)!;
    expect(entry).toMatchObject({ shard: network.gateway!.shard, mode: GatewayMode.NAT, flags: 0, mtuBytes: 1_450 });
    expect([formatIp(entry.gateway4), formatIp(entry.gateway6)]).toEqual(network.gateway!.addresses);
    const { assignment } = facts.groups[0]!;
    const shared = assignment.addresses.filter((one) => one.shard === network.gateway!.shard && !one.address.includes(':'));
    expect(poolOf(setup, entry.pool)).toEqual(shared.map(({ address }) => address));
    expect(at.externalAddress(entry.segment, parseIp(shared[0]!.address))).toMatchObject({
      kind: ExternalAddressKind.POOL,
      shard: entry.shard,
    });
    expect(at.sourceRule(network.networkId, parseIp('10.0.0.10'))).toBeUndefined();
    // Two members: every block is one's, none is both's.
    const [mine, theirs] = [ownBlocks(shared[0]!, 1), ownBlocks(shared[0]!, 2)];
    expect(mine.map((byte, i) => byte & theirs[i]!).every((byte) => byte === 0)).toBe(true);
    expect(mine.map((byte, i) => byte | theirs[i]!)).toEqual(Uint8Array.from({ length: 128 }, (_, i) => (i < 2 ? 0 : 0xff)));
    expect(setup).toContainEqual({
      table: 'gateway_quota',
      key: { networkId: network.networkId },
      value: { blocks: 64, blocksPerSource: 16, sessions: 65_536, newFlowsPerSecond: 10_000, pools: [entry.pool] },
    });
  });

  it('NAT rules: static, forwards, sources; what can not be kept denies', () => {
    const made = world(
      nat('coke/net/out', ', ipv6: nat66') +
        doc('ExternalAddress', 'coke/net/www', 'pool: public, use: static') +
        doc('ExternalAddress', 'coke/net/idle', 'pool: public, use: static') +
        doc('ExternalAddress', 'coke/net/fwd', 'pool: public, use: reserved') +
        doc('ExternalAddress', 'coke/net/own', 'pool: public, use: snat') +
        doc('NatRule', 'coke/net/a', 'static: {externalAddress: www, address: 10.0.0.10}') +
        doc('NatRule', 'coke/net/b', 'forward: {externalAddress: fwd, protocol: tcp, ports: 8000-8002, address: 10.0.0.11, port: 80}') +
        doc('NatRule', 'coke/net/c', 'snat: {source: 10.0.0.64/26, pool: public}') +
        doc('NatRule', 'coke/net/d', 'snat: {source: 10.0.0.128/26, externalAddress: own}'),
    );
    const { at, setup } = tablesOf(factsOf(made));
    const { networkId, gateway } = made.network('coke/net');
    const external = (name: string) => gateway!.externalAddresses.find((one) => one.name === name)!;
    const entry = (name: string) => at.externalAddress(external(name).segmentId, parseIp(external(name).address));
    expect(entry('www')).toMatchObject({ kind: ExternalAddressKind.STATIC, networkId, ca: parseIp('10.0.0.10') });
    expect(entry('idle')).toMatchObject({ kind: ExternalAddressKind.DENY, networkId: 0 });
    expect(entry('fwd')).toMatchObject({ kind: ExternalAddressKind.RESERVED, networkId });
    expect(entry('own')).toMatchObject({ kind: ExternalAddressKind.POOL, networkId });
    const rule = (source: string) => at.sourceRule(networkId, parseIp(source));
    expect(rule('10.0.0.10')).toMatchObject({ kind: SourceRuleKind.STATIC, address: parseIp(external('www').address) });
    expect(rule('10.0.0.130')).toMatchObject({ kind: SourceRuleKind.ADDRESS, pool: external('own').number });
    expect(poolOf(setup, external('own').number)).toEqual([external('own').address]);
    const shared = rule('10.0.0.70')!;
    expect(shared.kind).toBe(SourceRuleKind.POOL);
    expect(poolOf(setup, shared.pool).every((address) => /^203\.0\.113\.1[6-9]$/.test(address))).toBe(true);
    // Without a rule: the network's own addresses, since it has some; IPv6 by what is shared.
    const own = at.gatewayNetwork(networkId)!;
    expect([own.pool, poolOf(setup, own.pool)]).toEqual([ownPool(gateway!, 4), [external('own').address]]);
    const ipv6 = rule('fd00::1')!;
    expect([ipv6.kind, poolOf(setup, ipv6.pool).length]).toEqual([SourceRuleKind.POOL, 1]);
    expect(rule('10.0.0.5')).toBeUndefined();
    const forward = (port: number, protocol = 6) =>
      at.portForward(external('fwd').segmentId, parseIp(external('fwd').address), port, protocol);
    expect([8000, 8002].map((port) => forward(port))).toEqual([80, 82].map((port) => ({ networkId, port, ca: parseIp('10.0.0.11') })));
    expect([forward(8003), forward(8000, 17)]).toEqual([undefined, undefined]);
    // What the assignment has not given to the shard is denied, whatever the network says.
    const facts = factsOf(made);
    const [group] = facts.groups;
    const stale = { ...facts, groups: [{ ...group!, assignment: { ...group!.assignment, addresses: [] } }] };
    expect(tablesOf(stale).at.externalAddress(external('www').segmentId, parseIp(external('www').address))).toBeUndefined();
  });

  it('forward: prefixes as they are; nptv6 and IPv6 without translation: theirs only', () => {
    const made = world(
      doc('VirtualSubnet', 'coke/net/six', "prefixes: ['2001:db8:77::/64']") +
        doc('CustomerRoute', 'coke/net/behind', 'prefix: 10.44.0.0/16, nextHop: 10.0.0.10') +
        doc('GatewayConnection', 'coke/net/l3', 'gateway: edge, mode: forward, segment: mpls') +
        doc('VirtualSubnet', 'pepsi/net/six', "prefixes: ['fd00:5::/64']") +
        nat('pepsi/net/out', ", ipv6: nptv6, ipv6Inside: 'fd00:5::/56', ipv6Prefix: '2001:db8:aa00::/56'"),
    );
    const { at } = tablesOf(factsOf(made));
    const [coke, pepsi] = [made.network('coke/net'), made.network('pepsi/net')];
    const segment = (network: VirtualNetwork) => network.gateway!.connections[0]!.segmentId;
    const prefix = (network: VirtualNetwork, address: string) => at.externalPrefix(segment(network), parseIp(address));
    for (const address of ['10.0.0.9', '10.44.3.3', '2001:db8:77::5'])
      expect(prefix(coke, address), address).toEqual({ networkId: coke.networkId, kind: ExternalPrefixKind.FORWARD });
    expect(prefix(coke, '100.127.255.250')).toBeUndefined();
    expect(prefix(pepsi, '2001:db8:aa00::1')).toEqual({ networkId: pepsi.networkId, kind: ExternalPrefixKind.NPT });
    expect(prefix(pepsi, '10.1.0.10')).toBeUndefined();
    expect(at.gatewayNetwork(coke.networkId)).toMatchObject({ mode: GatewayMode.FORWARD, flags: GatewayFlag.FORWARD6 });
    expect(at.gatewayNetwork(pepsi.networkId)).toMatchObject({ mode: GatewayMode.NAT, flags: GatewayFlag.NPTV6, nptBits: 56 });
  });

  it('IPv6 without translation: only the prefix that was handed out leaves, whatever a customer route lets a VM send', () => {
    const made = world(
      doc('VirtualSubnet', 'coke/net/six', "prefixes: ['2001:db8:aa00::/64']") +
        doc('CustomerRoute', 'coke/net/stolen', "prefix: '2001:db8:bb00::/56', nextHop: '2001:db8:aa00::10'") +
        doc('Port', 'coke/net/router', "subnet: six, addresses: ['2001:db8:aa00::10']") +
        nat('coke/net/out', ", ipv6: forward, ipv6Prefix: '2001:db8:aa00::/56'"),
    );
    const { at } = tablesOf(factsOf(made));
    const { networkId } = made.network('coke/net');
    const kind = (source: string) => at.sourceRule(networkId, parseIp(source))?.kind;
    expect(['2001:db8:aa00::10', '2001:db8:aa00:ff::1'].map(kind)).toEqual([SourceRuleKind.PLAIN, SourceRuleKind.PLAIN]);
    expect(['2001:db8:bb00::1', '2001:db8:f00d::100', '2606:4700::1'].map(kind)).toEqual(Array(3).fill(SourceRuleKind.DENY));
    expect(kind('10.0.0.10')).toBeUndefined();
  });

  it('peering: what both sides said leads over, the rest nowhere; one side alone is pending', () => {
    const made = world(peering('coke/net/p', 'pepsi/net', '10.0.0.0/25', '10.1.0.0/16'));
    const reach = (from: string, to: string) => tablesOf(factsOf(made)).at.peering(made.network(from).networkId, parseIp(to))?.networkId;
    expect(reach('coke/net', '10.1.0.10')).toBe(0);
    expect(made.apply(peering('pepsi/net/c', 'coke/net', '10.1.0.0/24', '10.0.0.0/24')).codes).toEqual([]);
    const [coke, pepsi] = [made.network('coke/net').networkId, made.network('pepsi/net').networkId];
    expect([reach('coke/net', '10.1.0.10'), reach('coke/net', '10.1.9.9'), reach('coke/net', '10.9.0.1')]).toEqual([pepsi, 0, undefined]);
    expect([reach('pepsi/net', '10.0.0.10'), reach('pepsi/net', '10.0.0.200')]).toEqual([coke, 0]);
    expect(tablesOf(factsOf(made)).at.gatewayNetwork(coke)).toMatchObject({ mode: GatewayMode.INSIDE, segment: 0 });
    // A peer that this member knows nothing of, or on another shard, is none.
    const networks = new Map(factsOf(made).networks);
    networks.delete(made.network('pepsi/net').id);
    expect(tablesOf(factsOf(made, { networks })).at.peering(coke, parseIp('10.1.0.10'))).toMatchObject({ networkId: 0 });
  });

  it('of two networks with one external address neither has it, in whatever order they come', () => {
    const made = world(nat('coke/net/out') + nat('pepsi/net/out') + doc('ExternalAddress', 'coke/net/x', 'pool: public, use: reserved'));
    const [coke, pepsi] = [made.network('coke/net'), made.network('pepsi/net')];
    const thief = {
      ...pepsi,
      gateway: { ...pepsi.gateway!, shard: coke.gateway!.shard, externalAddresses: coke.gateway!.externalAddresses },
    };
    const { segmentId, address } = coke.gateway!.externalAddresses[0]!;
    for (const all of [
      [coke, thief],
      [thief, coke],
    ]) {
      const { at } = tablesOf(factsOf(made, { networks: new Map(all.map((one) => [one.id, one])) }));
      expect(at.externalAddress(segmentId, parseIp(address))).toMatchObject({ kind: ExternalAddressKind.DENY });
    }
  });

  it('denies a network whose gateway subnet is not claimed, or whose shard is not the group’s', () => {
    const made = world(nat('coke/net/out'));
    const { id, networkId, gateway } = made.network('coke/net');
    expect(tablesOf(factsOf(made, { vsidAllowed: () => false })).at.gatewayNetwork(networkId)).toBeUndefined();
    const elsewhere = { ...made.network('coke/net'), gateway: { ...gateway!, shard: 999_999 } };
    expect(tablesOf(factsOf(made, { networks: new Map([[id, elsewhere]]) })).at.gatewayNetwork(networkId)).toBeUndefined();
  });
});

describe('GatewayView', () => {
  type Step =
    | { readonly kind: 'manifest'; readonly text: string }
    | { readonly kind: 'delete'; readonly name: string }
    | { readonly kind: 'consent'; readonly member: number }
    | { readonly kind: 'hide'; readonly path: string }
    | { readonly kind: 'device'; readonly there: boolean };
  const texts = [
    nat('coke/net/out'),
    nat('pepsi/net/out', ', ipv6: nat66'),
    doc('ExternalAddress', 'coke/net/e', 'pool: public, use: reserved'),
    doc('NatRule', 'coke/net/r', 'forward: {externalAddress: e, protocol: udp, ports: 53, address: 10.0.0.10}'),
    doc('ExternalAddress', 'pepsi/net/e', 'pool: public, use: static'),
    doc('NatRule', 'pepsi/net/r', 'static: {externalAddress: e, address: 10.1.0.10}'),
    peering('coke/net/p', 'pepsi/net', '10.0.0.0/24', '10.1.0.0/24'),
    peering('pepsi/net/p', 'coke/net', '10.1.0.0/25', '10.0.0.0/16'),
    GATEWAY.replace('host: gw-b,', 'host: gw-b, drain: true,'),
    GATEWAY,
    GATEWAY.replace('witnesses', '  - {host: gw-c, interfaces: {internet: a, mpls: b}}\n  witnesses'),
  ];
  const names = [
    'NatRule coke/net/r',
    'ExternalAddress coke/net/e',
    'GatewayConnection coke/net/p',
    'GatewayConnection pepsi/net/p',
    'GatewayConnection coke/net/out',
    'NatRule pepsi/net/r',
  ];
  const step: fc.Arbitrary<Step> = fc.oneof(
    { weight: 6, arbitrary: fc.record({ kind: fc.constant('manifest' as const), text: fc.constantFrom(...texts) }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('delete' as const), name: fc.constantFrom(...names) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('consent' as const), member: fc.integer({ min: 1, max: 3 }) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('hide' as const), path: fc.constantFrom('coke/net', 'pepsi/net', '') }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('device' as const), there: fc.boolean() }) },
  );

  it('equals the rows from zero after any history, and its changes lead there', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
        const made = world();
        const view = new GatewayView();
        const tables = new Map<string, GatewayTableEntry>();
        const setup = new Map<string, NatSetup>();
        let hidden = '';
        let there = true;
        for (const one of steps) {
          if (one.kind === 'manifest') made.apply(one.text);
          else if (one.kind === 'delete') made.remove(one.name);
          else if (one.kind === 'hide') hidden = one.path;
          else if (one.kind === 'device') there = one.there;
          else {
            const [id, { value, revision }] = [...made.assignments][0]!;
            made.assignments.set(id, { value: settleSlices(value, one.member, releasable(value, one.member)), revision: revision + 1 });
          }
          const all = factsOf(made, there ? {} : { devices: new Map() });
          const facts = {
            ...all,
            networks: new Map([...all.networks].filter(([, network]) => `${network.tenant}/${network.name}` !== hidden)),
          };
          const zero = compileGateway(facts);
          follow(view.update(facts));
          const sorted = (rows: Iterable<GatewayTableEntry>) => [...rows].sort((a, b) => (gatewayRowKey(a) < gatewayRowKey(b) ? -1 : 1));
          expect(sorted(view.entries())).toEqual(sorted(zero.tables));
          expect(sorted(tables.values())).toEqual(sorted(zero.tables));
          expect([...setup.keys()].sort()).toEqual(zero.nat.map(natSetupKey).sort());
          expect(view.update(facts)).toEqual({ tables: [], nat: [] });
        }

        function follow(changes: GatewayRowChanges): void {
          for (const { op, ...row } of changes.tables) {
            if (op === 'put') tables.set(gatewayRowKey(row), row as GatewayTableEntry);
            else tables.delete(gatewayRowKey(row));
          }
          for (const { op, ...row } of changes.nat) {
            if (op === 'put') setup.set(natSetupKey(row), row as NatSetup);
            else setup.delete(natSetupKey(row));
          }
        }
      }),
      { numRuns: 30 },
    );
  }, 60_000);
});

describe('GatewayView, with many networks', () => {
  /** Copies of one network, as many documents. */
  const many = (count: number): { readonly made: GatewayMemory; readonly facts: GatewayFacts } => {
    const made = world(nat('coke/net/out'));
    const network = made.network('coke/net');
    const copies = Array.from({ length: count }, (_, i): VirtualNetwork => {
      const id = `${String(i).padStart(8, '0')}-0000-4000-8000-000000000000`;
      return { ...network, id, name: `n${i}`, networkId: 1_000 + i };
    });
    return { made, facts: factsOf(made, { networks: new Map(copies.map((one) => [one.id, one])) }) };
  };

  it('makes the rows of those that changed only: of none in a planned move, which changes who has blocks and who is first', () => {
    const { facts } = many(2_000);
    const view = new GatewayView();
    view.update(facts);
    expect(view.made).toBe(2_001);
    const [{ gateway, assignment }] = [facts.groups[0]!];
    const moved = {
      ...assignment,
      shards: assignment.shards.map((one) => ({ ...one, order: [...one.order].reverse(), placement: one.placement + 1 })),
      addresses: assignment.addresses.map((one) => ({ ...one, slices: [] })),
    };
    view.made = 0;
    const changes = view.update({ ...facts, groups: [{ gateway, assignment: moved }] });
    // Those of the member itself.
    expect(view.made).toBe(1);
    expect(changes.tables).toEqual([]);
    const [first] = facts.networks.values();
    view.made = 0;
    const { tables } = view.update({
      ...facts,
      groups: [{ gateway, assignment: moved }],
      networks: new Map([...facts.networks, [first!.id, { ...first!, networkId: 99 }]]),
    });
    expect(view.made).toBe(2);
    expect(tables.map(({ op, table }) => `${op} ${table}`)).toEqual(['delete gateway_network', 'put gateway_network']);
  });

  it('goes in steps of one network, then of one row that changes, so that others may work meanwhile', () => {
    const { facts } = many(500);
    const view = new GatewayView();
    let steps = 0;
    const work = view.updating(facts);
    for (let step = work.next(); ; step = work.next(), steps++) {
      if (step.done !== true) continue;
      const { tables, nat } = step.value;
      expect(tables.length).toBeGreaterThan(500);
      expect(steps).toBe(500 + tables.length + nat.length);
      break;
    }
    expect(view.update(facts)).toEqual({ tables: [], nat: [] });
  });
});

describe('splitPrefix()', () => {
  it('never covers IPv4 by an IPv6 prefix, and leaves others as they are', () => {
    const mapped = parseIp('198.51.100.7');
    const covers = ({ prefix, prefixLength }: { prefix: Uint8Array; prefixLength: number }, address: Uint8Array): boolean =>
      Array.from({ length: prefixLength }, (_, bit) => bit).every(
        (bit) => ((prefix[bit >> 3]! ^ address[bit >> 3]!) >> (7 - (bit & 7))) % 2 === 0,
      );
    for (const text of ['::/0', '::/1', '::/3', '::/8'])
      expect(
        splitPrefix(text).some((one) => covers(one, mapped)),
        text,
      ).toBe(false);
    for (const address of ['2001:db8::1', 'fd00::1', '64:ff9b::808:808', 'ffff::1'])
      expect(
        splitPrefix('::/0').filter((one) => covers(one, parseIp(address))),
        address,
      ).toHaveLength(1);
    expect(splitPrefix('10.0.0.0/8')).toEqual([{ prefix: parseIp('10.0.0.0'), prefixLength: 104 }]);
    expect(splitPrefix('nonsense')).toEqual([]);
  });
});
