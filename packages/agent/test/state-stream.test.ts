import { createIdentity, type Identity, openEnvelope, signEnvelope } from '@weft/bus';
import {
  FIRST_BLOCK,
  type NatEvent,
  NatEventKind,
  NatEventList,
  type NatFlow,
  type NatRow,
  NatState,
  type NatStateScope,
  type NatTables,
  natStateCodec,
  natSweep,
  PortMapping,
  SourceFlag,
  SourceRuleKind,
} from '@weft/forwarding';
import { parseIp } from '@weft/packet';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FrameReader, MAX_STATE_FRAME_BYTES, type StateSocket, type StateSocketEvents } from '../src/gateway/state/frames.ts';
import { Lags } from '../src/gateway/state/lag.ts';
import { StateReceiver } from '../src/gateway/state/receiver.ts';
import { StateStream, toNs } from '../src/gateway/state/stream.ts';

// An owner whose port mapping works, and a standby that is told of it: whatever is lost, late and begun anew, in the end both have the same.

const SEGMENT = 7;
const NETWORKS = [11, 12];
const SHARD = 71;
const EXTERNAL = ['203.0.113.1', '203.0.113.2'].map(parseIp);
const REMOTES = ['198.51.100.1', '198.51.100.2'].map(parseIp);
/** The standby's boot clock is ahead by so much. */
const AHEAD_MS = 3_600_000;

const keys = { g1: createIdentity('host'), g2: createIdentity('host'), stranger: createIdentity('host') };
const keyOf = (host: string): string | undefined => (host === 'g1' || host === 'g2' ? keys[host].publicKey : undefined);

class Owner {
  readonly state = new NatState();
  nowMs = 1_000_000;
  readonly #tables: NatTables = {
    gatewayNetwork: () => ({ shard: SHARD, segment: SEGMENT }) as never,
    gatewayShard: () => ({ epoch: 5n, deadlineBootNs: 1n << 62n }) as never,
    portForward: () => undefined,
    externalAddress: () => undefined,
  };
  readonly #nat = new PortMapping(this.state, this.#tables);

  constructor() {
    this.state.set('pool', { pool: 1 }, { addresses: EXTERNAL.map((address) => ({ segment: SEGMENT, address })) });
    for (const address of EXTERNAL) {
      const blocks = Array.from({ length: 4 }, (_, i) => ({ block: FIRST_BLOCK + i, freeAtS: 0 }));
      this.state.set('free', { segment: SEGMENT, address }, { own: new Uint8Array(128).fill(255), blocks });
    }
    for (const networkId of NETWORKS)
      this.state.set('quota', { networkId }, { blocks: 8, blocksPerSource: 3, sessions: 500, newFlowsPerSecond: 0 } as never);
  }

  get now(): bigint {
    return toNs(this.nowMs);
  }

  packet(networkId: number, port: number, remote: number): void {
    const flow: NatFlow = {
      ...{ networkId, segment: SEGMENT, isIpv6: false, near: parseIp(`10.0.0.${1 + (port % 2)}`), remote: REMOTES[remote]! },
      ...{ nearPort: 1000 + port, remotePort: 53, protocol: 17, icmpType: 0, tcpFlags: 0 },
      ...{ isError: false, isFragment: false, hasL4Header: true, fragmentId: 0, ipLength: 100 },
    };
    this.#nat.outbound(flow, { kind: SourceRuleKind.POOL, pool: 1 }, this.now);
  }

  pass(seconds: number): void {
    this.nowMs += seconds * 1_000;
    natSweep(this.state, this.#tables, { budget: 2 * this.state.queue.length + 2, nowBootNs: this.now });
  }
}

/** Both ends, with a wire that the test cuts; what is deferred runs when the test says so. */
class Pair {
  readonly owner = new Owner();
  readonly standby = new NatState();
  readonly receiver: StateReceiver;
  own: ReadonlySet<number> = new Set();
  obeyed: { readonly owner: string; readonly epoch: bigint } | undefined = { owner: 'g1', epoch: 5n };
  /** Shards of networks, as the standby's records have them. */
  readonly shards = new Map<number, number>();
  /** Segments of another group. */
  readonly foreign = new Set<number>();
  stream: StateStream | undefined;
  readonly #deferred: (() => void)[] = [];
  closed: string[] = [];
  #isGreeted = false;
  warnings: string[] = [];

  constructor() {
    this.receiver = new StateReceiver({
      self: 'g2',
      clock: this.#clock(AHEAD_MS),
      logger: { debug() {}, info() {}, error() {}, warn: (fields) => this.warnings.push((fields as { reason: string }).reason) },
      identity: keys.g2,
      store: this.standby,
      keyOf,
      own: () => this.own,
      ownerOf: () => this.obeyed,
      shardOf: (networkId) => this.shards.get(networkId),
      isForeign: (_, segment) => this.foreign.has(segment),
      defer: (then) => this.#deferred.push(then),
    });
  }

  #clock(aheadMs: number) {
    return {
      now: () => this.owner.nowMs + aheadMs,
      unixMs: () => 0,
      setTimeout: () => undefined,
      clearTimeout: () => {},
    };
  }

  open(): StateStream {
    this.stream = new StateStream({
      self: 'g1',
      peer: 'g2',
      clock: this.#clock(0),
      identity: keys.g1,
      store: this.owner.state,
      keyOf,
      connect: (on) => this.#wire(on),
      defer: (then) => this.#deferred.push(then),
      onClosed: (reason) => this.closed.push(reason),
    });
    return this.stream;
  }

  #wire(a: StateSocketEvents): StateSocket {
    let open = true;
    this.#isGreeted = false;
    const link = { a, b: undefined as unknown as StateSocketEvents };
    const close = (): void => {
      if (!open) return;
      open = false;
      a.closed('cut');
      link.b.closed('cut');
    };
    const end = (to: () => StateSocketEvents): StateSocket => ({
      send: (bytes) => {
        this.#deferred.push(() => {
          if (!open) return;
          to().message(bytes);
          if (to() === link.b) this.#isGreeted = true;
        });
      },
      unsentBytes: 0,
      close,
    });
    this.receiver.accept((b) => {
      link.b = b;
      return end(() => a);
    });
    return end(() => link.b);
  }

  /** Returns when the standby has heard the hello of the present stream. */
  async greeted(): Promise<void> {
    while (!this.#isGreeted) await this.steps(1);
  }

  tell(): void {
    const { stream } = this;
    const batch = new NatEventList(this.owner.state.takeEvents());
    if (stream !== undefined)
      batch.forEachChange(
        (networkId) => stream.tellsOf(networkId),
        (event) => stream.offer(event),
      );
  }

  async steps(count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      for (let turn = 0; turn < 6; turn++) await Promise.resolve();
      if (this.#deferred.length === 0) return;
      this.#deferred.shift()!();
    }
  }

  async settle(): Promise<void> {
    await this.steps(10_000);
    for (let round = 0; round < 3; round++) {
      this.tell();
      this.owner.nowMs += 600;
      this.stream?.tick();
      await this.steps(10_000);
    }
  }
}

const scopes = (networks: readonly number[], epoch = 5n): ReadonlyMap<number, NatStateScope> =>
  new Map(networks.map((networkId) => [networkId, { networkId, shard: SHARD, epoch }]));

/**
 * Rows as both must have them, times in the owner's clock. Of a holder that the owner has marked for giving its blocks back nothing is told before it does:
 * a standby that takes over marks it itself.
 */
function rowsOf(store: NatState, aheadMs: number, owner: NatState): string[] {
  const rows: string[] = [];
  const ahead = toNs(aheadMs);
  for (const row of store.all() as Iterable<NatRow>) {
    if (row.table === 'usage') {
      const { blocks, sessions } = row.value;
      if (blocks + sessions > 0) rows.push(text(row.table, row.key, { blocks, sessions }));
    } else if (row.table === 'source') {
      if (((owner.get('source', row.key)?.flags ?? 0) & SourceFlag.RELEASING) !== 0) continue;
      const { flags: _, idleBootNs, ...rest } = row.value;
      rows.push(text(row.table, row.key, { ...rest, idleBootNs: idleBootNs === 0n ? 0n : idleBootNs - ahead }));
    } else if (row.table === 'session') {
      const { expiresBootNs: _, toldBootNs, ...rest } = row.value;
      rows.push(text(row.table, row.key, { ...rest, toldBootNs: toldBootNs - ahead }));
    } else if (row.table === 'block') {
      const ports = row.value.ports.flatMap((port, i) =>
        port.state === 0 ? [] : [{ i, ...port, freeAtBootNs: port.freeAtBootNs === 0n ? 0n : port.freeAtBootNs - ahead }],
      );
      rows.push(text(row.table, row.key, { ...row.value, grantedBootNs: row.value.grantedBootNs - ahead, ports }));
    } else if (row.table === 'mapping' || row.table === 'reverse') rows.push(text(row.table, row.key, row.value));
  }
  return rows.sort();
}

function text(...parts: unknown[]): string {
  return JSON.stringify(parts, (_, part) => {
    if (typeof part === 'bigint') return `${part}n`;
    if (part instanceof Uint8Array) return Buffer.from(part).toString('hex');
    if (part === null || typeof part !== 'object' || Array.isArray(part)) return part;
    return Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1)));
  });
}

type Step =
  | { readonly kind: 'packet'; readonly network: number; readonly port: number; readonly remote: number }
  | { readonly kind: 'pass'; readonly seconds: number }
  | { readonly kind: 'steps'; readonly count: number }
  | { readonly kind: 'tell' | 'lost' | 'cut' | 'narrow' | 'owned' | 'freed' };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 10,
    arbitrary: fc.record({
      kind: fc.constant('packet' as const),
      network: fc.constantFrom(...NETWORKS),
      port: fc.nat(80),
      remote: fc.nat(1),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('pass' as const), seconds: fc.constantFrom(1, 100, 120, 301) }) },
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('steps' as const), count: fc.nat(12) }) },
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('tell' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom('lost' as const, 'cut' as const, 'narrow' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom('owned' as const, 'freed' as const) }) },
);

/** Failed when hello did not count for the difference of the clocks: all else was two minutes under way. */
const FIRST_MESSAGES_LATE: Step[] = [
  { kind: 'steps', count: 5 },
  { kind: 'pass', seconds: 301 },
  { kind: 'packet', network: 11, port: 23, remote: 1 },
  { kind: 'packet', network: 11, port: 10, remote: 0 },
  { kind: 'steps', count: 2 },
  { kind: 'packet', network: 11, port: 21, remote: 1 },
  { kind: 'pass', seconds: 120 },
  { kind: 'tell' },
];

async function run(steps: readonly Step[]): Promise<Pair> {
  const pair = new Pair();
  pair.open().setNetworks(scopes(NETWORKS));
  for (const one of steps) {
    switch (one.kind) {
      case 'packet':
        pair.owner.packet(one.network, one.port, one.remote);
        break;
      case 'pass':
        // The stream is silent meanwhile only as the clock has it. By hello the standby knows the owner's clock: were that under way, too, times would be wrong by as long, as they are in
        // truth by the time of the quickest message.
        await pair.greeted();
        pair.owner.pass(one.seconds);
        break;
      case 'steps':
        await pair.steps(one.count);
        break;
      case 'tell':
        pair.tell();
        break;
      case 'lost':
        pair.owner.state.takeEvents();
        pair.stream!.restart();
        break;
      case 'cut':
        pair.stream!.close();
        pair.owner.state.takeEvents();
        pair.open().setNetworks(scopes(NETWORKS));
        break;
      case 'narrow':
        pair.stream!.setNetworks(scopes([NETWORKS[0]!]));
        pair.tell();
        pair.stream!.setNetworks(scopes(NETWORKS));
        break;
      case 'owned':
        // As the standby has it: by an epoch of its own, whose deadline has not passed.
        pair.own = new Set([SHARD]);
        break;
      case 'freed':
        pair.own = new Set();
    }
  }
  pair.own = new Set();
  await pair.settle();
  return pair;
}

describe('the state of a standby', () => {
  it('is the owner’s, after any history of losses, cuts and snapshots among the changes', { timeout: 120_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 120 }), async (steps) => {
        const pair = await run(steps);
        expect(pair.warnings).toEqual([]);
        expect(pair.stream!.isProtected(SHARD)).toBe(true);
        expect(rowsOf(pair.standby, AHEAD_MS, pair.owner.state)).toEqual(rowsOf(pair.owner.state, 0, pair.owner.state));
      }),
      { numRuns: 150, endOnFailure: true, examples: [[FIRST_MESSAGES_LATE]] },
    );
  });

  it('is told as the ring is read, without a timer, in messages of bounded size, and the lag is measured', async () => {
    const pair = new Pair();
    const stream = pair.open();
    stream.setNetworks(scopes(NETWORKS));
    await pair.settle();
    for (let port = 0; port < 80; port++) pair.owner.packet(11, port, 0);
    pair.tell();
    pair.owner.nowMs += 40;
    await pair.steps(10_000);
    expect(stream.lag).toMatchObject({ lastMs: 40, p99Ms: 40, backlog: 0 });
    expect(pair.standby.size('session')).toBe(80);
  });

  it('is the newest that was told of a session, whichever of two processors told first', async () => {
    for (const isTogether of [true, false]) {
      const pair = new Pair();
      const stream = pair.open();
      stream.setNetworks(scopes(NETWORKS));
      await pair.settle();
      pair.owner.packet(11, 1, 0);
      pair.owner.pass(150);
      pair.owner.packet(11, 1, 0);
      pair.owner.pass(150);
      pair.owner.packet(11, 1, 0);
      const [mapping, added, first, second, ...others] = pair.owner.state
        .takeEvents()
        .filter(({ kind }) => kind !== NatEventKind.BLOCK_GRANTED);
      expect([mapping, added, first, second].map((event) => event?.kind)).toEqual([
        NatEventKind.MAPPING_ADDED,
        NatEventKind.SESSION_ADDED,
        NatEventKind.SESSION_CHANGED,
        NatEventKind.SESSION_CHANGED,
      ]);
      expect(others).toEqual([]);
      const told = [mapping!, added!, second!, first!];
      for (const some of isTogether ? [told] : told.map((event) => [event]))
        new NatEventList(some).forEachChange(
          () => true,
          (event) => stream.offer(event),
        );
      await pair.settle();
      const [row] = [...pair.standby.rows('session')];
      expect(row!.value.revision).toBe(2);
      expect(row!.value.expiresBootNs - toNs(AHEAD_MS)).toBe([...pair.owner.state.rows('session')][0]!.value.expiresBootNs);
    }
  });

  it('has sessions apart that have the same ticket, as two former owners gave it', async () => {
    for (const isTogether of [true, false]) {
      const pair = new Pair();
      const stream = pair.open();
      stream.setNetworks(scopes(NETWORKS));
      for (const port of [1, 2]) pair.owner.packet(11, port, 0);
      await pair.settle();
      for (const row of [...pair.owner.state.rows('session')]) pair.owner.state.set('session', row.key, { ...row.value, ticket: 7n });
      stream.restart();
      await pair.settle();
      pair.owner.pass(150);
      for (const port of [1, 2]) pair.owner.packet(11, port, 0);
      const told = pair.owner.state.takeEvents();
      expect(told.map((event) => ('session' in event ? event.session.ticket : undefined))).toEqual([7n, 7n]);
      for (const some of isTogether ? [told] : told.map((event) => [event]))
        new NatEventList(some).forEachChange(
          () => true,
          (event) => stream.offer(event),
        );
      await pair.settle();
      expect(rowsOf(pair.standby, AHEAD_MS, pair.owner.state)).toEqual(rowsOf(pair.owner.state, 0, pair.owner.state));
    }
  });

  it('comes before a planned move: what happened until the call is there when it resolves', async () => {
    const pair = new Pair();
    const stream = pair.open();
    stream.setNetworks(scopes(NETWORKS));
    pair.owner.packet(11, 1, 0);
    let brought = false;
    void stream.brought([SHARD]).then(() => {
      brought = true;
    });
    await pair.steps(10_000);
    expect(brought).toBe(false);
    pair.tell();
    await pair.settle();
    expect(brought).toBe(true);
    expect(pair.standby.size('mapping')).toBe(1);
  });

  it('is not protected while the standby does not answer, and the stream ends then', async () => {
    const pair = new Pair();
    const stream = pair.open();
    stream.setNetworks(scopes(NETWORKS));
    expect(stream.isProtected(SHARD)).toBe(false);
    pair.owner.nowMs += 3_001;
    stream.tick();
    expect(pair.closed).toEqual(['the standby does not answer']);
  });
});

type Body = Parameters<typeof natStateCodec.encode>[0]['body'];
const hello = (version: number): Body => ({ kind: 'hello', value: { version } });

describe('StateReceiver', () => {
  it('writes nothing of a shard that it owns itself, whoever tells it', async () => {
    const pair = new Pair();
    pair.open().setNetworks(scopes(NETWORKS));
    pair.owner.packet(11, 1, 0);
    await pair.settle();
    expect(pair.standby.size('mapping')).toBe(1);
    pair.own = new Set([SHARD]);
    pair.owner.packet(11, 2, 0);
    await pair.settle();
    expect(pair.standby.size('mapping')).toBe(1);
    expect(pair.receiver.counters.passedOver).toBeGreaterThan(0);
    // Nor does a new snapshot take away what is there.
    pair.stream!.restart();
    await pair.settle();
    expect(pair.standby.size('mapping')).toBe(1);
  });

  it('keeps what it has while a new snapshot comes, until that names the rest', async () => {
    const pair = new Pair();
    pair.open().setNetworks(scopes(NETWORKS));
    for (let port = 1; port <= 20; port++) pair.owner.packet(11, port, 0);
    await pair.settle();
    expect(pair.standby.size('session')).toBe(20);
    for (let cut = 0; cut < 40; cut += 3) {
      pair.stream!.close();
      pair.open().setNetworks(scopes(NETWORKS));
      await pair.steps(cut);
      expect(pair.standby.size('session')).toBe(20);
      expect(pair.standby.size('mapping')).toBe(20);
    }
    await pair.settle();
    expect(pair.stream!.isProtected(SHARD)).toBe(true);
    expect(rowsOf(pair.standby, AHEAD_MS, pair.owner.state)).toEqual(rowsOf(pair.owner.state, 0, pair.owner.state));
  });

  it('says what it refuses: its owner does not call that protected, and tells it again', async () => {
    const pair = new Pair();
    // A replaced owner that has just come back: its own deadline has not passed yet.
    pair.own = new Set([SHARD]);
    const stream = pair.open();
    stream.setNetworks(scopes(NETWORKS));
    pair.owner.packet(11, 1, 0);
    let brought = false;
    void stream.brought([SHARD]).then(() => {
      brought = true;
    });
    await pair.settle();
    expect(stream.isProtected(SHARD)).toBe(false);
    pair.own = new Set();
    pair.owner.packet(11, 2, 0);
    await pair.settle();
    expect(stream.isProtected(SHARD)).toBe(true);
    expect(brought).toBe(true);
    expect(pair.standby.size('mapping')).toBe(2);
  });

  it('takes nothing more from an owner that was replaced, before its successor has said anything, nor from its next connection', async () => {
    const pair = new Pair();
    pair.open().setNetworks(scopes(NETWORKS));
    pair.owner.packet(11, 1, 0);
    await pair.settle();
    expect(pair.standby.size('mapping')).toBe(1);
    // Its own epoch has risen: nothing has changed.
    pair.obeyed = { owner: 'g1', epoch: 6n };
    pair.owner.packet(11, 2, 0);
    await pair.settle();
    expect(pair.standby.size('mapping')).toBe(2);
    pair.obeyed = { owner: 'g3', epoch: 7n };
    pair.owner.packet(11, 3, 0);
    await pair.settle();
    expect(pair.standby.size('mapping')).toBe(2);
    pair.stream!.close();
    pair.open().setNetworks(scopes(NETWORKS, 6n));
    await pair.settle();
    // Neither a change nor a snapshot, which would have begun with forgetting.
    expect(pair.standby.size('mapping')).toBe(2);
    // By a later grant it is the owner again.
    pair.obeyed = { owner: 'g1', epoch: 8n };
    pair.stream!.close();
    pair.open().setNetworks(scopes(NETWORKS, 8n));
    await pair.settle();
    expect(pair.standby.size('mapping')).toBe(3);
  });

  it('takes from nobody but the owner that it obeys, whatever epoch he names', async () => {
    const pair = new Pair();
    pair.obeyed = undefined;
    pair.open().setNetworks(scopes(NETWORKS, 1n << 63n));
    pair.owner.packet(11, 1, 0);
    await pair.settle();
    expect([pair.standby.size('mapping'), pair.stream!.isProtected(SHARD)]).toEqual([0, false]);
    // A member that does not own the shard, of its group or of another that this machine is in.
    pair.obeyed = { owner: 'g3', epoch: 6n };
    await pair.settle();
    expect([pair.standby.size('mapping'), pair.stream!.isProtected(SHARD)]).toEqual([0, false]);
    // What he claimed is in nobody's way afterwards.
    pair.obeyed = { owner: 'g1', epoch: 7n };
    pair.stream!.close();
    pair.open().setNetworks(scopes(NETWORKS, 7n));
    await pair.settle();
    expect([pair.standby.size('mapping'), pair.stream!.isProtected(SHARD)]).toEqual([1, true]);
  });

  it('takes of an owner what is of networks on his shard: another network stays as it is', async () => {
    const pair = new Pair();
    pair.shards.set(12, SHARD + 1);
    const stream = pair.open();
    stream.setNetworks(scopes(NETWORKS));
    for (const network of NETWORKS) pair.owner.packet(network, 1, 0);
    await pair.settle();
    expect([...pair.standby.rows('mapping')].map(({ key }) => key.networkId)).toEqual([11]);
    expect(stream.isProtected(SHARD)).toBe(false);
    // It has come to his shard meanwhile.
    pair.shards.set(12, SHARD);
    await pair.settle();
    expect(pair.standby.size('mapping')).toBe(2);
    expect(stream.isProtected(SHARD)).toBe(true);
  });

  it('ends a connection by which somebody tells of ports on another group’s segment', async () => {
    const pair = new Pair();
    pair.foreign.add(SEGMENT);
    pair.open().setNetworks(scopes(NETWORKS));
    pair.owner.packet(11, 1, 0);
    await pair.settle();
    expect(pair.warnings).toEqual([expect.stringMatching(/segment 7, which is another group's than shard 71/)]);
    for (const table of ['block', 'source', 'mapping', 'session'] as const) expect(pair.standby.size(table)).toBe(0);
  });

  it.each<[string, RegExp, Identity, Body, object, boolean]>([
    ['a stranger', /no member's key/, keys.stranger, hello(1), { from: 'g3' }, false],
    ['somebody in another’s name', /no member's key/, keys.stranger, hello(1), {}, false],
    ['what is for another', /no member's key/, keys.g1, hello(1), { to: 'g4' }, false],
    ['another version', /version 2/, keys.g1, hello(2), {}, false],
    ['who does not say hello', /before hello/, keys.g1, { kind: 'changes', value: [] }, {}, false],
    ['who says what only a standby does', /welcome from an owner/, keys.g1, { kind: 'welcome', value: {} }, {}, true],
    ['an old connection, replayed', /another connection/, keys.g1, { kind: 'changes', value: [] }, { stream: 12_345 }, true],
    ['who leaves messages out', /message 3 after 0/, keys.g1, { kind: 'changes', value: [] }, { sequence: 3 }, true],
  ])('refuses %s', async (_, reason, identity, body, over, isAfterHello) => {
    const pair = new Pair();
    await say(pair, identity, body, over, isAfterHello);
    expect(pair.warnings).toHaveLength(1);
    expect(pair.warnings[0]).toMatch(reason);
    expect(pair.standby.size('session')).toBe(0);
  });
});

/** Says something on a connection of its own, which is then closed; after hello and welcome, if `over` says what else is wrong with it. */
async function say(pair: Pair, identity: Identity, body: Body, over: object, isAfterHello = false): Promise<void> {
  let events: StateSocketEvents | undefined;
  const answers: Uint8Array[] = [];
  let closed = false;
  pair.receiver.accept((on) => {
    events = on;
    return {
      send: (bytes) => answers.push(bytes),
      unsentBytes: 0,
      close: () => {
        closed = true;
      },
    };
  });
  const send = async (by: Identity, message: object): Promise<void> => {
    const whole = { from: 'g1', to: 'g2', stream: 0, sequence: 0, sentBootNs: 1n, ...message } as Parameters<
      typeof natStateCodec.encode
    >[0];
    events!.message(signEnvelope(by, 'state', natStateCodec.encode(whole)));
    for (let turn = 0; turn < 20; turn++) await pair.steps(10);
  };
  let stream = 0;
  if (isAfterHello) {
    await send(keys.g1, { body: { kind: 'hello', value: { version: 1 } } });
    stream = natStateCodec.decode(openEnvelope(answers[0]!, 'state').payload).stream;
  }
  await send(identity, { stream, sequence: isAfterHello ? 1 : 0, body, ...over });
  expect(closed).toBe(true);
}

describe('natStateCodec', () => {
  const events = (): NatEvent[] => {
    const owner = new Owner();
    for (let port = 0; port < 70; port++) owner.packet(11, port, port % 2);
    owner.pass(301);
    owner.pass(1);
    owner.packet(12, 5, 1);
    return owner.state.takeEvents();
  };

  it('gives back every kind of change that port mapping tells', () => {
    const value = events();
    expect(new Set(value.map(({ kind }) => kind)).size).toBeGreaterThanOrEqual(5);
    const message = { from: 'g1', to: 'g2', stream: 7, sequence: 1, sentBootNs: 99n, body: { kind: 'changes' as const, value } };
    const back = natStateCodec.decode(natStateCodec.encode(message));
    // Sessions of a port are counted by whoever applies.
    const plain = (one: unknown): string => text(one).replaceAll(/"sessions":\d+/g, '');
    expect(plain(back)).toBe(plain(message));
  });

  it('refuses any damage, or reads it as something an owner could have said', () => {
    const bytes = natStateCodec.encode({
      ...{ from: 'g1', to: 'g2', stream: 7, sequence: 1, sentBootNs: 99n },
      body: { kind: 'changes', value: events().slice(0, 20) },
    });
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 0, max: 255 }), fc.nat(bytes.length), (at, value, length) => {
        const damaged = bytes.slice(0, length);
        if (at < length) damaged[at] = value;
        try {
          natStateCodec.decode(damaged);
        } catch (error) {
          expect((error as { code?: string }).code).toBe('WEFT_ERR_MODEL_DECODE');
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe('FrameReader', () => {
  const frame = (payload: Uint8Array): Buffer => {
    const head = Buffer.alloc(4);
    head.writeUInt32BE(payload.length);
    return Buffer.concat([head, payload]);
  };

  it('finds messages however the bytes come', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ minLength: 1, maxLength: 50 }), { maxLength: 10 }), fc.array(fc.nat(20)), (payloads, cuts) => {
        const all = Buffer.concat(payloads.map(frame));
        const reader = new FrameReader();
        const found: Uint8Array[] = [];
        let at = 0;
        for (const cut of [...cuts, all.length]) {
          if (at >= all.length) break;
          found.push(...reader.push(all.subarray(at, at + cut + 1)));
          at += cut + 1;
        }
        expect(found.map((one) => [...one])).toEqual(payloads.map((one) => [...one]));
      }),
    );
  });

  it('refuses lengths that no message has, before there is room for them', () => {
    for (const length of [0, MAX_STATE_FRAME_BYTES + 1, 0xffff_ffff]) {
      const head = Buffer.alloc(4);
      head.writeUInt32BE(length);
      expect(() => [...new FrameReader().push(head)]).toThrow(/a message of/);
    }
  });
});

describe('Lags', () => {
  it('gives percentiles of the last values', () => {
    const lags = new Lags();
    expect(lags.percentile(0.99)).toBeUndefined();
    expect(lags.last).toBeUndefined();
    for (let i = 1; i <= 2_000; i++) lags.add(i);
    expect(lags.last).toBe(2_000);
    expect(lags.percentile(0.5)).toBe(977 + 512);
    expect(lags.percentile(0.99)).toBeGreaterThan(1_980);
  });
});
