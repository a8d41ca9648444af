import type { Bucket } from '@weft/bus';
import { parseKey } from '@weft/model';
import type { Records } from './records.ts';

interface Claimed {
  readonly number: number;
  readonly requestId: string;
}

/**
 * Numbers that are claimed once and never given back, below one prefix: the highest, and by whom they were claimed. Only what was written since the last look is read: an installation has
 * tens of thousands of networks, and each new one asks.
 *
 * What somebody has purged from the store by hand may still be among them. Then a number is left out; whoever takes one finds out by claiming it.
 */
export class ClaimedNumbers {
  readonly #records: Records;
  readonly #prefix: string;
  readonly #byOwner = new Map<string, Claimed[]>();
  #highest = 0;
  #bucketCreatedUnixMs = 0;
  #sequence = 0;
  #looking: Promise<void> = Promise.resolve();

  constructor(records: Records, prefix: string) {
    this.#records = records;
    this.#prefix = prefix;
  }

  /** The highest as of this call. @throws What `Bucket.snapshot` throws. */
  async highest(): Promise<number> {
    await this.#look();
    return this.#highest;
  }

  /** The number that a request has claimed for an owner already, and the highest, as of this call. @throws What `Bucket.snapshot` throws. */
  async of(owner: string, requestId: string): Promise<{ readonly own: number | undefined; readonly highest: number }> {
    await this.#look();
    const own = this.#byOwner.get(owner)?.find((one) => one.requestId === requestId)?.number;
    return { own, highest: this.#highest };
  }

  /** Each look begins after its call: what was acknowledged before is seen. */
  #look(): Promise<void> {
    const next = this.#looking.then(async () => await this.#read(this.#records.config));
    this.#looking = next.catch(() => {});
    return next;
  }

  async #read(bucket: Bucket): Promise<void> {
    if (bucket.bucketCreatedUnixMs !== this.#bucketCreatedUnixMs) this.#forget();
    const { entries, atSequence, bucketCreatedUnixMs } = await bucket.snapshot(this.#prefix, { after: this.#sequence });
    const isOther = bucketCreatedUnixMs !== this.#bucketCreatedUnixMs;
    if (isOther && this.#sequence > 0) {
      this.#forget();
      await this.#read(bucket);
      return;
    }
    for (const { key, record } of this.#records.trusted(bucket, entries)) {
      const parsed = parseKey('config', key);
      if (parsed?.kind !== 'claim' || record?.kind !== 'claim') continue;
      const number = Number(parsed.tokens[0]);
      this.#highest = Math.max(this.#highest, number);
      const known = this.#byOwner.get(record.value.owner) ?? [];
      this.#byOwner.set(record.value.owner, [
        ...known.filter((one) => one.number !== number),
        { number, requestId: record.value.requestId },
      ]);
    }
    this.#bucketCreatedUnixMs = bucketCreatedUnixMs;
    this.#sequence = atSequence;
  }

  #forget(): void {
    this.#byOwner.clear();
    this.#highest = 0;
    this.#sequence = 0;
  }
}
