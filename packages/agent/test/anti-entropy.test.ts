import { createIdentity } from '@weft/bus';
import { TargetKind } from '@weft/forwarding';
import { configKey } from '@weft/model';
import { parseIp } from '@weft/packet';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { binding, bindingKey, type Host, Lab, network, paOf, port, portId, RDID } from './harness.ts';
import { CREATED } from './memory-bus.ts';

let lab: Lab;
beforeEach(async () => {
  lab = new Lab();
  await lab.init();
  for (const n of [1, 2, 3]) await lab.putPort(n);
});
afterEach(() => lab.close());

const lookup = (host: Host, n: number) => host.datapath.tables.lookup(7, parseIp(`192.0.2.${n + 10}`));
const codes = (host: Host) => host.agent.conditions.map((condition) => condition.code);
const counters = (host: Host) => host.agent.networkCounters()[RDID]!;

/** Hosts a, b and c with ports 1, 2 and 3. */
async function three(): Promise<[Host, Host, Host]> {
  const hosts = [await lab.host('host-a'), await lab.host('host-b'), await lab.host('host-c')] as const;
  for (const [i, host] of hosts.entries()) expect((await lab.bind(host, i + 1)).problems).toEqual([]);
  await lab.settle(3_000);
  return [...hosts];
}

describe('lost events', () => {
  it('are mended by a digest within seconds, without a full resync of everybody', async () => {
    const [a, b, c] = await three();
    lab.store.deliver = (_, to) => to !== c.bus;
    await lab.bind(a, 2, { move: true });
    await lab.settle(20);
    expect(lookup(c, 2)?.pa).toEqual(parseIp(paOf('host-b')));
    const before = counters(a).resyncs;
    await lab.settle(6_000);
    expect(lookup(c, 2)?.pa).toEqual(parseIp(paOf('host-a')));
    expect(counters(a).resyncs).toBe(before);
    for (const host of [a, b, c]) expect((await lab.consistency(host)).differences).toEqual([]);
  });

  it('of a release, too: the row goes', async () => {
    const [a, , c] = await three();
    lab.store.deliver = (_, to) => to !== c.bus;
    await lab.unbind(a, 1);
    await lab.settle(6_000);
    expect(lookup(c, 1)).toBeUndefined();
  });

  it('cost little when there is nothing to mend: digests are suppressed', async () => {
    const [a] = await three();
    const resyncs = counters(a).resyncs;
    lab.store.digests.length = 0;
    await lab.settle(60_000);
    // 15 intervals of 4 s, at most k = 2 and a few overlapping ones each.
    expect(lab.store.digests.length).toBeLessThan(15 * 4);
    expect(lab.store.digests.length).toBeGreaterThan(10);
    expect(counters(a).resyncs).toBe(resyncs);
  });

  it('while disconnected are made up for at once on reconnecting', async () => {
    const [a, b, c] = await three();
    c.bus.setConnected(false);
    await lab.settle(100);
    expect(codes(c)).toContain('NATS_DISCONNECTED');
    await lab.bind(a, 2, { move: true });
    await lab.settle(5_000);
    expect(lookup(c, 2)?.pa).toEqual(parseIp(paOf('host-b')));
    c.bus.setConnected(true);
    await lab.settle(400);
    expect(lookup(c, 2)?.pa).toEqual(parseIp(paOf('host-a')));
    expect(codes(c)).toEqual([]);
    for (const host of [a, b, c]) expect((await lab.consistency(host)).differences).toEqual([]);
  });

  it('of any kind and order leave all hosts with the same tables in the end (property)', async () => {
    const step = fc.oneof(
      { weight: 5, arbitrary: fc.record({ kind: fc.constant('bind' as const), host: fc.nat(2), n: fc.integer({ min: 1, max: 4 }) }) },
      { weight: 2, arbitrary: fc.record({ kind: fc.constant('unbind' as const), host: fc.nat(2), n: fc.integer({ min: 1, max: 4 }) }) },
      { weight: 2, arbitrary: fc.record({ kind: fc.constant('port' as const), host: fc.constant(0), n: fc.integer({ min: 1, max: 4 }) }) },
      { weight: 2, arbitrary: fc.record({ kind: fc.constant('cut' as const), host: fc.nat(2), n: fc.constant(0) }) },
      {
        weight: 4,
        arbitrary: fc.record({ kind: fc.constant('wait' as const), host: fc.constant(0), n: fc.integer({ min: 1, max: 3_000 }) }),
      },
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 25 }), fc.integer({ min: 0, max: 90 }), async (steps, lossPercent) => {
        const own = new Lab();
        try {
          await own.init();
          for (const n of [1, 2, 3, 4]) await own.putPort(n);
          const hosts = [await own.host('host-a'), await own.host('host-b'), await own.host('host-c')];
          own.store.deliver = () => own.random() * 100 >= lossPercent;
          for (const { kind, host, n } of steps) {
            const at = hosts[host]!;
            if (kind === 'bind') await own.bind(at, n, { move: true });
            else if (kind === 'unbind') await own.unbind(at, n);
            else if (kind === 'port') await own.putPort(n, { addresses: [`192.0.2.${20 + Math.floor(own.random() * 30)}`] });
            else if (kind === 'cut') at.bus.setConnected(at.bus.state.state !== 'connected');
            else await own.settle(n);
          }
          for (const host of hosts) host.bus.setConnected(true);
          await own.settle(90_000);
          for (const host of hosts) expect((await own.consistency(host)).differences).toEqual([]);
          const followed = hosts.filter((host) => host.agent.networkCounters()[RDID] !== undefined);
          const digests = await Promise.all(followed.map(async (host) => JSON.stringify(mappingsOf(host))));
          expect(new Set(digests).size).toBeLessThanOrEqual(1);
        } finally {
          await own.close();
        }
      }),
      { numRuns: 12 },
    );
  }, 60_000);

  /** Where each address lives, as this host has it, told alike on all hosts. */
  function mappingsOf(host: Host): string[] {
    return host.datapath
      .entries('lookup')
      .map((entry) =>
        entry.table === 'lookup'
          ? `${entry.key.ca.join('.')} ${entry.value.mac.join(':')} ${entry.value.pa.join('.')} ${entry.value.generation}`
          : '',
      )
      .sort();
  }
});

describe('records that nobody may say', () => {
  it('are refused and alarmed: stranger, foreign host, foreign provider address, placement, replay', async () => {
    const [a, b, c] = await three();
    const stranger = createIdentity('host');
    const forged = (identity: typeof stranger, value: ReturnType<typeof binding>, revision: number, replacesRevision = revision - 1) => ({
      bucket: 'mapping' as const,
      key: bindingKey(2),
      revision,
      bucketCreatedUnixMs: CREATED,
      envelope: lab.forge({ bucket: 'mapping', key: bindingKey(2), replacesRevision, after: { kind: 'binding', value } }, identity),
    });
    const before = lookup(c, 2);
    const steal = binding(2, 'host-a', 9);
    c.bus.receive(forged(stranger, steal, 50));
    c.bus.receive(forged(b.identity, steal, 51));
    c.bus.receive(forged(a.identity, { ...steal, providerAddress: paOf('host-c') }, 52));
    c.bus.receive({ ...forged(a.identity, steal, 53), envelope: new Uint8Array([1, 2, 3]) });
    await lab.settle(1_000);
    expect(lookup(c, 2)).toEqual(before);
    expect(counters(c).refused).toBe(4);
    expect(codes(c)).toContain('RECORD_REFUSED');
    // An old claim of b's, put again after the port has moved on: it says itself what it replaced.
    const old = lab.store.buckets.mapping.values.get(bindingKey(2))!;
    await lab.bind(a, 2, { move: true });
    await lab.settle(100);
    c.bus.receive({ bucket: 'mapping', key: bindingKey(2), revision: 999, bucketCreatedUnixMs: CREATED, envelope: old.value });
    await lab.settle(1_000);
    expect(lookup(c, 2)?.pa).toEqual(parseIp(paOf('host-a')));
    expect(counters(c).refused).toBe(5);
  });

  it('stay without effect when they stand in the store, and hosts agree all the same', async () => {
    const [a, b, c] = await three();
    const stranger = createIdentity('host');
    const revision = lab.store.buckets.mapping.values.get(bindingKey(1))!.revision;
    const envelope = lab.forge(
      { bucket: 'mapping', key: bindingKey(1), replacesRevision: revision, after: { kind: 'binding', value: binding(1, 'host-c', 77) } },
      stranger,
    );
    lab.store.buckets.mapping.force(bindingKey(1), envelope);
    c.bus.setConnected(false);
    c.bus.setConnected(true);
    await lab.settle(10_000);
    for (const host of [a, b, c]) {
      expect((await lab.consistency(host)).differences).toEqual([]);
      expect(codes(host)).toContain('RECORD_REFUSED');
    }
    expect(lookup(b, 1)?.pa).toEqual(parseIp(paOf('host-a')));
    const quiet = counters(b).resyncs;
    await lab.settle(30_000);
    expect(counters(b).resyncs).toBe(quiet);
    // The rightful host's next claim cures it.
    expect((await lab.bind(a, 1, { device: 'tapnew' })).problems).toEqual([]);
    await lab.settle(400_000 + 300_000);
    expect(codes(b)).toEqual([]);
  });

  it('by a host that the placement leaves out', async () => {
    const [a, b, c] = await three();
    await lab.putPort(2, { placement: { mode: 'list', hosts: ['host-b'] } });
    await lab.settle(100);
    const { revision } = lab.store.buckets.mapping.values.get(bindingKey(2))!;
    for (const state of ['bound', 'released'] as const) {
      const envelope = lab.forge(
        {
          bucket: 'mapping',
          key: bindingKey(2),
          replacesRevision: revision,
          after: { kind: 'binding', value: binding(2, 'host-a', 9, { state }) },
        },
        a.identity,
      );
      c.bus.receive({ bucket: 'mapping', key: bindingKey(2), revision: revision + 5, bucketCreatedUnixMs: CREATED, envelope });
    }
    await lab.settle(500);
    expect(lookup(c, 2)?.pa).toEqual(parseIp(paOf('host-b')));
    expect(counters(c).refused).toBe(2);
    expect(b.agent.conditions).toEqual([]);
  });

  it('principals and hosts by an event alone: its revision is signed by nobody, so an old record announced again counts for nothing', async () => {
    const [a, b, c] = await three();
    const key = configKey.principal(a.identity.publicKey);
    const old = lab.store.buckets.config.values.get(key)!;
    await lab.commit('config', key, undefined, lab.admin);
    await lab.settle(1_000);
    const forged = { bucket: 'config' as const, key, bucketCreatedUnixMs: CREATED, envelope: old.value };
    for (const revision of [lab.store.buckets.config.sequence + 1, Number.MAX_SAFE_INTEGER]) c.bus.receive({ ...forged, revision });
    // What stands in the way of a record to come, for a host that is admitted later.
    const late = createIdentity('host');
    const lateKey = configKey.principal(late.publicKey);
    const value = { key: late.publicKey, name: 'host-z', role: 'host', tenants: [] } as const;
    const envelope = lab.forge({ bucket: 'config', key: lateKey, after: { kind: 'principal', value } }, b.identity);
    c.bus.receive({ bucket: 'config', key: lateKey, revision: 2 ** 53 - 1, bucketCreatedUnixMs: CREATED, envelope });
    await lab.settle(1_000);
    const { revision } = lab.store.buckets.mapping.values.get(bindingKey(2))!;
    const steal = lab.forge(
      { bucket: 'mapping', key: bindingKey(2), replacesRevision: revision, after: { kind: 'binding', value: binding(2, 'host-a', 9) } },
      a.identity,
    );
    c.bus.receive({ bucket: 'mapping', key: bindingKey(2), revision: revision + 50, bucketCreatedUnixMs: CREATED, envelope: steal });
    await lab.settle(1_000);
    expect(lookup(c, 2)?.pa).toEqual(parseIp(paOf('host-b')));
    expect(codes(c)).toContain('RECORD_REFUSED');
    await lab.admit('host-z', late);
    await lab.settle(1_000);
    const digest = { routingDomainId: RDID, hostId: 'host-z', zero: false, hash: new Uint8Array(32), recordCount: 1 };
    const heard = counters(c).digestsHeard;
    await lab.startAgent({ ...b, id: 'host-z', identity: late, stateDirectory: `${b.stateDirectory}-z` });
    await lab.settle(1_000);
    c.bus.receiveDigest({ ...digest, bucketCreatedUnixMs: CREATED, configRevision: 1, mappingRevision: 1 }, late.publicKey);
    await lab.settle(100);
    expect(counters(c).digestsHeard).toBe(heard + 1);
  });

  it('under revisions that the store never had: forgotten at the next look, and the network goes on', async () => {
    const [a, b, c] = await three();
    const { revision } = lab.store.buckets.mapping.values.get(bindingKey(2))!;
    const announce = (n: number, at: number, generation: number, replacesRevision: number): void => {
      const value = binding(n, 'host-a', generation);
      const key = bindingKey(n);
      const envelope = lab.forge({ bucket: 'mapping', key, replacesRevision, after: { kind: 'binding', value } }, a.identity);
      for (const host of [b, c]) host.bus.receive({ bucket: 'mapping', key, revision: at, bucketCreatedUnixMs: CREATED, envelope });
    };
    announce(2, Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER, revision);
    announce(3, lab.store.buckets.mapping.sequence + 1, 50, lab.store.buckets.mapping.values.get(bindingKey(3))!.revision);
    announce(77, 2 ** 52, 1, 0);
    await lab.settle(20);
    // The port is b's in truth; others are bound meanwhile, and their events are heard.
    for (const n of [4, 5]) {
      await lab.putPort(n);
      expect((await lab.bind(b, n)).problems).toEqual([]);
    }
    for (const host of [b, c]) host.bus.setConnected(false);
    for (const host of [b, c]) host.bus.setConnected(true);
    await lab.settle(5_000);
    for (const host of [b, c]) {
      expect(codes(host)).not.toContain('STORE_LOST');
      expect((await lab.consistency(host)).differences).toEqual([]);
    }
    expect(lookup(c, 2)?.pa).toEqual(parseIp(paOf('host-b')));
    expect(lookup(b, 3)?.pa).toEqual(parseIp(paOf('host-c')));
    expect(lookup(b, 2)?.kind).toBe(TargetKind.LOCAL);
    // And what is true from now on is believed.
    expect((await lab.bind(c, 2, { move: true })).problems).toEqual([]);
    await lab.settle(1_000);
    expect(lookup(b, 2)?.pa).toEqual(parseIp(paOf('host-c')));
  });

  it('with the highest generation there is: the rightful host can still claim the port', async () => {
    const [a, b, c] = await three();
    for (const generation of [Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER - 1, 2 ** 52]) {
      const { revision } = lab.store.buckets.mapping.values.get(bindingKey(1))!;
      const value = binding(1, 'host-c', generation);
      const change = {
        bucket: 'mapping' as const,
        key: bindingKey(1),
        replacesRevision: revision,
        after: { kind: 'binding' as const, value },
      };
      lab.store.buckets.mapping.force(bindingKey(1), lab.forge(change, createIdentity('host')));
      expect((await lab.bind(a, 1, { device: `tap${generation % 7}` })).problems).toEqual([]);
      await lab.settle(1_000);
      for (const host of [b, c]) expect(lookup(host, 1)?.pa).toEqual(parseIp(paOf('host-a')));
    }
    expect(lookup(c, 1)!.generation).toBeLessThan(10n);
  });

  it.each([0, 1, 'unread'] as const)(
    'of a host that placement allows, with a generation that no claim reaches: refused, and the port goes on (its own placing: %s)',
    async (kind) => {
      const [a, b, c] = await three();
      const key = bindingKey(1);
      const { revision } = lab.store.buckets.mapping.values.get(key)!;
      // Host c may have the port, and signs with its own key.
      const put = (generation: number): void => {
        const before = kind === 'unread' ? undefined : binding(1, 'host-c', generation - kind);
        const change = {
          bucket: 'mapping' as const,
          key,
          replacesRevision: lab.store.buckets.mapping.values.get(key)!.revision,
          before: before === undefined ? undefined : { kind: 'binding' as const, value: before },
          after: { kind: 'binding' as const, value: binding(1, 'host-c', generation) },
        };
        lab.store.buckets.mapping.force(key, lab.forge(change, c.identity));
        const { value: envelope, revision: at } = lab.store.buckets.mapping.values.get(key)!;
        for (const host of [a, b]) host.bus.receive({ bucket: 'mapping', key, revision: at, bucketCreatedUnixMs: CREATED, envelope });
      };
      for (const generation of [Number.MAX_SAFE_INTEGER, revision + 100]) {
        put(generation);
        await lab.settle(1_000);
        for (const host of [a, b]) {
          expect(codes(host)).toContain('RECORD_REFUSED');
          expect(host.agent.conditions.find(({ code }) => code === 'RECORD_REFUSED')!.message).toContain('above its revision');
        }
        expect(lookup(a, 1)?.kind).toBe(TargetKind.LOCAL);
        expect(lookup(b, 1)?.pa).toEqual(parseIp(paOf('host-a')));
        // Bound again as it is, the port's record is the truth again, also for who comes later.
        expect((await lab.bind(a, 1)).problems).toEqual([]);
        await lab.settle(10_000);
        expect(lookup(b, 1)?.pa).toEqual(parseIp(paOf('host-a')));
        expect(lookup(b, 1)!.generation).toBeLessThan(10n);
      }
      // The highest that is believed leaves room for the next.
      put(lab.store.buckets.mapping.sequence + 1);
      await lab.settle(1_000);
      expect(lookup(b, 1)?.pa).toEqual(parseIp(paOf('host-c')));
      expect((await lab.bind(b, 1, { device: 'tapb', move: true })).problems).toEqual([]);
      await lab.settle(1_000);
      for (const host of [a, c]) expect(lookup(host, 1)?.pa).toEqual(parseIp(paOf('host-b')));
      const d = await lab.host('host-d');
      await lab.putPort(9);
      expect((await lab.bind(d, 9)).problems).toEqual([]);
      expect(lookup(d, 1)?.pa).toEqual(parseIp(paOf('host-b')));
    },
  );

  it('by an event that the store never had, with the highest numbers there are: the port can be bound at once', async () => {
    const [a, b, c] = await three();
    const key = bindingKey(1);
    const value = binding(1, 'host-c', Number.MAX_SAFE_INTEGER);
    const { revision } = lab.store.buckets.mapping.values.get(key)!;
    const envelope = lab.forge({ bucket: 'mapping', key, replacesRevision: revision, after: { kind: 'binding', value } }, c.identity);
    for (const host of [a, b])
      host.bus.receive({ bucket: 'mapping', key, revision: Number.MAX_SAFE_INTEGER, bucketCreatedUnixMs: CREATED, envelope });
    await lab.settle(1);
    expect((await lab.bind(a, 1)).problems).toEqual([]);
    expect(lookup(a, 1)?.kind).toBe(TargetKind.LOCAL);
    // Who heard it too forgets it at its next look.
    b.bus.setConnected(false);
    b.bus.setConnected(true);
    await lab.settle(5_000);
    for (const host of [b, c]) expect(lookup(host, 1)?.pa).toEqual(parseIp(paOf('host-a')));
  });

  it("deletions of others' bindings", async () => {
    const [a, b, c] = await three();
    const { revision } = lab.store.buckets.mapping.values.get(bindingKey(2))!;
    const envelope = lab.forge({ bucket: 'mapping', key: bindingKey(2), replacesRevision: revision, operation: 'delete' }, a.identity);
    for (const host of [b, c])
      host.bus.receive({ bucket: 'mapping', key: bindingKey(2), revision: revision + 5, bucketCreatedUnixMs: CREATED, envelope });
    await lab.settle(500);
    expect(lookup(c, 2)?.kind).toBe(TargetKind.PEER);
    expect(lookup(b, 2)?.kind).toBe(TargetKind.LOCAL);
  });

  it('digests by others than their host cause nothing', async () => {
    const [a, , c] = await three();
    const resyncs = counters(c).resyncs;
    const digest = {
      routingDomainId: RDID,
      hostId: 'host-a',
      bucketCreatedUnixMs: CREATED,
      configRevision: 999,
      mappingRevision: 999,
      recordCount: 1,
      hash: new Uint8Array(32),
      zero: false,
    };
    for (let i = 0; i < 50; i++) c.bus.receiveDigest(digest, createIdentity('host').publicKey);
    await lab.settle(5_000);
    expect(counters(c).resyncs).toBe(resyncs);
    // The host itself may err, and costs a bounded number of looks.
    for (let i = 0; i < 200; i++) {
      c.bus.receiveDigest(digest, a.identity.publicKey);
      await lab.settle(50);
    }
    expect(counters(c).resyncs - resyncs).toBeLessThan(12);
  });
});

describe('a large network', () => {
  it('is read in pieces, while events go on being applied', async () => {
    const [a, b] = [await lab.host('host-a'), await lab.host('host-b')];
    const count = 1_200;
    for (let n = 10; n < 10 + count; n++) {
      const mac = `02:00:00:01:${(n >> 8).toString(16).padStart(2, '0')}:${(n & 255).toString(16).padStart(2, '0')}`;
      const value = port(n, { mac, addresses: [`10.0.${n >> 8}.${n & 255}`] });
      lab.store.buckets.config.force(
        configKey.port(RDID, portId(n)),
        lab.forge({ bucket: 'config', key: configKey.port(RDID, portId(n)), after: { kind: 'port', value } }, lab.controller),
      );
      lab.store.buckets.mapping.force(
        bindingKey(n),
        lab.forge({ bucket: 'mapping', key: bindingKey(n), after: { kind: 'binding', value: binding(n, 'host-b', 1) } }, b.identity),
      );
    }
    expect((await lab.bind(a, 1)).problems).toEqual([]);
    expect(a.datapath.entries('lookup').length).toBe(count + 1);
    expect((await lab.consistency(a)).differences).toEqual([]);
    expect(a.agent.conditions).toEqual([]);
  });
});

describe('VSIDs', () => {
  it('that another network has claimed are denied', async () => {
    const other = '22222222-2222-4222-8222-222222222222';
    await lab.commit('config', configKey.network(other), { kind: 'network', value: network({ id: other, name: 'evil', networkId: 8 }) });
    await lab.commit('config', configKey.port(other, portId(9)), { kind: 'port', value: port(9, { routingDomainId: other }) });
    const a = await lab.host('host-a');
    expect((await lab.bind(a, 9, { rdid: other })).problems[0]?.code).toBe('WEFT_ERR_AGENT_VSID_CLAIM');
    expect(a.datapath.entries('subnet')).toEqual([]);
    expect(a.datapath.entries('port')).toEqual([]);
  });
});

describe('a store that is another one, or lost records', () => {
  it('is not believed: nothing changes, a critical condition says what to do', async () => {
    const [a, b, c] = await three();
    const rows = c.datapath.entries();
    lab.store.buckets.mapping.createdUnixMs += 5_000;
    lab.store.buckets.mapping.values.clear();
    lab.store.buckets.mapping.sequence = 0;
    for (const host of [a, b, c]) host.bus.setConnected(false);
    for (const host of [a, b, c]) host.bus.setConnected(true);
    await lab.settle(5_000);
    expect(c.datapath.entries()).toEqual(rows);
    expect(c.agent.conditions[0]).toMatchObject({ code: 'STORE_LOST', severity: 'critical' });
    expect(c.agent.conditions[0]!.message).toContain('--accept-new-store');
  });

  it('with lower revisions under the same name: the same', async () => {
    const [a, , c] = await three();
    const rows = c.datapath.entries();
    const entry = lab.store.buckets.mapping.values.get(bindingKey(3))!;
    lab.store.buckets.mapping.values.delete(bindingKey(3));
    lab.store.buckets.mapping.sequence = entry.revision - 1;
    c.bus.setConnected(false);
    c.bus.setConnected(true);
    await lab.settle(2_000);
    expect(c.datapath.entries()).toEqual(rows);
    expect(codes(c)).toContain('STORE_LOST');
    expect(codes(a)).not.toContain('RECORD_REFUSED');
  });

  it('is believed after a restart that was told to', async () => {
    const [a] = await three();
    await a.agent.stop();
    lab.store.buckets.mapping.createdUnixMs += 5_000;
    lab.store.buckets.mapping.values.clear();
    lab.store.buckets.mapping.sequence = 0;
    await lab.startAgent(a);
    await lab.settle(2_000);
    expect(codes(a)).toContain('STORE_LOST');
    expect(lookup(a, 1)?.kind).toBe(TargetKind.LOCAL);
    expect((await lab.bind(a, 1)).problems[0]?.code).toBe('WEFT_ERR_AGENT_STORE_LOST');
    await a.agent.stop();
    await lab.startAgent(a, { init: { acceptNewStore: true } });
    await lab.settle(2_000);
    expect(codes(a)).toEqual([]);
    expect(lookup(a, 2)).toBeUndefined();
    // Its own port the host knows best: claimed anew, and counted anew.
    expect(lookup(a, 1)).toMatchObject({ kind: TargetKind.LOCAL, generation: 1n });
    expect((await lab.bind(a, 1)).result).toMatchObject({ value: { binding: { generation: 1 } } });
    expect(lookup(a, 1)?.kind).toBe(TargetKind.LOCAL);
  });
});
