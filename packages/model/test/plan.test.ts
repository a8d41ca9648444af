import { parseIp, parsePrefix, prefixContains, prefixesOverlap } from '@weft/packet';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  derivedMac,
  type IdMaker,
  isEmptyPlan,
  MAX_VSID,
  MIN_VSID,
  networkPath,
  type Plan,
  type PortBinding,
  parseManifests,
  planApply,
  planDelete,
  portPath,
  type Resource,
  type ResourceRef,
  type Stored,
  type World,
} from '../src/index.ts';

// A world in memory: plans are made against it and written to it, as a controller would.

let serial = 0;
const guids = new Map<string, string>();
const guid = (name: string): string => {
  if (!guids.has(name)) guids.set(name, `0b8f5e0a-0000-4000-8000-${String(++serial).padStart(12, '0')}`);
  return guids.get(name)!;
};
const ids: IdMaker = {
  tenant: (name) => guid(`t/${name}`),
  network: (tenant, name) => guid(`n/${tenant}/${name}`),
  port: (rdid, name) => guid(`p/${rdid}/${name}`),
  gateway: (name) => guid(`g/${name}`),
};

class Memory implements World {
  readonly tenants = new Map<string, Stored<never>>();
  readonly networks = new Map<string, Stored<never>>();
  readonly ports = new Map<string, Stored<never>>();
  readonly bindings = new Map<string, PortBinding>();
  #revision = 0;
  #vsid = 100_000;
  #networkId = 0;

  get networkNames(): Map<string, string[]> {
    const names = new Map<string, string[]>();
    for (const { value } of this.networks.values() as Iterable<Stored<{ tenant: string; name: string }>>)
      names.set(value.tenant, [...(names.get(value.tenant) ?? []), value.name]);
    return names;
  }
  get vsidOwners(): Map<number, string> {
    const owners = new Map<number, string>();
    for (const { value } of this.networks.values() as Iterable<Stored<{ id: string; subnets: { vsid: number }[] }>>)
      for (const { vsid } of value.subnets) owners.set(vsid, value.id);
    return owners;
  }
  get rdidOwners(): Map<string, string> {
    return new Map([...(this.networks as Map<string, Stored<{ id: string }>>)].map(([path, { value }]) => [value.id, path]));
  }

  write(plan: Plan): void {
    const put = (map: Map<string, Stored<never>>, key: string, value: unknown): void => {
      if (value === undefined) map.delete(key);
      else map.set(key, { value: value as never, revision: ++this.#revision });
    };
    for (const { before, after } of plan.tenants) put(this.tenants, (after ?? before!.value).name, after);
    const vsids = new Map<string, number>();
    for (const { before, after } of plan.networks) {
      const { tenant, name } = after ?? before!.value;
      const path = networkPath(tenant, name);
      const subnets = after?.subnets.map((subnet) => ({ ...subnet, vsid: subnet.vsid || ++this.#vsid }));
      for (const subnet of subnets ?? []) vsids.set(`${path}/${subnet.name}`, subnet.vsid);
      put(this.networks, path, after && { ...after, subnets, networkId: after.networkId || ++this.#networkId });
    }
    for (const { before, after } of plan.ports) {
      const { tenant, network, name } = after ?? before!.value;
      put(
        this.ports,
        portPath(tenant, network, name),
        after && { ...after, vsid: after.vsid || vsids.get(`${tenant}/${network}/${after.subnet}`) },
      );
    }
  }
}

const apply = (world: Memory, resources: readonly Resource[]) => {
  const { plan, problems } = planApply(world, { resources }, ids);
  if (problems.length === 0) world.write(plan);
  return { plan, problems, codes: problems.map(({ code, path }) => `${code} ${path}`).sort() };
};
const T = (name: string): string => `{kind: Tenant, metadata: {name: ${name}}, apiVersion: weft/v1}`;
const docs = (...lines: string[]): readonly Resource[] => parseManifests([{ name: 'x', text: lines.join('\n---\n') }]).resources;
const N = (tenant: string, name: string, spec = ''): string =>
  `{kind: VirtualNetwork, metadata: {tenant: ${tenant}, name: ${name}}, apiVersion: weft/v1, spec: {${spec}}}`;
const S = (path: string, spec: string): string => {
  const [tenant, network, name] = path.split('/');
  return `{kind: VirtualSubnet, metadata: {tenant: ${tenant}, network: ${network}, name: ${name}}, apiVersion: weft/v1, spec: {${spec}}}`;
};
const P = (path: string, spec: string): string => {
  const [tenant, network, name] = path.split('/');
  return `{kind: Port, metadata: {tenant: ${tenant}, network: ${network}, name: ${name}}, apiVersion: weft/v1, spec: {${spec}}}`;
};
const base = (): Memory => {
  const world = new Memory();
  const { codes } = apply(
    world,
    docs(
      T('t'),
      N('t', 'n'),
      S('t/n/blue', 'prefixes: [10.0.0.0/24, "2001:db8::/64"], vsid: 5000'),
      S('t/n/red', 'prefixes: [10.0.1.0/24]'),
      P('t/n/a', "subnet: blue, mac: '02:00:00:00:00:01', addresses: [10.0.0.10]"),
    ),
  );
  expect(codes).toEqual([]);
  return world;
};

describe('planApply()', () => {
  it.each([
    [
      'overlap, larger',
      S('t/n/x', 'prefixes: [10.0.0.0/16]'),
      ['WEFT_ERR_RULE_PREFIX_OVERLAP spec.prefixes[0]', 'WEFT_ERR_RULE_PREFIX_OVERLAP spec.prefixes[0]'],
    ],
    ['overlap, smaller', S('t/n/x', 'prefixes: [10.0.0.128/25]'), ['WEFT_ERR_RULE_PREFIX_OVERLAP spec.prefixes[0]']],
    ['overlap, the same', S('t/n/x', 'prefixes: [10.0.0.0/24]'), ['WEFT_ERR_RULE_PREFIX_OVERLAP spec.prefixes[0]']],
    ['VSID too low', S('t/n/x', `prefixes: [10.9.0.0/24], vsid: ${MIN_VSID - 1}`), ['WEFT_ERR_RULE_VSID_RANGE spec.vsid']],
    ['VSID too high', S('t/n/x', `prefixes: [10.9.0.0/24], vsid: ${MAX_VSID + 1}`), ['WEFT_ERR_RULE_VSID_RANGE spec.vsid']],
    ['VSID used', S('t/n/x', 'prefixes: [10.9.0.0/24], vsid: 5000'), ['WEFT_ERR_RULE_VSID_USED spec.vsid']],
    ['VSID changed', S('t/n/blue', 'prefixes: [10.0.0.0/24, "2001:db8::/64"], vsid: 5001'), ['WEFT_ERR_RULE_IMMUTABLE spec.vsid']],
    ['two IPv4 prefixes', S('t/n/x', 'prefixes: [10.9.0.0/24, 10.10.0.0/24]'), ['WEFT_ERR_RULE_PREFIX spec.prefixes[1]']],
    ['host bits', S('t/n/x', 'prefixes: [10.9.0.1/24]'), ['WEFT_ERR_RULE_PREFIX spec.prefixes[0]']],
    ['IPv6 not canonical', S('t/n/x', 'prefixes: ["2001:DB8:1::/64"]'), ['WEFT_ERR_RULE_PREFIX spec.prefixes[0]']],
    ['a /31', S('t/n/x', 'prefixes: [10.9.0.0/31]'), ['WEFT_ERR_RULE_PREFIX spec.prefixes[0]']],
    ['multicast prefix', S('t/n/x', 'prefixes: [224.0.0.0/24]'), ['WEFT_ERR_RULE_PREFIX spec.prefixes[0]']],
    ['gateway outside', S('t/n/x', 'prefixes: [10.9.0.0/24], gateways: [10.8.0.1]'), ['WEFT_ERR_RULE_GATEWAY spec.gateways[0]']],
    ['gateway is broadcast', S('t/n/x', 'prefixes: [10.9.0.0/24], gateways: [10.9.0.255]'), ['WEFT_ERR_RULE_GATEWAY spec.gateways[0]']],
    [
      'gateway onto a port',
      S('t/n/blue', 'prefixes: [10.0.0.0/24, "2001:db8::/64"], gateways: [10.0.0.10]'),
      ['WEFT_ERR_RULE_IN_USE spec.prefixes'],
    ],
    ['prefix leaves a port', S('t/n/blue', 'prefixes: [10.0.0.64/26]'), ['WEFT_ERR_RULE_IN_USE spec.prefixes']],
    ['CA outside', P('t/n/x', 'subnet: blue, addresses: [10.0.1.10]'), ['WEFT_ERR_RULE_ADDRESS_OUTSIDE spec.addresses[0]']],
    ['CA is the gateway', P('t/n/x', 'subnet: blue, addresses: [10.0.0.1]'), ['WEFT_ERR_RULE_ADDRESS_RESERVED spec.addresses[0]']],
    ['CA is the network', P('t/n/x', 'subnet: blue, addresses: [10.0.0.0]'), ['WEFT_ERR_RULE_ADDRESS_RESERVED spec.addresses[0]']],
    ['CA is broadcast', P('t/n/x', 'subnet: blue, addresses: [10.0.0.255]'), ['WEFT_ERR_RULE_ADDRESS_RESERVED spec.addresses[0]']],
    [
      'CA is the subnet-router anycast',
      P('t/n/x', 'subnet: blue, addresses: ["2001:db8::"]'),
      ['WEFT_ERR_RULE_ADDRESS_RESERVED spec.addresses[0]'],
    ],
    ['CA used', P('t/n/x', 'subnet: blue, addresses: [10.0.0.10]'), ['WEFT_ERR_RULE_ADDRESS_USED spec.addresses[0]']],
    [
      'CA twice in one port',
      P('t/n/x', 'subnet: blue, addresses: [10.0.0.11, 10.0.0.11]'),
      ['WEFT_ERR_RULE_ADDRESS_USED spec.addresses[1]'],
    ],
    ['CA not canonical', P('t/n/x', 'subnet: blue, addresses: [10.0.0.011]'), ['WEFT_ERR_RULE_ADDRESS spec.addresses[0]']],
    ['CA as mapped IPv6', P('t/n/x', 'subnet: blue, addresses: ["::ffff:10.0.0.11"]'), ['WEFT_ERR_RULE_ADDRESS spec.addresses[0]']],
    ['no CA', P('t/n/x', 'subnet: blue, addresses: []'), ['WEFT_ERR_RULE_ADDRESS spec.addresses']],
    [
      'MAC used in the subnet',
      P('t/n/x', "subnet: blue, mac: '02:00:00:00:00:01', addresses: [10.0.0.11]"),
      ['WEFT_ERR_RULE_MAC_USED spec.mac'],
    ],
    ['MAC in capitals', P('t/n/x', "subnet: blue, mac: '02:00:00:00:00:AB', addresses: [10.0.0.11]"), ['WEFT_ERR_RULE_MAC spec.mac']],
    ['MAC with dashes', P('t/n/x', "subnet: blue, mac: '02-00-00-00-00-0b', addresses: [10.0.0.11]"), ['WEFT_ERR_RULE_MAC spec.mac']],
    ['multicast MAC', P('t/n/x', "subnet: blue, mac: '01:00:5e:00:00:01', addresses: [10.0.0.11]"), ['WEFT_ERR_RULE_MAC spec.mac']],
    ['zero MAC', P('t/n/x', "subnet: blue, mac: '00:00:00:00:00:00', addresses: [10.0.0.11]"), ['WEFT_ERR_RULE_MAC spec.mac']],
    ["a gateway's MAC", P('t/n/x', "subnet: blue, mac: '02:57:46:00:00:01', addresses: [10.0.0.11]"), ['WEFT_ERR_RULE_MAC spec.mac']],
    ['port moved to another subnet', P('t/n/a', 'subnet: red, addresses: [10.0.1.10]'), ['WEFT_ERR_RULE_IMMUTABLE spec.subnet']],
    ['placement empty', P('t/n/x', 'subnet: blue, addresses: [10.0.0.11], placement: []'), ['WEFT_ERR_RULE_PLACEMENT spec.placement']],
    [
      'placement names',
      P('t/n/x', 'subnet: blue, addresses: [10.0.0.11], placement: [Host_A]'),
      ['WEFT_ERR_RULE_PLACEMENT spec.placement.hosts[0]'],
    ],
    [
      'route to nobody',
      N('t', 'n', 'routes: [{prefix: 0.0.0.0/0, nextHop: 10.0.0.99}]'),
      ['WEFT_ERR_RULE_NEXT_HOP spec.routes[0].nextHop'],
    ],
    [
      'route of another family',
      N('t', 'n', 'routes: [{prefix: "::/0", nextHop: 10.0.0.10}]'),
      ['WEFT_ERR_RULE_NEXT_HOP spec.routes[0].nextHop'],
    ],
    [
      "route to a subnet's prefix",
      N('t', 'n', 'routes: [{prefix: 10.0.0.0/24, nextHop: 10.0.0.10}]'),
      ['WEFT_ERR_RULE_ROUTE spec.routes[0].prefix'],
    ],
    [
      'route twice',
      N('t', 'n', 'routes: [{prefix: 0.0.0.0/0, nextHop: 10.0.0.10}, {prefix: 0.0.0.0/0, blackhole: true}]'),
      ['WEFT_ERR_RULE_ROUTE spec.routes[1].prefix'],
    ],
    [
      'route with host bits',
      N('t', 'n', 'routes: [{prefix: 192.0.2.1/24, nextHop: 10.0.0.10}]'),
      ['WEFT_ERR_RULE_ROUTE spec.routes[0].prefix'],
    ],
    ['unknown tenant', N('other', 'n'), ['WEFT_ERR_RULE_TENANT_UNKNOWN metadata.tenant']],
    ['unknown network', S('t/other/x', 'prefixes: [10.9.0.0/24]'), ['WEFT_ERR_RULE_NETWORK_UNKNOWN metadata.network']],
    ['unknown subnet', P('t/n/x', 'subnet: other, addresses: [10.0.0.11]'), ['WEFT_ERR_RULE_SUBNET_UNKNOWN spec.subnet']],
    ['bad name', T('Coke'), ['WEFT_ERR_RULE_NAME metadata.name']],
    [
      'rdid in braces',
      N('t', 'm', 'routingDomainId: "{0b8f5e0a-0000-4000-8000-00000000000a}"'),
      ['WEFT_ERR_RULE_RDID spec.routingDomainId'],
    ],
    [
      'rdid changed',
      N('t', 'n', 'routingDomainId: 0b8f5e0a-1111-4000-8000-00000000000a'),
      ['WEFT_ERR_RULE_IMMUTABLE spec.routingDomainId'],
    ],
    ['resource twice', `${T('x')}\n---\n${T('x')}`, ['WEFT_ERR_RULE_DUPLICATE metadata.name']],
  ])('refuses: %s', (_, text, expected) => {
    const world = base();
    const { codes, problems } = apply(world, docs(text));
    expect(codes.slice(0, expected.length)).toEqual(expected);
    expect(new Set(codes)).toEqual(new Set(expected));
    for (const problem of problems)
      for (const part of [problem.resource, problem.rule, problem.hint]) expect(part, JSON.stringify(problem)).not.toBe('');
  });

  it('allows a MAC in two subnets, an address in two networks, and two tenants that are alike', () => {
    const world = base();
    expect(apply(world, docs(P('t/n/b', "subnet: red, mac: '02:00:00:00:00:01', addresses: [10.0.1.10]"))).codes).toEqual([]);
    expect(
      apply(
        world,
        docs(
          T('u'),
          N('u', 'n'),
          S('u/n/blue', 'prefixes: [10.0.0.0/24]'),
          P('u/n/a', "subnet: blue, mac: '02:00:00:00:00:01', addresses: [10.0.0.10]"),
        ),
      ).codes,
    ).toEqual([]);
  });

  it('does not tell a tenant whose VSID it is', () => {
    const world = base();
    const { problems } = apply(world, docs(T('u'), N('u', 'n'), S('u/n/x', 'prefixes: [10.0.0.0/24], vsid: 5000')));
    expect(problems.map(({ code }) => code)).toEqual(['WEFT_ERR_RULE_VSID_USED']);
    expect(JSON.stringify(problems)).not.toContain('t/n');
  });

  it('takes a route together with the port it leads to, and lets a port keep a next hop under another name', () => {
    const world = base();
    expect(
      apply(
        world,
        docs(
          N('t', 'n', 'routes: [{prefix: 0.0.0.0/0, nextHop: 10.0.0.20}, {prefix: 192.0.2.0/24, blackhole: true}]'),
          P('t/n/r', 'subnet: blue, addresses: [10.0.0.20]'),
        ),
      ).codes,
    ).toEqual([]);
    expect(apply(world, docs(P('t/n/r', 'subnet: blue, addresses: [10.0.0.21]'))).codes).toEqual([
      'WEFT_ERR_RULE_NEXT_HOP spec.routes[0].nextHop',
    ]);
  });

  it('derives one MAC for one port, unicast and locally administered', () => {
    const mac = derivedMac('0b8f5e0a-0000-4000-8000-00ab01020304');
    expect(mac).toBe('06:ab:01:02:03:04');
  });
});

describe('planDelete()', () => {
  const ref = (text: string): ResourceRef => {
    const [kind = '', path = ''] = text.split(' ');
    const parts = path.split('/');
    return { kind, name: parts.at(-1)!, tenant: parts.length > 1 ? parts[0]! : '', network: parts.length > 2 ? parts[1]! : '' };
  };
  const remove = (world: Memory, ...refs: string[]) => {
    const { plan, problems } = planDelete(world, { refs: refs.map(ref) });
    if (problems.length === 0) world.write(plan);
    return problems.map(({ code, resource }) => `${code} ${resource}`);
  };

  it('refuses a bound port, and what is not there', () => {
    const world = base();
    const port = world.ports.get('t/n/a')!.value as { id: string };
    world.bindings.set(port.id, { state: 'bound', hostId: 'host-a', device: 'tap0' } as PortBinding);
    expect(remove(world, 'Port t/n/a')).toEqual(['WEFT_ERR_RULE_IN_USE Port t/n/a']);
    world.bindings.set(port.id, { state: 'released', hostId: 'host-a', device: 'tap0' } as PortBinding);
    expect(remove(world, 'Port t/n/a')).toEqual([]);
    expect(remove(world, 'Port t/n/a', 'Tenant x', 'Host a')).toEqual([
      'WEFT_ERR_RULE_NOT_FOUND Port t/n/a',
      'WEFT_ERR_RULE_NOT_FOUND Tenant x',
      'WEFT_ERR_MANIFEST_KIND Host a',
    ]);
  });

  it('takes subnets out of a network one by one or with it', () => {
    const world = base();
    expect(remove(world, 'VirtualSubnet t/n/red')).toEqual([]);
    expect(remove(world, 'VirtualNetwork t/n', 'Port t/n/a')).toEqual(['WEFT_ERR_RULE_IN_USE VirtualNetwork t/n']);
    expect(remove(world, 'VirtualNetwork t/n', 'Port t/n/a', 'VirtualSubnet t/n/blue', 'Tenant t')).toEqual([]);
    expect([world.tenants.size, world.networks.size, world.ports.size]).toEqual([0, 0, 0]);
  });
});

describe('any sequence of requests', () => {
  const small = fc.integer({ min: 0, max: 3 });
  const tenant = fc.constantFrom('t', 'u');
  const subnetName = fc.constantFrom('s0', 's1', 's2');
  const prefix = fc.tuple(small, fc.constantFrom(24, 25, 23, 26)).map(([n, length]) => `10.0.${length === 23 ? n * 2 : n}.0/${length}`);
  const resource = fc.oneof(
    tenant.map((name): Resource => ({ kind: 'tenant', value: { name } })),
    tenant.map((name): Resource => ({ kind: 'network', value: { tenant: name, name: 'n', routingDomainId: '', routes: [] } })),
    fc.tuple(tenant, subnetName, prefix, fc.constantFrom(0, 0, 5000, 5001)).map(
      ([name, subnet, text, vsid]): Resource => ({
        kind: 'subnet',
        value: { tenant: name, network: 'n', name: subnet, vsid, prefixes: [text], gateways: [] },
      }),
    ),
    fc
      .tuple(
        tenant,
        subnetName,
        fc.constantFrom('a', 'b', 'c'),
        small,
        fc.integer({ min: 0, max: 12 }),
        fc.constantFrom('', '02:00:00:00:00:01', '02:00:00:00:00:02'),
      )
      .map(
        ([name, subnet, port, net, hostPart, mac]): Resource => ({
          kind: 'port',
          value: { tenant: name, network: 'n', subnet, name: port, mac, addresses: [`10.0.${net}.${hostPart}`], placement: undefined },
        }),
      ),
  );

  it('leaves a world in which all rules hold; the same request again plans nothing', () => {
    fc.assert(
      fc.property(fc.array(fc.array(resource, { minLength: 1, maxLength: 8 }), { minLength: 1, maxLength: 8 }), (requests) => {
        const world = new Memory();
        apply(
          world,
          docs(T('t'), T('u'), N('t', 'n'), N('u', 'n'), S('t/n/s0', 'prefixes: [10.0.0.0/24]'), S('u/n/s0', 'prefixes: [10.0.0.0/24]')),
        );
        for (const resources of requests) {
          const before = JSON.stringify([[...world.networks], [...world.ports]]);
          const { problems } = apply(world, resources);
          if (problems.length > 0) expect(JSON.stringify([[...world.networks], [...world.ports]])).toBe(before);
          else expect(isEmptyPlan(planApply(world, { resources }, ids).plan)).toBe(true);
          judge(world);
        }
      }),
      { numRuns: 300 },
    );
  });

  /** The rules, written a second time and plainly. */
  function judge(world: Memory): void {
    type N = Stored<{
      id: string;
      tenant: string;
      networkId: number;
      subnets: { name: string; vsid: number; prefixes: string[]; gateways: string[] }[];
    }>;
    type P = Stored<{ routingDomainId: string; subnet: string; vsid: number; mac: string; addresses: string[] }>;
    const networks = [...(world.networks as Map<string, N>).values()].map(({ value }) => value);
    const ports = [...(world.ports as Map<string, P>).values()].map(({ value }) => value);
    const unique = (values: unknown[]): void => expect(new Set(values).size).toBe(values.length);
    unique(networks.flatMap(({ subnets }) => subnets.map(({ vsid }) => vsid)));
    unique(networks.map(({ networkId }) => networkId));
    unique(ports.flatMap(({ routingDomainId, addresses }) => addresses.map((address) => `${routingDomainId} ${address}`)));
    unique(ports.map(({ vsid, mac }) => `${vsid} ${mac}`));
    for (const { subnets } of networks) {
      const prefixes = subnets.map(({ prefixes: [text] }) => parsePrefix(text!));
      for (const [i, a] of prefixes.entries()) for (const b of prefixes.slice(i + 1)) expect(prefixesOverlap(a, b)).toBe(false);
    }
    for (const port of ports) {
      const subnet = networks.find(({ id }) => id === port.routingDomainId)!.subnets.find(({ name }) => name === port.subnet)!;
      expect(port.vsid).toBe(subnet.vsid);
      for (const address of port.addresses) {
        expect(prefixContains(parsePrefix(subnet.prefixes[0]!), parseIp(address))).toBe(true);
        expect(subnet.gateways).not.toContain(address);
      }
    }
  }
});
