import type { Bucket, Entry, RecordEntry } from '@weft/bus';
import { configKey, configPrefix } from '@weft/model';
import { describe, expect, it } from 'vitest';
import { ClaimedNumbers } from '../src/claimed-numbers.ts';
import type { Records } from '../src/records.ts';

/** Records of a bucket whose reads are counted. */
class Counted {
  told = 0;
  sequence = 0;
  bucketCreatedUnixMs = 1;
  readonly entries = new Map<string, Entry & { readonly owner: string; readonly requestId: string }>();

  claim(number: number, owner: string, requestId = 'request-1'): void {
    const key = configKey.networkIdClaim(number);
    this.entries.set(key, { key, revision: ++this.sequence, value: new Uint8Array(), owner, requestId });
  }
  numbers(): ClaimedNumbers {
    const self = this;
    const config = {
      get bucketCreatedUnixMs() {
        return self.bucketCreatedUnixMs;
      },
      snapshot: async (_prefix: string, { after = 0 }: { after?: number } = {}) => {
        const entries = [...this.entries.values()].filter(({ revision }) => revision > after);
        this.told += entries.length;
        return { entries, atSequence: this.sequence, bucketCreatedUnixMs: this.bucketCreatedUnixMs };
      },
    } as unknown as Bucket;
    const trusted = (_bucket: Bucket, entries: readonly Entry[]): RecordEntry[] =>
      (entries as (Entry & { owner: string; requestId: string })[]).map(
        ({ key, owner, requestId }) =>
          ({ key, record: { kind: 'claim', value: { owner, ownerKey: '', requestId } } }) as unknown as RecordEntry,
      );
    return new ClaimedNumbers({ config, trusted } as unknown as Records, configPrefix.networkIdClaims);
  }
}

describe('ClaimedNumbers', () => {
  it('reads each claim once, however often the next number is asked for', async () => {
    const store = new Counted();
    const numbers = store.numbers();
    for (let n = 1; n <= 2_000; n++) {
      const { own, highest } = await numbers.of(`network-${n}`, 'request-1');
      expect([own, highest]).toEqual([undefined, n - 1]);
      store.claim(highest + 1, `network-${n}`);
    }
    expect(await numbers.highest()).toBe(2_000);
    expect(store.told).toBe(2_000);
  });

  it('finds what this very request has claimed for an owner before, and not what another did', async () => {
    const store = new Counted();
    const numbers = store.numbers();
    store.claim(7, 'a', 'request-1');
    store.claim(8, 'a', 'request-2');
    expect(await numbers.of('a', 'request-1')).toEqual({ own: 7, highest: 8 });
    expect(await numbers.of('a', 'request-2')).toEqual({ own: 8, highest: 8 });
    expect(await numbers.of('a', 'request-3')).toEqual({ own: undefined, highest: 8 });
    expect(await numbers.of('b', 'request-1')).toEqual({ own: undefined, highest: 8 });
  });

  it('begins anew with a bucket that was made anew', async () => {
    const store = new Counted();
    const numbers = store.numbers();
    store.claim(500, 'a');
    expect(await numbers.highest()).toBe(500);
    Object.assign(store, { bucketCreatedUnixMs: 2, sequence: 0 });
    store.entries.clear();
    store.claim(3, 'b');
    expect(await numbers.of('a', 'request-1')).toEqual({ own: undefined, highest: 3 });
  });
});
