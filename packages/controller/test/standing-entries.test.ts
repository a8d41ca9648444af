import type { Bucket, Entry } from '@weft/bus';
import { configKey, configPrefix } from '@weft/model';
import { describe, expect, it } from 'vitest';
import { StandingEntries } from '../src/standing-entries.ts';

const rdid = (n: number): string => `${String(n).padStart(8, '0')}-0000-4000-8000-000000000000`;

/** A bucket whose answers are counted. */
class Counted {
  told = 0;
  sequence = 0;
  bucketCreatedUnixMs = 1;
  nowMs = 0;
  readonly entries = new Map<string, Entry>();
  /** What the connection knows of the bucket, as long as it has not asked again. */
  known = 1;

  put(n: number, value = 'x'): void {
    const key = configKey.network(rdid(n));
    this.entries.set(key, { key, revision: ++this.sequence, value: Buffer.from(value) });
  }
  standing(): StandingEntries {
    const self = this;
    const bucket = {
      name: 'config',
      get bucketCreatedUnixMs() {
        return self.known;
      },
      snapshot: async (_prefix: string, { after = 0 }: { after?: number } = {}) => {
        await Promise.resolve();
        const entries = [...this.entries.values()].filter(({ revision }) => revision > after);
        this.told += entries.length;
        this.known = this.bucketCreatedUnixMs;
        return { entries, atSequence: this.sequence, bucketCreatedUnixMs: this.bucketCreatedUnixMs };
      },
    } as unknown as Bucket;
    return new StandingEntries(bucket, configPrefix.networks, () => this.nowMs);
  }
}

const numbers = (entries: readonly Entry[]): number[] =>
  entries.map(({ key }) => Number(key.slice('network.'.length, 'network.'.length + 8)));

describe('StandingEntries', () => {
  it('reads each once for all pages of a list, and what is written meanwhile', async () => {
    const store = new Counted();
    for (let n = 2_000; n > 0; n--) store.put(n);
    const standing = store.standing();
    for (let page = 0; page < 20; page++) expect((await standing.read()).length).toBe(2_000);
    expect(store.told).toBe(2_000);
    store.put(7, 'other');
    store.put(2_001);
    const seen = await standing.read();
    expect(store.told).toBe(2_002);
    expect(numbers(seen)).toEqual(Array.from({ length: 2_001 }, (_, i) => i + 1));
    expect(Buffer.from(seen[6]!.value).toString()).toBe('other');
  });

  it('sees what stood before the call, also when another reading is under way', async () => {
    const store = new Counted();
    store.put(1);
    const standing = store.standing();
    const first = standing.read();
    store.put(2);
    expect(numbers(await standing.read())).toEqual([1, 2]);
    await first;
  });

  it('misses what was deleted by hand for a minute at most', async () => {
    const store = new Counted();
    store.put(1);
    store.put(2);
    const standing = store.standing();
    await standing.read();
    store.entries.delete(configKey.network(rdid(1)));
    store.nowMs = 59_999;
    expect(numbers(await standing.read())).toEqual([1, 2]);
    store.nowMs = 60_000;
    expect(numbers(await standing.read())).toEqual([2]);
  });

  it('begins anew with a bucket that was made anew, whenever that is found out', async () => {
    for (const isKnown of [false, true]) {
      const store = new Counted();
      for (let n = 1; n <= 5; n++) store.put(n);
      const standing = store.standing();
      await standing.read();
      store.entries.clear();
      Object.assign(store, { bucketCreatedUnixMs: 2, sequence: 0, ...(isKnown ? { known: 2 } : {}) });
      store.put(9);
      expect(numbers(await standing.read())).toEqual([9]);
    }
  });

  it('goes on after a reading that failed', async () => {
    const store = new Counted();
    store.put(1);
    const standing = store.standing();
    const bucketIsDown = Object.defineProperty(store, 'sequence', {
      get: () => {
        throw new Error('down');
      },
      configurable: true,
    });
    await expect(standing.read()).rejects.toThrow('down');
    Object.defineProperty(bucketIsDown, 'sequence', { value: 1, writable: true });
    expect(numbers(await standing.read())).toEqual([1]);
  });
});
