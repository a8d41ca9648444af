import { type Bucket, type Identity, openChange } from '@weft/bus';
import { makeEpoch, rosterOf, voteStatement } from '@weft/election';
import {
  type Assignment,
  assignmentKey,
  configPrefix,
  type Gateway,
  type GatewayStepRequest,
  type OwnershipBallot,
  type OwnershipCertificate,
  ownershipConfig,
  parseKey,
  releasable,
  type VirtualNetwork,
} from '@weft/model';
import { waitFor } from '@weft/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ids } from '../src/index.ts';
import { type Harness, manifests, type RunningController, startHarness } from './harness.ts';

// Gateways through two controllers: what stands after agrees with its claims and with the assignment, whoever raced with whom.

let weft: Harness;
const running: RunningController[] = [];
beforeAll(async () => {
  weft = await startHarness();
  running.push(await weft.addController({ tendGatewaysMs: 200 }), await weft.addController({ tendGatewaysMs: 200 }));
  await weft.addHosts('gw-a', 'gw-b', 'gw-c');
});
afterAll(async () => {
  await weft?.close();
});

const list = { tenant: '', network: '', name: '' };
const gateway = (name: string, more = ''): string => `apiVersion: weft/v1
kind: Gateway
metadata: {name: ${name}}
spec:
  members: [{host: gw-a, externalInterface: eth1}, {host: gw-b, externalInterface: eth1}${more}]
  witnesses: [gw-c]
  segments: [{name: internet, onLink: [203.0.113.0/24], nextHops: [203.0.113.1], tenants: any}]
  pools: [{name: public, addresses: [203.0.113.16/28], shared: 4, prefixes: ['2001:db8:a::/48']}]
`;
const doc = (kind: string, path: string, spec: string): string => {
  const [tenant, network, name] = path.split('/');
  return `\n---\napiVersion: weft/v1\nkind: ${kind}\nmetadata: {tenant: ${tenant}, network: ${network}, name: ${name}}\nspec: {${spec}}`;
};
const nat = (path: string, of: string, more = ''): string =>
  doc('GatewayConnection', path, `gateway: ${of}, mode: nat, pool: public${more}`);
const codes = (answer: { problems: readonly { code: string }[] }): string[] => answer.problems.map(({ code }) => code);
const net = (tenant: string, octet = 1): string =>
  manifests(tenant, { subnets: { blue: `prefixes: [10.0.${octet}.0/24]` }, ports: { vm: `subnet: blue, addresses: [10.0.${octet}.10]` } });

const networkOf = async (tenant: string): Promise<VirtualNetwork> =>
  (await weft.ask({ kind: 'list', value: { ...list, kinds: ['VirtualNetwork'], tenant } })).records[0]!.value as VirtualNetwork;
const assignmentOf = async (name: string): Promise<Assignment> =>
  (await weft.ask({ kind: 'list', value: { ...list, kinds: ['Assignment'], name } })).records[0]!.value as Assignment;

/** Claims, networks and assignments say the same, and no request is left in the middle. */
async function expectConsistent(): Promise<void> {
  const read = async (prefix: string) =>
    (await weft.store.config.snapshot(prefix)).entries.flatMap((entry) => {
      const { after } = openChange(entry.value).change;
      return after === undefined ? [] : [{ key: entry.key, record: after }];
    });
  const networks = (await read(configPrefix.networks)).map(({ record }) => record.value as VirtualNetwork);
  const gateways = (await read(configPrefix.gateways)).map(({ record }) => record.value as Gateway);
  const wanted: string[] = [];
  const numbers: number[] = [];
  for (const one of gateways) numbers.push(...one.segments.map(({ id }) => id), ...one.pools.map(({ id }) => id));
  for (const network of networks) {
    const of = network.gateway;
    if (of === undefined) continue;
    wanted.push(`shard.${of.shard}.${network.id}`);
    numbers.push(of.ownPool, ...of.externalAddresses.map(({ number }) => number));
    const assignment = await assignmentOf(of.gateway);
    expect(assignment.shards.map(({ id }) => id)).toContain(of.shard);
    for (const one of of.externalAddresses) {
      wanted.push(`external.${one.segmentId}.${one.address}`);
      expect(assignment.addresses).toContainEqual(expect.objectContaining({ address: one.address, shard: of.shard, pool: 0 }));
    }
  }
  for (const one of gateways) {
    const assignment = await assignmentOf(one.name);
    numbers.push(
      ...assignment.shards.map(({ id }) => id),
      ...new Set(assignment.addresses.map(({ natPool }) => natPool).filter((one) => one !== 0)),
    );
    const own = networks.flatMap(({ gateway: of }) => (of?.gatewayId === one.id ? of.externalAddresses.map(({ address }) => address) : []));
    expect(assignment.addresses.filter(({ pool }) => pool === 0).map(({ address }) => address)).toEqual(own.sort());
  }
  expect(new Set(numbers).size, 'numbers are given once').toBe(numbers.length);
  const claims = (await read(configPrefix.claims)).flatMap(({ key }) => {
    const parsed = parseKey('config', key);
    if (parsed?.kind !== 'claim' || (parsed.what !== 'external' && parsed.what !== 'shard')) return [];
    const [first, second] = parsed.tokens as [string, string];
    const address =
      parsed.what === 'external'
        ? second
            .slice(24)
            .match(/../g)!
            .map((pair) => Number.parseInt(pair, 16))
            .join('.')
        : second;
    return [`${parsed.what}.${first}.${address}`];
  });
  expect(claims.sort()).toEqual(wanted.sort());
  expect(await read(configPrefix.intents)).toEqual([]);
}

describe('apply and delete', () => {
  it('gateway, connection, addresses and rules in one request; again, nothing changes; deleted, nothing is left', async () => {
    const yaml =
      `${net('one')}\n---\n${gateway('one')}` +
      nat('one/net/out', 'one') +
      doc('ExternalAddress', 'one/net/www', 'pool: public, use: static') +
      doc('NatRule', 'one/net/www', 'static: {externalAddress: www, address: 10.0.1.10}') +
      doc('CustomerRoute', 'one/net/hole', 'prefix: 10.9.0.0/16, blackhole: true');
    const first = await weft.apply(yaml);
    expect(first.problems).toEqual([]);
    expect(first.changes.every(({ action, revision }) => action === 'created' && revision > 0)).toBe(true);
    const network = await networkOf('one');
    expect(network.subnets.find(({ role }) => role === 'gateway')?.vsid).toBeGreaterThan(4095);
    expect(network.gateway?.externalAddresses[0]?.address).toBe('203.0.113.20');
    await expectConsistent();
    const second = await weft.apply(yaml);
    expect(second.changes.every(({ action }) => action === 'unchanged')).toBe(true);
    expect(codes(await weft.remove(['Gateway one']))).toEqual(['WEFT_ERR_RULE_IN_USE']);
    const all = ['NatRule one/net/www', 'ExternalAddress one/net/www', 'GatewayConnection one/net/out', 'CustomerRoute one/net/hole'];
    expect(
      (await weft.remove([...all, 'Port one/net/vm', 'VirtualSubnet one/net/blue', 'VirtualNetwork one/net', 'Tenant one'])).problems,
    ).toEqual([]);
    expect((await weft.remove(['Gateway one'])).problems).toEqual([]);
    await expectConsistent();
    expect((await weft.store.gateways.snapshot('')).entries.map((entry) => openChange(entry.value).change.after)).toEqual([undefined]);
  });

  it('a gateway that is made anew under its name goes on above the deleted one, whose voters have accepted lists and remember', async () => {
    expect((await weft.apply(gateway('again'))).problems).toEqual([]);
    const first = await assignmentOf('again');
    for (const round of [1, 2]) {
      expect((await weft.remove(['Gateway again'])).problems).toEqual([]);
      expect((await weft.apply(gateway('again'))).problems).toEqual([]);
      const made = await assignmentOf('again');
      expect([made.gatewayId, made.incarnation, made.voters.configId]).toEqual([
        first.gatewayId,
        first.incarnation + round,
        first.voters.configId + round,
      ]);
    }
    expect((await weft.remove(['Gateway again'])).problems).toEqual([]);
  });

  it('gateways are the admins’; a tenant’s user connects its own networks, and takes addresses of open pools only', async () => {
    await weft.apply(`${gateway('edge')}\n---\n${net('mine')}`);
    const user = await weft.addPrincipal('tenant', 'user', ['mine']);
    expect(codes(await weft.apply(gateway('other'), { as: user }))).toEqual(['WEFT_ERR_TRUST_TENANT']);
    expect(codes(await weft.remove(['Gateway edge']))).toEqual([]);
    await weft.apply(gateway('edge'));
    expect((await weft.apply(nat('mine/net/out', 'edge'), { as: user })).problems).toEqual([]);
    const foreign = doc('ExternalAddress', 'mine/net/x', 'pool: public, use: static, address: 192.0.2.99');
    expect(codes(await weft.apply(foreign, { as: user }))).toEqual(['WEFT_ERR_RULE_EXTERNAL_OUTSIDE']);
    const seen = await weft.ask({ kind: 'list', value: { ...list, kinds: ['Gateway', 'Assignment'] } }, { as: user });
    expect(seen.records).toEqual([]);
    await expectConsistent();
  });
});

describe('two controllers racing', () => {
  it('for one external address: one network has it', async () => {
    await weft.apply(`${gateway('edge')}\n---\n${net('ra')}\n---\n${net('rb')}${nat('ra/net/out', 'edge')}${nat('rb/net/out', 'edge')}`);
    for (let round = 0; round < 4; round++) {
      const address = `203.0.113.${24 + round}`;
      const want = (tenant: string): string =>
        doc('ExternalAddress', `${tenant}/net/r${round}`, `pool: public, use: static, address: ${address}`);
      const answers = await Promise.all([weft.apply(want('ra')), weft.apply(want('rb'))]);
      expect(answers.filter(({ problems }) => problems.length === 0)).toHaveLength(1);
      expect(answers.flatMap(codes)).toEqual(['WEFT_ERR_RULE_EXTERNAL_USED']);
      await expectConsistent();
    }
  });

  it('for any external address: each has its own, and all are in the assignment', async () => {
    const tenants = ['rc', 'rd', 're', 'rf'];
    await weft.apply(tenants.map((tenant) => net(tenant)).join('\n---\n'));
    const answers = await Promise.all(
      tenants.map((tenant) =>
        weft.apply(nat(`${tenant}/net/out`, 'edge') + doc('ExternalAddress', `${tenant}/net/a`, 'pool: public, use: snat')),
      ),
    );
    expect(answers.flatMap(({ problems }) => problems)).toEqual([]);
    await expectConsistent();
  });

  it('on the gateway and on what uses it: never a network with an address that the pool lacks', async () => {
    await weft.apply(net('rg'));
    await weft.apply(nat('rg/net/out', 'edge'));
    const smaller = gateway('edge').replace('203.0.113.16/28', '203.0.113.16-203.0.113.30');
    for (let round = 0; round < 4; round++) {
      const [shrunk, taken] = await Promise.all([
        weft.apply(smaller),
        weft.apply(doc('ExternalAddress', 'rg/net/last', 'pool: public, use: static, address: 203.0.113.31')),
      ]);
      const won = [shrunk, taken].filter(({ problems }) => problems.length === 0);
      expect(won).toHaveLength(1);
      await expectConsistent();
      await weft.remove(['ExternalAddress rg/net/last']);
      await weft.apply(gateway('edge'));
    }
  });

  it('deleting a gateway while a network connects to it: never a connection without gateway', async () => {
    for (let round = 0; round < 4; round++) {
      const tenant = `rh${round}`;
      await weft.apply(`${net(tenant)}\n---\n${gateway('brief')}`);
      const [made, gone] = await Promise.all([weft.apply(nat(`${tenant}/net/out`, 'brief')), weft.remove(['Gateway brief'])]);
      expect([made, gone].filter(({ problems }) => problems.length === 0)).toHaveLength(1);
      await expectConsistent();
      if (made.problems.length === 0) await weft.remove([`GatewayConnection ${tenant}/net/out`]);
    }
  });

  it('both sides of a peering at once: both are on one shard', async () => {
    for (let round = 0; round < 4; round++) {
      const [a, b] = [`pa${round}`, `pb${round}`];
      await weft.apply(`${net(a, 1)}\n---\n${net(b, 2)}`);
      const side = (own: string, other: string, offer: number, accept: number): string =>
        doc(
          'GatewayConnection',
          `${own}/net/peer`,
          `gateway: edge, mode: peering, peer: ${other}/net, offers: [10.0.${offer}.0/24], accepts: [10.0.${accept}.0/24]`,
        );
      const answers = await Promise.all([weft.apply(side(a, b, 1, 2)), weft.apply(side(b, a, 2, 1))]);
      expect(answers.flatMap(({ problems }) => problems)).toEqual([]);
      expect((await networkOf(a)).gateway?.shard).toBe((await networkOf(b)).gateway?.shard);
      await expectConsistent();
    }
  });

  it('on a drain and on the gateway itself: what each changed is there, and nothing of the other is put back', async () => {
    const larger = gateway('edge').replace('203.0.113.16/28', '203.0.113.16-203.0.113.40');
    for (let round = 0; round < 4; round++) {
      const drain = { kind: 'drain', value: { gateway: 'edge', host: 'gw-b', drain: round % 2 === 0 } } as const;
      const answers = await Promise.all([weft.ask(drain), weft.apply(round % 2 === 0 ? larger : gateway('edge'))]);
      expect(answers.flatMap(({ problems }) => problems)).toEqual([]);
      const edge = (await weft.ask({ kind: 'list', value: { ...list, kinds: ['Gateway'], name: 'edge' } })).records[0]!.value as Gateway;
      expect([edge.members.map((one) => one.drain), edge.pools[0]!.addresses]).toEqual(
        round % 2 === 0 ? [[false, true], ['203.0.113.16-203.0.113.40']] : [[false, false], ['203.0.113.16/28']],
      );
      expect((await assignmentOf('edge')).members.map((one) => one.drain)).toEqual(edge.members.map((one) => one.drain));
      await expectConsistent();
    }
    // Both members at once: both are drained, whoever was first.
    const both = (drain: boolean) =>
      Promise.all(['gw-a', 'gw-b'].map((host) => weft.ask({ kind: 'drain', value: { gateway: 'edge', host, drain } })));
    for (const drain of [true, false]) {
      expect((await both(drain)).flatMap(({ problems }) => problems)).toEqual([]);
      expect((await assignmentOf('edge')).members.map((one) => one.drain)).toEqual([drain, drain]);
    }
    const user = await weft.addPrincipal('tenant', 'drainer', ['rg']);
    const refused = await weft.ask({ kind: 'drain', value: { gateway: 'edge', host: 'gw-a', drain: true } }, { as: user });
    expect(codes(refused)[0]).toMatch(/^WEFT_ERR_TRUST_/);
  });

  it('a member that joins: the assignment is one of the two wanted, and blocks are moving', async () => {
    const three = gateway('edge', ', {host: gw-c, externalInterface: eth1}').replace('witnesses: [gw-c]', 'witnesses: []');
    const answers = await Promise.all([weft.apply(three), weft.apply(three)]);
    expect(answers.flatMap(({ problems }) => problems)).toEqual([]);
    const assignment = await assignmentOf('edge');
    expect(assignment.members.map(({ hostId }) => hostId)).toEqual(['gw-a', 'gw-b', 'gw-c']);
    expect(releasable(assignment, 1).length).toBeGreaterThan(0);
    expect((await weft.store.gateways.get(assignmentKey(ids.gateway('edge'))))?.revision).toBeGreaterThan(0);
    await expectConsistent();
  });
});

describe('steps of an assignment', () => {
  const step = async (as: Identity, value: GatewayStepRequest) => await weft.ask({ kind: 'gatewayStep', value }, { as });
  /** A grant with every vote of both lists. */
  const granted = (assignment: Assignment): OwnershipCertificate => {
    const config = ownershipConfig(assignment, (host) => weft.hosts.get(host)?.publicKey);
    const member = config.members[0]!;
    const ballot: OwnershipBallot = {
      config: config.config,
      epoch: makeEpoch(config.incarnation, 7),
      shards: [config.shards[0]!.shard],
      candidate: member.id,
      providerAddress: member.providerAddress,
      kind: 'takeover',
      leaseMs: 5_000,
      round: 1,
      consent: undefined,
    };
    const votes = rosterOf(config).map((voter, index) => ({
      voter: index,
      instance: voter.instance,
      signature: weft.hosts.get(voter.id)!.sign(voteStatement(config.group, ballot, voter)),
    }));
    return { ballot, votes };
  };
  const standing = async () => {
    const entry = await weft.store.gateways.get(assignmentKey(ids.gateway('edge')));
    return { revision: entry!.revision, assignment: openChange(entry!.value).change.after!.value as Assignment };
  };

  it('follow what hosts say of themselves: an address, a memory of promises', async () => {
    const gatewayId = ids.gateway('edge');
    const voterIds = (await standing()).assignment.voters.voters.map(({ hostId }) => hostId);
    for (const [index, host] of voterIds.entries()) await weft.changeHost(host, { memories: [{ gatewayId, instance: 100 + index }] });
    const known = async (): Promise<boolean> => (await standing()).assignment.voters.voters.every(({ instance }) => instance >= 100);
    await waitFor(known, { what: 'the assignment to name every memory' });
    const before = await standing();
    await weft.changeHost('gw-a', { providerAddress: '198.51.100.77', memories: [{ gatewayId, instance: 4_711 }] });
    await waitFor(async () => (await standing()).assignment.members[0]?.providerAddress === '198.51.100.77', {
      what: 'the assignment to follow',
    });
    const { assignment } = await standing();
    expect(assignment.voters.voters.find(({ hostId }) => hostId === 'gw-a')?.instance).toBe(4_711);
    expect(assignment.voters.configId).toBe(before.assignment.voters.configId + 1);
    // The list before had memories that could grant something: its majority is needed until the new one is known to be in force.
    expect(assignment.previousVoters).toBeDefined();
    await expectConsistent();
  });

  it('are taken from who may take them, on the revision that stands, and once', async () => {
    const gatewayId = ids.gateway('edge');
    const { revision, assignment } = await standing();
    const [a, b] = [weft.hosts.get('gw-a')!, weft.hosts.get('gw-b')!];
    const member = assignment.members.find(({ hostId }) => hostId === 'gw-a')!.member;
    const blocks = releasable(assignment, member);
    expect(blocks.length).toBeGreaterThan(0);
    const released = { gatewayId, assignmentRevision: revision, step: { kind: 'blocksReleased', value: { blocks } } } as const;
    expect(codes(await step(weft.admin, released))).toEqual(['WEFT_ERR_TRUST_HOST']);
    expect(codes(await step(a, { ...released, assignmentRevision: revision - 1 }))).toEqual(['WEFT_ERR_CONTROLLER_STALE']);
    // Another member's consent moves nothing of it.
    expect((await step(b, released)).problems).toEqual([]);
    const between = await standing();
    expect(releasable(between.assignment, member)).toEqual(blocks);
    expect((await step(a, { ...released, assignmentRevision: between.revision })).problems).toEqual([]);
    const after = await standing();
    expect(releasable(after.assignment, member)).toEqual([]);

    const { configId } = after.assignment.voters;
    const settledBy = (certificate: OwnershipCertificate) =>
      ({ gatewayId, step: { kind: 'votersSettled', value: { configId, certificate } } }) as const;
    const proof = granted(after.assignment);
    // Nobody's word is enough: too few votes, a changed epoch, a grant of another list.
    for (const wrong of [
      { ...proof, votes: proof.votes.slice(0, 1) },
      { ...proof, ballot: { ...proof.ballot, epoch: proof.ballot.epoch + 1n } },
      granted({ ...after.assignment, voters: { ...after.assignment.voters, configId: configId + 1 } }),
    ])
      expect(codes(await step(b, { ...settledBy(wrong), assignmentRevision: after.revision }))).toEqual(['WEFT_ERR_TRUST_SIGNATURE']);
    const settled = settledBy(proof);
    expect((await step(b, { ...settled, assignmentRevision: after.revision })).problems).toEqual([]);
    const done = await standing();
    expect(done.assignment.previousVoters).toBeUndefined();
    expect(codes(await step(b, { ...settled, assignmentRevision: done.revision }))).toEqual(['WEFT_ERR_CONTROLLER_STALE']);

    const recover = { gatewayId, assignmentRevision: 0, step: { kind: 'recover', value: {} } } as const;
    expect(codes(await step(a, recover))[0]).toMatch(/^WEFT_ERR_TRUST_/);
    expect((await step(weft.admin, recover)).problems).toEqual([]);
    expect((await standing()).assignment.incarnation).toBe(done.assignment.incarnation + 1);
    await expectConsistent();
  });

  it('of several admins at once are all taken: a move that finds another in its way is decided anew', async () => {
    const gatewayId = ids.gateway('edge');
    const before = (await standing()).assignment;
    const shards = before.shards.slice(0, 6);
    const to = (index: number): string => before.members[index % before.members.length]!.hostId;
    const answers = await Promise.all(
      shards.map(({ id }, index) =>
        step(weft.admin, { gatewayId, assignmentRevision: 0, step: { kind: 'move', value: { shards: [id], to: to(index) } } }),
      ),
    );
    expect(answers.flatMap(codes)).toEqual([]);
    const after = (await standing()).assignment;
    for (const [index, { id, placement }] of shards.entries()) {
      const moved = after.shards.find((one) => one.id === id)!;
      expect(after.members.find(({ member }) => member === moved.order[0])!.hostId).toBe(to(index));
      expect(moved.placement).toBe(placement + 1);
    }
    await expectConsistent();
  });

  it('move shards to a member by an admin, and an apply that changes nothing about members leaves them there', async () => {
    const gatewayId = ids.gateway('edge');
    const before = await standing();
    const shard = before.assignment.shards.find(({ order }) => order[0] !== 1)!;
    const move = (shards: number[], to: string) =>
      ({ gatewayId, assignmentRevision: 0, step: { kind: 'move', value: { shards, to } } }) as const;
    expect(codes(await step(weft.hosts.get('gw-a')!, move([shard.id], 'gw-a')))[0]).toMatch(/^WEFT_ERR_TRUST_/);
    for (const wrong of [move([shard.id], 'gw-z'), move([4_000_000_000], 'gw-a'), move([], 'gw-a')])
      expect(codes(await step(weft.admin, wrong))).toEqual(['WEFT_ERR_RULE_GATEWAY_MOVE']);
    expect((await standing()).revision).toBe(before.revision);
    expect((await step(weft.admin, move([shard.id], 'gw-a'))).problems).toEqual([]);
    const moved = (await standing()).assignment.shards.find(({ id }) => id === shard.id)!;
    expect(moved.order).toEqual([1, ...shard.order.filter((member) => member !== 1)]);
    expect(moved.placement).toBe(shard.placement + 1);
    const three = gateway('edge', ', {host: gw-c, externalInterface: eth1}').replace('witnesses: [gw-c]', 'witnesses: []');
    expect((await weft.apply(three.replace('203.0.113.16/28', '203.0.113.16-203.0.113.40'))).problems).toEqual([]);
    expect((await standing()).assignment.shards.find(({ id }) => id === shard.id)).toEqual(moved);
    await expectConsistent();
  });
});

describe('a drain', () => {
  it('reads none of the networks that use the gateway, of which there may be ten thousand', async () => {
    for (const one of running.splice(0)) await one.stop();
    const read = new Set<string>();
    const watched = (bucket: Bucket): Bucket =>
      new Proxy(bucket, {
        get(target, property) {
          const value = Reflect.get(target, property, target) as unknown;
          if (typeof value !== 'function') return value;
          return (...args: unknown[]): unknown => {
            if (property === 'get') read.add(parseKey(bucket.name, args[0] as string)?.kind ?? '');
            return (value as (...rest: unknown[]) => unknown).apply(target, args);
          };
        },
      });
    const watching = await weft.addController({
      wrapStore: (store) => {
        const config = watched(store.config);
        return { ...store, config, bucket: (name) => (name === 'config' ? config : store.bucket(name)) };
      },
    });
    for (const drain of [true, false]) {
      read.clear();
      const answer = await weft.ask({ kind: 'drain', value: { gateway: 'edge', host: 'gw-b', drain } });
      expect([answer.problems, answer.changes.map(({ action }) => action)]).toEqual([[], ['updated']]);
      expect([read.has('gateway'), read.has('network')]).toEqual([true, false]);
    }
    // Another pool is another matter.
    const three = gateway('edge', ', {host: gw-c, externalInterface: eth1}').replace('witnesses: [gw-c]', 'witnesses: []');
    read.clear();
    expect((await weft.apply(three.replace('203.0.113.16/28', '203.0.113.16-203.0.113.44'))).problems).toEqual([]);
    expect(read.has('network')).toBe(true);
    await watching.stop();
    running.push(await weft.addController({ tendGatewaysMs: 200 }), await weft.addController({ tendGatewaysMs: 200 }));
    await expectConsistent();
  });
});

describe('a controller that dies', () => {
  it.each(['assignment', 'network'] as const)('before the %s is written: another one carries its request through', async (what) => {
    const tenant = `dead-${what}`;
    await weft.apply(`${net(tenant)}`);
    for (const one of running.splice(0)) await one.stop();
    let died = false;
    const stopAt = (bucket: Bucket, kind: string): Bucket =>
      new Proxy(bucket, {
        get(target, property) {
          const value = Reflect.get(target, property, target) as unknown;
          if (typeof value !== 'function') return value;
          return (...args: unknown[]): unknown => {
            const writes = property === 'put' || property === 'create' || property === 'purge';
            if (writes && (died || parseKey(bucket.name, args[0] as string)?.kind === kind)) {
              died = true;
              return new Promise(() => {});
            }
            return (value as (...rest: unknown[]) => unknown).apply(target, args);
          };
        },
      });
    const dying = await weft.addController({
      resumeAfterMs: 3_600_000,
      wrapStore: (store) => {
        const [config, gateways] = [stopAt(store.config, what), stopAt(store.gateways, what)];
        return {
          ...store,
          config,
          gateways,
          bucket: (name) => (name === 'config' ? config : name === 'gateways' ? gateways : store.bucket(name)),
        };
      },
    });
    const yaml = nat(`${tenant}/net/out`, 'edge') + doc('ExternalAddress', `${tenant}/net/a`, 'pool: public, use: reserved');
    void weft.apply(yaml).catch(() => undefined);
    await waitFor(() => died, { what: 'the controller to be at that place' });
    dying.abandon();
    running.push(await weft.addController({ resumeAfterMs: 2_000 }), await weft.addController({ resumeAfterMs: 2_000 }));
    await waitFor(async () => (await networkOf(tenant)).gateway?.externalAddresses.length === 1, {
      what: 'the request to be carried through',
      deadlineMs: 20_000,
    });
    await waitFor(async () => expectConsistent().then(() => true), { what: 'the end of the request', deadlineMs: 20_000 });
    expect((await weft.apply(yaml)).changes.every(({ action }) => action === 'unchanged')).toBe(true);
  });
});
