import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { OracleBench } from './support/oracle.ts';

// Kernel = oracle. WEFT_FUZZ_FRAMES and WEFT_FUZZ_SEED make it longer or another (scripts/fuzz.mjs); seeds that once failed are tried first.

const FRAMES_PER_WORLD = 500;
const FRAMES = Number(process.env['WEFT_FUZZ_FRAMES'] ?? 24_000);
const FIRST_SEED = Number(process.env['WEFT_FUZZ_SEED'] ?? 1);
const knownSeeds = JSON.parse(readFileSync(new URL('seeds.json', import.meta.url), 'utf8')) as {
  seed: number;
  frames: number;
  why: string;
}[];

let bench: OracleBench;
beforeAll(() => {
  bench = new OracleBench();
});
afterAll(() => bench?.close());

function expectEqual(seed: number, frames: number): number {
  const { difference, refused } = bench.run(seed, frames);
  if (difference) expect.fail(`seed ${difference.seed}, frame ${difference.index} (${difference.label}):\n${difference.text}`);
  return frames - refused;
}

describe('kernel and oracle', () => {
  it('agree on seeds that failed before', () => {
    for (const { seed, frames } of knownSeeds) expectEqual(seed, frames);
  });

  it(`agree on ${FRAMES} generated frames, action, reason, cb, bytes and counters`, { timeout: 3_600_000 }, () => {
    let tried = 0;
    for (let done = 0, seed = FIRST_SEED; done < FRAMES; done += FRAMES_PER_WORLD, seed++) {
      tried += expectEqual(seed, Math.min(FRAMES_PER_WORLD, FRAMES - done));
    }
    if (process.env['WEFT_FUZZ_FRAMES'] !== undefined) console.log(`fuzz: ${tried} of ${FRAMES} frames by test run`);
    expect(tried).toBeGreaterThan(FRAMES * 0.8);
  });

  it('agree where the programs do without what came after kernel 6.1', () => {
    bench.close();
    bench = new OracleBench(true);
    for (let seed = 900_001; seed <= 900_006; seed++) expect(expectEqual(seed, FRAMES_PER_WORLD)).toBeGreaterThan(FRAMES_PER_WORLD * 0.8);
  });
});
