import fc from 'fast-check';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { NatBench } from './support/nat-bench.ts';
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
});
