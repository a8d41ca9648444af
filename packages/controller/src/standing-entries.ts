import type { Bucket, Entry } from '@weft/bus';

/** All are read again after so long: what somebody deletes from the stream by hand leaves no trace. Weft itself leaves a tombstone in place of each record. */
const WHOLE_MS = 60_000;

/**
 * What stands below one prefix of a bucket, kept from one reading to the next, so that a reading costs what has been written since: a list of ten thousand networks is asked for in twenty
 * pages, and each is as of its own time.
 */
export class StandingEntries {
  readonly #bucket: Bucket;
  readonly #prefix: string;
  readonly #now: () => number;
  #entries: readonly Entry[] = [];
  #bucketCreatedUnixMs = 0;
  #sequence = 0;
  #wholeMs = Number.NEGATIVE_INFINITY;
  #reading: Promise<unknown> = Promise.resolve();

  /** @param now Any clock, ms. */
  constructor(bucket: Bucket, prefix: string, now: () => number) {
    this.#bucket = bucket;
    this.#prefix = prefix;
    this.#now = now;
  }

  /** By key, tombstones among them. Each reading begins after its call: what was acknowledged before is seen. @throws What `Bucket.snapshot` throws. */
  read(): Promise<readonly Entry[]> {
    const next = this.#reading.then(async () => await this.#read());
    this.#reading = next.catch(() => {});
    return next;
  }

  async #read(): Promise<readonly Entry[]> {
    const isWhole =
      this.#sequence === 0 ||
      this.#now() - this.#wholeMs >= WHOLE_MS ||
      // Known after a reconnect already, and otherwise by the answer.
      this.#bucket.bucketCreatedUnixMs !== this.#bucketCreatedUnixMs;
    const { entries, atSequence, bucketCreatedUnixMs } = await this.#bucket.snapshot(
      this.#prefix,
      isWhole ? {} : { after: this.#sequence },
    );
    if (!isWhole && bucketCreatedUnixMs !== this.#bucketCreatedUnixMs) {
      this.#sequence = 0;
      return await this.#read();
    }
    if (isWhole || entries.length > 0) {
      const standing = new Map(isWhole ? [] : this.#entries.map((entry) => [entry.key, entry]));
      for (const entry of entries) standing.set(entry.key, entry);
      this.#entries = [...standing.values()].sort((a, b) => (a.key < b.key ? -1 : 1));
    }
    if (isWhole) this.#wholeMs = this.#now();
    this.#bucketCreatedUnixMs = bucketCreatedUnixMs;
    this.#sequence = atSequence;
    return this.#entries;
  }
}
