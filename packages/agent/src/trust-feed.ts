import { type Bus, type Entry, HintedReads, type RecordEntry, readEntry, type Store, type Subscription } from '@weft/bus';
import { configPrefix, parseKey, type TrustStore, WeftError } from '@weft/model';
import type { AgentClock, AgentLogger } from './components.ts';
import { messageOf } from './errors.ts';

const MIN_REFRESH_INTERVAL_MS = 200;

/**
 * Keeps the trust store fed with principals and hosts: host events, a full look at each connection, and one whenever a record's signer is
 * not known (at most five a second, shared by all who ask).
 */
export class TrustFeed {
  readonly #trust: TrustStore;
  readonly #clock: AgentClock;
  readonly #logger: AgentLogger;
  readonly #events: Subscription;
  #store: Store | undefined;
  #running: Promise<void> | undefined;
  #lastMs = Number.NEGATIVE_INFINITY;
  #stopped = false;

  constructor(bus: Bus, trust: TrustStore, clock: AgentClock, logger: AgentLogger) {
    this.#trust = trust;
    this.#clock = clock;
    this.#logger = logger;
    const hints = new HintedReads(
      (bucket, key) => this.#lookAt(bucket, key),
      () => void this.refresh(),
    );
    this.#events = bus.onHostEvents(({ bucket, key }) => {
      const kind = parseKey(bucket, key)?.kind;
      if (kind === 'principal' || kind === 'host') hints.hear(bucket as 'config' | 'hosts', key);
    });
  }

  /** The store of the present connection. */
  setStore(store: Store): void {
    this.#store = store;
  }

  /** A full look, not older than `MIN_REFRESH_INTERVAL_MS` unless `force`. Failures are logged: the next look mends them. */
  async refresh(force = false): Promise<void> {
    if (this.#store === undefined || this.#stopped) return;
    if (this.#running !== undefined) {
      await this.#running;
      if (!force) return;
    }
    const waitMs = this.#lastMs + MIN_REFRESH_INTERVAL_MS - this.#clock.now();
    if (!force && waitMs > 0) {
      await new Promise<void>((resolve) => this.#clock.setTimeout(resolve, waitMs));
      if (this.#running !== undefined) return await this.#running;
    }
    this.#lastMs = this.#clock.now();
    this.#running = this.#look(this.#store)
      .catch((error: unknown) => this.#logger.warn({ reason: messageOf(error) }, 'cannot read principals and hosts'))
      .finally(() => {
        this.#running = undefined;
      });
    await this.#running;
  }

  /** Takes one's own host record in, without waiting for its event. */
  take(entry: RecordEntry): void {
    this.#take(entry.key, () => entry);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#events.stop();
  }

  async #look(store: Store): Promise<void> {
    const [principals, hosts] = await Promise.all([store.config.snapshot(configPrefix.principals), store.hosts.snapshot('')]);
    const take = (bucket: 'config' | 'hosts', entry: Entry): void => this.#take(entry.key, () => readEntry(bucket, entry));
    for (const entry of principals.entries) take('config', entry);
    for (const entry of hosts.entries) take('hosts', entry);
    const keys = principals.entries.flatMap((entry) => {
      const parsed = parseKey('config', entry.key);
      return parsed?.kind === 'principal' ? [parsed.publicKey] : [];
    });
    this.#trust.sweep('principal', new Set(keys), principals.atSequence);
    this.#trust.sweep('host', new Set(hosts.entries.map((entry) => entry.key)), hosts.atSequence);
  }

  /** Reads one key that an event has named. Without a store yet: the first look comes with it. */
  async #lookAt(bucket: 'config' | 'hosts', key: string): Promise<void> {
    if (this.#store === undefined || this.#stopped) return;
    try {
      const entry = await this.#store.bucket(bucket).get(key);
      if (entry !== undefined) this.#take(key, () => readEntry(bucket, entry));
    } catch (error) {
      this.#logger.warn({ key, reason: messageOf(error) }, 'cannot read a principal or host that has changed');
    }
    // A host that has just been admitted: its principal is read now, before its first binding comes.
    if (bucket === 'hosts' && this.#trust.host(key) === undefined) void this.refresh();
  }

  #take(key: string, read: () => RecordEntry): void {
    try {
      const entry = read();
      const refusal = this.#trust.apply(entry.change, entry.signer, entry.revision);
      if (refusal !== undefined) throw refusal;
    } catch (error) {
      if (!(error instanceof WeftError)) throw error;
      this.#logger.warn({ key, code: error.code, reason: error.message }, 'principal or host record refused');
    }
  }
}
