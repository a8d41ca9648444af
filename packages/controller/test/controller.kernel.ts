import { configKey, configPrefix, type Port, type VirtualNetwork } from '@weft/model';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ids } from '../src/index.ts';
import { type Harness, manifests, startHarness } from './harness.ts';

let weft: Harness;
beforeAll(async () => {
  weft = await startHarness();
  await weft.addController();
});
afterAll(async () => {
  await weft?.close();
});

const list = { tenant: '', network: '', name: '' };
const codes = (answer: { problems: readonly { code: string; path: string }[] }): string[] =>
  answer.problems.map(({ code, path }) => `${code} ${path}`);
const networkOf = async (tenant: string, name = 'net'): Promise<VirtualNetwork> => {
  const { records } = await weft.ask({ kind: 'list', value: { ...list, kinds: ['VirtualNetwork'], tenant, network: name } });
  expect(records).toHaveLength(1);
  return records[0]!.value as VirtualNetwork;
};
const portsOf = async (tenant: string): Promise<Port[]> =>
  (await weft.ask({ kind: 'list', value: { ...list, kinds: ['Port'], tenant } })).records.map((record) => record.value as Port);

describe('apply', () => {
  it('makes tenant, network, subnets and ports; again, nothing changes and no revision rises', async () => {
    const yaml = manifests('coke', {
      subnets: { blue: 'prefixes: [10.0.1.0/24, 2001:db8:1::/64]', green: 'prefixes: [10.0.2.0/24], gateways: [10.0.2.254], vsid: 5001' },
      ports: {
        a: "subnet: blue, mac: '02:00:00:00:00:01', addresses: [10.0.1.10, '2001:db8:1::10']",
        b: 'subnet: green, addresses: [10.0.2.10], placement: [h1, h2]',
      },
    });
    const first = await weft.apply(yaml);
    expect(first.problems).toEqual([]);
    expect(first.changes.map(({ action, resource }) => `${action} ${resource}`)).toEqual([
      'created Tenant coke',
      'created VirtualNetwork coke/net',
      'created VirtualSubnet coke/net/blue',
      'created VirtualSubnet coke/net/green',
      'created Port coke/net/a',
      'created Port coke/net/b',
    ]);
    const network = await networkOf('coke');
    expect(network.networkId).toBeGreaterThan(0);
    expect(network.subnets.map(({ name, gateways }) => [name, gateways])).toEqual([
      ['blue', ['10.0.1.1', '2001:db8:1::1']],
      ['green', ['10.0.2.254']],
    ]);
    expect(network.subnets[1]!.vsid).toBe(5001);
    const [a, b] = (await portsOf('coke')).sort((x, y) => (x.name < y.name ? -1 : 1)) as [Port, Port];
    expect(a.vsid).toBe(network.subnets[0]!.vsid);
    expect(first.changes[2]!.fields).toContainEqual({ path: 'spec.vsid', before: '', after: String(a.vsid) });
    expect(b.mac).toMatch(/^06(:[0-9a-f]{2}){5}$/);
    expect(b.placement).toEqual({ mode: 'list', hosts: ['h1', 'h2'] });

    const second = await weft.apply(yaml);
    expect(second.changes.every(({ action }) => action === 'unchanged')).toBe(true);
    expect(second.changes.map(({ revision }) => revision)).toEqual(first.changes.map(({ revision }) => revision));
  });

  it('gives two tenants the same subnets, MACs and addresses, with different VSIDs and network ids', async () => {
    const same = {
      subnets: { blue: 'prefixes: [10.0.1.0/24]' },
      ports: { a: "subnet: blue, mac: '02:00:00:00:00:01', addresses: [10.0.1.10]" },
    };
    expect((await weft.apply(manifests('pepsi', same))).problems).toEqual([]);
    expect((await weft.apply(manifests('fanta', same))).problems).toEqual([]);
    const [pepsi, fanta] = [await networkOf('pepsi'), await networkOf('fanta')];
    expect(pepsi.networkId).not.toBe(fanta.networkId);
    expect(pepsi.subnets[0]!.vsid).not.toBe(fanta.subnets[0]!.vsid);
  });

  it('a dry run tells the changes and makes none', async () => {
    const yaml = manifests('dry', { ports: { a: 'subnet: blue, addresses: [10.0.1.10]' } });
    const before = await weft.store.config.status();
    const answer = await weft.apply(yaml, { dryRun: true });
    expect(answer.changes.map(({ action }) => action)).toEqual(['created', 'created', 'created', 'created']);
    expect((await weft.store.config.status()).lastSequence).toBe(before.lastSequence);
  });

  it('refuses the whole when one part is wrong, naming all that is', async () => {
    const before = await weft.store.config.snapshot(configPrefix.networks);
    const answer = await weft.apply(
      manifests('bad', {
        subnets: {
          blue: 'prefixes: [10.0.1.0/24], vsid: 5001',
          red: 'prefixes: [10.0.1.128/25]',
          tiny: 'prefixes: [10.9.0.0/24], vsid: 99',
        },
        ports: { a: 'subnet: nowhere, addresses: [10.0.1.10]', b: "subnet: red, mac: '03:00:00:00:00:01', addresses: [10.7.0.1]" },
      }),
    );
    expect(codes(answer).sort()).toEqual(
      [
        'WEFT_ERR_RULE_ADDRESS_OUTSIDE spec.addresses[0]',
        'WEFT_ERR_RULE_MAC spec.mac',
        'WEFT_ERR_RULE_PREFIX_OVERLAP spec.prefixes[0]',
        'WEFT_ERR_RULE_SUBNET_UNKNOWN spec.subnet',
        'WEFT_ERR_RULE_VSID_RANGE spec.vsid',
        'WEFT_ERR_RULE_VSID_USED spec.vsid',
      ].sort(),
    );
    expect((await weft.store.config.snapshot(configPrefix.networks)).entries).toHaveLength(before.entries.length);
    expect((await weft.ask({ kind: 'list', value: { ...list, kinds: ['Tenant'], name: 'bad' } })).records).toEqual([]);
  });

  it('swaps the addresses of two ports in one request, and frees what is no longer used', async () => {
    const ports = (a: string, b: string): string =>
      manifests('swap', { ports: { a: `subnet: blue, addresses: [${a}]`, b: `subnet: blue, addresses: [${b}]` } });
    expect((await weft.apply(ports('10.0.1.10', '10.0.1.11'))).problems).toEqual([]);
    expect((await weft.apply(ports('10.0.1.11', '10.0.1.10'))).problems).toEqual([]);
    expect((await portsOf('swap')).map(({ name, addresses }) => `${name} ${addresses}`).sort()).toEqual(['a 10.0.1.11', 'b 10.0.1.10']);
    expect((await weft.apply(ports('10.0.1.12', '10.0.1.11'))).problems).toEqual([]);
    const rdid = (await networkOf('swap')).id;
    const claims = (await weft.store.config.snapshot(configPrefix.addressClaims(rdid))).entries.map(({ key }) => key).sort();
    expect(claims).toEqual([configKey.addressClaim(rdid, '10.0.1.11'), configKey.addressClaim(rdid, '10.0.1.12')].sort());
  });

  it('carries a request id out once, whoever repeats it', async () => {
    const yaml = manifests('once');
    expect((await weft.apply(yaml, { requestId: 'request-once-1' })).problems).toEqual([]);
    // The same controller remembers its answer; another one sees the mark.
    expect((await weft.apply(yaml, { requestId: 'request-once-1' })).changes.map(({ action }) => action)).toEqual([
      'created',
      'created',
      'created',
    ]);
    const entry = await weft.store.config.get(configKey.intent('request-once-1'));
    expect(entry).toBeDefined();
  });
});

describe('delete', () => {
  it('refuses what is still used, takes what is deleted together, frees names and VSIDs, and gives a new network id after', async () => {
    const yaml = manifests('gone', {
      subnets: { blue: 'prefixes: [10.0.1.0/24], vsid: 6001' },
      ports: { a: 'subnet: blue, addresses: [10.0.1.10]' },
    });
    await weft.apply(yaml);
    const first = await networkOf('gone');
    expect(codes(await weft.remove(['Tenant gone']))).toEqual(['WEFT_ERR_RULE_IN_USE metadata.name']);
    expect(codes(await weft.remove(['VirtualNetwork gone/net']))).toEqual([
      'WEFT_ERR_RULE_IN_USE metadata.name',
      'WEFT_ERR_RULE_IN_USE metadata.name',
    ]);
    expect(codes(await weft.remove(['VirtualSubnet gone/net/blue']))).toEqual(['WEFT_ERR_RULE_IN_USE metadata.name']);
    expect(codes(await weft.remove(['Port gone/net/z']))).toEqual(['WEFT_ERR_RULE_NOT_FOUND metadata.name']);
    const all = await weft.remove(['Tenant gone', 'VirtualNetwork gone/net', 'VirtualSubnet gone/net/blue', 'Port gone/net/a']);
    expect(all.problems).toEqual([]);
    expect(all.changes.map(({ action }) => action)).toEqual(['deleted', 'deleted', 'deleted', 'deleted']);
    const left = (await weft.store.config.snapshot(configPrefix.claims)).entries
      .map(({ key }) => key)
      .filter((key) => key.includes(first.id) || key.endsWith('.6001') || key.includes('mac.6001'));
    expect(left).toEqual([]);
    expect((await weft.apply(yaml)).problems).toEqual([]);
    const second = await networkOf('gone');
    expect(second.id).toBe(first.id);
    expect(second.networkId).toBeGreaterThan(first.networkId);
  });

  it('keeps a port that is a next hop, and a subnet change that strands a port', async () => {
    const net = `apiVersion: weft/v1\nkind: VirtualNetwork\nmetadata: {tenant: hops, name: net}\nspec: {routes: [{prefix: 0.0.0.0/0, nextHop: 10.0.1.10}]}`;
    const yaml = manifests('hops', { ports: { a: 'subnet: blue, addresses: [10.0.1.10]' } });
    await weft.apply(yaml);
    expect((await weft.apply(net)).problems).toEqual([]);
    expect(codes(await weft.remove(['Port hops/net/a']))).toEqual(['WEFT_ERR_RULE_IN_USE metadata.name']);
    const narrower = `apiVersion: weft/v1\nkind: VirtualSubnet\nmetadata: {tenant: hops, network: net, name: blue}\nspec: {prefixes: [10.0.1.128/25]}`;
    expect(codes(await weft.apply(narrower))).toEqual(['WEFT_ERR_RULE_IN_USE spec.prefixes']);
    const moved = `apiVersion: weft/v1\nkind: Port\nmetadata: {tenant: hops, network: net, name: a}\nspec: {subnet: blue, addresses: [10.0.1.200]}`;
    expect(codes(await weft.apply(moved))).toEqual(['WEFT_ERR_RULE_NEXT_HOP spec.routes[0].nextHop']);
  });
});

describe('authorization', () => {
  it('a tenant user acts for its tenants only, a viewer reads, a stranger is nobody', async () => {
    const alice = await weft.addPrincipal('tenant', 'alice', ['alpha']);
    const viewer = await weft.addPrincipal('viewer', 'vera');
    const { createIdentity } = await import('@weft/bus');
    const stranger = createIdentity('user');
    expect((await weft.apply(manifests('alpha'), { as: alice })).problems).toEqual([]);
    expect(codes(await weft.apply(manifests('beta'), { as: alice }))).toEqual(Array(3).fill('WEFT_ERR_TRUST_TENANT '));
    expect(codes(await weft.apply(manifests('alpha'), { as: viewer }))[0]).toBe('WEFT_ERR_TRUST_ROLE ');
    expect(codes(await weft.apply(manifests('alpha'), { as: stranger }))[0]).toBe('WEFT_ERR_TRUST_UNKNOWN_KEY ');
    const seen = await weft.ask({ kind: 'list', value: { ...list, kinds: ['VirtualNetwork'] } }, { as: alice });
    expect(seen.records.map((record) => (record.value as VirtualNetwork).tenant)).toEqual(['alpha']);
    expect((await weft.ask({ kind: 'list', value: { ...list, kinds: ['Principal'] } }, { as: alice })).records).toEqual([]);
    expect((await weft.ask({ kind: 'list', value: { ...list, kinds: [] } }, { as: viewer })).records.length).toBeGreaterThan(5);
    expect(codes(await weft.ask({ kind: 'list', value: { ...list, kinds: ['Tenant'] } }, { as: stranger }))).toEqual([
      'WEFT_ERR_TRUST_UNKNOWN_KEY ',
    ]);
    expect(codes(await weft.ask({ kind: 'list', value: { ...list, kinds: ['Tenannt'] } }))).toEqual(['WEFT_ERR_MANIFEST_KIND ']);
  });

  it('a record that no controller signed is refused, not built upon', async () => {
    const { commitRecord } = await import('@weft/bus');
    const mallory = await weft.addPrincipal('tenant', 'mallory', ['evil']);
    const id = ids.tenant('evil');
    await commitRecord({
      bus: weft.bus,
      bucket: weft.store.config,
      identity: mallory,
      key: configKey.tenant(id),
      tenant: 'evil',
      current: undefined,
      after: { kind: 'tenant', value: { id, name: 'evil' } },
      authorKey: mallory.publicKey,
      authorName: 'mallory',
      requestId: 'request-evil',
      nowMs: Date.now(),
    });
    expect(codes(await weft.apply(manifests('evil'), { as: mallory }))).toEqual(['WEFT_ERR_TRUST_ROLE ']);
  });
});
