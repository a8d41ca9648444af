import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RecordSetHash } from '../src/index.ts';
import { sha256 } from './records.ts';

const record = fc.record({ bucket: fc.constantFrom('config', 'mapping'), key: fc.string({ maxLength: 8 }), revision: fc.nat(99) });

/** The definition, word for word, with big integers. */
function defined(records: readonly { bucket: string; key: string; revision: number }[]): string {
  let sum = 0n;
  for (const { bucket, key, revision } of records)
    sum += BigInt(`0x${createHash('sha256').update(`${bucket}\0${key}\0${revision}`).digest('hex')}`);
  return (sum % (1n << 256n)).toString(16).padStart(64, '0');
}

describe('RecordSetHash', () => {
  it('is the sum of the SHA-256 of its records modulo 2^256, whatever came and went (property)', () => {
    fc.assert(
      fc.property(fc.array(record), fc.array(record), (kept, gone) => {
        const hash = new RecordSetHash(sha256);
        for (const { bucket, key, revision } of [...gone, ...kept]) hash.add(bucket, key, revision);
        for (const { bucket, key, revision } of gone) hash.remove(bucket, key, revision);
        expect(Buffer.from(hash.bytes()).toString('hex')).toBe(defined(kept));
        expect(hash.count).toBe(kept.length);
      }),
    );
  });

  it('goes through zero both ways', () => {
    const hash = new RecordSetHash(sha256);
    hash.remove('config', 'a', 1);
    hash.add('config', 'a', 1);
    expect([...hash.bytes()].every((byte) => byte === 0)).toBe(true);
  });
});
