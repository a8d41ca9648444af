import type { Entry, Snapshot, SnapshotOptions, Store } from '@weft/bus';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ShardClaims } from '../src/gateway/shard-claims.ts';

const uuid = (n: number): string => `${String(n).padStart(8, '0')}-0000-4000-8000-000000000000`;
const keyOf = (shard: number, n: number): string => `claim.shard.${shard}.${uuid(n)}`;
const GONE = Uint8Array.of(0);
const STANDS = Uint8Array.of(1);
const FORGED = Uint8Array.of(2);

/** The bucket's claims: the last value of each key, as NATS has it. */
class Bucket {
  bucketCreatedUnixMs = 1;
  sequence = 0;
  readonly values = new Map<string, Entry>();
  told = 0;
  /** Of them, those that came as fast as they could. */
  fast = 0;
  fault: Error | undefined;

  put(key: string, value: Uint8Array): void {
    this.values.set(key, { key, revision: ++this.sequence, value });
  }
  async snapshot(_prefix: string, { after = 0, bytesPerSecond }: SnapshotOptions = {}): Promise<Snapshot> {
    if (this.fault !== undefined) throw this.fault;
    const entries = [...this.values.values()].filter(({ revision }) => revision > after);
    this.told += entries.length;
    if (bytesPerSecond === undefined) this.fast += entries.length;
    return { entries, atSequence: this.sequence, bucketCreatedUnixMs: this.bucketCreatedUnixMs };
  }
}

class Side {
  nowMs = 0;
  trusts = false;
  content: Uint8Array | undefined;
  writes = 0;
  claims = this.#make();

  #make(): ShardClaims {
    return new ShardClaims({
      file: {
        read: async () => this.content,
        write: async (content) => {
          this.writes++;
          this.content = content;
        },
      },
      judge: ({ value }) => (value[0] === 0 ? 'gone' : value[0] === 2 && !this.trusts ? 'refused' : 'stands'),
      now: () => this.nowMs,
      onNotSaved: () => {},
    });
  }
  async restart(): Promise<void> {
    await this.claims.save(true);
    this.claims = this.#make();
    await this.claims.recall();
  }
}

const storeOf = (bucket: Bucket): Store => ({ config: bucket }) as unknown as Store;

describe('ShardClaims', () => {
  it('costs what has changed, not what there is: with 10,000 networks a look that finds nothing judges nothing', async () => {
    const [bucket, side] = [new Bucket(), new Side()];
    for (let n = 0; n < 10_000; n++) bucket.put(keyOf(1, n), STANDS);
    expect(await side.claims.read(storeOf(bucket))).toBe(true);
    expect([side.claims.judged, bucket.told]).toEqual([10_000, 10_000]);
    const before = side.claims.networksOf(1);
    for (let look = 0; look < 5; look++) expect(await side.claims.read(storeOf(bucket))).toBe(false);
    expect([side.claims.judged, bucket.told]).toEqual([10_000, 10_000]);
    expect(side.claims.networksOf(1)).toBe(before);
    bucket.put(keyOf(1, 10_000), STANDS);
    expect(await side.claims.read(storeOf(bucket))).toBe(true);
    expect([side.claims.judged, bucket.told]).toEqual([10_001, 10_001]);
    // The whole is read once a minute, slowly, for claims that were given up; what has been judged is not judged again, and after a restart not even read.
    expect(await side.claims.sweep(storeOf(bucket))).toBe(false);
    expect(bucket.told).toBe(10_001);
    side.nowMs += 60_000;
    await side.claims.sweep(storeOf(bucket));
    expect([side.claims.judged, bucket.told, bucket.fast]).toEqual([10_001, 20_002, 1]);
    await side.restart();
    await side.claims.read(storeOf(bucket));
    expect([side.claims.judged, bucket.told, bucket.fast]).toEqual([0, 20_002, 1]);
    expect(side.claims.networksOf(1)).toHaveLength(10_001);
  });

  it('writes its file once for many networks that come one by one', async () => {
    const [bucket, side] = [new Bucket(), new Side()];
    for (let n = 0; n < 100; n++) {
      bucket.put(keyOf(1, n), STANDS);
      side.nowMs += 10;
      await side.claims.read(storeOf(bucket));
    }
    expect(side.writes).toBe(1);
    await side.claims.save(true);
    expect(side.writes).toBe(2);
    await side.restart();
    expect(side.claims.networksOf(1)).toHaveLength(100);
  });

  it('believes a claim as soon as it may, leaves what a forger overwrites, and forgets what is given up', async () => {
    const [bucket, side] = [new Bucket(), new Side()];
    bucket.put(keyOf(1, 1), STANDS);
    bucket.put(keyOf(1, 2), FORGED);
    await side.claims.read(storeOf(bucket));
    expect(side.claims.networksOf(1)).toEqual([uuid(1)]);
    bucket.put(keyOf(1, 1), FORGED);
    await side.claims.read(storeOf(bucket));
    expect(side.claims.networksOf(1)).toEqual([uuid(1)]);
    side.trusts = true;
    expect(await side.claims.read(storeOf(bucket))).toBe(true);
    expect(side.claims.networksOf(1)).toEqual([uuid(1), uuid(2)]);
    bucket.put(keyOf(1, 2), GONE);
    await side.claims.read(storeOf(bucket));
    expect(side.claims.networksOf(1)).toEqual([uuid(1)]);
    bucket.values.delete(keyOf(1, 1));
    side.nowMs += 60_000;
    expect(await side.claims.sweep(storeOf(bucket))).toBe(true);
    expect(side.claims.networksOf(1)).toEqual([]);
  });

  it('reads all of a bucket that was made anew', async () => {
    const [bucket, side] = [new Bucket(), new Side()];
    for (let n = 0; n < 5; n++) bucket.put(keyOf(1, n), STANDS);
    await side.claims.read(storeOf(bucket));
    const other = new Bucket();
    other.bucketCreatedUnixMs = 2;
    other.put(keyOf(1, 3), GONE);
    other.put(keyOf(2, 7), STANDS);
    await side.claims.read(storeOf(other));
    expect([side.claims.networksOf(1), side.claims.networksOf(2)]).toEqual([[], [uuid(7)]]);
  });

  it('knows after any history, with failures, restarts and trust that comes late, what a reading of the whole finds', async () => {
    const step = fc.oneof(
      fc.record({
        kind: fc.constant('put' as const),
        shard: fc.constantFrom(1, 2),
        n: fc.nat(4),
        value: fc.constantFrom(GONE, STANDS, FORGED),
      }),
      fc.record({ kind: fc.constant('delete' as const), shard: fc.constantFrom(1, 2), n: fc.nat(4) }),
      fc.record({
        kind: fc.constantFrom(
          'sweep' as const,
          'read' as const,
          'fail' as const,
          'restart' as const,
          'minute' as const,
          'trust' as const,
          'anew' as const,
        ),
      }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
        const [bucket, side] = [new Bucket(), new Side()];
        const read = async (): Promise<void> => void (await side.claims.read(storeOf(bucket)).catch(() => false));
        for (const one of steps) {
          if (one.kind === 'put') bucket.put(keyOf(one.shard, one.n), one.value);
          else if (one.kind === 'delete') bucket.values.delete(keyOf(one.shard, one.n));
          else if (one.kind === 'read') await read();
          else if (one.kind === 'sweep') await side.claims.sweep(storeOf(bucket));
          else if (one.kind === 'restart') await side.restart();
          else if (one.kind === 'minute') side.nowMs += 60_000;
          else if (one.kind === 'trust') side.trusts = true;
          else if (one.kind === 'anew') {
            bucket.bucketCreatedUnixMs++;
            bucket.sequence = 0;
            bucket.values.clear();
          } else {
            bucket.fault = new Error('NATS is away');
            await read();
            bucket.fault = undefined;
          }
        }
        side.trusts = true;
        await read();
        side.nowMs += 60_000;
        await side.claims.sweep(storeOf(bucket));
        const wanted = (shard: number): string[] =>
          [...bucket.values.values()].flatMap(({ key, value }) =>
            key.startsWith(`claim.shard.${shard}.`) && value !== GONE ? [key.split('.')[3]!] : [],
          );
        for (const shard of [1, 2]) expect([...side.claims.networksOf(shard)].sort()).toEqual(wanted(shard).sort());
      }),
      { numRuns: Number(process.env.RUNS ?? 100) },
    );
  });
});
