import { readdirSync, readFileSync } from 'node:fs';
import { configKey, hasCode, type Port, portCodec, subjects } from '@weft/model';
import { NatsServer, tempDir, waitFor } from '@weft/testkit';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  type Bucket,
  type Bus,
  commitRecord,
  connectBus,
  createIdentity,
  createTrustFollower,
  getRecord,
  putPrincipal,
  readCommitted,
  type Snapshot,
  type Store,
} from '../src/index.ts';

// Against the real nats-server of this machine: what the bus promises must hold there, not in a fake.

const rdid = '0b8f5e0a-0000-4000-8000-00000000000a';
const dir = tempDir('weft-bus-');
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const textOf = (value: Uint8Array | undefined): string => new TextDecoder().decode(value);

let server: NatsServer;
let bus: Bus;
let store: Store;
const buses: Bus[] = [];

function newBus(name: string, options: { requestTimeoutMs?: number } = {}): Bus {
  const made = connectBus({ servers: server.url, name, reconnectWaitMs: 50, ...options });
  buses.push(made);
  return made;
}

beforeAll(async () => {
  server = await NatsServer.start({ dir: dir.path });
  bus = newBus('test');
  store = await bus.open({ replicas: 1 });
});
afterEach(async () => {
  for (const extra of buses.splice(1)) await extra.close();
});
afterAll(async () => {
  for (const one of buses) await one.close();
  await server?.close();
  dir.remove();
});

/** One letter each, as `ps` shows it. @see proc(5), /proc/pid/stat */
function threadStates(pid: number): string[] {
  const tasks = `/proc/${pid}/task`;
  return readdirSync(tasks).map((task) => /\) (\S)/.exec(readFileSync(`${tasks}/${task}/stat`, 'utf8'))?.[1] ?? '');
}

let next = 0;
const tenantKey = (): string => configKey.tenant(`0b8f5e0a-0000-4000-8000-${String(++next).padStart(12, '0')}`);
const revisionOf = async (write: ReturnType<Bucket['put']>): Promise<number> => {
  const outcome = await write;
  expect(outcome.status).toBe('committed');
  return (outcome as { revision: number }).revision;
};

describe('bucket', () => {
  it('create() lets one win, put() wants the last revision, purge() leaves nothing', async () => {
    const key = tenantKey();
    expect(await store.config.get(key)).toBeUndefined();
    const first = await revisionOf(store.config.create(key, bytes('a')));
    expect(await store.config.create(key, bytes('b'))).toEqual({ status: 'conflict', revision: first });
    const second = await revisionOf(store.config.put(key, bytes('b'), first));
    expect(await store.config.put(key, bytes('c'), first)).toEqual({ status: 'conflict', revision: second });
    const entry = await store.config.get(key);
    expect([entry?.revision, textOf(entry?.value)]).toEqual([second, 'b']);
    await store.config.purge(key, first);
    expect((await store.config.get(key))?.revision).toBe(second);
    await store.config.purge(key, second);
    expect(await store.config.get(key)).toBeUndefined();
    await revisionOf(store.config.create(key, bytes('again')));
  });

  it('of 20 racing writers exactly one wins each round', async () => {
    const key = tenantKey();
    let revision = 0;
    for (let round = 0; round < 5; round++) {
      const outcomes = await Promise.all(Array.from({ length: 20 }, (_, i) => store.config.put(key, bytes(`${round} ${i}`), revision)));
      const won = outcomes.filter((outcome) => outcome.status === 'committed');
      expect(won).toHaveLength(1);
      expect(outcomes.filter((outcome) => outcome.status === 'conflict')).toHaveLength(19);
      revision = (won[0] as { revision: number }).revision;
    }
  });

  it('snapshot() has exactly the prefix, newest values, a sequence to sweep by; also of nothing; and leaves no consumer', async () => {
    const port = (n: number): string => configKey.port(rdid, `0b8f5e0a-0000-4000-8000-${String(n).padStart(12, '0')}`);
    const other = configKey.port('0b8f5e0a-0000-4000-8000-00000000000b', '0b8f5e0a-0000-4000-8000-000000000001');
    await revisionOf(store.config.create(other, bytes('other')));
    for (let n = 1; n <= 50; n++) await revisionOf(store.config.create(port(n), bytes(`v${n}`)));
    const gone = (await store.config.get(port(7)))!;
    const changed = (await store.config.get(port(8)))!;
    const newRevision = await revisionOf(store.config.put(port(8), bytes('new'), changed.revision));
    await store.config.purge(port(7), gone.revision);

    const snapshot = await store.config.snapshot(`port.${rdid}`);
    expect(snapshot.entries.map((entry) => entry.key).sort()).toEqual(
      Array.from({ length: 50 }, (_, i) => port(i + 1))
        .filter((key) => key !== port(7))
        .sort(),
    );
    const eight = snapshot.entries.find((entry) => entry.key === port(8));
    expect([eight?.revision, textOf(eight?.value)]).toEqual([newRevision, 'new']);
    expect(snapshot.atSequence).toBeGreaterThanOrEqual(newRevision);
    expect(snapshot.bucketCreatedUnixMs).toBe(store.config.bucketCreatedUnixMs);

    const empty = await store.config.snapshot('port.0b8f5e0a-0000-4000-8000-0000000000ff');
    expect(empty.entries).toEqual([]);
    expect(empty.atSequence).toBeGreaterThanOrEqual(newRevision);
    await waitFor(async () => (await store.config.status()).consumers === 0, { what: 'the consumers to be gone' });
  });

  it('snapshot() while keys are overwritten and purged never misses a key that stays', async () => {
    const network = '0b8f5e0a-0000-4000-8000-0000000000cc';
    const port = (n: number): string => configKey.port(network, `0b8f5e0a-0000-4000-8000-${String(n).padStart(12, '0')}`);
    const revisions = await Promise.all(Array.from({ length: 40 }, (_, n) => revisionOf(store.config.create(port(n), bytes('0')))));
    let stop = false;
    const churn = (async () => {
      for (let i = 0; !stop; i++) {
        const n = i % 40;
        revisions[n] = await revisionOf(store.config.put(port(n), bytes(String(i)), revisions[n]!));
      }
    })();
    for (let round = 0; round < 15; round++) {
      const before = [...revisions];
      const snapshot = await store.config.snapshot(`port.${network}`);
      expect(snapshot.entries).toHaveLength(40);
      for (let n = 0; n < 40; n++) {
        expect(snapshot.entries.find((entry) => entry.key === port(n))!.revision).toBeGreaterThanOrEqual(before[n]!);
      }
    }
    stop = true;
    await churn;
  });

  it('keys that are none are refused before anything is sent', async () => {
    for (const key of ['', 'a b', 'a.*', '>', 'a..b', '.a', 'ä']) {
      await expect(store.config.get(key)).rejects.toThrow(/Cannot use .* as a key/);
      await expect(store.config.put(key, bytes(''), 0)).rejects.toThrow(/Cannot use .* as a key/);
    }
  });
});

describe('watch()', () => {
  it('tells a snapshot, then each entry; resyncs when its consumer is deleted on the server', async () => {
    const network = '0b8f5e0a-0000-4000-8000-0000000000dd';
    const port = (n: number): string => configKey.port(network, `0b8f5e0a-0000-4000-8000-${String(n).padStart(12, '0')}`);
    await revisionOf(store.config.create(port(1), bytes('one')));
    const snapshots: Snapshot[] = [];
    const told: string[] = [];
    const watch = store.config.watch(
      `port.${network}`,
      { onSnapshot: (snapshot) => snapshots.push(snapshot), onEntry: (entry) => told.push(textOf(entry.value)) },
      { heartbeatMs: 200 },
    );
    await waitFor(() => snapshots.length === 1, { what: 'the first snapshot' });
    expect(snapshots[0]!.entries.map((entry) => textOf(entry.value))).toEqual(['one']);
    await revisionOf(store.config.create(port(2), bytes('two')));
    await waitFor(() => told.includes('two'), { what: 'the second entry' });

    const { account_details: accounts } = await server.monitor<{
      account_details: { stream_detail: { name: string; consumer_detail?: { name: string }[] }[] }[];
    }>('jsz?consumers=true');
    const consumers =
      accounts.flatMap((account) => account.stream_detail).find((stream) => stream.name === 'KV_config')?.consumer_detail ?? [];
    expect(consumers).toHaveLength(1);
    const { connect } = await import('@nats-io/transport-node');
    const raw = await connect({ servers: server.url });
    await raw.request(`$JS.API.CONSUMER.DELETE.KV_config.${consumers[0]!.name}`);
    await raw.close();
    // Written while nobody is told: the resync must bring it.
    await revisionOf(store.config.create(port(3), bytes('three')));
    await waitFor(() => snapshots.length >= 2, { what: 'the resync', deadlineMs: 5_000 });
    expect(snapshots[1]!.entries.map((entry) => textOf(entry.value)).sort()).toEqual(['one', 'three', 'two']);
    await watch.stop();
    await waitFor(async () => (await store.config.status()).consumers === 0, { what: 'the consumers to be gone' });
  });
});

describe('open()', () => {
  it('refuses a stream that is there with other settings, naming them', async () => {
    const { connect } = await import('@nats-io/transport-node');
    const raw = await connect({ servers: server.url });
    try {
      const info = JSON.parse((await raw.request('$JS.API.STREAM.INFO.KV_hosts')).string()) as { config: object };
      const changed = { ...info.config, max_age: 600_000_000_000 };
      await raw.request('$JS.API.STREAM.UPDATE.KV_hosts', JSON.stringify(changed));
      const second = newBus('second');
      const error = await second.open({ replicas: 1 }).catch((caught: unknown) => caught);
      expect(hasCode(error, 'WEFT_ERR_BUS_BUCKET_MISMATCH')).toBe(true);
      expect(String(error)).toContain('max_age is 600000000000, asked was 0');
      await raw.request('$JS.API.STREAM.UPDATE.KV_hosts', JSON.stringify(info.config));
      await second.open({ replicas: 1, create: false });
    } finally {
      await raw.close();
    }
  });
});

describe('the NAT log', () => {
  const config = async (): Promise<{ max_age: number; discard: string }> => {
    const { connect } = await import('@nats-io/transport-node');
    const raw = await connect({ servers: server.url });
    try {
      return JSON.parse((await raw.request('$JS.API.STREAM.INFO.NATLOG')).string()).config;
    } finally {
      await raw.close();
    }
  };
  const DAY_NS = 86_400_000_000_000;

  it('takes each record once, and gives those of 1,024 ports alone', async () => {
    const { natLog } = store;
    const of = (port: number): string => subjects.natLog(7, '203.0.113.7', port);
    expect(await natLog.append(of(40_112), 'a', new Uint8Array([1]))).toMatchObject({ duplicate: false });
    expect(await natLog.append(of(40_112), 'a', new Uint8Array([1]))).toMatchObject({ duplicate: true });
    await natLog.append(of(1_024), 'b', new Uint8Array([2]));
    await natLog.append(subjects.natLog(7, '203.0.113.8', 40_112), 'c', new Uint8Array([3]));
    await natLog.append(subjects.natLog(8, '203.0.113.7', 40_960 - 1), 'd', new Uint8Array([4]));
    const values = async (subject?: string): Promise<number[]> =>
      (await natLog.read({ fromSequence: 1, limit: 100, ...(subject === undefined ? {} : { subject }) })).map(({ value }) => value[0]!);
    expect(await values()).toEqual([1, 2, 3, 4]);
    expect(await values(subjects.natLogOf('203.0.113.7', 40_000))).toEqual([1, 4]);
    expect(await values(subjects.natLogOf('203.0.113.7', undefined))).toEqual([1, 2, 4]);
  });

  it('is kept for 90 days, or as long as an option says, which then stays', async () => {
    expect(await config()).toMatchObject({ max_age: 90 * DAY_NS, discard: 'old' });
    await newBus('longer').open({ replicas: 1, natLogDays: 365 });
    expect((await config()).max_age).toBe(365 * DAY_NS);
    // A controller without the option, and a host, leave it as it is.
    await newBus('later').open({ replicas: 1 });
    await newBus('host').open({ replicas: 1, create: false });
    expect((await config()).max_age).toBe(365 * DAY_NS);
    await newBus('shorter').open({ replicas: 1, natLogDays: 0.5 });
    expect((await config()).max_age).toBe(DAY_NS / 2);
  });

  it('need not be there for a host to work: what it tells waits', async () => {
    const { connect } = await import('@nats-io/transport-node');
    const raw = await connect({ servers: server.url });
    try {
      await raw.request('$JS.API.STREAM.DELETE.NATLOG');
      const host = await newBus('host', { requestTimeoutMs: 200 }).open({ replicas: 1, create: false });
      await expect(host.natLog.append(subjects.natLog(7, '203.0.113.7', 1_024), 'z', new Uint8Array([9]))).rejects.toThrow();
      await newBus('controller').open({ replicas: 1 });
      expect(await host.natLog.append(subjects.natLog(7, '203.0.113.7', 1_024), 'z', new Uint8Array([9]))).toMatchObject({
        duplicate: false,
      });
    } finally {
      await raw.close();
    }
  });
});

describe('records', () => {
  const admin = createIdentity('user');
  const controller = createIdentity('controller');
  const port: Port = {
    id: '0b8f5e0a-0000-4000-8000-0000000000e1',
    tenant: 'coke',
    network: 'net',
    routingDomainId: '0b8f5e0a-0000-4000-8000-0000000000ee',
    subnet: 'front',
    vsid: 4096,
    name: 'web1',
    mac: '02:00:00:00:00:01',
    addresses: ['10.0.0.5'],
    placement: { mode: 'any', hosts: [] },
  };

  it('are announced with their revision once committed, and read back as signed', async () => {
    const heard: number[] = [];
    const committed: number[] = [];
    const listener = newBus('listener');
    await listener.whenConnected();
    listener.onEvents(port.routingDomainId, (event) => {
      const entry = readCommitted(event);
      expect(entry.signer).toBe(controller.publicKey);
      heard.push(entry.revision);
    });
    const key = configKey.port(port.routingDomainId, port.id);
    const base = {
      bus,
      bucket: store.config,
      identity: controller,
      key,
      tenant: 'coke',
      authorKey: admin.publicKey,
      authorName: 'alice',
      requestId: 'request-1',
      nowMs: 1_700_000_000_000,
    };
    await waitFor(
      async () => {
        const current = await getRecord(store.config, key);
        const { outcome } = await commitRecord({ ...base, current, after: { kind: 'port', value: port } });
        expect(outcome.status).toBe('committed');
        committed.push((outcome as { revision: number }).revision);
        return committed.some((revision) => heard.includes(revision));
      },
      { what: 'the event (the subscription may come after the first ones)' },
    );
    const current = await getRecord(store.config, key);
    expect(current?.record).toEqual({ kind: 'port', value: port });
    const { outcome } = await commitRecord({ ...base, current, after: undefined });
    expect(outcome.status).toBe('committed');
    const tombstone = await getRecord(store.config, key);
    expect(tombstone?.record).toBeUndefined();
    expect(tombstone?.change.before).toEqual({ kind: 'port', value: port });
    // A tombstone can be replaced by whoever has read it.
    expect((await commitRecord({ ...base, current: undefined, after: { kind: 'port', value: port } })).outcome.status).toBe('conflict');
    expect((await commitRecord({ ...base, current: tombstone, after: { kind: 'port', value: port } })).outcome.status).toBe('committed');
  });

  it('put under another key than they were signed for are refused', async () => {
    const key = configKey.port(port.routingDomainId, port.id);
    const entry = (await store.config.get(key))!;
    const elsewhere = configKey.port(port.routingDomainId, '0b8f5e0a-0000-4000-8000-0000000000e2');
    await revisionOf(store.config.create(elsewhere, entry.value));
    await expect(getRecord(store.config, elsewhere)).rejects.toThrow(/it was signed for config port\./);
    await revisionOf(store.config.put(elsewhere, portCodec.encode(port), (await store.config.get(elsewhere))!.revision));
    await expect(getRecord(store.config, elsewhere)).rejects.toThrow();
  });

  it('a trust follower learns a principal from the event, a stranger from nowhere', async () => {
    const follower = await createTrustFollower({ bus, store, anchors: [admin.publicKey] });
    const stranger = createIdentity('user');
    const principal = { key: controller.publicKey, name: 'controller-1', role: 'controller', tenants: [] } as const;
    const put = { bus, store, adminName: 'root', requestId: 'request-2', nowMs: 1 };
    expect((await putPrincipal({ ...put, admin, principal })).changed).toBe(true);
    expect((await putPrincipal({ ...put, admin, principal })).changed).toBe(false);
    await waitFor(() => follower.trust.roleOf(controller.publicKey) === 'controller', { what: 'the principal' });
    const forged = { key: stranger.publicKey, name: 'mallory', role: 'admin', tenants: [] } as const;
    await putPrincipal({ ...put, admin: stranger, principal: forged });
    await putPrincipal({ ...put, admin: stranger, principal: { ...principal, role: 'deny' } });
    await follower.refresh();
    expect(follower.trust.roleOf(stranger.publicKey)).toBe('deny');
    expect(follower.trust.roleOf(controller.publicKey)).toBe('controller');
    await follower.stop();
    const fresh = await createTrustFollower({ bus, store, anchors: [admin.publicKey] });
    expect(fresh.trust.roleOf(stranger.publicKey)).toBe('deny');
    await fresh.stop();
  });
});

describe('commands', () => {
  const user = createIdentity('user');
  const agent = createIdentity('host');

  it('are answered, signed; one id is carried out once; nobody there is said at once', async () => {
    let carriedOut = 0;
    const service = bus.serve('host-a', {
      identity: agent,
      handler: async ({ request, signer }) => {
        carriedOut++;
        expect(signer).toBe(user.publicKey);
        expect(request.command.kind).toBe('consistency');
        return { problems: [], result: { kind: 'consistency', value: { hostId: 'host-a', consistent: true, rows: 3, differences: [] } } };
      },
    });
    const asked = newBus('asker');
    await asked.whenConnected();
    const command = { kind: 'consistency', value: {} } as const;
    const answer = await waitFor(() => asked.request('host-a', command, { identity: user, requestId: 'request-3', timeoutMs: 2_000 }), {
      what: 'the service to be subscribed',
    });
    expect(answer.signer).toBe(agent.publicKey);
    expect(answer.response.result).toEqual({
      kind: 'consistency',
      value: { hostId: 'host-a', consistent: true, rows: 3, differences: [] },
    });
    await asked.request('host-a', command, { identity: user, requestId: 'request-3' });
    expect(carriedOut).toBe(1);
    await service.stop();
    const error = await waitFor(
      () =>
        asked
          .request('host-a', command, { identity: user, timeoutMs: 500 })
          .then(() => undefined)
          .catch((caught: unknown) => caught),
      { what: 'a refusal' },
    );
    expect(hasCode(error, 'WEFT_ERR_BUS_NO_RESPONDER')).toBe(true);
  });
});

describe('without NATS', () => {
  it('a bus started first connects when NATS comes; writes fail at once and say that nothing was sent', async () => {
    const lateDir = tempDir('weft-bus-late-');
    const probe = await NatsServer.start({ dir: `${lateDir.path}/a` });
    const { port, url } = probe;
    await probe.close();
    const early = connectBus({ servers: url, name: 'early', reconnectWaitMs: 50 });
    buses.push(early);
    await waitFor(() => early.state.reason !== 'not connected yet', { what: 'a first attempt' });
    const error = await early
      .request('controller', { kind: 'status', value: {} }, { identity: createIdentity('user') })
      .catch((caught: unknown) => caught);
    expect(hasCode(error, 'WEFT_ERR_BUS_DISCONNECTED') && error.details.sent === false).toBe(true);
    const late = await NatsServer.start({ dir: `${lateDir.path}/b`, port });
    try {
      const opened = await early.open({ replicas: 1 });
      expect((await opened.config.create(tenantKey(), bytes('x'))).status).toBe('committed');
      expect(early.capabilities?.messageTtl).toBe(false);
    } finally {
      await late.close();
      lateDir.remove();
    }
  });

  it('a write to a server that stands still is unknown, and learned when repeated', async () => {
    const quick = newBus('quick', { requestTimeoutMs: 200 });
    const quickStore = await quick.open({ replicas: 1 });
    const key = tenantKey();
    const { pid } = server.process!;
    try {
      server.process!.kill('SIGSTOP');
      // Each of its threads stops when it sees the signal; one that has not yet may write.
      await waitFor(() => threadStates(pid).every((state) => state === 'T'), { what: 'the server to stand still' });
      const outcome = await quickStore.config.create(key, bytes('mine'), { timeoutMs: 600 });
      expect(outcome.status).toBe('unknown');
    } finally {
      server.process!.kill('SIGCONT');
    }
    // Whichever of the attempts was written, it is ours; repeating says so only by reading, CAS keeps it from being written twice.
    const entry = await waitFor(() => quickStore.config.get(key), { what: 'the write to be seen' });
    expect(textOf(entry.value)).toBe('mine');
    expect((await quickStore.config.create(key, bytes('other'))).status).toBe('conflict');
  });

  it('kill and restart: writes under way end committed once or unknown, subscriptions and watches live on, the bucket is the same', async () => {
    const network = '0b8f5e0a-0000-4000-8000-0000000000fa';
    const port = (n: number): string => configKey.port(network, `0b8f5e0a-0000-4000-8000-${String(n).padStart(12, '0')}`);
    const snapshots: Snapshot[] = [];
    const watch = store.config.watch(`port.${network}`, { onSnapshot: (s) => snapshots.push(s), onEntry() {} }, { heartbeatMs: 200 });
    await waitFor(() => snapshots.length === 1, { what: 'the first snapshot' });
    const created = store.config.bucketCreatedUnixMs;
    const writes = Array.from({ length: 30 }, (_, n) =>
      store.config.create(port(n), bytes(`v${n}`), { timeoutMs: 15_000 }).catch((error: unknown) => error as Error),
    );
    await server.kill();
    await waitFor(() => bus.state.state === 'disconnected', { what: 'the loss to be seen' });
    await server.restart();
    const outcomes = await Promise.all(writes);
    for (const [n, outcome] of outcomes.entries()) {
      const entry = await store.config.get(port(n));
      if ('status' in outcome && outcome.status === 'committed') expect(entry?.revision).toBe(outcome.revision);
      else expect(outcome instanceof Error || outcome.status === 'unknown', JSON.stringify(outcome)).toBe(true);
    }
    const last = await revisionOf(store.config.create(port(99), bytes('last')));
    await waitFor(() => snapshots.length >= 2, { what: 'the resync after the restart' });
    expect(last).toBeGreaterThan(0);
    expect((await store.config.status()).bucketCreatedUnixMs).toBe(created);
    await watch.stop();
  });
});

describe('ownership messages', () => {
  it('reach who listens to that channel of that gateway, and nobody else; nothing is kept for later', async () => {
    const [one, two] = ['0b8f5e0a-0000-4000-8000-0000000000f1', '0b8f5e0a-0000-4000-8000-0000000000f2'];
    const heard: string[] = [];
    const listener = newBus('listener');
    await listener.whenConnected();
    const subscriptions = [
      listener.onOwnership('ballots', one, (message) => heard.push(`ballot ${textOf(message)}`)),
      listener.onOwnership('grants', one, (message) => heard.push(`grant ${textOf(message)}`)),
    ];
    // The subscription is on its way to the server: asked until heard.
    await waitFor(
      () => {
        bus.publishOwnership('ballots', one, bytes('hello'));
        return heard.includes('ballot hello');
      },
      { what: 'the subscription to be in force' },
    );
    heard.length = 0;
    expect(bus.publishOwnership('grants', two, bytes('for others'))).toBe(true);
    expect(bus.publishOwnership('grants', one, bytes('mine'))).toBe(true);
    await waitFor(() => heard.includes('grant mine'), { what: 'the grant' });
    expect(heard.filter((text) => text !== 'ballot hello')).toEqual(['grant mine']);
    for (const subscription of subscriptions) await subscription.stop();
    await listener.close();
    expect(listener.publishOwnership('grants', one, bytes('too late'))).toBe(false);
  });
});

describe('log-in', () => {
  it('with an nkey the server knows succeeds, with another it is refused', async () => {
    const [known, stranger] = [createIdentity('user'), createIdentity('user')];
    const own = tempDir('weft-bus-login-');
    const guarded = await NatsServer.start({ dir: own.path, extraConfig: `authorization { users: [ { nkey: ${known.publicKey} } ] }` });
    const connect = (identity: typeof known): Bus => {
      const made = connectBus({ servers: guarded.url, name: 'login', reconnectWaitMs: 50, authentication: { kind: 'nkey', identity } });
      buses.push(made);
      return made;
    };
    try {
      await connect(known).whenConnected();
      const refused = connect(stranger);
      await waitFor(() => /authoriz/i.test(refused.state.reason), { what: 'the refusal', show: () => JSON.stringify(refused.state) });
      expect(refused.state.state).toBe('disconnected');
    } finally {
      await guarded.close();
      own.remove();
    }
  });
});
