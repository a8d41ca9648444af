import type { NatFlow } from '@weft/forwarding';
import { DropReason } from '@weft/model';
import { parseIp } from '@weft/packet';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { flowOf, NatBench, NETWORKS } from './support/nat-bench.ts';
import { compileHarness } from './support/nat-harness.ts';
import { History, histories } from './support/nat-histories.ts';

// After each step of a history the kernel has said what the oracle says; after each sweep and at the end every row of every table is the same, and
// every event.

const RUNS = Number(process.env['WEFT_NAT_HISTORIES'] ?? 30);

let harness: ReturnType<typeof compileHarness>;
beforeAll(() => {
  harness = compileHarness();
});
afterAll(() => harness?.remove());

describe('port mapping in the kernel and in the oracle', () => {
  it(`agree on ${RUNS} histories: answers, every row, every event`, { timeout: 600_000 }, () => {
    fc.assert(
      fc.property(histories, (steps) => {
        const bench = new NatBench(harness.path, {
          blocksPerAddress: 3,
          quota: { blocks: 100, blocksPerSource: 100, sessions: 10_000, newFlowsPerSecond: 0 },
        });
        try {
          const history = new History(bench);
          for (const step of steps) history.run(step);
          bench.compare();
        } finally {
          bench.close();
        }
      }),
      { numRuns: RUNS, interruptAfterTimeLimit: 300_000 },
    );
  });

  it('agree on two holders of twelve blocks: one gives all of its own back before the other begins, which does not begin what the run cannot end', () => {
    const bench = new NatBench(harness.path, {
      blocksPerAddress: 30,
      quota: { blocks: 100, blocksPerSource: 100, sessions: 10_000, newFlowsPerSecond: 0 },
    });
    try {
      const flow = (near: string, nearPort: number): NatFlow =>
        flowOf({ networkId: NETWORKS[0]!, near: parseIp(near), nearPort, remote: parseIp('198.51.100.1'), remotePort: 53 });
      const sweep = (seconds: number, budget: number): number => {
        bench.advance(seconds);
        return bench.sweep(budget).blocks;
      };
      // A step gives eight back.
      for (const { budgets, blocks } of [
        { budgets: [3000], blocks: [24] },
        { budgets: [1, 1, 1, 1], blocks: [8, 8, 4, 4] },
        { budgets: [2, 3000], blocks: [12, 12] },
        // One step is left for the other, which needs two.
        { budgets: [3, 3000], blocks: [12, 12] },
      ]) {
        for (const near of ['10.0.0.1', '10.0.0.2'])
          for (let port = 0; port < 12 * 64; port++) expect(bench.outbound(flow(near, 1024 + port), 1).reason).toBe(0);
        expect([sweep(302, 3000), sweep(121, 3000)]).toEqual([0, 0]);
        const given = budgets.map((budget) => {
          const count = sweep(1, budget);
          // Whose blocks are going is refused.
          if (count === 8) expect(bench.outbound(flow('10.0.0.1', 1024), 1).reason).toBe(DropReason.NAT_PORTS_EXHAUSTED);
          return count;
        });
        expect(given).toEqual(blocks);
      }
    } finally {
      bench.close();
    }
  });
});
