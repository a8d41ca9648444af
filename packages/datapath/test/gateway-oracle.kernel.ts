import { Action, ERRORS_PER_SECOND } from '@weft/forwarding';
import { DropReason } from '@weft/model';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { GatewayBench } from './support/gateway-oracle.ts';

// Kernel = oracle, for gateways. WEFT_FUZZ_FRAMES and WEFT_FUZZ_SEED make it longer or another (scripts/fuzz.mjs).

const FRAMES_PER_WORLD = 400;
const FRAMES = Number(process.env['WEFT_FUZZ_FRAMES'] ?? 16_000);
const FIRST_SEED = Number(process.env['WEFT_FUZZ_SEED'] ?? 1);

let bench: GatewayBench;
beforeAll(() => {
  bench = new GatewayBench();
});
afterAll(() => bench?.close());

function expectEqual(seed: number, frames: number, seen?: Map<string, number>): number {
  const { difference, refused } = bench.run(seed, frames, seen);
  if (difference) expect.fail(`seed ${difference.seed}, frame ${difference.index} (${difference.label}):\n${difference.text}`);
  return frames - refused;
}

describe('kernel and oracle, at a gateway', () => {
  it(`agree on ${FRAMES} generated frames, action, reason, cb, bytes and counters`, { timeout: 3_600_000 }, () => {
    const seen = new Map<string, number>();
    let tried = 0;
    for (let done = 0, seed = FIRST_SEED; done < FRAMES; done += FRAMES_PER_WORLD, seed++) {
      tried += expectEqual(seed, Math.min(FRAMES_PER_WORLD, FRAMES - done), seen);
    }
    if (process.env['WEFT_FUZZ_FRAMES'] !== undefined || process.env['WEFT_FUZZ_SHOW'] !== undefined) console.log([...seen].sort());
    expect(tried).toBeGreaterThan(FRAMES * 0.8);
    // A test of nothing but drops would agree, too.
    for (const kind of [
      'from_underlay EXTERNAL NONE',
      'from_underlay TUNNEL NONE',
      'from_underlay TUNNEL PACKET_TOO_BIG',
      'from_underlay REPLY NONE',
      'from_port EXTERNAL NONE',
      'to_gateway EXTERNAL NONE',
      'to_gateway LOCAL NONE',
      'from_external TUNNEL NONE',
      'from_external LOCAL NONE',
      'from_external REPLY NONE',
      'from_external EXTERNAL TTL_EXCEEDED',
      'from_external EXTERNAL PACKET_TOO_BIG',
      'from_external PASS NONE',
    ]) {
      expect([kind, (seen.get(kind) ?? 0) > 0]).toEqual([kind, true]);
    }
  });

  it.each(['from_port', 'from_underlay', 'to_gateway', 'from_external'])(
    'agree on a flood of packets at %s whose sender is told: a thousand times at once, then only counted',
    (program) => {
      const TIMES = 1_020;
      for (let seed = FIRST_SEED; seed < FIRST_SEED + 100; seed++) {
        const flooded = bench.flood(
          seed,
          TIMES,
          (trial, { action, reason }) =>
            trial.program === program &&
            action !== Action.DROP &&
            (reason === DropReason.TTL_EXCEEDED || reason === DropReason.PACKET_TOO_BIG),
        );
        if (flooded === undefined) continue;
        expect(flooded).toEqual({ told: ERRORS_PER_SECOND, difference: undefined });
        return;
      }
      expect.fail(`no error is told at ${program}`);
    },
  );

  it('count what each network sends, about', () => {
    const TIMES = 20_000;
    const { sent, counted } = bench.traffic(FIRST_SEED, TIMES);
    // One of 64 counts: 312 of them, give or take 18.
    expect(Number(counted.packets) / TIMES).toBeGreaterThan(0.7);
    expect(Number(counted.packets) / TIMES).toBeLessThan(1.3);
    expect(counted.bytes).toBe((counted.packets * BigInt(sent)) as bigint);
  });

  it('agree where the programs do without what came after kernel 6.1', () => {
    bench.close();
    bench = new GatewayBench(true);
    for (let seed = 910_001; seed <= 910_006; seed++) expectEqual(seed, FRAMES_PER_WORLD);
  });
});
