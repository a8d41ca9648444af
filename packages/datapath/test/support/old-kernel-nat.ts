import { release } from 'node:os';
import { BpfError } from '@weft/bpf';
import fc from 'fast-check';
import { NatBench } from './nat-bench.ts';
import { History, histories } from './nat-histories.ts';

// Runs inside a guest with an old kernel, bundled into one file: node nat.mjs OBJECT RUNS. Prints one line of JSON.

const [path = '', runs = '1'] = process.argv.slice(2);
let tried = 0;
try {
  fc.assert(
    fc.property(histories, (steps) => {
      const bench = new NatBench(path, {
        blocksPerAddress: 3,
        quota: { blocks: 100, blocksPerSource: 100, sessions: 10_000, newFlowsPerSecond: 0 },
      });
      try {
        const history = new History(bench);
        for (const step of steps) history.run(step);
        bench.compare();
        tried++;
      } finally {
        bench.close();
      }
    }),
    { numRuns: Number(runs), endOnFailure: true },
  );
  console.log(JSON.stringify({ kernel: release(), tried }));
} catch (error) {
  const cause = (error as Error).cause;
  const log = cause instanceof BpfError ? (cause.verifierLog ?? '').slice(-3000) : '';
  console.error(`${(error as Error).message.slice(-2000)}\n${String(cause)}\n${log}`);
  process.exitCode = 1;
}
