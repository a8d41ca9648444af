import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TapBench, type TapOutcome } from './support/tap-bench.ts';

// Kernel = oracle for what BPF_PROG_TEST_RUN can't carry, through real TAPs, an underlay and a second host: super-frames, unfinished checksums,
// short and large frames, virtio-net headers that lie. WEFT_TAP_FUZZ_FRAMES and WEFT_FUZZ_SEED make it longer or another (scripts/fuzz.mjs); seeds
// that once failed are tried first.

const FRAMES_PER_WORLD = 150;
const FRAMES = Number(process.env['WEFT_TAP_FUZZ_FRAMES'] ?? 6_000);
const FIRST_SEED = Number(process.env['WEFT_FUZZ_SEED'] ?? 1);
const knownSeeds = JSON.parse(readFileSync(new URL('tap-seeds.json', import.meta.url), 'utf8')) as {
  seed: number;
  frames: number;
  why: string;
}[];

let bench: TapBench;
beforeAll(async () => {
  bench = await TapBench.create();
});
afterAll(() => bench?.close());

async function expectEqual(seed: number, frames: number): Promise<TapOutcome> {
  const outcome = await bench.run(seed, frames);
  const { difference } = outcome;
  if (difference) expect.fail(`seed ${difference.seed}, frame ${difference.index} (${difference.label}):\n${difference.text}`);
  return outcome;
}

describe('kernel and oracle, through TAPs', () => {
  it('agree on seeds that failed before', async () => {
    for (const { seed, frames } of knownSeeds) await expectEqual(seed, frames);
  });

  it(`agree on ${FRAMES} generated frames: device, counter, bytes, size`, { timeout: 3_600_000 }, async () => {
    const sum = { tried: 0, dropped: 0, delivered: 0, whole: 0 };
    for (let done = 0, seed = FIRST_SEED; done < FRAMES; done += FRAMES_PER_WORLD, seed++) {
      const outcome = await expectEqual(seed, Math.min(FRAMES_PER_WORLD, FRAMES - done));
      for (const key of ['tried', 'dropped', 'delivered', 'whole'] as const) sum[key] += outcome[key];
    }
    if (process.env['WEFT_TAP_FUZZ_FRAMES'] !== undefined) console.log(`fuzz: ${sum.tried} of ${FRAMES} frames by TAP`);
    // That each way is taken often, so that agreement says something; a few worlds may lack one.
    if (FRAMES < 3_000) return;
    expect(sum.tried).toBeGreaterThan(FRAMES * 0.8);
    expect(sum.dropped).toBeGreaterThan(FRAMES * 0.2);
    expect(sum.delivered).toBeGreaterThan(FRAMES * 0.25);
    expect(sum.whole).toBeGreaterThan(FRAMES * 0.03);
  });
});
