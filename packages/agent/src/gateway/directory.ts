import { type Bus, type Entry, type RecordEntry, readEntry, type Store, type Subscription } from '@weft/bus';
import { type Assignment, assignmentPrefix, type BucketName, configPrefix, type Gateway, type TrustStore, WeftError } from '@weft/model';
import type { AgentClock, AgentLogger } from '../components.ts';
import { messageOf } from '../errors.ts';
import type { SliceClock } from './in-slices.ts';
import { ShardClaims } from './shard-claims.ts';
import type { SyncedFile } from './synced-file.ts';

// Which gateway groups there are, how their work is divided, and which networks each shard serves. Groups are few and small, so they are read whole; of the networks,
// which may be tens of thousands, what changed (ShardClaims):
// at each connection, when an event says that something changed, and now and then in case an event was lost: often by who takes part in a group, seldom by
// the many hosts that do not.

const POLL_MS = { involved: 10_000, others: 300_000 } as const;
/** Events of one apply come together: one look for all of them. */
const GATHER_MS = 20;

/** A gateway group, as far as it is known. */
export interface GatewayGroup {
  readonly gateway: Gateway | undefined;
  readonly assignment: Assignment | undefined;
  /** Of the assignment, 0 if there is none: what a step on it names. */
  readonly assignmentRevision: number;
}

export interface GatewayDirectoryInit {
  readonly hostId: string;
  readonly bus: Bus;
  readonly trust: TrustStore;
  readonly clock: AgentClock;
  readonly random: () => number;
  readonly logger: AgentLogger;
  /** What was read last, as it was signed: so that a restart without NATS knows its groups. */
  readonly file: Pick<SyncedFile, 'read' | 'write'>;
  /** The same of the networks of shards. */
  readonly claimsFile: Pick<SyncedFile, 'read' | 'write'>;
  /** Something differs from what the last call found. */
  readonly onChange: () => void;
  /** Whether this machine is part of a group, or its networks use one. */
  readonly isInvolved: () => boolean;
  /** Reading failed; `undefined`: it works again. What was read last stays in force. */
  readonly onProblem: (reason: string | undefined) => void;
  readonly slices?: SliceClock;
}

/** The first of some for which there is a result, and that. */
function firstOf<T, R>(items: readonly T[], find: (item: T) => R | undefined): readonly [T, R] | readonly [undefined, undefined] {
  for (const item of items) {
    const result = find(item);
    if (result !== undefined) return [item, result];
  }
  return [undefined, undefined];
}

interface SavedEntry {
  readonly bucket: BucketName;
  readonly key: string;
  readonly revision: number;
  readonly value: string;
}

/** Reads gateways, assignments and the claims of shards, and keeps them. */
export class GatewayDirectory {
  readonly #init: GatewayDirectoryInit;
  readonly #claims: ShardClaims;
  #events: Subscription | undefined;
  #store: Store | undefined;
  #timer: unknown;
  #reading: Promise<boolean> | undefined;
  #again = false;
  #stopped = false;
  #isRead = false;
  /** The last write, whatever came of it. */
  #saved: Promise<void> = Promise.resolve();
  #text = '[]';
  #groups: ReadonlyMap<string, GatewayGroup> = new Map();

  constructor(init: GatewayDirectoryInit) {
    this.#init = init;
    this.#claims = new ShardClaims({
      file: init.claimsFile,
      judge: (entry) => {
        const judged = this.#judge('config', entry, true);
        if (judged === undefined) return 'refused';
        return judged.record?.kind === 'claim' ? 'stands' : 'gone';
      },
      now: () => init.clock.now(),
      onNotSaved: (error) => this.#notSaved(error),
      ...(init.slices === undefined ? {} : { slices: init.slices }),
    });
  }

  /** Takes up what the last run knew, and listens. */
  async start(): Promise<void> {
    await this.#recall(async () => await this.#claims.recall());
    await this.#recall(async () => {
      const saved = await this.#init.file.read();
      if (saved !== undefined && this.#take(JSON.parse(new TextDecoder().decode(saved)) as SavedEntry[], false)) this.#init.onChange();
    });
    this.#events = this.#init.bus.onGatewayEvents(() => this.#soon(GATHER_MS));
    this.#later();
  }

  async #recall(recall: () => Promise<void>): Promise<void> {
    try {
      await recall();
    } catch (error) {
      this.#init.logger.warn({ reason: messageOf(error) }, 'what was known of gateways can not be read back; the store is asked');
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#init.clock.clearTimeout(this.#timer);
    await this.#events?.stop();
    await this.#reading;
    await this.#saved;
    await this.#claims.save(true);
  }

  /** The store of the present connection. */
  setStore(store: Store): void {
    this.#store = store;
  }

  /** True: the store has been read. Until then what is missing may only be unknown. */
  get isRead(): boolean {
    return this.#isRead;
  }

  /** By gateway id. */
  get groups(): ReadonlyMap<string, GatewayGroup> {
    return this.#groups;
  }

  /** Routing domain ids of the networks that a shard serves. */
  networksOf(shard: number): readonly string[] {
    return this.#claims.networksOf(shard);
  }

  /**
   * Reads everything. Failures are told, and mended by the next reading. Calls while one is under way share the one after it.
   * @returns Whether the store answered.
   */
  async refresh(): Promise<boolean> {
    if (this.#reading === undefined) this.#reading = this.#readUntilQuiet();
    else this.#again = true;
    return await this.#reading;
  }

  async #readUntilQuiet(): Promise<boolean> {
    let isRead: boolean;
    do {
      this.#again = false;
      isRead = false;
      try {
        isRead = await this.#read();
        this.#init.onProblem(undefined);
      } catch (error) {
        if (!this.#stopped)
          this.#init.onProblem(`Cannot read gateways and assignments: ${messageOf(error)}; tried again, what is known stays in force`);
      }
    } while (this.#again && !this.#stopped);
    this.#reading = undefined;
    if (!this.#stopped) this.#later();
    return isRead;
  }

  /** @returns False: there is no store. */
  async #read(): Promise<boolean> {
    const store = this.#store;
    if (store === undefined) return false;
    const [gateways, assignments] = await Promise.all([
      store.config.snapshot(configPrefix.gateways),
      store.gateways.snapshot(assignmentPrefix),
    ]);
    const save = (bucket: BucketName, entries: readonly Entry[]): SavedEntry[] =>
      entries.map(({ key, revision, value }) => ({ bucket, key, revision, value: Buffer.from(value).toString('base64') }));
    const all = [...save('config', gateways.entries), ...save('gateways', assignments.entries)];
    if (this.#stopped) return false;
    const isOther = this.#take(
      all.sort((a, b) => (a.bucket + a.key < b.bucket + b.key ? -1 : 1)),
      true,
    );
    if (isOther) this.#init.onChange();
    // Who forwards for networks has to know which; others obey shards.
    const areOthers = this.#isMember() && (await this.#claims.read(store));
    this.#isRead = true;
    if (areOthers) this.#init.onChange();
    if (this.#isMember()) void this.#sweep(store);
    return true;
  }

  #isMember(): boolean {
    const { hostId } = this.#init;
    return [...this.#groups.values()].some(
      ({ gateway, assignment }) =>
        gateway?.members.some(({ host }) => host === hostId) === true || assignment?.members.some((one) => one.hostId === hostId) === true,
    );
  }

  /** In the background: a change of a group must not wait for it. What fails is tried again at the next look. */
  async #sweep(store: Store): Promise<void> {
    const areOthers = await this.#claims.sweep(store).catch(() => false);
    if (areOthers && !this.#stopped) this.#init.onChange();
  }

  /** @returns Whether something is other than before. */
  #take(entries: readonly SavedEntry[], judged: boolean): boolean {
    const groups = new Map<string, { gateway: Gateway | undefined; assignment: Assignment | undefined; assignmentRevision: number }>();
    const group = (id: string) => {
      const found = groups.get(id) ?? { gateway: undefined, assignment: undefined, assignmentRevision: 0 };
      groups.set(id, found);
      return found;
    };
    const before = new Map((JSON.parse(this.#text) as SavedEntry[]).map((saved) => [`${saved.bucket} ${saved.key}`, saved]));
    const believed: SavedEntry[] = [];
    for (const read of entries) {
      // Whoever writes what nobody may believe takes nothing away: what stood there before stays in force.
      const known = before.get(`${read.bucket} ${read.key}`);
      const [saved, record] = firstOf([read, ...(judged && known !== undefined ? [known] : [])], (one) =>
        this.#judgeSaved(one, judged && one === read),
      );
      if (saved === undefined) continue;
      believed.push(saved);
      if (record.record?.kind === 'gateway') group(record.record.value.id).gateway = record.record.value;
      else if (record.record?.kind === 'assignment')
        Object.assign(group(record.record.value.gatewayId), { assignment: record.record.value, assignmentRevision: saved.revision });
    }
    const text = JSON.stringify(believed);
    if (text === this.#text) return false;
    this.#text = text;
    this.#groups = groups;
    if (judged) this.#saved = this.#init.file.write(new TextEncoder().encode(text)).catch((error: unknown) => this.#notSaved(error));
    return true;
  }

  #notSaved(error: unknown): void {
    this.#init.logger.warn(
      { reason: messageOf(error) },
      'what is known of gateways can not be saved; a restart without NATS will not know it',
    );
  }

  #judgeSaved({ bucket, key, revision, value }: SavedEntry, judged: boolean): RecordEntry | undefined {
    return this.#judge(bucket, { key, revision, value: new Uint8Array(Buffer.from(value, 'base64')) }, judged);
  }

  /** @param judged False: read back from this host's own disk, where it was judged before it was written. */
  #judge(bucket: BucketName, read: Entry, judged: boolean): RecordEntry | undefined {
    try {
      const entry = readEntry(bucket, read);
      const refusal = judged ? this.#init.trust.mayWrite(entry.change, entry.signer) : undefined;
      if (refusal !== undefined) throw refusal;
      return entry;
    } catch (error) {
      if (!(error instanceof WeftError)) throw error;
      this.#init.logger.warn({ key: read.key, code: error.code, reason: error.message }, 'gateway record refused');
      return undefined;
    }
  }

  /** The next look in case nothing is heard, spread so that hosts that started together don't read together. */
  #later(): void {
    const pollMs = this.#init.isInvolved() ? POLL_MS.involved : POLL_MS.others;
    this.#soon(pollMs * (0.75 + this.#init.random() / 2));
  }

  #soon(delayMs: number): void {
    if (this.#stopped) return;
    this.#init.clock.clearTimeout(this.#timer);
    this.#timer = this.#init.clock.setTimeout(() => void this.refresh(), delayMs);
  }
}
