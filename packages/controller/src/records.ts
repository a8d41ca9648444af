import { type Bucket, commitRecord, type Entry, getRecord, type RecordEntry, readEntry } from '@weft/bus';
import { configKey, configPrefix, isRequestId, type RecordKind, type RecordOf, type Stored, WeftError, type WeftRecord } from '@weft/model';
import { ClaimedNumbers } from './claimed-numbers.ts';
import type { Author, ControllerComponents } from './components.ts';
import { Retry } from './components.ts';
import { StandingEntries } from './standing-entries.ts';

const CACHE_SIZE = 50_000;
const REFRESH_INTERVAL_MS = 1_000;

/** Reads and writes records: what is read has been verified and is trusted, what is written is signed and announced. */
export class Records {
  readonly #components: ControllerComponents;
  /** Verified already: an entry of a revision never changes, and verifying thousands for each request would cost most of its time. */
  readonly #verified = new Map<string, RecordEntry>();
  readonly #standing = new Map<string, StandingEntries>();
  #refreshedMs = Number.NEGATIVE_INFINITY;
  /** Numbers of networks, and those of what belongs to gateways. */
  readonly networkIds: ClaimedNumbers;
  readonly numbers: ClaimedNumbers;

  constructor(components: ControllerComponents) {
    this.#components = components;
    this.networkIds = new ClaimedNumbers(this, configPrefix.networkIdClaims);
    this.numbers = new ClaimedNumbers(this, configPrefix.numberClaims);
  }

  get config(): Bucket {
    return this.#components.store.config;
  }

  get gateways(): Bucket {
    return this.#components.store.gateways;
  }

  /** The bucket that an entry was read from. */
  bucketOf(entry: RecordEntry): Bucket {
    return this.#components.store.bucket(entry.change.bucket);
  }

  /**
   * What stands under a key, through the leader; undefined if nothing ever did; a tombstone's `record` is undefined.
   * @throws {WeftError} `WEFT_ERR_TRUST_…` for a record that its signer may not write: nothing is built on it.
   */
  async get(bucket: Bucket, key: string): Promise<RecordEntry | undefined> {
    const entry = await getRecord(bucket, key);
    if (entry === undefined) return undefined;
    let refusal = this.#components.trust.mayWrite(entry.change, entry.signer);
    if (refusal?.code === 'WEFT_ERR_TRUST_UNKNOWN_KEY') {
      await this.refreshTrust();
      refusal = this.#components.trust.mayWrite(entry.change, entry.signer);
    }
    if (refusal !== undefined) throw refusal;
    return entry;
  }

  /** Looks for principals that have come since; at most once a second, so that strangers can't make work. */
  async refreshTrust(): Promise<void> {
    const { refreshTrust, clock, logger } = this.#components;
    if (refreshTrust === undefined || clock.monotonic() - this.#refreshedMs < REFRESH_INTERVAL_MS) return;
    this.#refreshedMs = clock.monotonic();
    await refreshTrust().catch((error: Error) => logger.warn({ error: error.message }, 'cannot refresh principals'));
  }

  /** The value under a config key, if there is one of that kind. */
  async value<K extends RecordKind>(key: string, kind: K): Promise<(Stored<RecordOf<K>> & { readonly entry: RecordEntry }) | undefined> {
    const entry = await this.get(this.config, key);
    if (entry?.record?.kind !== kind) return undefined;
    return { value: entry.record.value as RecordOf<K>, revision: entry.revision, entry };
  }

  /** All trusted records below a prefix; others are logged and left out. */
  async all(bucket: Bucket, prefix: string): Promise<RecordEntry[]> {
    return (await this.allWithTombstones(bucket, prefix)).filter(({ record }) => record !== undefined);
  }

  /**
   * Like `all`, by key, for a prefix of a whole kind that is asked for again and again: what was read before is kept, and what has been written since is read.
   * @param after Only keys after this one.
   */
  async allStanding(bucket: Bucket, prefix: string, after = ''): Promise<RecordEntry[]> {
    const id = `${bucket.name} ${prefix}`;
    const standing = this.#standing.get(id) ?? new StandingEntries(bucket, prefix, () => this.#components.clock.monotonic());
    this.#standing.set(id, standing);
    const entries = (await standing.read()).filter(({ key }) => key > after);
    return this.trusted(bucket, entries).filter(({ record }) => record !== undefined);
  }

  /** Like `all`, with what was deleted and is still remembered. */
  async allWithTombstones(bucket: Bucket, prefix: string): Promise<RecordEntry[]> {
    const { entries } = await bucket.snapshot(prefix);
    return this.trusted(bucket, entries);
  }

  /** Of entries as they were read, those that verify and are trusted; others are logged and left out. */
  trusted(bucket: Bucket, entries: readonly Entry[]): RecordEntry[] {
    return entries.flatMap((entry) => {
      try {
        const read = this.#read(bucket, entry);
        const refusal = this.#components.trust.mayWrite(read.change, read.signer);
        if (refusal !== undefined) throw refusal;
        return [read];
      } catch (error) {
        if (!(error instanceof WeftError)) throw error;
        this.#components.logger.error(
          { bucket: bucket.name, key: entry.key, revision: entry.revision, code: error.code, error: error.message },
          'record refused',
        );
        return [];
      }
    });
  }

  /**
   * Whether a request may still write, or take back what it wrote. To be asked *after* what it wrote was read: a request ends only after what it
   * wrote stands, so what is then found to be of a finished one is final.
   */
  async isUnderWay(requestId: string): Promise<boolean> {
    return isRequestId(requestId) && (await this.value(configKey.intent(requestId), 'intent')) !== undefined;
  }

  /**
   * Writes a record, of the configuration unless another bucket is given, in place of `current`. Undefined deletes.
   * @throws {Retry} When something else stands there. @throws {WeftError} `WEFT_ERR_CONTROLLER_UNKNOWN_OUTCOME`.
   */
  async put(
    author: Author,
    key: string,
    tenant: string,
    current: RecordEntry | undefined,
    after: WeftRecord | undefined,
    bucket: Bucket = this.config,
  ): Promise<RecordEntry> {
    const entry = await this.tryPut(author, key, tenant, current, after, bucket);
    if (entry === undefined) throw new Retry(`${key} was changed meanwhile`);
    return entry;
  }

  /** Like `put`, but undefined when something else stands there. */
  async tryPut(
    author: Author,
    key: string,
    tenant: string,
    current: RecordEntry | undefined,
    after: WeftRecord | undefined,
    bucket: Bucket = this.config,
  ): Promise<RecordEntry | undefined> {
    const { bus, identity, clock } = this.#components;
    const { outcome, entry } = await commitRecord({
      bus,
      bucket,
      identity,
      key,
      tenant,
      current,
      after,
      authorKey: author.key,
      authorName: author.name,
      requestId: author.requestId,
      nowMs: clock.now(),
    });
    if (outcome.status === 'unknown') {
      throw new WeftError(
        'WEFT_ERR_CONTROLLER_UNKNOWN_OUTCOME',
        `Cannot say whether ${key} was written (${outcome.reason}): the request is resumed when NATS is back; see \`weft diff\``,
        { key },
      );
    }
    return entry;
  }

  #read(bucket: Bucket, entry: Entry): RecordEntry {
    const id = `${bucket.name} ${entry.key}`;
    const known = this.#verified.get(id);
    if (known !== undefined && known.revision === entry.revision && Buffer.compare(known.envelope, entry.value) === 0) return known;
    const read = readEntry(bucket.name, entry);
    if (this.#verified.size >= CACHE_SIZE) this.#verified.clear();
    this.#verified.set(id, read);
    return read;
  }
}
