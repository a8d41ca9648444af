import { hash } from 'node:crypto';
import { type Bus, type RecordEntry, readEntry, type Store, type Subscription } from '@weft/bus';
import type { TableChange } from '@weft/forwarding';
import {
  type Assignment,
  type Change,
  type CommittedRecord,
  configKey,
  mappingKey,
  type NetworkDigest,
  type TrustStore,
  WeftError,
} from '@weft/model';
import { parseIp } from '@weft/packet';
import { type LocalDevice, type MoveWindow, type NetworkRecord, NetworkView, NO_MOVE } from '@weft/tables';
import { type Alarm, ClaimChecker } from './claims.ts';
import type { AgentClock, AgentLogger, HostAgentInit } from './components.ts';
import type { Conditions } from './conditions.ts';
import { DigestExchange } from './digest-exchange.ts';
import { messageOf } from './errors.ts';
import { backoffMs } from './limiter.ts';
import type { Copied, NetworkReader } from './network-reader.ts';
import { RecordKeeper } from './record-keeper.ts';
import { type Asked, type NetworkSource, SnapshotSync } from './snapshot-sync.ts';
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
  readonly reader: NetworkReader;
  /** Networks that this host follows. */
  readonly followed: () => number;
  /** It is time for a network to be read, though nothing says that something changed. */
  readonly onDue: (session: NetworkSession) => void;
  readonly store: () => Store | undefined;
  readonly publishDigest: (digest: NetworkDigest) => void;
  /** Changes for the packet path, in order. */
  readonly onChanges: (changes: readonly TableChange[]) => void;
  /** The network has been read completely for the first time since the start. */
  readonly onComplete: (session: NetworkSession) => void;
  /** Bindings may have changed: ports won or lost, something to save. */
  readonly onRecords: (session: NetworkSession, portId?: string) => void;
}

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
  /** What is kept on disk. */
  readonly keeper: RecordKeeper;
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
  /** When the records were saved last (boot clock). */
  savedMs: number = Number.NEGATIVE_INFINITY;
  readonly #init: HostAgentInit;
  readonly #on: SessionComponents;
  readonly #claims: ClaimChecker;
  readonly #digests: DigestExchange;
  readonly #snapshots: SnapshotSync;
  readonly #log: AgentLogger;
  #subscriptions: Subscription[] = [];
  #timer: unknown;
  #timerAtMs = Number.POSITIVE_INFINITY;
  #resyncing: Promise<void> | undefined;
  #resyncAgain = false;
  #resyncAtMs: number;
  /** When it is to be read though nothing has asked for that; `#resyncAtMs` is this or earlier. */
  #dueMs = 0;
  #attempt = 0;
  #stopped = false;
  #assignment: Assignment | undefined;
  #storeLost = false;
  /** Something in the store was refused when it was last looked at. */
  #refusedStanding = false;
  readonly #refusedCodes = new Set<string>();

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
    const { trust, trustFeed, clock, random } = components;
    this.#digests = new DigestExchange({
      ...{ rdid, hostId: init.hostId, view: this.view, trust, clock, random, counters: this.counters },
      followed: components.followed,
      publish: (digest) => components.publishDigest(digest),
      onRefused: (code, reason) => this.#refused('digest', code, reason),
      // One that is under way may have been early; then another digest says so. Among ten thousand that are read for the first time, each would be read twice.
      onResync: () => void (this.#resyncing ?? this.resync('digest')).catch(() => undefined),
      onResyncAt: (atMs) => {
        this.#resyncAtMs = Math.min(this.#resyncAtMs, atMs);
        this.arm();
      },
      onRearm: () => this.arm(),
    });
    this.keeper = new RecordKeeper({
      ...{ view: this.view, trust, trustFeed },
      onRefused: (key, code, reason) => {
        this.#refusedStanding = true;
        this.#refused(key, code, reason);
      },
    });
    this.#resyncAtMs = this.#nextFullResyncMs();
    const alarm: Alarm = (vsid, message) =>
      message === undefined
        ? components.conditions.clear('VSID_CLAIM', String(vsid))
        : components.conditions.raise('VSID_CLAIM', message, String(vsid));
    this.#claims = new ClaimChecker(rdid, alarm);
    this.#snapshots = new SnapshotSync({
      ...{ rdid, view: this.view, keeper: this.keeper, claims: this.#claims, trust, clock },
      isStopped: () => this.#stopped,
      give: (changes) => this.#give(changes),
      onRefused: (key, code, reason) => this.#refused(key, code, reason),
      onApplied: (bucket, isNew) => this.#onSnapshot(bucket, isNew),
      onStoreLost: (what) => this.#loseStore(what),
    });
  }

  /** Subscribes. Works without a connection: the bus subscribes when it has one. */
  start(): void {
    this.#subscriptions = [
      this.#on.bus.onEvents(this.rdid, (event) => this.#onEvent(event)),
      this.#on.bus.onDigest(this.rdid, (digest, signer) => {
        if (!this.#stopped) this.#digests.hear(digest, signer);
      }),
    ];
    this.arm();
  }

  /** Stops listening. Rows stay as they are. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#digests.stop();
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
    this.keeper.keep(record, envelope);
    this.keeper.dirty = false;
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
    if (status === 'applied') this.keeper.keep(record, envelope);
    this.#give(changes);
    this.arm();
  }

  /** Tells the view how the work of the network's gateway is divided. Cheap when it is the same as before. */
  setAssignment(assignment: Assignment | undefined): void {
    if (assignment === this.#assignment) return;
    this.#assignment = assignment;
    this.#give(this.view.setAssignment(assignment, this.#on.clock.now()));
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
    const [judged] = await this.keeper.judgeAll(bucket, createdUnixMs, [entry]);
    if (judged !== undefined && judged.record.kind !== 'refused' && !this.#storeLost) {
      const { status, changes } = this.view.apply(judged.record, this.#on.clock.now());
      this.#give(changes);
      if (status === 'applied') this.keeper.keep(judged.record, entry.value);
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
    this.#resyncing = this.#resyncUntilQuiet(reason).finally(() => {
      this.#resyncing = undefined;
    });
    await this.#resyncing;
  }

  async #resyncUntilQuiet(reason: string): Promise<void> {
    const ask = (): Asked => {
      this.#resyncAgain = false;
      return { config: this.view.askSnapshot('config'), mapping: this.view.askSnapshot('mapping') };
    };
    const read = async (copied: Copied | undefined): Promise<void> => {
      if (copied === undefined) this.#resyncAgain = false;
      await this.#resyncOnce(reason, copied);
    };
    do await this.#on.reader.run({ ask, read });
    while (this.#resyncAgain && !this.#stopped);
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
    const next = Math.min(this.#digests.deadlineMs, this.view.nextDeadlineMs ?? Number.POSITIVE_INFINITY, this.#resyncAtMs);
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
    if (this.#digests.tick(now) && this.complete) this.#digests.send(this.emptySinceMs !== undefined);
    if (now >= this.#resyncAtMs) {
      const isPeriodic = this.#resyncAtMs === this.#dueMs;
      this.#resyncAtMs = this.#nextFullResyncMs();
      if (this.#digests.waits) this.#digests.resync();
      else if (isPeriodic) this.#on.onDue(this);
      else this.resync('again').catch(() => undefined);
    }
    this.arm();
  }

  #give(changes: readonly TableChange[]): void {
    if (this.coherent) this.#on.onChanges(changes);
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
      this.keeper.keep(judged.record, event.envelope);
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

  async #resyncOnce(reason: string, copied: Copied | undefined): Promise<void> {
    const source: NetworkSource | undefined = copied?.copy ?? this.#on.store();
    if (source === undefined || this.#stopped)
      throw new WeftError('WEFT_ERR_BUS_DISCONNECTED', 'Cannot resync: NATS is not reachable; it is tried again');
    const started = this.#on.clock.now();
    this.#refusedStanding = false;
    try {
      await this.#snapshots.run(source, copied?.asked);
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

  #onSnapshot(bucket: 'config' | 'mapping', isNew: boolean): void {
    if (isNew) this.#digests.wereRight();
    if (this.#storeLost && bucket === 'mapping') this.#storeLost = false;
    if (!this.#storeLost) this.#on.conditions.clear('STORE_LOST', this.rdid);
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
    this.#dueMs = this.#on.clock.now() + min + this.#on.random() * (max - min);
    return this.#dueMs;
  }
}
