import { auditId, listAudit, tailAudit } from '@weft/audit';
import { type Bucket, openChange, type Store } from '@weft/bus';
import { configKey, configPrefix, type Port, parseKey, type VirtualNetwork } from '@weft/model';
import { waitFor } from '@weft/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Harness, manifests, type RunningController, startHarness } from './harness.ts';

// Several controllers, races and deaths. After each: claims and documents agree, and no request is left in the middle.

let weft: Harness;
let pair: RunningController[];
beforeAll(async () => {
  weft = await startHarness();
  pair = [await weft.addController({ resumeAfterMs: RESUME_MS }), await weft.addController({ resumeAfterMs: RESUME_MS })];
});
afterAll(async () => {
  await weft?.close();
});

const RESUME_MS = 2_000;
const list = { tenant: '', network: '', name: '' };

/** Every claim has its document, every value its claim, no intent is open. */
async function expectConsistent(): Promise<void> {
  const read = async (prefix: string) =>
    (await weft.store.config.snapshot(prefix)).entries
      .map((entry) => ({ key: entry.key, record: openChange(entry.value).change.after }))
      .filter(({ record }) => record !== undefined);
  const networks = new Map(
    (await read(configPrefix.networks)).map(({ record }) => [(record!.value as VirtualNetwork).id, record!.value as VirtualNetwork]),
  );
  const ports = (await read(configPrefix.allPorts)).map(({ record }) => record!.value as Port);
  const wanted = new Set<string>();
  for (const network of networks.values()) for (const { vsid } of network.subnets) wanted.add(configKey.vsidClaim(vsid));
  for (const port of ports) {
    wanted.add(configKey.macClaim(port.vsid, port.mac));
    for (const address of port.addresses) wanted.add(configKey.addressClaim(port.routingDomainId, address));
    const subnet = networks.get(port.routingDomainId)?.subnets.find(({ name }) => name === port.subnet);
    expect(subnet?.vsid, `subnet of port ${port.tenant}/${port.name}`).toBe(port.vsid);
  }
  const claims = (await read(configPrefix.claims)).map(({ key }) => key);
  const unique = claims.filter((key) => ['vsid', 'mac', 'ca'].includes(key.split('.')[1]!)).sort();
  expect(unique).toEqual([...wanted].sort());
  const networkIds = [...networks.values()].map(({ networkId }) => networkId);
  expect(new Set(networkIds).size).toBe(networkIds.length);
  for (const id of networkIds) expect(claims).toContain(configKey.networkIdClaim(id));
  expect(claims.filter((key) => key.startsWith('claim.network-name.'))).toHaveLength(networks.size);
  expect(await read(configPrefix.intents)).toEqual([]);
}

/** Ports of a tenant, read from the bucket. */
async function networkPorts(tenant: string): Promise<number> {
  const { entries } = await weft.store.config.snapshot(configPrefix.allPorts);
  return entries.filter((entry) => (openChange(entry.value).change.after?.value as Port | undefined)?.tenant === tenant).length;
}

describe('two controllers racing', () => {
  /** Sends both at once; the queue group spreads them over the controllers. */
  const race = async (left: string, right: string, times = 4): Promise<{ won: number; codes: string[] }> => {
    const answers = await Promise.all(Array.from({ length: times }, (_, i) => weft.apply(i % 2 === 0 ? left : right)));
    return {
      won: answers.filter((answer) => answer.problems.length === 0).length,
      codes: [...new Set(answers.flatMap((answer) => answer.problems.map(({ code }) => code)))],
    };
  };

  it('for one VSID: one network has it', async () => {
    const blue = { blue: 'prefixes: [10.0.1.0/24], vsid: 7001' };
    const { won, codes } = await race(manifests('race-a', { subnets: blue }), manifests('race-b', { subnets: blue }), 2);
    expect([won, codes]).toEqual([1, ['WEFT_ERR_RULE_VSID_USED']]);
    await expectConsistent();
  });

  it('for one address and for one MAC: one port has it', async () => {
    await weft.apply(manifests('race-c'));
    const port = (name: string, spec: string): string =>
      `apiVersion: weft/v1\nkind: Port\nmetadata: {tenant: race-c, network: net, name: ${name}}\nspec: {subnet: blue, ${spec}}`;
    const address = await race(port('a', 'addresses: [10.0.1.10]'), port('b', 'addresses: [10.0.1.10]'), 2);
    expect([address.won, address.codes]).toEqual([1, ['WEFT_ERR_RULE_ADDRESS_USED']]);
    const mac = await race(
      port('c', "mac: '02:00:00:00:00:01', addresses: [10.0.1.20]"),
      port('d', "mac: '02:00:00:00:00:01', addresses: [10.0.1.21]"),
      2,
    );
    expect([mac.won, mac.codes]).toEqual([1, ['WEFT_ERR_RULE_MAC_USED']]);
    await expectConsistent();
  });

  it('on one network document: what does not conflict is all there, what overlaps once', async () => {
    await weft.apply(manifests('race-d', { subnets: {} }));
    const subnet = (name: string, prefix: string): string =>
      `apiVersion: weft/v1\nkind: VirtualSubnet\nmetadata: {tenant: race-d, network: net, name: ${name}}\nspec: {prefixes: [${prefix}]}`;
    const answers = await Promise.all(Array.from({ length: 8 }, (_, i) => weft.apply(subnet(`s${i}`, `10.0.${i}.0/24`))));
    expect(answers.flatMap((answer) => answer.problems)).toEqual([]);
    const overlap = await race(subnet('x', '10.1.0.0/16'), subnet('y', '10.1.2.0/24'), 2);
    expect([overlap.won, overlap.codes]).toEqual([1, ['WEFT_ERR_RULE_PREFIX_OVERLAP']]);
    const { records } = await weft.ask({ kind: 'list', value: { ...list, kinds: ['VirtualNetwork'], tenant: 'race-d' } });
    expect((records[0]!.value as VirtualNetwork).subnets).toHaveLength(9);
    await expectConsistent();
  });

  it('making the same network: one is made, both succeed', async () => {
    const yaml = manifests('race-e', { ports: { a: 'subnet: blue, addresses: [10.0.1.10]' } });
    const { won } = await race(yaml, yaml, 6);
    expect(won).toBe(6);
    await expectConsistent();
  });

  it('adding a port while its subnet is deleted: never a port without subnet', async () => {
    for (let round = 0; round < 6; round++) {
      const tenant = `race-f${round}`;
      await weft.apply(manifests(tenant));
      const port = `apiVersion: weft/v1\nkind: Port\nmetadata: {tenant: ${tenant}, network: net, name: a}\nspec: {subnet: blue, addresses: [10.0.1.10]}`;
      const [added, removed] = await Promise.all([weft.apply(port), weft.remove([`VirtualSubnet ${tenant}/net/blue`])]);
      expect([added, removed].filter((answer) => answer.problems.length === 0).length).toBeLessThanOrEqual(1);
      await expectConsistent();
    }
  });
});

describe('a controller that dies', () => {
  /** A store whose config bucket stops writing, for ever, when `when` says so of a key: a kill at that very place. */
  const dyingStore = (store: Store, when: (key: string) => boolean, died: () => void): Store => {
    let dead = false;
    const config = new Proxy(store.config, {
      get(target, property) {
        const value = Reflect.get(target, property, target) as unknown;
        if (typeof value !== 'function') return value;
        return (...args: unknown[]) => {
          if ((property === 'put' || property === 'create') && when(args[0] as string) && !dead) {
            dead = true;
            died();
          }
          if (dead && (property === 'put' || property === 'create' || property === 'purge')) return new Promise(() => {});
          return (value as (...rest: unknown[]) => unknown).apply(target, args);
        };
      },
    }) as Bucket;
    return { ...store, config, bucket: (name) => (name === 'config' ? config : store.bucket(name)) };
  };
  const isPort = (key: string): boolean => parseKey('config', key)?.kind === 'port';
  const isNetwork = (key: string): boolean => parseKey('config', key)?.kind === 'network';

  it.each([
    ['between the claims and the network document', isNetwork],
    ['between the network document and the ports', isPort],
  ])('%s: another one carries its request through', async (what, when) => {
    for (const one of pair) await one.stop();
    let died = false;
    const dying = await weft.addController({
      resumeAfterMs: 3_600_000,
      wrapStore: (store) =>
        dyingStore(store, when, () => {
          died = true;
        }),
    });
    const tenant = what.includes('claims') ? 'dead-a' : 'dead-b';
    const yaml = manifests(tenant, { ports: { a: 'subnet: blue, addresses: [10.0.1.10]', b: 'subnet: blue, addresses: [10.0.1.11]' } });
    const asked = weft.apply(yaml).catch(() => undefined);
    await waitFor(() => died, { what: 'the controller to be at that place' });
    dying.abandon();
    pair = [await weft.addController({ resumeAfterMs: RESUME_MS }), await weft.addController({ resumeAfterMs: RESUME_MS })];
    await waitFor(async () => (await weft.ask({ kind: 'list', value: { ...list, kinds: ['Port'], tenant } })).records.length === 2, {
      what: 'the request to be carried through',
      deadlineMs: 20_000,
    });
    await waitFor(async () => expectConsistent().then(() => true), { what: 'the end of the request', deadlineMs: 20_000 });
    expect((await weft.apply(yaml)).changes.every(({ action }) => action === 'unchanged')).toBe(true);
    void asked;
  });
});

describe('a controller that stands still', () => {
  it('and wakes after its request was resumed undoes nothing of it', async () => {
    for (const one of pair) await one.stop();
    let hold = true;
    let held = 0;
    let wake: () => void = () => {};
    const asleep = new Promise<void>((resolve) => {
      wake = resolve;
    });
    const sleeper = await weft.addController({
      resumeAfterMs: RESUME_MS,
      wrapStore: (store) => {
        const config = new Proxy(store.config, {
          get(target, property) {
            const value = Reflect.get(target, property, target) as unknown;
            if (typeof value !== 'function') return value;
            const call = (...args: unknown[]): unknown => (value as (...rest: unknown[]) => unknown).apply(target, args);
            if (property !== 'put' && property !== 'create' && property !== 'purge') return call;
            return async (...args: unknown[]) => {
              // From the first port on, every write and renewal stands still with it.
              if (hold && (held > 0 || parseKey('config', args[0] as string)?.kind === 'port')) {
                held++;
                await asleep;
              }
              return await call(...args);
            };
          },
        }) as Bucket;
        return { ...store, config, bucket: (name) => store.bucket(name) };
      },
    });
    const yaml = manifests('sleepy', { ports: { a: 'subnet: blue, addresses: [10.0.1.10]', b: 'subnet: blue, addresses: [10.0.1.11]' } });
    const asked = weft.apply(yaml);
    await waitFor(() => held > 0, { what: 'the controller to stand still' });
    pair = [await weft.addController({ resumeAfterMs: RESUME_MS }), await weft.addController({ resumeAfterMs: RESUME_MS })];
    await waitFor(async () => expectConsistent().then(async () => (await networkPorts('sleepy')) === 2), {
      what: 'the request to be resumed',
      deadlineMs: 20_000,
    });
    hold = false;
    wake();
    const answer = await asked;
    expect(answer.problems.map(({ code }) => code)).toEqual(['WEFT_ERR_CONTROLLER_UNKNOWN_OUTCOME']);
    await expectConsistent();
    expect(await networkPorts('sleepy')).toBe(2);
    await sleeper.stop();
  });
});

describe('NATS stops and starts', () => {
  it('controllers go on as if nothing had been; what was asked meanwhile fails at once', async () => {
    await weft.server.kill();
    await waitFor(() => weft.bus.state.state === 'disconnected', { what: 'the loss to be seen' });
    await expect(weft.apply(manifests('later'))).rejects.toMatchObject({ code: 'WEFT_ERR_BUS_DISCONNECTED', details: { sent: false } });
    await weft.server.restart();
    await weft.bus.whenConnected();
    for (const one of pair) await one.bus.whenConnected();
    expect((await weft.apply(manifests('later'))).problems).toEqual([]);
    await expectConsistent();
  });
});

describe('audit', () => {
  const committed = async (): Promise<string[]> => {
    const ids: string[] = [];
    for (const name of ['config', 'mapping', 'hosts', 'gateways'] as const) {
      const bucket = weft.store.bucket(name);
      const abort = new AbortController();
      const { lastSequence, count } = await bucket.status();
      if (count === 0) continue;
      for await (const entry of bucket.follow({ fromRevision: 1, signal: abort.signal })) {
        const { change } = openChange(entry.value);
        const record = change.after ?? change.before;
        if (record !== undefined && record.kind !== 'claim' && record.kind !== 'intent')
          ids.push(auditId({ bucket: name, bucketCreatedUnixMs: bucket.bucketCreatedUnixMs, revision: entry.revision }));
        if (entry.revision >= lastSequence) abort.abort();
      }
    }
    return ids;
  };

  it('holds every committed change once, also those committed while no controller ran', async () => {
    for (const one of pair) await one.stop();
    // Committed, and overwritten, while nobody projects.
    await weft.addPrincipal('viewer', 'nobody-1');
    pair = [await weft.addController(), await weft.addController()];
    await weft.apply(manifests('audited', { ports: { a: 'subnet: blue, addresses: [10.0.1.10]' } }));
    const wanted = await committed();
    let missing: string[] = [];
    const entries = await waitFor(
      async () => {
        const found = await listAudit(weft.store.audit, { limit: 100_000 });
        missing = wanted.filter((id) => !found.some((entry) => auditId(entry.record) === id));
        return missing.length === 0 && found;
      },
      { what: 'the audit to be complete', show: () => `missing ${missing.join(', ')} of ${wanted.length}, ${wanted.at(-1)}` },
    );
    const ids = entries.map((entry) => auditId(entry.record));
    expect(new Set(ids).size).toBe(ids.length);
    const last = (await listAudit(weft.store.audit, { tenant: 'audited', resource: 'audited/net/a', limit: 5 }))[0]!;
    expect([last.record.operation, last.record.resource, last.record.authorKey]).toEqual([
      'created',
      'Port audited/net/a',
      weft.admin.publicKey,
    ]);
    expect(last.fields).toContainEqual({ path: 'addresses', before: '', after: '10.0.1.10' });
  });

  it('tail tells a change as it is made, with what was before', async () => {
    const abort = new AbortController();
    const told: string[] = [];
    const tail = (async () => {
      for await (const { record, fields } of tailAudit(weft.store.audit, { tenant: 'audited', signal: abort.signal })) {
        told.push(`${record.operation} ${record.resource} ${fields.map(({ path, before, after }) => `${path} ${before}>${after}`)}`);
      }
    })();
    await waitFor(
      async () => {
        const n = told.length + 20 + Math.floor(Math.random() * 200);
        await weft.apply(
          `apiVersion: weft/v1\nkind: Port\nmetadata: {tenant: audited, network: net, name: a}\nspec: {subnet: blue, addresses: [10.0.1.${n}]}`,
        );
        return told.length > 0;
      },
      { what: 'the tail to tell', intervalMs: 100 },
    );
    expect(told[0]).toMatch(/^updated Port audited\/net\/a addresses 10\.0\.1\.\d+>10\.0\.1\.\d+$/);
    abort.abort();
    await tail;
  });
});
