import type { Entry, Snapshot, Store } from '@weft/bus';
import { configPrefix, parseKey } from '@weft/model';
import { inSlices, PROCESS_SLICES, type SliceClock } from './in-slices.ts';
import type { SyncedFile } from './synced-file.ts';

/** All claims are read this often, beside those that were written since: a claim that was given up leaves no trace in the store. */
const SWEEP_MS = 60_000;
/** So slowly: thousands of messages that come at once keep the process from its heartbeats for most of a second. */
const SWEEP_BYTES_PER_SECOND = 1 << 19;
/** Least time between two writes of the file: while networks are made, each of them changes it. */
const SAVE_MS = 5_000;

export interface ShardClaimsInit {
  /** Claims as they were believed last, in few bytes: a member may have tens of thousands. */
  readonly file: Pick<SyncedFile, 'read' | 'write'>;
  /**
   * Whether a claim may be believed. One signature each, the dearest part of reading them; so it is asked once for each revision.
   * @returns `gone`: what stands there is a tombstone.
   */
  readonly judge: (entry: Entry) => 'stands' | 'gone' | 'refused';
  /** Any clock, ms. */
  readonly now: () => number;
  readonly onNotSaved: (error: unknown) => void;
  readonly slices?: SliceClock;
}

interface Known {
  readonly revision: number;
  readonly shard: number;
  readonly network: string;
}

/**
 * Which networks each shard serves: the keys `claim.shard.<shard>.<network>`. What one reading costs follows what has changed since the one before, not how many there are.
 */
export class ShardClaims {
  readonly #init: ShardClaimsInit;
  readonly #known = new Map<string, Known>();
  /** Not believed when they were read; asked about again each time, for trust may come later. */
  readonly #refused = new Map<string, Entry>();
  #bucketCreatedUnixMs = 0;
  #sequence = 0;
  #sweptMs = Number.NEGATIVE_INFINITY;
  #sweeping = false;
  /** Counts what was taken: a sweep during which something came says nothing about what is gone. */
  #taken = 0;
  #networks: ReadonlyMap<number, readonly string[]> = new Map();
  #isSaved = true;
  #savedMs = Number.NEGATIVE_INFINITY;
  #saving: Promise<void> = Promise.resolve();
  /** For tests: claims that were judged, ever. */
  judged = 0;

  constructor(init: ShardClaimsInit) {
    this.#init = init;
  }

  /** Takes up what the last run believed. @throws What reading says. */
  async recall(): Promise<void> {
    const saved = await this.#init.file.read();
    if (saved === undefined) return;
    const [head, ...lines] = new TextDecoder().decode(saved).split('\n');
    const [created, sequence] = (head ?? '').split(' ').map(Number);
    if (!Number.isSafeInteger(created) || !Number.isSafeInteger(sequence)) throw new Error('not of a format this version knows');
    this.#bucketCreatedUnixMs = created!;
    this.#sequence = sequence!;
    // What is gone is looked for a while after the start, when there is less to do.
    this.#sweptMs = this.#init.now();
    const take = (line: string): void => {
      const [key = '', revision] = line.split(' ');
      const place = placeOf(key);
      if (place !== undefined) this.#known.set(key, { ...place, revision: Number(revision) });
    };
    await inSlices(lines, take, this.#init.slices);
    this.#group();
  }

  /** Routing domain ids of the networks that a shard serves. The same array as long as they are the same. */
  networksOf(shard: number): readonly string[] {
    return this.#networks.get(shard) ?? [];
  }

  /** Takes what was written since the last look; at the first all. @returns Whether networks came or went. @throws What `Bucket.snapshot` throws. */
  async read(store: Store): Promise<boolean> {
    const isFirst = this.#sequence === 0 || store.config.bucketCreatedUnixMs !== this.#bucketCreatedUnixMs;
    const options = isFirst ? { bytesPerSecond: SWEEP_BYTES_PER_SECOND } : { after: this.#sequence };
    const snapshot = await store.config.snapshot(configPrefix.allShardClaims, options);
    // The bucket of the answer counts: it may have been made anew in between.
    if (!isFirst && snapshot.bucketCreatedUnixMs !== this.#bucketCreatedUnixMs) {
      this.#sequence = 0;
      return await this.read(store);
    }
    const isOther = await this.#take(snapshot, isFirst);
    this.#sequence = snapshot.atSequence;
    if (isFirst) this.#sweptMs = this.#init.now();
    this.save(false);
    return isOther;
  }

  /** Reads all, slowly, when it is time: for what is gone without a trace. One at a time. @returns Whether networks went. @throws What `Bucket.snapshot` throws. */
  async sweep(store: Store): Promise<boolean> {
    const { now } = this.#init;
    if (this.#sweeping || this.#sequence === 0 || now() - this.#sweptMs < SWEEP_MS) return false;
    this.#sweeping = true;
    try {
      const taken = this.#taken;
      const snapshot = await store.config.snapshot(configPrefix.allShardClaims, { bytesPerSecond: SWEEP_BYTES_PER_SECOND });
      if (taken !== this.#taken || snapshot.bucketCreatedUnixMs !== this.#bucketCreatedUnixMs) return false;
      this.#sweptMs = now();
      const isOther = await this.#take(snapshot, true);
      this.save(false);
      return isOther;
    } finally {
      this.#sweeping = false;
    }
  }

  async #take({ entries, bucketCreatedUnixMs }: Snapshot, isWhole: boolean): Promise<boolean> {
    const { judge, slices = PROCESS_SLICES } = this.#init;
    const isSame = bucketCreatedUnixMs === this.#bucketCreatedUnixMs;
    const gone = new Set(isWhole ? this.#known.keys() : []);
    let isOther = false;
    const take = (entry: Entry): void => {
      const { key, revision } = entry;
      gone.delete(key);
      const known = this.#known.get(key);
      this.#refused.delete(key);
      if (isSame && known?.revision === revision) return;
      const place = placeOf(key);
      if (place === undefined) return;
      this.judged++;
      const judged = judge(entry);
      // Whoever writes what nobody may believe takes nothing away: what stood there before stays in force.
      if (judged === 'refused') this.#refused.set(key, entry);
      else if (judged === 'stands') {
        isOther ||= known === undefined;
        this.#known.set(key, { ...place, revision });
        this.#isSaved = false;
      } else isOther = this.#forget(key) || isOther;
    };
    if (!isWhole) this.#taken += entries.length;
    // Of a reading of the whole they are part, if they are still there.
    const again = isWhole ? [] : [...this.#refused.values()];
    this.#refused.clear();
    await inSlices(again, take, slices);
    await inSlices(entries, take, slices);
    for (const key of gone) isOther = this.#forget(key) || isOther;
    this.#bucketCreatedUnixMs = bucketCreatedUnixMs;
    if (isOther) this.#group();
    return isOther;
  }

  /** Writes what has changed, not too often. @param atOnce Before the process ends. */
  save(atOnce: boolean): Promise<void> {
    const { file, now, onNotSaved } = this.#init;
    if (this.#isSaved || (!atOnce && now() - this.#savedMs < SAVE_MS)) return this.#saving;
    this.#isSaved = true;
    this.#savedMs = now();
    const lines = [...this.#known].map(([key, { revision }]) => `${key} ${revision}`);
    const text = [`${this.#bucketCreatedUnixMs} ${this.#sequence}`, ...lines].join('\n');
    this.#saving = file.write(new TextEncoder().encode(text)).catch((error: unknown) => {
      this.#isSaved = false;
      onNotSaved(error);
    });
    return this.#saving;
  }

  #forget(key: string): boolean {
    this.#refused.delete(key);
    if (!this.#known.delete(key)) return false;
    this.#isSaved = false;
    return true;
  }

  #group(): void {
    const before = this.#networks;
    const networks = new Map<number, string[]>();
    for (const { shard, network } of this.#known.values()) {
      const known = networks.get(shard);
      if (known === undefined) networks.set(shard, [network]);
      else known.push(network);
    }
    this.#networks = new Map(
      [...networks].map(([shard, now]) => {
        const was = before.get(shard);
        const same = was !== undefined && was.length === now.length && was.every((network, i) => network === now[i]);
        return [shard, same ? was : now];
      }),
    );
  }
}

function placeOf(key: string): Pick<Known, 'shard' | 'network'> | undefined {
  const parsed = parseKey('config', key);
  if (parsed?.kind !== 'claim' || parsed.what !== 'shard') return undefined;
  return { shard: Number(parsed.tokens[0]), network: parsed.tokens[1]! };
}
