import { hash } from 'node:crypto';
import { type Bus, type Entry, openChange, type RecordEntry, readEntry, type Store, type Subscription } from '@weft/bus';
import type { TableChange } from '@weft/forwarding';
import {
  type Change,
  type CommittedRecord,
  configKey,
  configPrefix,
  mappingKey,
  mappingPrefix,
  type NetworkDigest,
  type TrustStore,
  WeftError,
} from '@weft/model';
import { parseIp } from '@weft/packet';
import {
  DEFAULT_TRICKLE,
  hearDifferent,
  hearEqual,
  type LocalDevice,
  type MoveWindow,
  type NetworkRecord,
  type NetworkSnapshot,
  NetworkView,
  NO_MOVE,
  startTrickle,
  type TrickleState,
  tickTrickle,
  trickleDeadlineMs,
} from '@weft/tables';
import { type Alarm, ClaimChecker } from './claims.ts';
import type { AgentClock, AgentLogger, HostAgentInit } from './components.ts';
import type { Conditions } from './conditions.ts';
import { messageOf } from './errors.ts';
import { backoffMs, type Limiter, nextTurn } from './limiter.ts';
import type { TrustFeed } from './trust-feed.ts';
import { judge } from './verify.ts';

// One network that this host has, or lately had, ports in.
//
//   subscribe ──► events: judge, fold, apply                              (fast: one verification, one incremental apply)
//        then ──► snapshot of config, then mapping, then sweep            (at join, reconnect, differing digest, every 5–10 min)
//     Trickle ──► digest out; digests in: equal ► quiet, different ► resync
//
// Events are hints: each may be lost, doubled, late. What mends them is the snapshot.

export interface SessionComponents {
  readonly bus: Bus;
  readonly trust: TrustStore;
  readonly trustFeed: TrustFeed;
  readonly clock: AgentClock;
  readonly random: () => number;
  readonly logger: AgentLogger;
  readonly conditions: Conditions;
  readonly limiter: Limiter;
  readonly store: () => Store | undefined;
  readonly publishDigest: (digest: NetworkDigest) => void;
  /** Changes for the packet path, in order. */
  readonly onChanges: (changes: readonly TableChange[]) => void;
  /** The network has been read completely for the first time since the start. */
  readonly onComplete: (session: NetworkSession) => void;
  /** Bindings may have changed: ports won or lost, something to save. */
  readonly onRecords: (session: NetworkSession, portId?: string) => void;
}

/** Records applied without a pause: some 50 ms. */
const PIECE = 1_000;

/** How long the difference a digest told of may heal by events under way. */
const SETTLE_MS = 150;

const NO_CHANGE: Change = {
  bucket: 'mapping',
  key: '',
  tenant: '',
  replacesRevision: 0,
  operation: 'put',
  before: undefined,
  after: undefined,
  authorKey: '',
  authorName: '',
  requestId: '',
  timeUnixMs: 0,
};

export class NetworkSession {
  readonly rdid: string;
  readonly view: NetworkView;
  /** The last envelopes, by bucket and key: what is kept on disk. */
  readonly envelopes: Map<string, CommittedRecord> = new Map();
  /** A complete snapshot of the store has been seen since the agent's start. */
  complete = false;
  /**
   * Rows are given to the packet path. Not before they are whole: half of a network's records would make a READY port look unbound, and a
   * restart would cut off a VM that the kernel still serves. True once complete, or restored from disk with all of the own ports.
   */
  coherent = false;
  /** Counts of what came, for status and tests. */
  readonly counters = { events: 0, refused: 0, resyncs: 0, digestsSent: 0, digestsHeard: 0, digestsDifferent: 0 };
  /** Since when no port of this host is in the network (boot clock); undefined while there is one. */
  emptySinceMs: number | undefined;
  /** Records may have changed since they were last saved. */
  dirty = false;
  /** When they were saved last (boot clock). */
  savedMs: number = Number.NEGATIVE_INFINITY;
  readonly #init: HostAgentInit;
  readonly #on: SessionComponents;
  readonly #claims: ClaimChecker;
  readonly #log: AgentLogger;
  #subscriptions: Subscription[] = [];
  #trickle: TrickleState;
  #timer: unknown;
  #timerAtMs = Number.POSITIVE_INFINITY;
  #resyncing: Promise<void> | undefined;
  #resyncAgain = false;
  #resyncAtMs: number;
  #attempt = 0;
  #lastDigestResyncMs = Number.NEGATIVE_INFINITY;
  #digestAttempt = 0;
  /** The next resync is owed to a digest, and waits for its back-off. */
  #digestWaits = false;
  #stopped = false;
  #storeLost = false;
  /** Something in the store was refused when it was last looked at. */
  #refusedStanding = false;
  readonly #refusedCodes = new Set<string>();
  readonly #known = new WeakMap<CommittedRecord, NetworkRecord>();

  constructor(rdid: string, init: HostAgentInit, components: SessionComponents) {
    this.rdid = rdid;
    this.#init = init;
    this.#on = components;
    this.#log = components.logger;
    this.view = new NetworkView({
      routingDomainId: rdid,
      hostId: init.hostId,
      pa: parseIp(init.providerAddress),
      mtuBytes: init.underlayMtu - 50,
      sha256: (data) => hash('sha256', data, 'buffer'),
    });
    this.#trickle = startTrickle(DEFAULT_TRICKLE, components.clock.now(), components.random);
    this.#resyncAtMs = this.#nextFullResyncMs();
    const alarm: Alarm = (vsid, message) =>
      message === undefined
        ? components.conditions.clear('VSID_CLAIM', String(vsid))
        : components.conditions.raise('VSID_CLAIM', message, String(vsid));
    this.#claims = new ClaimChecker(rdid, alarm);
  }

  /** Subscribes. Works without a connection: the bus subscribes when it has one. */
  start(): void {
    this.#subscriptions = [
      this.#on.bus.onEvents(this.rdid, (event) => this.#onEvent(event)),
      this.#on.bus.onDigest(this.rdid, (digest, signer) => this.#onDigest(digest, signer)),
    ];
    this.arm();
  }

  /** Stops listening. Rows stay as they are. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#on.clock.clearTimeout(this.#timer);
    await Promise.all(this.#subscriptions.map((one) => one.stop()));
  }

  /** Ends move windows that are over, now rather than by the timer. */
  tick(): void {
    this.#give(this.view.tick(this.#on.clock.now()));
  }

  /** A record from this host's disk. Rows are given out with the claims and moves that belong to it. */
  restore(record: NetworkRecord, envelope: Uint8Array): void {
    if (this.view.apply(record, this.#on.clock.now()).status !== 'applied') return;
    this.#keep(record, envelope);
    this.dirty = false;
  }

  /** Move windows of the last run; those not named are over. */
  restoreMoves(moves: Readonly<Record<string, MoveWindow>>): void {
    const now = this.#on.clock.now();
    for (const binding of [...this.view.bindings()]) this.view.restoreMove(binding.portId, moves[binding.portId] ?? NO_MOVE, now);
  }

  /** Move windows that are open, by port id. */
  moves(): Record<string, MoveWindow> {
    return this.view.openMoves(this.#on.clock.now());
  }

  /** Folds a record that was verified before (restored from disk, or just committed by this host). */
  take(record: NetworkRecord, envelope: Uint8Array): void {
    const { status, changes } = this.view.apply(record, this.#on.clock.now());
    if (status === 'applied') this.#keep(record, envelope);
    this.#give(changes);
    this.arm();
  }

  /** Tells the view which device a port has on this host. */
  setDevice(portId: string, device: LocalDevice | undefined, nowMs: number): void {
    this.#give(this.view.setDevice(portId, device, nowMs));
  }

  /** Reads a port's record from the store's leader and folds it. @throws What `Bucket.get` throws. */
  async fetchPort(store: Store, portId: string): Promise<void> {
    await this.#fetch(store, 'config', configKey.port(this.rdid, portId));
  }

  /**
   * Reads a port's binding from the store's leader and folds it.
   * @returns What stands there, refused or not: the next write replaces it. Undefined: nothing.
   * @throws What `Bucket.get` throws.
   */
  fetchBinding(store: Store, portId: string, vsid: number): Promise<RecordEntry | undefined> {
    return this.#fetch(store, 'mapping', mappingKey(this.rdid, vsid, portId));
  }

  async #fetch(store: Store, bucket: 'config' | 'mapping', key: string): Promise<RecordEntry | undefined> {
    let entry = await store.bucket(bucket).get(key);
    const known = this.view.position(bucket, key);
    if (known !== undefined && known.revision > (entry?.revision ?? 0) && !this.#storeLost) {
      // An event told of what the leader does not have: it was never there, or has come meanwhile. A snapshot tells which.
      await this.resync('heard of more than there is');
      entry = await store.bucket(bucket).get(key);
    }
    if (entry === undefined) return undefined;
    const createdUnixMs = store.bucket(bucket).bucketCreatedUnixMs;
    const [judged] = await this.#judgeAll(bucket, createdUnixMs, [entry]);
    if (judged !== undefined && judged.record.kind !== 'refused' && !this.#storeLost) {
      const { status, changes } = this.view.apply(judged.record, this.#on.clock.now());
      this.#give(changes);
      if (status === 'applied') this.#keep(judged.record, entry.value);
      this.arm();
    }
    try {
      return readEntry(bucket, entry);
    } catch (error) {
      if (!(error instanceof WeftError)) throw error;
      // Whatever stands there is to be replaced: only its revision counts.
      return { key, revision: entry.revision, envelope: entry.value, record: undefined, signer: '', change: NO_CHANGE };
    }
  }

  /** Denied until their claims have been read, unless restored from this host's disk. */
  restoreClaims(vsids: readonly number[]): void {
    this.#claims.restore(vsids);
    this.#give(this.view.setClaimedVsids(this.#claims.allowed, this.#on.clock.now()));
  }

  /** The store is not believed: see condition STORE_LOST. */
  get storeLost(): boolean {
    return this.#storeLost;
  }

  get claimedVsids(): ReadonlySet<number> {
    return this.#claims.allowed;
  }

  /**
   * Takes a snapshot of everything the store has of the network, and sweeps. Calls while one runs share one more run after it, so that
   * what was committed before the call is seen.
   */
  async resync(reason: string): Promise<void> {
    if (this.#resyncing !== undefined) {
      this.#resyncAgain = true;
      return await this.#resyncing;
    }
    this.#resyncing = this.#on.limiter
      .run(async () => {
        do {
          this.#resyncAgain = false;
          await this.#resyncOnce(reason);
        } while (this.#resyncAgain && !this.#stopped);
      })
      .finally(() => {
        this.#resyncing = undefined;
      });
    await this.#resyncing;
  }

  /** Asks for a resync in the background, after at most `withinMs`, spread at random. */
  resyncSoon(withinMs: number): void {
    this.#resyncAtMs = Math.min(this.#resyncAtMs, this.#on.clock.now() + this.#on.random() * withinMs);
    this.arm();
  }

  /** A person has decided to believe the store as it is. */
  acceptStore(): void {
    for (const bucket of ['config', 'mapping'] as const) this.view.acceptStore(bucket);
    this.#storeLost = false;
  }

  /** Sets the one timer to what comes next: Trickle, end of a move window, full resync. */
  arm(): void {
    if (this.#stopped) return;
    const next = Math.min(trickleDeadlineMs(this.#trickle), this.view.nextDeadlineMs ?? Number.POSITIVE_INFINITY, this.#resyncAtMs);
    if (next === this.#timerAtMs) return;
    this.#on.clock.clearTimeout(this.#timer);
    this.#timerAtMs = next;
    this.#timer = this.#on.clock.setTimeout(() => this.#onTimer(), Math.max(0, Math.ceil(next - this.#on.clock.now())));
  }

  #onTimer(): void {
    this.#timerAtMs = Number.POSITIVE_INFINITY;
    if (this.#stopped) return;
    const now = this.#on.clock.now();
    this.#give(this.view.tick(now));
    const { state, send } = tickTrickle(DEFAULT_TRICKLE, this.#trickle, now, this.#on.random);
    this.#trickle = state;
    if (send && this.complete) this.#sendDigest();
    if (now >= this.#resyncAtMs) {
      this.#resyncAtMs = this.#nextFullResyncMs();
      if (this.#digestWaits) this.#resyncForDigest();
      else this.resync('periodic').catch(() => undefined);
    }
    this.arm();
  }

  #give(changes: readonly TableChange[]): void {
    if (this.coherent) this.#on.onChanges(changes);
  }

  #sendDigest(): void {
    this.counters.digestsSent++;
    this.#on.publishDigest({
      ...this.view.digest(),
      routingDomainId: this.rdid,
      hostId: this.#init.hostId,
      zero: this.emptySinceMs !== undefined,
    });
  }

  #onDigest(digest: NetworkDigest, signer: string): void {
    if (this.#stopped || digest.hostId === this.#init.hostId) return;
    if (digest.routingDomainId !== this.rdid || this.#on.trust.host(digest.hostId)?.publicKey !== signer) {
      this.#refused('digest', 'WEFT_ERR_TRUST_HOST', `Cannot accept the digest of host ${digest.hostId}: ${signer} is not its key`);
      return;
    }
    this.counters.digestsHeard++;
    if (this.#agrees(digest)) {
      this.#trickle = hearEqual(this.#trickle);
      return;
    }
    this.counters.digestsDifferent++;
    const { clock, random } = this.#on;
    this.#trickle = hearDifferent(DEFAULT_TRICKLE, this.#trickle, clock.now(), random);
    this.arm();
    // An event may be under way; and who is only ahead of the sender needs nothing: the sender hears our digest.
    clock.setTimeout(
      () => {
        if (!this.#stopped && !this.#agrees(digest) && !this.#isAheadOf(digest)) this.#resyncForDigest();
      },
      SETTLE_MS * (0.5 + random()),
    );
  }

  #resyncForDigest(): void {
    const now = this.#on.clock.now();
    const waitMs = this.#lastDigestResyncMs + backoffMs(this.#digestAttempt, 250, 30_000, this.#on.random) - now;
    this.#digestWaits = waitMs > 0;
    if (waitMs > 0) {
      this.#resyncAtMs = Math.min(this.#resyncAtMs, now + waitMs);
      this.arm();
      return;
    }
    this.#lastDigestResyncMs = now;
    this.#digestAttempt++;
    this.resync('digest').catch(() => undefined);
  }

  #agrees(digest: NetworkDigest): boolean {
    const own = this.view.digest();
    return own.recordCount === digest.recordCount && own.hash.every((byte, i) => byte === digest.hash[i]);
  }

  #isAheadOf(digest: NetworkDigest): boolean {
    const own = this.view.digest();
    if (own.configRevision === digest.configRevision && own.mappingRevision === digest.mappingRevision) return false;
    return (
      own.bucketCreatedUnixMs === digest.bucketCreatedUnixMs &&
      own.configRevision >= digest.configRevision &&
      own.mappingRevision >= digest.mappingRevision
    );
  }

  #onEvent(event: CommittedRecord, second = false): void {
    if (this.#stopped || this.#storeLost) return;
    this.counters.events++;
    const entry = { key: event.key, revision: event.revision, value: event.envelope };
    const judged = judge(event.bucket, event.bucketCreatedUnixMs, entry, this.#on.trust, this.view);
    if (!judged.ok) {
      if (judged.curable && !second) {
        this.#on.trustFeed.refresh().then(
          () => this.#onEvent(event, true),
          () => undefined,
        );
        return;
      }
      this.#refused(event.key, judged.code, judged.reason);
      return;
    }
    if (judged.record.kind === 'network' && judged.record.value !== undefined && !this.#claims.knows(judged.record.value)) {
      // New subnets need their claims read first: a snapshot does both.
      this.resync('new subnet').catch(() => undefined);
      return;
    }
    const { status, changes } = this.view.apply(judged.record, this.#on.clock.now(), true);
    this.#give(changes);
    if (status === 'applied') {
      this.#keep(judged.record, event.envelope);
      const port = 'portId' in judged.record ? judged.record.portId : undefined;
      this.#log.debug(
        { rdid: this.rdid, kind: judged.record.kind, port, revision: event.revision, changes: changes.length },
        'record applied',
      );
      this.#on.onRecords(this, port);
      // A binding that the port's old placement refused may pass now.
      if (judged.record.kind === 'port' && this.#refusedStanding) this.resyncSoon(200);
    } else if (status === 'store-changed') {
      this.#loseStore(`bucket ${event.bucket} was made at ${event.bucketCreatedUnixMs}, not when the known one was`);
    } else if (status === 'generation-refused') {
      this.#refused(
        event.key,
        'WEFT_ERR_TRUST_KEY',
        `Cannot accept the binding under ${event.key} at revision ${event.revision}: its generation does not rise`,
      );
    }
    this.arm();
  }

  async #resyncOnce(reason: string): Promise<void> {
    const store = this.#on.store();
    if (store === undefined || this.#stopped)
      throw new WeftError('WEFT_ERR_BUS_DISCONNECTED', 'Cannot resync: NATS is not reachable; it is tried again');
    const started = this.#on.clock.now();
    this.#refusedStanding = false;
    try {
      await this.#syncConfig(store);
      await this.#syncMapping(store);
    } catch (error) {
      this.#attempt++;
      this.#resyncAtMs = this.#on.clock.now() + backoffMs(this.#attempt, 500, 30_000, this.#on.random);
      this.arm();
      if (this.#on.bus.state.state === 'connected') {
        this.#on.conditions.raise(
          'RESYNC_FAILED',
          `Cannot read network ${this.rdid} from the store: ${messageOf(error)}; tried again`,
          this.rdid,
        );
      }
      throw error;
    }
    this.#attempt = 0;
    this.#resyncAtMs = this.#nextFullResyncMs();
    this.counters.resyncs++;
    this.#on.conditions.clear('RESYNC_FAILED', this.rdid);
    if (!this.#storeLost && !this.complete) {
      this.complete = true;
      this.#on.onComplete(this);
      this.coherent = true;
    }
    if (!this.#refusedStanding) {
      for (const code of this.#refusedCodes) this.#on.conditions.clear('RECORD_REFUSED', `${code} ${this.rdid}`);
      this.#refusedCodes.clear();
    }
    const durationMs = Math.round(this.#on.clock.now() - started);
    this.#log.debug({ rdid: this.rdid, network: this.view.network?.name, reason, durationMs }, 'network resynced');
    this.#on.onRecords(this);
    this.arm();
  }

  async #syncConfig(store: Store): Promise<void> {
    const asked = this.view.askSnapshot('config');
    // The snapshot first, then the document: so the document is at least as new as the sequence that the sweep goes by.
    const ports = await store.config.snapshot(configPrefix.ports(this.rdid));
    const document = await store.config.get(configKey.network(this.rdid));
    const entries = document === undefined ? ports.entries : [...ports.entries, document];
    const records = await this.#judgeAll('config', ports.bucketCreatedUnixMs, entries);
    for (const { record } of records) {
      if (record.kind !== 'network' || record.value === undefined || this.#claims.knows(record.value)) continue;
      await this.#claims.read(record.value, store.config, this.#on.trust);
    }
    if (this.#stopped) return;
    const { atSequence, bucketCreatedUnixMs } = ports;
    await this.#applySnapshot({ bucket: 'config', bucketCreatedUnixMs, atSequence, ...asked }, records);
    this.#give(this.view.setClaimedVsids(this.#claims.allowed, this.#on.clock.now()));
  }

  async #syncMapping(store: Store): Promise<void> {
    const asked = this.view.askSnapshot('mapping');
    const { entries, atSequence, bucketCreatedUnixMs } = await store.mapping.snapshot(mappingPrefix(this.rdid));
    const records = await this.#judgeAll('mapping', bucketCreatedUnixMs, entries);
    if (this.#stopped) return;
    await this.#applySnapshot({ bucket: 'mapping', bucketCreatedUnixMs, atSequence, ...asked }, records);
  }

  async #applySnapshot(
    head: Omit<NetworkSnapshot, 'records'> & { readonly bucket: 'config' | 'mapping' },
    records: readonly { readonly record: NetworkRecord; readonly envelope: Uint8Array }[],
  ): Promise<void> {
    const snapshot = { ...head, records: records.map((one) => one.record) };
    if (records.length > PIECE && this.view.refusesSnapshot(snapshot) === undefined) await this.#applyInPieces(snapshot.records);
    if (this.#stopped) return;
    const result = this.view.applySnapshot(snapshot, this.#on.clock.now());
    this.#give(result.changes);
    // Only digests that were right keep their promptness: a host that errs, or lies, costs ever fewer looks.
    if (result.applied + result.swept > 0) this.#digestAttempt = 0;
    if (result.status !== 'applied') {
      const what = result.status === 'store-changed' ? 'is another one than before' : 'lacks records that were seen before';
      this.#loseStore(`bucket ${head.bucket} ${what}`);
      return;
    }
    if (this.#storeLost && head.bucket === 'mapping') this.#storeLost = false;
    if (!this.#storeLost) this.#on.conditions.clear('STORE_LOST', this.rdid);
    for (const key of result.disproved) {
      const held = this.envelopes.get(`${head.bucket}/${key}`);
      this.envelopes.delete(`${head.bucket}/${key}`);
      this.dirty = true;
      this.#refused(
        key,
        'WEFT_ERR_TRUST_KEY',
        `Cannot accept the record under ${head.bucket} ${key} that was announced at revision ${held?.revision}: the store never had it; it was signed by ${signerOf(held)}`,
      );
    }
    const present = new Set<string>();
    for (const { record, envelope } of records) {
      present.add(`${record.bucket}/${record.key}`);
      if (record.kind !== 'refused' && this.view.position(record.bucket, record.key)?.revision === record.revision)
        this.#keep(record, envelope);
    }
    for (const [key, { bucket, revision }] of this.envelopes) {
      if (bucket === head.bucket && revision <= head.atSequence && !present.has(key)) this.envelopes.delete(key);
    }
    if (result.generationRefused > 0) {
      this.#refused(
        head.bucket,
        'WEFT_ERR_TRUST_KEY',
        `Cannot accept ${result.generationRefused} bindings of network ${this.rdid}: their generation does not rise`,
      );
    }
  }

  /** Events and requests, and NATS's pings, are served in between. */
  async #applyInPieces(records: readonly NetworkRecord[]): Promise<void> {
    for (let at = 0; at < records.length && !this.#stopped; at += PIECE) {
      for (const record of records.slice(at, at + PIECE)) this.#give(this.view.apply(record, this.#on.clock.now()).changes);
      await nextTurn();
    }
  }

  async #judgeAll(
    bucket: 'config' | 'mapping',
    createdUnixMs: number,
    entries: readonly Entry[],
  ): Promise<{ record: NetworkRecord; envelope: Uint8Array }[]> {
    let refreshed = false;
    const records: { record: NetworkRecord; envelope: Uint8Array }[] = [];
    for (const [i, entry] of entries.entries()) {
      // A signature takes some 100 µs: events and requests are served in between.
      if (i % 100 === 99) await nextTurn();
      // What is in force already needs no second verification.
      const held = this.envelopes.get(`${bucket}/${entry.key}`);
      if (held?.revision === entry.revision && held.bucketCreatedUnixMs === createdUnixMs && sameBytes(held.envelope, entry.value)) {
        const known = this.#known.get(held);
        if (known !== undefined) {
          records.push({ record: known, envelope: held.envelope });
          continue;
        }
      }
      let judged = judge(bucket, createdUnixMs, entry, this.#on.trust, this.view);
      if (!judged.ok && judged.curable && !refreshed) {
        refreshed = true;
        await this.#on.trustFeed.refresh();
        judged = judge(bucket, createdUnixMs, entry, this.#on.trust, this.view);
      }
      if (judged.ok) records.push({ record: judged.record, envelope: entry.value });
      else {
        this.#refusedStanding = true;
        this.#refused(entry.key, judged.code, judged.reason);
        records.push({ record: { kind: 'refused', ...judged.position }, envelope: entry.value });
      }
    }
    return records;
  }

  #keep(record: NetworkRecord, envelope: Uint8Array): void {
    const { bucket, key, revision, bucketCreatedUnixMs } = record;
    const name = `${bucket}/${key}`;
    if (this.envelopes.get(name)?.revision === revision && this.envelopes.get(name)?.bucketCreatedUnixMs === bucketCreatedUnixMs) return;
    const kept = { bucket, key, revision, bucketCreatedUnixMs, envelope };
    this.envelopes.set(name, kept);
    this.#known.set(kept, record);
    this.dirty = true;
  }

  #loseStore(what: string): void {
    this.#storeLost = true;
    this.#on.conditions.raise(
      'STORE_LOST',
      `Network ${this.rdid}: ${what}. Nothing more of it is applied, what forwards keeps forwarding; find out what happened to NATS, then start the agent with --accept-new-store`,
      this.rdid,
    );
  }

  #refused(key: string, code: string, reason: string): void {
    this.counters.refused++;
    this.#refusedCodes.add(code);
    this.#on.conditions.raise('RECORD_REFUSED', reason, `${code} ${this.rdid}`);
    this.#log.debug({ rdid: this.rdid, key, code, reason }, 'record refused');
  }

  #nextFullResyncMs(): number {
    const { min, max } = this.#init.resyncMs ?? { min: 300_000, max: 600_000 };
    return this.#on.clock.now() + min + this.#on.random() * (max - min);
  }
}

function signerOf(held: CommittedRecord | undefined): string {
  return held === undefined ? 'an unknown key' : openChange(held.envelope).signer;
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && Buffer.compare(a, b) === 0;
}
