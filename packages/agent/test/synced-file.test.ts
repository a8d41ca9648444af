import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { tempDir } from '@weft/testkit';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { SyncedFile } from '../src/gateway/synced-file.ts';

const dir = tempDir('weft-synced-');
afterAll(() => dir.remove());
let next = 0;
const fresh = (): SyncedFile => new SyncedFile(join(dir.path, `file${next++}`));
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

describe('SyncedFile', () => {
  it('is undefined until written, then what was written last', async () => {
    const file = fresh();
    expect(await file.read()).toBeUndefined();
    await file.write(bytes('one'));
    const writes = [file.write(bytes('two')), file.write(bytes('three')), file.write(bytes(''))];
    await Promise.all(writes);
    expect(await file.read()).toEqual(bytes(''));
    await file.write(bytes('four'));
    expect(await new SyncedFile(file.path).read()).toEqual(bytes('four'));
  });

  it('says so when it is damaged: cut short anywhere, or a bit turned over', async () => {
    const file = fresh();
    await file.write(bytes('what a voter has promised'));
    const whole = readFileSync(file.path);
    await fc.assert(
      fc.asyncProperty(fc.nat(whole.length - 1), fc.nat(7), fc.boolean(), async (at, bit, cut) => {
        const damaged = cut ? whole.subarray(0, at) : Buffer.from(whole);
        if (!cut) damaged[at]! ^= 1 << bit;
        writeFileSync(file.path, damaged);
        await expect(file.read()).rejects.toThrow(/damaged|not of a format/);
      }),
      { numRuns: 100 },
    );
  });

  it('goes on after a write that failed', async () => {
    const file = new SyncedFile(join(dir.path, 'missing', 'file'));
    await expect(file.write(bytes('x'))).rejects.toThrow('ENOENT');
    await expect(file.write(bytes('x'))).rejects.toThrow('ENOENT');
  });
});
